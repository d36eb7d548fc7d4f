//! `Netstring`: D. J. Bernstein's netstrings, a length in decimal digits with a check at the end.
//!
//! Knows digits and limits. Source: <https://cr.yp.to/proto/netstrings.txt>.

use std::fmt;

use super::oversize::{MAX_FRAME_LEN, WhenOversized, skip_counted};
use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// Frames that begin with their length in decimal digits and a colon, and end with a comma.
///
/// | arrives or is sent | frame or message |
/// |---|---|
/// | `2:ab,` = `32 3a 61 62 2c` | `ab` |
/// | `0:,` = `30 3a 2c` | an empty one |
/// | `02:ab,` | error: a leading zero |
/// | `:ab,`, `x:ab,`, `2x` | error: no digit where one is due |
/// | `2:abc` | error: no comma where it is due |
///
/// A frame has at most 1 MiB unless [`Netstring::with_max_len`] says otherwise, in both directions.
/// A longer one is an error as soon as its digits say so, or with [`Netstring::skip_oversized`] is
/// skipped and reported, once, while the stream goes on; only a length of more than 19 digits
/// is an error even then. Nothing is ever reserved because of what a length claims.
///
/// ```
/// use windlass::framing::{Decoder, Netstring, Step};
///
/// let mut frames = Netstring::new();
/// assert_eq!(frames.decode(b"2:a")?, Step::More { needed: 5 });
/// assert_eq!(frames.decode(b"2:ab,0")?, Step::Frame { frame: &b"ab"[..], consumed: 5 });
/// # Ok::<(), windlass::framing::NetstringError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Netstring {
    /// Bytes of a frame without digits, colon and comma. Invariant: `max_len <= MAX_FRAME_LEN`.
    max_len: usize,
    when_oversized: WhenOversized,
    state: State,
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The digits, or the rest of them.
    Length,
    /// The whole frame; its digits were read before, and take `header_len` bytes with the colon.
    Frame { header_len: u8, body_len: usize },
    /// So many bytes of an oversized frame, and its comma.
    Skipped { left: u64 },
}

impl Netstring {
    /// Netstrings of up to 1 MiB.
    pub const fn new() -> Netstring {
        Netstring {
            max_len: DEFAULT_MAX_LEN,
            when_oversized: WhenOversized::Refuse,
            state: State::Length,
        }
    }

    /// Sets how many bytes a frame may have. Default 1 MiB.
    pub const fn with_max_len(mut self, max_len: usize) -> Netstring {
        self.max_len = if max_len < MAX_FRAME_LEN {
            max_len
        } else {
            MAX_FRAME_LEN
        };
        self
    }

    /// Skips and reports a frame that is too long, instead of refusing it. Its bytes are thrown
    /// away as they come.
    pub const fn skip_oversized(mut self) -> Netstring {
        self.when_oversized = WhenOversized::Skip;
        self
    }

    #[inline]
    fn on_length<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Netstring> {
        let Some((len, header_len)) = self.read_length(input)? else {
            return Ok(Step::More { needed: 0 });
        };
        if len > self.max_len as u64 {
            self.state = State::Skipped { left: len };
            return Ok(Step::Skip {
                consumed: header_len,
                report: Some(self.too_long()),
            });
        }
        // Within the limit, so that the cast cannot overflow.
        self.on_frame(input, header_len, len as usize)
    }

