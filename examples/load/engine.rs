//! One run: opens connections, takes turns, wakes who has something to send, and knows the end.
//!
//! It runs on any network, so that its tests need no real time. Knows no protocol: how a
//! connection is opened is told by whoever starts it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::Network;
use windlass::{Error, Reactor};

use crate::alarm::Alarm;
use crate::lane::{End, Go, Run};
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
    is_cut_off: bool,
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
            is_cut_off: false,
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
        while let Some(slot) = self.run.take_ended(now) {
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
        self.is_cut_off = true;
    }

    /// Closes everything, and counts what was waited for in vain.
    pub(crate) fn end(self) -> Rc<Run> {
        let (run, now) = (self.run, self.reactor.now());
        run.end(if self.is_cut_off {
            End::CutOff
        } else {
            End::Over
        });
        // Tells every connection.
        drop(self.reactor);
        {
            let (mut pace, mut meter) = (run.pace.borrow_mut(), run.meter.borrow_mut());
            if !self.is_cut_off {
                while let Some(since) = pace.take_returned() {
                    meter.bad(since, now, Failure::Closed, 1);
                }
                if !pace.is_over(now) {
                    meter.bad(now, now, Failure::Unsent, pace.backlog(now));
                }
            }
            if let Some(until) = pace.until() {
                meter.lasted_until(until.min(now));
            }
            meter.end(now);
        }
        run
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
        !is_done && now < give_up_at
    }
}

/// How often is looked after what is not urgent.
const CHORES_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use windlass::Raw;
    use windlass::net::{Connect, Memory, MemoryPeer};

    use super::*;
    use crate::asking::Asking;
    use crate::lane::{Lane, Terms};
    use crate::pace::{self, Pace};
    use crate::stats::quantile;
    use crate::tcp::{Echoed, Message};

    /// Loads an echo server for five seconds of virtual time, at 1,000 requests a second. It does
    /// nothing for the first `stall` of each second, and needs no time otherwise.
    fn loaded(stall: Duration, timeout: Duration) -> Rc<Run> {
        let memory = Memory::new();
        let listener = memory
            .listen_peer("127.0.0.1:7000".parse::<windlass::net::Address>().unwrap())
            .unwrap();
        let mut reactor = Reactor::with_network(memory);
        let began = reactor.with_intents(|cx| cx.now());
        let schedule = pace::Terms {
            rate: Some(1000.0),
            ramp_up: Duration::ZERO,
            warm_up: Duration::from_secs(1),
            duration: Some(Duration::from_secs(5)),
            count: None,
        };
        let terms = Terms {
            pipeline: 1,
            think: Duration::ZERO,
            timeout,
            keep_alive: true,
            has_idle: true,
            servers: Vec::new(),
        };
        let run = Run::new(Pace::new(&schedule, began), terms);
        let message = Rc::new(Message {
            bytes: "ahoy".into(),
            is_stream: true,
        });
        let (limits, opening) = (run.limits(4), Rc::clone(&run));
        let open: Open<Memory> = Box::new(move |reactor, slot, first| {
            let connect = Connect::to("127.0.0.1:7000")
                .unwrap()
                .limits(limits.clone());
            let lane = Lane::new(&opening, slot, first);
            let stack = Asking::stack(lane, Echoed::new(&message, |_| ()), (Raw, Raw));
            reactor.connect(connect, stack).unwrap();
        });
        let second = Duration::from_secs(1);
        let mut engine = Engine::new(reactor, Rc::clone(&run), open, 20, second, began);
        let mut peers: Vec<MemoryPeer> = Vec::new();
        while engine.step(Duration::from_micros(200)).unwrap() {
            let since = engine.reactor.now() - began;
            if Duration::from_nanos(since.subsec_nanos().into()) < stall {
                continue;
            }
            peers.extend(std::iter::from_fn(|| listener.accept()));
            for peer in &peers {
                let received = peer.received();
                if !received.is_empty() {
                    peer.send(&received);
                }
            }
        }
        engine.end()
    }

    #[track_caller]
    fn check(run: &Run, part: f64, expected: Duration) {
        let seen = quantile(run.meter.borrow().total(), part).as_secs_f64();
        let expected = expected.as_secs_f64();
        assert!(
            (seen / expected - 1.0).abs() <= 0.02,
            "quantile {part}: {seen} instead of {expected}"
        );
    }

    /// Whoever comes `t` after the beginning of a stall waits for the rest of it, and comes in the
    /// same time as everybody else: the slowest tenth waits for 0 to 100 ms, evenly spread.
    #[test]
    fn at_a_constant_rate_a_known_stall_is_seen_as_it_is() {
        let run = loaded(Duration::from_millis(100), Duration::from_secs(10));
        let meter = run.meter.borrow();
        assert_eq!((meter.total().len(), meter.error_count()), (5000, 0));
        for (part, millis) in [(0.92, 20), (0.95, 50), (0.98, 80), (0.99, 90), (0.999, 99)] {
            check(&run, part, Duration::from_millis(millis));
        }
        check(&run, 1.0, Duration::from_millis(100));
        assert!(quantile(meter.total(), 0.89) < Duration::from_millis(1));
        assert_eq!(run.pace.borrow().late().count, 0);
    }

    #[test]
    fn without_a_stall_there_is_no_latency() {
        let run = loaded(Duration::ZERO, Duration::from_secs(10));
        let meter = run.meter.borrow();
        assert_eq!((meter.total().len(), meter.error_count()), (5000, 0));
        assert!(quantile(meter.total(), 1.0) < Duration::from_millis(1));
    }

    #[test]
    fn whatever_was_due_is_counted_although_nothing_is_answered() {
        let run = loaded(Duration::from_secs(1), Duration::from_secs(2));
        let meter = run.meter.borrow();
        assert_eq!((meter.total().len(), meter.error_count()), (0, 5000));
    }
}
