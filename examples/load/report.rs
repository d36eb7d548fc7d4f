//! What is told about a run: as a table, and as JSON.
//!
//! Knows neither connections nor schedules, only what they amounted to.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::own::Own;
use crate::pace::Late;
use crate::stats::{Failure, Meter, Point, quantile};

/// A run that is over.
pub(crate) struct Report {
    /// What was done, in words: where to, how.
    pub(crate) title: String,
    pub(crate) terms: Value,
    /// How long was measured.
    pub(crate) elapsed: Duration,
    /// Requests that were answered well.
    pub(crate) good: u64,
    pub(crate) errors: Vec<(Failure, u64)>,
    /// What the first of them said.
    pub(crate) first_failure: Option<String>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// By the names in [`QUANTILES`], and the lowest and the highest.
    pub(crate) latencies: Vec<(&'static str, Duration)>,
    /// Latency by percentile: that part of all are not slower.
    pub(crate) curve: Vec<(f64, Duration)>,
    pub(crate) points: Vec<Point>,
    /// What the load tester itself took: see `own.rs`.
    pub(crate) busy: f64,
    pub(crate) max_busy: f64,
    pub(crate) waited: f64,
    pub(crate) cpu: Duration,
    pub(crate) late: Late,
}

impl Report {
    pub(crate) fn new(
        title: String,
        terms: Value,
        meter: &Meter,
        own: &Own,
        late: Late,
        first_failure: Option<String>,
    ) -> Report {
        let all = meter.total();
        let mut latencies = vec![("min", Duration::from_nanos(all.min()))];
        latencies.extend(QUANTILES.map(|(name, part)| (name, quantile(all, part))));
        latencies.push(("max", Duration::from_nanos(all.max())));
        let curve = all
            .iter_quantiles(5)
            .map(|step| {
                let value = Duration::from_nanos(step.value_iterated_to());
                (step.quantile_iterated_to(), value)
            })
            .collect();
        let (bytes_in, bytes_out) = meter.bytes();
        Report {
            title,
            terms,
            elapsed: meter.elapsed(),
            good: all.len(),
            errors: meter.errors().filter(|(_, count)| *count > 0).collect(),
            first_failure,
            bytes_in,
            bytes_out,
            latencies,
            curve,
            points: meter.points().to_vec(),
            busy: own.busy(),
            max_busy: own.max_busy(),
            waited: own.waited(),
            cpu: own.cpu(),
            late,
        }
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// Good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.good, self.elapsed)
    }

    pub(crate) fn latency(&self, name: &str) -> Duration {
        self.latencies
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Duration::ZERO, |(_, value)| *value)
    }

    /// Why the figures may tell more about the load tester than about the server.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.elapsed >= TELLING && self.max_busy + self.waited > 0.9 {
            doubts.push(format!(
                "this load tester was the bottleneck, or near it: it used {} of a CPU (at most {} \
                 in a second) and waited for one for {} of the time",
                percent(self.busy),
                percent(self.max_busy),
                percent(self.waited),
            ));
        }
        if self.late.count > 0 {
            doubts.push(format!(
                "{} requests were sent more than 1 ms late although a connection was free, the \
                 latest by {}: that is in their latencies, and is not the server's doing",
                count(self.late.count),
                time(self.late.max),
            ));
        }
        if self.good + self.error_count() == 0 {
            doubts.push("nothing was measured".into());
        }
        doubts
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            _ = writeln!(text, "{name:<14}{value}");
        };
        row("load", &self.title);
        row("requests", &count(self.good));
        row("errors", &count(self.error_count()));
        for (why, number) in &self.errors {
            row(&format!("  {}", why.name()), &count(*number));
        }
        if let Some(first) = &self.first_failure {
            row("  the first", first);
        }
        row("time", &time(self.elapsed));
        row("rate", &format!("{} requests/s", rate(self.rate())));
        row("received", &bytes(self.bytes_in, self.elapsed));
        row("sent", &bytes(self.bytes_out, self.elapsed));
        let mut own = format!("{} of a CPU", percent(self.busy));
        if self.good > 0 {
            row("latency", "");
            for (name, value) in &self.latencies {
                row(&format!("  {name}"), &time(*value));
            }
            let each = self.cpu.as_secs_f64() * 1e6 / self.good as f64;
            own += &format!(", {each:.2} µs a request");
        }
        row("this client", &own);
        for doubt in self.doubts() {
            row("CAUTION", &doubt);
        }
        text
    }

    /// For programs, and for `load compare`. Times are in nanoseconds.
    pub(crate) fn json(&self) -> Value {
        let named = |list: &[(&'static str, Duration)]| -> Value {
            list.iter()
                .map(|(name, value)| ((*name).to_owned(), nanos(*value)))
                .collect()
        };
        let errors: Value = self
            .errors
            .iter()
            .map(|(why, number)| (why.name().to_owned(), json!(number)))
            .collect();
        let points: Vec<Value> = self.points.iter().map(point).collect();
        let curve: Vec<Value> = self
            .curve
            .iter()
            .map(|(part, value)| json!([part, nanos(*value)]))
            .collect();
        json!({
            "load": self.title,
            "terms": self.terms,
            "elapsed_ns": nanos(self.elapsed),
            "requests": self.good,
            "errors": errors,
            "error_count": self.error_count(),
            "first_failure": self.first_failure,
            "rate_per_s": self.rate(),
            "received_bytes": self.bytes_in,
            "sent_bytes": self.bytes_out,
            "latency_ns": named(&self.latencies),
            "latency_by_quantile": curve,
            "over_time": points,
            "client": {
                "cpu_ns": nanos(self.cpu),
                "cpu_share": self.busy,
                "max_cpu_share": self.max_busy,
                "waited_share": self.waited,
                "late_requests": self.late.count,
                "max_late_ns": nanos(self.late.max),
                "doubts": self.doubts(),
            },
        })
    }
}

fn point(point: &Point) -> Value {
    json!({
        "at_ns": nanos(point.at),
        "rate_per_s": per_second(point.requests, point.len),
        "errors": point.errors,
        "p50_ns": nanos(point.p50),
        "p99_ns": nanos(point.p99),
    })
}

fn nanos(time: Duration) -> Value {
    json!(time.as_nanos() as u64)
}

pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    count as f64 / time.as_secs_f64()
}

/// A rate, with a digit behind the point if it is low.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 100.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second as u64)
    }
}

fn bytes(len: u64, time: Duration) -> String {
    let rate = per_second(len, time) / 1e6;
    format!("{} bytes, {rate:.1} MB/s", count(len))
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number as people read it: 12,345.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with three digits and a unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (number, unit) = match micros {
        _ if micros < 1e3 => (micros, "µs"),
        _ if micros < 1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    match number {
        _ if number < 10.0 => format!("{number:.2} {unit}"),
        _ if number < 100.0 => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

/// What is shorter tells nothing of who was the bottleneck.
const TELLING: Duration = Duration::from_millis(100);

/// Which parts of all latencies are told, and how they are called.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];
