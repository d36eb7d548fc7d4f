//! How the readiness of simulated sockets becomes events: early, late, twice, merged, in any
//! order, but never not at all.
//!
//! Knows sockets only as ears. What makes them ready is `streams.rs` and `ports.rs`.

use std::time::Duration;

use super::agenda::{EndId, Happening};
use super::datagrams::DatagramId;
use super::end::{End, Fin, Stage};
use super::fabric::{Fabric, Listener, Sleep};
use super::trace::What;
use crate::net::{Readiness, Ready};
use crate::token::Token;

impl Fabric {
    /// Something became ready, and whoever waits for that is to be told: now, or a little later.
    pub(super) fn edge(&mut self, listener: Listener, readiness: Readiness) {
        let Some((_, ear)) = self.ear(listener) else {
            return;
        };
        ear.pending = ear.pending.or(readiness);
        if std::mem::replace(&mut ear.is_listed, true) {
            return;
        }
        if self.random.chance(self.faults.delay_event) {
            let wait = self.random.duration(&self.faults.event_delay);
            self.tell_after(listener, wait);
        } else {
            self.list(listener);
        }
    }

    /// Begins to listen to a socket; the first event tells how things stand.
    pub(super) fn begin_hearing(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        let has_room = match end.link {
            super::end::Link::Up(peer) => self.end(peer).is_none_or(|p| p.inbound.room() > 0),
            _ => true,
        };
        let Some(end) = self.end_mut(id) else { return };
        let mut readiness = Readiness::NONE;
        end.ear.wants_read = !end.is_readable();
        if has_room {
            readiness = Readiness::WRITABLE;
        }
        if end.is_readable() {
            readiness = readiness.or(Readiness::READABLE);
        }
        if readiness != Readiness::NONE {
            self.edge(Listener::End(id), readiness);
        }
    }

    fn tell_after(&mut self, listener: Listener, wait: Duration) {
        let happening = match listener {
            Listener::End(end) => Happening::Tell { end },
            Listener::Port { port, serial } => Happening::TellListener { port, serial },
            Listener::Datagram(socket) => Happening::TellDatagram { socket },
        };
        self.agenda.push(self.now + wait, happening);
    }

    fn list(&mut self, listener: Listener) {
        let Some((host, _)) = self.ear(listener) else {
            return;
        };
        self.hosts[host].ready.push(listener);
    }

    pub(super) fn tell_now(&mut self, end: EndId) {
        self.list(Listener::End(end));
    }

    pub(super) fn tell_datagram_now(&mut self, socket: DatagramId) {
        self.list(Listener::Datagram(socket));
    }

    pub(super) fn tell_port_now(&mut self, port: usize, serial: u32) {
        self.list(Listener::Port { port, serial });
    }

    /// The event that was promised when an operation would have blocked for no reason.
    pub(super) fn keep_promise(&mut self, id: EndId, readable: bool) {
        let Some(end) = self.end_mut(id) else { return };
        *end.ear.promised(readable) = false;
        if readable && (std::mem::take(&mut end.ear.wants_read) || end.is_readable()) {
            self.edge(Listener::End(id), Readiness::READABLE);
        } else if !readable && std::mem::take(&mut end.ear.wants_write) {
            self.edge(Listener::End(id), Readiness::WRITABLE);
        }
    }

    /// Hands a host's events over to its poll.
    pub(super) fn collect(&mut self, host: usize, events: &mut Vec<Ready>) {
        let mut ready = std::mem::take(&mut self.hosts[host].ready);
        let mut count = ready.len();
        if count > 1 {
            if self.random.chance(self.faults.reorder_events) {
                self.random.shuffle(&mut ready);
            }
            if self.random.chance(self.faults.withhold_events) {
                count = 1 + self.random.below(count - 1);
            }
        }
        for listener in ready.drain(..count) {
            self.tell(listener, events);
        }
        if !events.is_empty() && self.random.chance(self.faults.spurious_event) {
            self.tell_nonsense(host, events);
        }
        // Nothing was added meanwhile: telling makes nothing ready.
        self.hosts[host].ready = ready;
        self.hosts[host].sleep = Sleep::Awake;
    }

