//! One connection that asks: it sends as often as it may, is woken when a request is due, and tells
//! its lane what becomes of it.
//!
//! Knows no protocol: what is sent, and what is an answer, `http.rs` and `tcp.rs` say.

use std::rc::Rc;

use windlass::framing::Decoder;
use windlass::{CloseReason, Context, Intents, Mail, Patience, Protocol, TimerId};

use crate::lane::Lane;
use crate::stats::Failure;
use crate::surplus::{Arrived, Watched};

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

    /// What is counted when the decoder refuses what came.
    fn failure(_: &<Self::Decoder as Decoder>::Error) -> Failure {
        Failure::Malformed
    }
}

/// A connection that asks.
pub(crate) struct Asking<E> {
    pub(crate) lane: Lane,
    pub(crate) exchange: E,
    arrived: Rc<Arrived>,
    /// How many answers the bytes that are being decoded may hold: as many requests were without
    /// one when they came.
    owed: usize,
}

impl<E: Exchange> Asking<E> {
    /// What a connection is opened with.
    pub(crate) fn stack(
        lane: Lane,
        exchange: E,
        codecs: (E::Decoder, E::Encoder),
    ) -> (Watched<E::Decoder>, E::Encoder, Asking<E>) {
        let (decoder, arrived) = Watched::new(codecs.0);
        let asking = Asking {
            lane,
            exchange,
            arrived,
            owed: 0,
        };
        (decoder, codecs.1, asking)
    }

    /// An answer came, and behind it `rest` more bytes of the same frame. Answers whether all is
    /// well so far: bytes that came when no request was without an answer are none, and neither are
    /// those behind the last answer that was owed.
    #[inline]
    pub(crate) fn answered(
        &mut self,
        verdict: Result<(), Failure>,
        len: u64,
        rest: usize,
        cx: &mut Context<'_, E::Encoder>,
    ) -> bool {
        if self.owed > 0 {
            self.owed -= 1;
            self.lane.answered(cx.now(), verdict, len);
            if self.owed > 0 || (rest == 0 && !self.arrived.is_followed()) {
                return true;
            }
            if verdict.is_err() && !self.lane.is_waiting() {
                // It was too long, or another protocol: that is one error.
                self.lane.end();
                cx.abort();
                return false;
            }
        }
        self.surplus(cx);
        false
    }

    /// Whether what is being decoded may hold an answer.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed > 0
    }

    /// Something came that answers no request: an error, and the end of the connection, since
    /// nobody knows what the next bytes belong to.
    #[cold]
    pub(crate) fn surplus(&mut self, cx: &mut Context<'_, E::Encoder>) {
        self.lane
            .explain(|| "more came back than was asked for".into());
        self.lane.refused(cx.now(), Failure::Unasked);
        cx.abort();
    }

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
    type Decoder = Watched<E::Decoder>;
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
        if self.arrived.is_new() {
            self.owed = self.lane.waiting();
        }
        E::on_frame(self, frame, cx);
    }

    fn on_malformed(
        &mut self,
        error: <E::Decoder as Decoder>::Error,
        cx: &mut Context<'_, E::Encoder>,
    ) {
        self.lane.explain(|| error.to_string());
        // Of a connection that has all it was made for, the end is all that is awaited.
        if self.lane.is_waiting() || !self.lane.is_ending() {
            self.lane.refused(cx.now(), E::failure(&error));
        }
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
