//! Source-specific membership in IPv6 groups, for which neither `std` nor `socket2` has a call.
//!
//! Knows one socket's descriptor, and neither the poller nor tokens. Linux with the feature
//! `udp-batch`; elsewhere it is `Unsupported`.

pub(super) use kind::{join, leave};

#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
mod kind {
    use std::io;
    use std::net::{Ipv6Addr, SocketAddrV6};
    use std::os::fd::AsFd;

    use nix::libc;
    use nix::sys::socket::{self as nix_socket, sockopt::SetStruct};
    use socket2::{SockAddr, SockAddrStorage};

    /// What the kernel is handed: `struct group_source_req` (RFC 3678, section 5.1).
    ///
    /// nix hands on the bytes of any value, so that what they mean to the kernel is to be answered
    /// for here: a number and two addresses, which it copies, and no pointer that it would follow.
    /// They lie where C has them, because [`SockAddrStorage`] is C's `sockaddr_storage`, and
    /// nothing else; a test compares.
    #[repr(C)]
    struct Request {
        interface: u32,
        group: SockAddrStorage,
        source: SockAddrStorage,
    }

    #[derive(Clone)]
    struct Join;
    nix::setsockopt_impl!(
        Join,
        libc::IPPROTO_IPV6,
        libc::MCAST_JOIN_SOURCE_GROUP,
        Request,
        SetStruct<'_, Request>
    );

    #[derive(Clone)]
    struct Leave;
    nix::setsockopt_impl!(
        Leave,
        libc::IPPROTO_IPV6,
        libc::MCAST_LEAVE_SOURCE_GROUP,
        Request,
        SetStruct<'_, Request>
    );

    impl Request {
        fn new(source: Ipv6Addr, group: Ipv6Addr, interface: u32) -> Request {
            let storage = |address| {
                let address = SocketAddrV6::new(address, 0, 0, 0);
                SockAddr::from(address).as_storage()
            };
            Request {
                interface,
                group: storage(group),
                source: storage(source),
            }
        }
    }

    pub(in crate::net) fn join(
        socket: &impl AsFd,
        source: Ipv6Addr,
        group: Ipv6Addr,
        interface: u32,
    ) -> io::Result<()> {
        let request = Request::new(source, group, interface);
        Ok(nix_socket::setsockopt(socket, Join, &request)?)
    }

    pub(in crate::net) fn leave(
        socket: &impl AsFd,
        source: Ipv6Addr,
        group: Ipv6Addr,
        interface: u32,
    ) -> io::Result<()> {
        let request = Request::new(source, group, interface);
        Ok(nix_socket::setsockopt(socket, Leave, &request)?)
    }

    #[cfg(test)]
    mod tests {
        use std::mem::offset_of;

        use super::*;

        #[test]
        fn a_request_lies_as_c_has_it() {
            type C = libc::group_source_req;
            assert_eq!(size_of::<Request>(), size_of::<C>());
            assert_eq!(align_of::<Request>(), align_of::<C>());
            for (ours, theirs) in [
                (offset_of!(Request, interface), offset_of!(C, gsr_interface)),
                (offset_of!(Request, group), offset_of!(C, gsr_group)),
                (offset_of!(Request, source), offset_of!(C, gsr_source)),
            ] {
                assert_eq!(ours, theirs);
            }
        }
    }
}

#[cfg(not(all(feature = "udp-batch", any(target_os = "linux", target_os = "android"))))]
mod kind {
    use std::io;
    use std::net::Ipv6Addr;
    use std::os::fd::AsFd;

    use crate::net::sockopt::unsupported;

    pub(in crate::net) fn join(_: &impl AsFd, _: Ipv6Addr, _: Ipv6Addr, _: u32) -> io::Result<()> {
        Err(unsupported("MCAST_JOIN_SOURCE_GROUP"))
    }

    pub(in crate::net) fn leave(_: &impl AsFd, _: Ipv6Addr, _: Ipv6Addr, _: u32) -> io::Result<()> {
        Err(unsupported("MCAST_LEAVE_SOURCE_GROUP"))
    }
}
