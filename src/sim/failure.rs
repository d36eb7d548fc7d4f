//! `Failure`: what a simulated run found, and how to see it again.
//!
//! Knows nothing of how it was found.

use std::fmt;
use std::time::Duration;

use super::faults::Fault;
use super::trace::Hash;

/// What kind of mistake a simulated run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A reactor sleeps although one of its sockets could do something, and nobody will wake it.
    Stall,
    /// A reactor takes turn after turn in which nothing happens.
    Spin,
    /// Bytes that were owed to a peer were destroyed, and no close reason says so.
    LostBytes,
    /// A protocol was not told of its end exactly once, or was called afterwards.
    Close,
    /// A queue grew past its limit.
    Limit,
    /// A deadline was missed.
    Deadline,
    /// Entries or sockets were left over at the end.
    Leak,
    /// What the scenario waits for did not happen in time.
    Timeout,
    /// A check of the scenario itself failed.
    Check,
    /// Something panicked.
    Panic,
    /// The same seed did not give the same trace twice.
    Chance,
}

/// A failed run. Its `Display` says which seed it was, and what happened last.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of mistake.
    pub problem: Problem,
    /// What exactly, and where.
    pub text: String,
    /// The seed that shows it.
    pub seed: u64,
    /// When it was found, since the world began.
    pub at: Duration,
    /// The digest of the trace up to there.
    pub hash: Hash,
    /// The last lines of the trace.
    pub trace: Box<[String]>,
    /// The faults without which it does not happen; all that were on, until it is shrunk.
    pub faults: Box<[Fault]>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        let (problem, text) = (self.problem, &self.text);
        writeln!(f, "{problem:?} after {:?}: {text}", self.at)?;
        writeln!(f, "faults: {:?}", self.faults)?;
        writeln!(f, "trace: {}", self.hash)?;
        write!(f, "WINDLASS_SEED={}", self.seed)
    }
}

impl std::error::Error for Failure {}
