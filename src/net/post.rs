//! `Post`: the datagram sockets of a `Memory`, and who receives what.
//!
//! Knows neither who drives it nor handles: sockets are indices, each with one owner. There is one
//! machine, which has every address: what ends in `.255`, and 255.255.255.255, goes to everybody
//! on that port, and what is sent to a group to all its members.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use slab::Slab;

use super::address::Address;
use super::bind::{Bind, DatagramOptions, Membership};
use super::datagram_opts::check_group;
use super::datagrams::{Received, Report, Transmit};
use super::{Readiness, socket};
use crate::close::OsError;
use crate::token::Token;

#[derive(Debug, Default)]
pub(super) struct Post {
    pub(super) sockets: Slab<Mailbox>,
    /// What became ready since it was last taken.
    pub(super) events: Vec<(Token, Readiness)>,
}

/// A socket, and what has arrived for it.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) address: Address,
    peer: Option<Address>,
    pub(super) options: DatagramOptions,
    groups: Vec<Membership>,
    inbound: VecDeque<Letter>,
    inbound_len: usize,
    reports: VecDeque<Report>,
    /// How many bytes it holds that were not taken; more are dropped.
    pub(super) capacity: usize,
    pub(super) dropped: u64,
    /// Whether it takes nothing that is sent.
    is_held: bool,
    /// The OS's errors that refuse what is sent next, one each.
    pub(super) refusals: VecDeque<i32>,
    is_shared: bool,
    pub(super) token: Option<Token>,
    wants_read: bool,
    wants_write: bool,
}

#[derive(Debug)]
struct Letter {
    bytes: Vec<u8>,
    from: Address,
    to: Option<IpAddr>,
}

/// Of each socket until a test says otherwise: what Linux gives one (`net.core.rmem_default`).
const CAPACITY: usize = 208 * 1024;
/// What a datagram counts for beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 64;
/// Reports that wait to be taken; older ones give way.
const MAX_REPORTS: usize = 16;
/// Bytes of the largest datagram over IPv4: 65,535 less the headers of IP and UDP.
const MAX_LEN: usize = 65_507;

impl Post {
    /// Opens a socket. Its address has its port already.
    pub(super) fn bind(
        &mut self,
        token: Option<Token>,
        address: Address,
        bind: &Bind,
    ) -> io::Result<usize> {
        let is_shared = bind.reuse_address || bind.reuse_port;
        let is_taken =
            |other: &Mailbox| other.address == address && !(is_shared && other.is_shared);
        if address != Address::Unnamed && self.sockets.iter().any(|(_, other)| is_taken(other)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        for membership in &bind.memberships {
            check_group(membership)?;
        }
        Ok(self.sockets.insert(Mailbox {
            address,
            peer: bind.peer.clone(),
            options: bind.options.clone(),
            groups: bind.memberships.clone(),
            inbound: VecDeque::new(),
            inbound_len: 0,
            reports: VecDeque::new(),
            capacity: CAPACITY,
            dropped: 0,
            is_held: false,
            refusals: VecDeque::new(),
            is_shared,
            token,
            wants_read: true,
            wants_write: false,
        }))
    }

    pub(super) fn close(&mut self, socket: usize) {
        let socket = self.sockets.remove(socket);
        self.events
            .retain(|(token, _)| Some(*token) != socket.token);
    }

    pub(super) fn receive(&mut self, socket: usize, buf: &mut [u8]) -> io::Result<Received> {
        let mailbox = &mut self.sockets[socket];
        if let Some(report) = mailbox.reports.front() {
            return Err(report.error.into());
        }
        let Some(letter) = mailbox.inbound.pop_front() else {
            mailbox.wants_read = true;
            return Err(ErrorKind::WouldBlock.into());
        };
        mailbox.inbound_len -= letter.bytes.len() + OVERHEAD;
        let len = letter.bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&letter.bytes[..len]);
        Ok(Received {
            datagram_len: letter.bytes.len(),
            to: letter.to,
            ..Received::single(len, letter.from)
        })
    }

