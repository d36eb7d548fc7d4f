//! How a `StreamEntry` comes to be connected: attempts, their time-outs, and waits between them.
//!
//! Knows no socket but as the network hands it out. What happens once the connection is made is
//! `stream.rs`.

use std::rc::Rc;

use super::core::{Core, Outcome};
use super::service::{Service, add};
use super::stream::StreamEntry;
use crate::close::{CloseReason, OsError};
use crate::connection::{Attempt, Connection, Event};
use crate::net::{Connect, Network, Readiness};
use crate::protocol::Driver;
use crate::token::Token;

impl<N: Network, D: Driver> StreamEntry<N, D> {
    /// A connection that is yet to be made: `on_connect_deadline` begins, when it is time.
    pub(super) fn connecting(
        connect: Connect,
        driver: D,
        service: Rc<Service>,
        core: &mut Core<N>,
    ) -> StreamEntry<N, D> {
        service.on_opened();
        let mut conn = Connection::connecting(driver, core.mark);
        let mut load = core.loads.take();
        let begins_at = if connect.after.is_zero() {
            core.tick
        } else {
            core.tick_after(connect.after)
        };
        load.attempt = Some(Box::new(Attempt {
            connect,
            failed: 0,
            begins_at: Some(begins_at),
        }));
        conn.load = Some(load);
        StreamEntry {
            conn,
            service,
            armed: None,
            stream: None,
            latch: Readiness::NONE,
        }
    }

    /// Asks whether the connection is made.
    pub(super) fn check_connected(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        let Some(stream) = &mut self.stream else {
            return Outcome::Alive;
        };
        match core.network.connected(stream) {
            Ok(false) => Outcome::Alive,
            Ok(true) => {
                add(&self.service.counters.connected, 1);
                self.latch = self.latch.or(Readiness::WRITABLE);
                core.disarm(&mut self.armed);
                if let Some(load) = &mut self.conn.load {
                    load.attempt = None;
                }
                self.conn.begin(token, &self.service.limits, &mut core.fx);
                self.conn.on(Event::Connected, core.mark);
                core.fx.control.is_mute = !self.conn.state().may_send();
                self.conn.on_open(&mut core.fx);
                self.settle(core, &[]);
                let is_runnable = self.run(core);
                self.end(token, core, is_runnable)
            }
            Err(error) => {
                let reason = CloseReason::ConnectFailed(OsError::from(&error));
                self.connect_failed(token, reason, core)
            }
        }
    }

    fn begin_connect(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        self.conn.on_retry(core.mark);
        let attempt = self
            .conn
            .load
            .as_mut()
            .and_then(|load| load.attempt.as_mut());
        let attempt = attempt.expect("what connects has an attempt");
        attempt.begins_at = None;
        match core.network.connect(token, &attempt.connect) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.latch = Readiness::NONE;
                core.arm(
                    token,
                    &mut self.armed,
                    self.conn
                        .deadline(&self.service.limits, core.is_shutting_down),
                );
                Outcome::Alive
            }
            Err(error) => {
                let reason = CloseReason::ConnectFailed(OsError::from(&error));
                self.connect_failed(token, reason, core)
            }
        }
    }

    /// An attempt to connect failed: there may be another one.
    pub(super) fn connect_failed(
        &mut self,
        token: Token,
        reason: CloseReason,
        core: &mut Core<N>,
    ) -> Outcome {
        if let Some(stream) = self.stream.take() {
            core.network.close(stream, false);
        }
        let attempt = self
            .conn
            .load
            .as_mut()
            .and_then(|load| load.attempt.as_mut());
        if let Some(attempt) = attempt
            && let Some(backoff) = &attempt.connect.retry
            && let Some(wait) = backoff.wait(attempt.failed, u64::from(token.generation()))
        {
            attempt.failed += 1;
            attempt.begins_at = Some(core.tick_after(wait));
            log::debug!(
                "{}: {token}: {reason}; again in {wait:?}",
                self.service.name
            );
            core.arm(
                token,
                &mut self.armed,
                self.conn
                    .deadline(&self.service.limits, core.is_shutting_down),
            );
            return Outcome::Alive;
        }
        self.conn.begin(token, &self.service.limits, &mut core.fx);
        self.conn.on(Event::Fail(reason), core.mark);
        self.end(token, core, false)
    }

    /// The end of the wait before an attempt, the first one among them, or its deadline has come.
    pub(super) fn on_connect_deadline(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        let deadline = self
            .conn
            .deadline(&self.service.limits, core.is_shutting_down);
        let attempt = self
            .conn
            .load
            .as_ref()
            .and_then(|load| load.attempt.as_ref());
        if deadline.is_some_and(|deadline| deadline > core.tick) {
            core.arm(token, &mut self.armed, deadline);
            Outcome::Alive
        } else if attempt.is_some_and(|attempt| attempt.begins_at.is_some()) {
            self.begin_connect(token, core)
        } else {
            self.connect_failed(token, CloseReason::ConnectTimeout, core)
        }
    }
}
