//! What logins do to others on the same reactor: how long an echo takes while nobody logs in, while
//! 1,000 bad logins come in a second, and, to show that it would be seen, while 20 in a second are
//! hashed in a callback, as nobody should.
//!
//! `cargo bench --features digest --bench login -- [ROUNDS [SECONDS]]`; the three take turns, for
//! so many seconds each. The reactor has the first core, all else the second, the clerk as well:
//! what is measured is the loop, and not who gets a core. Every login has an address of its own
//! (127.0.0.0/8, which is Linux's), so that it is the clerk's desk that refuses, not the limit for
//! each address. Knows the example's parts.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench has threads and a clock; the rules are for the library"
)]

#[allow(dead_code)]
#[path = "../examples/login"]
mod example {
    pub(crate) mod clerk;
    pub(crate) mod door;
    pub(crate) mod users;
}

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
use windlass::{Context, Echo, Error, Lines, Protocol, Reactor, Remote};

use example::clerk::{self, Desk};
use example::door::Door;
use example::users::{Users, hash};
use machine::Core;

/// Logins in a second, as the example takes them …
const FLOOD: u32 = 1000;
/// … and where each is hashed in a callback.
const ON_LOOP: u32 = 20;
/// Echoes in a second.
const ECHOES: u32 = 1000;
const LINE: [u8; 64] = {
    let mut line = [b'x'; 64];
    line[63] = b'\n';
    line
};

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

fn serve(text: &str, cores: Option<[Core; 2]>, started: &Sender<Started>) -> Result<(), Error> {
    let users = || Users::parse(text).expect("it was just made");
    let mut reactor = Reactor::new()?;
    let (desk, questions) = Desk::new(32);
    let (attempts, on_loop) = (Attempts::default(), Rc::new(users()));
    let any = "127.0.0.1:0";
    let listeners = [
        reactor.listen(any, |_| Echo::<Lines>::default())?,
        reactor.listen(any, move |peer| Door::open(&desk, &attempts, peer))?,
        reactor.listen(any, move |_| OnLoop(Rc::clone(&on_loop)))?,
    ];
    let addresses = listeners.map(|listener| {
        let address = reactor.local_addr(listener).expect("it listens");
        address.as_ip().expect("TCP")
    });
    let (remote, users) = (reactor.remote()?, users());
    started
        .send((addresses, remote.clone()))
        .expect("somebody waits for it");
    thread::spawn(move || clerk::work(&questions, &users, &remote));
    // After the clerk was begun, who stays on the other one.
    if let Some([core, _]) = cores {
        machine::pin(core).expect("it is one of ours");
    }
    reactor.run()
}

/// How often which answer came.
#[derive(Default)]
struct Answers {
    sent: u32,
    denied: u32,
    busy: u32,
    other: u32,
}

/// Logs in `rate` times a second until told to stop, each time with another address.
fn flood(to: SocketAddr, rate: u32, first: u32, is_over: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    let mut open = VecDeque::new();
    let began = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        wait_until(began + Duration::from_secs(1) * answers.sent / rate);
        open.push_back(log_in(to, first + answers.sent));
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

fn log_in(to: SocketAddr, number: u32) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let ours = Ipv4Addr::from(0x7f01_0000 + number % 0x00fe_0000);
    socket
        .bind(&SocketAddr::from((ours, 0)).into())
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
            other,
        } = self;
        write!(
            f,
            "{sent} logins: {denied} denied, {busy} busy, {other} otherwise"
        )
    }
}

/// Answers whether there was anything to wait for.
fn wait_until(at: Instant) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    thread::sleep(left);
    !left.is_zero()
}

/// How long echoes take: microseconds, in order. If one is late, so are the next ones that are due.
fn echo(stream: &mut TcpStream, duration: Duration) -> Vec<u128> {
    let count = ECHOES * duration.as_secs() as u32;
    let began = Instant::now();
    let mut took: Vec<_> = (0..count)
        .map(|at| {
            let due = began + Duration::from_secs(1) * at / ECHOES;
            let since = if wait_until(due) { Instant::now() } else { due };
            stream.write_all(&LINE).expect("it listens");
            stream.read_exact(&mut [0; LINE.len()]).expect("an echo");
            since.elapsed().as_micros()
        })
        .collect();
    took.sort_unstable();
    took
}

/// The median of the rounds, and their spread.
fn spread(mut values: Vec<u128>) -> String {
    values.sort_unstable();
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{} ({least} to {most})", values[values.len() / 2])
}

fn main() {
    // `cargo bench` says `--bench`.
    let mut numbers = env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let rounds: u32 = numbers.next().unwrap_or(10).max(1);
    let duration = Duration::from_secs(numbers.next().unwrap_or(3).max(1).into());

    let users = format!("anne:{}\n", hash(b"correct horse").expect("it fits"));
    let cores = machine::two_cores().expect("the system tells");
    match cores {
        Some([_, others]) => machine::pin(others).expect("it is one of ours"),
        None => println!("login: there is one core only, which all share"),
    }
    let (started, start) = channel();
    let server = thread::spawn(move || serve(&users, cores, &started).expect("it serves"));
    let ([address, login, on_loop], remote) = start.recv().expect("it starts");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("TCP");

    let arms = [
        ("nobody logs in", None),
        ("1,000 bad logins/s", Some((login, FLOOD))),
        ("20/s in a callback", Some((on_loop, ON_LOOP))),
    ];
    let (mut p50, mut p99) = (vec![Vec::new(); arms.len()], vec![Vec::new(); arms.len()]);
    let mut first = 0;
    for round in 1..=rounds {
        for (arm, (name, logins)) in arms.into_iter().enumerate() {
            let is_over = AtomicBool::new(false);
            let (took, answers) = thread::scope(|scope| {
                let flood = logins.map(|(to, rate)| {
                    let is_over = &is_over;
                    scope.spawn(move || flood(to, rate, first, is_over))
                });
                let took = echo(&mut stream, duration);
                is_over.store(true, Ordering::Relaxed);
                let answers = flood.map(|flood| flood.join().expect("no panic"));
                (took, answers.unwrap_or_default())
            });
            first += answers.sent;
            let at = |percent| took[(took.len() - 1) * percent / 100];
            p50[arm].push(at(50));
            p99[arm].push(at(99));
            let echoes = [50, 99, 100].map(at);
            println!("{round:2} {name:20} p50, p99, most: {echoes:?} us; {answers}");
        }
    }
    println!("median of {rounds} rounds (least to most), in microseconds:");
    for (((name, _), p50), p99) in arms.into_iter().zip(p50).zip(p99) {
        println!("   {name:20} p50 {:24} p99 {}", spread(p50), spread(p99));
    }
    remote.shutdown(Duration::from_secs(1));
    drop(stream);
    server.join().expect("an orderly end");
}
