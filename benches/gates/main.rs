//! The gates: what a message costs in allocations, system calls and user-space instructions,
//! against the figures in `benches/gates/figures.txt`. A change of more than 3 %, up or down, is a
//! failure that says what to do.
//!
//! Nothing here is timed, so that a busy machine cannot shake it:
//!
//! - allocations: counted around the reactor's turns, which answer clients in the same thread;
//! - instructions: the same exchanges below callgrind, which counts nothing but those turns;
//! - system calls: a server below strace, with one client that waits for each reply, so that every
//!   message has a poll of its own.
//!
//! Instructions are the compiler's doing as well as ours, and a little the C library's. The figures
//! name the versions that they are of; with other ones they are shown and not judged.
//!
//! ```text
//! cargo bench --profile release --features sim,hub --bench gates
//! cargo bench --profile release --features sim,hub --bench gates -- --update
//! ```
//!
//! Linux only. It needs valgrind and strace.

mod figures;
mod rig;
mod tools;
mod workload;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use figures::{Figures, Measure, Verdict};
use workload::Workload;

/// What a message costs, against the figures that are kept.
#[derive(Parser)]
struct Args {
    /// Writes the figures instead of judging by them.
    #[arg(long)]
    update: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a process of its own does.
#[derive(Subcommand)]
enum Role {
    /// Serves on a free port; prints it and its process.
    Serve { workload: Workload },
    /// Serves clients in the same thread.
    Exchange { workload: Workload },
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    match args.role {
        Some(Role::Serve { workload }) => rig::serve(workload)?,
        Some(Role::Exchange { workload }) => rig::exchange(workload)?,
        None => return gate(args.update),
    }
    Ok(ExitCode::SUCCESS)
}

fn gate(update: bool) -> Result<ExitCode, Box<dyn Error>> {
    let build = tools::build()?;
    if update {
        let none = Figures::new(build);
        measure(&none)?.write()?;
        println!("written: {}", figures::PATH);
        return Ok(ExitCode::SUCCESS);
    }
    let mut kept = Figures::read()?;
    let is_same_build = kept.build == build;
    if !is_same_build {
        println!(
            "The instructions that are kept are those of {},",
            kept.build
        );
        println!("these are of {build}: they are shown, and not judged.\n");
        kept.build = build;
    }
    let now = measure(&kept)?;
    println!("{:16} {:14} {:>12} {:>12}", "per 1,000", "", "kept", "now");
    let mut failures = Vec::new();
    for (workload, measure) in figures::all() {
        let [before, after] = [&kept, &now].map(|figures| figures.of(workload, measure));
        let verdict = figures::judge(before, after);
        let [before, after] = [before, after].map(|count| count.unwrap_or(0));
        let (name, unit) = (workload.name(), measure.name());
        let line = format!("{name:16} {unit:14} {before:>12} {after:>12} {verdict}");
        println!("{line}");
        let is_judged = measure != Measure::Instructions || is_same_build;
        if is_judged && verdict != Verdict::Same {
            failures.push(line);
        }
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\nFAILED: what a message costs has changed by more than 3 %:");
    eprintln!("{}", failures.join("\n"));
    eprintln!("If that is meant, say why in the commit, and write the new figures into it:");
    eprintln!("cargo bench --profile release --features sim,hub --bench gates -- --update");
    Ok(ExitCode::FAILURE)
}

/// All figures of now. What differs from those that are kept is counted twice: whatever disturbs
/// (a second that passes renews a date, say) only adds, so the lesser count is the better one.
fn measure(kept: &Figures) -> Result<Figures, Box<dyn Error>> {
    let mut now = Figures::new(kept.build.clone());
    for (workload, measure) in figures::all() {
        let count = || match measure {
            Measure::Allocations => tools::allocations(workload),
            Measure::SystemCalls => tools::system_calls(workload),
            Measure::Instructions => tools::instructions(workload),
        };
        let mut figure = count()?;
        if figures::judge(kept.of(workload, measure), Some(figure)) != Verdict::Same {
            figure = figure.min(count()?);
        }
        now.set(workload, measure, figure);
    }
    Ok(now)
}
