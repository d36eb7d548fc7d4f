//! Notices hosts that are stuck: asleep though there is something to do, or awake to no purpose.
//!
//! Knows reactors from outside, as their owner does, and no concrete protocol.

use super::end::End;
use super::fabric::Sleep;
use super::failure::{Failure, Problem};
use super::rules::Idle;
use super::world::World;

/// What is remembered of a host's turns to notice that nothing comes of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    /// Everything that something came of, so far.
    progress: u64,
    /// Turns since.
    fruitless: u32,
}

impl World {
    /// Notices turns of which nothing comes.
    pub(super) fn count_turn(&mut self, host: usize) -> Result<(), Failure> {
        let Some(reactor) = &self.reactors[host] else {
            return Ok(());
        };
        let progress = self.fabric.borrow().hosts[host].progress + reactor.work_done();
        let turns = &mut self.turns[host];
        if progress != turns.progress {
            *turns = Turns {
                progress,
                fruitless: 0,
            };
            return Ok(());
        }
        turns.fruitless += 1;
        if turns.fruitless < MAX_FRUITLESS {
            return Ok(());
        }
        let fabric = self.fabric.borrow();
        let host = &fabric.hosts[host];
        let token = host.last_token.map(|token| token.to_string());
        let (token, service) = (
            token.unwrap_or_else(|| "no token".into()),
            host.last_service
                .as_ref()
                .map_or("-", |service| &service.name),
        );
        let text = format!(
            "{}: {MAX_FRUITLESS} turns of which nothing came; the last operation was on {token} \
             ({service})",
            host.name
        );
        drop(fabric);
        Err(self.failure(Problem::Spin, text))
    }

    /// Looks for what hosts that sleep have forgotten, after something has happened to them.
    pub(super) fn check_sleepers(&mut self) {
        for host in 0..self.reactors.len() {
            if self.fabric.borrow().hosts[host].sleep != Sleep::Awake {
                self.check_sleeper(host);
            }
        }
    }

    /// Looks for what a host that sleeps has forgotten: it could do something, and nobody is going
    /// to wake it for that.
    pub(super) fn check_sleeper(&mut self, host: usize) {
        let Some(reactor) = &self.reactors[host] else {
            return;
        };
        let mut fabric = self.fabric.borrow_mut();
        let mut suspects = std::mem::take(&mut fabric.hosts[host].suspects);
        suspects.retain(|id| {
            let Some(idle) = fabric.idle(*id) else {
                // Blocked output may keep it from what it could do once that has left.
                return fabric.end(*id).is_some_and(End::is_blocked);
            };
            let token = fabric.end(*id).and_then(|end| end.token);
            let is = |answer: Result<bool, _>| answer.unwrap_or(false);
            let is_excused = idle == Idle::Input
                && token.is_some_and(|token| {
                    is(reactor.is_paused(token))
                        || is(reactor.is_held(token)) && fabric.has_blocked(host)
                });
            if !is_excused {
                fabric.stalled(*id, idle);
            }
            is_excused
        });
        suspects.sort_unstable_by_key(|id| (id.key, id.serial));
        suspects.dedup();
        fabric.hosts[host].suspects = suspects;
        if let Some((token, service)) = fabric.idle_port(host) {
            let name = &fabric.hosts[host].name;
            let text = format!("{name} sleeps, but {token} ({service}) has peers to be accepted");
            fabric.fail(Problem::Stall, text);
        }
        let is_paused = |token| reactor.is_paused(token).unwrap_or(false);
        if let Some((token, service)) = fabric.idle_datagram(host, is_paused) {
            let name = &fabric.hosts[host].name;
            let text = format!("{name} sleeps, but {token} ({service}) has datagrams to receive");
            fabric.fail(Problem::Stall, text);
        }
        let unblocked = fabric.unblocked_datagrams(host);
        // What waits in a reactor is its own affair: it has to be asked.
        drop(fabric);
        for (token, service) in unblocked {
            let queued = reactor
                .datagram_stats(token)
                .map_or(0, |stats| stats.queued);
            if queued > 0 {
                let mut fabric = self.fabric();
                let (name, service) = (&fabric.hosts[host].name, &service.name);
                let text = format!(
                    "{name} sleeps, but {token} ({service}) has {queued} datagrams to send, and \
                     waits for no room"
                );
                fabric.fail(Problem::Stall, text);
            }
        }
    }
}

