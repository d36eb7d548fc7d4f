//! `Core`: what all entries of a reactor share, and `Entry`: what the reactor asks of each.
//!
//! Knows no concrete entry: a listener, a connection, a datagram socket and a custom source look
//! alike from here.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::service::Service;
use super::stats::{DatagramStats, Stats};
use super::timers::{TimerKey, Wheel};
use crate::buffer::Pool;
use crate::close::CloseReason;
use crate::connection::{Load, ticks_in};
use crate::limits::Budgets;
use crate::net::{Address, DatagramOptions, Membership, Network, Readiness, StreamOptions};
use crate::protocol::{Effects, Mail, TimerId};
use crate::token::Token;

/// Everything of a reactor but its entries, so that an entry can be called with it.
pub(super) struct Core<N: Network> {
    pub(super) network: N,
    pub(super) fx: Effects,
    pub(super) wheel: Wheel<Due>,
    /// Timers of protocols, by the index of their names.
    pub(super) user_timers: Vec<Option<UserTimer>>,
    /// The one buffer that everything is read into.
    pub(super) read_buffer: Box<[u8]>,
    pub(super) loads: Pool<Load>,
    pub(super) budgets: Budgets,
    pub(super) stats: Stats,
    /// Entries with work left over by their budgets, or by others.
    pub(super) run_queue: VecDeque<Token>,
    /// Entries made by other entries, to be attached after these return.
    pub(super) adopted: Vec<(Token, Box<dyn Entry<N>>)>,
    /// Listeners that ran out of descriptors, to be tried again when one is freed.
    pub(super) starved: Vec<Token>,
    pub(super) is_shutting_down: bool,
    pub(super) catch_panics: bool,
    /// When the reactor began; tick 0.
    pub(super) origin: Instant,
    /// Milliseconds since `origin`, rounded down: what is due by now.
    pub(super) tick: u64,
    /// The same, rounded up: from when on connections count their patience, so that it never ends
    /// early.
    pub(super) mark: u64,
    /// The wall clock at `origin`, since 1970.
    pub(super) unix_origin: Duration,
    /// When, after `origin`, the wall clock is read again.
    pub(super) unix_due: Duration,
}

impl<N: Network> Core<N> {
    /// Reads the clock: once per turn, and whenever the reactor is called between two turns,
    /// which may be any time after the last one.
    pub(super) fn read_clock(&mut self) {
        let now = self.network.now();
        self.fx.intents.now = now;
        let since_origin = now.saturating_duration_since(self.origin);
        self.tick = since_origin.as_millis() as u64;
        self.mark = ticks_in(since_origin);
        if since_origin >= self.unix_due {
            self.read_wall_clock(since_origin);
        }
        self.fx.intents.unix_time = self.unix_origin + since_origin;
    }

    /// Somebody may have set the wall clock, so it is read now and then; in between the monotonic
    /// clock, which is read anyway, tells how far it has moved.
    #[cold]
    fn read_wall_clock(&mut self, since_origin: Duration) {
        self.unix_due = since_origin + WALL_CLOCK_PERIOD;
        if let Some(unix_time) = self.network.unix_time() {
            self.unix_origin = unix_time.saturating_sub(since_origin);
        }
    }

    /// The tick at which something that is `after` from now is due; never early.
    pub(super) fn tick_after(&self, after: Duration) -> u64 {
        let since_origin = self.fx.intents.now.saturating_duration_since(self.origin);
        let due = since_origin.saturating_add(after);
        ticks_in(due)
    }

    /// Moves the one deadline of an entry to `tick`, if it is not armed for that or earlier: one
    /// that fires too early is armed again by the difference, which is cheaper than to move it
    /// with every packet.
    #[inline]
    pub(super) fn arm(&mut self, token: Token, armed: &mut Option<TimerKey>, tick: Option<u64>) {
        let Some(tick) = tick else { return };
        if let Some(key) = *armed {
            if self.wheel.deadline(key).is_some_and(|at| at <= tick) {
                return;
            }
            self.wheel.cancel(key);
        }
        *armed = Some(self.wheel.insert(tick, Due::Entry(token)));
    }

    /// A deadline of the entry has come: forgets it, unless another one was armed since.
    pub(super) fn forget_fired(&self, armed: &mut Option<TimerKey>) {
        if armed.is_some_and(|key| self.wheel.deadline(key).is_none()) {
            *armed = None;
        }
    }

    /// Forgets the deadline of an entry that is ending.
    pub(super) fn disarm(&mut self, armed: &mut Option<TimerKey>) {
        if let Some(key) = armed.take() {
            self.wheel.cancel(key);
        }
    }

    /// Sets a timer of a protocol.
    pub(super) fn set_timer(
        &mut self,
        owner: Token,
        id: TimerId,
        after: Duration,
        every: Option<Duration>,
    ) {
        if !self.fx.intents.is_timer_set(id) {
            return;
        }
        let at = self.tick_after(after);
        let key = self.wheel.insert(at, Due::User(id.index() as u32));
        let index = id.index();
        if index >= self.user_timers.len() {
            self.user_timers.resize_with(index + 1, || None);
        }
        self.user_timers[index] = Some(UserTimer {
            owner,
            id,
            key,
            every,
        });
    }

