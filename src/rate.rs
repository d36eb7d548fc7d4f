//! `Buckets`: how much may be sent or taken in a time, in datagrams and in bytes.
//!
//! Arithmetic; it knows time as it is told, and nothing of what is counted.

use std::time::{Duration, Instant};

/// The rates of two buckets, and how long a silence is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) datagrams_per_second: u32,
    pub(crate) bytes_per_second: u32,
    pub(crate) burst: Duration,
}

/// Two buckets, for datagrams and for bytes, each as the time at which it would be empty if
/// nothing more were sent (the "theoretical arrival time" of ATM's generic cell rate algorithm,
/// ITU-T I.371): a comparison and an addition, and nothing to refill.
#[derive(Debug)]
pub(crate) struct Buckets {
    rates: Rates,
    /// Since when times are counted.
    origin: Instant,
    /// How long what was sent takes at its rate, counted from `origin`.
    datagrams: Duration,
    bytes: Duration,
}

impl Buckets {
    pub(crate) fn new(rates: Rates, now: Instant) -> Buckets {
        Buckets {
            rates,
            origin: now,
            datagrams: Duration::ZERO,
            bytes: Duration::ZERO,
        }
    }

    /// Whether a datagram of `len` bytes may be sent now.
    pub(crate) fn admits(&self, now: Instant, len: usize) -> bool {
        let since = now.saturating_duration_since(self.origin);
        let bound = since.saturating_add(self.rates.burst);
        let (datagrams, bytes) = self.after(since, len);
        datagrams <= bound && bytes <= bound
    }

    /// It was sent.
    pub(crate) fn spend(&mut self, now: Instant, len: usize) {
        let since = now.saturating_duration_since(self.origin);
        (self.datagrams, self.bytes) = self.after(since, len);
    }

    /// Whether it is as good as new.
    #[cfg(feature = "digest")]
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.origin);
        self.datagrams <= since && self.bytes <= since
    }

    fn after(&self, since: Duration, len: usize) -> (Duration, Duration) {
        let datagrams = cost(1, self.rates.datagrams_per_second);
        let bytes = cost(len, self.rates.bytes_per_second);
        (
            self.datagrams.max(since).saturating_add(datagrams),
            self.bytes.max(since).saturating_add(bytes),
        )
    }
}

/// How long `count` take at a rate. A rate of none lets nothing pass but nothing.
fn cost(count: usize, per_second: u32) -> Duration {
    if per_second == 0 {
        return if count == 0 {
            Duration::ZERO
        } else {
            Duration::MAX
        };
    }
    let nanos = count as u128 * 1_000_000_000;
    let nanos = nanos.div_ceil(u128::from(per_second));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(datagrams: u32, bytes: u32, burst_ms: u64) -> (Buckets, Instant) {
        let rates = Rates {
            datagrams_per_second: datagrams,
            bytes_per_second: bytes,
            burst: Duration::from_millis(burst_ms),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant is made in no other way"
        )]
        let now = Instant::now();
        (Buckets::new(rates, now), now)
    }

    /// How many datagrams pass in `seconds` if somebody tries each millisecond, ten times.
    fn passed(guard: &mut Buckets, origin: Instant, seconds: u64, len: usize) -> u64 {
        let mut passed = 0;
        for ms in 0..seconds * 1000 {
            let now = origin + Duration::from_millis(ms);
            for _ in 0..10 {
                if guard.admits(now, len) {
                    guard.spend(now, len);
                    passed += 1;
                }
            }
        }
        passed
    }

    #[test]
    fn the_rate_holds_within_a_burst_whichever_bucket_is_the_smaller() {
        let (mut by_count, origin) = guard(100, 1 << 20, 1000);
        assert_eq!(passed(&mut by_count, origin, 60, 64), 60 * 100 + 99);
        let (mut by_bytes, origin) = guard(1000, 64_000, 500);
        let passed = passed(&mut by_bytes, origin, 60, 1000);
        assert_eq!(passed, 60 * 64 + 31);
    }

    #[test]
    fn a_silence_is_worth_a_burst_and_no_more() {
        let (mut guard, origin) = guard(100, 1 << 20, 200);
        let later = origin + Duration::from_secs(3600);
        let mut passed = 0;
        while guard.admits(later, 0) {
            guard.spend(later, 0);
            passed += 1;
        }
        assert_eq!(passed, 20);
    }

    #[test]
    fn a_rate_of_none_lets_nothing_pass_and_the_largest_overflows_nowhere() {
        let (guard_none, origin) = guard(0, 0, u64::MAX);
        assert!(!guard_none.admits(origin, 0));
        let (mut guard, origin) = guard(u32::MAX, 1, u64::MAX);
        for _ in 0..3 {
            guard.spend(origin, usize::MAX);
        }
        assert!(guard.admits(origin, usize::MAX));
    }
}