/// Turns of which nothing came after which a host is said to spin.
const MAX_FRUITLESS: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::net::{Bind, Connect, Listen};
    use crate::protocol::{DatagramContext, DatagramProtocol, Discard, Echo};
    use crate::sim::Faults;
    use crate::sim::ports::ip_of;
    use crate::{Datagram, Raw, Token};

    /// A world in which a client is connected to a server, and both have fallen asleep. Answers the
    /// server, and the token of its listener.
    fn asleep() -> (World, usize, Token) {
        let mut world = World::with_faults(1, Faults::none());
        let (server, client) = (world.host("server"), world.host("client"));
        let address = world.address(server, 7);
        let listen = Listen::new(address).name("echo");
        let listener = world
            .reactor(server)
            .listen(listen, |_| Echo::<Raw>::default());
        let listener = listener.unwrap();
        let connect = Connect::new(address).name("client");
        world.reactor(client).connect(connect, Discard).unwrap();
        world.run_for(Duration::from_secs(1)).unwrap();
        (world, server.0, listener)
    }

    /// The token of the server's end, as it is written.
    fn server_end(world: &World, server: usize) -> String {
        let fabric = world.fabric();
        let mut ends = fabric.ends.iter().map(|(_, end)| end);
        let end = ends.find(|end| end.host == server && end.service.name == "echo");
        end.and_then(|end| end.token).unwrap().to_string()
    }

    #[test]
    fn a_stall_names_the_host_the_token_and_the_service() {
        let (mut world, server, _) = asleep();
        let token = server_end(&world, server);
        // As if the reactor had been told of bytes and had left some of them.
        {
            let mut fabric = world.fabric();
            let ends = fabric.ends.iter_mut();
            let mut ends = ends.filter(|(_, end)| end.host == server && end.token.is_some());
            let (key, end) = ends.next().unwrap();
            end.inbound.bytes.extend(b"ahoy");
            end.inbound.arrived = 4;
            end.ear.wants_read = false;
            let (key, serial) = (key as u32, end.serial);
            let id = super::super::agenda::EndId { key, serial };
            fabric.hosts[server].suspects.push(id);
        }
        world.check_sleeper(server);
        let failure = world.step().unwrap_err();
        assert_eq!(failure.problem, Problem::Stall);
        let expected = format!("server: {token} (echo) sleeps, but has 4 bytes to be read");
        assert_eq!(*failure.text, *expected);
    }

    #[test]
    fn a_spin_names_the_token_and_the_service_of_the_last_operation() {
        let (mut world, server, token) = asleep();
        let failure = loop {
            // As if a poller told of something again and again.
            let waker = world.fabric().hosts[server].waker.clone();
            waker.0.store(true, Ordering::Release);
            if let Err(failure) = world.step() {
                break failure;
            }
        };
        assert_eq!(failure.problem, Problem::Spin);
        let who = format!("{token} (echo)");
        assert!(failure.text.contains(&who), "{}", failure.text);
    }

    /// Sends to nobody, as soon as it can.
    struct Caller;

    impl DatagramProtocol for Caller {
        fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
            cx.send_to(ip_at(9), b"ahoy");
        }

        fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}
    }

    fn ip_at(port: u16) -> SocketAddr {
        SocketAddr::new(ip_of(1), port)
    }

    #[test]
    fn a_datagram_socket_that_waits_for_no_room_with_datagrams_queued_is_a_stall() {
        let faults = Faults {
            would_block: 1.0,
            event_delay: Duration::from_secs(60)..=Duration::from_secs(60),
            ..Faults::none()
        };
        let mut world = World::with_faults(1, faults);
        let anne = world.host("anne");
        let bind = Bind::new(world.address(anne, 7)).name("calls");
        let token = world.reactor(anne).bind(bind, Caller).unwrap();
        world.run_for(Duration::from_secs(1)).unwrap();
        let waits = |world: &World| {
            world
                .fabric()
                .datagrams
                .iter()
                .all(|(_, s)| s.ear.wants_write)
        };
        assert!(waits(&world));
        // As if it had been told that there is room, and had not sent.
        world
            .fabric()
            .datagrams
            .iter_mut()
            .for_each(|(_, socket)| socket.ear.wants_write = false);
        world.check_sleeper(anne.0);
        let failure = world.step().unwrap_err();
        assert_eq!(failure.problem, Problem::Stall);
        let who = format!("{token} (calls)");
        assert!(failure.text.contains(&who), "{}", failure.text);
    }
}
