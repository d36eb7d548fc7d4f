//! Connections, sans I/O: a driver between two queues, with water marks, and a state that says
//! how it ends.
//!
//! Knows neither sockets nor the poller. It is told what was read and written and what time it
//! is (in ticks), and says what it needs next.

mod carry;
mod deadlines;
mod flags;
mod load;
mod state;

pub(crate) use deadlines::ticks_in;
pub(crate) use flags::Flags;
pub(crate) use load::{Attempt, Load};
pub(crate) use state::{Event, State, Then};

use std::mem;

use crate::buffer::{Outbox, Pool};
use crate::close::CloseReason;
use crate::limits::{Limits, Patience};
use crate::protocol::{Driven, Driver, Effects, Ending, Intent};
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
    flags: Flags,
    /// The reactor shuts down, and the protocol is yet to be told: after what has arrived, and
    /// after this many runs at the latest. 0: it is not, or was told.
    last_runs: u8,
}

/// Who plays: the protocol that the connection began with, or one that took over.
#[derive(Debug)]
enum Role<D> {
    Original(D),
    Switched(Box<dyn Driver>),
}

impl<D: Driver> Role<D> {
    #[inline]
    fn patience(&self) -> Option<&Patience> {
        match self {
            Role::Original(driver) => driver.patience(),
            Role::Switched(driver) => driver.patience(),
        }
    }
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
            flags: Flags::default(),
            last_runs: 0,
        }
    }

    /// Lends the effects to the connection for one event: its queue, its marks, its name.
    #[inline(always)]
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
    #[inline(always)]
    pub(crate) fn end(&mut self, fx: &mut Effects, loads: &mut Pool<Load>, tick: u64) {
        if !fx.out.is_empty() || self.load.is_some() {
            self.keep(fx, loads, tick);
        }
    }

    fn keep(&mut self, fx: &mut Effects, loads: &mut Pool<Load>, tick: u64) {
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

    /// The reactor shuts down. The protocol is told once what has arrived by now was delivered.
    pub(crate) fn shut_down(&mut self, tick: u64) {
        self.last_runs = MAX_LAST_RUNS;
        if let State::Lingering(_) = self.state {
            // It lingers anew, for the shorter time of a shutdown.
            self.since = tick;
        }
    }

    /// Whether the protocol is to be told now that the reactor shuts down. Answers `true` once.
    #[inline]
    pub(crate) fn is_shutdown_due(&mut self, is_runnable: bool) -> bool {
        if self.last_runs == 0 || self.state.closed().is_some() {
            return false;
        }
        if is_runnable {
            // A peer that never stops sending is not waited for.
            self.last_runs -= 1;
        } else if !self.flags.has_any(Flags::OVER | Flags::HELD) {
            self.last_runs = 0;
        }
        self.last_runs == 0
    }

    /// Tells the protocol that the reactor shuts down.
    pub(crate) fn on_shutdown(&mut self, fx: &mut Effects) {
        play!(self.role, on_shutdown(fx));
    }

    /// Tells the protocol that a timer of it is due.
    pub(crate) fn on_timer(&mut self, timer: crate::protocol::TimerId, fx: &mut Effects) {
        play!(self.role, on_timer(timer, fx));
    }

    /// Tells the protocol that its peer is given up, and in which way it took too long.
    pub(crate) fn on_timeout(&mut self, reason: CloseReason, fx: &mut Effects) {
        play!(self.role, on_timeout(reason, fx));
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
        let driven = play!(self.role, drive(input, frames, fx));
        if let Some(load) = &mut self.load
            && driven.consumed > 0
        {
            load.frame_since = None;
        }
        driven
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
        fx.control.is_peer_done &= self.state.discards();
        fx.control.is_mute = !self.state.may_send();
    }

    /// Another protocol takes over. The timers of the first one end with it, those too that it has
    /// asked for in this very event: the next one would not know what they are for.
    fn switch(&mut self, next: Box<dyn Driver>, fx: &mut Effects) {
        let mut timers_left = fx.intents.timers_left + fx.intents.withdraw_timers();
        if let Some(load) = &mut self.load {
            let owner = fx.intents.token;
            timers_left += load.timers.len();
            let cancel = |id| Intent::CancelTimer { owner, id };
            fx.intents.list.extend(load.timers.drain(..).map(cancel));
        }
        fx.intents.timers_left = 0;
        play!(self.role, on_close(CloseReason::Switched, &mut fx.intents));
        fx.intents.timers_left = timers_left;
        self.role = Role::Switched(next);
        // What the last decoder took for the beginning of a frame may be a whole one now.
        self.flags.set(Flags::UNDRIVEN, true);
        play!(self.role, on_open(fx));
    }

    /// What the connection needs next, given what output is queued.
    ///
    /// Above the high water nothing more is delivered, until below the low one: what is delivered
    /// is answered. What others forward is no answer, and whoever reads from this connection may be
    /// whom they wait for: two that wait for each other would do so for ever.
    #[inline]
    pub(crate) fn need(&self, out: &Outbox, limits: &Limits) -> Need {
        let is_over = self.flags.has(Flags::OVER);
        if is_over && out.len() <= limits.low_water && self.state.closed().is_none() {
            return Need::Drain;
        }
        if self.state.delivers() {
            if self.flags.has_any(Flags::PAUSED | Flags::HELD)
                || is_over && out.own_len() > limits.low_water
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

    /// How much of an unfinished frame the decoder may ask to see again, if it says.
    fn max_pending(&mut self) -> Option<usize> {
        play!(self.role, max_pending())
    }

    /// `len` bytes were read and are thrown away.
    pub(crate) fn on_discarded(
        &mut self,
        len: usize,
        limits: &Limits,
        loads: &mut Pool<Load>,
        tick: u64,
    ) {
        let load = self.load.get_or_insert_with(|| loads.take());
        load.discarded += len;
        if load.discarded > limits.max_linger {
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

    /// A connection that we forward to has no room: nothing is read until it has, or is gone, and
    /// so have all others of whom this was said.
    pub(crate) fn on_held(&mut self, loads: &mut Pool<Load>) {
        self.load.get_or_insert_with(|| loads.take()).holders += 1;
        self.flags.set(Flags::HELD, true);
    }

    /// One of them has room again, or is gone.
    pub(crate) fn on_released(&mut self) {
        if let Some(load) = &mut self.load {
            load.holders = load.holders.saturating_sub(1);
            self.flags.set(Flags::HELD, load.holders > 0);
        }
    }

    /// Another attempt to connect begins.
    pub(crate) fn on_retry(&mut self, tick: u64) {
        self.since = tick;
    }

    /// Bytes were written.
    #[inline]
    pub(crate) fn on_written(&mut self, limits: &Limits, tick: u64) {
        if let Some(load) = &mut self.load {
            load.wrote_at = tick;
        }
        // Draining has one deadline for all of it; and where a first byte is due, a greeting does
        // not excuse a peer that sends nothing.
        let is_served = self.state.delivers() || self.state == State::ReadClosed;
        if is_served && (self.flags.has(Flags::RECEIVED) || limits.first_byte_timeout.is_none()) {
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

    /// Whether bytes may flow, and nothing is carried that has a deadline of its own.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_passing = self
            .role
            .patience()
            .is_some_and(|patience| patience.is_passing);
        self.load.is_none() && matches!(self.state, State::Open) && !is_passing
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
}

/// Runs (each up to a budget) in which a connection delivers what had arrived when the reactor
/// began to shut down.
const MAX_LAST_RUNS: u8 = 255;
/// Protocols that may take over from one another within one event.
const MAX_SWITCHES: u32 = 16;
