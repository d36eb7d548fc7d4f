//! What all examples have in common: logging, signals, and the line that says where they listen.

// Each example uses its own part of this.
#![allow(dead_code)]

#[cfg(feature = "http")]
pub(crate) mod board;
pub(crate) mod chat;
pub(crate) mod url;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use signal_hook_mio::v1_0::Signals;
use windlass::net::{Keepalive, Readiness, StreamOptions};
use windlass::{Context, Error, Progress, Reactor, Source, Token};

/// How long a drain may take before what is left is cut off.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Runs an example: exit status 0 after a drain, 1 with a message if it could not run.
///
/// The log goes to standard error, as `RUST_LOG` says; by default what the example has to say,
/// and the library's warnings.
pub(crate) fn run<E: fmt::Display>(main: impl FnOnce() -> Result<(), E>) -> ExitCode {
    run_with_lines(None, main)
}

/// As [`run`]. What is logged with the target `lines` stands there as it is: a line of its own.
pub(crate) fn run_with_lines<E: fmt::Display>(
    lines: Option<&'static str>,
    main: impl FnOnce() -> Result<(), E>,
) -> ExitCode {
    let filter = concat!("warn,", env!("CARGO_CRATE_NAME"), "=info");
    let environment = env_logger::Env::default().default_filter_or(filter);
    let mut logger = env_logger::Builder::from_env(environment);
    if let Some(lines) = lines {
        logger.filter_module(lines, log::LevelFilter::Info);
    }
    logger.format(move |out, record| {
        if lines == Some(record.target()) {
            return writeln!(out, "{}", record.args());
        }
        let (time, level) = (out.timestamp(), record.level());
        writeln!(
            out,
            "[{time} {level} {}] {}",
            record.target(),
            record.args()
        )
    });
    logger.init();
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints `listening on SCHEME://ADDR`, at once.
pub(crate) fn announce(reactor: &Reactor, scheme: &str, listener: Token) -> Result<(), Error> {
    let address = reactor.local_addr(listener)?.to_string();
    // A Unix address begins with its own scheme.
    let (scheme, address) = match address.strip_prefix("unix:") {
        Some(path) => ("unix", path),
        None => (scheme, address.as_str()),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {scheme}://{address}")?;
    out.flush()?;
    Ok(())
}

/// Drains the reactor on SIGTERM or ctrl-C: replies that were begun are sent, and what is left
/// after [`GRACE`] is cut off. A second signal ends the process at once.
pub(crate) fn drain_on_signals(reactor: &mut Reactor) -> Result<(), Error> {
    let is_draining = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, or the first signal would find the flag set already.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_draining))?;
        flag::register(signal, Arc::clone(&is_draining))?;
    }
    let signals = Signals::new([SIGINT, SIGTERM])?;
    reactor.add_source("signals", Signalled(signals))?;
    Ok(())
}

/// Socket options for connections that may be silent for hours: it is TCP that finds out, within
/// two minutes, who has vanished.
pub(crate) fn keepalive() -> StreamOptions {
    StreamOptions {
        keepalive: Some(Keepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 6,
        }),
        ..StreamOptions::default()
    }
}

/// The signals of the process, as an event source of the reactor.
struct Signalled(Signals);

impl Source for Signalled {
    type Io = Signals;

    fn io(&mut self) -> &mut Signals {
        &mut self.0
    }

    fn on_ready(&mut self, _: Readiness, cx: &mut Context<'_, ()>) -> Progress {
        for signal in self.0.pending() {
            let name = low_level::signal_name(signal).unwrap_or("a signal");
            let seconds = GRACE.as_secs();
            log::info!("{name}: draining, for {seconds} s at most; once more ends it now");
            cx.shutdown(GRACE);
        }
        Progress::Drained
    }
}
