//! What becomes of a datagram on its way: to which hosts and sockets it goes, and whether it gets
//! there.
//!
//! Knows hosts, their sockets and the agenda; what is done with a socket is `datagrams.rs` and
//! `sending.rs`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::agenda::Happening;
use super::datagrams::{DatagramId, DatagramSocket};
use super::errno;
use super::fabric::{Fabric, Listener};
use super::fates::Loss;
use super::ports::ip_of;
use super::sending::Departure;
use super::trace::What;
use crate::close::OsError;
use crate::net::{Address, Readiness, Report};

/// A datagram with what it tells.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) bytes: Bytes,
    pub(super) from: Address,
    pub(super) to: Address,
}

/// What is under way.
#[derive(Debug)]
pub(super) enum Flight {
    /// What a socket took to be sent, while it waits in its send buffer.
    Departure(Departure),
    /// A datagram to a host. `sender` hears if nobody receives it there.
    Letter {
        sender: DatagramId,
        from_host: usize,
        host: usize,
        letter: Letter,
    },
    /// The answer that nobody receives at `to`.
    Refusal {
        sender: DatagramId,
        from_host: usize,
        to: Address,
    },
}

impl Fabric {
    /// The hosts that what is sent to an address goes to.
    pub(super) fn destinations(
        &self,
        host: usize,
        id: DatagramId,
        to: &Address,
    ) -> io::Result<Vec<usize>> {
        let Address::Ip(address) = to else {
            // Unix sockets: on this machine, or nowhere.
            let is_there = |socket: &DatagramSocket| socket.host == host && socket.address == *to;
            return match self.datagrams.iter().any(|(_, socket)| is_there(socket)) {
                true => Ok(vec![host]),
                false => Err(errno::error(errno::REFUSED)),
            };
        };
        let everyone = (0..self.hosts.len()).collect();
        if is_broadcast(to) {
            return Ok(everyone);
        }
        if address.ip().is_multicast() {
            let socket = &self.datagrams[id.key as usize];
            let loops = socket.options.multicast_loop != Some(false);
            let hosts = 0..self.hosts.len();
            return Ok(hosts.filter(|other| loops || *other != host).collect());
        }
        match (self.host_at(host, address.ip()), address.ip()) {
            (Some(host), _) => Ok(vec![host]),
            // A neighbour that is not there, and the rest of the world, to which no way leads.
            (None, IpAddr::V4(ip)) if ip.octets()[0] == NETWORK => Ok(Vec::new()),
            (None, _) => Err(errno::error(errno::NO_ROUTE)),
        }
    }

    /// Sends a datagram on its way to one host: it may be lost, doubled, or overtaken.
    pub(super) fn fly(
        &mut self,
        sender: DatagramId,
        from: usize,
        host: usize,
        letter: &Letter,
        local: bool,
    ) {
        let is_lost = !local && self.random.chance(self.faults.lose_datagram);
        let is_double = !local && self.random.chance(self.faults.repeat_datagram);
        let copies = usize::from(!is_lost) + usize::from(is_double);
        self.fates.copies += u64::from(is_double);
        if is_lost {
            self.lose(host, None, Loss::Chance, letter);
        }
        for _ in 0..copies {
            let mut at = self.now + self.latency();
            if self.random.chance(self.faults.delay_datagram) {
                at += self.random.duration(&self.faults.datagram_delay);
            }
            let flight = self.flights.insert(Flight::Letter {
                sender,
                from_host: from,
                host,
                letter: letter.clone(),
            });
            self.agenda.push(at, Happening::Pass { flight });
        }
    }

    /// Something that is under way has got through the next stretch of its way.
    pub(super) fn pass(&mut self, flight: usize) {
        match self.flights.remove(flight) {
            Flight::Departure(departure) => self.depart(&departure),
            Flight::Letter {
                sender,
                from_host,
                host,
                letter,
            } => {
                if !self.hosts[host].is_up {
                    return self.lose(host, None, Loss::Outage, &letter);
                }
                if self.cuts.contains(&(from_host, host)) {
                    return self.lose(host, None, Loss::Partition, &letter);
                }
                let takers = self.takers(host, &letter);
                if takers.is_empty() {
                    self.lose(host, None, Loss::Unclaimed, &letter);
                    if is_to_one(&letter.to) {
                        self.refuse(sender, from_host, host, letter.to.clone());
                    }
                }
                // Each socket that shares the address has a copy of its own.
                self.fates.copies += takers.len().saturating_sub(1) as u64;
                for taker in takers {
                    self.deliver(taker, &letter);
                }
            }
            Flight::Refusal {
                sender,
                from_host,
                to,
            } => {
                let Some(socket) = self.datagram_mut(sender) else {
                    return;
                };
                let host = socket.host;
                // Only a socket with one peer is told (ip(7)): what it was about would be unknown.
                let is_told = socket.peer.is_some() && socket.reports.len() < MAX_REPORTS;
                if !is_told || self.cuts.contains(&(from_host, host)) {
                    return;
                }
                let error = OsError::from_raw(errno::REFUSED);
                let report = Report {
                    to: Some(to),
                    error,
                };
                if let Some(socket) = self.datagram_mut(sender) {
                    socket.reports.push_back(report);
                    let token = Some(socket.token);
                    self.log(host, token, What::Refused, 0);
                    self.edge(Listener::Datagram(sender), Readiness::ERROR);
                }
            }
        }
    }

