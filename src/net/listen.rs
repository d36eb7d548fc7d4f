//! `Listen`: a service to be opened: where, with which options and limits.
//!
//! A description only: it knows no socket but one that was open before.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::address::{Address, AddressError, from_address};
use super::options::StreamOptions;
use crate::limits::Limits;

/// Describes a listener and the connections it accepts.
///
/// ```
/// use windlass::{Limits, net::Listen};
///
/// let listen = Listen::on("127.0.0.1:0")?
///     .name("echo")
///     .limits(Limits { idle_timeout: None, ..Limits::default() })
///     .max_connections(10_000);
/// # Ok::<(), windlass::net::AddressError>(())
/// ```
#[derive(Debug)]
pub struct Listen {
    pub(crate) address: Address,
    pub(crate) inherited: Option<OwnedFd>,
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) options: StreamOptions,
    pub(crate) admission: Admission,
    pub(crate) backlog: u32,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
    pub(crate) defer_accept: Option<Duration>,
    pub(crate) skip_when_slow: bool,
}

/// How many connections a listener may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Connections at once. At the bound the listener is not accepted from (peers wait in the
    /// backlog) until a sixteenth of them has ended. Default 16,384.
    pub max_connections: usize,
    /// Connections at once from one IP address; more are reset at once. Default: no limit.
    pub max_per_address: Option<usize>,
}

impl Default for Admission {
    fn default() -> Admission {
        Admission {
            max_connections: 16 * 1024,
            max_per_address: None,
        }
    }
}

impl Listen {
    /// A listener on `address`, with defaults for everything else.
    pub fn new(address: impl Into<Address>) -> Listen {
        let address = address.into();
        Listen {
            name: address.to_string(),
            address,
            inherited: None,
            limits: Limits::default(),
            options: StreamOptions::default(),
            admission: Admission::default(),
            backlog: 4096,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            defer_accept: None,
            skip_when_slow: false,
        }
    }

    /// As [`Listen::new`], from text; see [`Address`].
    ///
    /// # Errors
    /// The text is not an address.
    pub fn on(address: &str) -> Result<Listen, AddressError> {
        address.parse()
    }

    /// A listener that is open already: made by a service manager, or by `std` or `socket2`. It
    /// is taken as it is; a socket path is not removed when it is closed.
    pub fn inherited(listener: impl Into<OwnedFd>) -> Listen {
        Listen {
            inherited: Some(listener.into()),
            name: "inherited".into(),
            ..Listen::new(Address::Unnamed)
        }
    }

    /// Where the listener is to be; `Address::Unnamed` for one that is inherited.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A name for logs and counters. Default: the address.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Listen {
        self.name = name.into();
        self
    }

    /// The bounds of every accepted connection.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Listen {
        self.limits = limits;
        self
    }

    /// The socket options of every accepted connection.
    #[must_use]
    pub fn options(mut self, options: StreamOptions) -> Listen {
        self.options = options;
        self
    }

    /// How many connections it may have, in all and from one address.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Listen {
        self.admission = admission;
        self
    }

    /// Connections at once. Default 16,384. See [`Admission::max_connections`].
    #[must_use]
    pub fn max_connections(mut self, max: usize) -> Listen {
        self.admission.max_connections = max;
        self
    }

    /// Connections at once from one IP address. Default: no limit.
    #[must_use]
    pub fn max_per_address(mut self, max: usize) -> Listen {
        self.admission.max_per_address = Some(max);
        self
    }

    /// The length of the kernel's queue of connections that are not yet accepted; the kernel
    /// clamps it (`net.core.somaxconn`). Default 4,096.
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Listen {
        self.backlog = backlog;
        self
    }

    /// `SO_REUSEADDR`. Default: on.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Listen {
        self.reuse_address = on;
        self
    }

    /// `SO_REUSEPORT`: several processes share the port. Default: off.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Listen {
        self.reuse_port = on;
        self
    }

    /// `IPV6_V6ONLY`: whether a listener on `[::]` refuses IPv4. Default: the OS's.
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Listen {
        self.only_v6 = Some(on);
        self
    }

    /// `TCP_DEFER_ACCEPT` (tcp(7)): the kernel keeps a connection to itself until its peer has
    /// sent something or ended, or for about so long. Default: off. For protocols whose peers
    /// speak first it saves the wake-up for a connection that has nothing to say yet.
    ///
    /// The time is counted in repetitions of the kernel's SYN-ACK, after 1, 3, 7, 15, 31 … seconds:
    /// the first of those that is not less. Zero is off.
    ///
    /// What it costs, and whom it is not for:
    ///
    /// - Until then there is no connection here: no limit and no time-out of ours counts it, and
    ///   `Limits::first_byte_timeout` begins only when it appears. Who is silent waits in the
    ///   kernel's queue of half-open connections (`backlog`, `net.ipv4.tcp_max_syn_backlog`),
    ///   smaller by far than a socket, and one that a flood of SYNs fills as well. While it is
    ///   full, the kernel falls back to SYN cookies, and defers nothing.
    /// - A protocol that greets its peers greets them late.
    /// - Peers who wait there believe to be connected. Once the listener is closed, in a drain too,
    ///   they are reset as soon as they speak.
    ///
    /// Linux only, feature `defer-accept`; otherwise, and for Unix sockets, `Unsupported`. The
    /// networks in memory and of the simulation pass it over: a connection appears at once.
    #[must_use]
    pub fn defer_accept(mut self, at_most: Duration) -> Listen {
        self.defer_accept = Some(at_most);
        self
    }

    /// What `Intents::send_to` does to a connection that is over its high water: skips the
    /// message and counts it (`true`), or queues it up to the hard limit (`false`, the default).
    #[must_use]
    pub fn skip_when_slow(mut self, skip: bool) -> Listen {
        self.skip_when_slow = skip;
        self
    }
}

from_address!(Listen);
