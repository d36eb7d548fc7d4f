//! `DatagramContext`: what a callback of a datagram socket is given to act with.
//!
//! A view of [`Effects`]; it decides nothing, and knows nothing of how a wish is met.

use std::fmt;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::datagram::{SendCause, SendError};
use super::effects::{Effects, Ending, Intent, Intents, Sent};
use crate::close::CloseReason;
use crate::net::{Address, Membership};

/// Where a queued datagram goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// `None`: to the peer that the socket is connected to.
    pub(crate) to: Option<Address>,
    /// The address of the machine to send from, if that matters.
    pub(crate) from: Option<IpAddr>,
    /// The interface to send by, if that matters.
    pub(crate) interface: Option<u32>,
}

impl Destination {
    pub(crate) fn new(to: Option<Address>) -> Destination {
        Destination {
            to,
            from: None,
            interface: None,
        }
    }
}

/// The way back to a sender: a destination that is not made until it has to be kept.
#[derive(Clone, Copy)]
struct Back<'a> {
    to: &'a Address,
    from: Option<IpAddr>,
}

impl PartialEq<Destination> for Back<'_> {
    #[inline]
    fn eq(&self, other: &Destination) -> bool {
        let is_there = match (self.to, &other.to) {
            // The usual case, without a call.
            (Address::Ip(to), Some(Address::Ip(other))) => to == other,
            (to, other) => other.as_ref() == Some(to),
        };
        is_there && other.from == self.from && other.interface.is_none()
    }
}

impl From<Back<'_>> for Destination {
    #[inline]
    fn from(back: Back<'_>) -> Destination {
        Destination {
            from: back.from,
            ..Destination::new(Some(back.to.clone()))
        }
    }
}

/// A callback's hands: the queue of its socket, and [`Intents`] for everything else.
///
/// What is sent leaves when the callback has returned, as far as the kernel takes it; the rest
/// waits, within `DatagramLimits`. What several datagrams are answered with that have arrived
/// together leaves together, before more than a sixty-fourth of a limit waits. Nothing here
/// fails half-way, and every answer may be ignored.
pub struct DatagramContext<'a> {
    effects: &'a mut Effects,
    /// The sender of the datagram that is being handled, and which of our addresses it knows.
    origin: Option<(&'a Address, Option<IpAddr>)>,
}

impl<'a> DatagramContext<'a> {
    pub(crate) fn new(
        effects: &'a mut Effects,
        origin: Option<(&'a Address, Option<IpAddr>)>,
    ) -> DatagramContext<'a> {
        DatagramContext { effects, origin }
    }

    /// Answers the datagram that is being handled: to its sender, from the address that it was
    /// sent to. In other callbacks, to the peer that the socket is connected to.
    #[inline]
    pub fn reply(&mut self, bytes: impl AsRef<[u8]>) -> Sent {
        let bytes = bytes.as_ref();
        let Some((to, from)) = self.origin else {
            let sent = self.queue(Destination::new(None), bytes);
            return self.told(sent);
        };
        // As `queue`, without making what is hardly ever needed.
        let max = self.max_len(Some(to));
        if !self.admits(bytes.len(), max) {
            return self.told_error(&self.objection(Some(to), bytes.len(), max));
        }
        match self.effects.datagrams.push(Back { to, from }, bytes) {
            Ok(()) => self.queued_as(),
            Err(_) => self.told_error(&refused(Some(to.clone()), SendCause::QueueFull)),
        }
    }

