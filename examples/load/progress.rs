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
    began: Instant,
}

impl Progress {
    /// `len`: how long the run is to take; `None`: that is not known.
    pub(crate) fn new(len: Option<Duration>, is_quiet: bool, now: Instant) -> Progress {
        let (len, template) = match len {
            Some(len) => (len.as_millis() as u64, "{bar:30} {percent:>3} % {msg}"),
            None => (0, "{msg}"),
        };
        let target = if is_quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, began: now }
    }

    /// Draws.
    pub(crate) fn show(&self, now: Instant, run: &Run) {
        if self.bar.is_hidden() {
            return;
        }
        let meter = run.meter.borrow();
        let (requests, len, p99) = meter.live(now);
        let done = now.saturating_duration_since(self.began).as_millis() as u64;
        self.bar
            .set_position(done.min(self.bar.length().unwrap_or(done)));
        self.bar.set_message(format!(
            "{} open, {} requests/s, p99 {}, {} errors",
            run.open(),
            count(per_second(requests, len) as u64),
            time(p99),
            count(meter.error_count()),
        ));
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