    pub(super) fn transmit(&mut self, socket: usize, transmit: &Transmit<'_>) -> io::Result<()> {
        let mailbox = &mut self.sockets[socket];
        if mailbox.is_held {
            mailbox.wants_write = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(code) = mailbox.refusals.pop_front() {
            return Err(io::Error::from_raw_os_error(code));
        }
        let to = transmit.to.or(mailbox.peer.as_ref()).cloned();
        let to = to.ok_or_else(|| io::Error::from_raw_os_error(socket::EDESTADDRREQ))?;
        if transmit.bytes.len() > MAX_LEN {
            return Err(io::Error::from_raw_os_error(socket::EMSGSIZE));
        }
        let is_allowed = transmit.is_broadcast && mailbox.options.broadcast == Some(true);
        if is_broadcast(&to) && !is_allowed {
            return Err(io::Error::from_raw_os_error(socket::EACCES));
        }
        let loops = mailbox.options.multicast_loop != Some(false);
        let from = source(&mailbox.address, transmit.from);
        let takers: Vec<usize> = self.takers(socket, &from, &to, loops).collect();
        if takers.is_empty() && is_to_one(&to) {
            self.report(socket, to);
            return Ok(());
        }
        for taker in takers {
            self.deliver(taker, transmit.bytes, &from, &to);
        }
        Ok(())
    }

    /// The next thing that the network has to say about what was sent.
    pub(super) fn take_report(&mut self, socket: usize) -> Option<Report> {
        self.sockets[socket].reports.pop_front()
    }

    pub(super) fn join(&mut self, socket: usize, membership: &Membership) -> io::Result<()> {
        check_group(membership)?;
        let groups = &mut self.sockets[socket].groups;
        if groups.contains(membership) {
            return Err(ErrorKind::AddrInUse.into());
        }
        groups.push(membership.clone());
        Ok(())
    }

    pub(super) fn leave(&mut self, socket: usize, membership: &Membership) -> io::Result<()> {
        check_group(membership)?;
        let groups = &mut self.sockets[socket].groups;
        let at = groups.iter().position(|group| group == membership);
        groups.swap_remove(at.ok_or(ErrorKind::AddrNotAvailable)?);
        Ok(())
    }

    pub(super) fn peer(&self, socket: usize) -> io::Result<Address> {
        let peer = self.sockets[socket].peer.clone();
        peer.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Whether the sockets at an address take nothing that is sent by them.
    pub(super) fn hold(&mut self, address: &Address, is_held: bool) {
        let all = self.sockets.iter_mut();
        let theirs = all.filter(|(_, mailbox)| mailbox.address == *address);
        let mut waiting = Vec::new();
        for (socket, mailbox) in theirs {
            mailbox.is_held = is_held;
            if !is_held && std::mem::take(&mut mailbox.wants_write) {
                waiting.push(socket);
            }
        }
        for socket in waiting {
            self.tell(socket, Readiness::WRITABLE);
        }
    }

    /// The sockets that receive what one of them sends to an address.
    fn takers<'a>(
        &'a self,
        sender: usize,
        from: &'a Address,
        to: &'a Address,
        loops: bool,
    ) -> impl Iterator<Item = usize> + 'a {
        let is_taker = move |(socket, mailbox): (usize, &'a Mailbox)| {
            let is_heard = loops || socket != sender || !is_group(to);
            let hears = mailbox.peer.as_ref().is_none_or(|peer| peer == from);
            (is_heard && hears && mailbox.takes(from, to)).then_some(socket)
        };
        let all = self.sockets.iter().filter_map(is_taker);
        all.take(if is_to_one(to) { 1 } else { usize::MAX })
    }

    fn deliver(&mut self, socket: usize, bytes: &[u8], from: &Address, to: &Address) {
        let mailbox = &mut self.sockets[socket];
        let len = bytes.len() + OVERHEAD;
        if mailbox.inbound_len + len > mailbox.capacity {
            mailbox.dropped += 1;
            return;
        }
        mailbox.inbound_len += len;
        mailbox.inbound.push_back(Letter {
            bytes: bytes.to_vec(),
            from: from.clone(),
            to: to.as_ip().map(|to| to.ip()),
        });
        if std::mem::take(&mut mailbox.wants_read) {
            self.tell(socket, Readiness::READABLE);
        }
    }

    /// Nobody receives there: "port unreachable" comes back (RFC 1122, section 4.1.3.1).
    fn report(&mut self, socket: usize, to: Address) {
        let mailbox = &mut self.sockets[socket];
        if mailbox.reports.len() == MAX_REPORTS {
            mailbox.reports.pop_front();
        }
        mailbox.reports.push_back(Report {
            to: Some(to),
            error: OsError::from_raw(socket::ECONNREFUSED),
        });
        self.tell(socket, Readiness::READABLE.or(Readiness::ERROR));
    }

    fn tell(&mut self, socket: usize, readiness: Readiness) {
        if let Some(token) = self.sockets[socket].token {
            self.events.push((token, readiness));
        }
    }
}

impl Mailbox {
    /// Whether what is sent to `to` is for it.
    fn takes(&self, from: &Address, to: &Address) -> bool {
        let (Address::Ip(own), Address::Ip(to)) = (&self.address, to) else {
            return self.address == *to;
        };
        if own.port() != to.port() {
            return false;
        }
        if to.ip().is_multicast() {
            let source = from.as_ip().map(|from| from.ip());
            let mut groups = self.groups.iter().filter(|group| group.group == to.ip());
            return groups.any(|group| group.source.is_none() || group.source == source);
        }
        own == to
            || (own.ip().is_unspecified() && own.is_ipv4() == to.is_ipv4())
            || is_broadcast(&Address::Ip(*to))
    }
}

/// The sender's address as the receiver sees it.
fn source(own: &Address, from: Option<IpAddr>) -> Address {
    let Address::Ip(own) = own else {
        return own.clone();
    };
    let any = match own {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let ip = if own.ip().is_unspecified() {
        any
    } else {
        own.ip()
    };
    Address::Ip((from.unwrap_or(ip), own.port()).into())
}

/// Whether only one socket receives it.
fn is_to_one(to: &Address) -> bool {
    !is_group(to) && !is_broadcast(to)
}

fn is_group(to: &Address) -> bool {
    to.as_ip().is_some_and(|to| to.ip().is_multicast())
}

fn is_broadcast(to: &Address) -> bool {
    match to.as_ip().map(|to| to.ip()) {
        Some(IpAddr::V4(to)) => to.octets()[3] == 255 && !to.is_multicast(),
        Some(IpAddr::V6(_)) | None => false,
    }
}
