//! Setting and reading [`DatagramOptions`] and memberships on a socket.
//!
//! Knows neither the poller nor how the socket came about. The permission to broadcast is not
//! among them: it is given for one datagram at a time.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::{Domain, Socket};

use super::bind::{DatagramOptions, Interface, Membership};
use super::sockopt::{self, BUFFER_FACTOR, device, tos};
use super::{interfaces, source_group};

/// Sets every option that is asked for. On a Unix socket only the buffers mean anything.
///
/// # Errors
/// The OS's, at the first option that it refuses; `Unsupported` if it has no such option.
pub(super) fn set(socket: &Socket, domain: Domain, options: &DatagramOptions) -> io::Result<()> {
    if let Some(size) = options.recv_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    sockopt::warn_of_clamps(socket, options.recv_buffer, options.send_buffer);
    if domain == Domain::UNIX {
        return Ok(());
    }
    if let Some(tos) = options.tos {
        tos::set(socket, domain, tos)?;
    }
    if let Some(name) = &options.device {
        device::set(socket, name)?;
    }
    if domain == Domain::IPV6 {
        set_v6(socket, options)
    } else {
        set_v4(socket, options)
    }
}

fn set_v4(socket: &Socket, options: &DatagramOptions) -> io::Result<()> {
    if let Some(ttl) = options.ttl {
        socket.set_ttl_v4(ttl)?;
    }
    if let Some(ttl) = options.multicast_ttl {
        socket.set_multicast_ttl_v4(ttl)?;
    }
    if let Some(on) = options.multicast_loop {
        socket.set_multicast_loop_v4(on)?;
    }
    match options.multicast_interface {
        None => Ok(()),
        Some(interface) => socket.set_multicast_if_v4(&address_v4(interface)?),
    }
}

fn set_v6(socket: &Socket, options: &DatagramOptions) -> io::Result<()> {
    if let Some(hops) = options.ttl {
        socket.set_unicast_hops_v6(hops)?;
    }
    if let Some(hops) = options.multicast_ttl {
        socket.set_multicast_hops_v6(hops)?;
    }
    if let Some(on) = options.multicast_loop {
        socket.set_multicast_loop_v6(on)?;
    }
    match options.multicast_interface {
        None => Ok(()),
        Some(interface) => socket.set_multicast_if_v6(index_v6(interface)?),
    }
}

/// The options as they are, but for those that are not the kernel's.
///
/// # Errors
/// The OS's.
pub(super) fn read(socket: &Socket, domain: Domain) -> io::Result<DatagramOptions> {
    let mut options = DatagramOptions {
        recv_buffer: Some(socket.recv_buffer_size()? / BUFFER_FACTOR),
        send_buffer: Some(socket.send_buffer_size()? / BUFFER_FACTOR),
        ..DatagramOptions::default()
    };
    if domain == Domain::UNIX {
        return Ok(options);
    }
    options.tos = tos::read(socket, domain)?;
    options.device = device::read(socket)?;
    if domain == Domain::IPV6 {
        options.ttl = Some(socket.unicast_hops_v6()?);
        options.multicast_ttl = Some(socket.multicast_hops_v6()?);
        options.multicast_loop = Some(socket.multicast_loop_v6()?);
        options.multicast_interface = Some(match socket.multicast_if_v6()? {
            0 => Interface::Any,
            index => Interface::Index(index),
        });
    } else {
        options.ttl = Some(socket.ttl_v4()?);
        options.multicast_ttl = Some(socket.multicast_ttl_v4()?);
        options.multicast_loop = Some(socket.multicast_loop_v4()?);
        options.multicast_interface = Some(match socket.multicast_if_v4()? {
            Ipv4Addr::UNSPECIFIED => Interface::Any,
            address => Interface::Address(address),
        });
    }
    Ok(options)
}

/// Joins a group.
///
/// # Errors
/// The OS's; `InvalidInput` for what is no group of the socket's kind, `Unsupported` for what this
/// system lacks.
pub(super) fn join(socket: &Socket, membership: &Membership) -> io::Result<()> {
    check_group(membership)?;
    match (membership.group, membership.source) {
        (IpAddr::V4(group), None) => v4::join(socket, group, membership.interface),
        (IpAddr::V4(group), Some(IpAddr::V4(source))) => {
            v4::join_source(socket, source, group, address_v4(membership.interface)?)
        }
        (IpAddr::V6(group), None) => {
            socket.join_multicast_v6(&group, index_v6(membership.interface)?)
        }
        (IpAddr::V6(group), Some(IpAddr::V6(source))) => {
            source_group::join(socket, source, group, index_v6(membership.interface)?)
        }
        (_, Some(_)) => Err(no_membership(membership)),
    }
}

