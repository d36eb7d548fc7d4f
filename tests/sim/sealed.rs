//! Somebody on the path between a client and a server who have a key: whatever it flips, cuts,
//! repeats, moves, drops, sends back or takes from elsewhere, nothing is accepted but what was
//! sent, in order, and no end is taken for the end that is not.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::framing::{EndOfStream, Sealed};
use windlass::net::{Connect, Listen};
use windlass::protocol::auth::{AuthClient, AuthServer, Key};
use windlass::sim::{Outcome, Random, Watch, World, check, seeds};
use windlass::{CloseReason, Context, Intents, LengthPrefixed, Protocol, Raw, Token};

use crate::SEEDS;
use crate::client::{Cargo, is_quiet, patient, pieces};
use crate::forward::{Half, Passage};

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
}

impl Side {
    fn send(&mut self, cx: &mut Context<'_, Frames>) {
        if self.cargo.send(cx) {
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
        Plan {
            attack: ATTACKS[random.below(ATTACKS.len())],
            way: random.below(2),
            at: random.below(8),
            pick: random.below(1 << 30),
        }
    }

    fn one_of<'a>(&self, frames: &'a [Vec<u8>]) -> Option<&'a Vec<u8>> {
        frames.get(self.pick % frames.len().max(1))
    }
}

/// How far a plan was carried out.
#[derive(Debug)]
enum Progress {
    /// What the receiver got is what was sent, when it was sent.
    Untouched,
    /// This frame is kept back until the next one is there, for which a handshake may wait in vain,
    /// or the end is.
    Holding(Vec<u8>),
    /// What the receiver got is not what was sent.
    Done,
}

/// One connection as the adversary sees it.
#[derive(Debug)]
pub(crate) struct Tap {
    plan: Plan,
    progress: Progress,
    /// Frames that have passed each way, as they were sent.
    seen: [Vec<Vec<u8>>; 2],
}

/// Frames of all connections.
pub(crate) type Foreign = Rc<RefCell<[Vec<Vec<u8>>; 2]>>;

impl Tap {
    pub(crate) fn draw(random: &mut Random) -> Tap {
        Tap {
            plan: Plan::draw(random),
            progress: Progress::Untouched,
            seen: Default::default(),
        }
    }

    /// Which attack it was, if the receiver did not get what was sent.
    pub(crate) fn attack_done(&self) -> Option<usize> {
        matches!(self.progress, Progress::Done).then_some(self.plan.attack as usize)
    }

    fn is_attacked(&self, way: usize) -> bool {
        way == self.plan.way && matches!(self.progress, Progress::Done)
    }

    fn is_cut(&self, way: usize) -> bool {
        self.is_attacked(way) && matches!(self.plan.attack, Attack::Cut)
    }

    /// What is passed on in place of a frame.
    fn pass(&mut self, way: usize, frame: Vec<u8>, foreign: &Foreign) -> Vec<u8> {
        self.seen[way].push(frame.clone());
        let passed = match way == self.plan.way {
            true => self.attack(&frame, &foreign.borrow()[way]),
            false => None,
        };
        let passed = passed.unwrap_or_else(|| frame.clone());
        foreign.borrow_mut()[way].push(frame);
        passed
    }

    /// What takes the place of a frame, if something does.
    fn attack(&mut self, frame: &[u8], foreign: &[Vec<u8>]) -> Option<Vec<u8>> {
        let Plan {
            attack,
            way,
            at,
            pick,
        } = self.plan;
        let (seen, others) = (&self.seen[way], &self.seen[1 - way]);
        let passed = match (&self.progress, attack) {
            (Progress::Holding(held), _) => Some([frame, held].concat()),
            (Progress::Done, Attack::Cut) => Some(Vec::new()),
            _ if seen.len() - 1 != at => None,
            (_, Attack::Nothing) => None,
            (_, Attack::Flip) => Some(flipped(frame.to_vec(), pick)),
            (_, Attack::Cut) => Some(frame[..pick % frame.len()].to_vec()),
            (_, Attack::Replay) => self.plan.one_of(seen).map(|again| [frame, again].concat()),
            (_, Attack::Drop) => Some(Vec::new()),
            (_, Attack::Reflect) => self.plan.one_of(others).cloned(),
            (_, Attack::Splice) => {
                let other = self.plan.one_of(foreign).cloned();
                other.filter(|other| !seen.contains(other))
            }
            (_, Attack::Reorder) => {
                self.progress = Progress::Holding(frame.to_vec());
                return Some(Vec::new());
            }
        };
        if passed.is_some() {
            self.progress = Progress::Done;
        }
        passed
    }

    /// Nothing follows: what is still kept back.
    fn end(&self, way: usize) -> Vec<u8> {
        match &self.progress {
            Progress::Holding(held) if way == self.plan.way => held.clone(),
            _ => Vec::new(),
        }
    }
}

fn flipped(mut frame: Vec<u8>, pick: usize) -> Vec<u8> {
    let bit = pick % (8 * frame.len());
    frame[bit / 8] ^= 1 << (bit % 8);
    frame
}

/// One half of a connection through the adversary.
pub(crate) struct Tapped {
    tap: Rc<RefCell<Tap>>,
    foreign: Foreign,
    /// Which way goes what this half receives.
    way: usize,
    /// Frames of that way which are of the handshake.
    handshake: usize,
    unfinished: Vec<u8>,
}

