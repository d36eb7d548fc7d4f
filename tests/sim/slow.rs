//! Peers that do not read: whoever sends to them stops, within its limits, and gives up in time.

use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::protocol::Chargen;
use windlass::sim::{Fault, Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Echo, Intents, Limits, Protocol, Raw};

use crate::SEEDS;
use crate::client::{Cargo, Shared, patient, pieces};

/// Sends, and reads now and then: it pauses after each piece, and goes on by a timer, or never.
struct Sleepy {
    cargo: Cargo,
    naps: usize,
    nap: Duration,
    notes: Shared,
}

impl Protocol for Sleepy {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().opened = true;
        self.cargo.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Raw>) {
        self.cargo.send(cx);
    }

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().received.extend_from_slice(bytes);
        if self.naps > 0 {
            self.naps -= 1;
            cx.pause();
            cx.set_timer(self.nap);
        }
    }

    fn on_timer(&mut self, _: windlass::TimerId, cx: &mut Context<'_, Raw>) {
        cx.resume();
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

/// More is sent than the limits of both sides and the network hold, to a peer that naps.
pub(crate) fn naps(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let small = Limits {
        high_water: 2_000,
        low_water: 500,
        max_outbound: 90_000,
        ..patient()
    };
    let watch = world.watch().limits(&small);
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7)).limits(small.clone());
    world
        .reactor(server)
        .listen(listen, move |_| server_watch.over(Echo::<Raw>::default()))
        .expect("the port is free");
    let pieces = pieces(world.random(), 20, 20_000);
    let sent = pieces.concat();
    let notes = Shared::default();
    let sleepy = Sleepy {
        cargo: Cargo::new(pieces),
        naps: world.random().below(10),
        nap: Duration::from_millis(world.random().below(3_000) as u64),
        notes: notes.clone(),
    };
    let limits = Limits {
        high_water: 30_000,
        ..small
    };
    let sleepy = world.watch().limits(&limits).over(sleepy);
    let connect = Connect::new(world.address(server, 7)).limits(limits);
    world
        .reactor(client)
        .connect(connect, sleepy)
        .expect("an address");
    let is_over = |_: &mut World| {
        let notes = notes.borrow();
        notes.closed.is_some() || notes.received.len() == sent.len()
    };
    world.run_until(is_over, Duration::from_secs(36_000))?;
    let notes = notes.borrow();
    world.require(
        sent.starts_with(&notes.received),
        "something else came back",
    )?;
    let is_reset = matches!(notes.closed, Some(CloseReason::Reset));
    let deadly = world.faults().has(Fault::Reset) || world.faults().has(Fault::AbortAccept);
    // Two that both have too much to say to listen are parted by the stall time-out.
    let is_stalled = world.elapsed() >= patient().stall_timeout;
    let is_explained = !is_reset || deadly || is_stalled;
    world.require(is_explained, "nothing broke, and it was reset")
}

/// A peer that never reads is given up after the stall time-out, with little queued for it.
fn never(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let without = [
        Fault::Reset,
        Fault::Refuse,
        Fault::LoseAttempt,
        Fault::AbortAccept,
    ];
    let mut faults = world.faults();
    for fault in without {
        faults = faults.without(fault);
    }
    faults.bandwidth = None;
    world.set_faults(faults);
    let limits = Limits {
        stall_timeout: Duration::from_secs(20),
        ..Limits::default()
    };
    let watch = world.watch().limits(&limits);
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7)).limits(limits);
    let service = world
        .reactor(server)
        .listen(listen, move |_| server_watch.over(Chargen::endless()))
        .expect("the port is free");
    let notes = Shared::default();
    let sleepy = Sleepy {
        cargo: Cargo::default(),
        naps: usize::MAX,
        nap: Duration::from_secs(100_000),
        notes: notes.clone(),
    };
    let connect = Connect::new(world.address(server, 7)).limits(patient());
    let sleepy = watch.limits(&patient()).over(sleepy);
    world
        .reactor(client)
        .connect(connect, sleepy)
        .expect("an address");
    let is_over = |_: &mut World| notes.borrow().closed.is_some();
    world.run_until(is_over, Duration::from_secs(60))?;
    let stats = world.reactor(server).service_stats(service);
    let stalled = stats.map_or(0, |stats| stats.closed(CloseReason::Stalled));
    world.require(stalled == 1, "it ended, but not for the stall")
}

#[test]
fn a_peer_that_naps_is_waited_for_within_the_limits() {
    check(seeds(SEEDS), naps);
}

#[test]
fn a_peer_that_never_reads_is_given_up() {
    check(seeds(SEEDS), never);
}
