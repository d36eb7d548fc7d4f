//! The tools that count: this program again, by itself, below callgrind, and below strace.
//!
//! Knows no figure.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal};

use super::rig::Client;
use super::workload::Workload;

type Counted = Result<u64, Box<dyn Error>>;

/// What instructions depend on besides the code.
pub(crate) fn build() -> Result<String, Box<dyn Error>> {
    let rustc = output(Command::new("rustc").arg("-vV"))?;
    let field = |name: &str| {
        let line = rustc.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("unknown").trim().to_owned()
    };
    let libc = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    Ok(format!(
        "rustc {}, {}, {}",
        field("release:"),
        field("host:"),
        libc.trim()
    ))
}

/// Per 1,000 messages.
pub(crate) fn allocations(workload: Workload) -> Counted {
    let out = output(this()?.args(["exchange", &workload.name()]))?;
    let (allocations, messages) = two_numbers(&out)?;
    Ok(per_thousand(allocations, messages))
}

/// User-space instructions of the turns per 1,000 messages.
pub(crate) fn instructions(workload: Workload) -> Counted {
    let log = scratch("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*counted_turn*"])
        .arg(format!("--log-file={}", log.display()))
        .arg(env::current_exe()?)
        .args(["exchange", &workload.name()]);
    let (_, messages) = two_numbers(&output(&mut valgrind)?)?;
    let report = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let collected = report.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected :")?;
        count.trim().parse().ok()
    });
    match collected {
        None | Some(0) => Err(format!("callgrind has counted nothing:\n{report}").into()),
        Some(instructions) => Ok(per_thousand(instructions, messages)),
    }
}

/// System calls per 1,000 messages, one client waiting for each reply.
pub(crate) fn system_calls(workload: Workload) -> Counted {
    let few = calls_of(workload, FEW)?;
    let many = calls_of(workload, 3 * FEW)?;
    let messages = 2 * FEW * workload.messages() as u64;
    let calls = many.checked_sub(few);
    let calls = calls.ok_or("strace counts less when more is done")?;
    Ok(per_thousand(calls, messages))
}

/// All system calls of a server, from beginning to end.
fn calls_of(workload: Workload, exchanges: u64) -> Counted {
    let counts = scratch("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&counts);
    strace.arg(env::current_exe()?);
    let mut tracer = strace
        .args(["serve", &workload.name()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let mut line = String::new();
    let out = tracer.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line)?;
    let (port, pid) = two_numbers(&line)?;
    let address = ([127, 0, 0, 1], u16::try_from(port)?).into();
    let mut client = Client::connect_blocking(workload, address)?;
    for _ in 0..exchanges {
        wait_until_asleep(pid)?;
        client.send(workload)?;
        while !client.is_answered(workload) {
            client.take()?;
        }
    }
    let server = Pid::from_raw(i32::try_from(pid)?).ok_or("the server has no process")?;
    rustix::process::kill_process(server, Signal::KILL)?;
    tracer.wait()?;
    let table = fs::read_to_string(&counts)?;
    fs::remove_file(&counts)?;
    let total = table.lines().find(|line| line.ends_with(" total"));
    // The share of time, seconds, microseconds per call, calls.
    let calls = total.and_then(|line| line.split_ascii_whitespace().nth(3)?.parse().ok());
    calls.ok_or_else(|| format!("strace has counted nothing:\n{table}").into())
}

/// A server that is traced is slow: it must not find the next message before it has polled.
fn wait_until_asleep(pid: u64) -> Result<(), Box<dyn Error>> {
    for _ in 0..MAX_LOOKS {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").ok_or("there is no state in stat")?;
        // Stopped by its tracer it would be `t`: it sleeps in a call of its own, the poll.
        if fields.starts_with('S') {
            return Ok(());
        }
        thread::yield_now();
    }
    Err("the server does not come to rest".into())
}

fn this() -> Result<Command, Box<dyn Error>> {
    Ok(Command::new(env::current_exe()?))
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let name = command.get_program().to_owned();
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", OsStr::display(&name));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| named(&error))?;
    if !output.status.success() {
        return Err(named(&output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn two_numbers(line: &str) -> Result<(u64, u64), Box<dyn Error>> {
    let mut words = line.split_ascii_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(second))) => Ok((first, second)),
        _ => Err(format!("two numbers are expected, not {line:?}").into()),
    }
}

fn per_thousand(count: u64, messages: u64) -> u64 {
    (count * 1000 + messages / 2) / messages
}

/// A file that nobody else writes.
fn scratch(tool: &str) -> PathBuf {
    env::temp_dir().join(format!("windlass-gates-{}-{tool}", process::id()))
}

/// Exchanges of the shorter of two runs; the difference leaves out how they begin and end.
const FEW: u64 = 250;
/// A failure, not a measure.
const MAX_LOOKS: u32 = 10_000_000;
