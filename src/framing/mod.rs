//! Framing: from bytes to frames and from messages to bytes.
//!
//! Pure: knows no sockets, no time and no reactor. Every framing of the crate is a [`Decoder`]
//! and an [`Encoder`], and so may be yours.
//!
//! | framing | a frame | default limit |
//! |---|---|---|
//! | [`Raw`] | is what one read returned | |
//! | [`Lines`] | ends with LF or CR LF | 8 KiB |
//! | [`Delimited`] | ends with any of some strings of bytes | 8 KiB |
//! | [`LengthPrefixed`] | begins with a binary length | 1 MiB |
//! | [`Netstring`] | begins with a decimal length, and ends with a comma | 1 MiB |
//! | [`Fixed`] | has one certain length | that |
//! | `Checked` | is another framing's, with a SHA-256 of it | that framing's |
//! | `Sealed` | is another framing's, with proof of sender and place | that framing's |
//! | `tokio_codec::Codec` | is what a codec for `tokio_util` makes of it | the codec's |
//!
//! All but the last lend frames from where the bytes lie. A frame beyond the limit is an error, or
//! is skipped and reported while the stream goes on: an option of each. [`testing`] checks that a
//! decoder, one of these or yours, does not care how the stream is cut.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::buffer::Outbox;

#[cfg(feature = "digest")]
mod checked;
mod delimited;
mod delimiters;
#[cfg(feature = "digest")]
mod envelope;
mod fixed;
mod length_field;
mod length_prefixed;
mod lines;
mod netstring;
mod oversize;
mod raw;
mod scan;
#[cfg(feature = "digest")]
mod sealed;
#[cfg(feature = "digest")]
mod sealed_error;
pub mod testing;
#[cfg(feature = "tokio-codec")]
pub mod tokio_codec;

#[cfg(feature = "digest")]
pub use checked::{Checked, CheckedError};
pub use delimited::{Delimited, DelimitedError, EmptyDelimiter};
#[cfg(feature = "digest")]
pub use envelope::Envelope;
pub use fixed::Fixed;
pub use length_field::LengthField;
pub use length_prefixed::{LengthPrefixed, LengthPrefixedError};
pub use lines::{Lines, LinesError};
pub use netstring::{Netstring, NetstringError};
pub use raw::Raw;
#[cfg(feature = "digest")]
pub(crate) use sealed::keyed;
#[cfg(feature = "digest")]
pub use sealed::{EndOfStream, Role, Sealed};
#[cfg(feature = "digest")]
pub use sealed_error::SealedError;

/// What a decoder says of its input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<F, E> {
    /// A frame, made of the first `consumed` bytes (at least one).
    Frame {
        /// The frame; it may borrow from the input and from the decoder.
        frame: F,
        /// Bytes of the input that are done with.
        consumed: usize,
    },
    /// The first `consumed` bytes (at least one) are of no use, and the stream goes on behind
    /// them. An oversized frame is skipped in as many steps as it takes, one of which reports it:
    /// in this crate the first, because the end may never come.
    Skip {
        /// Bytes of the input that are done with.
        consumed: usize,
        /// What was skipped and why, told to `Protocol::on_skipped`; `None` if that is told with
        /// another stretch of the same frame.
        report: Option<E>,
    },
    /// The frame is incomplete. The next call sees the same bytes and more behind them.
    More {
        /// How many bytes the whole frame has, if that is known, or 0. A hint.
        needed: usize,
    },
}

/// The answer of [`Decoder::decode`].
pub type Decoded<'a, D> =
    Result<Step<<D as Decoder>::Frame<'a>, <D as Decoder>::Error>, <D as Decoder>::Error>;

