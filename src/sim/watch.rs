//! `Watch` and `Watched`: a protocol that is held to account.
//!
//! It changes nothing about the protocol that it wraps; it knows only its callbacks.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::fabric::Fabric;
use super::failure::Problem;
use crate::close::CloseReason;
use crate::framing::Decoder;
use crate::limits::{Limits, Patience};
use crate::protocol::{Context, Intents, Mail, Protocol, TimerId};
use crate::token::Token;

/// Watches protocols: see [`World::watch`](super::World::watch).
#[derive(Clone)]
pub struct Watch {
    fabric: Rc<RefCell<Fabric>>,
    limits: Rc<Limits>,
}

impl Watch {
    pub(super) fn new(fabric: Rc<RefCell<Fabric>>) -> Watch {
        let limits = Rc::default();
        Watch { fabric, limits }
    }

    /// The limits that the connections have which are watched. Default: `Limits::default()`.
    #[must_use]
    pub fn limits(&self, limits: &Limits) -> Watch {
        Watch {
            fabric: Rc::clone(&self.fabric),
            limits: Rc::new(limits.clone()),
        }
    }

    /// The same protocol, watched.
    pub fn over<P: Protocol>(&self, protocol: P) -> Watched<P> {
        self.fabric.borrow_mut().watched += 1;
        Watched {
            protocol,
            watch: self.clone(),
            is_closed: false,
            is_overdue: false,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// A protocol of which the world knows that it is told of its end exactly once, that nothing is
/// called afterwards, and that its queue stays within its limits.
#[derive(Debug)]
pub struct Watched<P> {
    protocol: P,
    watch: Watch,
    is_closed: bool,
    /// It was asked for its last word, after which the connection finishes.
    is_overdue: bool,
}

impl<P> Watched<P> {
    fn on_call(&self, callback: &str, token: Token, queued_len: usize) {
        if self.is_closed {
            let text = format!("{token}: {callback} was called after on_close");
            self.watch.fabric.borrow_mut().fail(Problem::Close, text);
        }
        let max = self.watch.limits.max_outbound;
        if queued_len > max {
            let text = format!("{token}: {queued_len} bytes are queued; {max} are allowed");
            self.watch.fabric.borrow_mut().fail(Problem::Limit, text);
        }
    }

    /// A frame must not be delivered while too much output of its own is queued.
    fn on_delivery(&self, callback: &str, token: Token, queued_len: usize) {
        self.on_call(callback, token, queued_len);
        let high_water = self.watch.limits.high_water;
        if queued_len > high_water {
            let text = format!(
                "{token}: {callback} was called while {queued_len} bytes were queued; \
                 the high water is {high_water}"
            );
            self.watch.fabric.borrow_mut().fail(Problem::Limit, text);
        }
    }
}

impl<P: Protocol> Protocol for Watched<P> {
    type Decoder = P::Decoder;
    type Encoder = P::Encoder;

    fn on_open(&mut self, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_open", cx.token(), cx.queued_len());
        self.protocol.on_open(cx);
    }

    fn on_frame(
        &mut self,
        frame: <P::Decoder as Decoder>::Frame<'_>,
        cx: &mut Context<'_, P::Encoder>,
    ) {
        self.on_delivery("on_frame", cx.token(), cx.own_len());
        self.protocol.on_frame(frame, cx);
    }

    fn on_skipped(
        &mut self,
        report: <P::Decoder as Decoder>::Error,
        cx: &mut Context<'_, P::Encoder>,
    ) {
        self.on_delivery("on_skipped", cx.token(), cx.own_len());
        self.protocol.on_skipped(report, cx);
    }

    fn on_malformed(
        &mut self,
        error: <P::Decoder as Decoder>::Error,
        cx: &mut Context<'_, P::Encoder>,
    ) {
        self.on_delivery("on_malformed", cx.token(), cx.own_len());
        self.protocol.on_malformed(error, cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_drain", cx.token(), cx.queued_len());
        self.protocol.on_drain(cx);
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_timer", cx.token(), cx.queued_len());
        self.protocol.on_timer(timer, cx);
    }

    fn patience(&self) -> Option<&Patience> {
        self.protocol.patience()
    }

    fn on_timeout(&mut self, reason: CloseReason, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_timeout", cx.token(), cx.queued_len());
        if std::mem::replace(&mut self.is_overdue, true) {
            let text = format!("{}: on_timeout was called twice", cx.token());
            self.watch.fabric.borrow_mut().fail(Problem::Close, text);
        }
        self.protocol.on_timeout(reason, cx);
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_mail", cx.token(), cx.queued_len());
        self.protocol.on_mail(mail, cx);
    }

    fn on_eof(&mut self, partial_len: usize, cx: &mut Context<'_, P::Encoder>) {
        self.on_delivery("on_eof", cx.token(), cx.own_len());
        self.protocol.on_eof(partial_len, cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_, P::Encoder>) {
        self.on_call("on_shutdown", cx.token(), cx.queued_len());
        self.protocol.on_shutdown(cx);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.on_call("on_close", cx.token(), 0);
        if !self.is_closed {
            self.is_closed = true;
            self.watch.fabric.borrow_mut().watched -= 1;
        }
        self.protocol.on_close(reason, cx);
    }
}