    /// Sends to the peer that the socket is connected to.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Sent {
        let sent = self.queue(Destination::new(None), bytes.as_ref());
        self.told(sent)
    }

    /// Sends to an address. It hides [`Intents::send_to`], which sends to a token; that is at
    /// [`DatagramContext::intents`].
    ///
    /// If the datagram cannot be queued, it is dropped, counted and logged;
    /// [`DatagramContext::try_send_to`] says why.
    ///
    /// On a Unix socket, what is for an address that takes nothing now is dropped too, and
    /// `on_send_error` told of it (`ResourceBusy`), because no OS tells when it would: its queue is
    /// full (`net.unix.max_dgram_qlen` datagrams on Linux, 10 by default). The others go on. What
    /// receivers have not taken counts against the socket's own buffer: a server of many, or of
    /// large datagrams, wants a larger `DatagramOptions::send_buffer`. A socket that is connected
    /// waits for its peer.
    #[inline]
    pub fn send_to(&mut self, to: impl Into<Address>, bytes: impl AsRef<[u8]>) -> Sent {
        let sent = self.try_send_to(to, bytes);
        self.told(sent)
    }

    /// As [`DatagramContext::send_to`], for a caller who deals with what cannot be sent.
    ///
    /// # Errors
    /// The datagram is too long, the queue is full, or the socket is closing; nothing was sent.
    #[inline]
    pub fn try_send_to(
        &mut self,
        to: impl Into<Address>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<Sent, SendError> {
        self.queue(Destination::new(Some(to.into())), bytes.as_ref())
    }

    /// Sends to an address by the interface with this index, and not by the one that the OS would
    /// choose: what a broadcast to 255.255.255.255 or to a group needs on a machine with several.
    /// Feature `udp-batch`.
    pub fn send_by(
        &mut self,
        interface: u32,
        to: impl Into<Address>,
        bytes: impl AsRef<[u8]>,
    ) -> Sent {
        let destination = Destination {
            interface: Some(interface),
            ..Destination::new(Some(to.into()))
        };
        let sent = self.queue(destination, bytes.as_ref());
        self.told(sent)
    }

    /// Sends bytes that are shared with other destinations: long ones are queued by reference.
    pub fn send_shared_to(&mut self, to: impl Into<Address>, bytes: Bytes) -> Sent {
        let destination = Destination::new(Some(to.into()));
        let checked = self.check(destination.to.as_ref(), bytes.len());
        let sent = checked.and_then(|()| {
            let pushed = self.effects.datagrams.push_shared(destination, bytes);
            self.pushed(pushed)
        });
        self.told(sent)
    }

    /// Joins a multicast group, once the callback has returned. If that fails, the protocol is
    /// told by `on_membership_error`; joining twice is such a failure.
    pub fn join(&mut self, membership: Membership) {
        self.change_membership(membership, true);
    }

    /// Leaves a multicast group, as [`DatagramContext::join`] joins it.
    pub fn leave(&mut self, membership: Membership) {
        self.change_membership(membership, false);
    }

    fn change_membership(&mut self, membership: Membership, joins: bool) {
        let token = self.token();
        self.effects.intents.list.push(Intent::Membership {
            token,
            membership: Box::new(membership),
            joins,
        });
    }

    /// Everything that is not the socket's own: timers, mail, other entries.
    pub fn intents(&mut self) -> &mut Intents {
        &mut self.effects.intents
    }

    /// Datagrams that wait to be sent.
    pub fn queued(&self) -> usize {
        self.effects.datagrams.count()
    }

    /// Bytes of them.
    pub fn queued_len(&self) -> usize {
        self.effects.datagrams.len()
    }

    /// Closes the socket once what is queued has left. No further datagram is delivered.
    pub fn finish(&mut self) {
        self.effects
            .control
            .end(Ending::Finish(CloseReason::Finished));
    }

    /// Closes the socket at once. What is queued is lost.
    pub fn abort(&mut self) {
        self.effects
            .control
            .end(Ending::Abort(CloseReason::Aborted));
    }

    /// Receives nothing until [`DatagramContext::resume`]. What arrives meanwhile waits in the
    /// kernel, as much as its buffer holds, and the rest is lost.
    pub fn pause(&mut self) {
        self.effects.control.is_paused = true;
    }

    /// Goes on after [`DatagramContext::pause`].
    pub fn resume(&mut self) {
        self.effects.control.is_paused = false;
    }

    #[inline]
    fn queue(&mut self, to: Destination, bytes: &[u8]) -> Result<Sent, SendError> {
        self.check(to.to.as_ref(), bytes.len())?;
        let pushed = self.effects.datagrams.push(to, bytes);
        self.pushed(pushed)
    }

    #[inline]
    fn pushed(&self, pushed: Result<(), Destination>) -> Result<Sent, SendError> {
        match pushed {
            Ok(()) => Ok(self.queued_as()),
            Err(to) => Err(refused(to.to, SendCause::QueueFull)),
        }
    }

    #[inline]
    fn queued_as(&self) -> Sent {
        if self.effects.datagrams.is_over() {
            Sent::HighWater
        } else {
            Sent::Queued
        }
    }

    #[inline]
    fn check(&self, to: Option<&Address>, len: usize) -> Result<(), SendError> {
        let max = self.max_len(to);
        if self.admits(len, max) {
            return Ok(());
        }
        Err(self.objection(to, len, max))
    }

    /// Bytes of the largest datagram to somebody, if there is somebody.
    #[inline]
    fn max_len(&self, to: Option<&Address>) -> Option<usize> {
        to.map_or(self.effects.max_to_peer, |to| Some(max_len(to)))
    }

    #[inline]
    fn admits(&self, len: usize, max: Option<usize>) -> bool {
        !self.effects.control.is_mute && max.is_some_and(|max| len <= max)
    }

    /// Why a datagram is not even queued.
    #[cold]
    fn objection(&self, to: Option<&Address>, len: usize, max: Option<usize>) -> SendError {
        let cause = match max {
            _ if self.effects.control.is_mute => SendCause::Closed,
            Some(max) => SendCause::TooLong { len, max },
            None => SendCause::NoDestination,
        };
        refused(to.cloned(), cause)
    }

    /// What a caller who does not deal with errors is told.
    #[inline]
    fn told(&mut self, sent: Result<Sent, SendError>) -> Sent {
        match sent {
            Ok(sent) => sent,
            Err(error) => self.told_error(&error),
        }
    }

    #[cold]
    fn told_error(&mut self, error: &SendError) -> Sent {
        log::debug!("{}: not sent: {error}", self.token());
        match error.cause {
            SendCause::Closed => Sent::Closed,
            SendCause::QueueFull
            | SendCause::TooLong { .. }
            | SendCause::StormGuard
            | SendCause::NoDestination
            | SendCause::Os(_) => Sent::Dropped,
        }
    }
}

fn refused(to: Option<Address>, cause: SendCause) -> SendError {
    SendError { to, cause }
}

/// Bytes of the largest datagram to such an address. An IP packet has at most 65,535 bytes (RFC
/// 791, section 3.1), with a header of 20 that IPv6 does not count (RFC 8200, section 3), and the
/// header of UDP has 8. For Unix sockets it is the send buffer that decides.
#[inline]
pub(crate) fn max_len(to: &Address) -> usize {
    match to {
        Address::Ip(to) if to.is_ipv4() => 65_507,
        Address::Ip(_) => 65_527,
        Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => usize::MAX,
    }
}

impl Deref for DatagramContext<'_> {
    type Target = Intents;

    fn deref(&self) -> &Intents {
        &self.effects.intents
    }
}

impl DerefMut for DatagramContext<'_> {
    fn deref_mut(&mut self) -> &mut Intents {
        &mut self.effects.intents
    }
}

impl fmt::Debug for DatagramContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramContext")
            .field("intents", &self.effects.intents)
            .finish_non_exhaustive()
    }
}
