//! UDP over loopback, beside bare loops that do nothing else: one system call per datagram, and
//! trains of datagrams (GRO and GSO).
//!
//! As `benches/echo`: each measurement runs a server process on one core and a load process on
//! another (this program again), and reads how much CPU time the server was given. A figure means
//! something only beside the bare loop's of the same round: the answer is their ratio.
//!
//! ```text
//! cargo bench --features hub --bench udp
//! cargo bench --features hub --bench udp -- --rounds 9 --secs 1
//! ```
//!
//! Linux only: it reads `/proc`.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "udp/bare.rs"]
mod bare;
#[path = "udp/crowd.rs"]
mod crowd;
#[path = "udp/load.rs"]
mod load;
#[path = "common/machine.rs"]
mod machine;

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use windlass::protocol::{Hub, HubLimits};
use windlass::{Datagram, DatagramContext, DatagramProtocol, Echo, Raw, Reactor};

use machine::Core;

/// CPU time of a datagram, as a ratio to a bare loop.
#[derive(Parser)]
struct Args {
    /// How often everything is measured. [default: 5]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each measurement takes. [default: 1]
    #[arg(long)]
    secs: Option<f64>,
    /// `cargo bench` says so. Without it this is a test: does it work at all?
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves on a free port, and prints it.
    Serve {
        /// What.
        #[arg(value_enum)]
        task: Task,
        /// By a bare loop.
        #[arg(long)]
        bare: bool,
    },
    /// Loads a server, and prints datagrams and nanoseconds of CPU time.
    Load(load::Order),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Echo, one datagram at a time under way.
    PingPong,
    /// Echo, 32 datagrams under way.
    Echo,
    /// Taken, and not answered.
    Sink,
    /// Echo of trains of 64.
    EchoTrains,
    /// Trains of 64, taken and not answered.
    SinkTrains,
    /// What one publishes, sent to 1,000 by a hub; the bare loop sends 64 with one `sendmmsg`.
    FanOut,
}

impl Task {
    fn has_trains(self) -> bool {
        matches!(self, Task::EchoTrains | Task::SinkTrains)
    }

    fn is_sink(self) -> bool {
        matches!(self, Task::Sink | Task::SinkTrains)
    }
}

/// Takes everything, and answers only to a datagram of one byte: "have you got that far?"
struct Sink;

impl DatagramProtocol for Sink {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        if datagram.len == 1 {
            cx.reply(datagram.bytes);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    match args.role {
        Some(Role::Serve { task, bare }) => {
            pin()?;
            serve(task, bare)
        }
        Some(Role::Load(order)) => {
            pin()?;
            Ok(load::run(&order)?)
        }
        None => compare(&args),
    }
}

fn serve(task: Task, bare: bool) -> Result<(), Box<dyn Error>> {
    let announce = |port: u16| println!("{port}");
    if bare && task == Task::FanOut {
        return Ok(bare::fan_out(announce)?);
    }
    match (bare, task.has_trains()) {
        (true, false) => return Ok(bare::one_by_one(task.is_sink(), announce)?),
        (true, true) => return Ok(bare::trains(task.is_sink(), announce)?),
        (false, _) => {}
    }
    let mut reactor = Reactor::new()?;
    let token = if task == Task::FanOut {
        let limits = HubLimits {
            messages_per_second: 1_000_000,
            bytes_per_second: 1 << 30,
            ..HubLimits::default()
        };
        reactor.bind("127.0.0.1:0", Hub::new(&[7; 32], limits))?
    } else if task.is_sink() {
        reactor.bind("127.0.0.1:0", Sink)?
    } else {
        reactor.bind("127.0.0.1:0", Echo::<Raw>::default())?
    };
    let port = reactor.local_addr(token)?.port();
    announce(port.expect("it is a UDP socket"));
    Ok(reactor.run()?)
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let Some(cores) = machine::two_cores()? else {
        println!("udp: there is one core only, and the load needs its own: not measured");
        return Ok(());
    };
    let (rounds, secs) = if args.bench { (5, 1.0) } else { (1, 0.05) };
    let rounds = args.rounds.unwrap_or(rounds);
    let time = Duration::try_from_secs_f64(args.secs.unwrap_or(secs))?;
    println!("udp, 64 bytes: CPU time per datagram, {rounds} rounds of {time:?}");
    println!(
        "{:12} {:>12} {:>12}   ratio: median (min-max)",
        "", "bare loop", "windlass"
    );
    for task in Task::value_variants() {
        let mut figures: Vec<[f64; 2]> = Vec::new();
        for round in 0..rounds {
            // Neither is always the first, should the other suffer for it.
            let mut order = [true, false];
            order.rotate_left(round % 2);
            let mut both = [0.0; 2];
            for bare in order {
                both[usize::from(!bare)] = measure(*task, bare, cores, time)?;
            }
            figures.push(both);
        }
        let ratios = median(figures.iter().map(|[bare, ours]| ours / bare));
        let [bare, ours] = [0, 1].map(|at| median(figures.iter().map(|both| both[at]))[1]);
        let [min, middle, max] = ratios;
        println!(
            "{:12} {bare:>9.0} ns {ours:>9.0} ns   {middle:.3} ({min:.3}-{max:.3})",
            name(*task)
        );
    }
    Ok(())
}

/// Nanoseconds per datagram.
fn measure(
    task: Task,
    bare: bool,
    [server_core, load_core]: [Core; 2],
    time: Duration,
) -> Result<f64, Box<dyn Error>> {
    let mut args = vec!["serve".to_owned(), name(task)];
    args.extend(bare.then(|| "--bare".to_owned()));
    let mut server = Process::start(server_core, &args)?;
    let port = server.line()?;
    let args = [
        "load".to_owned(),
        name(task),
        format!("--port={}", port.trim()),
        format!("--pid={}", server.0.id()),
        format!("--secs={}", time.as_secs_f64()),
    ];
    let line = Process::start(load_core, &args)?.line()?;
    let mut numbers = line.split_ascii_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().ok_or("the load says nothing");
    let (datagrams, ns) = (next()??, next()??);
    Ok(ns / datagrams)
}

/// The least, the middle and the greatest.
fn median(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1)),
    ]
}

fn name(task: Task) -> String {
    let value = task.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

/// A process of this program, which ends with this value.
struct Process(Child, BufReader<std::process::ChildStdout>);

impl Process {
    fn start(core: Core, args: &[String]) -> io::Result<Process> {
        let mut child = Command::new(env::current_exe()?)
            .args(args)
            .env(CORE, core.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("it is piped");
        Ok(Process(child, BufReader::new(out)))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.1.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pin() -> io::Result<()> {
    if let Ok(core) = env::var(CORE) {
        machine::pin(core.parse().map_err(io::Error::other)?)?;
        machine::end_with_parent()?;
    }
    Ok(())
}

/// The core that a process is to run on.
const CORE: &str = "UDP_BENCH_CORE";
