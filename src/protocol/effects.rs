//! `Effects`: what the callbacks of one event have asked for.
//!
//! Output is appended to a queue at once; everything else is recorded, and applied by the reactor
//! after the callback, in the order in which it was recorded. Knows nothing of how it is applied.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Mail;
use super::datagram::DatagramProtocol;
use super::datagram_context::Destination;
use super::driver::{Driver, IntoDriver};
use crate::buffer::{Bounds, DatagramQueue, Outbox};
use crate::close::CloseReason;
use crate::net::{Address, Bind, Connect, Membership};
use crate::token::{Token, Tokens};

/// What happened to a message. It may be ignored: the limits hold all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It leaves at the end of this event, as far as the peer takes it.
    Queued,
    /// It is queued, and more than `Limits::high_water` bytes are: the time to stop producing
    /// until `on_drain`.
    HighWater,
    /// It was dropped: our side of the connection has ended, or is about to.
    Closed,
    /// It was dropped for another reason, and counted. It happens to datagrams only.
    Dropped,
}

/// Names a timer; like a [`Token`], it never comes to name another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(Token);

impl TimerId {
    /// Where the reactor keeps the timer: an index that is reused.
    pub(crate) const fn index(self) -> usize {
        self.0.index()
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timer {}", self.0)
    }
}

/// Everything that a callback can touch: one value in the whole reactor, lent to whichever
/// connection has an event.
pub struct Effects {
    /// Output to the connection that has the event.
    pub(crate) out: Outbox,
    /// What its protocol wants done to the connection itself.
    pub(crate) control: Control,
    /// What it wants done to anything else.
    pub(crate) intents: Intents,
    /// `Limits::high_water` of the connection.
    pub(crate) high_water: usize,
    /// Frames delivered, ever.
    pub(crate) frames: u64,
    /// Output of the datagram socket that has the event.
    pub(crate) datagrams: DatagramQueue<Destination>,
    /// Bytes of the largest datagram to the socket's peer; `None` if it has none.
    pub(crate) max_to_peer: Option<usize>,
}

impl Effects {
    pub(crate) fn new(now: Instant) -> Effects {
        Effects {
            out: Outbox::new(),
            control: Control::default(),
            intents: Intents::new(now),
            high_water: usize::MAX,
            frames: 0,
            datagrams: DatagramQueue::new(Bounds::NONE),
            max_to_peer: None,
        }
    }

    /// Whether a decode loop has to stop after the frame that was just handled.
    #[inline]
    pub(crate) fn wants_stop(&self) -> bool {
        self.control.is_stopping
            || self.out.own_len() > self.high_water
            || self.out.has_overflowed()
            || self.intents.list.len() >= MAX_INTENTS
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("intents", &self.intents)
            .finish_non_exhaustive()
    }
}

/// What a protocol wants done to its own connection.
#[derive(Default)]
pub(crate) struct Control {
    /// Something below was set in a way that ends the decode loop: one test per frame.
    pub(crate) is_stopping: bool,
    /// Our half has ended: nothing more can be sent. Invariant: set before the callback by
    /// whoever lends the effects.
    pub(crate) is_mute: bool,
    /// Nothing is to be decoded or read until the protocol resumes.
    pub(crate) is_paused: bool,
    /// Our FIN is to follow what is queued; input still counts.
    pub(crate) finish_writes: bool,
    pub(crate) ending: Option<Ending>,
    /// It ends in order, and the peer has said that it sends nothing more.
    pub(crate) is_peer_done: bool,
    pub(crate) switch: Option<Box<dyn Driver>>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After what is queued has left.
    Finish(CloseReason),
    /// Now, with a reset.
    Abort(CloseReason),
}

impl Control {
    pub(crate) fn end(&mut self, ending: Ending) {
        self.is_stopping = true;
        self.is_mute = true;
        // An abort overrules a finish; otherwise the first word counts.
        match (self.ending, ending) {
            (None, _) | (Some(Ending::Finish(_)), Ending::Abort(_)) => self.ending = Some(ending),
            (Some(_), _) => {}
        }
    }
}

/// What callbacks want done to anything but their own connection. Recorded here, applied after
/// the callback, in order.
///
/// Every [`Context`](super::Context) derefs to it.
#[derive(Debug)]
pub struct Intents {
    /// Whose callback is running.
    pub(crate) token: Token,
    /// The time of this turn.
    pub(crate) now: Instant,
    /// The same by the wall clock, since 1970.
    pub(crate) unix_time: Duration,
    pub(crate) tokens: Tokens,
    pub(crate) list: Vec<Intent>,
    /// Names of timers that are set.
    timer_ids: Tokens,
    /// Timers that the running callback's owner may still set.
    pub(crate) timers_left: usize,
    /// Messages of others to this connection that were dropped because it was too slow.
    pub(crate) missed: u32,
}

