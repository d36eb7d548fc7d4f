//! Load for echo servers over TCP and Unix sockets, in any framing of the crate.
//!
//! Every message that comes back is compared with the one that was sent. Knows neither when to
//! send nor what is measured.

use std::rc::Rc;

use bytes::Bytes;

use windlass::Context;
use windlass::framing::{Decoder, Encoder};

use crate::asking::{Asking, Exchange};
use crate::stats::Failure;

/// What is sent, and how it comes back.
pub(crate) struct Message {
    pub(crate) bytes: Bytes,
    /// There are no frames: what was sent may come back in pieces, or with what follows it.
    pub(crate) is_stream: bool,
}

/// One connection's messages.
pub(crate) struct Echoed<C> {
    message: Rc<Message>,
    /// Of a stream: how much of the oldest message is here, and whether it is as it was sent.
    got: usize,
    is_same: bool,
    /// Sends what belongs behind the last message of a connection.
    farewell: fn(&mut Context<'_, C>),
}

impl<C> Echoed<C> {
    pub(crate) fn new(message: &Rc<Message>, farewell: fn(&mut Context<'_, C>)) -> Echoed<C> {
        Echoed {
            message: Rc::clone(message),
            got: 0,
            is_same: true,
            farewell,
        }
    }
}

impl<C> Exchange for Echoed<C>
where
    C: Decoder,
    for<'m> C: Encoder<&'m [u8]>,
    for<'f> C::Frame<'f>: AsRef<[u8]>,
{
    type Decoder = C;
    type Encoder = C;

    fn send(&mut self, cx: &mut Context<'_, C>) -> usize {
        cx.send(&self.message.bytes[..]);
        self.message.bytes.len()
    }

    #[inline]
    fn on_frame(asking: &mut Asking<Echoed<C>>, frame: C::Frame<'_>, cx: &mut Context<'_, C>) {
        let frame = frame.as_ref();
        let message = &asking.exchange.message;
        if message.is_stream {
            return asking.on_piece(frame, cx);
        }
        let sent = &message.bytes;
        let verdict = if frame.len() != sent.len() {
            let len = frame.len();
            asking.lane.explain(|| format!("a message of {len} bytes"));
            Err(Failure::Length)
        } else if frame != sent {
            asking.lane.explain(|| OTHER_BYTES.into());
            Err(Failure::Content)
        } else {
            Ok(())
        };
        asking.on_answer(verdict, 0, cx);
    }
}

impl<C> Asking<Echoed<C>>
where
    C: Decoder,
    for<'m> C: Encoder<&'m [u8]>,
    for<'f> C::Frame<'f>: AsRef<[u8]>,
{
    /// Answers whether the connection goes on. Behind the answer come so many bytes of its frame.
    fn on_answer(
        &mut self,
        verdict: Result<(), Failure>,
        rest: usize,
        cx: &mut Context<'_, C>,
    ) -> bool {
        let len = self.exchange.message.bytes.len() as u64;
        if !self.answered(verdict, len, rest, cx) {
            return false;
        }
        let goes_on = self.lane.run.terms.keep_alive;
        if goes_on {
            self.go_on(cx);
        } else {
            self.lane.end();
            (self.exchange.farewell)(cx);
            cx.finish();
        }
        goes_on
    }

    fn on_piece(&mut self, mut bytes: &[u8], cx: &mut Context<'_, C>) {
        while !bytes.is_empty() {
            if !self.is_owed() {
                return self.surplus(cx);
            }
            let exchange = &mut self.exchange;
            let wanted = &exchange.message.bytes[exchange.got..];
            let len = wanted.len().min(bytes.len());
            exchange.is_same &= wanted[..len] == bytes[..len];
            exchange.got += len;
            bytes = &bytes[len..];
            if exchange.got == exchange.message.bytes.len() {
                let is_same = std::mem::replace(&mut exchange.is_same, true);
                exchange.got = 0;
                let verdict = if is_same {
                    Ok(())
                } else {
                    self.lane.explain(|| OTHER_BYTES.into());
                    Err(Failure::Content)
                };
                if !self.on_answer(verdict, bytes.len(), cx) {
                    return;
                }
            }
        }
    }
}

/// Why an echo is none.
pub(crate) const OTHER_BYTES: &str = "other bytes than were sent";
