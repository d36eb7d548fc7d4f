//! What leaves a simulated datagram socket: what is refused, what waits in its send buffer, and
//! when that has left.
//!
//! Knows sockets and the agenda; what becomes of a datagram on its way is `flight.rs`.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;

use super::agenda::Happening;
use super::datagrams::{CAPACITY, DatagramId, OVERHEAD};
use super::errno;
use super::fabric::Fabric;
use super::fates::Loss;
use super::flight::{Flight, Letter, is_broadcast};
use super::trace::{What, digest};
use crate::net::{Address, Transmit};

/// The send buffer of a socket: what it took to be sent, until that has left.
#[derive(Debug)]
pub(super) struct SendBuffer {
    /// Bytes in it, overhead included.
    len: usize,
    /// Bytes that there may be. A single datagram may be longer: it could never be sent otherwise.
    capacity: usize,
    /// When the line is free again.
    line_free_at: Duration,
}

/// A datagram or a train of them in a send buffer.
#[derive(Debug)]
pub(super) struct Departure {
    sender: DatagramId,
    from_host: usize,
    /// Where to: nowhere, if nobody has that address.
    hosts: Vec<usize>,
    letters: Vec<Letter>,
    /// Bytes that it takes of the buffer.
    len: usize,
    is_local: bool,
    /// Its host's power has failed.
    is_lost: bool,
}

impl SendBuffer {
    pub(super) fn new(capacity: Option<usize>) -> SendBuffer {
        SendBuffer {
            len: 0,
            capacity: capacity.unwrap_or(CAPACITY),
            line_free_at: Duration::ZERO,
        }
    }

    fn has_room(&self, len: usize) -> bool {
        self.len == 0 || self.len + len <= self.capacity
    }

    /// Whether there is room worth waking somebody for: like Linux, half of it (`sock_writeable`).
    fn is_low(&self) -> bool {
        self.len <= self.capacity / 2
    }

    /// Puts `len` bytes into the buffer, of which `sent_len` are sent at `bandwidth`. Answers when
    /// they have left.
    fn put(
        &mut self,
        len: usize,
        sent_len: usize,
        bandwidth: Option<u64>,
        now: Duration,
    ) -> Duration {
        self.len += len;
        let takes = bandwidth.map_or(0, |bandwidth| {
            sent_len as u64 * 1_000_000_000 / bandwidth.max(1)
        });
        self.line_free_at = self.line_free_at.max(now) + Duration::from_nanos(takes);
        self.line_free_at
    }
}

impl Departure {
    /// How many datagrams that makes, counted for each host.
    pub(super) fn copies(&self) -> usize {
        // One that goes nowhere is lost once.
        self.letters.len() * self.hosts.len().max(1)
    }
}

impl Fabric {
    pub(super) fn transmit(&mut self, id: DatagramId, transmit: &Transmit<'_>) -> io::Result<()> {
        let (host, token) = self.use_datagram(id);
        self.datagrams[id.key as usize].is_congested = false;
        self.tell_report(id)?;
        let departure = match self.departure(id, transmit) {
            Ok(departure) => departure,
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(0);
                self.log(host, token, What::SendFailed, number as u64);
                return Err(error);
            }
        };
        let len = transmit.bytes.len();
        let is_full = !self.datagrams[id.key as usize]
            .outbound
            .has_room(departure.len);
        if is_full || self.random.chance(self.faults.would_block) {
            self.datagrams[id.key as usize].ear.wants_write = true;
            if !is_full {
                self.promise_datagram(id, false);
            }
            self.log(host, token, What::SendBlocked, len as u64);
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.random.chance(self.faults.congest) {
            self.datagrams[id.key as usize].is_congested = true;
            let error = errno::NO_BUFFERS;
            self.log(host, token, What::SendFailed, error as u64);
            return Err(errno::error(error));
        }
        self.hosts[host].progress += 1;
        self.fates.sent += departure.letters.len() as u64;
        self.fates.copies += departure.copies() as u64;
        self.log_bytes(host, token, What::Send, len as u64, digest(transmit.bytes));
        let outbound = &mut self.datagrams[id.key as usize].outbound;
        let at = outbound.put(departure.len, len, self.faults.bandwidth, self.now);
        let flight = self.flights.insert(Flight::Departure(departure));
        self.agenda.push(at, Happening::Pass { flight });
        Ok(())
    }

    /// What is to be sent, if it can be.
    fn departure(&self, id: DatagramId, transmit: &Transmit<'_>) -> io::Result<Departure> {
        let socket = &self.datagrams[id.key as usize];
        let from_host = socket.host;
        let to = transmit.to.or(socket.peer.as_ref());
        let to = to.ok_or_else(|| errno::error(errno::NO_DESTINATION))?;
        let len = transmit.bytes.len();
        let segment_len = transmit.segment_len.unwrap_or(len).max(1);
        let count = len.div_ceil(segment_len).max(1);
        let max_len = self.faults.max_datagram.unwrap_or(MAX_LEN).min(MAX_LEN);
        if count > socket.max_train || segment_len.min(len) > max_len || len > MAX_LEN {
            return Err(errno::error(errno::TOO_LONG));
        }
        let may_broadcast = transmit.is_broadcast && socket.options.broadcast == Some(true);
        if is_broadcast(to) && !may_broadcast {
            return Err(errno::error(errno::NO_ACCESS));
        }
        let hosts = self.destinations(from_host, id, to)?;
        let from = self.source(id, transmit.from, to);
        let letter = |bytes: &[u8]| Letter {
            bytes: Bytes::copy_from_slice(bytes),
            from: from.clone(),
            to: to.clone(),
        };
        let letters = match len {
            0 => vec![letter(&[])],
            _ => transmit.bytes.chunks(segment_len).map(letter).collect(),
        };
        Ok(Departure {
            sender: id,
            from_host,
            hosts,
            letters,
            len: len + count * OVERHEAD,
            is_local: !matches!(to, Address::Ip(_)),
            is_lost: false,
        })
    }

    /// What waited in a send buffer leaves, and makes room. Its socket may be closed by now: what
    /// it took is sent nevertheless.
    pub(super) fn depart(&mut self, departure: &Departure) {
        let sender = departure.sender;
        let mut token = None;
        if let Some(socket) = self.datagram_mut(sender) {
            token = Some(socket.token);
            socket.outbound.len -= departure.len;
            if socket.outbound.is_low() {
                self.tell_of_room(sender);
            }
        }
        let from_host = departure.from_host;
        if !departure.is_lost {
            self.log(from_host, token, What::Depart, departure.len as u64);
        }
        for letter in &departure.letters {
            if departure.hosts.is_empty() {
                self.lose(from_host, token, Loss::Unclaimed, letter);
            }
            for host in &departure.hosts {
                match departure.is_lost {
                    true => self.lose(*host, None, Loss::Outage, letter),
                    false => self.fly(sender, from_host, *host, letter, departure.is_local),
                }
            }
        }
    }

    /// What waits in the send buffers of a host whose power fails is lost.
    pub(super) fn lose_unsent(&mut self, host: usize) {
        for (_, flight) in &mut self.flights {
            if let Flight::Departure(departure) = flight {
                departure.is_lost |= departure.from_host == host;
            }
        }
    }
}

/// Bytes of the largest datagram over IPv4: 65,535 less the headers of IP and UDP.
const MAX_LEN: usize = 65_507;
