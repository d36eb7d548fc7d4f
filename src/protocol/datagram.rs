//! `DatagramProtocol`: what a datagram socket says. Messages come in whole, and go out whole.
//!
//! Knows addresses, but neither sockets nor the reactor: it acts through a context, as a
//! [`Protocol`](super::Protocol) does.

use std::net::IpAddr;
use std::{fmt, io};

use super::datagram_context::DatagramContext;
use super::effects::{Intents, TimerId};
use super::{Discard, Echo, Mail};
use crate::close::{CloseReason, OsError};
use crate::net::{Address, Ecn, Membership};

/// What a datagram socket does: the code that a user of this crate writes.
///
/// One value serves one socket, and everybody who sends to it. Only
/// [`DatagramProtocol::on_datagram`] has to be written. Datagrams are lost, doubled and reordered
/// on their way, and their senders may be forged; a protocol that answers with more than it was
/// asked with is a weapon in the hands of whoever forges them.
///
/// ```
/// use windlass::{Datagram, DatagramContext, DatagramProtocol};
///
/// struct Shout;
///
/// impl DatagramProtocol for Shout {
///     fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
///         cx.reply(datagram.bytes.to_ascii_uppercase());
///     }
/// }
///
/// # fn main() -> Result<(), windlass::Error> {
/// # let mut reactor = windlass::Reactor::new()?;
/// let token = reactor.bind("127.0.0.1:0", Shout)?;
/// println!("listening on udp://{}", reactor.local_addr(token)?);
/// # Ok(())
/// # }
/// ```
///
/// # Without a peer
///
/// What needs timers or mail, but nobody to talk to, is a socket without a name: work that is done
/// now and then, or what takes the mail of another thread and publishes it.
///
/// ```
/// use std::time::Duration;
/// use windlass::net::{Address, Bind};
/// use windlass::{Datagram, DatagramContext, DatagramProtocol, Reactor, TimerId};
///
/// struct Chore(u32);
///
/// impl DatagramProtocol for Chore {
///     fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
///         cx.set_interval(Duration::from_millis(1));
///     }
///
///     fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}
///
///     fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
///         self.0 += 1;
///         if self.0 == 3 {
///             cx.finish();
///         }
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// reactor.bind(Bind::new(Address::Unnamed).name("chore"), Chore(0))?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
pub trait DatagramProtocol {
    /// The socket is open.
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        let _ = cx;
    }

    /// A datagram has arrived.
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>);

    /// Something that was sent did not arrive, as far as that is known: the OS refused it, the
    /// storm guard held it back, or the network reports later that nobody receives there. The
    /// socket goes on.
    fn on_send_error(&mut self, error: &SendError, cx: &mut DatagramContext<'_>) {
        log::debug!("{}: {error}", cx.token());
    }

    /// A group could not be joined with [`DatagramContext::join`], or left with
    /// [`DatagramContext::leave`]: the OS's error, `InvalidInput` for what is no group of the
    /// socket's kind, `Unsupported` for what this system lacks. The socket goes on.
    fn on_membership_error(
        &mut self,
        membership: &Membership,
        error: &io::Error,
        cx: &mut DatagramContext<'_>,
    ) {
        log::warn!("{}: {membership:?}: {error}", cx.token());
    }

    /// The queue had risen above half of what may wait in it, and has fallen below a quarter.
    fn on_drain(&mut self, cx: &mut DatagramContext<'_>) {
        let _ = cx;
    }

    /// A timer set with [`Intents::set_timer`] or [`Intents::set_interval`] is due.
    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        let _ = (timer, cx);
    }

    /// A message for this socket has arrived from elsewhere in the program.
    fn on_mail(&mut self, mail: Mail, cx: &mut DatagramContext<'_>) {
        let _ = mail;
        log::warn!("{}: the protocol takes no mail", cx.token());
    }

    /// The reactor shuts down. What had arrived by then was delivered.
    ///
    /// Finishes, unless overridden: what is queued is sent, and the socket is closed.
    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) {
        cx.finish();
    }

    /// The socket is closed. Called exactly once, and last.
    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        let _ = (reason, cx);
    }
}

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// Its bytes; the beginning of them if it [is truncated](Datagram::is_truncated).
    pub bytes: &'a [u8],
    /// Its length as it was sent.
    pub len: usize,
    /// The sender. Anybody can forge one.
    pub from: &'a Address,
    /// The address that it was sent to: ours, a group's or everybody's. `None` where the OS does
    /// not tell, see `DatagramOptions::packet_info`.
    pub to: Option<IpAddr>,
    /// The index of the interface by which it came, where the OS tells.
    pub interface: Option<u32>,
    /// Its congestion mark, where the OS tells.
    pub ecn: Option<Ecn>,
}