    fn tell(&mut self, listener: Listener, events: &mut Vec<Ready>) {
        let Some((host, ear)) = self.ear(listener) else {
            return;
        };
        ear.is_listed = false;
        let mut readiness = std::mem::replace(&mut ear.pending, Readiness::NONE);
        let token = match listener {
            Listener::Port { port, .. } => self.ports[port].token,
            Listener::Datagram(id) => self.datagrams[id.key as usize].token,
            Listener::End(id) => {
                self.hosts[host].suspects.push(id);
                let is_bare = self.random.chance(self.faults.bare_hang_up);
                let is_whole = self.random.chance(self.faults.repeat_event);
                let end = &self.ends[id.key as usize];
                readiness = report(end, readiness, is_whole);
                if is_bare {
                    let as_error = self.random.chance(0.5);
                    readiness = bare(readiness, as_error);
                }
                let Some(token) = self.ends[id.key as usize].token else {
                    return;
                };
                token
            }
        };
        let event = Ready { token, readiness };
        let is_double = readiness.has(Readiness::WRITABLE)
            && readiness.without(Readiness::WRITABLE).wants_read();
        if self.random.chance(self.faults.repeat_event) {
            if is_double && self.random.chance(0.5) {
                let (write, read) = (Readiness::WRITABLE, readiness.without(Readiness::WRITABLE));
                self.push_event(host, token, write, events);
                self.push_event(host, token, read, events);
                return;
            }
            let at = self.random.below(events.len() + 1);
            events.insert(at, event);
        }
        self.push_event(host, token, readiness, events);
    }

    /// Events that nobody asked for, which the contract allows.
    fn tell_nonsense(&mut self, host: usize, events: &mut Vec<Ready>) {
        let ends = self.ends.iter();
        let ends = ends.filter(|(_, end)| end.host == host && end.stage == Stage::Up);
        let ends = ends.filter_map(|(_, end)| Some((end.token?, has_ended(end))));
        let former = self.hosts[host].former.iter();
        let tokens: Vec<(Token, bool)> = ends.chain(former.map(|token| (*token, false))).collect();
        if tokens.is_empty() {
            return;
        }
        let (token, has_ended) = tokens[self.random.below(tokens.len())];
        let kinds = [
            Readiness::READABLE,
            Readiness::WRITABLE,
            Readiness::READABLE.or(Readiness::WRITABLE),
        ];
        let mut readiness = kinds[self.random.below(kinds.len())];
        if has_ended && readiness.wants_read() {
            // A poller that says anything of a socket's input says that it has ended.
            readiness = readiness.or(Readiness::READ_CLOSED);
        }
        self.push_event(host, token, readiness, events);
    }

    fn push_event(
        &mut self,
        host: usize,
        token: Token,
        readiness: Readiness,
        events: &mut Vec<Ready>,
    ) {
        let bits = (0..5).filter(|bit| readiness.has(BITS[*bit]));
        let count = bits.fold(0, |bits, bit| bits | 1 << bit);
        self.log(host, Some(token), What::Event, count);
        events.push(Ready { token, readiness });
    }
}

/// What a poller reports of a socket when it has `news`: it looks at the socket as it is then.
fn report(end: &End, news: Readiness, is_whole: bool) -> Readiness {
    let mut readiness = news;
    if matches!(end.stage, Stage::Broken { .. }) {
        return BROKEN;
    }
    if is_whole && end.stage == Stage::Up {
        if end.inbound.is_readable() {
            readiness = readiness.or(Readiness::READABLE);
        }
        if !end.ear.wants_write {
            readiness = readiness.or(Readiness::WRITABLE);
        }
    }
    if readiness.wants_read() && has_ended(end) {
        readiness = readiness.or(Readiness::READ_CLOSED);
    }
    readiness
}

/// Whether the peer's FIN has arrived.
fn has_ended(end: &End) -> bool {
    matches!(end.inbound.fin, Fin::Arrived | Fin::Read)
}

/// A hang-up or an error without the bits that usually come with it.
fn bare(readiness: Readiness, as_error: bool) -> Readiness {
    if readiness.has(Readiness::ERROR) {
        return match as_error {
            true => Readiness::ERROR,
            false => Readiness::READ_CLOSED.or(Readiness::WRITE_CLOSED),
        };
    }
    if readiness.has(Readiness::READ_CLOSED) {
        return readiness.without(Readiness::READABLE);
    }
    readiness
}

/// Everything that a broken connection is told with.
pub(super) const BROKEN: Readiness = Readiness::READABLE
    .or(Readiness::WRITABLE)
    .or(Readiness::READ_CLOSED)
    .or(Readiness::WRITE_CLOSED)
    .or(Readiness::ERROR);

const BITS: [Readiness; 5] = [
    Readiness::READABLE,
    Readiness::WRITABLE,
    Readiness::READ_CLOSED,
    Readiness::WRITE_CLOSED,
    Readiness::ERROR,
];

#[cfg(test)]
mod tests {
    use super::super::faults::Faults;
    use super::*;
    use crate::net::Bind;
    use crate::token::Tokens;

