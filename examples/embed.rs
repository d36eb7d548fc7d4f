//! A reactor nested in a loop that is not its own: here a plain poll(2), which also reads what is
//! typed.
//!
//! Step five of the story: the program that you have keeps its loop. It watches one descriptor
//! for the whole reactor, wakes up at the reactor's next deadline, and lets it take a turn. Try
//! it, and type `quit`:
//!
//! ```text
//! cargo run --release --example embed
//! printf 'hello\n' | nc -N 127.0.0.1 7003
//! ```

mod common;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio;

use windlass::net::Address;
use windlass::{Echo, Error, Raw, Reactor};

/// Sends back what it receives, until `quit` is typed.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:7003")]
    address: Address,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let echo = reactor.listen(args.address, |_| Echo::<Raw>::default())?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", echo)?;

    let mut is_typing = true;
    while !reactor.is_empty() {
        if wait(&reactor, is_typing)? {
            match read_typed()? {
                Typed::Quit => reactor.shutdown(common::GRACE),
                Typed::Other => {}
                Typed::End => is_typing = false,
            }
        }
        // Whatever woke us: a turn with nothing to do costs one system call.
        reactor.turn(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Waits until the reactor has something to do, or something was typed, and answers whether it was.
fn wait(reactor: &Reactor, is_typing: bool) -> io::Result<bool> {
    #[expect(clippy::disallowed_methods, reason = "this loop is the clock's owner")]
    let now = Instant::now();
    let timeout = reactor
        .next_deadline()
        .map(|at| at.saturating_duration_since(now))
        // A deadline too far for the type is none.
        .and_then(|timeout| Timespec::try_from(timeout).ok());

    let stdin = stdio::stdin();
    let mut fds = [
        PollFd::new(reactor, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    let fds = if is_typing {
        &mut fds[..]
    } else {
        &mut fds[..1]
    };
    match poll(fds, timeout.as_ref()) {
        Ok(_) => Ok(fds.get(1).is_some_and(|stdin| !stdin.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

enum Typed {
    /// A line that says `quit`.
    Quit,
    Other,
    /// Nothing more will be: from now on standard input would be readable for ever.
    End,
}

fn read_typed() -> io::Result<Typed> {
    let mut buf = [0; 1024];
    // Not through `std::io::stdin`, because poll(2) does not see what a buffer holds back. A
    // terminal hands over whole lines.
    let len = rustix::io::read(stdio::stdin(), &mut buf)?;
    let mut lines = buf[..len].split(|byte| *byte == b'\n');
    Ok(if len == 0 {
        Typed::End
    } else if lines.any(|line| line.trim_ascii() == b"quit") {
        Typed::Quit
    } else {
        Typed::Other
    })
}
