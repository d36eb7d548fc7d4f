//! `Service`: what the connections of one listener, or of one kind of outgoing connection, have
//! in common: a name, limits, counters.
//!
//! Knows neither sockets nor protocols.

use std::cell::Cell;

use super::stats::ServiceStats;
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::token::Token;

/// Shared by its connections through an `Rc`.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) skip_when_slow: bool,
    /// The listener, if there is one.
    pub(super) listener: Option<Token>,
    /// The listener does not accept until connections have ended.
    pub(super) is_full: Cell<bool>,
    /// Connections there may be before the listener accepts again.
    pub(super) resume_at: usize,
    pub(super) counters: Counters,
}

/// Counters behind a shared reference: plain numbers in cells.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) live: Cell<usize>,
    pub(super) accepted: Cell<u64>,
    pub(super) refused: Cell<u64>,
    pub(super) connected: Cell<u64>,
    pub(super) closed: [Cell<u64>; CloseReason::KINDS],
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) frames: Cell<u64>,
    pub(super) budget_spent: Cell<u64>,
    pub(super) would_block: Cell<u64>,
    pub(super) missed: Cell<u64>,
    pub(super) panics: Cell<u64>,
}

/// Adds to a counter.
#[inline]
pub(super) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Counts, and adds what it has counted to a counter in the end: also when that end is a panic.
pub(super) struct Tally<'a> {
    counter: &'a Cell<u64>,
    pub(super) count: u64,
}

impl Tally<'_> {
    pub(super) fn of(counter: &Cell<u64>) -> Tally<'_> {
        Tally { counter, count: 0 }
    }
}

impl Drop for Tally<'_> {
    #[inline]
    fn drop(&mut self) {
        add(self.counter, self.count);
    }
}

impl Service {
    pub(super) fn new(name: String, limits: Limits) -> Service {
        Service {
            name,
            limits,
            skip_when_slow: false,
            listener: None,
            is_full: Cell::new(false),
            resume_at: 0,
            counters: Counters::default(),
        }
    }

    pub(super) fn on_opened(&self) {
        self.counters.live.set(self.counters.live.get() + 1);
    }

    pub(super) fn on_closed(&self, reason: CloseReason) {
        let live = self.counters.live.get();
        self.counters
            .live
            .set(live.checked_sub(1).expect("what closes was open"));
        add(&self.counters.closed[reason.kind()], 1);
    }

    /// Whether connections have ended for which the listener waits. Answers `true` once.
    pub(super) fn has_room_again(&self) -> bool {
        self.is_full.get()
            && self.counters.live.get() <= self.resume_at
            && self.is_full.replace(false)
    }

    pub(super) fn stats(&self) -> ServiceStats {
        let counters = &self.counters;
        let mut closed = [0; CloseReason::KINDS];
        for (sum, counter) in closed.iter_mut().zip(&counters.closed) {
            *sum = counter.get();
        }
        ServiceStats {
            name: self.name.clone(),
            live: counters.live.get(),
            accepted: counters.accepted.get(),
            refused: counters.refused.get(),
            connected: counters.connected.get(),
            bytes_in: counters.bytes_in.get(),
            bytes_out: counters.bytes_out.get(),
            frames: counters.frames.get(),
            budget_spent: counters.budget_spent.get(),
            would_block: counters.would_block.get(),
            missed: counters.missed.get(),
            panics: counters.panics.get(),
            closed,
        }
    }
}
