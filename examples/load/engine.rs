//! One run: opens connections, takes turns, wakes who has something to send, and knows the end.
//!
//! It runs on any network, so that its tests need no real time. Knows no protocol: how a
//! connection is opened is told by whoever starts it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::Network;
use windlass::{Error, Reactor};

use crate::alarm::Alarm;
use crate::lane::{Go, Run};
use crate::pace::{Next, Parked};
use crate::stats::Failure;

/// Opens connection number `slot`, for the request that counts since then, if it is for one.
pub(crate) type Open<N> = Box<dyn FnMut(&mut Reactor<N>, u32, Option<Instant>)>;

/// One run.
pub(crate) struct Engine<N: Network> {
    pub(crate) reactor: Reactor<N>,
    pub(crate) run: Rc<Run>,
    open: Open<N>,
    alarm: Option<Alarm>,
    connections: u32,
    opened: u32,
    began: Instant,
    ramp_up: Duration,
    interval: Duration,
    interval_end: Instant,
    /// When something has to be looked after.
    next_chore: Instant,
    /// No request is sent any more, and until then answers are waited for.
    give_up_at: Option<Instant>,
}

impl<N: Network> Engine<N> {
    pub(crate) fn new(
        reactor: Reactor<N>,
        run: Rc<Run>,
        open: Open<N>,
        connections: u32,
        interval: Duration,
        began: Instant,
    ) -> Engine<N> {
        let (ramp_up, measure_from) = {
            let pace = run.pace.borrow();
            let ramp_up = pace.begin().saturating_duration_since(began);
            (ramp_up, pace.measure_from())
        };
        Engine {
            reactor,
            run,
            open,
            alarm: None,
            connections,
            opened: 0,
            began,
            ramp_up,
            interval,
            interval_end: measure_from + interval,
            next_chore: began,
            give_up_at: None,
        }
    }

    /// Has turns end when requests are due, more exactly than the poller can.
    pub(crate) fn wake_by(&mut self, alarm: Alarm) {
        self.alarm = Some(alarm);
    }

    /// When somebody has to be woken who waits for a request to become due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.run.pace.borrow().wake_at()
    }

    /// Takes one turn, of at most `longest`. Answers whether the run goes on.
    ///
    /// # Errors
    /// The poller failed.
    pub(crate) fn step(&mut self, longest: Duration) -> Result<bool, Error> {
        let mut until = self.next_chore;
        if let Some(due) = self.wake_at() {
            match &mut self.alarm {
                // The poller's own time-outs are whole milliseconds.
                Some(alarm) => alarm.set(due),
                None => until = until.min(due),
            }
        }
        let wait = until.saturating_duration_since(self.reactor.now());
        self.reactor.turn(Some(wait.min(longest)))?;
        let now = self.reactor.now();
        if now >= self.next_chore {
            self.do_chores(now);
        }
        while self.run.has_ended()
            && let Some(slot) = self.run.take_ended(now)
        {
            self.open(slot, now, false);
        }
        if self.wake_at().is_some_and(|due| due <= now) {
            self.wake(now);
        }
        Ok(self.goes_on(now))
    }

    /// The run is stopped before its time.
    pub(crate) fn stop(&mut self) {
        self.give_up_at = Some(self.reactor.now());
    }

    /// What is seldom to be done.
    fn do_chores(&mut self, now: Instant) {
        while self.opened < self.connections && self.opening_at(self.opened) <= now {
            let slot = self.opened;
            self.opened += 1;
            self.open(slot, now, false);
        }
        if now >= self.interval_end {
            self.run.meter.borrow_mut().end_interval(now);
            while self.interval_end <= now {
                self.interval_end += self.interval;
            }
        }
        let mut next = (now + CHORES_EVERY).min(self.interval_end);
        if self.opened < self.connections {
            next = next.min(self.opening_at(self.opened));
        }
        if let Some(until) = self.run.pace.borrow().until()
            && until > now
        {
            next = next.min(until);
        }
        self.next_chore = next;
    }

    /// When a connection is to be opened for the first time.
    fn opening_at(&self, slot: u32) -> Instant {
        self.began
            + self
                .ramp_up
                .mul_f64(f64::from(slot) / f64::from(self.connections))
    }

    /// Opens a connection. One that is for a single request is opened when that is due.
    fn open(&mut self, slot: u32, now: Instant, was_parked: bool) {
        if self.run.terms.keep_alive {
            return (self.open)(&mut self.reactor, slot, None);
        }
        let next = self.run.take(now, was_parked);
        match next {
            Next::Now(since) => (self.open)(&mut self.reactor, slot, Some(since)),
            Next::Later => self.run.pace.borrow_mut().park(Parked::Slot(slot)),
            Next::Over => {}
        }
    }

    fn wake(&mut self, now: Instant) {
        loop {
            let parked = self.run.pace.borrow_mut().unpark(now);
            match parked {
                // Whoever is gone opens again.
                Some(Parked::Lane(token)) => _ = self.reactor.mail(token, Go),
                Some(Parked::Slot(slot)) => self.open(slot, now, true),
                None => return,
            }
        }
    }

    fn goes_on(&mut self, now: Instant) -> bool {
        let pace = self.run.pace.borrow();
        let is_past = pace.until().is_some_and(|until| now >= until);
        if self.give_up_at.is_none() && (is_past || pace.is_over(now)) {
            self.give_up_at = Some(now + self.run.terms.timeout);
        }
        let Some(give_up_at) = self.give_up_at else {
            return true;
        };
        let is_done = pace.is_over(now) && self.run.in_flight() == 0;
        if !is_done && now < give_up_at {
            return true;
        }
        let mut meter = self.run.meter.borrow_mut();
        let in_flight = self.run.in_flight() as u64;
        meter.bad(now, now, Failure::Timeout, in_flight);
        if !pace.is_over(now) {
            meter.bad(now, now, Failure::Unsent, pace.backlog(now));
        }
        meter.end_interval(now);
        self.run.finish();
        false
    }
}

/// How often is looked after what is not urgent.
const CHORES_EVERY: Duration = Duration::from_millis(100);
