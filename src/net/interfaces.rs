//! Interfaces by their index, for calls that want one of their addresses instead.
//!
//! `IP_MULTICAST_IF` and `IP_ADD_SOURCE_MEMBERSHIP` name an interface by an IPv4 address, as far as
//! safe calls lead to them. Knows no socket.

use std::io;
use std::net::Ipv4Addr;

/// The first IPv4 address of an interface.
///
/// # Errors
/// The OS's; `AddrNotAvailable` if there is no such interface, or it has no such address.
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
pub(super) fn address_v4(index: u32) -> io::Result<Ipv4Addr> {
    for interface in nix::ifaddrs::getifaddrs()? {
        let address = interface.address.as_ref();
        if let Some(address) = address.and_then(|address| address.as_sockaddr_in())
            && nix::net::if_::if_nametoindex(&*interface.interface_name) == Ok(index)
        {
            return Ok(address.ip());
        }
    }
    let message = format!("interface {index} has no IPv4 address");
    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message))
}

#[cfg(not(all(feature = "udp-batch", any(target_os = "linux", target_os = "android"))))]
pub(super) fn address_v4(_: u32) -> io::Result<Ipv4Addr> {
    Err(super::sockopt::unsupported(
        "an IPv4 interface by its index",
    ))
}

#[cfg(all(test, feature = "udp-batch", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_an_address_or_there_is_none() {
        // The first interface of every network namespace is the one of loopback.
        assert_eq!(address_v4(1).ok(), Some(Ipv4Addr::LOCALHOST));
        let error = address_v4(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
