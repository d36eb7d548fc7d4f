//! `LengthPrefixed`: frames that begin with their length, the framing of most binary protocols.
//!
//! Knows headers and limits; how a length is written is the business of `length_field`.

use std::fmt;

use super::length_field::{ByteOrder, LengthField, VarintError};
use super::oversize::{MAX_FRAME_LEN, WhenOversized, skip_counted};
use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// Frames that begin with a length.
///
/// ```text
/// | offset bytes | length field | body ...                         |
/// |<----------- header -------->|<-- field's value + adjustment -->|
/// ```
///
/// | field and options | arrives | frame |
/// |---|---|---|
/// | `U16` | `00 02 61 62` | `61 62` |
/// | `U16`, little endian | `02 00 61 62` | `61 62` |
/// | `U16`, header kept | `00 02 61 62` | `00 02 61 62` |
/// | `U16`, adjustment -2: the value counts the field too | `00 04 61 62` | `61 62` |
/// | `U8`, adjustment 1: a type byte is not counted | `02 54 61 62` | `54 61 62` |
/// | `U16`, offset 1 | `54 00 02 61 62` | `61 62` |
/// | `U16`, offset 1, header kept | `54 00 02 61 62` | `54 00 02 61 62` |
/// | `Varint` | `02 61 62` | `61 62` |
///
/// A message is the body, and its header is put in front of it. Two cases are different, because
/// nobody but the sender knows the bytes in front of the length:
///
/// | options | message | is sent |
/// |---|---|---|
/// | `U16`, offset 1: the message begins with the offset bytes | `54 61 62` | `54 00 02 61 62` |
/// | header kept: the message has its header, which is checked | `00 02 61 62` | `00 02 61 62` |
///
/// The body has at most 1 MiB unless [`LengthPrefixed::with_max_len`] says otherwise, in both
/// directions. A longer one is an error as soon as its length has arrived, or with
/// [`LengthPrefixed::skip_oversized`] is skipped and reported, once, while the stream goes on.
/// Nothing is ever reserved because of what a length claims.
///
/// ```
/// use windlass::framing::{Decoder, LengthField, LengthPrefixed, Step};
///
/// let mut frames = LengthPrefixed::new(LengthField::U16);
/// assert_eq!(frames.decode(b"\x00\x02a")?, Step::More { needed: 4 });
/// assert_eq!(frames.decode(b"\x00\x02ab\x00")?, Step::Frame { frame: &b"ab"[..], consumed: 4 });
/// # Ok::<(), windlass::framing::LengthPrefixedError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed {
    /// Bytes of a body. Invariant: `max_len <= MAX_FRAME_LEN`.
    max_len: usize,
    /// Bytes of an oversized frame that have not arrived yet and will be thrown away.
    unskipped: u64,
    /// What the field's value lacks to be the length of the body.
    adjustment: i64,
    /// Bytes in front of the field.
    offset: u16,
    field: LengthField,
    order: ByteOrder,
    when_oversized: WhenOversized,
    keeps_header: bool,
}

/// What the header at the beginning of the input says.
enum Header {
    /// It is complete, has `header_len` bytes and announces a body of `body_len`.
    Complete { header_len: usize, body_len: u64 },
    /// It is not: it has at least `needed` bytes.
    Incomplete { needed: usize },
}

impl LengthPrefixed {
    /// Frames that begin with `field`, in network byte order (big endian), which counts the bytes
    /// behind it.
    pub const fn new(field: LengthField) -> LengthPrefixed {
        LengthPrefixed {
            max_len: DEFAULT_MAX_LEN,
            unskipped: 0,
            adjustment: 0,
            offset: 0,
            field,
            order: ByteOrder::Big,
            when_oversized: WhenOversized::Refuse,
            keeps_header: false,
        }
    }

    /// The lowest byte of the length comes first. Says nothing about a varint.
    pub const fn little_endian(mut self) -> LengthPrefixed {
        self.order = ByteOrder::Little;
        self
    }

    /// Sets how many bytes stand in front of the length field. Default 0.
    pub const fn with_offset(mut self, offset: u16) -> LengthPrefixed {
        self.offset = offset;
        self
    }

    /// Sets what is added to the field's value to get the length of the body: how many bytes
    /// follow the field. Default 0; negative if the value counts the header or a part of it.
    pub const fn with_adjustment(mut self, adjustment: i64) -> LengthPrefixed {
        self.adjustment = adjustment;
        self
    }

