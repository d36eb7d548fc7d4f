//! One connection that asks: it sends as often as it may, is woken when a request is due, and tells
//! its lane what becomes of it.
//!
//! Knows no protocol: what is sent, and what is an answer, `http.rs` and `tcp.rs` say.

use windlass::framing::Decoder;
use windlass::{CloseReason, Context, Intents, Mail, Patience, Protocol, TimerId};

use crate::lane::Lane;
use crate::stats::Failure;

/// What is sent, and what is an answer.
pub(crate) trait Exchange: Sized {
    type Decoder: Decoder;
    type Encoder;

    /// Sends the next request. Answers with its length in bytes.
    fn send(&mut self, cx: &mut Context<'_, Self::Encoder>) -> usize;

    /// Something came: perhaps an answer, which is told to the lane, before it goes on.
    fn on_frame(
        asking: &mut Asking<Self>,
        frame: <Self::Decoder as Decoder>::Frame<'_>,
        cx: &mut Context<'_, Self::Encoder>,
    );
}

/// A connection that asks.
pub(crate) struct Asking<E> {
    pub(crate) lane: Lane,
    pub(crate) exchange: E,
}

impl<E: Exchange> Asking<E> {
    /// After an answer: sends again, at once or when it has thought.
    #[inline]
    pub(crate) fn go_on(&mut self, cx: &mut Context<'_, E::Encoder>) {
        let think = self.lane.run.terms.think;
        if think.is_zero() {
            self.fill(cx);
        } else {
            cx.set_timer(think);
        }
    }

    /// Sends as much as may be sent.
    #[inline]
    fn fill(&mut self, cx: &mut Context<'_, E::Encoder>) {
        while self.lane.next(cx.token(), cx.now()) {
            self.send(cx);
        }
    }

    #[inline]
    fn send(&mut self, cx: &mut Context<'_, E::Encoder>) {
        let len = self.exchange.send(cx);
        self.lane.sent(cx.now(), len);
    }
}

impl<E: Exchange> Protocol for Asking<E> {
    type Decoder = E::Decoder;
    type Encoder = E::Encoder;

    fn on_open(&mut self, cx: &mut Context<'_, E::Encoder>) {
        self.lane.on_open();
        self.fill(cx);
    }

    #[inline]
    fn on_frame(
        &mut self,
        frame: <E::Decoder as Decoder>::Frame<'_>,
        cx: &mut Context<'_, E::Encoder>,
    ) {
        E::on_frame(self, frame, cx);
    }

    fn on_malformed(
        &mut self,
        error: <E::Decoder as Decoder>::Error,
        cx: &mut Context<'_, E::Encoder>,
    ) {
        self.lane.run.explain(|| error.to_string());
        self.lane.failed(cx.now(), Failure::Malformed);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, E::Encoder>) {
        self.fill(cx);
    }

    fn on_mail(&mut self, _: Mail, cx: &mut Context<'_, E::Encoder>) {
        if self.lane.next_parked(cx.token(), cx.now()) {
            self.send(cx);
            self.fill(cx);
        }
    }

    fn patience(&self) -> Option<&Patience> {
        Some(self.lane.patience())
    }

    fn on_timeout(&mut self, _: CloseReason, cx: &mut Context<'_, E::Encoder>) {
        self.lane.on_timeout(cx.now());
        cx.abort();
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.lane.on_close(reason, cx.now());
    }
}
