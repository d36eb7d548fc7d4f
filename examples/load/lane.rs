//! What all kinds of load have in common: the run, and the book of one connection: what it has
//! asked, since when, and whether it may ask more.
//!
//! Knows no protocol and no socket: `http.rs`, `tcp.rs` and `udp.rs` do.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::{CloseReason, Limits, Patience, Token};

use crate::pace::{Next, Pace, Parked};
use crate::stats::{Failure, Meter};

/// What all connections of a run share.
pub(crate) struct Run {
    pub(crate) pace: RefCell<Pace>,
    pub(crate) meter: RefCell<Meter>,
    pub(crate) terms: Terms,
    /// Requests without an answer.
    in_flight: Cell<usize>,
    /// Connections that are open.
    open: Cell<usize>,
    /// Connections to be opened again, and when: the earliest first.
    ended: RefCell<BinaryHeap<Reverse<(Instant, u32)>>>,
    end: Cell<End>,
    /// The first failure, in words.
    first_failure: RefCell<Option<String>>,
}

/// Whether the run is over, and what becomes of requests without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on.
    NotYet,
    /// It is over, and they have been waited for: they are failures.
    Over,
    /// It was interrupted: nobody knows.
    CutOff,
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Requests on one connection without an answer.
    pub(crate) pipeline: usize,
    /// How long nothing is sent after an answer.
    pub(crate) think: Duration,
    /// How long an answer may take to go on.
    pub(crate) timeout: Duration,
    /// Whether a connection serves more than one request.
    pub(crate) keep_alive: bool,
    /// Whether there may be connections without a request.
    pub(crate) has_idle: bool,
    /// Among whom the connections are shared out, in words.
    pub(crate) servers: Vec<String>,
}

impl Run {
    pub(crate) fn new(pace: Pace, terms: Terms) -> Rc<Run> {
        let meter = Meter::new(pace.measure_from());
        Rc::new(Run {
            pace: RefCell::new(pace),
            meter: RefCell::new(meter),
            terms,
            in_flight: Cell::new(0),
            open: Cell::new(0),
            ended: RefCell::new(BinaryHeap::new()),
            end: Cell::new(End::NotYet),
            first_failure: RefCell::new(None),
        })
    }

    /// What the connections of the run are limited to. `request_len`: bytes of the longest one.
    pub(crate) fn limits(&self, request_len: usize) -> Limits {
        let timeout = self.terms.timeout;
        let limits = Limits::default();
        let queued = request_len.saturating_mul(self.terms.pipeline + 1);
        Limits {
            // A server that sends back what comes reads no more while its own output is not taken:
            // whoever waits until all of a request has left, waits for ever.
            high_water: limits.high_water.max(queued),
            connect_timeout: timeout,
            stall_timeout: timeout,
            drain_timeout: timeout,
            linger_timeout: Duration::from_secs(1),
            idle_timeout: None,
            max_timers: limits.max_timers.max(self.terms.pipeline),
            max_outbound: limits.max_outbound.max(queued),
            ..limits
        }
    }

    /// Takes a request from the schedule for a connection that is yet to be opened for it.
    pub(crate) fn take(&self, now: Instant, was_parked: bool) -> Next {
        let next = self.pace.borrow_mut().take(now, was_parked);
        if let Next::Now(_) = next {
            self.in_flight.set(self.in_flight.get() + 1);
        }
        next
    }

    pub(crate) fn end(&self, how: End) {
        self.end.set(how);
    }