    #[inline]
    fn on_frame<'a>(
        &mut self,
        input: &'a [u8],
        header_len: usize,
        body_len: usize,
    ) -> Decoded<'a, Netstring> {
        let end = header_len + body_len;
        match input.get(end) {
            Some(b',') => {
                self.state = State::Length;
                Ok(Step::Frame {
                    frame: &input[header_len..end],
                    consumed: end + 1,
                })
            }
            Some(_) => Err(NetstringError::MissingComma),
            None => {
                self.state = State::Frame {
                    header_len: header_len as u8,
                    body_len,
                };
                Ok(Step::More { needed: end + 1 })
            }
        }
    }

    /// Throws away what there is of the `left` bytes in front of the comma, then the comma.
    #[cold]
    fn on_skipped<'a>(&mut self, input: &'a [u8], left: u64) -> Decoded<'a, Netstring> {
        if left > 0 {
            let mut left = left;
            let step = skip_counted(&mut left, input, None);
            self.state = State::Skipped { left };
            return Ok(step);
        }
        match input.first() {
            Some(b',') => {
                self.state = State::Length;
                Ok(Step::Skip {
                    consumed: 1,
                    report: None,
                })
            }
            Some(_) => Err(NetstringError::MissingComma),
            None => Ok(Step::More { needed: 1 }),
        }
    }

    /// The length at the beginning of `input`, and how many bytes it takes with its colon; `None`
    /// if the colon has not arrived.
    #[inline]
    fn read_length(&self, input: &[u8]) -> Result<Option<(u64, usize)>, NetstringError> {
        let mut len: u64 = 0;
        for (at, &byte) in input.iter().enumerate() {
            match byte {
                b'0'..=b'9' if at > 0 && len == 0 => return Err(NetstringError::LeadingZero),
                // So that a stream of digits ends: 19 of them always fit in 64 bits.
                b'0'..=b'9' if at == MAX_DIGITS => return Err(self.too_long()),
                b'0'..=b'9' => len = len * 10 + u64::from(byte - b'0'),
                b':' if at > 0 => return Ok(Some((len, at + 1))),
                _ => return Err(NetstringError::InvalidLength),
            }
            if len > self.max_len as u64 && self.when_oversized == WhenOversized::Refuse {
                return Err(self.too_long());
            }
        }
        Ok(None)
    }

    /// Appends the length of a message of `len` bytes, and the colon.
    #[inline]
    pub(super) fn put_header(&self, len: usize, out: &mut Outbox) -> Result<(), EncodeError> {
        if len > self.max_len {
            return Err(EncodeError::TooLong {
                len,
                limit: self.max_len,
            });
        }
        // From the back: the last digit, and those before it.
        let mut header = [b':'; MAX_DIGITS + 1];
        let mut start = MAX_DIGITS;
        let mut rest = len;
        loop {
            start -= 1;
            header[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.put(&header[start..]);
        Ok(())
    }

    #[cold]
    fn too_long(&self) -> NetstringError {
        NetstringError::TooLong {
            limit: self.max_len,
        }
    }
}

impl Default for Netstring {
    fn default() -> Netstring {
        Netstring::new()
    }
}

impl Decoder for Netstring {
    type Frame<'a> = &'a [u8];
    type Error = NetstringError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        match self.state {
            State::Length => self.on_length(input),
            State::Frame {
                header_len,
                body_len,
            } => self.on_frame(input, usize::from(header_len), body_len),
            State::Skipped { left } => self.on_skipped(input, left),
        }
    }

    /// The longest frame with its comma, behind the longest length that is read.
    fn max_pending(&self) -> Option<usize> {
        Some(MAX_DIGITS + 1 + self.max_len + 1)
    }
}

impl<P: Payload> Encoder<P> for Netstring {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        self.put_header(item.as_bytes().len(), out)?;
        item.put_into(out);
        out.put(b",");
        Ok(())
    }
}

/// How the peer broke [`Netstring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetstringError {
    /// A frame of more than `limit` bytes is announced.
    TooLong {
        /// Bytes that a frame may have.
        limit: usize,
    },
    /// Something else than a digit, or than a digit or a colon behind the first.
    InvalidLength,
    /// A length of more than one digit begins with 0.
    LeadingZero,
    /// Something else than a comma behind the frame.
    MissingComma,
}

impl fmt::Display for NetstringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetstringError::TooLong { limit } => {
                write!(f, "a netstring is longer than {limit} bytes")
            }
            NetstringError::InvalidLength => f.write_str("a netstring's length is not a number"),
            NetstringError::LeadingZero => f.write_str("a netstring's length begins with 0"),
            NetstringError::MissingComma => f.write_str("no comma behind a netstring"),
        }
    }
}

impl std::error::Error for NetstringError {}

