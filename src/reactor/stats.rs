//! `Stats` and `ServiceStats`: what a reactor has done so far, as plain numbers.
//!
//! Knows nothing of who counts.

use std::time::Duration;

use crate::close::CloseReason;

/// The counters of a reactor. All of them only grow, but for `entries`.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Entries alive: listeners, connections, datagram sockets, custom sources.
    pub entries: usize,
    /// Turns taken.
    pub turns: u64,
    /// Readiness events dispatched.
    pub events: u64,
    /// Timers fired, deadlines of connections included.
    pub timers_fired: u64,
    /// Mails taken from the mailbox.
    pub mails: u64,
    /// Mails whose receiver was gone, or takes none.
    pub undeliverable: u64,
    /// Times that a listener was paused for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Panics caught.
    pub panics: u64,
    /// Events for entries that were gone.
    pub stale_events: u64,
    /// The most that a timer was late: how long the loop was kept busy.
    pub max_lag: Duration,
    /// The longest that one entry kept the loop, and its service; measured only with
    /// `Config::time_callbacks`.
    pub longest_callback: Option<(Duration, String)>,
}

/// The counters of one service: of a listener with its connections, or of the outgoing
/// connections of one name. All of them only grow, but for `live`.
#[derive(Clone, Debug)]
pub struct ServiceStats {
    /// Its name.
    pub name: String,
    /// Connections alive.
    pub live: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused: too many from one address.
    pub refused: u64,
    /// Connections that we made.
    pub connected: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Events that ended because a budget was spent.
    pub budget_spent: u64,
    /// Reads and writes that the OS answered with `WouldBlock`.
    pub would_block: u64,
    /// Messages that were skipped because their receiver was too slow.
    pub missed: u64,
    /// Panics caught.
    pub panics: u64,
    pub(super) closed: [u64; CloseReason::KINDS],
}

impl ServiceStats {
    /// How many connections ended for a reason of this kind; an error number is not looked at.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason.kind()]
    }

    /// How many connections have ended.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }
}

/// The counters of one datagram socket. All of them only grow, but for `queued` and `queued_len`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// Datagrams received, whether they were delivered or not.
    pub received: u64,
    /// Of these, how many were longer than `DatagramLimits::max_datagram` or the reactor's buffer:
    /// delivered without their ends, or dropped, as `DatagramLimits::oversize` says.
    pub truncated: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that were dropped because too many were waiting, or because the socket was closed
    /// while they were.
    pub queue_dropped: u64,
    /// Datagrams that the storm guard held back.
    pub storm_guarded: u64,
    /// Datagrams that the OS refused to send.
    pub send_errors: u64,
    /// Reports about datagrams that were sent before: nobody receives there, …
    pub reports: u64,
    /// Datagrams that the kernel dropped because its receive buffer was full, where it tells.
    pub kernel_dropped: u64,
    /// Datagrams that wait to be sent.
    pub queued: usize,
    /// Bytes of them.
    pub queued_len: usize,
}