    /// Makes the header, that is, the offset bytes and the field, a part of the frame and of the
    /// message.
    pub const fn keep_header(mut self) -> LengthPrefixed {
        self.keeps_header = true;
        self
    }

    /// Sets how many bytes a body may have: what follows the length field. Default 1 MiB.
    pub const fn with_max_len(mut self, max_len: usize) -> LengthPrefixed {
        self.max_len = if max_len < MAX_FRAME_LEN {
            max_len
        } else {
            MAX_FRAME_LEN
        };
        self
    }

    /// Skips and reports a frame that is too long, instead of refusing it. Its bytes are thrown
    /// away as they come.
    pub const fn skip_oversized(mut self) -> LengthPrefixed {
        self.when_oversized = WhenOversized::Skip;
        self
    }

    #[inline]
    fn header(&self, input: &[u8]) -> Result<Header, LengthPrefixedError> {
        let offset = usize::from(self.offset);
        let field = input.get(offset..).unwrap_or_default();
        let Some((value, field_len)) = self.field.read(self.order, field)? else {
            // A varint's length shows with its last byte only.
            let needed = (offset + self.field.min_len()).max(input.len() + 1);
            return Ok(Header::Incomplete { needed });
        };
        let Some(body_len) = value.checked_add_signed(self.adjustment) else {
            return Err(LengthPrefixedError::Impossible {
                value,
                adjustment: self.adjustment,
            });
        };
        Ok(Header::Complete {
            header_len: offset + field_len,
            body_len,
        })
    }

    #[cold]
    fn on_oversized<'a>(
        &mut self,
        input: &'a [u8],
        header_len: usize,
        body_len: u64,
    ) -> Decoded<'a, LengthPrefixed> {
        let error = LengthPrefixedError::TooLong {
            len: body_len,
            limit: self.max_len,
        };
        match self.when_oversized {
            WhenOversized::Refuse => Err(error),
            WhenOversized::Skip => {
                // A frame that ends beyond 2^64 bytes does not end.
                self.unskipped = body_len.saturating_add(header_len as u64);
                Ok(skip_counted(&mut self.unskipped, input, Some(error)))
            }
        }
    }

    /// What the field says of a message of `len` bytes, `offset` of which stand in front of it.
    #[inline]
    fn field_value(&self, len: usize) -> Result<u64, EncodeError> {
        let offset = usize::from(self.offset);
        let too_short = |body_min: usize| {
            let min = body_min.saturating_add(offset);
            Err(EncodeError::TooShort { len, min })
        };
        let Some(body_len) = len.checked_sub(offset) else {
            return too_short(0);
        };
        // In 128 bits nothing here can overflow.
        let value = body_len as i128 - i128::from(self.adjustment);
        let field_limit = i128::from(self.field.max_value()) + i128::from(self.adjustment);
        let limit = field_limit.clamp(0, self.max_len as i128) as usize;
        if body_len > limit {
            let limit = limit + offset;
            return Err(EncodeError::TooLong { len, limit });
        }
        match u64::try_from(value) {
            Ok(value) if value <= self.field.max_value() => Ok(value),
            // The adjustment is beyond the field's range: no message can be sent.
            Ok(_) => Err(EncodeError::Refused),
            // The field's least value, 0, means a body of `adjustment` bytes.
            Err(_) => too_short(usize::try_from(self.adjustment).unwrap_or(usize::MAX)),
        }
    }

    /// Appends the header of a message of `len` bytes, if nobody but this framing writes it.
    #[cfg(feature = "digest")]
    pub(super) fn put_header(&self, len: usize, out: &mut Outbox) -> Result<(), EncodeError> {
        if self.keeps_header || self.offset > 0 {
            return Err(EncodeError::Refused);
        }
        let value = self.field_value(len)?;
        out.put(self.field.write(self.order, value).as_bytes());
        Ok(())
    }

    /// Whether `message` is one frame with its header.
    fn check_kept(&self, message: &[u8]) -> Result<(), EncodeError> {
        let len = message.len();
        match self.header(message) {
            Ok(Header::Complete {
                header_len,
                body_len,
            }) => {
                if body_len > self.max_len as u64 {
                    let limit = self.max_len + header_len;
                    return Err(EncodeError::TooLong { len, limit });
                }
                let expected = header_len + body_len as usize;
                if len == expected {
                    Ok(())
                } else {
                    Err(EncodeError::WrongLength { len, expected })
                }
            }
            Ok(Header::Incomplete { needed }) => Err(EncodeError::TooShort { len, min: needed }),
            Err(_) => Err(EncodeError::Refused),
        }
    }
}

