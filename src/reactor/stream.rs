//! `StreamEntry`: a connection in the reactor: reads, writes and the latch between them.
//!
//! It moves bytes between a socket and a `Connection`, and does what the latter's state demands.
//! Knows no concrete protocol, and no socket but as the network hands it out.

use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::core::{Command, Core, Entry, Outcome};
use super::service::{Service, add};
use super::timers::TimerKey;
use super::writing::write;
use crate::buffer::Reuse;
use crate::close::CloseReason;
use crate::connection::{Connection, Event, Flags, Need, State};
use crate::net::{Address, Network, Readiness, StreamOptions};
use crate::protocol::{Driver, Stop};
use crate::token::Token;

/// A stream socket with the connection that runs on it.
pub(super) struct StreamEntry<N: Network, D> {
    pub(super) conn: Connection<D>,
    pub(super) service: Rc<Service>,
    pub(super) armed: Option<TimerKey>,
    /// `None` while we wait to connect again.
    pub(super) stream: Option<N::Stream>,
    /// What the poller has reported and no operation has refuted yet: `READABLE` and `WRITABLE`,
    /// and `READ_CLOSED` for any hint that a short read may not have been the last word.
    ///
    /// The poller reports edges: only `WouldBlock`, or a short read where that is proven safe,
    /// may clear a bit, or the connection would sleep for ever.
    pub(super) latch: Readiness,
}

impl<N: Network, D: Driver> StreamEntry<N, D> {
    /// A connection that is made.
    pub(super) fn accepted(
        stream: N::Stream,
        driver: D,
        service: Rc<Service>,
        tick: u64,
    ) -> StreamEntry<N, D> {
        service.on_opened();
        StreamEntry {
            conn: Connection::open(driver, tick),
            service,
            armed: None,
            stream: Some(stream),
            latch: Readiness::WRITABLE,
        }
    }

    /// Serves the connection until there is nothing to do, a budget is spent, or something was
    /// recorded that others have to see first.
    ///
    /// Answers whether more could be done at once.
    #[inline(always)]
    pub(super) fn run(&mut self, core: &mut Core<N>) -> bool {
        let mut is_runnable = self.work(core);
        if self.conn.is_shutdown_due(is_runnable) {
            self.conn.on_shutdown(&mut core.fx);
            self.settle(core, &[]);
            is_runnable = self.work(core);
        }
        is_runnable || self.is_sending(core)
    }

    /// Whether there is more of a file to be sent than one turn allows.
    #[inline]
    fn is_sending(&self, core: &Core<N>) -> bool {
        core.fx.out.in_files() > 0
            && self.latch.has(Readiness::WRITABLE)
            && !matches!(self.conn.state(), State::Connecting(_) | State::Closed(_))
    }

    fn work(&mut self, core: &mut Core<N>) -> bool {
        let mut bytes = core.budgets.bytes;
        let mut frames = core.budgets.frames;
        loop {
            // First for the output of others, then because whatever happened in the last round
            // may have ended our half: with nothing queued, no event would follow to tell us.
            self.flush(core, &[]);
            let need = self.conn.need(&core.fx.out, &self.service.limits);
            let is_spent = match need {
                Need::Rest => return false,
                Need::Read | Need::Discard if !self.latch.has(Readiness::READABLE) => return false,
                Need::Read | Need::Discard | Need::Drain => bytes == 0,
                Need::Drive | Need::Eof => frames == 0,
            };
            if is_spent {
                add(&self.service.counters.budget_spent, 1);
                return true;
            }
            if !core.fx.intents.list.is_empty() {
                return true;
            }
            match need {
                Need::Drain => {
                    self.conn.on_drain(&mut core.fx);
                    // A producer that lives from `on_drain` spends its budget by what it queues.
                    bytes = bytes.saturating_sub(core.fx.out.len().max(1));
                    self.settle(core, &[]);
                }
                Need::Drive => self.drive_inbox(core, &mut frames),
                Need::Eof => self.deliver_eof(core, &mut frames),
                Need::Read | Need::Discard => self.read(core, need, &mut bytes, &mut frames),
                Need::Rest => return false,
            }
        }
    }

