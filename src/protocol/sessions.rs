//! `Sessions`: one datagram socket, many peers, and for each a state machine with a timer.
//!
//! Knows neither sockets nor the reactor. The table is bounded, and whoever is silent is forgotten:
//! a sender's address is easily forged.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::datagram::{Datagram, DatagramProtocol};
use super::datagram_context::DatagramContext;
use super::effects::{Intents, Sent, TimerId};
use crate::close::CloseReason;
use crate::net::Address;

/// What is said to one peer: the code that a user of [`Sessions`] writes.
pub trait Session {
    /// A datagram of the peer has arrived; the first one is what began the session.
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut SessionContext<'_, '_>);

    /// The timer set with [`SessionContext::set_timer`] is due.
    fn on_timer(&mut self, cx: &mut SessionContext<'_, '_>) {
        let _ = cx;
    }

    /// The session has ended: it finished, was silent for too long (`IdleTimeout`), or its socket
    /// is closed. Called exactly once, and last.
    fn on_close(&mut self, reason: CloseReason) {
        let _ = reason;
    }
}

/// The bounds of [`Sessions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at once. At the bound nobody new is let in, which is counted. Default 16,384.
    pub max_sessions: usize,
    /// How long a peer may be silent before its session is closed. Default 60 s.
    pub idle_timeout: Duration,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            max_sessions: 16 * 1024,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// What [`Sessions`] have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Sessions that were begun.
    pub opened: u64,
    /// Sessions that were closed because their peer was silent.
    pub expired: u64,
    /// Datagrams of peers for whom there was no room, or that came during a shutdown.
    pub crowded: u64,
    /// Datagrams of peers that the closure refused, or that have no address of the Internet.
    pub refused: u64,
}

/// A [`DatagramProtocol`] that keeps a [`Session`] for each peer.
///
/// The closure is called with the address of whoever sends for the first time, and answers with
/// what serves it, or with `None`: then the datagram is dropped.
///
/// ```no_run
/// use windlass::protocol::{Session, SessionContext, SessionLimits, Sessions};
/// use windlass::{Datagram, Reactor};
///
/// /// Counts, for each peer from 1.
/// struct Counter(u32);
///
/// impl Session for Counter {
///     fn on_datagram(&mut self, _: Datagram<'_>, cx: &mut SessionContext<'_, '_>) {
///         self.0 += 1;
///         cx.send(self.0.to_string());
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// let sessions = Sessions::new(SessionLimits::default(), |_| Some(Counter(0)));
/// reactor.bind("127.0.0.1:7000", sessions)?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
pub struct Sessions<F, S> {
    open: F,
    limits: SessionLimits,
    table: BTreeMap<SocketAddr, Slot<S>>,
    /// When to look at whom: each session once, not later than anything is due.
    deadlines: BTreeSet<(Instant, SocketAddr)>,
    /// Set for the first of them, or earlier.
    timer: Option<(TimerId, Instant)>,
    stats: SessionStats,
    /// The reactor shuts down: the socket goes with the last session.
    is_draining: bool,
}

struct Slot<S> {
    session: S,
    heard: Instant,
    timer: Option<Instant>,
    /// Where it stands in `deadlines`.
    armed: Instant,
}

/// A session's hands.
pub struct SessionContext<'c, 'a> {
    cx: &'c mut DatagramContext<'a>,
    peer: SocketAddr,
    timer: &'c mut Option<Instant>,
    is_finished: bool,
}

impl SessionContext<'_, '_> {
    /// Sends to the peer.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Sent {
        self.cx.send_to(self.peer, bytes)
    }

    /// The peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The time at which this turn began.
    pub fn now(&self) -> Instant {
        self.cx.now()
    }

    /// Sets the session's timer, in place of the one that may be set already. Never early, and not
    /// before a millisecond has passed.
    pub fn set_timer(&mut self, after: Duration) {
        *self.timer = self
            .cx
            .now()
            .checked_add(after.max(Duration::from_millis(1)));
    }

    /// Cancels it.
    pub fn cancel_timer(&mut self) {
        *self.timer = None;
    }

    /// Ends the session. What was sent still leaves; what the peer sends next begins a new one.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Everything that is not the session's own. Timers set here are the socket's, of which there
    /// are few: nobody is told of them.
    pub fn intents(&mut self) -> &mut Intents {
        self.cx.intents()
    }
}