/// From bytes to frames.
///
/// A decoder is shown the stream from the first byte that it has not consumed. Whatever the way
/// in which the stream was cut on its way, it has to find the same frames: that it may see one
/// byte at a time, or ten frames at once, is the whole point of it. It must
///
/// - return at most one frame per call, and consume at least one byte with it;
/// - remember how far it has searched, so that a frame arriving byte by byte is scanned once;
/// - check a claimed length against its limit before it relies on it;
/// - blame the peer in its error, and nobody else.
///
/// ```
/// use windlass::framing::{Decoded, Decoder, Step};
///
/// /// Frames of a one-byte length and so many bytes.
/// struct Short;
///
/// impl Decoder for Short {
///     type Frame<'a> = &'a [u8];
///     type Error = std::convert::Infallible;
///
///     fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
///         let Some((&len, rest)) = input.split_first() else {
///             return Ok(Step::More { needed: 1 });
///         };
///         let len = usize::from(len);
///         match rest.get(..len) {
///             Some(frame) => Ok(Step::Frame { frame, consumed: 1 + len }),
///             None => Ok(Step::More { needed: 1 + len }),
///         }
///     }
/// }
///
/// assert_eq!(Short.decode(b"\x02hi\x03you"), Ok(Step::Frame { frame: &b"hi"[..], consumed: 3 }));
/// assert_eq!(Short.decode(b"\x03yo"), Ok(Step::More { needed: 4 }));
/// ```
pub trait Decoder {
    /// What is delivered; it may borrow from the input and from the decoder.
    type Frame<'a>
    where
        Self: 'a;
    /// What the peer did wrong.
    type Error: std::error::Error + 'static;

    /// Looks for the next frame at the beginning of `input`, which is not empty.
    ///
    /// After [`Step::More`] the input begins with the bytes of the last call; after anything else
    /// with what followed the consumed ones.
    ///
    /// # Errors
    /// The peer broke the framing. The decoder is not called again.
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self>;

    /// As [`Decoder::decode`], once no byte will follow `input`, which may be empty.
    ///
    /// Called until it answers [`Step::More`], which now means that there is no further frame:
    /// whatever is left of the input is an unfinished frame, and reported as such. Here, and only
    /// here, one frame may consume nothing; it is the last one.
    ///
    /// # Errors
    /// The peer broke the framing.
    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if input.is_empty() {
            Ok(Step::More { needed: 0 })
        } else {
            self.decode(input)
        }
    }

    /// The longest unfinished frame, in bytes, that the decoder may ask to see again: how much
    /// a connection keeps for it. `None`: `Limits::max_inbound`.
    fn max_pending(&self) -> Option<usize> {
        None
    }
}

/// From messages to bytes.
///
/// ```
/// use windlass::{Outbox, framing::{EncodeError, Encoder}};
///
/// /// Frames of a one-byte length and so many bytes.
/// struct Short;
///
/// impl Encoder<&[u8]> for Short {
///     fn encode(&mut self, item: &[u8], out: &mut Outbox) -> Result<(), EncodeError> {
///         let len = u8::try_from(item.len())
///             .map_err(|_| EncodeError::TooLong { len: item.len(), limit: 255 })?;
///         out.put(&[len]);
///         out.put(item);
///         Ok(())
///     }
/// }
///
/// let mut out = Outbox::new();
/// Short.encode(b"hi", &mut out)?;
/// assert_eq!(out.to_vec(), b"\x02hi");
/// # Ok::<(), EncodeError>(())
/// ```
pub trait Encoder<Item> {
    /// Appends `item` to `out`.
    ///
    /// # Errors
    /// The framing cannot represent `item`: the caller's mistake. Nothing was appended.
    fn encode(&mut self, item: Item, out: &mut Outbox) -> Result<(), EncodeError>;

    /// As [`Encoder::encode`], into bytes of their own: encoded once, they can be sent to many
    /// with `Intents::send_to`, even from `on_close`, where there is no encoder at hand.
    ///
    /// ```
    /// use windlass::framing::{Encoder, Lines};
    ///
    /// assert_eq!(Lines::new().encoded("hello")?, "hello\n");
    /// # Ok::<(), windlass::framing::EncodeError>(())
    /// ```
    ///
    /// # Errors
    /// The framing cannot represent `item`.
    fn encoded(&mut self, item: Item) -> Result<Bytes, EncodeError> {
        let mut out = Outbox::new();
        self.encode(item, &mut out)?;
        Ok(out.to_vec().into())
    }
}

