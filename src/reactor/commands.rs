//! What others ask of a connection: the reactor, its callers, other connections.
//!
//! Knows nothing of who asks.

use bytes::Bytes;

use super::core::{Command, Core, Outcome};
use super::service::add;
use super::stream::StreamEntry;
use crate::connection::{Event, Flags};
use crate::net::{Network, Readiness};
use crate::protocol::{Driver, Intent};
use crate::token::Token;

impl<N: Network, D: Driver> StreamEntry<N, D> {
    /// Does what somebody else wants.
    pub(super) fn obey(&mut self, token: Token, command: Command, core: &mut Core<N>) -> Outcome {
        match command {
            Command::OwnTimer(id, is_set) => {
                let load = self.conn.load.get_or_insert_with(|| core.loads.take());
                if is_set {
                    load.timers.push(id);
                } else {
                    load.timers.retain(|own| *own != id);
                }
                return Outcome::Alive;
            }
            Command::Hold => {
                self.conn.on_held(&mut core.loads);
                return Outcome::Alive;
            }
            _ => {}
        }
        self.conn.begin(token, &self.service.limits, &mut core.fx);
        let tick = core.mark;
        let mut forwarder = None;
        match command {
            Command::Send(bytes, from) => {
                forwarder = from;
                self.accept_bytes(bytes, from, core);
            }
            Command::Mail(mail) => self.conn.on_mail(mail, &mut core.fx),
            Command::Timer(id) => self.conn.on_timer(id, &mut core.fx),
            Command::Finish(reason) => self.conn.on(Event::Finish(reason), tick),
            Command::FinishWrites => self.conn.on(Event::FinishWrites, tick),
            Command::Abort(reason) => self.conn.on(Event::Fail(reason), tick),
            Command::Resume => {
                self.conn.flags().set(Flags::PAUSED, false);
                core.fx.control.is_paused = false;
            }
            Command::Release => self.conn.on_released(),
            Command::OwnTimer(..)
            | Command::Hold
            | Command::Datagram(..)
            | Command::Membership(..) => {}
            Command::Shutdown => {
                // What has arrived by now is served first, if need be over several turns.
                self.latch = self.latch.or(Readiness::READABLE);
                self.conn.shut_down(tick);
            }
        }
        core.fx.control.is_mute = !self.conn.state().may_send();
        self.settle(core, &[]);
        let is_runnable = self.run(core);
        let outcome = self.end(token, core, is_runnable);
        if let (Some(from), Outcome::Alive) = (forwarder, outcome) {
            self.hold(from, core);
        }
        outcome
    }

    /// Others' bytes, to be queued behind ours.
    fn accept_bytes(&mut self, bytes: Bytes, from: Option<Token>, core: &mut Core<N>) {
        if !self.conn.state().may_send() {
            return;
        }
        let is_over = self.conn.flags().has(Flags::OVER);
        if is_over && from.is_none() && self.service.skip_when_slow {
            core.fx.intents.missed = core.fx.intents.missed.saturating_add(1);
            add(&self.service.counters.missed, 1);
            return;
        }
        match from {
            Some(_) => core.fx.out.put_forwarded(bytes),
            None => core.fx.out.put_shared(bytes),
        }
        self.settle(core, &[]);
    }

    /// Holds whoever forwards to us while we have no room.
    fn hold(&mut self, from: Token, core: &mut Core<N>) {
        if self.conn.flags().has(Flags::OVER)
            && let Some(load) = &mut self.conn.load
        {
            // Once for each of us: it goes on when it was released as often.
            if !load.waiters.contains(&from) {
                load.waiters.push(from);
                core.fx.intents.list.push(Intent::Hold(from));
            }
        }
    }
}
