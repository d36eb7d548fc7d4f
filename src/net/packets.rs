//! `Packets`: what a UDP socket is told and tells beside the bytes: where a datagram was sent to,
//! its congestion mark, trains (GRO and GSO), what the kernel dropped, what could not be delivered.
//!
//! Knows one socket's descriptor, and neither the poller nor tokens. Linux only; see udp(7), ip(7).

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::libc;
use nix::sys::socket::{
    self as nix_socket, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders,
    SockaddrStorage, sockopt,
};
use socket2::{Domain, SockRef};

use super::address::Address;
use super::datagrams::{Ecn, Received, Report, Transmit};
use super::socket::retry;
use crate::close::OsError;

/// The control messages of one socket.
pub(super) struct Packets {
    /// Where the kernel writes its control messages.
    control: Box<[u8; CONTROL_LEN]>,
    headers: [Option<MultiHeaders<SockaddrStorage>>; 3],
    domain: Domain,
    /// Whether received datagrams come with their destination and mark.
    pub(super) has_info: bool,
    /// Whether received datagrams may come as trains.
    pub(super) has_trains: bool,
    /// Datagrams that the kernel dropped, by the last of its counters (32 bits, it wraps).
    dropped: u64,
}

/// All that may come: a destination, a mark, a segment length, a counter, each with its header.
const CONTROL_LEN: usize = 256;

impl Packets {
    pub(super) fn new(domain: Domain) -> Packets {
        Packets {
            control: Box::new([0; CONTROL_LEN]),
            headers: [None, None, None],
            domain,
            has_info: false,
            has_trains: false,
            dropped: 0,
        }
    }

    /// Whether control messages are wanted at all: they cost.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.has_info || self.has_trains
    }

    /// Asks for destinations and marks, and for the kernel's counter of what it dropped.
    pub(super) fn set_info(&mut self, socket: &impl AsFd, on: bool) -> io::Result<()> {
        let plain = SockRef::from(socket);
        if self.domain == Domain::IPV6 {
            nix_socket::setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &on)?;
            plain.set_recv_tclass_v6(on)?;
        } else {
            nix_socket::setsockopt(socket, sockopt::Ipv4PacketInfo, &on)?;
            plain.set_recv_tos_v4(on)?;
        }
        self.has_info = on;
        self.set_counter(socket)
    }

    /// Asks for trains (GRO, since Linux 5.0), or for single datagrams.
    pub(super) fn set_trains(&mut self, socket: &impl AsFd, on: bool) -> io::Result<()> {
        nix_socket::setsockopt(socket, sockopt::UdpGroSegment, &on)?;
        self.has_trains = on;
        self.set_counter(socket)
    }

    /// Asks for the counter while control messages are taken: otherwise the kernel would prepare it
    /// for each datagram in vain.
    fn set_counter(&self, socket: &impl AsFd) -> io::Result<()> {
        let is_wanted = i32::from(self.is_used());
        Ok(nix_socket::setsockopt(
            socket,
            sockopt::RxqOvfl,
            &is_wanted,
        )?)
    }

    /// Asks to be told of what could not be delivered, with its destination. Without that a socket
    /// that is not connected hears nothing at all.
    pub(super) fn set_reports(socket: &impl AsFd, domain: Domain) -> io::Result<()> {
        if domain == Domain::IPV6 {
            nix_socket::setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
        } else {
            nix_socket::setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, socket: &impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
        let descriptor = socket.as_fd().as_raw_fd();
        let buf_len = buf.len();
        let mut slices = [IoSliceMut::new(buf)];
        // With MSG_TRUNC the answer is the true length, whatever the buffer holds (recv(2)).
        let message = loop {
            let control = Some(&mut self.control[..]);
            let flags = MsgFlags::MSG_TRUNC;
            match nix_socket::recvmsg::<SockaddrStorage>(descriptor, &mut slices, control, flags) {
                Err(nix::Error::EINTR) => {}
                result => break result?,
            }
        };
        let len = message.bytes.min(buf_len);
        let from = message.address.as_ref().and_then(ip_address);
        let mut received = Received {
            datagram_len: message.bytes,
            ..Received::single(len, from.map_or(Address::Unnamed, Address::Ip))
        };
        // The buffer for control messages holds all that were asked for.
        let mut dropped = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    received.to = Some(ipv4(info.ipi_addr).into());
                    received.local = Some(ipv4(info.ipi_spec_dst).into());
                    received.interface = u32::try_from(info.ipi_ifindex).ok();
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    received.to = Some(to.into());
                    received.local = (!to.is_multicast()).then_some(to.into());
                    received.interface = Some(info.ipi6_ifindex);
                }
                ControlMessageOwned::Ipv4Tos(tos) => received.ecn = Some(Ecn::from_tos(tos)),
                ControlMessageOwned::Ipv6TClass(class) => {
                    received.ecn = Some(Ecn::from_tos(class as u8));
                }
                ControlMessageOwned::UdpGroSegments(segment_len) => {
                    received.segment_len = usize::try_from(segment_len).unwrap_or(len).max(1);
                }
                ControlMessageOwned::RxqOvfl(count) => dropped = Some(count),
                _ => {}
            }
        }
        if let Some(count) = dropped {
            self.count_dropped(count);
        }
        Ok(received)
    }

    fn count_dropped(&mut self, count: u32) {
        let more = count.wrapping_sub(self.dropped as u32);
        self.dropped += u64::from(more);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends with control messages: a train, or from a chosen address or interface.
    ///
    /// A list of one message, since only for lists the memory of control messages is ours to keep.
    pub(super) fn transmit(
        &mut self,
        socket: &impl AsFd,
        to: Option<SocketAddr>,
        transmit: &Transmit<'_>,
    ) -> io::Result<()> {
        let descriptor = socket.as_fd().as_raw_fd();
        let to = [to.map(SockaddrStorage::from)];
        let segment_len = transmit
            .segment_len
            .map(|len| u16::try_from(len).unwrap_or(u16::MAX));
        let is_chosen = transmit.from.is_some() || transmit.interface.is_some();
        let v4 = info_v4(transmit);
        let v6 = info_v6(transmit);
        let info = match self.domain {
            Domain::IPV6 => ControlMessage::Ipv6PacketInfo(&v6),
            _ => ControlMessage::Ipv4PacketInfo(&v4),
        };
        let kind = match (&segment_len, is_chosen) {
            (Some(_), false) => SEGMENTS,
            (None, _) => INFO,
            (Some(_), true) => BOTH,
        };
        let headers = self.headers[kind].get_or_insert_with(|| {
            let segments = if kind == INFO { 0 } else { space::<u16>() };
            let info = match (kind, self.domain) {
                (SEGMENTS, _) => 0,
                (_, Domain::IPV6) => space::<libc::in6_pktinfo>(),
                (_, _) => space::<libc::in_pktinfo>(),
            };
            MultiHeaders::preallocate(1, Some(Vec::with_capacity(segments + info)))
        });
        match (&segment_len, is_chosen) {
            (Some(segment_len), true) => {
                let controls = [ControlMessage::UdpGsoSegments(segment_len), info];
                send(descriptor, headers, transmit.bytes, to, &controls)
            }
            (Some(segment_len), false) => {
                let controls = [ControlMessage::UdpGsoSegments(segment_len)];
                send(descriptor, headers, transmit.bytes, to, &controls)
            }
            (None, _) => send(descriptor, headers, transmit.bytes, to, &[info]),
        }
    }
}

