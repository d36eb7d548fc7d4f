//! `Bind`: a datagram socket to be opened: where, with which options, groups and limits.
//!
//! A description only: it knows no socket but one that was open before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::address::{Address, AddressError, from_address};
use crate::limits::DatagramLimits;

/// Describes a datagram socket: UDP or Unix.
///
/// ```
/// use windlass::net::{Bind, Membership};
///
/// let bind = Bind::on("0.0.0.0:5353")?
///     .name("discovery")
///     .reuse_address(true)
///     .join(Membership::of("224.0.0.251".parse()?));
/// let connected = Bind::to("127.0.0.1:69")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bind {
    pub(crate) address: Address,
    pub(crate) peer: Option<Address>,
    pub(crate) inherited: Option<OwnedFd>,
    pub(crate) name: String,
    pub(crate) limits: DatagramLimits,
    pub(crate) options: DatagramOptions,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
}

impl Bind {
    /// A socket at `address`, with defaults for everything else. [`Address::Unnamed`] is a Unix
    /// socket without a name, which can send and not be answered.
    pub fn new(address: impl Into<Address>) -> Bind {
        let address = address.into();
        Bind {
            name: address.to_string(),
            address,
            peer: None,
            inherited: None,
            limits: DatagramLimits::default(),
            options: DatagramOptions::default(),
            memberships: Vec::new(),
            reuse_address: false,
            reuse_port: false,
            only_v6: None,
        }
    }

    /// As [`Bind::new`], from text; see [`Address`].
    ///
    /// # Errors
    /// The text is not an address.
    pub fn on(address: &str) -> Result<Bind, AddressError> {
        address.parse()
    }

    /// A socket that is connected to `peer` and bound to any free port: it sends to nobody else,
    /// receives from nobody else, and hears when nobody listens there. For Unix the socket has no
    /// name of its own, unless one is given with [`Bind::peer`] instead.
    ///
    /// # Errors
    /// The text is not an address.
    pub fn to(peer: &str) -> Result<Bind, AddressError> {
        let peer: Address = peer.parse()?;
        let ours = match &peer {
            Address::Ip(SocketAddr::V4(_)) => Address::Ip((Ipv4Addr::UNSPECIFIED, 0).into()),
            Address::Ip(SocketAddr::V6(_)) => {
                Address::Ip((std::net::Ipv6Addr::UNSPECIFIED, 0).into())
            }
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => Address::Unnamed,
        };
        Ok(Bind::new(ours).name(format!("to {peer}")).peer(peer))
    }

    /// A socket that is open already: made by a service manager, or by `std` or `socket2`. Its
    /// options are left as they are, but for those that are asked for.
    pub fn inherited(socket: impl Into<OwnedFd>) -> Bind {
        Bind {
            inherited: Some(socket.into()),
            name: "inherited".into(),
            ..Bind::new(Address::Unnamed)
        }
    }

    /// Where the socket is to be bound; `Address::Unnamed` for one that is inherited.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connects the socket to `peer`.
    #[must_use]
    pub fn peer(mut self, peer: impl Into<Address>) -> Bind {
        self.peer = Some(peer.into());
        self
    }

    /// A name for logs and counters. Default: the address.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Bind {
        self.name = name.into();
        self
    }

    /// The bounds of the socket.
    #[must_use]
    pub fn limits(mut self, limits: DatagramLimits) -> Bind {
        self.limits = limits;
        self
    }

    /// The options of the socket.
    #[must_use]
    pub fn options(mut self, options: DatagramOptions) -> Bind {
        self.options = options;
        self
    }

    /// Allows sending to broadcast addresses, at the rate of [`DatagramLimits::storm_guard`].
    /// Default: not allowed, and such a datagram is refused with `EACCES`.
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Bind {
        self.options.broadcast = Some(on);
        self
    }

    /// Joins a multicast group.
    #[must_use]
    pub fn join(mut self, membership: Membership) -> Bind {
        self.memberships.push(membership);
        self
    }

    /// `SO_REUSEADDR`: several sockets share a port, and each receives every multicast and
    /// broadcast datagram (of unicast ones, only one of them does). Default: off, unlike for
    /// listeners: there is no TIME_WAIT, and a second server would take over unnoticed.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Bind {
        self.reuse_address = on;
        self
    }

    /// `SO_REUSEPORT`: several processes share the port, and each sender is served by one of
    /// them. Default: off.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Bind {
        self.reuse_port = on;
        self
    }

    /// `IPV6_V6ONLY`: whether a socket on `[::]` refuses IPv4. Default: the OS's.
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Bind {
        self.only_v6 = Some(on);
        self
    }
}

