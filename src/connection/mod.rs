//! Connections, sans I/O: a driver between two queues, with water marks, and a state that says
//! how it ends.
//!
//! Knows neither sockets nor the poller. It is told what was read and written and what time it
//! is (in ticks), and says what it needs next.

mod load;
mod state;

pub(crate) use load::{Attempt, Load};
pub(crate) use state::{Event, State, Then};

use std::mem;

use load::Stretch;

use crate::buffer::{Inbox, Pool};
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::protocol::{Driven, Driver, Effects, Ending, Intent, Stop};
use crate::token::Token;

/// One connection, whatever carries it.
///
/// What it costs while it is idle is the size of this, so everything else is in `load`.
#[derive(Debug)]
pub(crate) struct Connection<D> {
    role: Role<D>,
    pub(crate) load: Option<Box<Load>>,
    /// When something last passed, or, while connecting, draining or lingering, when that began
    /// (ticks).
    since: u64,
    state: State,
    /// Bytes thrown away since the connection is ending.
    discarded: u32,
    flags: Flags,
}

/// Who plays: the protocol that the connection began with, or one that took over.
#[derive(Debug)]
enum Role<D> {
    Original(D),
    Switched(Box<dyn Driver>),
}

/// Calls a driver's method on whoever plays. A switched connection pays a virtual call.
macro_rules! play {
    ($role:expr, $method:ident ( $($arg:expr),* )) => {
        match &mut $role {
            Role::Original(driver) => driver.$method($($arg),*),
            Role::Switched(driver) => driver.$method($($arg),*),
        }
    };
}

/// What a connection needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its protocol is to be told that there is room for output again.
    Drain,
    /// Input that is already here is to be decoded.
    Drive,
    /// The end of the input is to be delivered.
    Eof,
    /// Input is to be read.
    Read,
    /// Input is to be read and thrown away.
    Discard,
    /// Nothing that it could do itself.
    Rest,
}

impl<D: Driver> Connection<D> {
    /// A connection that was accepted, or that somebody else made.
    pub(crate) fn open(driver: D, tick: u64) -> Connection<D> {
        Connection::new(driver, State::Open, tick)
    }

    /// A connection that we are making.
    pub(crate) fn connecting(driver: D, tick: u64) -> Connection<D> {
        Connection::new(driver, State::Connecting(Then::Open), tick)
    }

    fn new(driver: D, state: State, tick: u64) -> Connection<D> {
        Connection {
            role: Role::Original(driver),
            load: None,
            since: tick,
            state,
            discarded: 0,
            flags: Flags::default(),
        }
    }

    /// Lends the effects to the connection for one event: its queue, its marks, its name.
    #[inline]
    pub(crate) fn begin(&mut self, token: Token, limits: &Limits, fx: &mut Effects) {
        debug_assert!(fx.out.is_empty(), "the last event was ended");
        fx.intents.token = token;
        fx.intents.timers_left = limits.max_timers;
        fx.high_water = limits.high_water;
        fx.control.is_mute = !self.state.may_send();
        fx.control.is_paused = self.flags.has(Flags::PAUSED);
        if let Some(load) = &mut self.load {
            if !load.outbox.is_empty() {
                mem::swap(&mut fx.out, &mut load.outbox);
            }
            fx.intents.timers_left = limits.max_timers.saturating_sub(load.timers.len());
            fx.intents.missed = load.missed;
        }
        fx.out.set_limit(limits.max_outbound);
    }

    /// Takes back what the event left: unsent output stays with the connection.
    #[inline]
    pub(crate) fn end(&mut self, fx: &mut Effects, loads: &mut Pool<Load>, tick: u64) {
        if fx.out.is_empty() && self.load.is_none() {
            return;
        }
        let load = self.load.get_or_insert_with(|| loads.take());
        debug_assert!(load.outbox.is_empty(), "the queue was lent for the event");
        if fx.out.is_empty() {
            self.flags.set(Flags::STALLING, false);
        } else {
            if !self.flags.has(Flags::STALLING) {
                load.wrote_at = tick;
            }
            self.flags.set(Flags::STALLING, true);
            mem::swap(&mut fx.out, &mut load.outbox);
        }
        load.missed = fx.intents.missed;
        fx.intents.missed = 0;
        if load.is_empty() {
            loads.give_back(self.load.take().expect("it was just looked at"));
        }
    }