    /// Nobody receives at `to`, and the sender may be told.
    fn refuse(&mut self, sender: DatagramId, sender_host: usize, host: usize, to: Address) {
        if sender_host >= self.hosts.len() || self.random.chance(self.faults.lose_datagram) {
            return;
        }
        let flight = self.flights.insert(Flight::Refusal {
            sender,
            from_host: host,
            to,
        });
        let at = self.now + self.latency();
        self.agenda.push(at, Happening::Pass { flight });
    }

    /// The sockets of a host that receive a datagram: of those that share an address, all receive
    /// what is sent to a group or to everybody, and one receives what is sent to it.
    fn takers(&self, host: usize, letter: &Letter) -> Vec<DatagramId> {
        let is_for_all = is_broadcast(&letter.to);
        let sockets = self.datagrams.iter();
        let sockets = sockets.filter(|(_, socket)| socket.host == host);
        let sockets = sockets.filter(|(_, socket)| {
            let is_open = socket
                .address
                .as_ip()
                .is_some_and(|own| own.ip().is_unspecified());
            socket.takes(letter) || (is_for_all && is_open && same_port(socket, &letter.to))
        });
        let mut takers: Vec<DatagramId> = sockets
            .map(|(key, socket)| DatagramId {
                key: key as u32,
                serial: socket.serial,
            })
            .collect();
        if is_to_one(&letter.to) {
            // A connected socket is a better fit; of others, the one that came last.
            takers.sort_by_key(|id| {
                let socket = &self.datagrams[id.key as usize];
                (socket.peer.is_some(), socket.serial)
            });
            takers.drain(..takers.len().saturating_sub(1));
        }
        takers
    }

    fn deliver(&mut self, id: DatagramId, letter: &Letter) {
        let Some(socket) = self.datagram_mut(id) else {
            return;
        };
        let (host, token) = (socket.host, Some(socket.token));
        let len = letter.bytes.len();
        if !socket.put(letter.clone()) {
            return self.lose(host, token, Loss::NoRoom, letter);
        }
        let is_asked_for = std::mem::take(&mut socket.ear.wants_read) || socket.ear.is_listed;
        self.log(host, token, What::Arrive, len as u64);
        if is_asked_for {
            self.edge(Listener::Datagram(id), Readiness::READABLE);
        }
    }

    /// The sender's address as the receiver sees it.
    pub(super) fn source(&self, id: DatagramId, wanted: Option<IpAddr>, to: &Address) -> Address {
        let socket = &self.datagrams[id.key as usize];
        let Address::Ip(own) = &socket.address else {
            return socket.address.clone();
        };
        let is_loopback = to.as_ip().is_some_and(|to| to.ip().is_loopback());
        let ip = match (
            own.ip().is_unspecified() || own.ip().is_multicast(),
            is_loopback,
        ) {
            (false, _) => own.ip(),
            (true, false) => ip_of(socket.host),
            (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        Address::Ip(SocketAddr::new(wanted.unwrap_or(ip), own.port()))
    }
}

fn same_port(socket: &DatagramSocket, to: &Address) -> bool {
    let port = |address: &Address| address.as_ip().map(|address| address.port());
    port(&socket.address) == port(to)
}

/// Whether at most one socket receives it.
fn is_to_one(to: &Address) -> bool {
    !is_broadcast(to) && !to.as_ip().is_some_and(|to| to.ip().is_multicast())
}

/// Whether it goes to everybody: 255.255.255.255, or 10.255.255.255, the network of all hosts.
pub(super) fn is_broadcast(to: &Address) -> bool {
    let everybody = [
        IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V4(Ipv4Addr::new(NETWORK, 255, 255, 255)),
    ];
    to.as_ip().is_some_and(|to| everybody.contains(&to.ip()))
}

/// The first byte of every host's address.
const NETWORK: u8 = 10;
/// Reports that wait to be taken; further ones are lost.
const MAX_REPORTS: usize = 16;
