//! What others do to an echo on the same reactor: how long echoes take, and how long turns are.
//!
//! The reactor has the first core, and the others have the second. The echo's client is with the
//! reactor where that mostly waits, and with the others, who yield to it, where it works all the
//! time: an echo is to be late because of what the loop does, and not because its client waits for
//! a core. Beside that stands what does not depend on who else is on the machine: the processor
//! time that each turn of the loop has taken, which is how long an echo that comes at its beginning
//! waits. Knows nothing of what the others do.

use std::fmt;
use std::io::{Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use windlass::net::Os;
use windlass::{Echo, Error, Lines, Reactor};

use super::machine::{self, Core};

/// Echoes in a second.
const ECHOES: u32 = 1000;
const LINE: [u8; 64] = {
    let mut line = [b'x'; 64];
    line[63] = b'\n';
    line
};

/// The processor time that turns took, in nanoseconds.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Vec<u64>>>);

impl Turns {
    /// Takes turns until the end of the reactor, and notes what each has taken.
    pub(crate) fn run(&self, reactor: &mut Reactor<Os>) -> Result<(), Error> {
        let mut before = None;
        reactor.run_until(|_| {
            let now = processor_time();
            if let Some(before) = before.replace(now) {
                self.0.lock().expect("no panic").push(now - before);
            }
            false
        })
    }

    fn take(&self) -> Vec<u64> {
        mem::take(&mut self.0.lock().expect("no panic"))
    }
}

/// Nanoseconds that this thread has run.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Two cores, if there are that many: that of the reactor, and that of all others. The caller, who
/// is about to start both, is on that of the others from now on.
pub(crate) fn cores() -> Option<[Core; 2]> {
    let cores = machine::two_cores().expect("the system tells");
    match cores {
        Some([_, others]) => pin(others),
        None => println!("there is one core only, which all share"),
    }
    cores
}

pub(crate) fn pin(core: Core) {
    machine::pin(core).expect("it is one of ours");
}

/// Adds an echo to a reactor.
pub(crate) fn listen(reactor: &mut Reactor<Os>) -> Result<SocketAddr, Error> {
    let listener = reactor.listen("127.0.0.1:0", |_| Echo::<Lines>::default())?;
    Ok(reactor.local_addr(listener)?.as_ip().expect("TCP"))
}

/// One thing that the others do, and what it did in each round.
pub(crate) struct Arm {
    name: &'static str,
    rounds: Vec<Round>,
}

/// In microseconds.
struct Round {
    p50: u64,
    p99: u64,
    most: u64,
    turn_p99: u64,
    turn_most: u64,
}

/// The client of the echo.
pub(crate) struct Echoes {
    stream: TcpStream,
    turns: Turns,
}

impl Echoes {
    /// The calling thread is the client, and goes to that core.
    pub(crate) fn new(address: SocketAddr, turns: &Turns, core: Option<Core>) -> Echoes {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        if let Some(core) = core {
            pin(core);
        }
        Echoes {
            stream,
            turns: turns.clone(),
        }
    }

    /// Echoes for so long, while an arm's others do what they do.
    pub(crate) fn run(&mut self, duration: Duration, arm: &mut Arm) {
        self.settle();
        self.turns.take();
        let took = self.echo(duration);
        let mut turns = self.turns.take();
        // It may have begun before.
        turns[0] = 0;
        turns.sort_unstable();
        let at = |values: &[u64], percent| values[(values.len() - 1) * percent / 100] / 1000;
        arm.rounds.push(Round {
            p50: at(&took, 50),
            p99: at(&took, 99),
            most: at(&took, 100),
            turn_p99: at(&turns, 99),
            turn_most: at(&turns, 100),
        });
    }

    /// Waits until what came before is over: until an echo is a fast one again, or for long enough.
    fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        let mut took = Duration::MAX;
        while took > Duration::from_millis(1) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
            took = Duration::from_nanos(self.echo_once(Instant::now()));
        }
    }

    /// Nanoseconds from `since` to when an echo is here.
    fn echo_once(&mut self, since: Instant) -> u64 {
        self.stream.write_all(&LINE).expect("it listens");
        let mut echo = [0; LINE.len()];
        self.stream.read_exact(&mut echo).expect("an echo");
        since.elapsed().as_nanos() as u64
    }

    /// How long echoes take: nanoseconds, in order. If one is late, so are the next ones that are
    /// due; those that would be later than this is long are left out.
    fn echo(&mut self, duration: Duration) -> Vec<u64> {
        let count = ECHOES * duration.as_secs() as u32;
        let began = Instant::now();
        let mut took = Vec::new();
        for at in 0..count {
            let due = began + Duration::from_secs(1) * at / ECHOES;
            let since = if wait_until(due) { Instant::now() } else { due };
            if since.elapsed() > duration {
                break;
            }
            took.push(self.echo_once(since));
        }
        took.sort_unstable();
        took
    }
}

/// Answers whether there was anything to wait for.
pub(crate) fn wait_until(at: Instant) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    thread::sleep(left);
    !left.is_zero()
}

impl Arm {
    pub(crate) fn new(name: &'static str) -> Arm {
        Arm {
            name,
            rounds: Vec::new(),
        }
    }

    /// Says what the last round was, and what the others say of it.
    pub(crate) fn say(&self, others: impl fmt::Display) {
        let (name, number) = (self.name, self.rounds.len());
        let Some(Round {
            p50,
            p99,
            most,
            turn_p99,
            turn_most,
        }) = self.rounds.last()
        else {
            return;
        };
        println!(
            "{number:2} {name:22} echo p50 {p50}, p99 {p99}, most {most} us; \
             turns p99 {turn_p99}, most {turn_most} us; {others}"
        );
    }

    fn spread(&self, what: impl Fn(&Round) -> u64) -> String {
        let mut values: Vec<_> = self.rounds.iter().map(what).collect();
        values.sort_unstable();
        let (least, most) = (values[0], values[values.len() - 1]);
        format!("{} ({least} to {most})", values[values.len() / 2])
    }
}

/// The medians of all rounds, and their spread.
pub(crate) fn conclude(arms: &[Arm]) {
    println!("median of the rounds (least to most), in microseconds; turns in processor time:");
    for arm in arms {
        println!(
            "   {:22} echo p50 {:20} p99 {:22} turns p99 {:18} most {}",
            arm.name,
            arm.spread(|round| round.p50),
            arm.spread(|round| round.p99),
            arm.spread(|round| round.turn_p99),
            arm.spread(|round| round.turn_most)
        );
    }
}