    fn read(&mut self, core: &mut Core<N>, need: Need, bytes: &mut usize, frames: &mut usize) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let tick = core.mark;
        match core.network.read(stream, &mut core.read_buffer) {
            Ok(0) => {
                self.latch = self.latch.without(READ_BITS);
                self.conn.on_fin(tick);
            }
            Ok(len) => {
                if len < core.read_buffer.len()
                    && !self.latch.has(Readiness::READ_CLOSED)
                    && core.network.short_read_drains()
                {
                    self.latch = self.latch.without(Readiness::READABLE);
                }
                *bytes = bytes.saturating_sub(len);
                add(&self.service.counters.bytes_in, len as u64);
                if need == Need::Discard {
                    self.conn
                        .on_discarded(len, &self.service.limits, &mut core.loads, tick);
                    return;
                }
                self.conn.on_read(tick);
                if self.conn.has_inbox() {
                    self.conn.extend_inbox(&core.read_buffer[..len]);
                } else {
                    self.drive_fresh(core, len, frames);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                add(&self.service.counters.would_block, 1);
                self.latch = self.latch.without(READ_BITS);
            }
            Err(error) => self.conn.on(Event::Fail(CloseReason::from(&error)), tick),
        }
    }

    /// Drives what was just read from where it lies.
    #[inline(always)]
    fn drive_fresh(&mut self, core: &mut Core<N>, len: usize, frames: &mut usize) {
        // The buffer is taken out for the time, because everything else of the core is needed
        // beside it. After a panic the reactor makes a new one.
        let buffer = std::mem::take(&mut core.read_buffer);
        let input = &buffer[..len];
        let (consumed, stop) = self.drive(core, input, frames, false);
        let rest = &input[consumed..];
        self.conn
            .keep_rest(rest, stop, &self.service.limits, &mut core.loads, core.mark);
        core.read_buffer = buffer;
    }

    fn drive_inbox(&mut self, core: &mut Core<N>, frames: &mut usize) {
        let mut inbox = self.conn.take_inbox();
        let (consumed, stop) = self.drive(core, inbox.as_slice(), frames, false);
        inbox.consume(consumed);
        self.conn
            .keep_inbox(inbox, stop, &self.service.limits, core.mark);
    }

    /// Delivers the last frames and the end of the input.
    fn deliver_eof(&mut self, core: &mut Core<N>, frames: &mut usize) {
        let mut inbox = self.conn.take_inbox();
        let (consumed, stop) = self.drive(core, inbox.as_slice(), frames, true);
        inbox.consume(consumed);
        let partial_len = inbox.len();
        if stop == Stop::More && self.conn.state().delivers() {
            self.conn.on_eof(partial_len, &mut core.fx, core.mark);
            inbox.reset();
            self.conn
                .keep_inbox(inbox, stop, &self.service.limits, core.mark);
            self.settle(core, &[]);
        } else {
            self.conn
                .keep_inbox(inbox, stop, &self.service.limits, core.mark);
        }
    }

    /// Drives `input` and writes what that produced while `input` is still at hand: a large frame
    /// that is sent back as it came is not copied.
    #[inline(always)]
    fn drive(
        &mut self,
        core: &mut Core<N>,
        input: &[u8],
        frames: &mut usize,
        at_eof: bool,
    ) -> (usize, Stop) {
        core.fx.out.begin_input(input);
        let driven = if at_eof {
            self.conn.drive_eof(input, frames, &mut core.fx)
        } else {
            self.conn.drive(input, frames, &mut core.fx)
        };
        if driven.stop == Stop::Stuck {
            log::error!(
                "{}: {}: the decoder made no progress: a bug in it",
                self.service.name,
                core.fx.intents.token
            );
            self.conn
                .on(Event::Finish(CloseReason::DecoderStuck), core.mark);
        }
        // Whoever has sent more than the frame that was to be the last one does not keep its word.
        core.fx.control.is_peer_done &= driven.consumed == input.len();
        self.settle(core, input);
        core.fx.out.end_input(input);
        (driven.consumed, driven.stop)
    }

    /// After callbacks: does what they asked for, and writes.
    #[inline]
    pub(super) fn settle(&mut self, core: &mut Core<N>, input: &[u8]) {
        self.conn.apply(&mut core.fx, core.mark);
        self.flush(core, input);
    }

    /// Writes what is queued, as far as the kernel takes it.
    #[inline]
    fn flush(&mut self, core: &mut Core<N>, input: &[u8]) {
        if !core.fx.out.is_empty() || self.conn.state().awaits_flush() {
            self.flush_queue(core, input);
        }
    }

    /// Whether a write shows that the peer is not as slow as it seems.
    ///
    /// The poller reports room only when a good part of the socket's buffer is free again, on Linux
    /// a third of what may be megabytes, and a peer that takes a little all the time may need
    /// minutes for that. A write tells sooner.
    #[cold]
    fn is_refuted(&mut self, reason: CloseReason, core: &mut Core<N>) -> bool {
        let before = core.fx.out.len();
        self.latch = self.latch.or(Readiness::WRITABLE);
        self.flush(core, &[]);
        match reason {
            CloseReason::Stalled => {
                core.fx.out.len() < before || self.conn.state().closed().is_some()
            }
            CloseReason::DrainTimeout => !matches!(self.conn.state(), State::Draining { .. }),
            _ => false,
        }
    }

