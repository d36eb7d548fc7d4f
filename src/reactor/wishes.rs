//! What callbacks asked for, carried out after they have returned.
//!
//! Knows entries only by their trait, and what is asked of them only by its name.

use std::mem;
use std::time::Duration;

use super::Reactor;
use super::core::{Command, Due};
use crate::close::CloseReason;
use crate::net::Network;
use crate::protocol::{Intent, Intents};
use crate::token::Token;

impl<N: Network> Reactor<N> {
    /// Applies what callbacks recorded, in order, and attaches what they made. What these
    /// applications record in turn is applied as well, up to a bound; then others come first.
    #[inline]
    pub(super) fn apply(&mut self) {
        if !self.core.fx.intents.list.is_empty() || !self.core.adopted.is_empty() {
            self.apply_rounds();
        }
    }

    fn apply_rounds(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if self.core.fx.intents.list.is_empty() && self.core.adopted.is_empty() {
                return;
            }
            let mut adopted = mem::take(&mut self.core.adopted);
            for (token, entry) in adopted.drain(..) {
                self.attach(token, entry);
            }
            if self.core.adopted.is_empty() {
                // Its memory serves again.
                self.core.adopted = adopted;
            }
            let mut list = mem::take(&mut self.intents);
            mem::swap(&mut list, &mut self.core.fx.intents.list);
            for intent in list.drain(..) {
                self.apply_one(intent);
            }
            list.shrink_to(KEPT_INTENTS);
            self.intents = list;
        }
    }

    fn apply_one(&mut self, intent: Intent) {
        let (token, command) = match intent {
            Intent::Send { to, bytes } => (to, Command::Send(bytes, None)),
            Intent::Forward { from, to, bytes } => (to, Command::Send(bytes, Some(from))),
            Intent::Mail { to, mail } => return self.deliver(to, mail),
            Intent::Finish(token) => (token, Command::Finish(CloseReason::Finished)),
            Intent::FinishWrites(token) => (token, Command::FinishWrites),
            Intent::Abort(token) => (token, Command::Abort(CloseReason::Aborted)),
            Intent::Resume(token) => (token, Command::Resume),
            Intent::Hold(token) => (token, Command::Hold),
            Intent::Release(token) => (token, Command::Release),
            Intent::Connect { token, to, driver } => return self.open(token, *to, driver),
            Intent::Bind {
                token,
                bind,
                protocol,
            } => return self.open_datagram(token, *bind, protocol),
            Intent::Datagram { by, to, bytes } => (by, Command::Datagram(to, bytes)),
            Intent::Membership {
                token,
                membership,
                joins,
            } => (token, Command::Membership(membership, joins)),
            Intent::SetTimer {
                owner,
                id,
                after,
                every,
            } => {
                if self.entry(owner).is_err() {
                    return self.core.fx.intents.release_timer_id(id);
                }
                self.core.set_timer(owner, id, after, every);
                (owner, Command::OwnTimer(id, true))
            }
            Intent::CancelTimer { owner, id } => {
                self.core.cancel_timer(owner, id);
                (owner, Command::OwnTimer(id, false))
            }
            Intent::Shutdown { grace } => return self.begin_shutdown(grace),
        };
        self.call(token, |entry, core| entry.on_command(token, command, core));
    }

    /// Tells what never began that it has ended.
    ///
    /// In a shutdown, what it wants to be opened in its place is forgotten: whoever comes back each
    /// time would be told so again and again, and the reactor would never wait.
    pub(super) fn not_opened(&mut self, token: Token, on_close: impl FnOnce(&mut Intents)) {
        let intents = &mut self.core.fx.intents;
        intents.token = token;
        let before = intents.list.len();
        on_close(intents);
        if self.core.is_shutting_down {
            intents.withdraw_openings(before);
        }
        intents.tokens.release(token);
    }

    /// Asks every entry to end, and sees to it that this is over when the grace is.
    pub(super) fn begin_shutdown(&mut self, grace: Duration) {
        let at = self.core.tick_after(grace);
        self.core.wheel.insert(at, Due::Grace);
        if mem::replace(&mut self.core.is_shutting_down, true) {
            return;
        }
        log::info!("shutting down, within {grace:?}");
        for index in 0..self.entries.len() {
            if let Some(token) = self.core.fx.intents.tokens.at(index) {
                self.call(token, |entry, core| {
                    entry.on_command(token, Command::Shutdown, core)
                });
                // An entry does not read on while wishes wait to be applied, be they another's,
                // and this one is to be served what has arrived before it is told.
                self.apply();
            }
        }
    }

    /// Resets whatever is left.
    pub(super) fn abort_all(&mut self, reason: CloseReason) {
        for index in 0..self.entries.len() {
            if let Some(token) = self.core.fx.intents.tokens.at(index) {
                let abort = Command::Abort(reason);
                self.call(token, |entry, core| entry.on_command(token, abort, core));
            }
        }
    }
}

/// Rounds of intents that breed intents within one event; the rest waits for the next turn.
const MAX_ROUNDS: usize = 8;
/// Intents for which memory is kept from event to event.
const KEPT_INTENTS: usize = 4096;
