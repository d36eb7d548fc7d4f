//! `Envelope`: framings that can be put around a message in pieces.
//!
//! Knows lengths; what is put inside is the business of whoever writes it.

use super::{EncodeError, LengthPrefixed, Netstring};
use crate::buffer::Outbox;

/// A framing that is put around any bytes, once their number is known.
///
/// [`Checked`](super::Checked) and [`Sealed`](super::Sealed) send a message and a digest of it as
/// one frame, without putting the two together in a buffer first. Framings that look for an end,
/// such as [`Lines`](super::Lines), are none: a digest may contain it.
///
/// ```
/// use windlass::{Outbox, framing::{EncodeError, Envelope, LengthField, LengthPrefixed}};
///
/// let mut out = Outbox::new();
/// let mut frames = LengthPrefixed::new(LengthField::U16);
/// frames.put_head(5, &mut out)?;
/// out.put(b"two");
/// out.put(b"ps");
/// frames.put_tail(&mut out);
/// assert_eq!(out.to_vec(), b"\x00\x05twops");
/// # Ok::<(), EncodeError>(())
/// ```
pub trait Envelope {
    /// Appends what stands in front of a message of `len` bytes.
    ///
    /// # Errors
    /// The framing cannot represent such a message. Nothing was appended.
    fn put_head(&mut self, len: usize, out: &mut Outbox) -> Result<(), EncodeError>;

    /// Appends what stands behind the message.
    fn put_tail(&mut self, out: &mut Outbox) {
        let _ = out;
    }
}

/// Without offset bytes and a header that the caller writes: [`EncodeError::Refused`].
impl Envelope for LengthPrefixed {
    #[inline]
    fn put_head(&mut self, len: usize, out: &mut Outbox) -> Result<(), EncodeError> {
        self.put_header(len, out)
    }
}

impl Envelope for Netstring {
    #[inline]
    fn put_head(&mut self, len: usize, out: &mut Outbox) -> Result<(), EncodeError> {
        self.put_header(len, out)
    }

    #[inline]
    fn put_tail(&mut self, out: &mut Outbox) {
        out.put(b",");
    }
}
