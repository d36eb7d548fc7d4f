//! When something has to be done about a peer that does nothing, and what.
//!
//! A connection has one deadline, the earliest of those that its state and its load give it. Knows
//! no clock and no timers: a tick is a number.

use std::time::Duration;

use super::load::Stretch;
use super::{Connection, Event, Flags, State};
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::protocol::{Driver, Effects, Ending};

impl<D: Driver> Connection<D> {
    /// The earliest tick at which something may have to be done about a peer that does nothing.
    #[inline]
    pub(crate) fn deadline(&self, limits: &Limits, is_shutting_down: bool) -> Option<u64> {
        let after = |ticks: u64, duration: Duration| ticks.saturating_add(ticks_in(duration));
        match self.state {
            State::Connecting(_) => {
                let begins_at = self
                    .load
                    .as_ref()
                    .and_then(|l| l.attempt.as_ref())
                    .and_then(|a| a.begins_at);
                Some(begins_at.unwrap_or(after(self.since, limits.connect_timeout)))
            }
            State::Open | State::ReadClosed | State::WriteClosing | State::WriteClosed => {
                let (idle, first_byte, frame) = self.patience(limits);
                let mut earliest = idle.map(|idle| after(self.since, idle));
                let mut at_most = |tick: u64| {
                    earliest = Some(earliest.map_or(tick, |earliest| earliest.min(tick)));
                };
                if let (Some(first), false) = (first_byte, self.flags.has(Flags::RECEIVED)) {
                    at_most(after(self.since, first));
                }
                if let Some(load) = &self.load {
                    if let (Some(since), Some(frame)) = (load.frame_since, frame) {
                        at_most(after(since, frame));
                    }
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
            State::Lingering(_) if is_shutting_down => Some(after(
                self.since,
                limits.linger_timeout.min(limits.shutdown_linger),
            )),
            State::Lingering(_) => Some(after(self.since, limits.linger_timeout)),
            State::Closed(_) => None,
        }
    }

    /// How long the peer is waited for: to do anything, to send its first byte, to finish a frame.
    #[inline]
    fn patience(&self, limits: &Limits) -> (Option<Duration>, Option<Duration>, Option<Duration>) {
        match self.role.patience() {
            Some(patience) => (patience.idle, patience.first_byte, patience.frame),
            None => (limits.idle_timeout, limits.first_byte_timeout, None),
        }
    }

    /// What a deadline that is past by `tick` makes of the connection, if one is.
    pub(crate) fn overdue(
        &mut self,
        limits: &Limits,
        is_shutting_down: bool,
        tick: u64,
    ) -> Option<Event> {
        if self.deadline(limits, is_shutting_down)? > tick {
            return None;
        }
        match self.state {
            State::Connecting(_) => Some(Event::Fail(CloseReason::ConnectTimeout)),
            State::Draining { .. } => Some(Event::Fail(CloseReason::DrainTimeout)),
            State::Lingering(_) => Some(Event::LingerOver),
            State::Closed(_) => None,
            State::Open | State::ReadClosed | State::WriteClosing | State::WriteClosed => {
                self.overdue_while_open(limits, tick)
            }
        }
    }

    fn overdue_while_open(&mut self, limits: &Limits, tick: u64) -> Option<Event> {
        let is_past = |since: u64, duration| since.saturating_add(ticks_in(duration)) <= tick;
        let (idle, _, frame) = self.patience(limits);
        if let Some(load) = &self.load {
            if !load.outbox.is_empty() && is_past(load.wrote_at, limits.stall_timeout) {
                return Some(Event::Fail(CloseReason::Stalled));
            }
            if let (Some(since), Some(frame)) = (load.frame_since, frame)
                && is_past(since, frame)
            {
                return Some(Event::Finish(CloseReason::TooSlow));
            }
        }
        if idle.is_some_and(|idle| is_past(self.since, idle)) {
            return Some(Event::Finish(CloseReason::IdleTimeout));
        }
        let stretch = self.load.as_mut().and_then(|load| load.stretch.as_mut());
        if let (Some(rate), Some(stretch)) = (limits.min_rate, stretch)
            && is_past(stretch.since, rate.per)
        {
            // It is not the peer's fault if it was us who did not read.
            let is_held = Flags::OVER | Flags::PAUSED | Flags::HELD;
            if stretch.bytes < rate.bytes && !self.flags.has_any(is_held) {
                return Some(Event::Finish(CloseReason::TooSlow));
            }
            *stretch = Stretch {
                since: tick,
                bytes: 0,
            };
            return None;
        }
        Some(Event::Finish(CloseReason::FirstByteTimeout))
    }

    /// A deadline is past. Before the connection finishes, its protocol has a last word.
    pub(crate) fn on_overdue(&mut self, event: Event, fx: &mut Effects, tick: u64) {
        if let Event::Finish(reason) = event {
            self.on_timeout(reason, fx);
            if let Some(Ending::Finish(_)) = fx.control.ending {
                fx.control.ending = Some(Ending::Finish(reason));
            }
            self.apply(fx, tick);
        }
        self.on(event, tick);
    }
}

/// A duration in ticks (milliseconds), rounded up: nothing is ever early.
#[inline]
pub(crate) fn ticks_in(duration: Duration) -> u64 {
    let whole = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(u64::from(
        !duration.subsec_nanos().is_multiple_of(1_000_000),
    ))
}