from_address!(Bind);

/// Options of a datagram socket. `None` leaves the OS's default.
///
/// As the answer of `Reactor::datagram_options`, every field that the OS tells is `Some`. On a
/// Unix socket only the buffers mean anything; the others are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramOptions {
    /// `SO_RCVBUF`, bytes. What does not fit is dropped by the kernel without a sign but a counter,
    /// so a socket that receives bursts wants megabytes. The kernel may clamp it
    /// (`net.core.rmem_max`), which is logged as a warning; Linux doubles it for its own needs,
    /// which is undone here.
    pub recv_buffer: Option<usize>,
    /// `SO_SNDBUF`, bytes; as `recv_buffer` (`net.core.wmem_max`).
    pub send_buffer: Option<usize>,
    /// Whether datagrams may be sent to broadcast addresses.
    pub broadcast: Option<bool>,
    /// `IP_TTL`, or `IPV6_UNICAST_HOPS`.
    pub ttl: Option<u32>,
    /// `IP_MULTICAST_TTL`, or `IPV6_MULTICAST_HOPS`. The OS's default is 1: the local network.
    pub multicast_ttl: Option<u32>,
    /// `IP_MULTICAST_LOOP`: whether what is sent to a group is received by its members on this
    /// machine. The OS's default is on.
    pub multicast_loop: Option<bool>,
    /// `IP_MULTICAST_IF`: the interface that multicast leaves by.
    pub multicast_interface: Option<Interface>,
    /// `IP_TOS`, or `IPV6_TCLASS`: DSCP and ECN bits.
    pub tos: Option<u32>,
    /// `SO_BINDTODEVICE`: the name of an interface. Needs a privilege.
    pub device: Option<String>,
    /// Whether each datagram tells which address it was sent to, by which interface it came, and
    /// its congestion mark. Default: on where the socket is bound to every address of the machine,
    /// since only there it is not known beforehand. Feature `udp-batch`.
    pub packet_info: Option<bool>,
    /// Whether trains of datagrams are sent and received in one system call (GSO and GRO,
    /// udp(7)). Default: [`Batching::Auto`]. Feature `udp-batch`.
    pub batching: Option<Batching>,
}

/// When trains of datagrams are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// One system call per datagram at first, which is cheapest while they come one by one; trains
    /// once several are found waiting, or several of a length are sent to one destination.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A membership in a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// The interface to receive on.
    pub interface: Interface,
    /// The only sender to receive from (source-specific multicast, RFC 4607). `None`: all.
    /// Over IPv6 it is `Unsupported` but on Linux with the feature `udp-batch`.
    pub source: Option<IpAddr>,
}

impl Membership {
    /// In `group`, on the interface that the OS chooses, with all its senders.
    pub fn of(group: IpAddr) -> Membership {
        Membership {
            group,
            interface: Interface::Any,
            source: None,
        }
    }

    /// On this interface.
    #[must_use]
    pub fn on(mut self, interface: Interface) -> Membership {
        self.interface = interface;
        self
    }

    /// From this sender only.
    #[must_use]
    pub fn from_source(mut self, source: IpAddr) -> Membership {
        self.source = Some(source);
        self
    }
}

/// An interface of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// The OS chooses.
    Any,
    /// By its index (if_nametoindex(3)). For what is sent to IPv4 groups, and for IPv4 groups with
    /// a source, its first IPv4 address stands for it: `AddrNotAvailable` if it has none,
    /// `Unsupported` but on Linux with the feature `udp-batch`.
    Index(u32),
    /// By one of its addresses.
    Address(Ipv4Addr),
}
