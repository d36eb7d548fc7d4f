//! `Limits`: every bound of a connection, with its default.
//!
//! Plain numbers, which know nothing of who enforces them. What happens at each bound is listed in
//! ARCHITECTURE.md too, and a test compares the two tables.

use std::time::Duration;

/// The bounds of every connection of one service. `Limits::default()` is safe for the open
/// network.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `high_water` | 64 KiB | the connection is neither decoded nor read |
/// | `low_water` | 16 KiB | decoding and reading go on, `on_drain` is called |
/// | `max_outbound` | 1,152 KiB | reset: `OutboundLimit` |
/// | `stall_timeout` | 30 s | reset: `Stalled` |
/// | `max_inbound` | 1 MiB | finished: `InboundLimit` |
/// | `connect_timeout` | 10 s | closed: `ConnectTimeout` |
/// | `first_byte_timeout` | off | finished: `FirstByteTimeout` |
/// | `idle_timeout` | 10 min | finished: `IdleTimeout` |
/// | `min_rate` | off | finished: `TooSlow` |
/// | `drain_timeout` | 60 s | reset: `DrainTimeout` |
/// | `linger_timeout` | 30 s | closed |
/// | `shutdown_linger` | 1 s | closed |
/// | `max_linger` | 64 MiB | closed |
/// | `max_timers` | 16 | `set_timer` answers `None` |
///
/// ```
/// # use windlass::Limits;
/// use std::time::Duration;
/// let limits = Limits { idle_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
/// assert_eq!(limits.high_water, 64 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes queued to the peer above which nothing more is decoded or read from it.
    ///
    /// Where both sides do so, and both send more than this and the sockets hold before either has
    /// read (a client sends a megabyte to a server that echoes it in pieces), they wait for each
    /// other until `stall_timeout`. The one that asks should have room for all that it asks: its
    /// `high_water` and `max_outbound` at the length of its longest request.
    pub high_water: usize,
    /// Bytes queued to the peer below which decoding and reading go on after `high_water`.
    pub low_water: usize,
    /// Bytes queued to the peer beyond which the connection is reset. The default is what the
    /// largest frame needs by default (1 MiB, and what a framing adds) if it is sent back while
    /// `high_water` is queued already.
    pub max_outbound: usize,
    /// How long the peer may take nothing of what is queued to it before the connection is reset.
    pub stall_timeout: Duration,
    /// Bytes of one unfinished frame that are kept for a decoder which states no maximum of its
    /// own.
    pub max_inbound: usize,
    /// How long a connection that we open may take to be made.
    pub connect_timeout: Duration,
    /// How long the peer may take to send its first byte, once the connection is made. `None`: as
    /// long as it likes within `idle_timeout`.
    pub first_byte_timeout: Option<Duration>,
    /// How long nothing may pass in either direction before the connection is finished. `None`:
    /// for ever.
    pub idle_timeout: Option<Duration>,
    /// How fast the peer has to send while a frame is unfinished. `None`: as slowly as it likes.
    pub min_rate: Option<MinRate>,
    /// How long the output that is queued when the connection finishes may take to leave.
    pub drain_timeout: Duration,
    /// How long, after our FIN, the peer's input is still read and thrown away, so that closing
    /// does not destroy our last reply.
    pub linger_timeout: Duration,
    /// The same while the reactor shuts down, so that peers which never close do not hold it up.
    pub shutdown_linger: Duration,
    /// Bytes that are thrown away once the connection is ending, before we close all the same.
    pub max_linger: usize,
    /// Timers that one protocol may have pending.
    pub max_timers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            high_water: 64 * 1024,
            low_water: 16 * 1024,
            max_outbound: 1152 * 1024,
            stall_timeout: Duration::from_secs(30),
            max_inbound: 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: None,
            idle_timeout: Some(Duration::from_secs(600)),
            min_rate: None,
            drain_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(30),
            shutdown_linger: Duration::from_secs(1),
            max_linger: 64 * 1024 * 1024,
            max_timers: 16,
        }
    }
}

/// The slowest that a peer may send while it owes the rest of a frame: at least `bytes` in every
/// stretch of length `per`.
///
/// A rate, not a time-out, so that a large honest upload over a thin line is not cut off while
/// one byte every few seconds is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes that have to arrive in each stretch.
    pub bytes: usize,
    /// The length of a stretch.
    pub per: Duration,
}

