//! `Load`: what a connection carries while it is not at rest.
//!
//! A connection that is idle, or between two frames, has none: one null pointer. Knows nothing of
//! who fills or empties it.

use crate::buffer::{Inbox, Outbox, Reuse};
use crate::net::Connect;
use crate::protocol::TimerId;
use crate::token::Token;

/// Taken from a pool when the first of its parts is needed, given back when the last one is not.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Input that is not yet a frame, or not yet decoded.
    pub(crate) inbox: Inbox,
    /// Output that the kernel did not take. While an event is handled it is with the `Effects`.
    pub(crate) outbox: Outbox,
    /// When the kernel last took some of it (ticks).
    pub(crate) wrote_at: u64,
    /// When the first byte of an unfinished frame arrived (ticks); `None` between two frames.
    pub(crate) frame_since: Option<u64>,
    /// The stretch in which `Limits::min_rate` is being measured.
    pub(crate) stretch: Option<Stretch>,
    /// Timers that the protocol has set. At most `Limits::max_timers`.
    pub(crate) timers: Vec<TimerId>,
    /// Connections that are held until we have room again. At most as many as forward to us.
    pub(crate) waiters: Vec<Token>,
    /// Connections that we forward to and that have no room. Invariant: we are among the waiters
    /// of each.
    pub(crate) holders: u32,
    /// Messages of others that were skipped because we were over our high water.
    pub(crate) missed: u32,
    /// Bytes thrown away since the connection is ending.
    pub(crate) discarded: usize,
    /// How to try again, while we are connecting.
    pub(crate) attempt: Option<Box<Attempt>>,
}

/// A stretch of time in which received bytes are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// Its beginning (ticks).
    pub(crate) since: u64,
    /// Bytes received since.
    pub(crate) bytes: usize,
}

/// An attempt to connect that may be followed by another one.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) connect: Connect,
    /// Attempts that have failed.
    pub(crate) failed: u32,
    /// When it begins (ticks), while that is waited for.
    pub(crate) begins_at: Option<u64>,
}

impl Load {
    /// Whether nothing is carried, so that it can be given back.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
            && self.outbox.is_empty()
            && self.timers.is_empty()
            && self.waiters.is_empty()
            && self.holders == 0
            && self.missed == 0
            && self.discarded == 0
            && self.attempt.is_none()
    }
}

impl Reuse for Load {
    fn reset(&mut self) {
        self.inbox.reset();
        self.outbox.reset();
        self.frame_since = None;
        self.stretch = None;
        self.timers.clear();
        self.waiters.clear();
        self.holders = 0;
        self.missed = 0;
        self.discarded = 0;
        self.attempt = None;
    }

    fn kept_len(&self) -> usize {
        self.inbox.kept_len() + self.outbox.kept_len()
    }
}
