//! One turn of the crank: poll, dispatch, run, fire, deliver, release.
//!
//! Knows entries only by their trait, and what callbacks asked for only by its name.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use super::core::{Command, Core, Due, Entry, Outcome};
use super::mailbox::Mailbox;
use super::{Error, Reactor};
use crate::buffer::{Bounds, DatagramQueue, Reuse};
use crate::close::CloseReason;
use crate::connection::ticks_in;
use crate::net::{Network, Readiness};
use crate::protocol::{Control, Mail};
use crate::token::Token;

impl<N: Network> Reactor<N> {
    /// Takes one turn, and waits for events at most as long as `timeout` (`None`: for ever, or
    /// until the next deadline).
    ///
    /// 1. Poll. The wait is zero while anything is runnable, and ends with the next deadline.
    /// 2. Read the clock, once.
    /// 3. Dispatch the events. Each sets a latch, which only `WouldBlock` clears; after each,
    ///    what the callbacks recorded is applied and accepted connections are attached.
    /// 4. Run what earlier turns left runnable, because a budget was spent, each once.
    /// 5. Fire the timers that are due. One that is set while firing waits for the next turn.
    /// 6. Take the mailbox, up to a budget.
    /// 7. Release the slots of what has ended: only now, so that no event of this batch can meet
    ///    a new tenant.
    ///
    /// # Errors
    /// The poller failed. The reactor is of no use then.
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let wait = self.wait(timeout);
        self.ready.clear();
        self.core.network.poll(wait, &mut self.ready)?;

        self.core.read_clock();
        self.core.stats.turns += 1;
        let runnable = self.core.run_queue.len();