const DEFAULT_MAX_LEN: usize = 1024 * 1024;
/// Digits of the longest length that is read, even to be skipped.
const MAX_DIGITS: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, check_every_split};

    const TOO_LONG: NetstringError = NetstringError::TooLong { limit: 10 };

    fn frame(frame: &str) -> Event<Vec<u8>, NetstringError> {
        Event::Frame(frame.into())
    }

    #[track_caller]
    fn check(frames: Netstring, input: &str, expected: &[Event<Vec<u8>, NetstringError>]) {
        check_every_split(|| frames, input.as_bytes(), expected);
    }

    #[test]
    fn frames_stand_between_their_length_and_a_comma() {
        let expected = [frame("ab"), frame(""), frame("2:ab,")];
        check(Netstring::new(), "2:ab,0:,5:2:ab,,", &expected);
    }

    #[test]
    fn a_length_has_digits_only_and_no_leading_zero() {
        let invalid = [Event::Malformed(NetstringError::InvalidLength)];
        for text in [":ab,", "x", "2x:ab,", "-1:", "+2:ab,", " 2:ab,"] {
            check(Netstring::new(), text, &invalid);
        }
        for text in ["02:ab,", "00:,"] {
            let expected = [Event::Malformed(NetstringError::LeadingZero)];
            check(Netstring::new(), text, &expected);
        }
    }

    #[test]
    fn the_comma_is_demanded() {
        let expected = [Event::Malformed(NetstringError::MissingComma)];
        check(Netstring::new(), "2:abc,", &expected);
        check(Netstring::new(), "0:0:,", &expected);
    }

    #[test]
    fn an_unfinished_frame_at_the_end_is_partial() {
        for text in ["1", "12:", "2:ab"] {
            check(Netstring::new(), text, &[Event::Partial(text.len())]);
        }
    }

    #[test]
    fn a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let frames = Netstring::new().with_max_len(10);
        check(frames, "10:0123456789,", &[frame("0123456789")]);
        check(frames, "11:0123456789x,", &[Event::Malformed(TOO_LONG)]);
        check(frames, "11x", &[Event::Malformed(TOO_LONG)]);
    }

    #[test]
    fn an_oversized_frame_is_skipped_and_reported_once() {
        let frames = Netstring::new().with_max_len(10).skip_oversized();
        let skipped = Event::Skipped(TOO_LONG);
        let expected = [frame("a"), skipped.clone(), frame("b")];
        check(frames, "1:a,12:0123456789xy,1:b,", &expected);
        check(frames, "12:01234", std::slice::from_ref(&skipped));
        let expected = [skipped, Event::Malformed(NetstringError::MissingComma)];
        check(frames, "12:0123456789xyz,", &expected);
    }

    #[test]
    fn the_largest_claims_are_refused_or_skipped_without_reserving_anything() {
        let frames = Netstring::new().with_max_len(10);
        check(
            frames,
            "9999999999999999999:",
            &[Event::Malformed(TOO_LONG)],
        );
        let frames = frames.skip_oversized();
        check(
            frames,
            "9999999999999999999:abc",
            &[Event::Skipped(TOO_LONG)],
        );
        check(
            frames,
            "10000000000000000000:",
            &[Event::Malformed(TOO_LONG)],
        );
        let frames = Netstring::new().with_max_len(usize::MAX);
        assert!(frames.max_pending() > Some(MAX_FRAME_LEN));
        let limit = MAX_FRAME_LEN;
        let error = Event::Malformed(NetstringError::TooLong { limit });
        check(frames, "9999999999999999999:", &[error]);
    }

    #[test]
    fn a_message_is_put_between_its_length_and_a_comma() {
        let mut frames = Netstring::new().with_max_len(1234);
        for len in [0, 1, 9, 10, 99, 100, 1234] {
            let message = "x".repeat(len);
            let mut out = Outbox::new();
            assert_eq!(frames.encode(&message, &mut out), Ok(()));
            assert_eq!(out.to_vec(), format!("{len}:{message},").as_bytes());
        }
        let mut out = Outbox::new();
        let result = frames.encode(vec![0; 1235], &mut out);
        let len = 1235;
        assert_eq!(result, Err(EncodeError::TooLong { len, limit: 1234 }));
        assert!(out.is_empty());
    }

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Netstring>() <= 32);
    }
}