    #[test]
    fn a_bare_hang_up_still_asks_for_a_read() {
        let closed = Readiness::READABLE.or(Readiness::READ_CLOSED);
        assert_eq!(bare(closed, true), Readiness::READ_CLOSED);
        for as_error in [true, false] {
            let broken = bare(BROKEN, as_error);
            assert!(broken.wants_read() && broken.wants_write());
            assert!(!broken.has(Readiness::READABLE.or(Readiness::WRITABLE)));
        }
        assert_eq!(bare(Readiness::READABLE, true), Readiness::READABLE);
    }

    /// Three sockets of a host, and what their poller is told after `edges`, poll by poll.
    fn told(
        seed: u64,
        faults: &Faults,
        edges: &[(usize, Readiness)],
    ) -> (Vec<Token>, Vec<Vec<Ready>>) {
        let mut fabric = Fabric::new(seed, faults.clone());
        let host = fabric.add_host("anne");
        let mut tokens = Tokens::default();
        let bind = Bind::on("0.0.0.0:0").unwrap();
        let sockets: Vec<_> = (0..3)
            .map(|_| {
                let token = tokens.reserve();
                (token, fabric.bind(host, token, &bind).unwrap())
            })
            .collect();
        for (nth, readiness) in edges {
            fabric.edge(Listener::Datagram(sockets[*nth].1), *readiness);
        }
        let mut polls = Vec::new();
        loop {
            let mut events = Vec::new();
            fabric.collect(host, &mut events);
            polls.push(events);
            match fabric.agenda.next_at() {
                Some(at) => {
                    fabric.now = at;
                    fabric.happen();
                }
                None if fabric.hosts[host].ready.is_empty() => break,
                None => {}
            }
        }
        (sockets.iter().map(|(token, _)| *token).collect(), polls)
    }

    const READABLE: [(usize, Readiness); 3] = [
        (0, Readiness::READABLE),
        (1, Readiness::READABLE),
        (2, Readiness::READABLE),
    ];

    #[test]
    fn edges_of_one_socket_are_merged_into_one_event() {
        let edges = [(0, Readiness::READABLE), (0, Readiness::WRITABLE)];
        let (tokens, polls) = told(1, &Faults::none(), &edges);
        let readiness = Readiness::READABLE.or(Readiness::WRITABLE);
        let event = Ready {
            token: tokens[0],
            readiness,
        };
        assert_eq!(polls, [[event]]);
    }

    #[test]
    fn events_come_late_withheld_or_in_another_order_but_they_come() {
        let none = Faults::none();
        let late = Faults {
            delay_event: 1.0,
            ..none.clone()
        };
        let withheld = Faults {
            withhold_events: 1.0,
            ..none.clone()
        };
        let reordered = Faults {
            reorder_events: 1.0,
            ..none.clone()
        };
        let (tokens, at_once) = told(1, &none, &READABLE);
        assert_eq!(at_once.len(), 1);
        for (faults, is_whole, is_in_order) in [
            (late, false, false),
            (withheld, false, true),
            (reordered, true, false),
        ] {
            let mut orders = Vec::new();
            for seed in 0..20 {
                let (_, polls) = told(seed, &faults, &READABLE);
                assert_eq!(polls[0].len() == 3, is_whole, "{faults:?}");
                let all = polls.concat().into_iter().map(|event| event.token);
                orders.push(all.collect::<Vec<Token>>());
            }
            let is_kept = orders.iter().all(|order| *order == tokens);
            assert_eq!(is_kept, is_in_order, "{faults:?}");
            for mut order in orders {
                order.sort_by_key(|token| token.slot());
                assert_eq!(order, tokens, "{faults:?}");
            }
        }
    }

    #[test]
    fn an_event_comes_twice_or_in_halves() {
        let faults = Faults {
            repeat_event: 1.0,
            ..Faults::none()
        };
        let both = Readiness::READABLE.or(Readiness::WRITABLE);
        let (_, polls) = told(1, &faults, &[(0, both), (1, both), (2, both)]);
        let kinds: Vec<Readiness> = polls[0].iter().map(|event| event.readiness).collect();
        assert_eq!(kinds.len(), 6);
        assert!(kinds.contains(&both) && kinds.contains(&Readiness::READABLE));
    }

    #[test]
    fn who_was_registered_until_lately_is_told_of_what_there_is_not() {
        let mut fabric = Fabric::new(1, Faults::none());
        let host = fabric.add_host("anne");
        let token = Tokens::default().reserve();
        fabric.forget_token(host, token);
        let mut events = Vec::new();
        fabric.tell_nonsense(host, &mut events);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].token, token);
    }
}
