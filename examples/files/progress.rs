//! Progress bars, with the rate and the time left; nothing at all where nobody looks.

use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bars of a terminal. Standard error is not always one: then nothing is shown.
#[derive(Debug, Default)]
pub(crate) struct Board(MultiProgress);

impl Board {
    /// A bar for a transfer of `len` bytes.
    pub(crate) fn bar(&self, name: String, len: u64) -> ProgressBar {
        let bar = ProgressBar::new(len).with_message(name);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        self.0.add(bar)
    }

    /// Prints a line above the bars.
    pub(crate) fn say(&self, to: &mut dyn io::Write, line: &str) -> io::Result<()> {
        self.0.suspend(|| {
            writeln!(to, "{line}")?;
            to.flush()
        })
    }
}

const TEMPLATE: &str =
    "{msg:24!} {wide_bar} {bytes:>11} of {total_bytes:11} {bytes_per_sec:>13}, {eta} left";
