//! Servers on windlass beside their peers: what a message costs each, in CPU time, system calls and
//! memory. `PERFORMANCE.md` has the method and the tables.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- all
//! … -- list
//! … -- http-plain-64 http-pipelined --rounds 3 --seconds 1 --peers hyper,nginx
//! … -- system-calls
//! … -- growth
//! … -- clients
//! ```
//!
//! Linux only: it reads `/proc`.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../../echo/clients.rs"]
mod clients;
mod growth;
mod load;
#[path = "../../common/machine.rs"]
mod machine;
mod measure;
mod peers;
mod process;
mod report;
mod spread;
mod svg;
mod workload;
mod wrk;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use measure::{Bench, Row};
use peers::{Peer, Service};
use report::Report;
use workload::{Shape, Workload};

/// What a message costs windlass, beside its peers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Workloads; `all`; `list`; `system-calls`, `growth` and `clients` (the example `load` beside
    /// wrk), which are apart.
    #[arg(value_name = "WHAT", default_value = "list")]
    what: Vec<String>,
    /// How often each is measured. Fewer than six tell nothing.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// How long each window is.
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Measures these alone, beside the bare loop and windlass.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Where the report is written.
    #[arg(long, value_name = "FILE", default_value = "peers.html")]
    html: PathBuf,
    /// Where every single window of the workloads is written.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The example `load`, for `clients`. By default cargo builds it.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves until it is killed.
    Serve {
        peer: Peer,
        service: Service,
        address: SocketAddr,
        /// A directory with the files to serve, below `files/`.
        work: PathBuf,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    match args.role {
        Some(Role::Serve {
            peer,
            service,
            address,
            work,
        }) => {
            machine::end_with_parent()?;
            peer.serve(service, address, &work.join("files"))
        }
        None => run(&args),
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let is_asked = |what: &str| args.what.iter().any(|asked| asked == what);
    if is_asked("list") {
        list();
        return Ok(());
    }
    let mut workloads = Vec::new();
    for what in &args.what {
        match what.as_str() {
            "all" => workloads.extend(Workload::value_variants()),
            "system-calls" | "growth" | "clients" => {}
            name => workloads.push(Workload::from_str(name, false)?),
        }
    }
    let mut present = Vec::new();
    for peer in Peer::value_variants() {
        let is_ours = matches!(peer, Peer::Bare | Peer::Windlass | Peer::Deferred);
        if !is_ours && !args.peers.is_empty() && !args.peers.contains(peer) {
            continue;
        }
        match peer.missing() {
            None => present.push(*peer),
            Some(why) => println!("{} is left out: {why}", peer.name()),
        }
    }
    let work = std::env::temp_dir().join(format!("windlass-peers-{}", std::process::id()));
    let bench = Bench::new(work, Duration::try_from_secs_f64(args.seconds)?)?;
    let mut report = Report::new(args.rounds, args.seconds);
    measure(&bench, args.rounds, &workloads, &present, &mut report);
    if is_asked("all") || is_asked("system-calls") {
        system_calls(&bench, &present, &mut report);
    }
    if is_asked("all") || is_asked("growth") {
        growth::measure(&bench, args.rounds, &mut report);
    }
    if is_asked("all") || is_asked("clients") {
        let clients = clients(&bench, args);
        report.clients = Some(clients.map_err(|error| error.to_string()));
    }
    print!("{}", report.markdown());
    fs::write(&args.html, report.html())?;
    println!("\nWritten: {}", args.html.display());
    if let Some(csv) = &args.csv {
        fs::write(csv, report.csv())?;
    }
    fs::remove_dir_all(bench.work())?;
    Ok(())
}

fn clients(bench: &Bench, args: &Args) -> Result<[wrk::Rounds; 2], Box<dyn Error>> {
    let load = match &args.load {
        Some(load) => load.clone(),
        None => wrk::load_example()?,
    };
    wrk::measure(bench, args.rounds, &load)
}

fn list() {
    println!("workloads:");
    for workload in Workload::value_variants() {
        let value = workload.to_possible_value().expect("no value is skipped");
        let help = value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let peers = Peer::value_variants().iter();
        let peers = peers.filter(|peer| peer.offers(workload.service()));
        let peers: Vec<String> = peers.map(|peer| peer.name()).collect();
        println!(
            "  {:16} {help}\n  {:16} {}",
            value.get_name(),
            "",
            peers.join(", ")
        );
    }
    println!("besides: all, system-calls, growth, clients, list");
    for peer in Peer::value_variants() {
        if let Some(why) = peer.missing() {
            println!("{} is left out: {why}", peer.name());
        }
    }
}

/// Round by round: what drifts meanwhile drifts for all.
fn measure(
    bench: &Bench,
    rounds: usize,
    workloads: &[Workload],
    present: &[Peer],
    report: &mut Report,
) {
    for workload in workloads {
        let peers = present.iter().copied();
        let peers: Vec<Peer> = peers.filter(|peer| offers(*peer, *workload)).collect();
        let name = peers::name(*workload);
        if matches!(workload.shape(), Shape::Idle { .. }) {
            for peer in peers {
                eprintln!("{name}: {}", peer.name());
                let memory = bench.memory(peer, *workload);
                let memory = memory.map_err(|error| error.to_string());
                report.memory.push((*workload, peer, memory));
            }
            continue;
        }
        let mut row = Row::new(*workload);
        for round in 0..rounds {
            eprintln!("{name}: round {} of {rounds}", round + 1);
            row.measure(bench, &peers, round);
        }
        report.rows.push(row);
        eprint!("{}", report.last_row());
    }
}

/// The bare loop is there always: others are divided by it.
fn offers(peer: Peer, workload: Workload) -> bool {
    peer.offers(workload.service())
        || (peer == Peer::Bare && peer.offers(workload.reference().service()))
}

fn system_calls(bench: &Bench, present: &[Peer], report: &mut Report) {
    for workload in COUNTED {
        for peer in present {
            if peer.offers(workload.service()) {
                eprintln!("system calls: {} {}", peers::name(workload), peer.name());
                let calls = bench.system_calls(*peer, workload);
                let calls = calls.map_err(|error| error.to_string());
                report.calls.push((workload, *peer, calls));
            }
        }
    }
}

const COUNTED: [Workload; 5] = [
    Workload::Echo1,
    Workload::HttpPlain64,
    Workload::HttpPipelined,
    Workload::File4k,
    Workload::UdpEcho,
];