/// A length of four bytes in network byte order.
impl Default for LengthPrefixed {
    fn default() -> LengthPrefixed {
        LengthPrefixed::new(LengthField::U32)
    }
}

impl Decoder for LengthPrefixed {
    type Frame<'a> = &'a [u8];
    type Error = LengthPrefixedError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if self.unskipped > 0 {
            return Ok(skip_counted(&mut self.unskipped, input, None));
        }
        let (header_len, body_len) = match self.header(input)? {
            Header::Complete {
                header_len,
                body_len,
            } => (header_len, body_len),
            Header::Incomplete { needed } => return Ok(Step::More { needed }),
        };
        if body_len > self.max_len as u64 {
            return self.on_oversized(input, header_len, body_len);
        }
        // Within the limit, so that neither the cast nor the sum can overflow.
        let consumed = header_len + body_len as usize;
        let start = if self.keeps_header { 0 } else { header_len };
        match input.get(start..consumed) {
            Some(frame) => Ok(Step::Frame { frame, consumed }),
            None => Ok(Step::More { needed: consumed }),
        }
    }

    /// The longest body with its header.
    fn max_pending(&self) -> Option<usize> {
        Some(usize::from(self.offset) + self.field.max_len() + self.max_len)
    }
}

impl<P: Payload> Encoder<P> for LengthPrefixed {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        let message = item.as_bytes();
        if self.keeps_header {
            self.check_kept(message)?;
            item.put_into(out);
            return Ok(());
        }
        let value = self.field_value(message.len())?;
        let field = self.field.write(self.order, value);
        if self.offset == 0 {
            out.put(field.as_bytes());
            item.put_into(out);
        } else {
            // In two pieces, so that a large shared message is copied here: rare enough.
            let (front, body) = message.split_at(usize::from(self.offset));
            out.put(front);
            out.put(field.as_bytes());
            out.put(body);
        }
        Ok(())
    }
}

/// How the peer broke [`LengthPrefixed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthPrefixedError {
    /// A body of `len` bytes is announced, where `limit` are allowed.
    TooLong {
        /// Bytes that are announced to follow the length field.
        len: u64,
        /// Bytes that may follow it.
        limit: usize,
    },
    /// The field's value with the adjustment is less than nothing, or more than 64 bits hold.
    Impossible {
        /// What the field says.
        value: u64,
        /// What would be added to it.
        adjustment: i64,
    },
    /// A varint of more than 64 bits.
    VarintOverflow,
    /// A varint of more bytes than its value takes.
    VarintOverlong,
}

impl From<VarintError> for LengthPrefixedError {
    fn from(error: VarintError) -> LengthPrefixedError {
        match error {
            VarintError::Overflow => LengthPrefixedError::VarintOverflow,
            VarintError::Overlong => LengthPrefixedError::VarintOverlong,
        }
    }
}

impl fmt::Display for LengthPrefixedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LengthPrefixedError::TooLong { len, limit } => {
                write!(
                    f,
                    "a frame of {len} bytes is announced, {limit} are allowed"
                )
            }
            LengthPrefixedError::Impossible { value, adjustment } => {
                write!(f, "a length of {value} cannot be adjusted by {adjustment}")
            }
            LengthPrefixedError::VarintOverflow => f.write_str("a varint of more than 64 bits"),
            LengthPrefixedError::VarintOverlong => {
                f.write_str("a varint of more bytes than it takes")
            }
        }
    }
}

impl std::error::Error for LengthPrefixedError {}

