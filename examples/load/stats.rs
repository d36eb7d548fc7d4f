//! What is measured: latencies, errors by kind, bytes; in all, and interval by interval.
//!
//! One histogram is written per request, that of the running interval; it is added to that of
//! the whole run when the interval is over. Knows no sockets, and reads no clock.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection could not be made.
    Connect,
    /// A datagram that has not arrived, as the system was told: nobody receives there, say.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Closed,
    /// What came is not what the protocol allows.
    Malformed,
    /// Bytes that answer no request: they came before it was sent, or after its answer.
    Unasked,
    /// A status that was not expected.
    Status,
    /// An answer of another length.
    Length,
    /// An answer with other bytes.
    Content,
    /// Due at a constant rate, and never sent, because no connection was free.
    Unsent,
}

impl Failure {
    pub(crate) const ALL: [Failure; 10] = [
        Failure::Connect,
        Failure::Unreachable,
        Failure::Timeout,
        Failure::Closed,
        Failure::Malformed,
        Failure::Unasked,
        Failure::Status,
        Failure::Length,
        Failure::Content,
        Failure::Unsent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Unreachable => "unreachable",
            Failure::Timeout => "timeout",
            Failure::Closed => "closed",
            Failure::Malformed => "malformed",
            Failure::Unasked => "unasked",
            Failure::Status => "status",
            Failure::Length => "length",
            Failure::Content => "content",
            Failure::Unsent => "unsent",
        }
    }
}

/// Collects what happens.
pub(crate) struct Meter {
    total: Histogram<u64>,
    running: Histogram<u64>,
    /// Of the interval before.
    previous: Histogram<u64>,
    running_errors: u64,
    running_since: Instant,
    measure_from: Instant,
    last_at: Instant,
    errors: [u64; Failure::ALL.len()],
    bytes_in: u64,
    bytes_out: u64,
    points: Vec<Point>,
}

