//! `Context`: what a callback is given to act with.
//!
//! A typed view of [`Effects`]; it decides nothing, and knows nothing of how a wish is met.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::driver::IntoDriver;
use super::effects::{Effects, Ending, Intents, Sent};
use crate::buffer::Outbox;
use crate::close::CloseReason;
use crate::framing::{EncodeError, Encoder};

/// A callback's hands: its own connection's output, and [`Intents`] for everything else.
///
/// It also implements [`std::io::Write`], for bytes that are already framed.
pub struct Context<'a, E> {
    effects: &'a mut Effects,
    encoder: &'a mut E,
}

impl<'a, E> Context<'a, E> {
    pub(crate) fn new(effects: &'a mut Effects, encoder: &'a mut E) -> Context<'a, E> {
        Context { effects, encoder }
    }

    /// Sends a message to the peer.
    ///
    /// The answer may be ignored: the message is either queued, in order, or the connection is
    /// ending. A message that the framing cannot represent ends it, with
    /// [`CloseReason::Unencodable`]; [`Context::try_send`] returns that as an error instead.
    #[inline]
    pub fn send<Item>(&mut self, item: Item) -> Sent
    where
        E: Encoder<Item>,
    {
        match self.try_send(item) {
            Ok(sent) => sent,
            Err(error) => {
                log::error!("{}: a message could not be sent: {error}", self.token());
                self.effects
                    .control
                    .end(Ending::Finish(CloseReason::Unencodable));
                Sent::Closed
            }
        }
    }

    /// As [`Context::send`], for a caller who deals with messages that do not fit the framing.
    ///
    /// # Errors
    /// The framing cannot represent `item`; nothing was sent.
    #[inline]
    pub fn try_send<Item>(&mut self, item: Item) -> Result<Sent, EncodeError>
    where
        E: Encoder<Item>,
    {
        if self.effects.control.is_mute {
            return Ok(Sent::Closed);
        }
        self.encoder.encode(item, &mut self.effects.out)?;
        Ok(self.status())
    }

    /// Encodes a message without sending it, to be sent to many with [`Intents::send_to`].
    ///
    /// # Errors
    /// The framing cannot represent `item`.
    pub fn encoded<Item>(&mut self, item: Item) -> Result<Bytes, EncodeError>
    where
        E: Encoder<Item>,
    {
        self.encoder.encoded(item)
    }

    /// The output queue itself, for bytes that are already framed.
    ///
    /// What is written here after [`Context::finish`] still leaves with the rest; once our FIN is
    /// out, it is thrown away.
    pub fn out(&mut self) -> &mut Outbox {
        &mut self.effects.out
    }

    /// The encoder, for instance to change a setting of it.
    pub fn encoder(&mut self) -> &mut E {
        self.encoder
    }

    /// Bytes that are queued to the peer.
    pub fn queued_len(&self) -> usize {
        self.effects.out.len()
    }

    /// Bytes that are queued to the peer, without what others forwarded.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn own_len(&self) -> usize {
        self.effects.out.own_len()
    }

    /// Whether sending is of use now: our half is open and no more than the high water is queued.
    pub fn is_writable(&self) -> bool {
        self.status() == Sent::Queued
    }

    /// Ends the connection in order: what is queued is sent, then our FIN, and what the peer
    /// still sends is thrown away until its own FIN. No further frame is delivered.
    pub fn finish(&mut self) {
        self.effects
            .control
            .end(Ending::Finish(CloseReason::Finished));
    }

    /// As [`Context::finish`], for a peer that has said that it sends nothing more, as HTTP's
    /// `Connection: close` does (RFC 9112, section 9.6). If what is queued leaves at once and no
    /// input is left, the connection is closed without waiting for the peer's FIN; otherwise the
    /// peer is waited for. One that does not keep its word may lose the last reply.
    pub fn finish_both(&mut self) {
        self.effects.control.is_peer_done = true;
        self.finish();
    }

    /// Ends our half: what is queued is sent, then our FIN. Frames are still delivered until the
    /// peer ends its half.
    pub fn finish_writes(&mut self) {
        self.effects.control.finish_writes = true;
        self.effects.control.is_mute = true;
        self.effects.control.is_stopping = true;
    }

    /// Ends the connection at once with a reset. What is queued is lost.
    pub fn abort(&mut self) {
        self.effects
            .control
            .end(Ending::Abort(CloseReason::Aborted));
    }

    /// Stops decoding and reading until [`Context::resume`]. The peer is slowed down by TCP.
    pub fn pause(&mut self) {
        self.effects.control.is_paused = true;
        self.effects.control.is_stopping = true;
    }

    /// Goes on after [`Context::pause`].
    pub fn resume(&mut self) {
        self.effects.control.is_paused = false;
    }

    /// Hands the connection over to another protocol, with its own framing. The input behind the
    /// frame that is being handled is left to it, and its `on_open` is called; this protocol ends
    /// with [`CloseReason::Switched`], and its timers with it. What it has sent leaves first.
    pub fn switch(&mut self, protocol: impl IntoDriver) {
        self.effects.control.switch = Some(Box::new(protocol.into_driver()));
        self.effects.control.is_stopping = true;
    }

    #[inline]
    fn status(&self) -> Sent {
        if self.effects.control.is_mute || self.effects.out.has_overflowed() {
            Sent::Closed
        } else if self.effects.out.len() > self.effects.high_water {
            Sent::HighWater
        } else {
            Sent::Queued
        }
    }
}

impl<E> Deref for Context<'_, E> {
    type Target = Intents;

    fn deref(&self) -> &Intents {
        &self.effects.intents
    }
}

impl<E> DerefMut for Context<'_, E> {
    fn deref_mut(&mut self) -> &mut Intents {
        &mut self.effects.intents
    }
}

impl<E> io::Write for Context<'_, E> {
    /// Always takes all of `bytes`; see [`Outbox`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.effects.control.is_mute {
            self.effects.out.put(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<E> fmt::Debug for Context<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("intents", &self.effects.intents)
            .finish_non_exhaustive()
    }
}