impl Datagram<'_> {
    /// Whether it is longer than `DatagramLimits::max_datagram` or the reactor's buffer, so that
    /// its end is missing.
    pub fn is_truncated(&self) -> bool {
        self.len > self.bytes.len()
    }
}

/// A datagram did not arrive, or was not even sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendError {
    /// Where it was sent to, if that is known.
    pub to: Option<Address>,
    /// Why.
    pub cause: SendCause,
}

/// Why a datagram did not arrive, or was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendCause {
    /// It has `len` bytes, and no datagram to such an address has more than `max`.
    TooLong {
        /// Bytes of it.
        len: usize,
        /// Bytes of the largest.
        max: usize,
    },
    /// `DatagramLimits::max_queued_datagrams` or `max_queued_bytes` are waiting already.
    QueueFull,
    /// It was for everybody or for a group, and `DatagramLimits::storm_guard` held it back.
    StormGuard,
    /// The socket has no peer, and no destination was given.
    NoDestination,
    /// The socket is closing.
    Closed,
    /// The OS refused it, or reports what became of an earlier one: too long for the path
    /// (`EMSGSIZE`), no route (`ENETUNREACH`, `EHOSTUNREACH`), nobody receives there
    /// (`ECONNREFUSED`), broadcasts are not allowed (`EACCES`), a Unix socket at a given address
    /// takes nothing now (`EBUSY`, see [`DatagramContext::send_to`]).
    Os(OsError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Some(to) => write!(f, "a datagram to {to}: {}", self.cause),
            None => write!(f, "a datagram: {}", self.cause),
        }
    }
}

impl fmt::Display for SendCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendCause::TooLong { len, max } => {
                write!(f, "{len} bytes are too long, {max} are possible")
            }
            SendCause::QueueFull => f.write_str("the queue of the socket is full"),
            SendCause::StormGuard => f.write_str("held back by the storm guard"),
            SendCause::NoDestination => f.write_str("it has no destination"),
            SendCause::Closed => f.write_str("the socket is closing"),
            SendCause::Os(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SendError {}

/// Sends back every datagram as it came, and to whom it came from.
impl<C> DatagramProtocol for Echo<C> {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        cx.reply(datagram.bytes);
    }
}

/// Takes everything, answers nothing.
impl DatagramProtocol for Discard {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let _ = (datagram, cx);
    }
}

/// For different protocols of one kind of socket.
impl DatagramProtocol for Box<dyn DatagramProtocol> {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        (**self).on_open(cx);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        (**self).on_datagram(datagram, cx);
    }

    fn on_send_error(&mut self, error: &SendError, cx: &mut DatagramContext<'_>) {
        (**self).on_send_error(error, cx);
    }

    fn on_membership_error(
        &mut self,
        membership: &Membership,
        error: &io::Error,
        cx: &mut DatagramContext<'_>,
    ) {
        (**self).on_membership_error(membership, error, cx);
    }

    fn on_drain(&mut self, cx: &mut DatagramContext<'_>) {
        (**self).on_drain(cx);
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        (**self).on_timer(timer, cx);
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut DatagramContext<'_>) {
        (**self).on_mail(mail, cx);
    }

    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) {
        (**self).on_shutdown(cx);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        (**self).on_close(reason, cx);
    }
}

impl fmt::Debug for dyn DatagramProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramProtocol")
    }
}
