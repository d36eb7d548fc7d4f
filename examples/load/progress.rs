//! The bar that shows how far a run is, how fast it goes, and its p99 now.
//!
//! Drawn on standard error, and only on a terminal. Knows nothing of how a run works.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::lane::Run;
use crate::report::{count, per_second, time};

/// A bar.
pub(crate) struct Progress {
    bar: ProgressBar,
    goal: Goal,
    began: Instant,
}

/// What a run is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    Time(Duration),
    Count(u64),
}

impl Progress {
    pub(crate) fn new(goal: Goal, is_quiet: bool, now: Instant) -> Progress {
        let target = if is_quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let len = match goal {
            Goal::Time(time) => time.as_millis() as u64,
            Goal::Count(count) => count,
        };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        // On one line of a terminal, however narrow it is.
        if let Ok(style) = ProgressStyle::with_template("{bar:12} {percent:>3} % {wide_msg}") {
            bar.set_style(style);
        }
        Progress {
            bar,
            goal,
            began: now,
        }
    }

    /// Draws.
    pub(crate) fn show(&self, now: Instant, run: &Run) {
        if self.bar.is_hidden() {
            return;
        }
        let meter = run.meter.borrow();
        let (requests, len, p99) = meter.live(now);
        self.bar.set_message(format!(
            "{} open, {} requests/s, p99 {}, {} errors",
            run.open(),
            count(per_second(requests, len) as u64),
            time(p99),
            count(meter.error_count()),
        ));
        let (done, all) = match self.goal {
            Goal::Time(all) => {
                let done = now.saturating_duration_since(self.began);
                (done.as_millis() as u64, all.as_millis() as u64)
            }
            Goal::Count(all) => (meter.count(), all),
        };
        self.bar.set_position(done.min(all));
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