const DEFAULT_MAX_LEN: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, check_every_split};
    use LengthField::{U8, U16, U24, U32, U64, Varint};

    type Events<'a> = &'a [Event<Vec<u8>, LengthPrefixedError>];

    const TOO_LONG: LengthPrefixedError = LengthPrefixedError::TooLong { len: 5, limit: 4 };

    fn of(field: LengthField) -> LengthPrefixed {
        LengthPrefixed::new(field)
    }

    fn frame(frame: &[u8]) -> Event<Vec<u8>, LengthPrefixedError> {
        Event::Frame(frame.into())
    }

    #[track_caller]
    fn check(frames: LengthPrefixed, input: &[u8], expected: Events<'_>) {
        check_every_split(|| frames, input, expected);
    }

    #[track_caller]
    fn check_encoded(
        mut frames: LengthPrefixed,
        item: &[u8],
        expected: Result<&[u8], EncodeError>,
    ) {
        let mut out = Outbox::new();
        let result = frames.encode(item, &mut out);
        assert_eq!(result, expected.map(|_| ()));
        assert_eq!(out.to_vec(), expected.unwrap_or_default());
    }

    #[test]
    fn a_length_of_every_width_and_order_is_followed_by_so_many_bytes() {
        for (frames, header) in [
            (of(U8), &[2][..]),
            (of(U16), &[0, 2]),
            (of(U16).little_endian(), &[2, 0]),
            (of(U24), &[0, 0, 2]),
            (of(U24).little_endian(), &[2, 0, 0]),
            (of(U32), &[0, 0, 0, 2]),
            (of(U32).little_endian(), &[2, 0, 0, 0]),
            (of(U64), &[0, 0, 0, 0, 0, 0, 0, 2]),
            (of(U64).little_endian(), &[2, 0, 0, 0, 0, 0, 0, 0]),
            (of(Varint), &[2]),
        ] {
            let whole = [header, b"ab"].concat();
            check_encoded(frames, b"ab", Ok(&whole));
            let twice = [&whole[..], &whole, &header[..header.len() - 1]].concat();
            let mut expected = vec![frame(b"ab"), frame(b"ab")];
            expected.extend((header.len() > 1).then_some(Event::Partial(header.len() - 1)));
            check(frames, &twice, &expected);
            let kept = frames.keep_header();
            check(kept, &whole, &[frame(&whole)]);
            check_encoded(kept, &whole, Ok(&whole));
        }
    }

    #[test]
    fn an_empty_body_is_a_frame() {
        check(of(U16), &[0, 0, 0, 0], &[frame(b""), frame(b"")]);
        check_encoded(of(U16), b"", Ok(&[0, 0]));
    }

    #[test]
    fn a_negative_adjustment_takes_off_what_the_value_counts_of_the_header() {
        let frames = of(U16).with_adjustment(-2);
        check(frames, b"\x00\x04ab", &[frame(b"ab")]);
        check_encoded(frames, b"ab", Ok(b"\x00\x04ab"));
        check(frames.keep_header(), b"\x00\x04ab", &[frame(b"\x00\x04ab")]);
    }

    #[test]
    fn a_positive_adjustment_adds_what_the_value_does_not_count() {
        let frames = of(U8).with_adjustment(1);
        check(frames, b"\x02Tab", &[frame(b"Tab")]);
        check_encoded(frames, b"Tab", Ok(b"\x02Tab"));
        check_encoded(frames, b"T", Ok(b"\x00T"));
        let error = EncodeError::TooShort { len: 0, min: 1 };
        check_encoded(frames, b"", Err(error));
    }

    #[test]
    fn bytes_in_front_of_the_length_are_stripped_and_put_back() {
        let frames = of(U16).with_offset(1);
        check(frames, b"T\x00\x02ab", &[frame(b"ab")]);
        check_encoded(frames, b"Tab", Ok(b"T\x00\x02ab"));
        let error = EncodeError::TooShort { len: 0, min: 1 };
        check_encoded(frames, b"", Err(error));
        check(
            frames.keep_header(),
            b"T\x00\x02ab",
            &[frame(b"T\x00\x02ab")],
        );
    }

    #[test]
    fn a_varint_header_of_several_bytes_is_waited_for() {
        let whole = [&[0xac, 2][..], &[b'x'; 300]].concat();
        let mut frames = of(Varint);
        assert_eq!(frames.decode(&whole[..1]), Ok(Step::More { needed: 2 }));
        assert_eq!(frames.decode(&whole[..2]), Ok(Step::More { needed: 302 }));
        check_encoded(frames, &whole[2..], Ok(&whole));
    }

    #[test]
    fn an_unfinished_frame_at_the_end_is_partial() {
        check(of(U16), b"\x00\x03ab", &[Event::Partial(4)]);
        check(of(U16).with_offset(3), b"ab", &[Event::Partial(2)]);
    }

    #[test]
    fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let frames = of(U8).with_max_len(4);
        check(frames, b"\x04abcd", &[frame(b"abcd")]);
        check(frames, b"\x05abcde", &[Event::Malformed(TOO_LONG)]);
        check(frames, b"\x05", &[Event::Malformed(TOO_LONG)]);
        check_encoded(frames, b"abcd", Ok(b"\x04abcd"));
        let error = EncodeError::TooLong { len: 5, limit: 4 };
        check_encoded(frames, b"abcde", Err(error));
    }

    #[test]
    fn an_oversized_frame_is_skipped_and_reported_once() {
        let frames = of(U16).with_max_len(4).skip_oversized();
        let skipped = Event::Skipped(TOO_LONG);
        let input = b"\x00\x01a\x00\x05abcde\x00\x01b";
        check(frames, input, &[frame(b"a"), skipped.clone(), frame(b"b")]);
        check(frames, b"\x00\x05ab", &[skipped]);
    }

    #[test]
    fn the_largest_claims_are_refused_or_skipped_without_reserving_anything() {
        let len = u64::MAX;
        let error = LengthPrefixedError::TooLong { len, limit: 4 };
        let max_varint = [&[0xff; 9][..], &[1]].concat();
        for (field, header) in [(U64, &[0xff; 8][..]), (Varint, &max_varint)] {
            let frames = of(field).with_max_len(4).with_offset(1);
            let input = [b"T", header, b"abc"].concat();
            check(frames, &input, &[Event::Malformed(error)]);
            check(frames.skip_oversized(), &input, &[Event::Skipped(error)]);
            let limit = MAX_FRAME_LEN;
            let error = LengthPrefixedError::TooLong { len, limit };
            let frames = frames.with_max_len(usize::MAX);
            check(frames, &input, &[Event::Malformed(error)]);
        }
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        let frames = of(U64).with_max_len(usize::MAX).with_offset(u16::MAX);
        assert!(frames.max_pending() > Some(MAX_FRAME_LEN));
        let claim = (MAX_FRAME_LEN as u64).to_be_bytes();
        let mut frames = frames.with_offset(0);
        let needed = MAX_FRAME_LEN + 8;
        assert_eq!(frames.decode(&claim), Ok(Step::More { needed }));
    }

    #[test]
    fn an_adjustment_below_zero_or_beyond_64_bits_is_refused() {
        for (adjustment, value) in [
            (-2, 1),
            (i64::MIN, 5),
            (1, u64::MAX),
            (i64::MAX, u64::MAX / 2 + 2),
        ] {
            let frames = of(U64).with_adjustment(adjustment).skip_oversized();
            let error = LengthPrefixedError::Impossible { value, adjustment };
            check(frames, &value.to_be_bytes(), &[Event::Malformed(error)]);
        }
    }

    #[test]
    fn a_message_that_the_field_cannot_hold_is_refused() {
        let error = |len, limit| Err(EncodeError::TooLong { len, limit });
        check_encoded(of(U8), &[0; 256], error(256, 255));
        check_encoded(of(U8).with_adjustment(-1), &[0; 255], error(255, 254));
        check_encoded(of(U8).with_adjustment(-300), &[0; 1], error(1, 0));
        check_encoded(of(U8).with_adjustment(-300), b"", Err(EncodeError::Refused));
        check_encoded(of(U8).with_offset(1), &[0; 257], error(257, 256));
        let frames = of(U64).with_adjustment(i64::MAX);
        let min = usize::try_from(i64::MAX).expect("64 bits");
        let error = EncodeError::TooShort { len: 1, min };
        check_encoded(frames, &[0; 1], Err(error));
    }

    #[test]
    fn a_message_with_a_wrong_header_of_its_own_is_refused() {
        let frames = of(U16).keep_header().with_max_len(4);
        for (message, error) in [
            (
                &b"\x00\x02a"[..],
                EncodeError::WrongLength {
                    len: 3,
                    expected: 4,
                },
            ),
            (
                b"\x00\x02abc",
                EncodeError::WrongLength {
                    len: 5,
                    expected: 4,
                },
            ),
            (b"\x00", EncodeError::TooShort { len: 1, min: 2 }),
            (b"\x00\x05abcde", EncodeError::TooLong { len: 7, limit: 6 }),
        ] {
            check_encoded(frames, message, Err(error));
        }
        let frames = of(Varint).keep_header();
        check_encoded(frames, &[0x80, 0], Err(EncodeError::Refused));
    }

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<LengthPrefixed>() <= 32);
    }
}
