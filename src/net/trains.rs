//! `Trains`: when a socket sends and receives trains of datagrams, and when one by one.
//!
//! Decides by what it saw; knows no socket. Pure.

use std::net::SocketAddr;

use super::bind::Batching;

/// What is known about a socket's traffic.
///
/// Receiving trains costs more than receiving single datagrams, unless there are trains. So it is
/// tried once a few datagrams of one length have come from one sender without a pause, and given up
/// once it has brought none for a while; each failure makes the next trial rarer.
#[derive(Debug)]
pub(super) struct Trains {
    batching: Batching,
    /// Whether the OS takes trains that are sent. Until it refused one.
    sends: bool,
    /// Whether it can be asked for trains. Until it refused.
    receives: bool,
    /// The sender and length of the last datagram, and how many like it came in a row.
    last: Option<(SocketAddr, usize)>,
    run: u32,
    /// A run of this length starts a trial.
    run_needed: u32,
    /// Receives since the last train, in a trial.
    without: u32,
}

/// What is to be done about receiving trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Begin,
    End,
}

impl Trains {
    pub(super) fn new(batching: Batching) -> Trains {
        Trains {
            batching,
            sends: true,
            receives: true,
            last: None,
            run: 0,
            run_needed: MIN_RUN,
            without: 0,
        }
    }

    /// Of how many datagrams a train may consist that is sent.
    #[inline]
    pub(super) fn max_train(&self) -> usize {
        if self.sends && self.batching != Batching::Off {
            MAX_TRAIN
        } else {
            1
        }
    }

    /// The OS refused a train.
    pub(super) fn refused(&mut self) {
        self.sends = false;
    }

    /// The OS cannot be asked for trains.
    pub(super) fn unsupported(&mut self) {
        self.receives = false;
    }

    pub(super) fn batching(&self) -> Batching {
        self.batching
    }

    /// A single datagram was received while trains were not asked for.
    #[inline]
    pub(super) fn on_single(&mut self, from: SocketAddr, len: usize) -> Option<Change> {
        if self.last != Some((from, len)) {
            self.last = Some((from, len));
            self.run = 0;
            return None;
        }
        self.run += 1;
        let begins = self.run >= self.run_needed && self.receives;
        (begins && self.batching == Batching::Auto).then(|| {
            self.run = 0;
            self.without = 0;
            Change::Begin
        })
    }

    /// Nothing more waits: what comes next comes alone.
    #[inline]
    pub(super) fn on_pause(&mut self) {
        self.run = 0;
    }

    /// Something was received while trains were asked for: a train, or not.
    #[inline]
    pub(super) fn on_trial(&mut self, is_train: bool) -> Option<Change> {
        if is_train {
            self.without = 0;
            self.run_needed = MIN_RUN;
            return None;
        }
        self.without += 1;
        let ends = self.without >= PATIENCE && self.batching == Batching::Auto;
        ends.then(|| {
            self.run_needed = (self.run_needed * 2).min(MAX_RUN);
            self.without = 0;
            Change::End
        })
    }
}

/// What the kernel cuts a train into at most (`UDP_MAX_SEGMENTS` before Linux 6.9).
const MAX_TRAIN: usize = 64;
/// Like datagrams in a row that start the first trial, and the most that are asked for.
const MIN_RUN: u32 = 16;
const MAX_RUN: u32 = 1 << 16;
/// Receives without a train that end a trial.
const PATIENCE: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn a_run_of_like_datagrams_starts_a_trial_and_a_pause_or_another_sender_does_not() {
        let mut trains = Trains::new(Batching::Auto);
        for n in 0..1000 {
            assert_eq!(trains.on_single(sender(n % 2), 64), None);
        }
        for _ in 0..1000 {
            assert_eq!(trains.on_single(sender(1), 64), None);
            trains.on_pause();
        }
        let begins = (0..100).position(|_| trains.on_single(sender(1), 64).is_some());
        assert_eq!(begins, Some(MIN_RUN as usize - 1));
    }

    #[test]
    fn a_trial_that_brings_no_train_ends_and_the_next_one_takes_longer() {
        let mut trains = Trains::new(Batching::Auto);
        let mut runs = Vec::new();
        for _ in 0..20 {
            let begins = (1..).find(|_| trains.on_single(sender(1), 64).is_some());
            runs.push(begins.unwrap());
            let ends = (1..).find(|_| trains.on_trial(false).is_some());
            assert_eq!(ends, Some(PATIENCE));
        }
        // The first datagram of the first run has none before it.
        assert_eq!(
            runs[..4],
            [MIN_RUN + 1, 2 * MIN_RUN, 4 * MIN_RUN, 8 * MIN_RUN]
        );
        assert_eq!(runs.last(), Some(&MAX_RUN));
        assert_eq!(trains.on_trial(true), None);
        assert_eq!(trains.on_trial(false), None);
    }

    #[test]
    fn what_was_asked_for_does_not_change() {
        for batching in [Batching::On, Batching::Off] {
            let mut trains = Trains::new(batching);
            assert!((0..1000).all(|_| trains.on_single(sender(1), 64).is_none()));
            assert!((0..1000).all(|_| trains.on_trial(false).is_none()));
        }
        assert_eq!(Trains::new(Batching::Off).max_train(), 1);
        let mut trains = Trains::new(Batching::On);
        assert_eq!(trains.max_train(), MAX_TRAIN);
        trains.refused();
        assert_eq!(trains.max_train(), 1);
    }
}