    /// Whether it is the answers that say when the next request is sent.
    pub(crate) fn is_closed_loop(&self) -> bool {
        self.pace.borrow().is_closed_loop()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// A connection that has ended, and whose time to be opened again has come.
    pub(crate) fn take_ended(&self, now: Instant) -> Option<u32> {
        let mut ended = self.ended.borrow_mut();
        ended.peek().filter(|Reverse((at, _))| *at <= now)?;
        ended.pop().map(|Reverse((_, slot))| slot)
    }

    /// A connection could not be made: that is tried again after a while. The request that it was
    /// to send has failed with it, or a run of a count would have no end while nobody is there.
    pub(crate) fn unopened(&self, slot: u32, now: Instant, why: Failure) {
        let next = self.pace.borrow_mut().take(now, false);
        match next {
            Next::Now(since) => self.meter.borrow_mut().bad(since, now, why, 1),
            // No request was lost, but the connection was.
            Next::Later => self.meter.borrow_mut().bad(now, now, why, 1),
            Next::Over => {}
        }
        self.open_again(slot, now + RETRY_AFTER);
    }

    fn open_again(&self, slot: u32, at: Instant) {
        self.ended.borrow_mut().push(Reverse((at, slot)));
    }

    pub(crate) fn first_failure(&self) -> Option<String> {
        self.first_failure.borrow().clone()
    }

    /// Why something failed on a connection, and where, if there is more than one server.
    pub(crate) fn explain(&self, slot: u32, why: impl FnOnce() -> String) {
        let mut first = self.first_failure.borrow_mut();
        if first.is_some() {
            return;
        }
        let why = why();
        *first = Some(match &self.terms.servers[..] {
            [] | [_] => why,
            all => format!("{}: {why}", all[slot as usize % all.len()]),
        });
    }
}

/// The book of one connection.
pub(crate) struct Lane {
    pub(crate) run: Rc<Run>,
    slot: u32,
    /// Since when the requests without an answer count, in the order in which they were sent.
    asked: VecDeque<Instant>,
    /// A request that the connection was opened for.
    first: Option<Instant>,
    answered: u64,
    is_open: bool,
    is_parked: bool,
    /// No further request may be sent on this connection.
    is_ending: bool,
    busy: Patience,
    idle: Patience,
}

/// Wakes a connection that waits for a request to become due.
pub(crate) struct Go;

impl Lane {
    pub(crate) fn new(run: &Rc<Run>, slot: u32, first: Option<Instant>) -> Lane {
        let timeout = Some(run.terms.timeout);
        Lane {
            slot,
            asked: VecDeque::with_capacity(run.terms.pipeline),
            first,
            answered: 0,
            is_open: false,
            is_parked: false,
            is_ending: false,
            busy: Patience {
                idle: timeout,
                frame: timeout,
                first_byte: None,
                is_passing: run.terms.has_idle,
            },
            idle: Patience {
                is_passing: true,
                ..Patience::default()
            },
            run: Rc::clone(run),
        }
    }

    pub(crate) fn explain(&self, why: impl FnOnce() -> String) {
        self.run.explain(self.slot, why);
    }

    pub(crate) fn on_open(&mut self) {
        self.is_open = true;
        self.run.open.set(self.run.open.get() + 1);
    }

    /// Whether one more request is to be sent now. Whoever calls sends it.
    #[inline]
    pub(crate) fn next(&mut self, token: Token, now: Instant) -> bool {
        self.take(token, now, false)
    }

    /// As [`Lane::next`], after the connection was woken by [`Go`].
    pub(crate) fn next_parked(&mut self, token: Token, now: Instant) -> bool {
        self.is_parked = false;
        self.take(token, now, true)
    }

    #[inline]
    fn take(&mut self, token: Token, now: Instant, was_parked: bool) -> bool {
        if self.is_ending || self.asked.len() >= self.run.terms.pipeline {
            return false;
        }
        if !self.run.terms.keep_alive {
            // The one request was taken before the connection was opened.
            let Some(since) = self.first.take() else {
                return false;
            };
            self.asked.push_back(since);
            return true;
        }
        let next = self.run.pace.borrow_mut().take(now, was_parked);
        match next {
            Next::Now(since) => {
                self.run.in_flight.set(self.run.in_flight.get() + 1);
                self.asked.push_back(since);
                true
            }
            Next::Later => {
                if !self.is_parked {
                    self.is_parked = true;
                    self.run.pace.borrow_mut().park(Parked::Lane(token));
                }
                false
            }
            Next::Over => false,
        }
    }

    /// A request of `len` bytes was sent.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, len: usize) {
        if let Some(since) = self.asked.back() {
            self.run.meter.borrow_mut().sent(*since, now, len as u64);
        }
    }