/// One interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Its end, since the warm-up.
    pub(crate) at: Duration,
    /// Its length.
    pub(crate) len: Duration,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Meter {
    pub(crate) fn new(measure_from: Instant) -> Meter {
        Meter {
            total: histogram(),
            running: histogram(),
            previous: histogram(),
            running_errors: 0,
            running_since: measure_from,
            measure_from,
            last_at: measure_from,
            errors: [0; Failure::ALL.len()],
            bytes_in: 0,
            bytes_out: 0,
            points: Vec::new(),
        }
    }

    /// A request was answered well.
    #[inline]
    pub(crate) fn good(&mut self, since: Instant, now: Instant, len: u64) {
        if since < self.measure_from {
            return;
        }
        self.bytes_in += len;
        self.last_at = now;
        let latency = now.saturating_duration_since(since);
        let nanos = latency.as_secs() * 1_000_000_000 + u64::from(latency.subsec_nanos());
        self.running.saturating_record(nanos);
    }

    /// A request of this length was sent.
    #[inline]
    pub(crate) fn sent(&mut self, since: Instant, now: Instant, len: u64) {
        if since >= self.measure_from {
            self.bytes_out += len;
            self.last_at = now;
        }
    }

    /// Some requests failed.
    pub(crate) fn bad(&mut self, since: Instant, now: Instant, why: Failure, count: u64) {
        if since < self.measure_from || count == 0 {
            return;
        }
        // Waiting in vain behind the last request is no part of the time in which the others were
        // answered: one straggler would divide the rate of a short run by ten.
        if why != Failure::Timeout {
            self.last_at = now;
        }
        self.errors[why as usize] += count;
        self.running_errors += count;
    }

    /// The running interval is over.
    pub(crate) fn end_interval(&mut self, now: Instant) {
        let len = now.saturating_duration_since(self.running_since);
        self.points.push(Point {
            at: now.saturating_duration_since(self.measure_from),
            len,
            requests: self.running.len(),
            errors: self.running_errors,
            p50: quantile(&self.running, 0.5),
            p99: quantile(&self.running, 0.99),
        });
        self.sum_up();
        self.running_errors = 0;
        self.running_since = now;
    }

    /// The run is over. What is left of an interval is one if it is long enough to tell something:
    /// some requests within a millisecond are no rate.
    pub(crate) fn end(&mut self, now: Instant) {
        let len = now.saturating_duration_since(self.running_since);
        match self.points.last_mut() {
            Some(last) if len < last.len / 4 => {
                self.previous
                    .add(&self.running)
                    .expect("both have the same bounds");
                last.at += len;
                last.len += len;
                last.requests = self.previous.len();
                last.errors += self.running_errors;
                last.p50 = quantile(&self.previous, 0.5);
                last.p99 = quantile(&self.previous, 0.99);
                self.sum_up();
            }
            // It was ended before anything was measured.
            None if len.is_zero() => {}
            _ => self.end_interval(now),
        }
    }

    /// Adds what is of the running interval to that of all, and keeps it as that of the last.
    fn sum_up(&mut self) {
        self.total
            .add(&self.running)
            .expect("both have the same bounds");
        std::mem::swap(&mut self.running, &mut self.previous);
        self.running.reset();
    }

    /// Good answers, the time that they took, and their p99: of the running interval, or of the one
    /// before while there is little of it.
    pub(crate) fn live(&self, now: Instant) -> (u64, Duration, Duration) {
        let len = now.saturating_duration_since(self.running_since);
        match self.points.last() {
            Some(last) if len < last.len / 4 => (last.requests, last.len, last.p99),
            _ => (self.running.len(), len, quantile(&self.running, 0.99)),
        }
    }

    /// Latencies of all intervals that are over.
    pub(crate) fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    pub(crate) fn errors(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        Failure::ALL.into_iter().zip(self.errors)
    }

    /// Requests that are done with, well or not.
    pub(crate) fn count(&self) -> u64 {
        self.total.len() + self.running.len() + self.error_count()
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.iter().sum()
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    /// It was measured until then at least, although nothing may have come any more.
    pub(crate) fn lasted_until(&mut self, at: Instant) {
        self.last_at = self.last_at.max(at);
    }

    /// How long it was measured: from the warm-up to the last answer, or as long as was asked for.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last_at.saturating_duration_since(self.measure_from)
    }
}

/// A latency that this part of all latencies do not exceed.
pub(crate) fn quantile(latencies: &Histogram<u64>, part: f64) -> Duration {
    Duration::from_nanos(latencies.value_at_quantile(part))
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NANOS, HIGHEST_NANOS, 3).expect("these bounds make sense")
}

/// What latencies are told apart by below 128 µs; above, it is three digits.
const LOWEST_NANOS: u64 = 64;
/// An hour; longer ones count as that.
const HIGHEST_NANOS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_short_rest_of_the_last_interval_is_a_part_of_the_one_before() {
        let began = Instant::now();
        let mut meter = Meter::new(began);
        for number in 1..=10 {
            meter.good(began, began + number * MILLI, 1);
        }
        meter.end_interval(began + 100 * MILLI);
        meter.good(began, began + 101 * MILLI, 1);
        meter.bad(began, began + 101 * MILLI, Failure::Closed, 2);
        meter.end(began + 101 * MILLI);
        let [point] = meter.points() else {
            panic!("{:?}", meter.points());
        };
        assert_eq!((point.at, point.len), (101 * MILLI, 101 * MILLI));
        assert_eq!((point.requests, point.errors), (11, 2));
        assert!(point.p50 < 7 * MILLI && point.p99 > 100 * MILLI);
        assert_eq!(meter.total().len(), 11);
    }

    #[test]
    fn a_long_rest_is_an_interval_and_no_time_is_none() {
        let began = Instant::now();
        let mut meter = Meter::new(began);
        meter.end_interval(began + 100 * MILLI);
        meter.good(began, began + 150 * MILLI, 1);
        meter.end(began + 150 * MILLI);
        assert_eq!(meter.points().len(), 2);
        let mut meter = Meter::new(began + MILLI);
        meter.end(began);
        assert_eq!(meter.points().len(), 0);
    }
}
