//! The example `load` beside wrk: what a request costs the client, and what both say of the server.
//!
//! Each round starts a server on windlass on one core, and loads it from the other, by turns, with
//! either program, over 64 connections that ask again at once. There are two servers:
//!
//! - **plain** answers as fast as it can: the client is the bottleneck, and its CPU time is what is
//!   compared.
//! - **busy** keeps its core for 10 µs with each request. It is the bottleneck, so that both
//!   programs come to the same rate, whatever they take themselves (wrk knows no rate, and its
//!   `delay()` is told in milliseconds, by which it sends in bursts). Here the percentiles are
//!   compared.
//!
//! wrk adds to what it has measured what it believes to have missed: behind each answer that took
//! more than twice the mean, as many as would have fitted into the time (its `stats_correct`). So
//! the two agree on a p99 only where the machine stands still for nobody.
//!
//! Knows both programs by what they print.

use std::env;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde_json::Value;

use super::measure::Bench;
use super::peers::{Peer, Service, find};
use super::spread::Spread;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Client {
    Load,
    Wrk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Way {
    Plain,
    Busy,
}

/// What a client told, and what it took.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Round by round: the load tester, and wrk.
pub(crate) type Rounds = Vec<[Told; 2]>;

impl Way {
    pub(crate) const ALL: [Way; 2] = [Way::Plain, Way::Busy];

    fn service(self) -> Service {
        match self {
            Way::Plain => Service::Http,
            Way::Busy => Service::Busy,
        }
    }
}

/// Measures both, unless wrk is not installed: that is said. `load`: the example, built.
pub(crate) fn measure(
    bench: &Bench,
    rounds: usize,
    load: &Path,
) -> Result<[Rounds; 2], Box<dyn Error>> {
    let wrk = find("wrk").ok_or("wrk is not installed")?;
    let pair = Pair {
        bench,
        load: load.to_owned(),
        wrk,
    };
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        eprintln!("load beside wrk: round {} of {rounds}", round + 1);
        for way in Way::ALL {
            let server = bench.serve(Peer::Windlass, way.service(), 0)?;
            let mut clients = [Client::Load, Client::Wrk];
            clients.rotate_left(round % 2);
            let mut told = [None; 2];
            for client in clients {
                told[client as usize] = Some(pair.run(client, server.address)?);
            }
            if let [Some(load), Some(wrk)] = told {
                all[way as usize].push([load, wrk]);
            }
        }
    }
    Ok(all)
}

struct Pair<'a> {
    bench: &'a Bench,
    load: PathBuf,
    wrk: PathBuf,
}

impl Pair<'_> {
    fn run(&self, client: Client, server: SocketAddr) -> Result<Told, Box<dyn Error>> {
        let url = format!("http://{server}/");
        match client {
            Client::Load => self.load(&url),
            Client::Wrk => self.wrk(&url),
        }
    }

    fn load(&self, url: &str) -> Result<Told, Box<dyn Error>> {
        let file = self.bench.work().join("load.json");
        let mut command = Command::new(&self.load);
        command.args(["http", url, "--quiet", "--max-errors=0", "--json"]);
        command.arg(&file);
        command.arg(format!("--connections={CONNECTIONS}"));
        command.arg(format!("--duration={SECONDS}s"));
        let (_, cpu_ns) = self.bench.cores().run_load(&mut command)?;
        let run: Value = serde_json::from_slice(&fs::read(file)?)?;
        let number = |pointer: &str| -> Result<f64, String> {
            let number = run.pointer(pointer).and_then(Value::as_f64);
            number.ok_or_else(|| format!("load tells no {pointer}"))
        };
        Ok(Told {
            per_second: number("/rate_per_s")?,
            cpu_us: cpu_ns / 1e3 / number("/requests")?,
            p50_us: number("/latency_ns/p50")? / 1e3,
            p99_us: number("/latency_ns/p99")? / 1e3,
        })
    }

    fn wrk(&self, url: &str) -> Result<Told, Box<dyn Error>> {
        let script = self.bench.work().join("wrk.lua");
        fs::write(&script, DONE)?;
        let mut command = Command::new(&self.wrk);
        command.args(["--threads=1", url, "--script"]).arg(script);
        command.arg(format!("--connections={CONNECTIONS}"));
        command.arg(format!("--duration={SECONDS}s"));
        let (text, cpu_ns) = self.bench.cores().run_load(&mut command)?;
        let mut lines = text.lines();
        let told = lines.find_map(|line| line.strip_prefix("told "));
        let told: Vec<f64> = told
            .ok_or("wrk tells nothing")?
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let &[requests, time_us, p50_us, p99_us, errors] = &told[..] else {
            return Err("wrk tells something else".into());
        };
        if errors > 0.0 {
            return Err(format!("wrk had {errors} errors").into());
        }
        Ok(Told {
            per_second: requests * 1e6 / time_us,
            cpu_us: cpu_ns / 1e3 / requests,
            p50_us,
            p99_us,
        })
    }
}

impl Told {
    /// What is told of each, and its name.
    pub(crate) const PARTS: [(&'static str, fn(&Told) -> f64); 4] = [
        ("requests a second", |told| told.per_second),
        ("client's CPU [µs]", |told| told.cpu_us),
        ("p50 [µs]", |told| told.p50_us),
        ("p99 [µs]", |told| told.p99_us),
    ];
}

/// Of each, and of the load tester as a multiple of wrk in the same round.
pub(crate) fn spreads(rounds: &Rounds, part: fn(&Told) -> f64) -> Option<[Spread; 3]> {
    let of = |client: Client| Spread::of(rounds.iter().map(|both| part(&both[client as usize])));
    let ratios = rounds.iter().map(|[load, wrk]| part(load) / part(wrk));
    Some([of(Client::Load)?, of(Client::Wrk)?, Spread::of(ratios)?])
}

/// The example `load`, built by cargo if that has not happened.
pub(crate) fn load_example() -> Result<PathBuf, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--example", "load", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    if !built.success() {
        return Err("the example load cannot be built".into());
    }
    Ok(target.join("release/examples/load"))
}

const CONNECTIONS: u32 = 64;
/// Whole ones: wrk knows no others.
const SECONDS: u32 = 2;
const DONE: &str = r#"
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("\ntold %d %d %f %f %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;
