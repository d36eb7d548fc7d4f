//! Somebody on the path between a client and a server who have a key: whatever it flips, cuts,
//! repeats, moves, drops, sends back or takes from elsewhere, nothing is accepted but what was
//! sent, in order, and no end is taken for the end that is not.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::framing::{EndOfStream, Sealed};
use windlass::net::{Connect, Listen};
use windlass::protocol::auth::{AuthClient, AuthServer, Key};
use windlass::sim::{Outcome, Random, Watch, World, check, seeds};
use windlass::{CloseReason, Context, Decoder, Intents, LengthPrefixed, Protocol, Raw, Token};

use crate::SEEDS;
use crate::client::{Cargo, is_quiet, patient, pieces};

type Frames = Sealed<LengthPrefixed>;

/// Which way something goes: an index.
const TO_SERVER: usize = 0;
const TO_CLIENT: usize = 1;

/// What one side has heard.
#[derive(Debug, Default)]
struct Heard {
    messages: Vec<Vec<u8>>,
    is_whole: bool,
    closed: Option<CloseReason>,
}

type Notes = Rc<RefCell<Heard>>;

/// One side, once it is authenticated: sends everything, and the end of it.
struct Side {
    cargo: Cargo,
    notes: Notes,
    has_ended: bool,
}

impl Side {
    fn send(&mut self, cx: &mut Context<'_, Frames>) {
        if !self.has_ended && self.cargo.send(cx) {
            self.has_ended = true;
            cx.send(EndOfStream);
            cx.finish_writes();
        }
    }
}

impl Protocol for Side {
    type Decoder = Frames;
    type Encoder = Frames;

    fn on_open(&mut self, cx: &mut Context<'_, Frames>) {
        self.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Frames>) {
        self.send(cx);
    }

    fn on_frame(&mut self, message: &[u8], _: &mut Context<'_, Frames>) {
        self.notes.borrow_mut().messages.push(message.to_vec());
    }

    fn on_malformed(&mut self, _: <Frames as Decoder>::Error, _: &mut Context<'_, Frames>) {}

    fn on_eof(&mut self, _: usize, _: &mut Context<'_, Frames>) {
        self.notes.borrow_mut().is_whole = true;
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    Nothing,
    Flip,
    Cut,
    Replay,
    Reorder,
    Drop,
    Reflect,
    Splice,
}

/// What the adversary does to one connection: something, once.
#[derive(Clone, Copy, Debug)]
struct Plan {
    attack: Attack,
    way: usize,
    /// To which frame, counted with the handshake's.
    at: usize,
    /// Which bit, byte or other frame.
    pick: usize,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let attacks = [
            Attack::Nothing,
            Attack::Flip,
            Attack::Cut,
            Attack::Replay,
            Attack::Reorder,
            Attack::Drop,
            Attack::Reflect,
            Attack::Splice,
        ];
        Plan {
            attack: attacks[random.below(attacks.len())],
            way: random.below(2),
            at: random.below(8),
            pick: random.below(1 << 30),
        }
    }
}

/// One connection as the adversary sees it.
#[derive(Debug)]
struct Tap {
    plan: Plan,
    /// The plan was carried out: what the receiver got is not what was sent.
    is_done: bool,
    is_cut: bool,
    /// A frame was kept back: a handshake may wait for it in vain.
    is_delayed: bool,
    /// Frames that have passed each way, as they were sent.
    seen: [Vec<Vec<u8>>; 2],
    held: Option<Vec<u8>>,
}

/// Frames of all connections.
type Foreign = Rc<RefCell<[Vec<Vec<u8>>; 2]>>;

impl Tap {
    fn new(plan: Plan) -> Tap {
        Tap {
            plan,
            is_done: false,
            is_cut: false,
            is_delayed: false,
            seen: Default::default(),
            held: None,
        }
    }