/// Leaves a group.
///
/// # Errors
/// As [`join`].
pub(super) fn leave(socket: &Socket, membership: &Membership) -> io::Result<()> {
    check_group(membership)?;
    match (membership.group, membership.source) {
        (IpAddr::V4(group), None) => v4::leave(socket, group, membership.interface),
        (IpAddr::V4(group), Some(IpAddr::V4(source))) => {
            v4::leave_source(socket, source, group, address_v4(membership.interface)?)
        }
        (IpAddr::V6(group), None) => {
            socket.leave_multicast_v6(&group, index_v6(membership.interface)?)
        }
        (IpAddr::V6(group), Some(IpAddr::V6(source))) => {
            source_group::leave(socket, source, group, index_v6(membership.interface)?)
        }
        (_, Some(_)) => Err(no_membership(membership)),
    }
}

/// Whether the membership is one: the OS's own answers differ, and do not say what is wrong.
pub(super) fn check_group(membership: &Membership) -> io::Result<()> {
    let is_one_family = membership
        .source
        .is_none_or(|source| source.is_ipv4() == membership.group.is_ipv4());
    if membership.group.is_multicast() && is_one_family {
        return Ok(());
    }
    Err(no_membership(membership))
}

fn no_membership(membership: &Membership) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{membership:?} is no membership in a multicast group"),
    )
}

fn address_v4(interface: Interface) -> io::Result<Ipv4Addr> {
    match interface {
        Interface::Any => Ok(Ipv4Addr::UNSPECIFIED),
        Interface::Address(address) => Ok(address),
        Interface::Index(index) => interfaces::address_v4(index),
    }
}

fn index_v6(interface: Interface) -> io::Result<u32> {
    match interface {
        Interface::Any => Ok(0),
        Interface::Index(index) => Ok(index),
        Interface::Address(_) => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "over IPv6 an interface is named by its index",
        )),
    }
}

/// An address that a socket of IPv6 can send to: IPv4 as `::ffff:a.b.c.d` (RFC 3493, section 3.7).
pub(super) fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

/// Systems that name interfaces by index, and have source-specific groups.
#[cfg(any(
    target_os = "android",
    target_os = "freebsd",
    target_os = "linux",
    target_vendor = "apple",
))]
mod v4 {
    use super::{Interface, Ipv4Addr, Socket, io};
    use socket2::InterfaceIndexOrAddress;

    fn named(interface: Interface) -> InterfaceIndexOrAddress {
        match interface {
            Interface::Any => InterfaceIndexOrAddress::Index(0),
            Interface::Index(index) => InterfaceIndexOrAddress::Index(index),
            Interface::Address(address) => InterfaceIndexOrAddress::Address(address),
        }
    }

    pub(super) fn join(socket: &Socket, group: Ipv4Addr, on: Interface) -> io::Result<()> {
        socket.join_multicast_v4_n(&group, &named(on))
    }

    pub(super) fn leave(socket: &Socket, group: Ipv4Addr, on: Interface) -> io::Result<()> {
        socket.leave_multicast_v4_n(&group, &named(on))
    }

    pub(super) fn join_source(
        socket: &Socket,
        source: Ipv4Addr,
        group: Ipv4Addr,
        on: Ipv4Addr,
    ) -> io::Result<()> {
        socket.join_ssm_v4(&source, &group, &on)
    }

    pub(super) fn leave_source(
        socket: &Socket,
        source: Ipv4Addr,
        group: Ipv4Addr,
        on: Ipv4Addr,
    ) -> io::Result<()> {
        socket.leave_ssm_v4(&source, &group, &on)
    }
}

#[cfg(not(any(
    target_os = "android",
    target_os = "freebsd",
    target_os = "linux",
    target_vendor = "apple",
)))]
mod v4 {
    use super::{Interface, Ipv4Addr, Socket, address_v4, io, sockopt};

    pub(super) fn join(socket: &Socket, group: Ipv4Addr, on: Interface) -> io::Result<()> {
        socket.join_multicast_v4(&group, &address_v4(on)?)
    }

    pub(super) fn leave(socket: &Socket, group: Ipv4Addr, on: Interface) -> io::Result<()> {
        socket.leave_multicast_v4(&group, &address_v4(on)?)
    }

    pub(super) fn join_source(_: &Socket, _: Ipv4Addr, _: Ipv4Addr, _: Ipv4Addr) -> io::Result<()> {
        Err(sockopt::unsupported("IP_ADD_SOURCE_MEMBERSHIP"))
    }

    pub(super) fn leave_source(
        _: &Socket,
        _: Ipv4Addr,
        _: Ipv4Addr,
        _: Ipv4Addr,
    ) -> io::Result<()> {
        Err(sockopt::unsupported("IP_DROP_SOURCE_MEMBERSHIP"))
    }
}
