//! When the next request is to be sent: as soon as one is answered, or at a constant rate.
//!
//! At a constant rate the schedule does not depend on the server: request `k` is due `k / rate`
//! after the start, and its latency counts from then, whether or not it could be sent. So a server
//! that stalls cannot hide what it does to the requests that would have come meanwhile.
//!
//! Knows no sockets and no protocol, and reads no clock: it is told the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use windlass::Token;

/// The schedule of a run.
pub(crate) struct Pace {
    /// Requests a second; `None`: the closed loop.
    rate: Option<f64>,
    /// When the schedule begins.
    begin: Instant,
    /// When the warm-up is over: what begins earlier does not count.
    measure_from: Instant,
    /// When the last request may begin.
    until: Option<Instant>,
    /// How many requests that count may still begin.
    left: Option<u64>,
    /// Requests that have begun at a constant rate.
    begun: u64,
    /// Since when requests count that were sent once, and that the server said it would not answer:
    /// they are sent again before any other.
    returned: VecDeque<Instant>,
    /// When the next one is due.
    next_due: Instant,
    /// Who waits for a request to become due.
    parked: VecDeque<Parked>,
    late: Late,
}

/// What a run's schedule is made of.
pub(crate) struct Terms {
    /// Requests a second; `None`: the closed loop.
    pub(crate) rate: Option<f64>,
    /// How long the connections take to be opened.
    pub(crate) ramp_up: Duration,
    /// How long requests do not count after that.
    pub(crate) warm_up: Duration,
    /// How long requests count after that; `None`: until `count`.
    pub(crate) duration: Option<Duration>,
    /// How many requests count.
    pub(crate) count: Option<u64>,
}

/// Who waits for a request to become due.
pub(crate) enum Parked {
    /// A connection that is open.
    Lane(Token),
    /// A connection that is opened for the one request.
    Slot(u32),
}

/// Whether a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may, and its latency counts from then.
    Now(Instant),
    /// Not yet: none is due.
    Later,
    /// No further one.
    Over,
}

/// Requests that we sent too late, although a connection was free: our own fault.
#[derive(Clone, Copy, Default)]
pub(crate) struct Late {
    /// More than [`TOLERANCE`] late.
    pub(crate) count: u64,
    /// The latest of all.
    pub(crate) max: Duration,
}

impl Pace {
    pub(crate) fn new(terms: &Terms, now: Instant) -> Pace {
        let begin = now + terms.ramp_up;
        let measure_from = begin + terms.warm_up;
        Pace {
            rate: terms.rate,
            begin,
            measure_from,
            until: terms.duration.map(|duration| measure_from + duration),
            left: terms.count,
            begun: 0,
            returned: VecDeque::new(),
            next_due: begin,
            parked: VecDeque::new(),
            late: Late::default(),
        }
    }

    /// Takes the next request from the schedule. `was_parked`: the caller has been waiting for it,
    /// so that it is our fault if it is late.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant, was_parked: bool) -> Next {
        if let Some(since) = self.returned.pop_front() {
            return Next::Now(since);
        }
        let since = match self.rate {
            None => now,
            Some(_) => self.next_due,
        };
        if self.left == Some(0) || self.until.is_some_and(|until| since >= until) {
            return Next::Over;
        }
        if let Some(rate) = self.rate {
            if since > now {
                return Next::Later;
            }
            if was_parked && since >= self.measure_from {
                self.late.note(now.saturating_duration_since(since));
            }
            self.begun += 1;
            self.next_due = self.begin + Duration::from_secs_f64(self.begun as f64 / rate);
        }
        if let Some(left) = &mut self.left
            && since >= self.measure_from
        {
            *left -= 1;
        }
        Next::Now(since)
    }

    /// A request was sent in vain, and is to be sent again.
    pub(crate) fn give_back(&mut self, since: Instant) {
        self.returned.push_back(since);
    }

    /// One that was not sent again.
    pub(crate) fn take_returned(&mut self) -> Option<Instant> {
        self.returned.pop_front()
    }

    /// Remembers who waits for a request to become due.
    pub(crate) fn park(&mut self, who: Parked) {
        self.parked.push_back(who);
    }

    /// Whoever has waited longest, if a request is due, or if none will ever be.
    pub(crate) fn unpark(&mut self, now: Instant) -> Option<Parked> {
        if self.next_due > now && self.returned.is_empty() {
            return None;
        }
        self.parked.pop_front()
    }

    /// When somebody who waits has to be woken.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if self.parked.is_empty() {
            None
        } else if !self.returned.is_empty() {
            Some(self.begin)
        } else {
            (self.rate.is_some() && !self.has_none_left()).then_some(self.next_due)
        }
    }

    /// Whether no further request will begin.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        if !self.returned.is_empty() {
            return false;
        }
        match self.rate {
            None => self.left == Some(0) || self.until.is_some_and(|until| now >= until),
            Some(_) => self.has_none_left(),
        }
    }

    /// Requests that count, are due and have not been sent.
    pub(crate) fn backlog(&self, now: Instant) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let due_by = |at: Instant| {
            let time = at.saturating_duration_since(self.begin);
            (time.as_secs_f64() * rate).ceil() as u64
        };
        let due = due_by(self.until.map_or(now, |until| until.min(now)));
        let backlog = due.saturating_sub(self.begun.max(due_by(self.measure_from)));
        self.left.map_or(backlog, |left| backlog.min(left))
    }

    pub(crate) fn is_closed_loop(&self) -> bool {
        self.rate.is_none()
    }

    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    pub(crate) fn measure_from(&self) -> Instant {
        self.measure_from
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(crate) fn late(&self) -> Late {
        self.late
    }

    fn has_none_left(&self) -> bool {
        self.left == Some(0) || self.until.is_some_and(|until| self.next_due >= until)
    }
}

impl Late {
    fn note(&mut self, by: Duration) {
        self.count += u64::from(by > TOLERANCE);
        self.max = self.max.max(by);
    }
}

/// How late a request may be sent without being called late.
const TOLERANCE: Duration = Duration::from_millis(1);