/// The control messages of a train, of a chosen address, and of both: each needs memory of exactly
/// its length, or the kernel reads on.
const SEGMENTS: usize = 0;
const INFO: usize = 1;
const BOTH: usize = 2;

/// What a control message takes, its header included (cmsg(3)).
fn space<T>() -> usize {
    nix_socket::cmsg_space::<T>()
}

fn send(
    descriptor: RawFd,
    headers: &mut MultiHeaders<SockaddrStorage>,
    bytes: &[u8],
    to: [Option<SockaddrStorage>; 1],
    controls: &[ControlMessage<'_>],
) -> io::Result<()> {
    let slices = [[IoSlice::new(bytes)]];
    retry(|| {
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = nix_socket::sendmmsg(descriptor, headers, &slices, to, controls, flags);
        sent.map(drop).map_err(io::Error::from)
    })
}

/// The next report of the socket's queue of errors, those of the sending call itself left out: it
/// has told them.
pub(super) fn take_report(socket: &impl AsFd) -> Option<Report> {
    let descriptor = socket.as_fd().as_raw_fd();
    let mut control = [0; CONTROL_LEN];
    // The first bytes of what was sent; nobody wants them.
    let mut bytes = [0; 1];
    for _ in 0..MAX_LOCAL_ERRORS {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        let message = nix_socket::recvmsg::<SockaddrStorage>(
            descriptor,
            &mut slices,
            Some(&mut control),
            flags,
        );
        let message = message.ok()?;
        let error = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
            _ => None,
        });
        match error {
            Some(error) if error.ee_origin == ORIGIN_LOCAL => {}
            Some(error) => {
                let to = message.address.as_ref().and_then(ip_address);
                return Some(Report {
                    to: to.map(Address::Ip),
                    error: OsError::from_raw(error.ee_errno as i32),
                });
            }
            None => {}
        }
    }
    None
}

/// `SO_EE_ORIGIN_LOCAL` (ip(7)).
const ORIGIN_LOCAL: u8 = 1;
/// Errors of our own calls that are passed over at once.
const MAX_LOCAL_ERRORS: usize = 64;

fn ip_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some((v4.ip(), v4.port()).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::V6((*v6).into()))
}

fn ipv4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from_be(address.s_addr))
}

fn info_v4(transmit: &Transmit<'_>) -> libc::in_pktinfo {
    let from = match transmit.from {
        Some(IpAddr::V4(from)) => from,
        Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
    };
    libc::in_pktinfo {
        ipi_ifindex: transmit.interface.map_or(0, |index| index as i32),
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from(from).to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

fn info_v6(transmit: &Transmit<'_>) -> libc::in6_pktinfo {
    let from = match transmit.from {
        Some(IpAddr::V4(from)) => from.to_ipv6_mapped(),
        Some(IpAddr::V6(from)) => from,
        None => Ipv6Addr::UNSPECIFIED,
    };
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: from.octets(),
        },
        ipi6_ifindex: transmit.interface.unwrap_or(0),
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets")
            .field("has_info", &self.has_info)
            .field("has_trains", &self.has_trains)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}