    /// Tells the protocol that the connection is made.
    pub(crate) fn on_open(&mut self, fx: &mut Effects) {
        play!(self.role, on_open(fx));
    }

    /// Tells the protocol that the reactor shuts down.
    pub(crate) fn on_shutdown(&mut self, fx: &mut Effects) {
        play!(self.role, on_shutdown(fx));
    }

    /// Tells the protocol that a timer of it is due.
    pub(crate) fn on_timer(&mut self, timer: crate::protocol::TimerId, fx: &mut Effects) {
        play!(self.role, on_timer(timer, fx));
    }

    /// Delivers mail.
    pub(crate) fn on_mail(&mut self, mail: crate::protocol::Mail, fx: &mut Effects) {
        play!(self.role, on_mail(mail, fx));
    }

    /// Tells the protocol that there is room for output again.
    pub(crate) fn on_drain(&mut self, fx: &mut Effects) {
        self.flags.set(Flags::OVER, false);
        if let Some(load) = &mut self.load {
            let waiters = load.waiters.drain(..).map(Intent::Release);
            fx.intents.list.extend(waiters);
        }
        play!(self.role, on_drain(fx));
    }

    /// Tells the protocol of the end, with which everything that others wait for ends as well.
    pub(crate) fn on_close(
        &mut self,
        reason: CloseReason,
        fx: &mut Effects,
        loads: &mut Pool<Load>,
    ) {
        if let Some(mut load) = self.load.take() {
            let owner = fx.intents.token;
            let cancel = |id| Intent::CancelTimer { owner, id };
            fx.intents.list.extend(load.timers.drain(..).map(cancel));
            fx.intents
                .list
                .extend(load.waiters.drain(..).map(Intent::Release));
            loads.give_back(load);
        }
        fx.intents.timers_left = 0;
        play!(self.role, on_close(reason, &mut fx.intents));
    }

    /// Drives `input`; answers how much of it is done with, and why no more is.
    #[inline]
    pub(crate) fn drive(&mut self, input: &[u8], frames: &mut usize, fx: &mut Effects) -> Driven {
        play!(self.role, drive(input, frames, fx))
    }

    /// As `drive`, once the peer's FIN has come.
    pub(crate) fn drive_eof(
        &mut self,
        input: &[u8],
        frames: &mut usize,
        fx: &mut Effects,
    ) -> Driven {
        play!(self.role, drive_eof(input, frames, fx))
    }

    /// Delivers the end of the input, behind `partial_len` bytes of an unfinished frame.
    pub(crate) fn on_eof(&mut self, partial_len: usize, fx: &mut Effects, tick: u64) {
        self.flags.set(Flags::FIN, false);
        play!(self.role, on_eof(partial_len, fx));
        if partial_len > 0 && fx.control.ending == Some(Ending::Finish(CloseReason::Finished)) {
            // Before the FIN counts: if our half has ended, that ends the connection, and its
            // reason would be that nothing was missing.
            fx.control.ending = None;
            self.on(Event::Finish(CloseReason::Truncated), tick);
        }
        self.on(Event::PeerFinished, tick);
    }

    /// Does what the callbacks asked to be done to the connection itself.
    #[inline]
    pub(crate) fn apply(&mut self, fx: &mut Effects, tick: u64) {
        self.flags.set(Flags::PAUSED, fx.control.is_paused);
        if fx.out.len() > fx.high_water {
            self.flags.set(Flags::OVER, true);
        }
        if fx.control.is_stopping {
            self.apply_control(fx, tick);
        }
        if fx.out.has_overflowed() {
            self.on(Event::Fail(CloseReason::OutboundLimit), tick);
        }
    }