/// One recorded wish.
#[derive(Debug)]
pub(crate) enum Intent {
    Send {
        to: Token,
        bytes: Bytes,
    },
    /// As `Send`; and while `to` is over its high water, `from` is not read.
    Forward {
        from: Token,
        to: Token,
        bytes: Bytes,
    },
    Mail {
        to: Token,
        mail: Mail,
    },
    Finish(Token),
    FinishWrites(Token),
    Abort(Token),
    Resume(Token),
    /// A connection that this one forwarded to has no room.
    Hold(Token),
    /// A connection that `from` forwarded to has room again, or is gone.
    Release(Token),
    Connect {
        token: Token,
        to: Box<Connect>,
        driver: Box<dyn Driver>,
    },
    Bind {
        token: Token,
        bind: Box<Bind>,
        protocol: Box<dyn DatagramProtocol>,
    },
    Datagram {
        by: Token,
        to: Address,
        bytes: Bytes,
    },
    /// The datagram socket joins a multicast group, or leaves it.
    Membership {
        token: Token,
        membership: Box<Membership>,
        joins: bool,
    },
    SetTimer {
        owner: Token,
        id: TimerId,
        after: Duration,
        every: Option<Duration>,
    },
    CancelTimer {
        owner: Token,
        id: TimerId,
    },
    Shutdown {
        grace: Duration,
    },
}

impl Intents {
    fn new(now: Instant) -> Intents {
        Intents {
            token: NOBODY,
            now,
            unix_time: Duration::ZERO,
            tokens: Tokens::default(),
            list: Vec::new(),
            timer_ids: Tokens::default(),
            timers_left: 0,
            missed: 0,
        }
    }

    /// The token of the entry whose callback is running.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The time at which this turn began. One reading serves all callbacks of a turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall clock at that time, since 1970-01-01 00:00 UTC. It follows the network's clock
    /// within a quarter of a second: good for dates, not for measuring.
    pub fn unix_time(&self) -> Duration {
        self.unix_time
    }

    /// Whether `token` still names an entry.
    pub fn is_alive(&self, token: Token) -> bool {
        self.tokens.is_alive(token)
    }

    /// Sends bytes, already encoded, over another connection; by a datagram socket, to its peer.
    ///
    /// What happens if that connection is too slow is its own limits' business: over its high
    /// water, `Listen::skip_when_slow` or `Connect::skip_when_slow` decides whether the bytes are
    /// skipped (its protocol learns how many messages from [`Intents::take_missed`]); over its
    /// hard limit it is reset. If it is gone, nothing happens.
    pub fn send_to(&mut self, to: Token, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.list.push(Intent::Send { to, bytes });
    }

    /// As [`Intents::send_to`], with back-pressure: while the other connection has more than its
    /// high water queued, this one is neither decoded nor read. The other one goes on being read:
    /// its peer may want its answers taken before it takes more. What a forwarder needs.
    pub fn forward_to(&mut self, to: Token, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.list.push(Intent::Forward {
            from: self.token,
            to,
            bytes,
        });
    }

