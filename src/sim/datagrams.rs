//! Simulated datagram sockets: how they are opened, what receiving does, and what is promised to
//! whoever waits.
//!
//! Knows hosts and the agenda. What sending does is `sending.rs`, how readiness is told is
//! `readiness.rs`; what a reactor calls is `datagram_net.rs`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;

use super::agenda::Happening;
use super::end::{Ear, Service};
use super::fabric::{Fabric, Listener};
use super::fates::Loss;
use super::flight::{Letter, is_broadcast};
use super::sending::SendBuffer;
use super::trace::{What, digest};
use crate::limits::Limits;
use crate::net::{
    Address, Batching, Bind, DatagramOptions, Ecn, Membership, Readiness, Received, Report,
};
use crate::token::Token;

/// A datagram socket of a host.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    pub(super) serial: u32,
    pub(super) host: usize,
    pub(super) token: Token,
    pub(super) service: Rc<Service>,
    pub(super) address: Address,
    pub(super) peer: Option<Address>,
    pub(super) options: DatagramOptions,
    pub(super) ear: Ear,
    /// Datagrams that found no room.
    pub(super) dropped: u64,
    /// Datagrams that may be sent at once.
    pub(super) max_train: usize,
    pub(super) outbound: SendBuffer,
    /// The last send found no buffer below the socket: its owner tries again by itself.
    pub(super) is_congested: bool,
    groups: Vec<Membership>,
    /// Others may have the same address.
    is_shared: bool,
    pub(super) inbound: VecDeque<Letter>,
    /// Bytes of `inbound`, overhead included. Invariant: at most `capacity`.
    inbound_len: usize,
    capacity: usize,
    pub(super) reports: VecDeque<Report>,
    /// An operation has answered with the first of them.
    is_told: bool,
}

/// Names a socket for the whole of its life, and nothing else afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatagramId {
    pub(super) key: u32,
    pub(super) serial: u32,
}

impl DatagramSocket {
    /// Whether receiving could tell something that was not told yet.
    pub(super) fn is_readable(&self) -> bool {
        !self.inbound.is_empty() || (!self.reports.is_empty() && !self.is_told)
    }

    /// Whether a datagram that reached the host is for this socket.
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        if self.peer.as_ref().is_some_and(|peer| *peer != letter.from) {
            return false;
        }
        let (Address::Ip(own), Address::Ip(to)) = (&self.address, &letter.to) else {
            return self.address == letter.to;
        };
        if own.port() != to.port() {
            return false;
        }
        if to.ip().is_multicast() {
            let from = letter.from.as_ip().map(|from| from.ip());
            let mut groups = self.groups.iter().filter(|group| group.group == to.ip());
            return groups.any(|group| group.source.is_none() || group.source == from);
        }
        own.ip().is_unspecified() || own.ip() == to.ip()
    }
}

