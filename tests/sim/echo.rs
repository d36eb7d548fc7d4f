//! Echo: everything comes back, in order, or a reason says why not.

use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Echo, Intents, Protocol, Raw};

use crate::SEEDS;
use crate::client::{Cargo, Shared, patient, pieces, run_to_the_end};

/// Sends everything, ends its half, and takes what comes back.
pub(crate) struct Client {
    pub(crate) cargo: Cargo,
    pub(crate) notes: Shared,
}

impl Client {
    fn send(&mut self, cx: &mut Context<'_, Raw>) {
        if self.cargo.send(cx) {
            cx.finish_writes();
        }
    }
}

impl Protocol for Client {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().opened = true;
        self.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Raw>) {
        self.send(cx);
    }

    fn on_frame(&mut self, bytes: &[u8], _: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().received.extend_from_slice(bytes);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

pub(crate) fn scenario(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let watch = world.watch();
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7))
        .name("echo")
        .limits(patient());
    world
        .reactor(server)
        .listen(listen, move |_| server_watch.over(Echo::<Raw>::default()))
        .expect("the port is free");
    let mut all = Vec::new();
    for _ in 0..1 + world.random().below(6) {
        let count = world.random().length(&(1..=8));
        let pieces = pieces(world.random(), count, 30_000);
        let notes = Shared::default();
        all.push((pieces.concat(), notes.clone()));
        let cargo = Cargo::new(pieces);
        let connect = Connect::new(world.address(server, 7))
            .name("client")
            .limits(patient());
        let client_protocol = watch.over(Client { cargo, notes });
        world
            .reactor(client)
            .connect(connect, client_protocol)
            .expect("an address");
        let pause = world.random().below(20);
        world.run_for(Duration::from_millis(pause as u64))?;
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
        let is_whole = sent.len() == notes.received.len();
        world.require(
            is_whole || !is_clean,
            format_args!(
                "{} bytes were sent, {} came back, and it ended: {:?}",
                sent.len(),
                notes.received.len(),
                notes.closed
            ),
        )?;
    }
    Ok(())
}

#[test]
fn everything_comes_back_in_order_or_a_reason_says_why_not() {
    check(seeds(SEEDS), scenario);
}
