//! Signed requests, and an adversary on the path who flips, cuts, repeats and splices: what a
//! handler does was asked for by who has the key, in these words, and is done once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use windlass::http::Server;
use windlass::http::client::{Client, Failure, Request, Response};
use windlass::http::digest::{Key, Signed, Signer};
use windlass::net::Connect;
use windlass::sim::{Outcome, Random, World, check, seeds};
use windlass::{Context, Protocol, Raw};

use super::http_digests::{Kept, LONG, client_limits, serve, server_limits, uploads};
use super::path::harm;
use crate::SEEDS;
use crate::client::{Cargo, patient, pieces};

/// Says something of its own making.
struct Forger(Cargo);

impl Protocol for Forger {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.on_drain(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Raw>) {
        if self.0.send(cx) {
            cx.finish();
        }
    }

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}
}

/// What was heard once more: as it was, or the beginning of one with the end of another.
fn forged(random: &mut Random, heard: &[Vec<u8>]) -> Vec<u8> {
    let mut one = || &heard[random.below(heard.len())][..];
    let (first, second) = (one(), one());
    if random.chance(0.3) {
        return first.to_vec();
    }
    let (end, start) = (
        random.below(first.len() + 1),
        random.below(second.len() + 1),
    );
    // Often at the same place: bodies are exchanged, and heads.
    let start = if random.chance(0.5) {
        end.min(second.len())
    } else {
        start
    };
    [&first[..end], &second[start..]].concat()
}

fn play(world: &mut World, seen: &Seen) -> Outcome {
    let kept = Kept::default();
    let key = || Key::new(b"32 random bytes, known to both");
    let keys = move |id: &str| (id == "anne").then(key);
    // Clocks differ, and lines are slow: what is looked at here is not when.
    let signed = Signed::new(uploads(&kept), keys).skew(Duration::from_secs(1 << 30));
    let address = serve(
        world,
        "server",
        Server::with_limits(signed, server_limits()),
    );
    let (path, harm) = harm(world, "path", address);
    let connect = Connect::new(path).limits(patient());
    let limits = client_limits(world.random());
    let client = Client::with(connect, "h", limits).expect("a host");
    let (host, forger) = (world.host("client"), world.host("forger"));
    let signer = Signer::new("anne", key());
    let mut sent = Vec::new();
    let told = Rc::new(Cell::new(0));
    for number in 0..1 + world.random().below(5) {
        let count = world.random().below(3);
        let body = pieces(world.random(), count, 3_000).concat();
        let kind = ["whole", "pieces"][world.random().below(2)];
        let path = format!("/{kind}/{number}");
        let request = Request::put(&path).body(body.clone());
        sent.push((path, body));
        let (client, told) = (client.clone(), Rc::clone(&told));
        world.with(host, |reactor| {
            let sent = reactor.with_intents(|cx| {
                let nonce = number.to_string();
                let request = signer.sign(request, "h", cx.unix_time(), &nonce);
                let note = move |_: Result<Response<'_>, Failure>, _: &mut _| {
                    told.set(told.get() + 1);
                };
                client.send(request, note, cx)
            });
            sent.expect("there is room");
        });
        let pause = world.random().below(30);
        world.run_for(Duration::from_millis(pause as u64))?;
    }
    let count = sent.len();
    world.run_until(move |_: &mut World| told.get() == count, LONG * 20)?;
    let before = kept.borrow().len();
    let heard = harm.heard.borrow().clone();
    for _ in 0..world.random().below(5) {
        if heard.is_empty() {
            break;
        }
        let bytes = forged(world.random(), &heard);
        let over = world.watch().over(Forger(Cargo::new(vec![bytes])));
        let connect = Connect::new(address).limits(patient());
        let connected = world.reactor(forger).connect(connect, over);
        connected.expect("an address");
        let pause = world.random().below(30);
        world.run_for(Duration::from_millis(pause as u64))?;
        seen.forged.set(seen.forged.get() + 1);
    }
    world.run_for(LONG * 2)?;

    let mut left = sent;
    for done in kept.borrow().iter() {
        let at = left.iter().position(|asked| asked == done);
        world.require(
            at.is_some(),
            "something was done that nobody asked for, or twice",
        )?;
        left.swap_remove(at.expect("it was looked at"));
    }
    seen.done.set(seen.done.get() + before);
    Ok(())
}

/// How often something was done, and how often something was tried that must not be.
#[derive(Default)]
struct Seen {
    done: Cell<usize>,
    forged: Cell<usize>,
}

#[test]
fn what_is_done_was_signed_and_is_done_once() {
    let seen = Seen::default();
    let count = check(seeds(SEEDS), |world: &mut World| play(world, &seen));
    let is_seen = seen.done.get() > 0 && seen.forged.get() > 0;
    assert!(is_seen || count < SEEDS, "nothing was ever tried");
}