    fn flush_queue(&mut self, core: &mut Core<N>, input: &[u8]) {
        let is_peer_done = std::mem::take(&mut core.fx.control.is_peer_done);
        let state = self.conn.state();
        let Some(stream) = &mut self.stream else {
            return;
        };
        if matches!(state, State::Connecting(_)) {
            return;
        }
        if state.is_write_closed() {
            // Written by a callback that did not care that our FIN was out.
            core.fx.out.reset();
            return;
        }
        let before = core.fx.out.len();
        // What is in memory is bounded by itself; a file may be of any length.
        let mut budget = core.budgets.file_bytes.max(1);
        while !core.fx.out.is_empty() && self.latch.has(Readiness::WRITABLE) && budget > 0 {
            match write(&mut core.network, stream, &core.fx, input, &mut budget) {
                // Of a file that is not what it was.
                Ok(0) => {
                    self.conn.on(Event::Fail(CloseReason::Aborted), core.mark);
                    return;
                }
                Ok(len) => core.fx.out.consume(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    add(&self.service.counters.would_block, 1);
                    self.latch = self.latch.without(Readiness::WRITABLE);
                }
                Err(error) => {
                    self.conn
                        .on(Event::Fail(CloseReason::from(&error)), core.mark);
                    return;
                }
            }
        }
        let written = before - core.fx.out.len();
        if written > 0 {
            add(&self.service.counters.bytes_out, written as u64);
            self.conn.on_written(&self.service.limits, core.mark);
        }
        if core.fx.out.is_empty() && state.awaits_flush() {
            if is_peer_done && !self.latch.has(Readiness::READABLE) && !self.conn.has_inbox() {
                // The kernel has nothing that a close could turn into a reset.
                self.conn.on(Event::PeerFinished, core.mark);
            }
            let next = self.conn.state().on(Event::Flushed);
            let sends_fin = next.is_write_closed() && next.closed().is_none();
            // Our FIN is sent before it counts as sent: if that fails, the peer has gone with
            // what we owed it.
            let event = match sends_fin.then(|| core.network.shutdown_write(stream)) {
                Some(Err(error)) => Event::Fail(CloseReason::from(&error)),
                None | Some(Ok(())) => Event::Flushed,
            };
            self.conn.on(event, core.mark);
        }
    }

    /// The end of an event: keeps what is left, arms the deadline, or closes.
    #[inline(always)]
    pub(super) fn end(&mut self, token: Token, core: &mut Core<N>, is_runnable: bool) -> Outcome {
        if core.fx.frames > 0 {
            add(
                &self.service.counters.frames,
                std::mem::take(&mut core.fx.frames),
            );
        }
        if let Some(reason) = self.conn.state().closed() {
            return self.close(reason, core);
        }
        self.conn.end(&mut core.fx, &mut core.loads, core.mark);
        if is_runnable {
            self.enqueue(token, core);
        }
        // The deadline of a connection at rest only moves away: if one is armed, it is not later.
        if self.armed.is_none() || !self.conn.is_at_rest() {
            let deadline = self
                .conn
                .deadline(&self.service.limits, core.is_shutting_down);
            core.arm(token, &mut self.armed, deadline);
        }
        Outcome::Alive
    }

    fn enqueue(&mut self, token: Token, core: &mut Core<N>) {
        if !self.conn.flags().has(Flags::QUEUED) {
            self.conn.flags().set(Flags::QUEUED, true);
            core.enqueue(token);
        }
    }

    #[cold]
    fn close(&mut self, reason: CloseReason, core: &mut Core<N>) -> Outcome {
        core.disarm(&mut self.armed);
        core.fx.out.reset();
        core.fx.control = Default::default();
        self.service.on_closed(reason);
        log::debug!(
            "{}: {} ended: {reason}",
            self.service.name,
            core.fx.intents.token
        );
        self.conn.on_close(reason, &mut core.fx, &mut core.loads);
        Outcome::Closed
    }
}

impl<N: Network, D: Driver> Entry<N> for StreamEntry<N, D> {
    fn on_attach(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        if matches!(self.conn.state(), State::Connecting(_)) {
            return self.on_connect_deadline(token, core);
        }
        self.conn.begin(token, &self.service.limits, &mut core.fx);
        self.conn.on_open(&mut core.fx);
        self.settle(core, &[]);
        let is_runnable = self.run(core);
        self.end(token, core, is_runnable)
    }

