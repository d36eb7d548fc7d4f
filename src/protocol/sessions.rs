//! `Sessions`: one datagram socket, many peers, and for each a state machine with its own token and
//! timers.
//!
//! Knows neither sockets nor the reactor. The table is bounded, and whoever is silent is forgotten:
//! a sender's address is easily forged.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Mail;
use super::datagram::{Datagram, DatagramProtocol};
use super::datagram_context::DatagramContext;
use super::effects::{Intents, Sent, TimerId};
use crate::close::CloseReason;
use crate::limits::CENTURY;
use crate::net::Address;
use crate::token::{Gone, Token, Tokens};

/// What is said to one peer: the code that a user of [`Sessions`] writes.
///
/// A panic in it ends the socket, and with it all its sessions.
pub trait Session {
    /// A datagram of the peer has arrived; the first one is what began the session.
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut SessionContext<'_, '_>);

    /// A timer set with [`SessionContext::set_timer`] is due: the one with this number.
    fn on_timer(&mut self, timer: u32, cx: &mut SessionContext<'_, '_>) {
        let _ = (timer, cx);
    }

    /// A message for this session has arrived: from another session ([`SessionContext::mail_to`]),
    /// or from elsewhere in the program (a [`SessionMail`] for the socket).
    fn on_mail(&mut self, mail: Mail, cx: &mut SessionContext<'_, '_>) {
        let _ = mail;
        log::warn!("{}: the session takes no mail", cx.peer());
    }

    /// The reactor shuts down, and begins no further session. This one may come to its end, within
    /// the grace of the shutdown; it is for the session to say that it has
    /// ([`SessionContext::finish`]), unless it is silent for too long.
    fn on_shutdown(&mut self, cx: &mut SessionContext<'_, '_>) {
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
    /// Timers that a session may have set. At the bound none is set, which
    /// [`SessionContext::set_timer`] answers. Default 8.
    pub max_timers: usize,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            max_sessions: 16 * 1024,
            idle_timeout: Duration::from_secs(60),
            max_timers: 8,
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
    /// Mail for sessions that had ended by then.
    pub undeliverable: u64,
}

/// Mail for one session: what is inside is delivered to its `on_mail`. It is sent to the socket's
/// token, by whoever sends mail: a [`Remote`](crate::Remote), the reactor, another protocol.
///
/// If the session has ended by then, nobody is told, and it is counted
/// ([`SessionStats::undeliverable`]): the next session of the same peer has another token.
///
/// ```no_run
/// # use windlass::protocol::SessionMail;
/// # fn f(remote: windlass::Remote, socket: windlass::Token, session: windlass::Token) {
/// let mail = SessionMail::new(session, "the block is read".to_owned());
/// let _ = remote.post(socket, mail);
/// # }
/// ```
#[derive(Debug)]
pub struct SessionMail {
    to: Token,
    mail: Mail,
}

impl SessionMail {
    /// Mail for the session with this token.
    pub fn new<M: Send + 'static>(session: Token, mail: M) -> SessionMail {
        SessionMail {
            to: session,
            mail: Box::new(mail),
        }
    }
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
    tokens: Tokens,
    /// Whose session has a token, by the token's slot.
    peers: Vec<SocketAddr>,
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
    token: Token,
    heard: Instant,
    /// Those that are set, by number, in no order.
    timers: Vec<(u32, Instant)>,
    /// Where it stands in `deadlines`.
    armed: Instant,
}

impl<S> Slot<S> {
    /// When the first timer is due.
    fn first_due(&self) -> Option<Instant> {
        self.timers.iter().map(|(_, due)| *due).min()
    }

    /// Takes the first timer that is due: of several, the one that was due first.
    fn take_due(&mut self, now: Instant) -> Option<u32> {
        let timers = self.timers.iter().enumerate();
        let due = timers.filter(|(_, (_, due))| *due <= now);
        let (at, _) = due.min_by_key(|(_, (timer, due))| (*due, *timer))?;
        Some(self.timers.swap_remove(at).0)
    }
}

/// A session's hands.
pub struct SessionContext<'c, 'a> {
    cx: &'c mut DatagramContext<'a>,
    peer: SocketAddr,
    token: Token,
    tokens: &'c Tokens,
    timers: &'c mut Vec<(u32, Instant)>,
    max_timers: usize,
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

    /// The session's own name, among those of its socket. It is of no use once the session has
    /// ended: the next session of the same peer has another one.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether another session of the socket goes on.
    pub fn is_alive(&self, session: Token) -> bool {
        self.tokens.is_alive(session)
    }

