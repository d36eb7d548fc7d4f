//! What some rounds tell: their median, and between which figures it lies.
//!
//! Knows nothing of what was measured.

/// The median of some figures, where the true one lies, the least and the greatest.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// It lies in here with 95 % certainty; `None`: there are too few rounds to say.
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) min: f64,
    pub(crate) max: f64,
    rounds: usize,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let rounds = values.len();
        let middle = rounds / 2;
        let median = match rounds % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        let outside = outside(rounds);
        let interval = (outside > 0).then(|| (values[outside - 1], values[rounds - outside]));
        Some(Spread {
            median,
            interval,
            min,
            max,
            rounds,
        })
    }

    /// Where the median lies, if that can be told to within a tenth.
    pub(crate) fn told(&self) -> Option<(f64, f64)> {
        self.interval.filter(|(low, high)| *high <= low * WIDE)
    }

    /// In words: a number, unless nothing can be told from it.
    pub(crate) fn text(&self) -> String {
        match (self.interval, self.told()) {
            (None, _) => format!("{} rounds tell nothing ({:.2})", self.rounds, self.median),
            (Some((low, high)), None) => format!("too wide to tell ({low:.2} to {high:.2})"),
            (Some(_), Some((low, high))) => format!("{:.2} ({low:.2} to {high:.2})", self.median),
        }
    }

    /// The least and the greatest.
    pub(crate) fn range(&self) -> String {
        format!("{:.2} to {:.2}", self.min, self.max)
    }
}

/// How many of the rounds, counted from either end, bound the interval.
///
/// Each round lies above the true median with probability 1/2, whatever the distribution, so how
/// many of them do is binomial. The interval from the `k`th least to the `k`th greatest misses the
/// median if fewer than `k` lie on one side of it: this is the greatest `k` for which that has a
/// probability of at most 5 %. No outlier moves it, of which a shared machine has many; the least
/// and the greatest of all rounds lie the farther apart the longer one measures.
fn outside(rounds: usize) -> usize {
    let mut missed = 0.0;
    // Of a binomial distribution: exactly `k` rounds on one side.
    let mut exactly = 0.5_f64.powi(i32::try_from(rounds).unwrap_or(i32::MAX));
    for k in 0..rounds / 2 {
        missed += 2.0 * exactly;
        if missed > 0.05 {
            return k;
        }
        exactly *= (rounds - k) as f64 / (k + 1) as f64;
    }
    rounds / 2
}

/// The upper end of the interval may be so many times the lower one.
const WIDE: f64 = 1.1;

#[cfg(test)]
mod tests {
    use super::*;

    /// From tables of the sign test.
    #[test]
    fn the_interval_is_that_of_the_binomial_distribution() {
        let cases = [
            (5, 0),
            (6, 1),
            (8, 1),
            (9, 2),
            (12, 3),
            (15, 4),
            (20, 6),
            (25, 8),
        ];
        for (rounds, expected) in cases {
            assert_eq!(outside(rounds), expected, "{rounds} rounds");
        }
        assert_eq!(outside(0), 0);
    }

    #[test]
    fn an_outlier_moves_neither_the_median_nor_the_interval() {
        let calm = (0..12).map(|round| 1.0 + f64::from(round) / 1000.0);
        let wild = calm
            .clone()
            .map(|value| if value > 1.01 { 7.0 } else { value });
        let (calm, wild) = (Spread::of(calm).unwrap(), Spread::of(wild).unwrap());
        assert_eq!(calm.median, wild.median);
        assert_eq!(calm.interval, Some((1.002, 1.009)));
        assert_eq!(wild.interval, calm.interval);
        assert_eq!((wild.max, calm.max), (7.0, 1.011));
        assert_eq!(wild.text(), "1.01 (1.00 to 1.01)");
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let two = Spread::of([1.0, 2.0].into_iter()).unwrap();
        assert_eq!(
            (two.told(), two.text()),
            (None, "2 rounds tell nothing (1.50)".into())
        );
        let wide = (0..12).map(|round| 1.0 + f64::from(round) / 10.0);
        let wide = Spread::of(wide).unwrap();
        assert_eq!(wide.text(), "too wide to tell (1.20 to 1.90)");
        assert!(Spread::of(std::iter::empty()).is_none());
    }
}
