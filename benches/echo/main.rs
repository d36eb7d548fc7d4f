//! Echo over loopback, beside a bare `mio` loop that does nothing else.
//!
//! Each measurement runs a server process on one core and a load process on another (this program
//! again, in other roles), and reads how much CPU time the server was given. The machine's speed
//! drifts, so a figure means something only beside the bare loop's of the same round: the answer
//! is their ratio.
//!
//! ```text
//! cargo bench --bench echo
//! cargo bench --bench echo -- --only 64x64 --rounds 9
//! ```
//!
//! Linux only: it reads `/proc`.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod bare;
mod clients;
mod column;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod process;

use std::error::Error;
use std::time::Duration;

use clap::{Parser, Subcommand};
use windlass::{Echo, Raw, Reactor};

use column::Column;
use machine::Core;
use process::{Load, Server};

/// CPU time of an echo server per message, as a ratio to a bare loop.
#[derive(Parser)]
struct Args {
    /// How often everything is measured. [default: 5]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each measurement takes. [default: 2]
    #[arg(long)]
    secs: Option<f64>,
    /// Measures this column alone. Can be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Column>,
    /// Three rounds of half a second, for a first impression.
    #[arg(long)]
    quick: bool,
    /// `cargo bench` says so. Without it this is a test: does it work at all?
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of its own does.
#[derive(Subcommand)]
enum Role {
    /// Serves on a free port, and prints it.
    Serve {
        /// How.
        #[arg(value_enum)]
        kind: Kind,
    },
    /// Loads a server, and prints messages and nanoseconds of CPU time.
    Load(load::Order),
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A loop around `mio`, and nothing else.
    Bare,
    /// The library.
    Windlass,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    match args.role {
        Some(Role::Serve { kind }) => {
            process::begin()?;
            serve(kind)
        }
        Some(Role::Load(order)) => {
            process::begin()?;
            Ok(load::run(&order)?)
        }
        None => compare(&args),
    }
}

fn serve(kind: Kind) -> Result<(), Box<dyn Error>> {
    match kind {
        Kind::Bare => {
            let listener = bare::listen(([127, 0, 0, 1], 0).into())?;
            announce(listener.local_addr()?.port());
            Ok(bare::serve(listener, bare::echo)?)
        }
        Kind::Windlass => {
            let mut reactor = Reactor::new()?;
            let listener = reactor.listen("127.0.0.1:0", |_| Echo::<Raw>::default())?;
            let address = reactor.local_addr(listener)?.as_ip();
            announce(address.expect("it listens on TCP").port());
            Ok(reactor.run()?)
        }
    }
}

fn announce(port: u16) {
    println!("{port}");
}

/// The figures of one column.
struct Row {
    column: Column,
    /// Of each round: the bare loop's and the library's.
    rounds: Vec<[f64; 2]>,
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let (rounds, secs) = match (args.bench, args.quick) {
        (false, _) => (1, 0.05),
        (true, true) => (3, 0.5),
        (true, false) => (5, 2.0),
    };
    let rounds = args.rounds.unwrap_or(rounds);
    let time = Duration::try_from_secs_f64(args.secs.unwrap_or(secs))?;
    let idle = if args.bench { IDLE } else { IDLE / 100 };

    let Some(cores) = machine::two_cores()? else {
        println!("echo: there is one core only, and the load needs its own: not measured");
        return Ok(());
    };
    let is_wanted = |column: &Column| args.only.is_empty() || args.only.contains(column);
    let columns = Column::ALL.into_iter().filter(is_wanted);
    let (memory, timed): (Vec<_>, Vec<_>) = columns.partition(|column| *column == Column::Memory);

    let mut rows: Vec<Row> = timed.into_iter().map(Row::new).collect();
    for round in 0..rounds {
        for row in &mut rows {
            // Neither is always the first, should the other suffer for it.
            let mut order = [Kind::Bare, Kind::Windlass];
            order.rotate_left(round % 2);
            let mut figures = [0.0; 2];
            for kind in order {
                let figure = measure(row.column, kind, cores, time, idle)?;
                figures[usize::from(kind == Kind::Windlass)] = figure;
            }
            row.rounds.push(figures);
        }
    }
    if !rows.is_empty() {
        print_table(&rows, rounds, time);
    }
    if !memory.is_empty() {
        print_memory(cores, idle)?;
    }
    Ok(())
}

/// Nanoseconds per message.
fn measure(
    column: Column,
    kind: Kind,
    [server_core, load_core]: [Core; 2],
    time: Duration,
    idle: usize,
) -> Result<f64, Box<dyn Error>> {
    let server = Server::start(kind, server_core)?;
    let load = Load::start(&server, load_core, column, time, idle)?;
    Ok(load.ns_per_message()?)
}

fn print_table(rows: &[Row], rounds: usize, time: Duration) {
    println!("echo: CPU time per message, {rounds} rounds of {time:?}");
    println!(
        "{:28} {:>12} {:>12}   ratio: median (min-max)",
        "", "bare loop", "windlass"
    );
    for row in rows {
        let column = |index: usize| median(row.rounds.iter().map(|figures| figures[index]));
        let ratios = || row.rounds.iter().map(|[bare, ours]| ours / bare);
        let min = ratios().fold(f64::INFINITY, f64::min);
        let max = ratios().fold(0.0, f64::max);
        let remark = if max / min > WIDE {
            "   too wide to tell"
        } else {
            ""
        };
        println!(
            "{:28} {:>9.0} ns {:>9.0} ns   {:.3} ({min:.3}-{max:.3}){remark}",
            row.column.title(),
            column(0),
            column(1),
            median(ratios()),
        );
    }
}

fn print_memory([server_core, load_core]: [Core; 2], idle: usize) -> Result<(), Box<dyn Error>> {
    println!("memory of an idle connection, bytes ({idle} of them)");
    println!("{:28} {:>12} {:>12}", "", "never sent", "after a message");
    for kind in [Kind::Bare, Kind::Windlass] {
        let server = Server::start(kind, server_core)?;
        let column = Column::Single;
        Load::start(&server, load_core, column, Duration::from_millis(50), 0)?.ns_per_message()?;
        let before = server.anonymous_len()?;
        let mut load = Load::start(&server, load_core, Column::Memory, Duration::ZERO, idle)?;
        let mut each = || -> Result<f64, Box<dyn Error>> {
            load.next_step()?;
            server.wait_until_idle(idle)?;
            Ok((server.anonymous_len()? - before) / idle as f64)
        };
        let (never_sent, after) = (each()?, each()?);
        println!(
            "{:28} {never_sent:>12.0} {after:>12.0}",
            format!("{kind:?}")
        );
    }
    Ok(())
}

impl Row {
    fn new(column: Column) -> Row {
        Row {
            column,
            rounds: Vec::new(),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Idle connections: as many as fit, with everything else, into 20,000 descriptors.
const IDLE: usize = 15_000;
/// The highest ratio may be so many times the lowest before nothing can be told from them.
const WIDE: f64 = 1.1;
