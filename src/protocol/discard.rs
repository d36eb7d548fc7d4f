//! `Discard`: takes everything and says nothing (RFC 863).
//!
//! Knows nothing of how bytes are framed: it uses none.

use super::{Context, Protocol};
use crate::framing::Raw;

/// Throws away what it receives.
///
/// ```no_run
/// use windlass::{Discard, Reactor};
///
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:9009", |_| Discard)?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Protocol for Discard {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}
}