        self.dispatch();
        self.run_queued(runnable);
        self.fire_timers();
        self.take_mail();
        self.apply();
        self.release_dead();
        Ok(())
    }

    /// When a turn is due even without an event: at once while anything is runnable, otherwise
    /// at the next timer. For loops that this reactor is nested in.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.is_runnable() {
            return Some(self.core.fx.intents.now);
        }
        let tick = self.core.wheel.next_expiry()?;
        self.core.origin.checked_add(Duration::from_millis(tick))
    }

    /// How long to poll.
    fn wait(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        if self.is_runnable() {
            return Some(Duration::ZERO);
        }
        let Some(expiry) = self.core.wheel.next_expiry() else {
            return timeout;
        };
        // The clock was read when the last turn began. What its callbacks took since then matters
        // only to a deadline that is near; the far ones, which is what idle connections have,
        // cost no second reading.
        if expiry.saturating_sub(self.core.tick) < NEAR_TICKS {
            self.core.read_clock();
        }
        let since_origin = self
            .core
            .fx
            .intents
            .now
            .saturating_duration_since(self.core.origin);
        let left = Duration::from_millis(expiry).saturating_sub(since_origin);
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    /// Whether something can be done without an event.
    fn is_runnable(&self) -> bool {
        !self.core.run_queue.is_empty()
            || !self.core.fx.intents.list.is_empty()
            || !self.core.adopted.is_empty()
            || !self.dead.is_empty()
            || self.has_mail
    }

    fn dispatch(&mut self) {
        for index in 0..self.ready.len() {
            let ready = self.ready[index];
            self.core.stats.events += 1;
            let token = ready.token;
            let was_there = self.call(token, |entry, core| {
                entry.on_ready(token, ready.readiness, core)
            });
            if !was_there {
                self.core.stats.stale_events += 1;
            }
            self.apply();
        }
    }

    /// Runs the first `count` entries of the run queue; what they add waits for the next turn.
    fn run_queued(&mut self, count: usize) {
        for _ in 0..count {
            let Some(token) = self.core.run_queue.pop_front() else {
                break;
            };
            self.call(token, |entry, core| {
                entry.on_ready(token, Readiness::NONE, core)
            });
            self.apply();
        }
    }

    fn fire_timers(&mut self) {
        let tick = self.core.tick;
        if self
            .core
            .wheel
            .next_expiry()
            .is_none_or(|expiry| expiry > tick)
        {
            return;
        }
        let mut due = mem::take(&mut self.due);
        self.core.wheel.advance(tick, &mut due);
        for (at, what) in due.drain(..) {
            self.core.stats.timers_fired += 1;
            let lag = Duration::from_millis(tick - at);
            self.core.stats.max_lag = self.core.stats.max_lag.max(lag);
            match what {
                Due::Entry(token) => {
                    self.call(token, |entry, core| entry.on_deadline(token, core));
                }
                Due::User(index) => self.fire_user_timer(index as usize, at),
                Due::Grace => self.abort_all(CloseReason::Shutdown),
            }
            self.apply();
        }
        self.due = due;
    }

    fn fire_user_timer(&mut self, index: usize, at: u64) {
        // An earlier callback of this turn may have cancelled it.
        let Some(Some(timer)) = self.core.user_timers.get_mut(index) else {
            return;
        };
        if self.core.wheel.deadline(timer.key).is_some() {
            // … and another one was set under its index, which is not due.
            return;
        }
        let (owner, id) = (timer.owner, timer.id);
        if let Some(every) = timer.every {
            // After a stall the missed firings are skipped, not made up for in a burst.
            let period = ticks_in(every).max(1);
            let missed = (self.core.tick - at) / period;
            let next = at.saturating_add(period.saturating_mul(missed + 1));
            timer.key = self.core.wheel.insert(next, Due::User(index as u32));
        } else {
            self.core.user_timers[index] = None;
            self.core.fx.intents.release_timer_id(id);
            self.call(owner, |entry, core| {
                entry.on_command(owner, Command::OwnTimer(id, false), core)
            });
        }
        self.call(owner, |entry, core| {
            entry.on_command(owner, Command::Timer(id), core)
        });
    }

    fn take_mail(&mut self) {
        let Some(mailbox) = &self.mailbox else { return };
        if !mailbox.take_pending() && !self.has_mail {
            return;
        }
        self.has_mail = false;
        if let Some(grace) = mailbox.take_shutdown() {
            self.begin_shutdown(grace);
            self.apply();
        }
        for _ in 0..self.core.budgets.mails {
            let Some(letter) = self.mailbox.as_ref().and_then(Mailbox::take) else {
                return;
            };
            self.core.stats.mails += 1;
            self.deliver(letter.to, letter.mail);
            self.apply();
        }
        // There may be more, and nobody need wake us for it.
        self.has_mail = true;
    }

    pub(super) fn deliver(&mut self, to: Token, mail: Mail) {
        if matches!(self.entry(to), Ok(entry) if entry.takes_mail()) {
            self.call(to, |entry, core| {
                entry.on_command(to, Command::Mail(mail), core)
            });
            return;
        }
        self.core.stats.undeliverable += 1;
        log::debug!("mail for {to} is undeliverable");
        if let Some(callback) = &mut self.on_undeliverable {
            callback(to, mail);
        }
    }

    /// Calls an entry, if the token still names one. Answers whether it does.
    #[inline]
    pub(super) fn call(
        &mut self,
        token: Token,
        callback: impl FnOnce(&mut dyn Entry<N>, &mut Core<N>) -> Outcome,
    ) -> bool {
        if !self.core.fx.intents.tokens.is_alive(token) {
            return false;
        }
        let Some(Some(entry)) = self.entries.get_mut(token.index()) else {
            return false;
        };
        let core = &mut self.core;
        let began = self.config.time_callbacks.then(|| core.network.now());
        let outcome = if core.catch_panics {
            // After a panic nothing of the entry is used but its last words and its socket.
            panic::catch_unwind(AssertUnwindSafe(|| callback(&mut **entry, core)))
        } else {
            Ok(callback(&mut **entry, core))
        };
        if let Some(began) = began {
            self.timed(token, began);
        }
        match outcome {
            Ok(Outcome::Alive) => {}
            Ok(Outcome::Closed) => self.bury(token),
            Err(_) => self.panicked(token),
        }
        true
    }

    #[cold]
    fn timed(&mut self, token: Token, began: Instant) {
        let took = self.core.network.now().saturating_duration_since(began);
        let longest = &self.core.stats.longest_callback;
        if longest.as_ref().is_none_or(|(longest, _)| took > *longest)
            && let Ok(entry) = self.entry(token)
        {
            let name = entry.service().name.clone();
            self.core.stats.longest_callback = Some((took, name));
        }
    }

    /// A callback panicked: its entry ends, the loop goes on.
    #[cold]
    fn panicked(&mut self, token: Token) {
        self.core.stats.panics += 1;
        if self.core.read_buffer.is_empty() {
            // It was lent out when the panic passed.
            self.core.read_buffer = vec![0; self.config.read_buffer_len.max(1)].into();
        }
        self.core.fx.out.reset();
        self.core.fx.control = Control::default();
        // A datagram socket had lent its own.
        self.core.fx.datagrams = DatagramQueue::new(Bounds::NONE);
        let Some(Some(entry)) = self.entries.get_mut(token.index()) else {
            return;
        };
        log::error!(
            "{}: {token}: a callback panicked: closed",
            entry.service().name
        );
        let core = &mut self.core;
        let last_words = panic::catch_unwind(AssertUnwindSafe(|| entry.on_panic(token, core)));
        if last_words.is_err() {
            log::error!("{token}: on_close panicked as well");
        }
        self.bury(token);
    }

    pub(super) fn attach(&mut self, token: Token, entry: Box<dyn Entry<N>>) {
        let index = token.index();
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        debug_assert!(self.entries[index].is_none(), "a slot has one tenant");
        self.entries[index] = Some(entry);
        self.core.stats.entries += 1;
        self.call(token, |entry, core| entry.on_attach(token, core));
    }

    /// Takes an entry that has ended out of its slot, which stays taken until the end of the turn.
    ///
    /// Its socket is closed at once, while what the kernel keeps of it is still in the cache.
    fn bury(&mut self, token: Token) {
        if let Some(entry) = self.entries[token.index()].take() {
            self.core.stats.entries -= 1;
            let service = entry.release(&mut self.core);
            self.dead.push((token, service));
        }
    }

    /// Gives up the slots of what has ended, and lets listeners go on that waited for that.
    pub(super) fn release_dead(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        let mut dead = mem::take(&mut self.dead);
        for (token, service) in dead.drain(..) {
            self.core.fx.intents.tokens.release(token);
            let Some(listener) = service.listener else {
                continue;
            };
            if let Some(Some(acceptor)) = self.entries.get_mut(listener.index()) {
                acceptor.on_peer_closed(token);
            }
            if service.has_room_again() {
                self.wake_listener(listener);
            }
        }
        if self.dead.is_empty() {
            // Its memory serves again.
            self.dead = dead;
        }
        for listener in mem::take(&mut self.core.starved) {
            self.wake_listener(listener);
        }
    }

    fn wake_listener(&mut self, token: Token) {
        self.call(token, |entry, core| {
            entry.on_command(token, Command::Release, core)
        });
        self.apply();
    }
}

/// A deadline nearer than this (ticks) is worth a clock reading of its own before the poll.
const NEAR_TICKS: u64 = 1000;
