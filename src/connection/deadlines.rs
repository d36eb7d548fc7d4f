//! When something has to be done about a peer that does nothing, and what.
//!
//! A connection has one deadline, the earliest of those that its state and its load give it. Knows
//! no clock and no timers: a tick is a number.

use std::time::Duration;

use super::load::Stretch;
use super::{Connection, Event, Flags, State};
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::protocol::Driver;

impl<D: Driver> Connection<D> {
    /// The earliest tick at which something may have to be done about a peer that does nothing.
    #[inline]
    pub(crate) fn deadline(&self, limits: &Limits, is_shutting_down: bool) -> Option<u64> {
        let after = |ticks: u64, duration: Duration| ticks.saturating_add(ticks_in(duration));
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
            State::Lingering(_) if is_shutting_down => Some(after(
                self.since,
                limits.linger_timeout.min(limits.shutdown_linger),
            )),
            State::Lingering(_) => Some(after(self.since, limits.linger_timeout)),
            State::Closed(_) => None,
        }
    }

    /// What is due by `tick`, if anything.
    pub(crate) fn on_deadline(&mut self, limits: &Limits, is_shutting_down: bool, tick: u64) {
        if self
            .deadline(limits, is_shutting_down)
            .is_none_or(|deadline| deadline > tick)
        {
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
                    // Nor is it the peer's fault if it was us who did not read.
                    let is_held = Flags::OVER | Flags::PAUSED | Flags::HELD;
                    if stretch.bytes >= rate.bytes || self.flags.has_any(is_held) {
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

/// A duration in ticks (milliseconds), rounded up: nothing is ever early.
#[inline]
pub(crate) fn ticks_in(duration: Duration) -> u64 {
    let whole = duration.as_millis() as u64;
    whole + u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000))
}
