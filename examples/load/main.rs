//! A load tester: asks servers as often as they can bear it, or at a constant rate, and tells how
//! long they took.
//!
//! The library's connecting side at work: thousands of connections, on one thread. Try it, beside
//! `http`, `echo` and `serve`:
//!
//! ```text
//! cargo run --release --example load -- http http://127.0.0.1:8080/plaintext -c 64 -d 5s
//! cargo run --release --example load -- http http://127.0.0.1:8080/ --rate 5000 --html load.html
//! cargo run --release --example load -- tcp 127.0.0.1:7000 --framing lines -n 100000
//! cargo run --release --example load -- compare before.json after.json
//! ```
//!
//! It ends with 0, with 1 if it could not run, no answer was good or a limit such as `--max-p99`
//! was not kept, with 2 for arguments that make no sense.

#[path = "../common/mod.rs"]
mod common;

mod alarm;
mod args;
mod asking;
mod compare;
mod engine;
mod html;
mod http;
mod lane;
mod own;
mod pace;
mod plan;
mod progress;
mod report;
mod stats;
mod surplus;
mod tcp;
mod udp;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use windlass::net::Os;
use windlass::{Budgets, Config, Reactor};

use alarm::Alarm;
use args::{Cli, Command, Common};
use engine::Engine;
use lane::{Run, Terms};
use own::Own;
use pace::Pace;
use plan::Plan;
use progress::{Goal, Progress};
use report::Report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let outcome = match &cli.command {
        Command::Http(args) => plan(Plan::http(args)).and_then(|plan| load(plan, &args.common)),
        Command::Tcp(args) => plan(Plan::tcp(args)).and_then(|plan| load(plan, &args.common)),
        Command::Udp(args) => plan(Plan::udp(args)).and_then(|plan| load(plan, &args.common)),
        Command::Compare(args) => compare::compare(&args.before, &args.after)
            .and_then(|text| Ok(tell(&text).map(|()| true)?)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What cannot be planned was asked for wrongly.
fn plan(plan: Result<Plan, String>) -> Result<Plan, Box<dyn std::error::Error>> {
    Ok(plan.unwrap_or_else(|error| {
        <Cli as clap::CommandFactory>::command()
            .error(ErrorKind::ValueValidation, error)
            .exit()
    }))
}

/// Runs, and tells. Answers whether the limits were kept.
fn load(plan: Plan, args: &Common) -> Result<bool, Box<dyn std::error::Error>> {
    allow_descriptors(args.connections)?;
    // Better now than after an hour.
    let is_piped = args.json.as_deref() == Some(Path::new("-"));
    let json = args.json.as_deref().filter(|_| !is_piped);
    for path in json.into_iter().chain(args.html.as_deref()) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let report = measure(plan, args)?;
    // Files first: whoever reads the table may have read enough, and be gone.
    let written = write(json, || format!("{:#}\n", report.json()))
        .and_then(|()| write(args.html.as_deref(), || html::page(&report)));
    if is_piped {
        eprint!("{}", report.table());
        tell(&format!("{:#}\n", report.json()))?;
    } else {
        tell(&report.table())?;
    }
    written?;
    let mut is_kept = true;
    if let Some(max) = args.max_p99
        && report.latency("p99") > max
    {
        eprintln!("the p99 is above {}", report::time(max));
        is_kept = false;
    }
    if let Some(max) = args.max_errors
        && report.error_count() > max
    {
        eprintln!("there are more than {} errors", report::count(max));
        is_kept = false;
    }
    // Nothing at all is no success.
    if report.good == 0 {
        eprintln!("there was no good answer");
        is_kept = false;
    }
    Ok(is_kept)
}

/// Writes to standard output. That nobody reads it any more is no error.
fn tell(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    match path {
        Some(path) => {
            fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => Ok(()),
    }
}

fn measure(plan: Plan, args: &Common) -> Result<Report, Box<dyn std::error::Error>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    // One signal ends the run, and whoever sends two of them at a time, as timeout(1) does, wants
    // to be told of it no less. When it is over, one ends the process.
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_over))?;
        flag::register(signal, Arc::clone(&is_stopped))?;
    }
    let mut reactor = Reactor::configured(Config {
        budgets: Budgets {
            bytes: plan.max_received(),
            ..Budgets::default()
        },
        // One receive a turn, of a connection: it has to be worth it.
        read_buffer_len: 256 * 1024,
        ..Config::default()
    })?;
    let alarm = args.rate.and_then(|_| Alarm::new(&mut reactor));
    let began = reactor.with_intents(|cx| cx.now());
    let pace = Pace::new(&schedule(args), began);
    let measure_from = pace.measure_from();
    let len = pace.until().map(|until| until - began);
    let run = Run::new(pace, terms(args, plan.servers.clone()));
    let (title, terms) = (plan.title.clone(), plan.terms(args));
    let open = plan.opener(&run, args);
    let stretch = args.stretch();
    let mut engine = Engine::new(reactor, run, open, args.connections, stretch, began);
    if let Some(alarm) = alarm {
        engine.wake_by(alarm);
    }
    let goal = match (len, args.requests) {
        (_, Some(count)) => Goal::Count(count),
        (Some(len), None) => Goal::Time(len),
        (None, None) => unreachable!("one of them is the default"),
    };
    let progress = Progress::new(goal, args.quiet, began);
    let own = drive(&mut engine, &is_stopped, &progress, measure_from)?;
    is_over.store(true, Ordering::Relaxed);
    progress.end();
    let run = engine.end();
    let late = run.pace.borrow().late();
    let meter = run.meter.borrow();
    Ok(Report::new(
        title,
        terms,
        &meter,
        &own,
        late,
        run.first_failure(),
    ))
}

/// Takes turns until the run is over, and watches itself meanwhile.
fn drive(
    engine: &mut Engine<Os>,
    is_stopped: &AtomicBool,
    progress: &Progress,
    measure_from: std::time::Instant,
) -> Result<Own, Box<dyn std::error::Error>> {
    let mut own = Own::new(engine.reactor.now());
    let mut is_measuring = false;
    let mut next_look = engine.reactor.now();
    while engine.step(LOOK_EVERY)? {
        let now = engine.reactor.now();
        if !is_measuring && now >= measure_from {
            is_measuring = true;
            own = Own::new(now);
        }
        if is_stopped.load(Ordering::Relaxed) {
            engine.stop();
        }
        if now >= next_look {
            next_look = now + LOOK_EVERY;
            own.watch(now);
            progress.show(now, &engine.run);
        }
    }
    own.read(engine.reactor.now());
    Ok(own)
}

fn schedule(args: &Common) -> pace::Terms {
    pace::Terms {
        rate: args.rate,
        ramp_up: args.ramp_up,
        warm_up: args.warm_up,
        duration: args.measured(),
        count: args.requests,
    }
}

fn terms(args: &Common, servers: Vec<String>) -> Terms {
    Terms {
        pipeline: args.pipeline as usize,
        think: args.think,
        timeout: args.timeout,
        keep_alive: !args.no_keep_alive,
        has_idle: args.rate.is_some() || !args.think.is_zero(),
        servers,
    }
}

/// Each connection is a descriptor, and the soft limit is usually 1,024.
fn allow_descriptors(connections: u32) -> Result<(), String> {
    let needed = u64::from(connections) + 64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(most) = limit.maximum
        && most < needed
    {
        return Err(format!(
            "{connections} connections need {needed} descriptors, {most} are allowed (ulimit -n)"
        ));
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("ulimit -n {needed}: {error}"))
}

/// How often progress is shown.
const LOOK_EVERY: Duration = Duration::from_millis(250);
