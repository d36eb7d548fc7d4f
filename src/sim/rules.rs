//! The rules that every simulated run is held to, and how a breach is recognised.
//!
//! Knows what the network knows: which socket could do something, and who was told. Of a reactor
//! it asks one thing, whether a protocol paused.

use std::time::Duration;

use super::agenda::EndId;
use super::end::{End, Stage, Wrote};
use super::fabric::Fabric;
use super::failure::Problem;
use crate::token::Token;

/// What a socket could do that its owner, who sleeps, does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// Its outcome, an error, bytes or an end are there to be asked for.
    Input,
    /// The rest of a write that was not taken as a whole.
    Output,
}

impl Fabric {
    /// What is left undone on a socket, if nobody is going to be woken for it.
    ///
    /// A host that sleeps has to have
    ///
    /// - read every socket until it answered `WouldBlock` (or came short, where that is proof),
    ///   and asked for every outcome and every error that it was told of;
    /// - written whatever a socket did not take at once, until it answered `WouldBlock`.
    ///
    /// What excuses unread input is back-pressure: the socket's own output is blocked, or (for
    /// whoever forwards) that of another socket of the host, or the protocol paused.
    pub(super) fn idle(&self, id: EndId) -> Option<Idle> {
        let end = self.end(id)?;
        end.token?;
        if end.ear.is_listed {
            return None;
        }
        let is_writable = !end.ear.wants_write && end.stage == Stage::Up;
        if is_writable && end.wrote != Wrote::All {
            return Some(Idle::Output);
        }
        if !end.is_readable() || end.ear.wants_read {
            return None;
        }
        let is_blocked = matches!(end.stage, Stage::Up) && end.is_blocked();
        (!is_blocked).then_some(Idle::Input)
    }

    /// Whether any socket of a host is blocked or yet to be connected, as far as its owner was
    /// told, so that another one that forwards to it may have to wait.
    pub(super) fn has_blocked(&self, host: usize) -> bool {
        let mut ends = self.ends.iter().filter(|(_, end)| end.host == host);
        ends.any(|(_, end)| {
            // What has changed since is on its way to be told.
            let is_news = end.ear.is_listed;
            is_news || end.is_blocked() || matches!(end.stage, Stage::Connecting | Stage::Made)
        })
    }

    /// A listener of a sleeping host that has somebody waiting and no reason to.
    pub(super) fn idle_port(&self, host: usize) -> Option<(Token, &str)> {
        let mut ports = self.ports.iter().map(|(_, port)| port);
        let port = ports.find(|port| {
            port.host == host
                && !port.backlog.is_empty()
                && !port.ear.wants_read
                && !port.ear.is_listed
                && !port.is_exhausted
                && port.live <= port.resume_at
        })?;
        Some((port.token, &port.service.name))
    }

    /// Reports a stall.
    pub(super) fn stalled(&mut self, id: EndId, idle: Idle) {
        let Some(end) = self.end(id) else { return };
        let what = match (idle, end.stage) {
            (Idle::Output, _) => "output that was not taken as a whole, and room for more".into(),
            (Idle::Input, Stage::Broken { error, .. }) => format!("an error to be told ({error})"),
            (Idle::Input, Stage::Made) => "a connection that is made".into(),
            (Idle::Input, _) if end.inbound.arrived > 0 => {
                format!("{} bytes to be read", end.inbound.arrived)
            }
            (Idle::Input, _) => "the end of the stream to be read".into(),
        };
        let text = format!("{} sleeps, but has {what}", self.name_of(end));
        self.fail(Problem::Stall, text);
    }

    /// Looks for connections that should have ended or been made by now.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.now;
        let mut missed = None;
        for (_, end) in &self.ends {
            let (host, limits) = (&self.hosts[end.host], &end.service.limits);
            if host.is_late || !host.is_up || end.token.is_none() {
                continue;
            }
            let is_past = |since: Duration, limit: Duration| now > since + limit + SLACK;
            let deadline = match end.stage {
                Stage::Connecting if is_past(end.begun_at, limits.connect_timeout) => "connect",
                Stage::Up if end.wrote == Wrote::Nothing => {
                    // It may have begun to drain just before it would have been given up.
                    let limit = limits.stall_timeout + limits.drain_timeout;
                    if !is_past(end.blocked_since, limit) {
                        continue;
                    }
                    "stall"
                }
                _ => continue,
            };
            missed = Some(format!(
                "{}: its {deadline} time-out passed",
                self.name_of(end)
            ));
            break;
        }
        if let Some(text) = missed {
            self.fail(Problem::Deadline, text);
        }
    }

    fn name_of(&self, end: &End) -> String {
        let host = &self.hosts[end.host].name;
        let token = end.token.map(|token| token.to_string());
        let token = token.unwrap_or_else(|| "a socket".into());
        format!("{host}: {token} ({})", end.service.name)
    }
}

/// How late a deadline may be: its tick is rounded up, and so is the wait of a poller.
const SLACK: Duration = Duration::from_millis(4);
