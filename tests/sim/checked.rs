//! Frames with digests, and bits that are flipped on their way: what is delivered is what was sent,
//! in order, up to where it was not.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::framing::{Checked, LengthPrefixed};
use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Protocol};

use super::path::{TO_SERVER, harm};
use crate::SEEDS;
use crate::client::{Cargo, is_quiet, patient, pieces};

type Frames = Checked<LengthPrefixed>;
type Heard = Rc<RefCell<Vec<Vec<u8>>>>;

/// Sends everything, and no more.
struct Client(Cargo);

impl Client {
    fn send(&mut self, cx: &mut Context<'_, Frames>) {
        if self.0.send(cx) {
            cx.finish();
        }
    }
}

impl Protocol for Client {
    type Decoder = Frames;
    type Encoder = Frames;

    fn on_open(&mut self, cx: &mut Context<'_, Frames>) {
        self.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Frames>) {
        self.send(cx);
    }

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Frames>) {}
}

struct Server {
    heard: Heard,
    closed: Rc<RefCell<Option<CloseReason>>>,
}

impl Protocol for Server {
    type Decoder = Frames;
    type Encoder = Frames;

    fn on_frame(&mut self, message: &[u8], _: &mut Context<'_, Frames>) {
        self.heard.borrow_mut().push(message.to_vec());
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        *self.closed.borrow_mut() = Some(reason);
    }
}

/// Answers whether a frame was refused.
fn play(world: &mut World) -> Result<bool, windlass::sim::Failure> {
    let (heard, closed) = (Heard::default(), Rc::default());
    let host = world.host("server");
    let address = world.address(host, 7);
    let (watch, noted, end) = (world.watch(), Rc::clone(&heard), Rc::clone(&closed));
    let service = move |_: &windlass::Peer| {
        let (heard, closed) = (Rc::clone(&noted), Rc::clone(&end));
        watch.over(Server { heard, closed })
    };
    let listen = Listen::new(address).limits(patient());
    let listening = world.reactor(host).listen(listen, service);
    listening.expect("the port is free");
    let (path, harm) = harm(world, "path", address);
    let count = world.random().length(&(0..=6));
    let sent = pieces(world.random(), count, 3_000);
    let client = world.host("client");
    let connect = Connect::new(path).limits(patient());
    let cargo = Client(Cargo::new(sent.clone()));
    let over = world.watch().over(cargo);
    let connected = world.reactor(client).connect(connect, over);
    connected.expect("an address");
    world.run_for(Duration::from_secs(36_000))?;

    let heard = heard.borrow();
    let is_harmed = harm.done[TO_SERVER].get() > 0;
    world.require(sent.starts_with(&heard), "something else was delivered")?;
    world.require(
        heard.len() == sent.len() || is_harmed || !is_quiet(world),
        "nothing happened, and not all was delivered",
    )?;
    let is_refused = *closed.borrow() == Some(CloseReason::Malformed);
    world.require(!is_refused || is_harmed, "what was right was refused")?;
    Ok(is_refused)
}

#[test]
fn damaged_frames_are_not_delivered() {
    let mut refused = 0;
    let count = check(seeds(SEEDS), |world: &mut World| -> Outcome {
        refused += u32::from(play(world)?);
        Ok(())
    });
    assert!(refused > 0 || count < SEEDS, "nothing was ever refused");
}
