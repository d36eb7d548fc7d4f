//! The transfers of the example `files`, and an adversary on the path: what lies under a name is
//! what was sent under it, or what was there before; and what was cut goes on.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use windlass::net::{Address, Connect, Listen};
use windlass::sim::{Faults, Outcome, Random, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Protocol, TimerId};

use self::example::digest::{BLOCK_LEN, Slices};
use self::example::refusal::{Code, Refusal};
use self::example::server::Service;
use self::example::sink::Sink;
use self::example::source::Source;
use self::example::step::{Next, Turns};
use self::example::store::{Fsync, Place, Store};
use self::example::wire::{Message, Wire, WireError};
use crate::SEEDS;
use crate::client::{patient, pieces};
use crate::forward::Half;
use crate::sealed::{Foreign, Tap, Tapped};

/// Its parts.
#[allow(dead_code)]
#[path = "../../examples/files"]
mod example {
    pub(crate) mod digest;
    pub(crate) mod refusal;
    pub(crate) mod server;
    pub(crate) mod sink;
    pub(crate) mod source;
    pub(crate) mod step;
    pub(crate) mod store;
    pub(crate) mod wire;
}

/// Two directories, gone with the world.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sim-files-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        for side in ["here", "there"] {
            fs::create_dir_all(path.join(side)).expect("there is room");
        }
        Folder(path)
    }

    /// Of the sink, or of the source.
    fn side(&self, is_there: bool) -> PathBuf {
        self.0.join(if is_there { "there" } else { "here" })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file that is to be moved.
struct Cargo {
    name: String,
    is_download: bool,
    content: Vec<u8>,
    /// What lies under its name where it is to be.
    old: Option<Vec<u8>>,
}

impl Cargo {
    /// Draws one, and puts it where it is, with what there is of it already where it is to be.
    fn draw(random: &mut Random, number: usize, folder: &Folder) -> Cargo {
        let content = pieces(random, 1, 3_000).concat();
        let content = match random.below(12) {
            0 => Vec::new(),
            // More blocks than one.
            1 => content.repeat(1 + (BLOCK_LEN + 5) / content.len()),
            _ => content,
        };
        let old = random.chance(0.3).then(|| pieces(random, 1, 50).concat());
        let cargo = Cargo {
            name: format!("f{number}"),
            is_download: random.chance(0.5),
            content,
            old,
        };
        let [from, to] = cargo.ends(folder);
        let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("there is room");
        write(&from.join(&cargo.name), &cargo.content);
        if let Some(old) = &cargo.old {
            write(&to.join(&cargo.name), old);
        }
        let part = to.join(format!(".{}.part", cargo.name));
        match random.below(4) {
            0 => write(&part, b"nonsense"),
            1 => write(&part, &cargo.content[..cargo.content.len().min(BLOCK_LEN)]),
            _ => {}
        }
        cargo
    }

    /// Where it is, and where it is to be.
    fn ends(&self, folder: &Folder) -> [PathBuf; 2] {
        [self.is_download, !self.is_download].map(|is_there| folder.side(is_there))
    }

    /// What lies under its name where it is to be.
    fn arrived(&self, folder: &Folder) -> Option<Vec<u8>> {
        let [_, to] = self.ends(folder);
        fs::read(to.join(&self.name)).ok()
    }

    fn client(&self, folder: &Folder, told: &Told) -> Client {
        Client {
            name: self.name.clone(),
            doing: Doing::Nothing,
            turns: Turns::default(),
            slices: Slices::default(),
            folder: folder.side(false),
            is_download: self.is_download,
            told: Rc::clone(told),
        }
    }
}

/// What the user of a client is told, once it is over.
type Told = Rc<RefCell<Option<Result<(), String>>>>;

/// The client's side of one transfer.
struct Client {
    name: String,
    is_download: bool,
    folder: PathBuf,
    doing: Doing,
    turns: Turns,
    slices: Slices,
    told: Told,
}

enum Doing {
    Nothing,
    Sending(Source),
    Receiving(Sink),
}

impl Client {
    fn tell(&self, outcome: Result<(), String>) {
        self.told.borrow_mut().get_or_insert(outcome);
    }

    fn begin(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        let path = self.name.as_bytes();
        if self.is_download {
            cx.send(Message::Get { path });
        } else {
            let file = File::open(self.folder.join(&self.name))?;
            let source = Source::new(file, path, &self.slices)?;
            let len = source.len();
            self.doing = Doing::Sending(source);
            cx.send(Message::Put { len, path });
        }
        Ok(Next::Wait)
    }

    fn on_message(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        if let Message::Refused(refusal) = message {
            self.tell(Err(refusal.to_string()));
            return Ok(Next::Over);
        }
        let next = match (&mut self.doing, message) {
            (Doing::Nothing, Message::File { len }) => {
                let path = self.name.as_bytes();
                let partial = Place::new(&self.folder, path)?.begin()?;
                let sink = Sink::new(partial, path, *len, Fsync::None, &self.slices)?;
                self.doing = Doing::Receiving(sink);
                Next::Again
            }
            (Doing::Nothing, _) => return Err(Refusal::confused()),
            (Doing::Sending(source), message) => source.on_message(message)?,
            (Doing::Receiving(sink), message) => sink.on_message(message, cx)?,
        };
        if next == Next::Over {
            self.tell(Ok(()));
        }
        Ok(next)
    }

    fn work(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        match &mut self.doing {
            Doing::Nothing => Ok(Next::Wait),
            Doing::Sending(source) => source.work(cx),
            Doing::Receiving(sink) => sink.work(cx),
        }
    }

    fn conclude(&mut self, result: Result<Next, Refusal>, cx: &mut Context<'_, Wire>) {
        if let Err(refusal) = &result {
            self.tell(Err(refusal.to_string()));
        }
        if self.turns.conclude(result, cx) {
            self.doing = Doing::Nothing;
        }
    }
}

impl Protocol for Client {
    type Decoder = Wire;
    type Encoder = Wire;

    fn on_open(&mut self, cx: &mut Context<'_, Wire>) {
        let result = self.begin(cx);
        self.conclude(result, cx);
    }

    fn on_frame(&mut self, message: Message<'_>, cx: &mut Context<'_, Wire>) {
        let result = self.on_message(&message, cx);
        self.conclude(result, cx);
    }

    fn on_malformed(&mut self, error: WireError, cx: &mut Context<'_, Wire>) {
        let refusal = Refusal::new(Code::Confused, error.to_string());
        self.conclude(Err(refusal), cx);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, Wire>) {
        self.turns.begin();
        let result = self.work(cx);
        self.conclude(result, cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Wire>) {
        self.conclude(Ok(Next::Again), cx);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.tell(Err(reason.to_string()));
    }
}

fn play(world: &mut World, carried: &mut [bool; 8]) -> Outcome {
    let folder = Folder::new();
    let all: Vec<Cargo> = (0..1 + world.random().below(3))
        .map(|number| Cargo::draw(world.random(), number, &folder))
        .collect();
    if all.iter().any(|cargo| cargo.content.len() > BLOCK_LEN) {
        // Whole blocks, byte by byte, take too long.
        let faults = Faults {
            buffer_len: 16_384..=262_144,
            ..world.faults()
        };
        world.set_faults(faults);
    }
    let (server, path, client) = (
        world.host("server"),
        world.host("path"),
        world.host("client"),
    );
    let address = world.address(server, 7100);
    let service = Service {
        store: Store::open(&folder.side(true)).expect("it is there"),
        fsync: Fsync::None,
        is_read_only: false,
    };
    let listening = example::server::listen(world.reactor(server), Address::Ip(address), service);
    listening.expect("the port is free");

    // With somebody in between, who does something to each, once.
    let (foreign, watch) = (Foreign::default(), world.watch());
    let mut taps = Vec::new();
    let mut all_told = Vec::new();
    for (port, cargo) in (8..).zip(&all) {
        let tap = Rc::new(RefCell::new(Tap::draw(world.random())));
        taps.push(Rc::clone(&tap));
        let (foreign, watch) = (Rc::clone(&foreign), watch.clone());
        let relay = move |_: &windlass::Peer| {
            let [ahead, back] = Tapped::both(&tap, &foreign, [0, 0]);
            let to = Connect::new(address).name("to server").limits(patient());
            watch.over(Half::new(ahead, to, back, &watch))
        };
        let between = world.address(path, port);
        let listen = Listen::new(between).name("path").limits(patient());
        let listening = world.reactor(path).listen(listen, relay);
        listening.expect("the port is free");
        let told = Told::default();
        all_told.push(Rc::clone(&told));
        let connect = Connect::new(between).limits(patient());
        let connected = world
            .reactor(client)
            .connect(connect, cargo.client(&folder, &told));
        connected.expect("an address");
        let pause = world.random().below(20);
        world.run_for(Duration::from_millis(pause as u64))?;
    }
    world.run_for(Duration::from_secs(100_000))?;
    for (cargo, told) in all.iter().zip(&all_told) {
        let told = told.borrow();
        let arrived = cargo.arrived(&folder);
        let is_whole = arrived.as_ref() == Some(&cargo.content);
        world.require(
            is_whole || arrived == cargo.old,
            format_args!("something else lies under {}: {told:?}", cargo.name),
        )?;
        world.require(
            is_whole || *told != Some(Ok(())),
            format_args!("{} is said to have arrived", cargo.name),
        )?;
        world.require(told.is_some(), "a client was not told how it ended")?;
    }
    check_names(world, &folder, &all)?;

    // And now with nobody in between: what was cut goes on, what was damaged comes again.
    world.set_faults(Faults::none());
    for cargo in &all {
        let told = Told::default();
        let connect = Connect::new(address).limits(patient());
        let connected = world
            .reactor(client)
            .connect(connect, cargo.client(&folder, &told));
        connected.expect("an address");
        world.run_for(Duration::from_secs(1000))?;
        let told = told.borrow();
        world.require(
            *told == Some(Ok(())),
            format_args!("{} does not arrive: {told:?}", cargo.name),
        )?;
        let is_whole = cargo.arrived(&folder).as_ref() == Some(&cargo.content);
        world.require(is_whole, "another file has arrived")?;
    }
    check_names(world, &folder, &all)?;
    for tap in &taps {
        if let Some(attack) = tap.borrow().attack_done() {
            carried[attack] = true;
        }
    }
    Ok(())
}

/// Nothing lies there under a name that nobody has meant.
fn check_names(world: &World, folder: &Folder, all: &[Cargo]) -> Outcome {
    for is_there in [false, true] {
        let entries = fs::read_dir(folder.side(is_there)).expect("it is there");
        for entry in entries {
            let name = entry.expect("it is there").file_name();
            let name = name.to_string_lossy();
            let is_known = all.iter().any(|cargo| cargo.name == name);
            let is_part = name.starts_with('.') && name.ends_with(".part");
            world.require(is_known || is_part, format_args!("{name} was made"))?;
        }
    }
    Ok(())
}

#[test]
fn what_lies_under_a_name_is_what_was_sent_under_it_or_was_there_before() {
    let mut carried = [false; 8];
    let count = check(seeds(SEEDS), |world: &mut World| play(world, &mut carried));
    // The first of them is none.
    let is_all = carried[1..].iter().all(|is_carried| *is_carried);
    assert!(
        is_all || count < SEEDS,
        "not all attacks were carried out: {carried:?}"
    );
}
