//! A chat server: rooms, nicknames, and members that may be as slow as they like.
//!
//! Step two of the story: a protocol of one's own, in `common/chat.rs`, whose connections act on
//! one another by their tokens. What is said is encoded once, and queued to everybody as the same
//! bytes; who does not keep up misses messages, and is told how many. Try it, in two terminals:
//!
//! ```text
//! cargo run --release --example chat
//! nc 127.0.0.1 7001
//! ```

mod common;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use windlass::net::Address;
use windlass::{Error, Reactor};

/// Lets people talk, line by line.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:7001")]
    address: Address,
    /// Seconds for which a member may take nothing of what is sent before it is out.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    patience: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let patience = Duration::from_secs(args.patience);
    let chat = common::chat::listen(&mut reactor, args.address, patience)?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", chat)?;
    reactor.run()
}