/// As good as for ever, but short enough that it can be added to any `Instant`, which a
/// `Duration::MAX` cannot.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// How long a protocol waits for its peer in the state that it is in; see `Protocol::patience`.
///
/// It takes the place of `Limits::idle_timeout` and `Limits::first_byte_timeout`. `None`: for
/// ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long nothing may pass in either direction.
    pub idle: Option<Duration>,
    /// How long the peer may take to send its first byte, once the connection is made.
    pub first_byte: Option<Duration>,
    /// How long an unfinished frame may take from its first byte to its last.
    pub frame: Option<Duration>,
    /// Whether a deadline may be nearer than in the state before, or is gone: it is computed
    /// after each event then. A protocol that waits for one short request after the other need not
    /// pay for that.
    pub is_passing: bool,
}

/// The bounds of a datagram socket.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_datagram` | 65,536 bytes | `oversize`: delivered cut and flagged, or dropped |
/// | `max_queued_datagrams` | 1,024 | `overflow`: the newest or the oldest is dropped |
/// | `max_queued_bytes` | 1 MiB | as `max_queued_datagrams` |
/// | `storm_guard` | 100 datagrams, 128 KiB a second | broadcasts, multicasts are dropped |
/// | `flush_timeout` | 5 s | what is still queued at its end is dropped |
/// | `max_socket_timers` | 16 | `set_timer` answers `None` |
///
/// ```
/// # use windlass::{DatagramLimits, Oversize};
/// let limits = DatagramLimits {
///     max_datagram: 1472,
///     oversize: Oversize::Drop,
///     ..DatagramLimits::default()
/// };
/// assert_eq!(limits.max_queued_datagrams, 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramLimits {
    /// Bytes of a datagram that are delivered. The largest that UDP can carry over IPv4 has 65,507,
    /// over IPv6 65,527, so that by default nothing is ever cut off; Unix datagrams may be
    /// larger. `Config::read_buffer_len` bounds it too.
    pub max_datagram: usize,
    /// What happens to a longer one.
    pub oversize: Oversize,
    /// Datagrams that wait until the kernel takes them.
    pub max_queued_datagrams: usize,
    /// Bytes of them.
    pub max_queued_bytes: usize,
    /// Which one is dropped when one more does not fit.
    pub overflow: Overflow,
    /// How much may be sent to broadcast and multicast addresses. It cannot be turned off.
    pub storm_guard: StormGuard,
    /// How long what is queued when the socket finishes may take to leave.
    pub flush_timeout: Duration,
    /// Timers that the protocol of the socket may have pending.
    pub max_socket_timers: usize,
}

impl Default for DatagramLimits {
    fn default() -> DatagramLimits {
        DatagramLimits {
            max_datagram: 64 * 1024,
            oversize: Oversize::Deliver,
            max_queued_datagrams: 1024,
            max_queued_bytes: 1024 * 1024,
            overflow: Overflow::DropNewest,
            storm_guard: StormGuard::default(),
            flush_timeout: Duration::from_secs(5),
            max_socket_timers: 16,
        }
    }
}

/// What happens to a datagram that is longer than `DatagramLimits::max_datagram`. It is counted in
/// either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Its beginning is delivered, with its true length.
    Deliver,
    /// It is dropped.
    Drop,
}

/// Which datagram is dropped when the queue of a socket is full. It is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The one that was just sent: whoever sends it is told.
    DropNewest,
    /// The one that has waited longest: for what is only of use while it is fresh.
    DropOldest,
}

/// How much a socket may send to broadcast and multicast addresses, which reach machines that
/// never asked: a mistake there is everybody's. Two token buckets, both of which must have room.
///
/// What is too much is dropped, counted, and told to `on_send_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StormGuard {
    /// Datagrams a second. Default 100.
    pub datagrams_per_second: u32,
    /// Bytes a second. Default 128 KiB.
    pub bytes_per_second: u32,
    /// How long a silence is worth: after it, so much of the rate may be used at once. Default 1 s.
    pub burst: Duration,
}

impl Default for StormGuard {
    fn default() -> StormGuard {
        StormGuard {
            datagrams_per_second: 100,
            bytes_per_second: 128 * 1024,
            burst: Duration::from_secs(1),
        }
    }
}

/// How much one entry may do in one turn before the others are served. See `Reactor::turn`.
///
/// Reaching a budget loses nothing: the entry runs again in the next turn, after the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Bytes read from one connection. Default 256 KiB: four fillings of the read buffer.
    pub bytes: usize,
    /// Bytes of files sent to one connection. Default 1 MiB: they are not copied, so that it takes
    /// no longer than to read and answer `bytes`.
    pub file_bytes: usize,
    /// Frames delivered to one connection. Default 1,024.
    pub frames: usize,
    /// Connections accepted from one listener. Default 64.
    pub accepts: usize,
    /// Mails delivered, in all. Default 1,024.
    pub mails: usize,
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets {
            bytes: 256 * 1024,
            file_bytes: 1024 * 1024,
            frames: 1024,
            accepts: 64,
            mails: 1024,
        }
    }
}