    /// Sends a value to the `on_mail` of another entry. Undeliverable mail is counted and handed
    /// to `Reactor::on_undeliverable`.
    pub fn mail_to<M: Send + 'static>(&mut self, to: Token, mail: M) {
        self.list.push(Intent::Mail {
            to,
            mail: Box::new(mail),
        });
    }

    /// Finishes another connection or datagram socket: what is queued still leaves. Closes a
    /// listener or a custom source.
    pub fn finish_other(&mut self, token: Token) {
        self.list.push(Intent::Finish(token));
    }

    /// Ends our half of another connection once what is queued to it has left.
    pub fn finish_writes_other(&mut self, token: Token) {
        self.list.push(Intent::FinishWrites(token));
    }

    /// Resets another connection. Closes anything else, and what is queued is lost.
    pub fn abort_other(&mut self, token: Token) {
        self.list.push(Intent::Abort(token));
    }

    /// Lets another connection go on after its protocol paused it.
    pub fn resume_other(&mut self, token: Token) {
        self.list.push(Intent::Resume(token));
    }

    /// Opens a connection, to be served by `protocol`. The outcome is an event: `on_open`, or
    /// `on_close` with the reason.
    ///
    /// The token is valid at once: what is sent to it before the connection is made is queued.
    ///
    /// While the reactor shuts down nothing is opened: `on_close` is told `Shutdown`, and what that
    /// very call asks for is not opened either, which nobody is told.
    pub fn connect(&mut self, to: impl Into<Connect>, protocol: impl IntoDriver) -> Token {
        let token = self.tokens.reserve();
        let driver: Box<dyn Driver> = Box::new(protocol.into_driver());
        self.list.push(Intent::Connect {
            token,
            to: Box::new(to.into()),
            driver,
        });
        token
    }

    /// Opens a datagram socket, to be served by `protocol`. The outcome is an event: `on_open`, or
    /// `on_close` with the reason.
    pub fn bind(
        &mut self,
        bind: impl Into<Bind>,
        protocol: impl DatagramProtocol + 'static,
    ) -> Token {
        let token = self.tokens.reserve();
        self.list.push(Intent::Bind {
            token,
            bind: Box::new(bind.into()),
            protocol: Box::new(protocol),
        });
        token
    }

    /// Sends a datagram to an address by another entry's datagram socket. If that is gone, or has
    /// no room, the datagram is lost.
    pub fn datagram_by(&mut self, by: Token, to: impl Into<Address>, bytes: impl Into<Bytes>) {
        self.list.push(Intent::Datagram {
            by,
            to: to.into(),
            bytes: bytes.into(),
        });
    }

    /// Sets a timer that fires once, never early. `None` if this entry has as many pending as it
    /// may: `Limits::max_timers`, `DatagramLimits::max_socket_timers`, or 16 of a custom source.
    /// Timers end with their protocol, so that `on_close` can set none; a connection that is to be
    /// opened anew, but later, waits by itself ([`Connect::after`]).
    pub fn set_timer(&mut self, after: Duration) -> Option<TimerId> {
        self.add_timer(after, None)
    }

    /// Sets a timer that fires every `period`, which is rounded up to whole milliseconds, first
    /// after one period. Firings that a stall made impossible are skipped, not made up for. `None`
    /// as for [`Intents::set_timer`].
    pub fn set_interval(&mut self, period: Duration) -> Option<TimerId> {
        self.add_timer(period, Some(period))
    }

    /// Cancels a timer of this entry. It will not fire any more, even if it is already due.
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.list.push(Intent::CancelTimer {
            owner: self.token,
            id,
        });
    }

    /// How many messages from other connections were skipped because this one was over its high
    /// water, since the last call.
    pub fn take_missed(&mut self) -> u32 {
        std::mem::take(&mut self.missed)
    }

    /// Shuts the reactor down: listeners close, connections finish, and what is left after
    /// `grace` is reset.
    pub fn shutdown(&mut self, grace: Duration) {
        self.list.push(Intent::Shutdown { grace });
    }

    fn add_timer(&mut self, after: Duration, every: Option<Duration>) -> Option<TimerId> {
        self.timers_left = self.timers_left.checked_sub(1)?;
        let id = self.new_timer_id();
        self.list.push(Intent::SetTimer {
            owner: self.token,
            id,
            after,
            every,
        });
        Some(id)
    }

    /// No callback is running: they are nobody's.
    pub(crate) fn leave(&mut self) {
        self.token = NOBODY;
        self.timers_left = 0;
        self.missed = 0;
    }

    /// Names a timer that the caller is about to set.
    pub(crate) fn new_timer_id(&mut self) -> TimerId {
        TimerId(self.timer_ids.reserve())
    }

    /// The timer fired for the last time, or was cancelled.
    pub(crate) fn release_timer_id(&mut self, id: TimerId) {
        if self.timer_ids.is_alive(id.0) {
            self.timer_ids.release(id.0);
        }
    }

    /// Forgets the timers that the running callback's owner has asked for and that are not yet set.
    /// Answers how many there were.
    pub(crate) fn withdraw_timers(&mut self) -> usize {
        let (owner, timer_ids) = (self.token, &mut self.timer_ids);
        let before = self.list.len();
        self.list.retain(|intent| match intent {
            Intent::SetTimer { owner: of, id, .. } if *of == owner => {
                timer_ids.release(id.0);
                false
            }
            _ => true,
        });
        before - self.list.len()
    }

    /// Forgets the connections and sockets that are asked for behind the first `from` intents.
    pub(crate) fn withdraw_openings(&mut self, from: usize) {
        let tokens = &mut self.tokens;
        let withdrawn = self.list.extract_if(from.., |intent| {
            matches!(intent, Intent::Connect { .. } | Intent::Bind { .. })
        });
        for intent in withdrawn {
            if let Intent::Connect { token, .. } | Intent::Bind { token, .. } = intent {
                tokens.release(token);
            }
        }
    }

    /// Whether the timer is still set.
    pub(crate) fn is_timer_set(&self, id: TimerId) -> bool {
        self.timer_ids.is_alive(id.0)
    }
}

/// The token of no entry.
const NOBODY: Token = Token::from_parts(u32::MAX, u32::MAX);
/// Recorded wishes after which a decode loop is interrupted, so that they are applied.
const MAX_INTENTS: usize = 1024;
