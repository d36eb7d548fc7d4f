//! A forwarder between a client and an echo server: back-pressure and half-closes pass through.

use std::ops::RangeInclusive;
use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::sim::{Faults, Outcome, Watch, World, check, seeds};
use windlass::{CloseReason, Context, Echo, Intents, Limits, Protocol, Raw, Token};

use crate::SEEDS;
use crate::client::{Cargo, Shared, patient, pieces, run_to_the_end};
use crate::echo::Client;

/// What a forwarder does with what it receives.
pub(crate) trait Passage {
    fn on_bytes(&mut self, bytes: &[u8], to: Token, cx: &mut Context<'_, Raw>) {
        cx.forward_to(to, bytes.to_vec());
    }

    fn on_end(&mut self, to: Token, cx: &mut Context<'_, Raw>) {
        cx.finish_writes_other(to);
    }
}

/// Passes everything on as it comes.
struct Unchanged;

impl Passage for Unchanged {}

/// One half of a forwarded connection.
pub(crate) struct Half<P> {
    passage: P,
    other: Option<Token>,
    /// Where the other half is to connect to, and what it does.
    onward: Option<(Connect, P)>,
    watch: Watch,
}

impl<P> Half<P> {
    /// The half that is accepted.
    pub(crate) fn new(passage: P, to: Connect, back: P, watch: &Watch) -> Half<P> {
        Half {
            passage,
            other: None,
            onward: Some((to, back)),
            watch: watch.clone(),
        }
    }
}

impl<P: Passage + 'static> Protocol for Half<P> {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        if let Some((to, passage)) = self.onward.take() {
            let half = Half {
                passage,
                other: Some(cx.token()),
                onward: None,
                watch: self.watch.clone(),
            };
            self.other = Some(cx.connect(to, self.watch.over(half)));
        }
    }

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(other) = self.other {
            self.passage.on_bytes(bytes, other, cx);
        }
    }

    fn on_eof(&mut self, _: usize, cx: &mut Context<'_, Raw>) {
        if let Some(other) = self.other {
            self.passage.on_end(other, cx);
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        let Some(other) = self.other else { return };
        if reason.is_clean() {
            cx.finish_other(other);
        } else {
            cx.abort_other(other);
        }
    }
}

pub(crate) fn scenario(world: &mut World) -> Outcome {
    run(world, &patient(), &patient(), &(1..=8))
}

/// Clients that read whatever they still have to send, and send much more than all queues hold: the
/// echo server cannot read on before its answers are taken, and they go the same way.
fn bulk(world: &mut World) -> Outcome {
    let all = usize::MAX / 2;
    let limits = Limits {
        high_water: all,
        low_water: all,
        max_outbound: all,
        ..patient()
    };
    let faults = Faults {
        buffer_len: 4096..=65_536,
        ..world.faults()
    };
    world.set_faults(faults);
    let narrow = Limits {
        high_water: 4096,
        low_water: 1024,
        ..patient()
    };
    run(world, &limits, &narrow, &(8..=20))
}

/// Clients and servers with these limits; so many pieces each.
fn run(
    world: &mut World,
    limits: &Limits,
    others: &Limits,
    count: &RangeInclusive<usize>,
) -> Outcome {
    let (server, proxy) = (world.host("server"), world.host("proxy"));
    let client = world.host("client");
    let watch = world.watch();
    let echo_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7))
        .name("echo")
        .limits(others.clone());
    world
        .reactor(server)
        .listen(listen, move |_| echo_watch.over(Echo::<Raw>::default()))
        .expect("the port is free");
    let proxy_watch = watch.clone();
    let target = world.address(server, 7);
    let listen = Listen::new(world.address(proxy, 8))
        .name("proxy")
        .limits(others.clone());
    let others = others.clone();
    let forward = move |_: &_| {
        let to = Connect::new(target).name("to echo").limits(others.clone());
        proxy_watch.over(Half::new(Unchanged, to, Unchanged, &proxy_watch))
    };
    world
        .reactor(proxy)
        .listen(listen, forward)
        .expect("the port is free");
    let mut all = Vec::new();
    for _ in 0..1 + world.random().below(4) {
        let count = world.random().length(count);
        let pieces = pieces(world.random(), count, 30_000);
        let notes = Shared::default();
        all.push((pieces.concat(), notes.clone()));
        let cargo = Cargo::new(pieces);
        let connect = Connect::new(world.address(proxy, 8))
            .name("client")
            .limits(limits.clone());
        let protocol = watch.clone().limits(limits).over(Client { cargo, notes });
        world
            .reactor(client)
            .connect(connect, protocol)
            .expect("an address");
        let pause = world.random().below(20) as u64;
        world.run_for(Duration::from_millis(pause))?;
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
fn a_forwarder_does_not_wait_for_a_server_that_waits_for_it() {
    check(seeds(SEEDS), bulk);
}

#[test]
fn bytes_and_half_closes_pass_through_a_forwarder() {
    check(seeds(SEEDS), scenario);
}