impl Tapped {
    /// Both halves; so many frames of each way are of a handshake.
    pub(crate) fn both(
        tap: &Rc<RefCell<Tap>>,
        foreign: &Foreign,
        handshake: [usize; 2],
    ) -> [Tapped; 2] {
        [TO_SERVER, TO_CLIENT].map(|way| Tapped {
            tap: Rc::clone(tap),
            foreign: Rc::clone(foreign),
            way,
            handshake: handshake[way],
            unfinished: Vec::new(),
        })
    }

    /// The next whole frame: of the handshake at first, and then of `LengthPrefixed`.
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let is_handshake = self.tap.borrow().seen[self.way].len() < self.handshake;
        let len = if is_handshake {
            1 + usize::from(*self.unfinished.first()?)
        } else {
            4 + u32::from_be_bytes(*self.unfinished.first_chunk()?) as usize
        };
        (self.unfinished.len() >= len).then(|| self.unfinished.drain(..len).collect())
    }
}

impl Passage for Tapped {
    fn on_bytes(&mut self, bytes: &[u8], to: Token, cx: &mut Context<'_, Raw>) {
        self.unfinished.extend_from_slice(bytes);
        while let Some(frame) = self.next_frame() {
            let mut tap = self.tap.borrow_mut();
            let passed = tap.pass(self.way, frame, &self.foreign);
            if !passed.is_empty() {
                cx.forward_to(to, passed);
            }
            if tap.is_cut(self.way) {
                cx.finish_writes_other(to);
            }
        }
    }

    fn on_end(&mut self, to: Token, cx: &mut Context<'_, Raw>) {
        let held = self.tap.borrow().end(self.way);
        if !held.is_empty() {
            cx.forward_to(to, held);
        }
        cx.finish_writes_other(to);
    }
}

fn random_bytes(random: &mut Random) -> [u8; 32] {
    std::array::from_fn(|_| random.below(256) as u8)
}

/// What is drawn before it begins, for a connection.
struct Connection {
    tap: Rc<RefCell<Tap>>,
    sent: [Vec<Vec<u8>>; 2],
    /// Of whoever receives what goes that way.
    notes: [Notes; 2],
    /// The client's.
    nonce: [u8; 32],
}

impl Connection {
    fn draw(random: &mut Random) -> Connection {
        let tap = Tap::draw(random);
        let sent = [(); 2].map(|()| {
            let count = random.length(&(0..=6));
            pieces(random, count, 3_000)
        });
        Connection {
            tap: Rc::new(RefCell::new(tap)),
            sent,
            notes: Default::default(),
            nonce: random_bytes(random),
        }
    }

    fn side(&self, sends: usize) -> Side {
        Side {
            cargo: Cargo::new(self.sent[sends].clone()),
            notes: Rc::clone(&self.notes[1 - sends]),
        }
    }

    fn check(&self, world: &World) -> Outcome {
        let tap = self.tap.borrow();
        let plan = tap.plan;
        for way in [TO_SERVER, TO_CLIENT] {
            let heard = self.notes[way].borrow();
            let sent = &self.sent[way];
            world.require(
                sent.starts_with(&heard.messages),
                format_args!("{plan:?}: something else was accepted"),
            )?;
            let is_all = sent.len() == heard.messages.len();
            world.require(
                is_all || !heard.is_whole,
                format_args!("{plan:?}: a part was taken for the whole"),
            )?;
            world.require(
                !(tap.is_attacked(way) && heard.is_whole),
                format_args!("{plan:?}: it was not noticed"),
            )?;
            let is_undisturbed = matches!(tap.progress, Progress::Untouched) && is_quiet(world);
            world.require(
                heard.is_whole || !is_undisturbed,
                format_args!("{plan:?}: nothing happened, and not all came: {heard:?}"),
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
            let [ahead, back] = Tapped::both(&tap, &foreign, [1, 2]);
            let to = Connect::new(to).name("to server").limits(patient());
            watch.over(Half::new(ahead, to, back, &watch))
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
    play(world, &mut Carried::default())
}

fn play(world: &mut World, carried: &mut Carried) -> Outcome {
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
    for one in all.iter() {
        one.check(world)?;
        if let Some(attack) = one.tap.borrow().attack_done() {
            carried[attack] = true;
        }
    }
    Ok(())
}

#[test]
fn nothing_is_accepted_from_an_adversary_on_the_path() {
    let mut carried = Carried::default();
    let count = check(seeds(SEEDS), |world| play(world, &mut carried));
    for (attack, is_carried) in ATTACKS.iter().zip(carried).skip(1) {
        // A few seeds do not come to all of them.
        assert!(
            is_carried || count < SEEDS,
            "{attack:?} was never carried out"
        );
    }
}

/// Whether an attack was carried out, by its place in `ATTACKS`.
type Carried = [bool; ATTACKS.len()];

const ATTACKS: [Attack; 8] = [
    Attack::Nothing,
    Attack::Flip,
    Attack::Cut,
    Attack::Replay,
    Attack::Reorder,
    Attack::Drop,
    Attack::Reflect,
    Attack::Splice,
];