    /// Sends a value to the `on_mail` of another session of the socket, once this callback has
    /// returned.
    ///
    /// # Errors
    /// It has ended. (It may end, too, before the mail is delivered, which is counted.)
    pub fn mail_to<M: Send + 'static>(&mut self, session: Token, mail: M) -> Result<(), Gone> {
        if !self.tokens.is_alive(session) {
            return Err(Gone);
        }
        let intents = self.cx.intents();
        let socket = intents.token();
        intents.mail_to(socket, SessionMail::new(session, mail));
        Ok(())
    }

    /// Sets a timer of the session, by a number of its choice, in place of the one that may be set
    /// under that number. Never early, and not before a millisecond has passed.
    ///
    /// Answers whether it is set: not if [`SessionLimits::max_timers`] others are.
    pub fn set_timer(&mut self, timer: u32, after: Duration) -> bool {
        let after = after.max(Duration::from_millis(1));
        let due = self.cx.now().checked_add(after);
        self.cancel_timer(timer);
        match due {
            Some(due) if self.timers.len() < self.max_timers => {
                self.timers.push((timer, due));
                true
            }
            _ => false,
        }
    }

    /// Cancels it, if it is set.
    pub fn cancel_timer(&mut self, timer: u32) {
        self.timers.retain(|(other, _)| *other != timer);
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
    pub fn new(mut limits: SessionLimits, open: F) -> Sessions<F, S> {
        limits.idle_timeout = limits.idle_timeout.min(CENTURY);
        Sessions {
            open,
            limits,
            table: BTreeMap::new(),
            tokens: Tokens::default(),
            peers: Vec::new(),
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

    /// The token of a peer's session, while there is one.
    pub fn token_of(&self, peer: SocketAddr) -> Option<Token> {
        self.table.get(&peer).map(|slot| slot.token)
    }

    /// Whose session it is.
    ///
    /// # Errors
    /// It has ended.
    pub fn peer_of(&self, session: Token) -> Result<SocketAddr, Gone> {
        if !self.tokens.is_alive(session) {
            return Err(Gone);
        }
        self.peers.get(session.index()).copied().ok_or(Gone)
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
        let token = self.tokens.reserve();
        // Slots are taken one after the other, and reused.
        match self.peers.get_mut(token.index()) {
            Some(former) => *former = peer,
            None => self.peers.push(peer),
        }
        vacant.insert(Slot {
            session,
            token,
            heard: now,
            timers: Vec::new(),
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
            token: slot.token,
            tokens: &self.tokens,
            timers: &mut slot.timers,
            max_timers: self.limits.max_timers,
            is_finished: false,
        };
        callback(&mut slot.session, &mut session_cx);
        if session_cx.is_finished {
            self.close(peer, CloseReason::Finished);
        } else if let Some(due) = slot.first_due()
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
            self.tokens.release(slot.token);
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
        // Those that are set again meanwhile lie in the future.
        let timers = slot.timers.iter();
        let due = timers.filter(|(_, due)| *due <= now).count();
        for _ in 0..due {
            let Some(slot) = self.table.get_mut(&peer) else {
                return;
            };
            if let Some(timer) = slot.take_due(now) {
                self.call(peer, cx, |session, cx| session.on_timer(timer, cx));
            }
        }
        self.rearm(peer);
    }

    /// Puts a session where it belongs among the deadlines, now that its timers have fired.
    fn rearm(&mut self, peer: SocketAddr) {
        let Some(slot) = self.table.get_mut(&peer) else {
            return;
        };
        let expires = slot.heard + self.limits.idle_timeout;
        let armed = slot.first_due().map_or(expires, |due| due.min(expires));
        self.deadlines.remove(&(slot.armed, peer));
        slot.armed = armed;
        self.deadlines.insert((armed, peer));
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

    fn on_mail(&mut self, mail: Mail, cx: &mut DatagramContext<'_>) {
        let Ok(mail) = mail.downcast::<SessionMail>() else {
            log::warn!("{}: mail for no session", cx.token());
            return;
        };
        let Ok(peer) = self.peer_of(mail.to) else {
            self.stats.undeliverable += 1;
            return;
        };
        self.call(peer, cx, |session, cx| session.on_mail(mail.mail, cx));
        self.arm(cx);
    }

    /// Sessions that have begun may come to their end, within the grace of the shutdown; none
    /// begins.
    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) {
        self.is_draining = true;
        let peers: Vec<SocketAddr> = self.table.keys().copied().collect();
        for peer in peers {
            self.call(peer, cx, S::on_shutdown);
        }
        self.arm(cx);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        for slot in std::mem::take(&mut self.table).into_values() {
            self.tokens.release(slot.token);
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