    /// What is passed on in place of a frame.
    fn pass(&mut self, way: usize, frame: Vec<u8>, foreign: &Foreign) -> Vec<u8> {
        let (plan, index) = (self.plan, self.seen[way].len());
        self.seen[way].push(frame.clone());
        let others = foreign.borrow()[way].clone();
        foreign.borrow_mut()[way].push(frame.clone());
        if way == plan.way
            && index == plan.at + 1
            && let Some(held) = self.held.take()
        {
            self.is_done = true;
            return [frame, held].concat();
        }
        if way != plan.way || index != plan.at {
            return frame;
        }
        self.is_done = true;
        match plan.attack {
            Attack::Flip => flipped(frame, plan.pick),
            Attack::Cut => {
                self.is_cut = true;
                frame[..plan.pick % frame.len()].to_vec()
            }
            Attack::Replay => {
                let again = &self.seen[way][plan.pick % (index + 1)];
                [&frame[..], again].concat()
            }
            Attack::Drop => Vec::new(),
            Attack::Reflect if !self.seen[1 - way].is_empty() => {
                let own = &self.seen[1 - way];
                own[plan.pick % own.len()].clone()
            }
            Attack::Splice if !others.is_empty() => {
                let other = others[plan.pick % others.len()].clone();
                self.is_done = !self.seen[way].contains(&other);
                if self.is_done { other } else { frame }
            }
            Attack::Reorder => {
                self.is_done = false;
                self.is_delayed = true;
                self.held = Some(frame);
                Vec::new()
            }
            Attack::Nothing | Attack::Reflect | Attack::Splice => {
                self.is_done = false;
                frame
            }
        }
    }
}

fn flipped(mut frame: Vec<u8>, pick: usize) -> Vec<u8> {
    let bit = pick % (8 * frame.len());
    frame[bit / 8] ^= 1 << (bit % 8);
    frame
}

/// One half of a connection through the adversary.
struct Half {
    tap: Rc<RefCell<Tap>>,
    foreign: Foreign,
    /// Which way goes what this half receives.
    way: usize,
    unfinished: Vec<u8>,
    /// The halves, by the way that what they receive goes.
    tokens: Rc<[Cell<Option<Token>>; 2]>,
    to: Option<Connect>,
    watch: Watch,
}

impl Half {
    fn other(&self) -> Option<Token> {
        self.tokens[1 - self.way].get()
    }

    /// The next whole frame: of the handshake at first, and then of `LengthPrefixed`.
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let of_handshake = if self.way == TO_SERVER { 1 } else { 2 };
        let is_handshake = self.tap.borrow().seen[self.way].len() < of_handshake;
        let len = if is_handshake {
            1 + usize::from(*self.unfinished.first()?)
        } else {
            4 + u32::from_be_bytes(*self.unfinished.first_chunk()?) as usize
        };
        (self.unfinished.len() >= len).then(|| self.unfinished.drain(..len).collect())
    }
}

impl Protocol for Half {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.tokens[self.way].set(Some(cx.token()));
        if let Some(to) = self.to.take() {
            let half = Half {
                tap: Rc::clone(&self.tap),
                foreign: Rc::clone(&self.foreign),
                way: TO_CLIENT,
                unfinished: Vec::new(),
                tokens: Rc::clone(&self.tokens),
                to: None,
                watch: self.watch.clone(),
            };
            let token = cx.connect(to, self.watch.over(half));
            self.tokens[TO_CLIENT].set(Some(token));
        }
    }

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        self.unfinished.extend_from_slice(bytes);
        let Some(other) = self.other() else { return };
        let (tap, foreign) = (Rc::clone(&self.tap), Rc::clone(&self.foreign));
        while let Some(frame) = self.next_frame() {
            let mut tap = tap.borrow_mut();
            let was_cut = tap.is_cut && tap.plan.way == self.way;
            let passed = tap.pass(self.way, frame, &foreign);
            if was_cut {
                continue;
            }
            if !passed.is_empty() {
                cx.forward_to(other, passed);
            }
            if tap.is_cut && tap.plan.way == self.way {
                cx.finish_writes_other(other);
            }
        }
    }

    fn on_eof(&mut self, _: usize, cx: &mut Context<'_, Raw>) {
        let Some(other) = self.other() else { return };
        let mut tap = self.tap.borrow_mut();
        if tap.plan.way == self.way
            && let Some(held) = tap.held.take()
        {
            cx.forward_to(other, held);
        }
        cx.finish_writes_other(other);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        let Some(other) = self.other() else { return };
        if reason.is_clean() {
            cx.finish_other(other);
        } else {
            cx.abort_other(other);
        }
    }
}

fn random_bytes(random: &mut Random) -> [u8; 32] {
    std::array::from_fn(|_| random.below(256) as u8)
}

/// What is drawn before it begins, for a connection.
struct Connection {
    plan: Plan,
    tap: Rc<RefCell<Tap>>,
    sent: [Vec<Vec<u8>>; 2],
    /// Of whoever receives what goes that way.
    notes: [Notes; 2],
    /// The client's.
    nonce: [u8; 32],
}

impl Connection {
    fn draw(random: &mut Random) -> Connection {
        let plan = Plan::draw(random);
        let sent = [(); 2].map(|()| {
            let count = random.length(&(0..=6));
            pieces(random, count, 3_000)
        });
        Connection {
            plan,
            tap: Rc::new(RefCell::new(Tap::new(plan))),
            sent,
            notes: Default::default(),
            nonce: random_bytes(random),
        }
    }

    fn side(&self, sends: usize) -> Side {
        Side {
            cargo: Cargo::new(self.sent[sends].clone()),
            notes: Rc::clone(&self.notes[1 - sends]),
            has_ended: false,
        }
    }

