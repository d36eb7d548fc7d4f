//! `Random`: the one source of chance in a simulated world.
//!
//! Pure arithmetic on a seed; it knows nothing of what is decided with it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A small generator of numbers from a seed: SplitMix64 (Steele, Lea and Flood, 2014).
///
/// Not for secrets. The same seed gives the same numbers on every machine and in every version of
/// this crate with the same major number.
///
/// ```
/// use windlass::sim::Random;
///
/// let (mut one, mut two) = (Random::new(7), Random::new(7));
/// assert_eq!(one.below(1_000), two.below(1_000));
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that begins at `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    ///
    /// Slightly uneven for a huge `bound`, which matters to nobody here.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number of a range; its start if the range is empty.
    pub fn within(&mut self, range: &RangeInclusive<usize>) -> usize {
        let span = range.end().saturating_sub(*range.start());
        range.start() + self.below(span.saturating_add(1))
    }

    /// A length of a range, small ones as often as large ones: first its magnitude is drawn, then
    /// its value. One byte at a time is where the mistakes are.
    pub fn length(&mut self, range: &RangeInclusive<usize>) -> usize {
        let span = range.end().saturating_sub(*range.start());
        let magnitude = self.below(usize::BITS as usize - span.leading_zeros() as usize + 1);
        let most = span.min((1_usize << magnitude.min(62)) - 1);
        range.start() + self.below(most + 1)
    }

    /// A duration of a range, in whole microseconds; its start if the range is empty.
    pub fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let span = range.end().saturating_sub(*range.start());
        if span.is_zero() {
            return *range.start();
        }
        let micros = usize::try_from(span.as_micros()).unwrap_or(usize::MAX);
        *range.start() + Duration::from_micros(self.below(micros.saturating_add(1)) as u64)
    }

    /// Whether something of this probability (0 to 1) happens. What cannot happen draws nothing.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // 53 bits are what an f64 holds exactly.
        ((self.bits() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// Puts a slice into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Another generator, whose draws do not disturb the ones of this one.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random::new(self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let bits: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(bits, published);
    }

    #[test]
    fn what_is_drawn_lies_in_its_range() {
        let mut random = Random::new(1);
        for end in [0, 1, 7, 1 << 20] {
            for _ in 0..200 {
                assert!((3..=3 + end).contains(&random.length(&(3..=3 + end))));
                assert!((3..=3 + end).contains(&random.within(&(3..=3 + end))));
            }
        }
        let range = Duration::from_micros(5)..=Duration::from_micros(9);
        assert!((0..200).all(|_| range.contains(&random.duration(&range))));
    }

    #[test]
    fn the_impossible_never_happens_and_the_certain_always() {
        let mut random = Random::new(2);
        assert!((0..100).all(|_| random.chance(1.0) && !random.chance(0.0)));
    }
}
