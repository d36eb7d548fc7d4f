//! A hub: whoever subscribes hears what all others publish, over UDP.
//!
//! The wire is told by `windlass::protocol::HubMessage`; `.ci/run` has a client in Python.
//!
//! ```text
//! cargo run --release --features hub --example udp_hub
//! ```

mod common;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use windlass::net::{Bind, DatagramOptions};
use windlass::protocol::{Hub, HubLimits};
use windlass::{DatagramLimits, Error, Reactor};

/// Relays what each subscriber publishes to all others.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:7500")]
    address: SocketAddr,
    /// Subscribers at once.
    #[arg(long, default_value_t = 1024)]
    max_subscribers: usize,
    /// Seconds after which a silent subscriber is forgotten.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(&args))
}

fn serve(args: &Args) -> Result<(), Error> {
    let limits = HubLimits {
        max_subscribers: args.max_subscribers,
        patience: Duration::from_secs(args.patience),
        ..HubLimits::default()
    };
    // Room for a few messages to everybody, while the kernel is busy.
    let bind = Bind::new(args.address)
        .limits(DatagramLimits {
            max_queued_datagrams: 8 * args.max_subscribers.max(128),
            max_queued_bytes: 8 * 1024 * 1024,
            ..DatagramLimits::default()
        })
        .options(DatagramOptions {
            recv_buffer: Some(200 * 1024),
            ..DatagramOptions::default()
        });
    let mut reactor = Reactor::new()?;
    let hub = reactor.bind(bind, Hub::new(&random()?, limits))?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "udp", hub)?;
    reactor.run()
}

/// A key that nobody knows, a new one at each start.
fn random() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}
