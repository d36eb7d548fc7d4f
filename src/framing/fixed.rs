//! `Fixed`: frames that all have the same length.
//!
//! Knows one number.

use std::convert::Infallible;

use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// Frames of exactly `LEN` bytes, lent as arrays, so that a number is taken out without a check.
///
/// | type | arrives | frames |
/// |---|---|---|
/// | `Fixed<2>` | `61 62 63 64 65` | `61 62`, `63 64` |
///
/// The length is also the limit, so a frame cannot be oversized, and no input is wrong. What is
/// left at the end of the stream is reported as partial. A message of any other length is refused.
/// A length of 0 does not compile.
///
/// ```
/// use windlass::framing::{Decoder, Fixed, Step};
///
/// let mut frames = Fixed::<4>;
/// let Step::Frame { frame, consumed } = frames.decode(&[0, 0, 1, 44, 0])? else { panic!() };
/// assert_eq!((u32::from_be_bytes(*frame), consumed), (300, 4));
/// assert_eq!(frames.decode(&[0])?, Step::More { needed: 4 });
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed<const LEN: usize>;

impl<const LEN: usize> Fixed<LEN> {
    const IS_NOT_EMPTY: () = assert!(LEN > 0, "a frame of no bytes would never end");
}

impl<const LEN: usize> Decoder for Fixed<LEN> {
    type Frame<'a> = &'a [u8; LEN];
    type Error = Infallible;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        let () = Self::IS_NOT_EMPTY;
        Ok(match input.first_chunk() {
            Some(frame) => Step::Frame {
                frame,
                consumed: LEN,
            },
            None => Step::More { needed: LEN },
        })
    }

    fn max_pending(&self) -> Option<usize> {
        Some(LEN)
    }
}

impl<P: Payload, const LEN: usize> Encoder<P> for Fixed<LEN> {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        let () = Self::IS_NOT_EMPTY;
        let len = item.as_bytes().len();
        if len != LEN {
            return Err(EncodeError::WrongLength { len, expected: LEN });
        }
        item.put_into(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, check_every_split};

    #[test]
    fn every_so_many_bytes_are_a_frame_and_what_is_left_is_partial() {
        let expected = [
            Event::Frame(b"abc".to_vec()),
            Event::Frame(b"def".to_vec()),
            Event::Partial(2),
        ];
        check_every_split(|| Fixed::<3>, b"abcdefgh", &expected);
        check_every_split(|| Fixed::<3>, b"abcdef", &expected[..2]);
    }

    #[test]
    fn a_message_of_another_length_is_refused() {
        let mut out = Outbox::new();
        for (message, len) in [("ab", 2), ("abcd", 4)] {
            let expected = EncodeError::WrongLength { len, expected: 3 };
            assert_eq!(Fixed::<3>.encode(message, &mut out), Err(expected));
        }
        assert_eq!(Fixed::<3>.encode("abc", &mut out), Ok(()));
        assert_eq!(out.to_vec(), b"abc");
    }
}
