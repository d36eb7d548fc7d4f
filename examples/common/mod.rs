//! What all examples have in common: logging, signals, and the line that says where they listen.

// Each example uses its own part of this.
#![allow(dead_code)]

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use windlass::net::Readiness;
use windlass::{Context, Error, Progress, Reactor, Source, Token};

/// Runs an example: exit status 0 after a drain, 1 with a message if it could not run.
///
/// The log goes to standard error, as `RUST_LOG` says; warnings and errors by default.
pub(crate) fn run<E: fmt::Display>(main: impl FnOnce() -> Result<(), E>) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
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
/// after `grace` is cut off.
pub(crate) fn drain_on_signals(reactor: &mut Reactor, grace: Duration) -> Result<(), Error> {
    let signals = Signals::new([SIGINT, SIGTERM])?;
    reactor.add_source("signals", Signalled { signals, grace })?;
    Ok(())
}

/// The signals of the process, as an event source of the reactor.
struct Signalled {
    signals: Signals,
    grace: Duration,
}

impl Source for Signalled {
    type Io = Signals;

    fn io(&mut self) -> &mut Signals {
        &mut self.signals
    }

    fn on_ready(&mut self, _: Readiness, cx: &mut Context<'_, ()>) -> Progress {
        for signal in self.signals.pending() {
            log::info!("signal {signal}: draining");
            cx.shutdown(self.grace);
        }
        Progress::Drained
    }
}