impl Fabric {
    pub(super) fn bind(
        &mut self,
        host: usize,
        token: Token,
        bind: &Bind,
    ) -> io::Result<DatagramId> {
        if bind.inherited.is_some() {
            return Err(ErrorKind::Unsupported.into());
        }
        let address = self.datagram_address(host, &bind.address)?;
        let is_shared = bind.reuse_address || bind.reuse_port;
        let is_taken = |other: &DatagramSocket| {
            other.host == host
                && overlap(&other.address, &address)
                && !(is_shared && other.is_shared)
        };
        if self.datagrams.iter().any(|(_, other)| is_taken(other)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        for membership in &bind.memberships {
            check_group(membership)?;
        }
        self.take_socket(host)?;
        let serial = self.serial();
        let trains = match bind.options.batching {
            Some(Batching::Off) => 1,
            _ => [1, 4, 64][self.random.below(3)],
        };
        let lens = self.faults.send_buffer_len.clone();
        let most = lens.map(|lens| self.random.length(&lens));
        let key = self.datagrams.insert(DatagramSocket {
            serial,
            host,
            token,
            service: Rc::new(Service {
                name: bind.name.clone(),
                limits: Limits::default(),
            }),
            address,
            peer: bind.peer.clone(),
            options: bind.options.clone(),
            ear: Ear {
                wants_read: true,
                ..Ear::DEAF
            },
            dropped: 0,
            max_train: trains,
            outbound: SendBuffer::new(most.or(bind.options.send_buffer)),
            is_congested: false,
            groups: bind.memberships.clone(),
            is_shared,
            inbound: VecDeque::new(),
            inbound_len: 0,
            capacity: bind.options.recv_buffer.unwrap_or(CAPACITY),
            reports: VecDeque::new(),
            is_told: false,
        });
        let id = DatagramId {
            key: key as u32,
            serial,
        };
        self.log(host, Some(token), What::Bind, 0);
        Ok(id)
    }

    pub(super) fn receive(&mut self, id: DatagramId, buf: &mut [u8]) -> io::Result<Received> {
        let (host, token) = self.use_datagram(id);
        self.tell_report(id)?;
        let is_refused = self.random.chance(self.faults.would_block);
        let socket = &mut self.datagrams[id.key as usize];
        if socket.inbound.is_empty() || is_refused {
            socket.ear.wants_read = true;
            if !socket.inbound.is_empty() {
                self.promise_datagram(id, true);
            }
            self.log(host, token, What::ReceiveBlocked, 0);
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = self.train_len(id, buf.len());
        let socket = &mut self.datagrams[id.key as usize];
        let first = socket.take_letter(buf);
        let mut received = Received {
            to: first.to.as_ip().map(|to| to.ip()),
            interface: first.to.as_ip().map(|_| INTERFACE),
            ecn: first.to.as_ip().map(|_| Ecn::NotCapable),
            datagram_len: first.bytes.len(),
            ..Received::single(first.bytes.len().min(buf.len()), first.from)
        };
        for _ in 1..most {
            let next = socket.take_letter(&mut buf[received.len..]);
            received.len += next.bytes.len();
            received.datagram_len = received.len;
        }
        self.hosts[host].progress += 1;
        self.fates.received += most as u64;
        let bytes = digest(&buf[..received.len]);
        self.log_bytes(host, token, What::Receive, received.len as u64, bytes);
        Ok(received)
    }

    /// How many of the datagrams that wait are handed over as a train: of one sender, to one
    /// address, of one length but for the last, and as many as fit.
    fn train_len(&mut self, id: DatagramId, room: usize) -> usize {
        let is_merged = self.random.chance(self.faults.merge_datagrams);
        let socket = &self.datagrams[id.key as usize];
        let Some(first) = socket.inbound.front() else {
            return 0;
        };
        let len = first.bytes.len();
        if !is_merged || socket.options.batching == Some(Batching::Off) || len == 0 || len > room {
            return 1;
        }
        let mut count = 1;
        for next in socket.inbound.iter().skip(1).take(MAX_TRAIN - 1) {
            let is_like = next.from == first.from && next.to == first.to;
            let next_len = next.bytes.len();
            if !is_like || next_len > len || next_len == 0 || (count + 1) * len > room {
                break;
            }
            count += 1;
            if next_len < len {
                break;
            }
        }
        count
    }

    /// What became of what was sent before is told by whatever operation comes next, once.
    pub(super) fn tell_report(&mut self, id: DatagramId) -> io::Result<()> {
        let socket = &mut self.datagrams[id.key as usize];
        match socket.reports.front() {
            Some(report) if !std::mem::replace(&mut socket.is_told, true) => {
                Err(io::Error::from(report.error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn take_report(&mut self, id: DatagramId) -> Option<Report> {
        let socket = &mut self.datagrams[id.key as usize];
        socket.is_told = false;
        socket.reports.pop_front()
    }

    pub(super) fn close_datagram(&mut self, id: DatagramId) {
        let socket = self.datagrams.remove(id.key as usize);
        self.hosts[socket.host].sockets -= 1;
        self.hosts[socket.host].progress += 1;
        self.forget_token(socket.host, socket.token);
        self.log(socket.host, Some(socket.token), What::Close, 0);
        for letter in &socket.inbound {
            self.lose(socket.host, Some(socket.token), Loss::Unread, letter);
        }
    }

    pub(super) fn join(&mut self, id: DatagramId, membership: &Membership) -> io::Result<()> {
        check_group(membership)?;
        let groups = &mut self.datagrams[id.key as usize].groups;
        if groups.contains(membership) {
            return Err(ErrorKind::AddrInUse.into());
        }
        groups.push(membership.clone());
        Ok(())
    }

    pub(super) fn leave(&mut self, id: DatagramId, membership: &Membership) -> io::Result<()> {
        check_group(membership)?;
        let groups = &mut self.datagrams[id.key as usize].groups;
        let at = groups.iter().position(|group| group == membership);
        groups.swap_remove(at.ok_or(ErrorKind::AddrNotAvailable)?);
        Ok(())
    }

    /// A datagram socket of a sleeping host that has something to receive, and whose owner nobody
    /// is going to tell. One that closes receives nothing while its last datagrams find no room.
    pub(super) fn idle_datagram(
        &self,
        host: usize,
        is_paused: impl Fn(Token) -> bool,
    ) -> Option<(Token, &str)> {
        let mut sockets = self.datagrams.iter().map(|(_, socket)| socket);
        let socket = sockets.find(|socket| {
            socket.host == host
                && socket.is_readable()
                && !socket.ear.wants_read
                && !socket.ear.is_listed
                && !socket.ear.wants_write
                && !socket.is_congested
                && !is_paused(socket.token)
        })?;
        Some((socket.token, &socket.service.name))
    }

    /// The datagram sockets of a sleeping host that were not refused anything, or were told that
    /// there is room: their owners have to have sent all.
    pub(super) fn unblocked_datagrams(&self, host: usize) -> Vec<(Token, Rc<Service>)> {
        let sockets = self.datagrams.iter().map(|(_, socket)| socket);
        let sockets = sockets.filter(|socket| {
            socket.host == host
                && !socket.ear.wants_write
                && !socket.ear.is_listed
                && !socket.is_congested
        });
        sockets
            .map(|socket| (socket.token, Rc::clone(&socket.service)))
            .collect()
    }

    #[inline]
    pub(super) fn datagram_mut(&mut self, id: DatagramId) -> Option<&mut DatagramSocket> {
        let socket = self.datagrams.get_mut(id.key as usize)?;
        (socket.serial == id.serial).then_some(socket)
    }

    /// The event that was promised when an operation would have blocked for no reason.
    pub(super) fn keep_datagram_promise(&mut self, id: DatagramId, readable: bool) {
        let Some(socket) = self.datagram_mut(id) else {
            return;
        };
        *socket.ear.promised(readable) = false;
        if readable && (std::mem::take(&mut socket.ear.wants_read) || socket.is_readable()) {
            self.edge(Listener::Datagram(id), Readiness::READABLE);
        } else if !readable {
            self.tell_of_room(id);
        }
    }

    /// Tells the sender that there is room, if it waits for that.
    pub(super) fn tell_of_room(&mut self, id: DatagramId) {
        let Some(socket) = self.datagram_mut(id) else {
            return;
        };
        if !std::mem::take(&mut socket.ear.wants_write) {
            return;
        }
        // Whoever waits for room has asked the poller anew, which tells of input as well.
        let mut readiness = Readiness::WRITABLE;
        if socket.is_readable() {
            socket.ear.wants_read = false;
            readiness = readiness.or(Readiness::READABLE);
        }
        self.edge(Listener::Datagram(id), readiness);
    }

    pub(super) fn promise_datagram(&mut self, socket: DatagramId, readable: bool) {
        let ear = &mut self.datagrams[socket.key as usize].ear;
        if std::mem::replace(ear.promised(readable), true) {
            return;
        }
        let at = self.now + self.random.duration(&self.faults.event_delay);
        let happening = Happening::DatagramPromise { socket, readable };
        self.agenda.push(at, happening);
    }

    /// Notes who is at work, for whoever looks for the culprit of a spin.
    pub(super) fn use_datagram(&mut self, id: DatagramId) -> (usize, Option<Token>) {
        let socket = &self.datagrams[id.key as usize];
        let (host, token) = (socket.host, Some(socket.token));
        let service = Rc::clone(&socket.service);
        self.hosts[host].last_token = token;
        self.hosts[host].last_service = Some(service);
        (host, token)
    }

    /// An address to bind to: one of the host's, any, a group, or everybody.
    fn datagram_address(&mut self, host: usize, address: &Address) -> io::Result<Address> {
        let Address::Ip(wanted) = address else {
            return Ok(address.clone());
        };
        let is_here = self.host_at(host, wanted.ip()) == Some(host);
        if !is_here && !wanted.ip().is_multicast() && !is_broadcast(address) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let port = self.port_or_free(host, wanted.port());
        Ok(Address::Ip(SocketAddr::new(wanted.ip(), port)))
    }
}

impl DatagramSocket {
    /// Keeps a datagram that has arrived, if there is room. Answers whether there was.
    pub(super) fn put(&mut self, letter: Letter) -> bool {
        let len = letter.bytes.len() + OVERHEAD;
        if self.inbound_len + len > self.capacity {
            self.dropped += 1;
            return false;
        }
        self.inbound_len += len;
        self.inbound.push_back(letter);
        true
    }

    /// Takes the next datagram; what does not fit into `buf` is lost.
    fn take_letter(&mut self, buf: &mut [u8]) -> Letter {
        let letter = self.inbound.pop_front();
        let letter = letter.expect("it was just seen that there is one");
        self.inbound_len -= letter.bytes.len() + OVERHEAD;
        let len = letter.bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&letter.bytes[..len]);
        letter
    }
}

/// Whether two sockets of a host claim the same address.
fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) => {
            let any = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && (any || one.ip() == other.ip())
        }
        (Address::Unnamed, _) => false,
        (one, other) => one == other,
    }
}

fn check_group(membership: &Membership) -> io::Result<()> {
    match membership.group.is_multicast() {
        true => Ok(()),
        false => Err(ErrorKind::InvalidInput.into()),
    }
}

/// The one interface of each host.
const INTERFACE: u32 = 1;
/// Datagrams of a train at most (udp(7), `UDP_MAX_SEGMENTS`).
const MAX_TRAIN: usize = 64;
/// Bytes that wait in a socket at most, in each direction, as Linux has it
/// (`net.core.rmem_default`, `wmem_default`).
pub(super) const CAPACITY: usize = 212_992;
/// What a datagram counts for beside its bytes, so that empty ones are bounded too.
pub(super) const OVERHEAD: usize = 64;
