//! `Raw`: what arrived is the frame.
//!
//! Pure, like every framing, and knows nothing of where a message ends.

use std::convert::Infallible;

use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// No framing at all: a frame is whatever one read returned, and a message is its bytes.
///
/// For protocols that do not care where one message ends, such as echo or a forwarder. How the
/// bytes are cut says nothing about how they were written.
///
/// ```
/// use windlass::framing::{Decoder, Raw, Step};
///
/// let mut raw = Raw;
/// let step = raw.decode(b"anything")?;
/// assert_eq!(step, Step::Frame { frame: &b"anything"[..], consumed: 8 });
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Decoder for Raw {
    type Frame<'a> = &'a [u8];
    type Error = Infallible;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        Ok(Step::Frame {
            frame: input,
            consumed: input.len(),
        })
    }
}

impl<P: Payload> Encoder<P> for Raw {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        item.put_into(out);
        Ok(())
    }
}
