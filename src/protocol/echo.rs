//! `Echo`: sends every frame back (RFC 862), over any framing.
//!
//! Knows nothing of how frames look.

use std::fmt;
use std::marker::PhantomData;

use super::{Context, Protocol};
use crate::framing::{Decoder, Encoder};

/// Sends back what it receives, frame by frame.
///
/// `C` is a framing that is both decoder and encoder and can send what it receives; all framings
/// of this crate are. A large frame is written from where it was read, without a copy.
///
/// Over `framing::Sealed` every frame is sealed, but not the end of the stream, which the peer
/// takes for a cut. A protocol of yours sends `EndOfStream` before it finishes.
///
/// ```no_run
/// use windlass::{Echo, Raw, Reactor};
///
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:7000", |_| Echo::<Raw>::default())?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
pub struct Echo<C> {
    framing: PhantomData<C>,
}

impl<C> Default for Echo<C> {
    fn default() -> Echo<C> {
        Echo {
            framing: PhantomData,
        }
    }
}

impl<C> fmt::Debug for Echo<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}

impl<C> Protocol for Echo<C>
where
    C: Decoder,
    for<'f> C: Encoder<C::Frame<'f>>,
{
    type Decoder = C;
    type Encoder = C;

    #[inline]
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) {
        cx.send(frame);
    }
}