    #[cold]
    fn apply_control(&mut self, fx: &mut Effects, tick: u64) {
        fx.control.is_stopping = false;
        let mut switches = 0;
        while let Some(next) = fx.control.switch.take() {
            if fx.control.ending.is_some() {
                break;
            }
            switches += 1;
            if switches > MAX_SWITCHES {
                log::error!("{}: protocols keep switching: aborted", fx.intents.token);
                fx.control.end(Ending::Abort(CloseReason::Aborted));
                break;
            }
            self.switch(next, fx);
        }
        fx.control.is_stopping = false;
        self.flags.set(Flags::PAUSED, fx.control.is_paused);
        if mem::take(&mut fx.control.finish_writes) {
            self.on(Event::FinishWrites, tick);
        }
        match fx.control.ending.take() {
            Some(Ending::Finish(reason)) => self.on(Event::Finish(reason), tick),
            Some(Ending::Abort(reason)) => self.on(Event::Fail(reason), tick),
            None => {}
        }
        fx.control.is_mute = !self.state.may_send();
    }

    fn switch(&mut self, next: Box<dyn Driver>, fx: &mut Effects) {
        if let Some(load) = &mut self.load {
            let owner = fx.intents.token;
            let cancel = |id| Intent::CancelTimer { owner, id };
            fx.intents.list.extend(load.timers.drain(..).map(cancel));
        }
        play!(self.role, on_close(CloseReason::Switched, &mut fx.intents));
        self.role = Role::Switched(next);
        // What the last decoder took for the beginning of a frame may be a whole one now.
        self.flags.set(Flags::UNDRIVEN, true);
        play!(self.role, on_open(fx));
    }

    /// What the connection needs next, given how much output is queued.
    #[inline]
    pub(crate) fn need(&self, queued_len: usize, limits: &Limits) -> Need {
        if self.flags.has(Flags::OVER)
            && queued_len <= limits.low_water
            && self.state.closed().is_none()
        {
            return Need::Drain;
        }
        if self.state.delivers() {
            if self
                .flags
                .has_any(Flags::OVER | Flags::PAUSED | Flags::HELD)
            {
                Need::Rest
            } else if self.flags.has(Flags::UNDRIVEN) {
                Need::Drive
            } else if self.flags.has(Flags::FIN) {
                Need::Eof
            } else {
                Need::Read
            }
        } else if self.state.discards() {
            Need::Discard
        } else {
            Need::Rest
        }
    }

    /// Takes the carry-over out, to drive it; what is left is put back with `keep_inbox`.
    pub(crate) fn take_inbox(&mut self) -> Inbox {
        self.load
            .as_mut()
            .map(|load| mem::take(&mut load.inbox))
            .unwrap_or_default()
    }

    /// Puts the carry-over back. `stop` says whether it is an unfinished frame, or not yet driven.
    pub(crate) fn keep_inbox(&mut self, inbox: Inbox, stop: Stop, limits: &Limits, tick: u64) {
        let len = inbox.len();
        if let Some(load) = &mut self.load {
            load.inbox = inbox;
        }
        self.kept(len, stop, limits, tick);
    }

    /// Keeps `rest`, which came straight from the read buffer, as carry-over.
    #[inline]
    pub(crate) fn keep_rest(
        &mut self,
        rest: &[u8],
        stop: Stop,
        limits: &Limits,
        loads: &mut Pool<Load>,
        tick: u64,
    ) {
        if rest.is_empty() || !self.state.delivers() {
            self.flags.set(Flags::UNDRIVEN, false);
            return;
        }
        let load = self.load.get_or_insert_with(|| loads.take());
        debug_assert!(
            load.inbox.is_empty(),
            "fresh input is driven directly only without it"
        );
        load.inbox.extend(rest);
        self.kept(rest.len(), stop, limits, tick);
    }

