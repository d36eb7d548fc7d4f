//! What becomes of a frame that is longer than its limit: it is refused, or skipped and reported.
//!
//! Shared by all framings. Knows lengths only, not what frames are made of.

use super::Step;

/// The largest limit that a framing takes; a larger one is lowered to it.
///
/// No slice is longer than `isize::MAX`. Half of that leaves room for every header and delimiter,
/// so that a limit can be added to without a thought for overflow.
pub(super) const MAX_FRAME_LEN: usize = isize::MAX as usize / 2;

/// What a framing that looks for an end does with a frame beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Oversized {
    /// It is an error, and the last that the decoder says.
    #[default]
    Refused,
    /// It is reported and thrown away; none is at the moment.
    Skipped,
    /// Its beginning is thrown away and reported, its end has not been found.
    BeingSkipped,
}

/// What a framing that is told lengths does with a frame beyond the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WhenOversized {
    /// An error, and the last that the decoder says.
    #[default]
    Refuse,
    /// Report it and throw it away.
    Skip,
}

/// Throws away what there is of the `left` bytes still to be skipped.
///
/// Nothing is kept of them, and nothing reserved for them, however many they are.
pub(super) fn skip_counted<F, E>(left: &mut u64, input: &[u8], report: Option<E>) -> Step<F, E> {
    debug_assert!(*left > 0, "there is something to skip");
    if input.is_empty() {
        return Step::More { needed: 1 };
    }
    // What does not fit in a `usize` is more than any input has.
    let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
    let consumed = wanted.min(input.len());
    *left -= consumed as u64;
    Step::Skip { consumed, report }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_of_any_length_takes_what_there_is_and_remembers_the_rest() {
        let mut left = u64::MAX;
        let step: Step<(), u8> = skip_counted(&mut left, b"abc", Some(1));
        assert_eq!(
            step,
            Step::Skip {
                consumed: 3,
                report: Some(1)
            }
        );
        assert_eq!(left, u64::MAX - 3);
        left = 2;
        let step: Step<(), u8> = skip_counted(&mut left, b"abc", None);
        assert_eq!(
            step,
            Step::Skip {
                consumed: 2,
                report: None
            }
        );
        assert_eq!(left, 0);
    }
}
