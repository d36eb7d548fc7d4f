//! The machine that a bench runs on: its cores, and what `/proc` says of processes.
//!
//! `benches/peers` reads it here, too. Knows nothing of what is measured.

// Each bench uses its own part of this.
#![allow(dead_code)]

use std::fs;
use std::io;
use std::str::FromStr;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

/// The index of a core.
pub(crate) type Core = usize;

/// The first two cores that this process may use.
pub(crate) fn two_cores() -> io::Result<Option<[Core; 2]>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    Ok(cores.next().zip(cores.next()).map(|(a, b)| [a, b]))
}

/// From now on this thread runs on that core, and so do the processes that it starts.
pub(crate) fn pin(core: Core) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Ends with the process that has started it: nobody else would end it if the measurement is
/// interrupted.
pub(crate) fn end_with_parent() -> io::Result<()> {
    let kill = Some(Signal::KILL);
    Ok(rustix::process::set_parent_process_death_signal(kill)?)
}

/// This process, and those that it starts, may have so many descriptors, or as many as are allowed.
pub(crate) fn raise_descriptors() -> io::Result<()> {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let enough = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < enough) {
        let current = Some(enough);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    }
    Ok(())
}

/// Nanoseconds that a process has run, all its threads, on any core.
pub(crate) fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += number::<u64>(schedstat.split_ascii_whitespace().next(), "schedstat")?;
    }
    Ok(sum)
}

/// Bytes of memory that are a process's own. Not `RssAnon` of `/proc/PID/status`, which is the same
/// number but for some dozens of pages that the kernel has not yet summed up.
pub(crate) fn anonymous_len(pid: u32) -> io::Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let mut lines = rollup.lines();
    let line = lines.find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number::<f64>(kib, "smaps_rollup")? * 1024.0)
}

/// `what` is what it was found in.
pub(crate) fn number<T: FromStr>(text: Option<&str>, what: &str) -> io::Result<T> {
    let number = text.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{what}: {text:?} is not a number")))
}

/// Descriptors that a process has at most.
const DESCRIPTORS: u64 = 20_000;
