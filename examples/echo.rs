//! An echo server over the framing of your choice.
//!
//! Step one of the story: a protocol that is ready-made, and one call to listen. Try it:
//!
//! ```text
//! cargo run --release --example echo
//! printf 'hello\n' | nc -N 127.0.0.1 7000
//! ```

mod common;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use windlass::framing::LengthPrefixed;
use windlass::net::Address;
use windlass::{Echo, Error, Lines, Raw, Reactor};

/// Sends back what it receives.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:7000")]
    address: Address,
    /// What counts as a message.
    #[arg(long, value_enum, default_value = "raw")]
    framing: Framing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Framing {
    /// Whatever a read returns.
    Raw,
    /// Lines, ended by LF or CRLF.
    Lines,
    /// A length of four bytes, big-endian, and so many bytes.
    Length,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let echo = match args.framing {
        Framing::Raw => reactor.listen(args.address, |_| Echo::<Raw>::default()),
        Framing::Lines => reactor.listen(args.address, |_| Echo::<Lines>::default()),
        Framing::Length => reactor.listen(args.address, |_| Echo::<LengthPrefixed>::default()),
    }?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", echo)?;
    reactor.run()
}