impl<F, S> Sessions<F, S>
where
    F: FnMut(SocketAddr) -> Option<S>,
    S: Session,
{
    /// Sessions that the closure makes.
    pub fn new(limits: SessionLimits, open: F) -> Sessions<F, S> {
        Sessions {
            open,
            limits,
            table: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            timer: None,
            stats: SessionStats::default(),
            is_draining: false,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What was counted so far.
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Begins a session, unless there is one. Answers whether there is one now.
    fn ensure(&mut self, peer: SocketAddr, now: Instant) -> bool {
        let is_full = self.table.len() >= self.limits.max_sessions;
        let Entry::Vacant(vacant) = self.table.entry(peer) else {
            return true;
        };
        if is_full || self.is_draining {
            self.stats.crowded += 1;
            return false;
        }
        let Some(session) = (self.open)(peer) else {
            self.stats.refused += 1;
            return false;
        };
        let armed = now + self.limits.idle_timeout;
        vacant.insert(Slot {
            session,
            heard: now,
            timer: None,
            armed,
        });
        self.deadlines.insert((armed, peer));
        self.stats.opened += 1;
        true
    }

    /// Calls a session back, and does what it asked for.
    fn call(
        &mut self,
        peer: SocketAddr,
        cx: &mut DatagramContext<'_>,
        callback: impl FnOnce(&mut S, &mut SessionContext<'_, '_>),
    ) {
        let Some(slot) = self.table.get_mut(&peer) else {
            return;
        };
        let mut session_cx = SessionContext {
            cx,
            peer,
            timer: &mut slot.timer,
            is_finished: false,
        };
        callback(&mut slot.session, &mut session_cx);
        if session_cx.is_finished {
            self.close(peer, CloseReason::Finished);
        } else if let Some(due) = slot.timer
            && due < slot.armed
        {
            // Only what comes earlier moves a deadline; the rest is seen when that comes.
            self.deadlines.remove(&(slot.armed, peer));
            slot.armed = due;
            self.deadlines.insert((due, peer));
        }
    }

    fn close(&mut self, peer: SocketAddr, reason: CloseReason) {
        if let Some(mut slot) = self.table.remove(&peer) {
            self.deadlines.remove(&(slot.armed, peer));
            slot.session.on_close(reason);
        }
    }

    /// Looks at one session whose deadline has come.
    fn look_at(&mut self, peer: SocketAddr, cx: &mut DatagramContext<'_>) {
        let now = cx.now();
        let Some(slot) = self.table.get_mut(&peer) else {
            return;
        };
        let expires = slot.heard + self.limits.idle_timeout;
        if expires <= now {
            self.stats.expired += 1;
            return self.close(peer, CloseReason::IdleTimeout);
        }
        let is_due = slot.timer.is_some_and(|due| due <= now);
        slot.timer = slot.timer.filter(|_| !is_due);
        slot.armed = slot.timer.map_or(expires, |due| due.min(expires));
        self.deadlines.insert((slot.armed, peer));
        if is_due {
            self.call(peer, cx, S::on_timer);
        }
    }

    /// Sees to it that the socket's timer is set for the first deadline, or that the socket is
    /// closed if nobody needs it any more.
    fn arm(&mut self, cx: &mut DatagramContext<'_>) {
        let Some((first, _)) = self.deadlines.first() else {
            if self.is_draining {
                cx.finish();
            }
            return;
        };
        match self.timer {
            Some((_, due)) if due <= *first => return,
            Some((timer, _)) => cx.cancel_timer(timer),
            None => {}
        }
        let after = first.saturating_duration_since(cx.now());
        self.timer = cx.set_timer(after).map(|timer| (timer, *first));
    }
}

impl<F, S> DatagramProtocol for Sessions<F, S>
where
    F: FnMut(SocketAddr) -> Option<S>,
    S: Session,
{
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let Address::Ip(peer) = *datagram.from else {
            self.stats.refused += 1;
            return;
        };
        let now = cx.now();
        if !self.ensure(peer, now) {
            return;
        }
        if let Some(slot) = self.table.get_mut(&peer) {
            slot.heard = now;
        }
        self.call(peer, cx, |session, cx| session.on_datagram(datagram, cx));
        self.arm(cx);
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        if self.timer.is_none_or(|(own, _)| own != timer) {
            return;
        }
        self.timer = None;
        let now = cx.now();
        // What is set again meanwhile lies in the future.
        for _ in 0..self.deadlines.len() {
            match self.deadlines.first() {
                Some((due, peer)) if *due <= now => {
                    let peer = *peer;
                    self.deadlines.pop_first();
                    self.look_at(peer, cx);
                }
                _ => break,
            }
        }
        self.arm(cx);
    }

    /// Sessions that have begun may come to their end, within the grace of the shutdown; none
    /// begins.
    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) {
        self.is_draining = true;
        self.arm(cx);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        for slot in std::mem::take(&mut self.table).into_values() {
            let mut session = slot.session;
            session.on_close(reason);
        }
        self.deadlines.clear();
    }
}

impl<F, S> fmt::Debug for Sessions<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("len", &self.table.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionContext<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
