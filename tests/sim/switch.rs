//! A protocol that changes the framing in the middle of the stream: what has arrived behind the
//! frame that asked for it belongs to the next one.

use windlass::framing::Netstring;
use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Lines, Protocol};

use crate::SEEDS;
use crate::client::{Cargo, Shared, patient, pieces, run_to_the_end};
use crate::echo::Client;

/// Answers lines, until `netstrings` changes that.
struct ByLine(windlass::sim::Watch);

impl Protocol for ByLine {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        cx.send(line);
        if line == b"netstrings" {
            let watch = self.0.clone();
            cx.switch(self.0.over(ByNetstring(watch)));
        }
    }
}

/// Answers netstrings, until an empty one changes that.
struct ByNetstring(windlass::sim::Watch);

impl Protocol for ByNetstring {
    type Decoder = Netstring;
    type Encoder = Netstring;

    fn on_frame(&mut self, frame: &[u8], cx: &mut Context<'_, Netstring>) {
        cx.send(frame);
        if frame.is_empty() {
            let watch = self.0.clone();
            cx.switch(self.0.over(ByLine(watch)));
        }
    }
}

/// What is sent, all of which comes back as it is.
fn stream(world: &mut World) -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for _ in 0..1 + world.random().below(5) {
        let count = world.random().length(&(0..=10));
        for mut line in pieces(world.random(), count, 500) {
            line.push(b'\n');
            stream.push(line);
        }
        stream.push(b"netstrings\n".to_vec());
        let count = world.random().length(&(0..=10));
        for frame in pieces(world.random(), count, 3_000) {
            let mut netstring = format!("{}:", frame.len()).into_bytes();
            netstring.extend(frame);
            netstring.push(b',');
            stream.push(netstring);
        }
        stream.push(b"0:,".to_vec());
    }
    stream
}

fn scenario(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let watch = world.watch();
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7))
        .name("switch")
        .limits(patient());
    world
        .reactor(server)
        .listen(listen, move |_| {
            server_watch.over(ByLine(server_watch.clone()))
        })
        .expect("the port is free");
    let mut all = Vec::new();
    for _ in 0..1 + world.random().below(4) {
        let pieces = stream(world);
        let notes = Shared::default();
        all.push((pieces.concat(), notes.clone()));
        let cargo = Cargo::new(pieces);
        let connect = Connect::new(world.address(server, 7))
            .name("client")
            .limits(patient());
        let protocol = watch.over(Client { cargo, notes });
        world
            .reactor(client)
            .connect(connect, protocol)
            .expect("an address");
    }
    let notes: Vec<Shared> = all.iter().map(|(_, notes)| notes.clone()).collect();
    run_to_the_end(world, &notes)?;
    for (sent, notes) in all {
        let notes = notes.borrow();
        let is_clean = notes.closed.is_some_and(CloseReason::is_clean);
        world.require(
            sent.starts_with(&notes.received),
            "something else came back",
        )?;
        world.require(
            sent.len() == notes.received.len() || !is_clean,
            format_args!(
                "{} came back, and it ended: {:?}",
                notes.received.len(),
                notes.closed
            ),
        )?;
    }
    Ok(())
}

#[test]
fn what_follows_a_change_of_framing_is_left_to_the_next_one() {
    check(seeds(SEEDS), scenario);
}