    /// The oldest request has its answer, of `len` bytes.
    #[inline]
    pub(crate) fn answered(&mut self, now: Instant, verdict: Result<(), Failure>, len: u64) {
        if let Some(since) = self.asked.pop_front() {
            self.settled(since, now, verdict, len);
        }
    }

    /// As [`Lane::answered`], for any of them.
    pub(crate) fn answered_at(
        &mut self,
        index: usize,
        now: Instant,
        verdict: Result<(), Failure>,
        len: u64,
    ) {
        if let Some(since) = self.asked.remove(index) {
            self.settled(since, now, verdict, len);
        }
    }

    #[inline]
    fn settled(&mut self, since: Instant, now: Instant, verdict: Result<(), Failure>, len: u64) {
        self.answered += 1;
        self.run.in_flight.set(self.run.in_flight.get() - 1);
        let mut meter = self.run.meter.borrow_mut();
        match verdict {
            Ok(()) => meter.good(since, now, len),
            Err(why) => meter.bad(since, now, why, 1),
        }
    }

    /// The requests without an answer have failed.
    pub(crate) fn failed(&mut self, now: Instant, why: Failure) {
        let first = self.first.take();
        let mut meter = self.run.meter.borrow_mut();
        for since in self.asked.drain(..).chain(first) {
            self.run.in_flight.set(self.run.in_flight.get() - 1);
            meter.bad(since, now, why, 1);
        }
    }

    /// What came is no answer: the requests without one have failed, or nothing but the connection.
    pub(crate) fn refused(&mut self, now: Instant, why: Failure) {
        if self.is_waiting() {
            self.failed(now, why);
        } else {
            self.run.meter.borrow_mut().bad(now, now, why, 1);
        }
        self.is_ending = true;
    }

    /// The connection will take no further request.
    pub(crate) fn end(&mut self) {
        self.is_ending = true;
    }

    /// As [`Lane::end`], because the server said so: it will not look at the requests behind the
    /// one that it has answered (RFC 9112, section 9.6), and somebody else sends them again.
    pub(crate) fn end_early(&mut self) {
        self.end();
        let mut pace = self.run.pace.borrow_mut();
        for since in self.asked.drain(..) {
            self.run.in_flight.set(self.run.in_flight.get() - 1);
            pace.give_back(since);
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Requests without an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.asked.len()
    }

    pub(crate) fn patience(&self) -> &Patience {
        // One that is ending owes us its end.
        if self.asked.is_empty() && self.run.terms.has_idle && !self.is_ending {
            &self.idle
        } else {
            &self.busy
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.explain(|| "no answer in time".into());
        self.failed(now, Failure::Timeout);
        self.is_ending = true;
    }

    /// The connection has ended, and is opened again: at once if it was of use, or after a while.
    pub(crate) fn on_close(&mut self, reason: CloseReason, now: Instant) {
        if self.is_open {
            self.run.open.set(self.run.open.get() - 1);
        }
        match self.run.end.get() {
            End::NotYet => {}
            End::Over => {
                if self.is_waiting() || self.first.is_some() {
                    self.explain(|| "no answer in time".into());
                }
                return self.failed(now, Failure::Timeout);
            }
            End::CutOff => return,
        }
        let why = match reason {
            CloseReason::ConnectFailed(_) => Failure::Connect,
            CloseReason::ConnectTimeout | CloseReason::Stalled => Failure::Timeout,
            CloseReason::Malformed | CloseReason::InboundLimit => Failure::Malformed,
            _ => Failure::Closed,
        };
        if self.is_waiting() || self.first.is_some() || !self.is_open {
            self.explain(|| reason.to_string());
        }
        if !self.is_open && self.first.is_none() {
            return self.run.unopened(self.slot, now, why);
        }
        self.failed(now, why);
        let again_at = if self.answered > 0 {
            now
        } else {
            now + RETRY_AFTER
        };
        self.run.open_again(self.slot, again_at);
    }
}

/// How long a connection that was of no use is not opened again, and nothing is sent to where
/// nobody receives.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);