    fn kept(&mut self, len: usize, stop: Stop, limits: &Limits, tick: u64) {
        self.flags
            .set(Flags::UNDRIVEN, len > 0 && stop != Stop::More);
        let Some(load) = &mut self.load else { return };
        if len == 0 || stop != Stop::More {
            load.stretch = None;
            return;
        }
        let max = play!(self.role, max_pending()).unwrap_or(limits.max_inbound);
        if len > max {
            self.on(Event::Finish(CloseReason::InboundLimit), tick);
        } else if load.stretch.is_none() && limits.min_rate.is_some() {
            load.stretch = Some(Stretch {
                since: tick,
                bytes: 0,
            });
        }
    }

    /// Whether a carry-over comes before what is read next.
    #[inline]
    pub(crate) fn has_inbox(&self) -> bool {
        self.load
            .as_ref()
            .is_some_and(|load| !load.inbox.is_empty())
    }

    /// Appends what was read to the carry-over.
    pub(crate) fn extend_inbox(&mut self, bytes: &[u8]) {
        let load = self.load.as_mut().expect("there is a carry-over");
        load.inbox.extend(bytes);
        if let Some(stretch) = &mut load.stretch {
            stretch.bytes += bytes.len();
        }
        self.flags.set(Flags::UNDRIVEN, true);
    }

    /// `len` bytes were read and are thrown away.
    pub(crate) fn on_discarded(&mut self, len: usize, limits: &Limits, tick: u64) {
        self.discarded = self
            .discarded
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        if self.discarded as usize > limits.max_linger {
            match self.state {
                State::Lingering(_) => self.on(Event::LingerOver, tick),
                _ => self.on(Event::Fail(CloseReason::DrainTimeout), tick),
            }
        }
    }

    /// Bytes were read, to be delivered.
    #[inline]
    pub(crate) fn on_read(&mut self, tick: u64) {
        self.since = tick;
        self.flags.set(Flags::RECEIVED, true);
    }

    /// Another attempt to connect begins.
    pub(crate) fn on_retry(&mut self, tick: u64) {
        self.since = tick;
    }

    /// Bytes were written.
    #[inline]
    pub(crate) fn on_written(&mut self, tick: u64) {
        if let Some(load) = &mut self.load {
            load.wrote_at = tick;
        }
        // Draining has one deadline for all of it, and a greeting does not excuse a peer that
        // sends nothing. A peer that has ended its half and takes what we send is not idle.
        let is_used = self.state.delivers() || self.state == State::ReadClosed;
        if self.flags.has(Flags::RECEIVED) && is_used {
            self.since = tick;
        }
    }

    /// The peer's FIN was read. It is delivered behind the input that is not yet decoded.
    pub(crate) fn on_fin(&mut self, tick: u64) {
        if self.state.delivers() {
            self.flags.set(Flags::FIN, true);
        } else {
            self.on(Event::PeerFinished, tick);
        }
    }

