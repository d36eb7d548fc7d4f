//! `StreamOptions`: the socket options of a connection, typed.
//!
//! Plain values; only the network knows how they are set and read.

use std::time::Duration;

/// Options of a stream socket. `None` leaves the OS's default.
///
/// As the answer of `Reactor::options`, every field that the OS tells is `Some`.
/// See tcp(7), ip(7) and socket(7) for what each does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// `TCP_NODELAY`. Default: on, because a reactor writes whole answers.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` and its three numbers. Default: off.
    pub keepalive: Option<Keepalive>,
    /// `SO_RCVBUF`, bytes. The kernel may clamp it (`net.core.rmem_max`), which is logged as a
    /// warning; Linux doubles it for its own needs, which is undone here.
    pub recv_buffer: Option<usize>,
    /// `SO_SNDBUF`, bytes; as `recv_buffer` (`net.core.wmem_max`).
    pub send_buffer: Option<usize>,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
    /// `TCP_NOTSENT_LOWAT`, bytes: the kernel takes no more while so many wait in it that it has
    /// not sent even once. Default: as many as it has room for, but 64 KiB on Linux from the first
    /// long stretch of a file on ([`Outbox::put_file`](crate::Outbox::put_file)).
    ///
    /// A low one bounds what the kernel keeps for each peer, and takes away the slack that two have
    /// who both send much before they read.
    pub not_sent_low_water: Option<u32>,
    /// `TCP_QUICKACK`. The kernel may leave this mode by itself.
    pub quick_ack: Option<bool>,
    /// `IP_TTL`, or `IPV6_UNICAST_HOPS`.
    pub ttl: Option<u32>,
    /// `IP_TOS`, or `IPV6_TCLASS`: DSCP and ECN bits.
    pub tos: Option<u32>,
    /// `SO_BINDTODEVICE`: the name of an interface. Needs a privilege.
    pub device: Option<String>,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            nodelay: true,
            keepalive: None,
            recv_buffer: None,
            send_buffer: None,
            user_timeout: None,
            not_sent_low_water: None,
            quick_ack: None,
            ttl: None,
            tos: None,
            device: None,
        }
    }
}

/// TCP keepalive: probing a silent peer. See tcp(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`, whole seconds).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`, whole seconds).
    pub interval: Duration,
    /// Unanswered probes after which the connection is broken (`TCP_KEEPCNT`).
    pub count: u32,
}
