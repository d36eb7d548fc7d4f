//! The network boundary for datagrams: what the reactor asks of sockets that keep boundaries.
//!
//! Knows neither protocols nor the reactor. [`Network`](super::Network) builds on it.

use std::fmt;
use std::io;
use std::net::IpAddr;

use super::address::Address;
use super::bind::{Bind, DatagramOptions, Membership};
use crate::close::OsError;
use crate::token::Token;

/// Datagram sockets: UDP and Unix, bound or connected.
///
/// The contract of readiness is that of [`Network`](super::Network): a socket is registered once,
/// and an operation that answered `WouldBlock` is followed by an event once it may succeed. That a
/// socket is writable need not be told before it has taken nothing: a new one is. No operation
/// blocks, `Interrupted` is retried inside, and no error ends a socket: whatever went
/// wrong is about one datagram, and the next one may do better.
pub trait Datagrams {
    /// A datagram socket.
    type Datagram: fmt::Debug + 'static;

    /// Opens a socket, registered under `token`: bound, with its options set and its groups
    /// joined, and connected if `bind` names a peer.
    ///
    /// # Errors
    /// The OS's: address in use, permission denied, …
    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<Self::Datagram>;

    /// Receives one datagram, or one train of datagrams of equal length from one sender.
    ///
    /// What does not fit into `buf` is lost, and told by [`Received::datagram_len`]. A buffer of
    /// 65,536 bytes is never too small for UDP.
    ///
    /// # Errors
    /// `WouldBlock` when there is none. Any other error may be about something that was sent
    /// before: ask [`Datagrams::take_report`], and receive again.
    fn receive(&mut self, socket: &mut Self::Datagram, buf: &mut [u8]) -> io::Result<Received>;

    /// Sends one datagram, or one train.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now: an event follows when it does. Any other
    /// error is about this datagram, or about an earlier one if [`Datagrams::take_report`] has a
    /// report. `PermissionDenied` for a broadcast address unless [`Transmit::is_broadcast`] is set.
    /// `ResourceBusy` for a Unix address, not that of the peer, if nothing is taken for it now.
    fn transmit(&mut self, socket: &mut Self::Datagram, transmit: &Transmit<'_>) -> io::Result<()>;

    /// What the network has to say about something that was sent before: a port that is
    /// unreachable, a path that takes no datagram of that length. `None` when there is nothing
    /// more; to be asked until then when an operation failed, or the readiness is an error.
    fn take_report(&mut self, socket: &mut Self::Datagram) -> Option<Report>;

    /// Of how many datagrams a train may consist that is sent now. 1: there are no trains.
    fn max_train(&self, socket: &Self::Datagram) -> usize {
        let _ = socket;
        1
    }

    /// How many datagrams the OS has dropped because the socket's receive buffer was full, as far
    /// as it told with what was received. 0 where it does not tell.
    fn dropped(&self, socket: &Self::Datagram) -> u64 {
        let _ = socket;
        0
    }

    /// Closes a socket. What was received and not taken is lost.
    fn close_datagram(&mut self, socket: Self::Datagram);

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// The OS's.
    fn datagram_addr(&self, socket: &Self::Datagram) -> io::Result<Address>;

    /// The address that the socket is connected to.
    ///
    /// # Errors
    /// The OS's; `NotConnected` if it is not.
    fn datagram_peer(&self, socket: &Self::Datagram) -> io::Result<Address>;

    /// Changes options: what is `None` stays as it is.
    ///
    /// # Errors
    /// The OS's, at the first option that it refuses.
    fn set_datagram_options(
        &mut self,
        socket: &mut Self::Datagram,
        options: &DatagramOptions,
    ) -> io::Result<()>;

    /// The options as the OS has them now.
    ///
    /// # Errors
    /// The OS's.
    fn datagram_options(&self, socket: &Self::Datagram) -> io::Result<DatagramOptions>;

    /// Joins a multicast group.
    ///
    /// # Errors
    /// The OS's; `InvalidInput` for what is no group, `Unsupported` for what the OS lacks.
    fn join(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()>;

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// The OS's; as [`Datagrams::join`].
    fn leave(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()>;
}

/// What was received, apart from the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer.
    pub len: usize,
    /// The length of each datagram in the buffer; the last one may be shorter. Equal to `len`
    /// unless it is a train.
    pub segment_len: usize,
    /// The length of the datagram as it was sent: more than `len` if it did not fit. Where the OS
    /// tells only that it did not, it is `len + 1`.
    pub datagram_len: usize,
    /// The sender.
    pub from: Address,
    /// The address that it was sent to, which may be that of a group or of everybody. `None` where
    /// it is not told.
    pub to: Option<IpAddr>,
    /// The address of this machine to answer from: `to`, unless that is a group's or everybody's.
    /// `None` leaves it to the OS.
    pub local: Option<IpAddr>,
    /// The index of the interface that it came in by.
    pub interface: Option<u32>,
    /// Its congestion mark.
    pub ecn: Option<Ecn>,
}

impl Received {
    /// A single datagram of which nothing else is known.
    pub fn single(len: usize, from: Address) -> Received {
        Received {
            len,
            segment_len: len,
            datagram_len: len,
            from,
            to: None,
            local: None,
            interface: None,
            ecn: None,
        }
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The destination; `None`: the peer that the socket is connected to.
    pub to: Option<&'a Address>,
    /// The bytes of a datagram, or of all datagrams of a train.
    pub bytes: &'a [u8],
    /// For a train: how long each datagram is. The last one may be shorter.
    pub segment_len: Option<usize>,
    /// The local address to send from, one of the machine's. `None`: the OS chooses.
    pub from: Option<IpAddr>,
    /// The index of the interface to send by. `None`: the OS chooses.
    pub interface: Option<u32>,
    /// Whether the destination may be a broadcast address. Never set by default: a datagram that
    /// goes to everybody has to be meant so.
    pub is_broadcast: bool,
}

impl<'a> Transmit<'a> {
    /// A single datagram, sent as the OS chooses.
    pub fn new(to: Option<&'a Address>, bytes: &'a [u8]) -> Transmit<'a> {
        Transmit {
            to,
            bytes,
            segment_len: None,
            from: None,
            interface: None,
            is_broadcast: false,
        }
    }
}

/// What became of something that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it was sent to, if that is known.
    pub to: Option<Address>,
    /// What happened.
    pub error: OsError,
}

/// The congestion mark of a datagram (RFC 3168, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// The sender takes no notice of congestion marks.
    NotCapable,
    /// ECN-capable, codepoint ECT(0).
    Ect0,
    /// ECN-capable, codepoint ECT(1).
    Ect1,
    /// Congestion was experienced on the way.
    Congested,
}

impl Ecn {
    /// The mark in the two lowest bits of a TOS or traffic class.
    pub fn from_tos(tos: u8) -> Ecn {
        match tos & 0b11 {
            0b00 => Ecn::NotCapable,
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            _ => Ecn::Congested,
        }
    }
}
