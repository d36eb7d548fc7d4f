//! Lines: answers come in order, and the last one arrives although its peer goes on talking.

use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Lines, Protocol};

use crate::SEEDS;
use crate::client::{Cargo, Shared, patient, pieces, run_to_the_end};

/// Shouts every line back; at `quit` it says `bye` and ends.
struct Shout;

impl Protocol for Shout {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        if line == b"quit" {
            cx.send("bye");
            cx.finish();
        } else {
            cx.send(line.to_ascii_uppercase());
        }
    }
}

/// Sends its lines, `quit`, and more that nobody will read; listens until the end.
struct Client {
    cargo: Cargo,
    notes: Shared,
}

impl Protocol for Client {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        self.notes.borrow_mut().opened = true;
        self.cargo.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Lines>) {
        self.cargo.send(cx);
    }

    fn on_frame(&mut self, line: &[u8], _: &mut Context<'_, Lines>) {
        let mut notes = self.notes.borrow_mut();
        notes.received.extend_from_slice(line);
        notes.received.push(b'\n');
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

fn scenario(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let watch = world.watch();
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7))
        .name("shout")
        .limits(patient());
    world
        .reactor(server)
        .listen(listen, move |_| server_watch.over(Shout))
        .expect("the port is free");
    let mut all = Vec::new();
    for _ in 0..1 + world.random().below(5) {
        let count = world.random().length(&(0..=60));
        let mut lines = pieces(world.random(), count, 900);
        let mut expected: Vec<u8> = Vec::new();
        for line in &lines {
            expected.extend(line.to_ascii_uppercase());
            expected.push(b'\n');
        }
        expected.extend_from_slice(b"bye\n");
        lines.push(b"quit".to_vec());
        let count = world.random().length(&(0..=20));
        lines.extend(pieces(world.random(), count, 5_000));
        let notes = Shared::default();
        all.push((expected, notes.clone()));
        let cargo = Cargo::new(lines);
        let connect = Connect::new(world.address(server, 7))
            .name("client")
            .limits(patient());
        let protocol = watch.over(Client { cargo, notes });
        world
            .reactor(client)
            .connect(connect, protocol)
            .expect("an address");
        let pause = world.random().below(20) as u64;
        world.run_for(Duration::from_millis(pause))?;
    }
    let notes: Vec<Shared> = all.iter().map(|(_, notes)| notes.clone()).collect();
    run_to_the_end(world, &notes)?;
    for (expected, notes) in all {
        let notes = notes.borrow();
        let is_clean = notes.closed.is_some_and(CloseReason::is_clean);
        world.require(expected.starts_with(&notes.received), "wrong answers")?;
        world.require(
            expected.len() == notes.received.len() || !is_clean,
            format_args!(
                "{} bytes of {} were answered, and it ended: {:?}",
                notes.received.len(),
                expected.len(),
                notes.closed
            ),
        )?;
    }
    Ok(())
}

#[test]
fn every_line_is_answered_and_the_last_answer_survives_a_peer_that_talks_on() {
    check(seeds(SEEDS), scenario);
}
