//! Somebody on the path who knows nothing of what passes: flips bits, and ends directions early.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use windlass::net::{Connect, Listen};
use windlass::sim::{Random, World};
use windlass::{Context, Raw, Token};

use crate::client::patient;
use crate::forward::{Half, Passage};

/// Which way something goes: an index.
pub(crate) const TO_SERVER: usize = 0;
pub(crate) const TO_CLIENT: usize = 1;

/// What was done, and what has passed.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    /// How often something was done to bytes that go that way.
    pub(crate) done: [Cell<usize>; 2],
    /// What clients have sent over each connection.
    pub(crate) heard: RefCell<Vec<Vec<u8>>>,
}

impl Harm {
    pub(crate) fn is_done(&self) -> bool {
        self.done.iter().any(|done| done.get() > 0)
    }
}

/// What is to happen to one direction of one connection.
struct Harmed {
    way: usize,
    /// Of the connection, in `Harm::heard`.
    index: usize,
    /// Which bytes, and which of their bits.
    flips: Vec<(usize, usize)>,
    cut: Option<usize>,
    passed: usize,
    harm: Rc<Harm>,
}

impl Harmed {
    fn draw(random: &mut Random, way: usize, index: usize, harm: &Rc<Harm>) -> Harmed {
        let mut place = || random.length(&(0..=8_000));
        let (first, second, cut) = (place(), place(), place());
        let bit = random.below(8);
        let flips = match random.below(6) {
            0 | 1 => vec![(first, bit)],
            2 => vec![(first, bit), (second, bit)],
            _ => Vec::new(),
        };
        Harmed {
            way,
            index,
            flips,
            cut: (random.below(8) == 0).then_some(cut),
            passed: 0,
            harm: Rc::clone(harm),
        }
    }

    fn count(&self) {
        let done = &self.harm.done[self.way];
        done.set(done.get() + 1);
    }
}

impl Passage for Harmed {
    fn on_bytes(&mut self, bytes: &[u8], to: Token, cx: &mut Context<'_, Raw>) {
        if self.way == TO_SERVER {
            self.harm.heard.borrow_mut()[self.index].extend_from_slice(bytes);
        }
        let mut bytes = bytes.to_vec();
        for (at, bit) in &self.flips {
            let here = at.checked_sub(self.passed);
            if let Some(byte) = here.and_then(|here| bytes.get_mut(here)) {
                *byte ^= 1 << bit;
                self.count();
            }
        }
        let left = self.cut.map(|cut| cut.saturating_sub(self.passed));
        self.passed += bytes.len();
        match left {
            Some(left) if left < bytes.len() => {
                self.count();
                bytes.truncate(left);
                cx.forward_to(to, bytes);
                cx.finish_writes_other(to);
            }
            _ => cx.forward_to(to, bytes),
        }
    }
}

/// Everything that is sent to the answered address, on a host of that name, goes to `to`, harmed.
pub(crate) fn harm(world: &mut World, host: &str, to: SocketAddr) -> (SocketAddr, Rc<Harm>) {
    let host = world.host(host);
    let harm = Rc::new(Harm::default());
    let (watch, noted) = (world.watch(), Rc::clone(&harm));
    let mut random = world.random().fork();
    let relay = move |_: &windlass::Peer| {
        let index = noted.heard.borrow().len();
        noted.heard.borrow_mut().push(Vec::new());
        let [ahead, back] =
            [TO_SERVER, TO_CLIENT].map(|way| Harmed::draw(&mut random, way, index, &noted));
        let to = Connect::new(to).name("to server").limits(patient());
        watch.over(Half::new(ahead, to, back, &watch))
    };
    let address = world.address(host, 8);
    let listen = Listen::new(address).name("path").limits(patient());
    let listening = world.reactor(host).listen(listen, relay);
    listening.expect("the port is free");
    (address, harm)
}