    /// Cancels a timer of a protocol, if it is set, and by that protocol.
    pub(super) fn cancel_timer(&mut self, owner: Token, id: TimerId) {
        let Some(slot) = self.user_timers.get_mut(id.index()) else {
            return;
        };
        let is_it = |timer: &UserTimer| timer.id == id && timer.owner == owner;
        if slot.as_ref().is_some_and(is_it)
            && let Some(timer) = slot.take()
        {
            self.wheel.cancel(timer.key);
            self.fx.intents.release_timer_id(id);
        }
    }

    /// Puts an entry into the run queue. Whoever calls this sees to it that it is there once.
    pub(super) fn enqueue(&mut self, token: Token) {
        self.run_queue.push_back(token);
    }
}

/// What a deadline of the wheel is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The deadline of an entry.
    Entry(Token),
    /// A timer of a protocol: an index into `Core::user_timers`.
    User(u32),
    /// The end of the grace of a shutdown.
    Grace,
}

/// A timer that a protocol has set.
#[derive(Debug)]
pub(super) struct UserTimer {
    pub(super) owner: Token,
    pub(super) id: TimerId,
    pub(super) key: TimerKey,
    pub(super) every: Option<Duration>,
}

/// How an entry stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    /// It waits for the next event, or has put itself into the run queue.
    Alive,
    /// It has ended. It is not called again but to be released.
    Closed,
}

/// What others ask of an entry.
#[derive(Debug)]
pub(super) enum Command {
    /// Send bytes that are already encoded. With a token: whoever is to be held while there is no
    /// room for more.
    Send(Bytes, Option<Token>),
    /// Send a datagram to an address.
    Datagram(Address, Bytes),
    /// Join a multicast group, or leave it.
    Membership(Box<Membership>, bool),
    Mail(Mail),
    Timer(TimerId),
    /// A timer of it was set, or is no more.
    OwnTimer(TimerId, bool),
    Finish(CloseReason),
    FinishWrites,
    Abort(CloseReason),
    Resume,
    /// A connection that it forwards to has no room: it is not to be read.
    Hold,
    Release,
    Shutdown,
}

/// Something that has a slot in the reactor. One virtual call per event; everything below it is
/// monomorphic.
pub(super) trait Entry<N: Network> {
    /// It was attached under `token`.
    fn on_attach(&mut self, token: Token, core: &mut Core<N>) -> Outcome;

    /// A readiness event, or its turn in the run queue (`Readiness::NONE`).
    fn on_ready(&mut self, token: Token, readiness: Readiness, core: &mut Core<N>) -> Outcome;

    /// The deadline that it armed has come.
    fn on_deadline(&mut self, token: Token, core: &mut Core<N>) -> Outcome;

    /// Somebody wants something of it.
    fn on_command(&mut self, token: Token, command: Command, core: &mut Core<N>) -> Outcome;

    /// A callback of it panicked; it is not called again but for `release`.
    fn on_panic(&mut self, token: Token, core: &mut Core<N>);

    /// Whether mail for it is worth delivering.
    fn takes_mail(&self) -> bool {
        true
    }

    /// A connection that it accepted has ended.
    fn on_peer_closed(&mut self, token: Token) {
        let _ = token;
    }

    /// Gives up its socket. Answers the service it belonged to.
    fn release(self: Box<Self>, core: &mut Core<N>) -> Rc<Service>;

    /// The service it belongs to.
    fn service(&self) -> &Rc<Service>;

    /// Whether its protocol keeps it from being read.
    fn is_paused(&self) -> bool {
        false
    }

    /// Whether one that it forwards to keeps it from being read.
    fn is_held(&self) -> bool {
        false
    }

    /// Our address.
    fn local_addr(&self, core: &Core<N>) -> std::io::Result<Address> {
        let _ = core;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// The peer's address.
    fn peer_addr(&self, core: &Core<N>) -> std::io::Result<Address> {
        let _ = core;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Its socket options.
    fn options(&self, core: &Core<N>) -> std::io::Result<StreamOptions> {
        let _ = core;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Changes its socket options.
    fn set_options(&mut self, options: &StreamOptions, core: &mut Core<N>) -> std::io::Result<()> {
        let _ = (options, core);
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// What it has done as a datagram socket.
    fn datagram_stats(&self, core: &Core<N>) -> std::io::Result<DatagramStats> {
        let _ = core;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Its options as a datagram socket.
    fn datagram_options(&self, core: &Core<N>) -> std::io::Result<DatagramOptions> {
        let _ = core;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Changes its options as a datagram socket.
    fn set_datagram_options(
        &mut self,
        options: &DatagramOptions,
        core: &mut Core<N>,
    ) -> std::io::Result<()> {
        let _ = (options, core);
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Joins or leaves a multicast group.
    fn change_membership(
        &mut self,
        membership: &Membership,
        joins: bool,
        core: &mut Core<N>,
    ) -> std::io::Result<()> {
        let _ = (membership, joins, core);
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// How long a reading of the wall clock serves.
const WALL_CLOCK_PERIOD: Duration = Duration::from_millis(250);
