//! Load for echo servers over TCP and Unix sockets, in any framing of the crate.
//!
//! Every message that comes back is compared with the one that was sent. Knows neither when to
//! send nor what is measured.

use std::marker::PhantomData;
use std::rc::Rc;

use bytes::Bytes;

use windlass::framing::{Decoder, Encoder};
use windlass::{CloseReason, Context, Intents, Mail, Patience, Protocol, TimerId};

use crate::lane::Lane;
use crate::stats::Failure;

/// What is sent, and how it comes back.
pub(crate) struct Message {
    pub(crate) bytes: Bytes,
    /// Its length as it is framed, or as near as that matters.
    pub(crate) wire_len: usize,
    /// There are no frames: what was sent may come back in pieces, or with what follows it.
    pub(crate) is_stream: bool,
}

/// Sends messages, and compares what comes back.
pub(crate) struct Asking<C> {
    lane: Lane,
    message: Rc<Message>,
    /// Of a stream: how much of the oldest message is here, and whether it is as it was sent.
    got: usize,
    is_same: bool,
    framing: PhantomData<C>,
}

impl<C> Asking<C>
where
    C: Decoder,
    for<'m> C: Encoder<&'m [u8]>,
{
    pub(crate) fn new(lane: Lane, message: &Rc<Message>) -> Asking<C> {
        Asking {
            lane,
            message: Rc::clone(message),
            got: 0,
            is_same: true,
            framing: PhantomData,
        }
    }

    fn send(&mut self, cx: &mut Context<'_, C>) {
        cx.send(&self.message.bytes[..]);
        self.lane.sent(self.message.wire_len);
    }

    /// Sends as much as may be sent.
    #[inline]
    fn fill(&mut self, cx: &mut Context<'_, C>) {
        while self.lane.next(cx.token(), cx.now()) {
            self.send(cx);
        }
    }

    fn answered(&mut self, is_whole: bool, is_same: bool, cx: &mut Context<'_, C>) {
        let verdict = match (is_whole, is_same) {
            (true, true) => Ok(()),
            (false, _) => Err(Failure::Length),
            (true, false) => Err(Failure::Content),
        };
        let len = self.message.wire_len as u64;
        self.lane.answered(cx.now(), verdict, len);
        if !self.lane.run.terms.keep_alive {
            self.lane.end();
            cx.finish();
            return;
        }
        let think = self.lane.run.terms.think;
        if think.is_zero() {
            self.fill(cx);
        } else {
            cx.set_timer(think);
        }
    }

    fn on_piece(&mut self, mut bytes: &[u8], cx: &mut Context<'_, C>) {
        while !bytes.is_empty() {
            if !self.lane.is_waiting() {
                self.lane
                    .run
                    .explain(|| "more came back than was sent".into());
                return cx.abort();
            }
            let wanted = &self.message.bytes[self.got..];
            let len = wanted.len().min(bytes.len());
            self.is_same &= wanted[..len] == bytes[..len];
            self.got += len;
            bytes = &bytes[len..];
            if self.got == self.message.bytes.len() {
                let is_same = std::mem::replace(&mut self.is_same, true);
                self.got = 0;
                self.answered(true, is_same, cx);
            }
        }
    }
}

impl<C> Protocol for Asking<C>
where
    C: Decoder,
    for<'m> C: Encoder<&'m [u8]>,
    for<'f> C::Frame<'f>: AsRef<[u8]>,
{
    type Decoder = C;
    type Encoder = C;

    fn on_open(&mut self, cx: &mut Context<'_, C>) {
        self.lane.on_open();
        self.fill(cx);
    }

    #[inline]
    fn on_frame(&mut self, frame: C::Frame<'_>, cx: &mut Context<'_, C>) {
        let frame = frame.as_ref();
        if self.message.is_stream {
            return self.on_piece(frame, cx);
        }
        let sent = &self.message.bytes;
        let (is_whole, is_same) = (frame.len() == sent.len(), frame == sent);
        self.answered(is_whole, is_same, cx);
    }

    fn on_malformed(&mut self, error: C::Error, cx: &mut Context<'_, C>) {
        self.lane.run.explain(|| error.to_string());
        self.lane.failed(cx.now(), Failure::Malformed);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, C>) {
        self.fill(cx);
    }

    fn on_mail(&mut self, _: Mail, cx: &mut Context<'_, C>) {
        if self.lane.next_parked(cx.token(), cx.now()) {
            self.send(cx);
            self.fill(cx);
        }
    }

    fn patience(&self) -> Option<&Patience> {
        Some(self.lane.patience())
    }

    fn on_timeout(&mut self, _: CloseReason, cx: &mut Context<'_, C>) {
        self.lane.on_timeout(cx.now());
        cx.abort();
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.lane.on_close(reason, cx.now());
    }
}