    #[inline]
    fn on_ready(&mut self, token: Token, readiness: Readiness, core: &mut Core<N>) -> Outcome {
        if readiness == Readiness::NONE {
            self.conn.flags().set(Flags::QUEUED, false);
        } else {
            self.latch = self.latch.or(latched(readiness));
        }
        if matches!(self.conn.state(), State::Connecting(_)) {
            return self.check_connected(token, core);
        }
        self.conn.begin(token, &self.service.limits, &mut core.fx);
        let is_runnable = self.run(core);
        // A peer that is dead while we do not read it would go unnoticed until we do.
        if readiness.has(Readiness::ERROR.or(Readiness::WRITE_CLOSED))
            && self.latch.has(Readiness::READABLE)
            && let Some(stream) = &mut self.stream
            && let Err(error) = core.network.connected(stream)
        {
            self.conn
                .on(Event::Fail(CloseReason::from(&error)), core.mark);
        }
        self.end(token, core, is_runnable)
    }

    fn on_deadline(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        core.forget_fired(&mut self.armed);
        if matches!(self.conn.state(), State::Connecting(_)) {
            return self.on_connect_deadline(token, core);
        }
        let limits = &self.service.limits;
        let overdue = self.conn.overdue(limits, core.is_shutting_down, core.tick);
        self.conn.begin(token, limits, &mut core.fx);
        match overdue {
            Some(Event::Fail(reason)) if self.is_refuted(reason, core) => {}
            Some(event) => self.conn.on_overdue(event, &mut core.fx, core.mark),
            None => {}
        }
        let is_runnable = self.run(core);
        self.end(token, core, is_runnable)
    }

    fn on_command(&mut self, token: Token, command: Command, core: &mut Core<N>) -> Outcome {
        self.obey(token, command, core)
    }

    fn on_panic(&mut self, token: Token, core: &mut Core<N>) {
        add(&self.service.counters.panics, 1);
        if self.conn.state().closed().is_some() {
            // It was `on_close` that panicked: nothing is called once a connection is closed but
            // that, and that once.
            return;
        }
        core.fx.intents.token = token;
        self.conn.on(Event::Fail(CloseReason::Panicked), core.mark);
        let reason = self.conn.state().closed().unwrap_or(CloseReason::Panicked);
        let _ = self.close(reason, core);
    }

    fn release(self: Box<Self>, core: &mut Core<N>) -> Rc<Service> {
        if let Some(stream) = self.stream {
            let reset = self
                .conn
                .state()
                .closed()
                .is_some_and(CloseReason::is_abortive);
            core.network.close(stream, reset);
        }
        self.service
    }

    fn service(&self) -> &Rc<Service> {
        &self.service
    }

    fn is_paused(&self) -> bool {
        self.conn.has_flag(Flags::PAUSED)
    }

    fn is_held(&self) -> bool {
        self.conn.has_flag(Flags::HELD)
    }

    fn local_addr(&self, core: &Core<N>) -> io::Result<Address> {
        core.network
            .local_addr(self.stream.as_ref().ok_or(ErrorKind::NotConnected)?)
    }

    fn peer_addr(&self, core: &Core<N>) -> io::Result<Address> {
        core.network
            .peer_addr(self.stream.as_ref().ok_or(ErrorKind::NotConnected)?)
    }

    fn options(&self, core: &Core<N>) -> io::Result<StreamOptions> {
        core.network
            .options(self.stream.as_ref().ok_or(ErrorKind::NotConnected)?)
    }

    fn set_options(&mut self, options: &StreamOptions, core: &mut Core<N>) -> io::Result<()> {
        core.network.set_options(
            self.stream.as_mut().ok_or(ErrorKind::NotConnected)?,
            options,
        )
    }
}

/// What an event latches. Errors and hang-ups count as "try it": the operation tells the truth.
#[inline]
fn latched(readiness: Readiness) -> Readiness {
    const HINTS: Readiness = Readiness::READ_CLOSED
        .or(Readiness::WRITE_CLOSED)
        .or(Readiness::ERROR);
    if !readiness.has(HINTS) {
        return readiness;
    }
    let mut latch = Readiness::READ_CLOSED;
    if readiness.wants_read() {
        latch = latch.or(Readiness::READABLE);
    }
    if readiness.wants_write() {
        latch = latch.or(Readiness::WRITABLE);
    }
    latch
}

/// The bits that `WouldBlock` on a read refutes.
const READ_BITS: Readiness = Readiness::READABLE.or(Readiness::READ_CLOSED);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Raw;
    use crate::net::Os;
    use crate::protocol::{Echo, Stack};

    #[test]
    fn an_idle_connection_costs_seventy_two_bytes_beside_its_slot_and_its_deadline() {
        assert!(size_of::<StreamEntry<Os, Stack<Echo<Raw>>>>() <= 72);
    }
}