/// A message that the framing cannot represent. The caller is to blame, not the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message has `len` bytes; the framing takes `limit`.
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// Bytes that the framing allows.
        limit: usize,
    },
    /// The message has `len` bytes; the framing takes exactly `expected`.
    WrongLength {
        /// Bytes of the message.
        len: usize,
        /// Bytes that every message has.
        expected: usize,
    },
    /// The message has `len` bytes; the framing takes no fewer than `min`.
    TooShort {
        /// Bytes of the message.
        len: usize,
        /// Bytes that the framing demands.
        min: usize,
    },
    /// The message contains the delimiter, at `position`, or forms one with what follows it: the
    /// peer would see something else.
    ContainsDelimiter {
        /// Offset in the message, in bytes.
        position: usize,
    },
    /// The end of the stream is encoded already; nothing may follow it.
    Ended,
    /// All sequence numbers are used up: a new key is needed.
    Exhausted,
    /// The message is wrong in a way that the framing describes, or its codec keeps to itself.
    Refused,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::TooLong { len, limit } => {
                write!(
                    f,
                    "a message of {len} bytes exceeds the framing's limit of {limit}"
                )
            }
            EncodeError::WrongLength { len, expected } => {
                write!(
                    f,
                    "a message of {len} bytes where the framing takes exactly {expected}"
                )
            }
            EncodeError::TooShort { len, min } => {
                write!(
                    f,
                    "a message of {len} bytes where the framing takes at least {min}"
                )
            }
            EncodeError::ContainsDelimiter { position } => {
                write!(f, "the message contains the delimiter at byte {position}")
            }
            EncodeError::Ended => f.write_str("a message behind the end of the stream"),
            EncodeError::Exhausted => f.write_str("the sequence numbers of the key are used up"),
            EncodeError::Refused => f.write_str("the framing refuses the message"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Bytes that a framing can send as the payload of a message: slices, arrays, strings, vectors
/// and [`Bytes`], the last without a copy where they are many.
///
/// ```
/// use windlass::Outbox;
/// use windlass::framing::{Encoder, Lines};
///
/// let (mut lines, mut out) = (Lines::new(), Outbox::new());
/// lines.encode("text", &mut out)?;
/// lines.encode(b"bytes", &mut out)?;
/// lines.encode(String::from_utf8_lossy(b"either"), &mut out)?;
/// assert_eq!(out.to_vec(), b"text\nbytes\neither\n");
/// # Ok::<(), windlass::framing::EncodeError>(())
/// ```
pub trait Payload {
    /// The bytes.
    fn as_bytes(&self) -> &[u8];

    /// Queues the bytes.
    fn put_into(self, out: &mut Outbox);
}

macro_rules! payload_by_copy {
    ($($type:ty),+) => { $(
        impl Payload for $type {
            fn as_bytes(&self) -> &[u8] {
                self.as_ref()
            }

            #[inline]
            fn put_into(self, out: &mut Outbox) {
                out.put(self.as_ref());
            }
        }
    )+ };
}

payload_by_copy!(&[u8], &str, String, &String, Vec<u8>, &Vec<u8>);

/// As `String::from_utf8_lossy` answers.
impl Payload for Cow<'_, str> {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }

    fn put_into(self, out: &mut Outbox) {
        out.put(str::as_bytes(&self));
    }
}

impl<const N: usize> Payload for &[u8; N] {
    fn as_bytes(&self) -> &[u8] {
        &self[..]
    }

    #[inline]
    fn put_into(self, out: &mut Outbox) {
        out.put(self);
    }
}

impl Payload for Bytes {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn put_into(self, out: &mut Outbox) {
        out.put_shared(self);
    }
}

impl Payload for &Bytes {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn put_into(self, out: &mut Outbox) {
        out.put_shared(self.clone());
    }
}
