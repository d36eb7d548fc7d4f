//! `Figures`: what a message is allowed to cost, and the file that keeps it.
//!
//! Knows no tool, and how a change is judged.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Display, Write};
use std::fs;

use clap::ValueEnum;

use super::workload::Workload;

/// What is counted, per 1,000 messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    Allocations,
    SystemCalls,
    Instructions,
}

impl Measure {
    const ALL: [Measure; 3] = [
        Measure::Allocations,
        Measure::SystemCalls,
        Measure::Instructions,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Allocations => "allocations",
            Measure::SystemCalls => "system-calls",
            Measure::Instructions => "instructions",
        }
    }
}

/// All figures, and what compiled the program that they are of.
pub(crate) struct Figures {
    pub(crate) build: String,
    /// By the names of workload and measure.
    counts: BTreeMap<(String, String), u64>,
}

impl Figures {
    pub(crate) fn new(build: String) -> Figures {
        let counts = BTreeMap::new();
        Figures { build, counts }
    }

    pub(crate) fn read() -> Result<Figures, Box<dyn Error>> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        let mut figures = Figures::new(String::new());
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for line in lines.filter(|line| !line.trim().is_empty()) {
            if let Some(build) = line.strip_prefix("build ") {
                figures.build = build.trim().to_owned();
                continue;
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [workload, measure, count] = words[..] else {
                return Err(format!("{PATH}: {line:?} is no figure").into());
            };
            let name = (workload.to_owned(), measure.to_owned());
            figures.counts.insert(name, count.parse()?);
        }
        Ok(figures)
    }

    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let mut text = String::from(HEADER);
        writeln!(text, "build {}\n", self.build)?;
        for (workload, measure) in all() {
            if let Some(count) = self.of(workload, measure) {
                let (name, unit) = (workload.name(), measure.name());
                writeln!(text, "{name:16} {unit:14} {count:>10}")?;
            }
        }
        Ok(fs::write(PATH, text)?)
    }

    pub(crate) fn set(&mut self, workload: Workload, measure: Measure, count: u64) {
        let name = (workload.name(), measure.name().to_owned());
        self.counts.insert(name, count);
    }

    pub(crate) fn of(&self, workload: Workload, measure: Measure) -> Option<u64> {
        let name = (workload.name(), measure.name().to_owned());
        self.counts.get(&name).copied()
    }
}

/// What is measured of whom.
pub(crate) fn all() -> impl Iterator<Item = (Workload, Measure)> {
    let workloads = Workload::value_variants().iter();
    workloads.flat_map(|workload| Measure::ALL.map(|measure| (*workload, measure)))
}

/// What there is to say of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Same,
    /// By so many per cent.
    Changed(f64),
    /// It is not kept, or was not counted.
    Missing,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same => Ok(()),
            Verdict::Changed(percent) => write!(f, "{percent:+.1} %"),
            Verdict::Missing => write!(f, "missing"),
        }
    }
}

/// A change of more than 3 %, and of more than one in 1,000 messages, is one.
pub(crate) fn judge(before: Option<u64>, after: Option<u64>) -> Verdict {
    let (Some(before), Some(after)) = (before, after) else {
        return Verdict::Missing;
    };
    let difference = before.abs_diff(after);
    if difference <= 1 || difference * 100 <= before * MAX_PERCENT {
        return Verdict::Same;
    }
    let (before, after) = (before as f64, after as f64);
    Verdict::Changed((after - before) / before.max(1.0) * 100.0)
}

/// Relative to the working directory of `cargo bench`, the package's root.
pub(crate) const PATH: &str = "benches/gates/figures.txt";
const MAX_PERCENT: u64 = 3;
const HEADER: &str = "\
# What 1,000 messages cost. Written by
# cargo bench --profile release --features sim,hub --bench gates -- --update
# System calls: one client that waits for each reply. The others: 64 clients at a time.
# Instructions are judged for this build only.
";
