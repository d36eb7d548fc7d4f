//! What the load tester itself took: whoever measures must not be what is measured.
//!
//! Reads the CPU time of this process, and where the system tells (Linux, in general) how long it
//! waited for a CPU, once a second. Knows nothing of requests.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What was read, and when.
pub(crate) struct Own {
    first: Reading,
    last: Reading,
    /// The largest share of a CPU within one of the stretches between two readings.
    max_busy: f64,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    waited: Duration,
}

impl Own {
    pub(crate) fn new(now: Instant) -> Own {
        let first = Reading::take(now);
        Own {
            first,
            last: first,
            max_busy: 0.0,
        }
    }

    /// Reads once more, if the last time is a second ago.
    pub(crate) fn watch(&mut self, now: Instant) {
        if now >= self.last.at + Duration::from_secs(1) {
            self.read(now);
        }
    }

    /// Reads once more.
    pub(crate) fn read(&mut self, now: Instant) {
        let last = Reading::take(now);
        // What is shorter tells nothing.
        if last.at > self.last.at + Duration::from_millis(500) {
            let share = last.cpu_since(&self.last);
            self.max_busy = self.max_busy.max(share);
        }
        self.last = last;
    }

    /// CPU time in all.
    pub(crate) fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    /// The share of a CPU that was used, 0 to 1.
    pub(crate) fn busy(&self) -> f64 {
        self.last.cpu_since(&self.first)
    }

    /// The largest share in a second.
    pub(crate) fn max_busy(&self) -> f64 {
        self.max_busy.max(self.busy())
    }

    /// The share of the time in which it could have run, and something else did.
    pub(crate) fn waited(&self) -> f64 {
        let waited = self.last.waited.saturating_sub(self.first.waited);
        share(waited, self.last.at, self.first.at)
    }
}

impl Reading {
    fn take(at: Instant) -> Reading {
        let (cpu, waited) = scheduled().unwrap_or_else(|| {
            let cpu = clock_gettime(ClockId::ProcessCPUTime);
            (cpu.try_into().unwrap_or_default(), Duration::ZERO)
        });
        Reading { at, cpu, waited }
    }

    fn cpu_since(&self, before: &Reading) -> f64 {
        share(self.cpu.saturating_sub(before.cpu), self.at, before.at)
    }
}

fn share(part: Duration, now: Instant, before: Instant) -> f64 {
    let all = now.saturating_duration_since(before);
    if all.is_zero() {
        return 0.0;
    }
    // The two clocks are not read at the same time, and one moves by leaps.
    (part.as_secs_f64() / all.as_secs_f64()).min(1.0)
}

/// How long this process, which has one thread, ran, and how long it could have run and did not.
fn scheduled() -> Option<(Duration, Duration)> {
    let text = fs::read_to_string("/proc/self/schedstat").ok()?;
    let mut nanos = text.split_ascii_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(nanos.next()?.ok()?));
    Some((next()?, next()?))
}