    /// Moves on in the life of the connection.
    pub(crate) fn on(&mut self, event: Event, tick: u64) {
        let next = self.state.on(event);
        if mem::discriminant(&next) != mem::discriminant(&self.state) {
            self.since = tick;
        }
        self.state = next;
        // A FIN that was waiting behind undelivered frames: there is nobody left to deliver to.
        if self.flags.has(Flags::FIN) && !next.delivers() {
            self.flags.set(Flags::FIN, false);
            self.on(Event::PeerFinished, tick);
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    #[inline]
    pub(crate) fn flags(&mut self) -> &mut Flags {
        &mut self.flags
    }

    /// Whether a fact holds.
    pub(crate) fn has_flag(&self, flag: u8) -> bool {
        self.flags.has(flag)
    }

    /// The earliest tick at which something may have to be done about a peer that does nothing.
    #[inline]
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<u64> {
        let after =
            |ticks: u64, duration: std::time::Duration| ticks.saturating_add(ticks_in(duration));
        match self.state {
            State::Connecting(_) => {
                let again_at = self
                    .load
                    .as_ref()
                    .and_then(|l| l.attempt.as_ref())
                    .and_then(|a| a.again_at);
                Some(again_at.unwrap_or(after(self.since, limits.connect_timeout)))
            }
            State::Open | State::ReadClosed | State::WriteClosing | State::WriteClosed => {
                let mut earliest = limits.idle_timeout.map(|idle| after(self.since, idle));
                let mut at_most = |tick: u64| {
                    earliest = Some(earliest.map_or(tick, |earliest| earliest.min(tick)));
                };
                if let (Some(first), false) =
                    (limits.first_byte_timeout, self.flags.has(Flags::RECEIVED))
                {
                    at_most(after(self.since, first));
                }
                if let Some(load) = &self.load {
                    if !load.outbox.is_empty() {
                        at_most(after(load.wrote_at, limits.stall_timeout));
                    }
                    if let (Some(stretch), Some(rate)) = (load.stretch, limits.min_rate) {
                        at_most(after(stretch.since, rate.per));
                    }
                }
                earliest
            }
            State::Draining { .. } => Some(after(self.since, limits.drain_timeout)),
            State::Lingering(_) => Some(after(self.since, limits.linger_timeout)),
            State::Closed(_) => None,
        }
    }

    /// What is due by `tick`, if anything.
    pub(crate) fn on_deadline(&mut self, limits: &Limits, tick: u64) {
        if self.deadline(limits).is_none_or(|deadline| deadline > tick) {
            return;
        }
        let is_past = |since: u64, duration| since.saturating_add(ticks_in(duration)) <= tick;
        let event = match self.state {
            State::Connecting(_) => Event::Fail(CloseReason::ConnectTimeout),
            State::Draining { .. } => Event::Fail(CloseReason::DrainTimeout),
            State::Lingering(_) => Event::LingerOver,
            State::Closed(_) => return,
            State::Open | State::ReadClosed | State::WriteClosing | State::WriteClosed => {
                let load = self.load.as_mut();
                let stalled = load.as_ref().is_some_and(|load| {
                    !load.outbox.is_empty() && is_past(load.wrote_at, limits.stall_timeout)
                });
                let is_idle = limits
                    .idle_timeout
                    .is_some_and(|idle| is_past(self.since, idle));
                if stalled {
                    Event::Fail(CloseReason::Stalled)
                } else if is_idle {
                    Event::Finish(CloseReason::IdleTimeout)
                } else if let (Some(rate), Some(stretch)) =
                    (limits.min_rate, load.and_then(|load| load.stretch.as_mut()))
                    && is_past(stretch.since, rate.per)
                {
                    if stretch.bytes >= rate.bytes {
                        *stretch = Stretch {
                            since: tick,
                            bytes: 0,
                        };
                        return;
                    }
                    Event::Finish(CloseReason::TooSlow)
                } else {
                    Event::Finish(CloseReason::FirstByteTimeout)
                }
            }
        };
        self.on(event, tick);
    }
}

/// Small facts about a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// More than the high water was queued, and not yet less than the low water.
    pub(crate) const OVER: u8 = 1;
    /// The protocol paused.
    pub(crate) const PAUSED: u8 = 2;
    /// A connection that we forward to has no room.
    pub(crate) const HELD: u8 = 4;
    /// The carry-over has to be driven before anything is read.
    pub(crate) const UNDRIVEN: u8 = 8;
    /// The peer's FIN was read and is not yet delivered.
    pub(crate) const FIN: u8 = 16;
    /// A byte was received.
    pub(crate) const RECEIVED: u8 = 32;
    /// The token is in the reactor's run queue.
    pub(crate) const QUEUED: u8 = 64;
    /// Output was left over by the last event.
    pub(crate) const STALLING: u8 = 128;

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(crate) fn has_any(self, flags: u8) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: u8, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }
}

/// A duration in ticks (milliseconds), rounded up: nothing is ever early.
#[inline]
pub(crate) fn ticks_in(duration: std::time::Duration) -> u64 {
    let whole = duration.as_millis() as u64;
    whole + u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000))
}

/// Protocols that may take over from one another within one event.
const MAX_SWITCHES: u32 = 16;