    fn check(&self, world: &World) -> Outcome {
        let tap = self.tap.borrow();
        for way in [TO_SERVER, TO_CLIENT] {
            let heard = self.notes[way].borrow();
            let sent = &self.sent[way];
            world.require(
                sent.starts_with(&heard.messages),
                format_args!("{:?}: something else was accepted", self.plan),
            )?;
            let is_all = sent.len() == heard.messages.len();
            world.require(
                is_all || !heard.is_whole,
                format_args!("{:?}: a part was taken for the whole", self.plan),
            )?;
            let was_attacked = tap.is_done && tap.plan.way == way;
            world.require(
                !(was_attacked && heard.is_whole),
                format_args!("{:?}: it was not noticed", self.plan),
            )?;
            let is_undisturbed = !tap.is_done && !tap.is_delayed && is_quiet(world);
            world.require(
                heard.is_whole || !is_undisturbed,
                format_args!(
                    "{:?}: nothing happened, and not all came: {heard:?}",
                    self.plan
                ),
            )?;
        }
        Ok(())
    }
}

/// A server whose protocol is authenticated first.
fn serve(world: &mut World, watch: &Watch, key: Key, all: &Rc<[Connection]>) -> SocketAddr {
    let host = world.host("server");
    let address = world.address(host, 7);
    let mut random = world.random().fork();
    let (all, watch) = (Rc::clone(all), watch.clone());
    let service = move |_: &windlass::Peer| {
        let (all, over) = (Rc::clone(&all), watch.clone());
        let keys = move |id: &[u8]| (id.len() == 1).then_some(key);
        let auth = AuthServer::new(random_bytes(&mut random), keys, move |peer| {
            let one = &all[usize::from(peer.key_id()[0])];
            let side = over.over(one.side(TO_CLIENT));
            let (decoder, encoder) = peer.seal(LengthPrefixed::default());
            (decoder, encoder, side)
        });
        watch.over(auth.deadline(patient().connect_timeout))
    };
    let listen = Listen::new(address).name("server").limits(patient());
    let listening = world.reactor(host).listen(listen, service);
    listening.expect("the port is free");
    address
}

/// Somebody on the path to `to`, with a port for each connection.
fn listen_in(
    world: &mut World,
    watch: &Watch,
    to: SocketAddr,
    all: &[Connection],
) -> Vec<SocketAddr> {
    let host = world.host("path");
    let foreign = Foreign::default();
    let mut ports = Vec::new();
    for (port, one) in (8..).zip(all) {
        let (watch, foreign, tap) = (watch.clone(), Rc::clone(&foreign), Rc::clone(&one.tap));
        let relay = move |_: &windlass::Peer| {
            let plan = tap.borrow().plan;
            *tap.borrow_mut() = Tap::new(plan);
            watch.over(Half {
                tap: Rc::clone(&tap),
                foreign: Rc::clone(&foreign),
                way: TO_SERVER,
                unfinished: Vec::new(),
                tokens: Rc::default(),
                to: Some(Connect::new(to).name("to server").limits(patient())),
                watch: watch.clone(),
            })
        };
        let address = world.address(host, port);
        let listen = Listen::new(address).name("path").limits(patient());
        let listening = world.reactor(host).listen(listen, relay);
        listening.expect("the port is free");
        ports.push(address);
    }
    ports
}

pub(crate) fn scenario(world: &mut World) -> Outcome {
    let watch = world.watch().limits(&patient());
    let key = random_bytes(world.random());
    let count = 1 + world.random().below(4);
    let all: Rc<[Connection]> = (0..count)
        .map(|_| Connection::draw(world.random()))
        .collect();
    let server = serve(world, &watch, key, &all);
    let ports = listen_in(world, &watch, server, &all);
    let host = world.host("client");
    for (at, (one, port)) in all.iter().zip(ports).enumerate() {
        let (side, over) = (one.side(TO_SERVER), watch.clone());
        let auth = AuthClient::new(one.nonce, [at as u8], key, move |server| {
            let (decoder, encoder) = server.seal(LengthPrefixed::default());
            (decoder, encoder, over.over(side))
        });
        let notes = Rc::clone(&one.notes[TO_CLIENT]);
        let auth = auth
            .deadline(patient().connect_timeout)
            .on_failure(move |_| notes.borrow_mut().closed = Some(CloseReason::Aborted));
        let connect = Connect::new(port).name("client").limits(patient());
        let connected = world.reactor(host).connect(connect, watch.over(auth));
        connected.expect("an address");
        let pause = world.random().below(20) as u64;
        world.run_for(Duration::from_millis(pause))?;
    }
    let is_closed = |notes: &Notes| notes.borrow().closed.is_some();
    let all_closed = |_: &mut World| all.iter().all(|one| is_closed(&one.notes[TO_CLIENT]));
    world.run_until(all_closed, Duration::from_secs(36_000))?;
    // What is still under way to the server.
    world.run_for(Duration::from_secs(36_000))?;
    all.iter().try_for_each(|one| one.check(world))
}

#[test]
fn nothing_is_accepted_from_an_adversary_on_the_path() {
    check(seeds(SEEDS), scenario);
}
