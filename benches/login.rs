//! What logins do to others on the same reactor: how long an echo takes while nobody logs in, while
//! 1,000 bad logins come in a second from as many addresses, while they come from one, and, to show
//! that it would be seen, while five in a second are hashed in a callback, as nobody should.
//!
//! `cargo bench --features digest --bench login -- [ROUNDS [SECONDS]]`; the four take turns, for
//! so many seconds each. Who has which core is said in `common/beside.rs`; the flood and the clerk
//! share the second one. Addresses are those of 127.0.0.0/8 (which is Linux's): where each login
//! has its own, it is the clerk's desk that refuses; where all have one, its allowance does, and
//! nothing is hashed but that. Knows the example's parts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench has threads and a clock; the rules are for the library"
)]

#[allow(dead_code)]
#[path = "../examples/login"]
mod example {
    pub(crate) mod clerk;
    pub(crate) mod door;
    pub(crate) mod users;
}

#[path = "common/beside.rs"]
mod beside;
#[path = "common/machine.rs"]
mod machine;

use std::collections::VecDeque;
use std::env;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use windlass::protocol::auth::Attempts;
use windlass::{Context, Error, Lines, Protocol, Reactor, Remote};

use beside::{Arm, Echoes, Turns, wait_until};
use example::clerk::{self, Desk};
use example::door::Door;
use example::users::{Users, hash};
use machine::Core;

/// Logins in a second, as the example takes them …
const FLOOD: u32 = 1000;
/// … and where each is hashed in a callback.
const ON_LOOP: u32 = 5;

/// What not to do.
struct OnLoop(Rc<Users>);

impl Protocol for OnLoop {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, _: &[u8], cx: &mut Context<'_, Lines>) {
        let is_right = self.0.is_right("nobody", b"wrong");
        cx.send(if is_right { "OK" } else { "DENIED" });
    }
}

/// Where the three listen: echo, login, login in a callback.
type Started = ([SocketAddr; 3], Remote);

fn serve(
    text: &str,
    cores: Option<[Core; 2]>,
    turns: &Turns,
    started: &Sender<Started>,
) -> Result<(), Error> {
    let users = || Users::parse(text).expect("it was just made");
    let mut reactor = Reactor::new()?;
    let (desk, questions) = Desk::new(32);
    let (attempts, on_loop) = (Attempts::default(), Rc::new(users()));
    let any = "127.0.0.1:0";
    let listeners = [
        reactor.listen(any, move |peer| Door::open(&desk, &attempts, peer))?,
        reactor.listen(any, move |_| OnLoop(Rc::clone(&on_loop)))?,
    ];
    let [login, on_loop] = listeners.map(|listener| {
        let address = reactor.local_addr(listener).expect("it listens");
        address.as_ip().expect("TCP")
    });
    let echo = beside::listen(&mut reactor)?;
    let (remote, users) = (reactor.remote()?, users());
    started
        .send(([echo, login, on_loop], remote.clone()))
        .expect("somebody waits for it");
    thread::spawn(move || clerk::work(&questions, &users, &remote));
    // After the clerk was begun, who stays on the other one.
    if let Some([core, _]) = cores {
        beside::pin(core);
    }
    turns.run(&mut reactor)
}

/// How often which answer came.
#[derive(Default)]
struct Answers {
    sent: u32,
    denied: u32,
    busy: u32,
    too_many: u32,
    other: u32,
}

/// Who logs in, how often in a second, and from where.
#[derive(Clone, Copy)]
struct Flood {
    to: SocketAddr,
    rate: u32,
    /// All from this address, instead of one of its own each.
    from: Option<Ipv4Addr>,
}

/// Logs in until told to stop.
fn flood(Flood { to, rate, from }: Flood, first: u32, is_over: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    let mut open = VecDeque::new();
    let began = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        wait_until(began + Duration::from_secs(1) * answers.sent / rate);
        let own = Ipv4Addr::from(0x7f01_0000 + (first + answers.sent) % 0x00fe_0000);
        open.push_back(log_in(to, from.unwrap_or(own)));
        answers.sent += 1;
        // Time enough for an answer.
        if open.len() > 2 * rate as usize {
            open.drain(..1).for_each(|stream| answers.take(stream));
        }
    }
    // What was asked is answered, so that the next round begins in silence.
    thread::sleep(Duration::from_secs(2));
    open.into_iter().for_each(|stream| answers.take(stream));
    answers
}

fn log_in(to: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((from, 0)).into())
        .expect("all of 127.0.0.0/8 is this host");
    socket.connect(&to.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"LOGIN nobody wrong\n").expect("room");
    stream
}

impl Answers {
    fn take(&mut self, mut stream: TcpStream) {
        stream.set_nonblocking(true).expect("a socket");
        let mut answer = [0; 64];
        match stream.read(&mut answer).map(|len| &answer[..len]) {
            Ok(b"DENIED\n") => self.denied += 1,
            Ok(b"BUSY\n") => self.busy += 1,
            Ok(b"TOO MANY ATTEMPTS\n") => self.too_many += 1,
            _ => self.other += 1,
        }
        // Ports are not kept back for a minute each.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answers {
            sent,
            denied,
            busy,
            too_many,
            other,
        } = self;
        write!(
            f,
            "{sent} logins: {denied} hashed and denied, {busy} busy, {too_many} too many, \
             {other} otherwise"
        )
    }
}

fn main() {
    // `cargo bench` says `--bench`.
    let mut numbers = env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let rounds: u32 = numbers.next().unwrap_or(10).max(1);
    let duration = Duration::from_secs(numbers.next().unwrap_or(2).max(1).into());

    let users = format!("anne:{}\n", hash(b"correct horse").expect("it fits"));
    let (cores, turns) = (beside::cores(), Turns::default());
    let (started, start) = channel();
    let noted = turns.clone();
    let server = thread::spawn(move || serve(&users, cores, &noted, &started).expect("it serves"));
    let ([address, login, on_loop], remote) = start.recv().expect("it starts");
    let mut echoes = Echoes::new(address, &turns, cores.map(|[core, _]| core));

    let logins = |to, rate, from| Some(Flood { to, rate, from });
    let one = Some(Ipv4Addr::new(127, 0, 0, 9));
    let floods = [
        None,
        logins(login, FLOOD, None),
        logins(login, FLOOD, one),
        logins(on_loop, ON_LOOP, None),
    ];
    let mut arms = [
        "nobody logs in",
        "1,000/s, bad",
        "1,000/s of one address",
        "5/s in a callback",
    ]
    .map(Arm::new);
    let mut first = 0;
    for _ in 0..rounds {
        for (arm, logins) in arms.iter_mut().zip(floods) {
            let is_over = AtomicBool::new(false);
            let answers = thread::scope(|scope| {
                let flood = logins.map(|logins| {
                    let is_over = &is_over;
                    scope.spawn(move || {
                        if let Some([_, others]) = cores {
                            beside::pin(others);
                        }
                        flood(logins, first, is_over)
                    })
                });
                echoes.run(duration, arm);
                is_over.store(true, Ordering::Relaxed);
                let answers = flood.map(|flood| flood.join().expect("no panic"));
                answers.unwrap_or_default()
            });
            first += answers.sent;
            arm.say(answers);
        }
    }
    beside::conclude(&arms);
    remote.shutdown(Duration::from_secs(1));
    drop(echoes);
    server.join().expect("an orderly end");
}
