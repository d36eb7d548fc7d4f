//! A login: users with passwords, which are never checked on the loop.
//!
//! Step nine of the story: work that takes long, here on purpose. A password is stored as an
//! Argon2id hash, which costs tens of milliseconds and tens of megabytes, each time. In four steps:
//!
//! 1. `door.rs` reads a line, and asks `Attempts` whether that address may try again so soon.
//! 2. The question goes to a thread of this program's own, through a bounded channel. If that is
//!    full, the client is told `BUSY`, at once: a flood of logins is refused, not queued.
//! 3. `clerk.rs`, on that thread, computes. Meanwhile the loop serves everybody else, and the one
//!    connection is paused: what its client says too early stays where it is.
//! 4. The verdict comes as mail for the connection's token, which names no other one if the client
//!    has gone. If the password was right, the connection goes on as an echo.
//!
//! ```text
//! systemd-ask-password | cargo run --release --features digest --example login -- hash anne >users
//! cargo run --release --features digest --example login -- serve users --echo 127.0.0.1:7201
//! nc 127.0.0.1 7200
//! LOGIN anne …
//! ```
//!
//! Passwords cross the network as they are: on another machine's behalf only within TLS. (Keys need
//! not: see `windlass::protocol::auth`.)

#[path = "../common/mod.rs"]
mod common;

mod clerk;
mod door;
mod users;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use windlass::net::{Address, Listen};
use windlass::protocol::auth::Attempts;
use windlass::{Echo, Lines, Reactor};
use zeroize::Zeroizing;

use clerk::Desk;
use door::{Door, MAX_LINE_LEN};
use users::Users;

/// Lets users in who know their passwords, and echoes what they say.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the users of a file.
    Serve {
        /// Lines of NAME:HASH, as `login hash NAME` prints them.
        users: PathBuf,
        /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7200")]
        listen: Address,
        /// Echo lines there without a login, on the same reactor: what does a flood do to others?
        #[arg(long, value_name = "ADDRESS")]
        echo: Option<Address>,
        /// How many passwords may wait to be checked.
        #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = count())]
        queue: u16,
    },
    /// Hash the password on standard input: one line, of which nothing is shown.
    Hash {
        /// Whose it is; without it, the hash alone is printed.
        name: Option<String>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| match args.command {
        Command::Serve {
            users,
            listen,
            echo,
            queue,
        } => serve(&users, listen, echo, queue),
        Command::Hash { name } => hash(name.as_deref()),
    })
}

fn serve(
    users: &Path,
    listen: Address,
    echo: Option<Address>,
    queue: u16,
) -> Result<(), Box<dyn Error>> {
    let named = |error: &dyn Error| format!("{}: {error}", users.display());
    let text = fs::read_to_string(users).map_err(|error| named(&error))?;
    let users = Users::parse(&text).map_err(|error| named(&error))?;

    let mut reactor = Reactor::new()?;
    let (desk, questions) = Desk::new(queue.into());
    let attempts = Attempts::default();
    let listen = Listen::new(listen).name("login");
    let login = reactor.listen(listen, move |peer| Door::open(&desk, &attempts, peer))?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", login)?;
    if let Some(echo) = echo {
        let listen = Listen::new(echo).name("echo");
        let echo = reactor.listen(listen, |_| Echo::<Lines>::default())?;
        common::announce(&reactor, "tcp", echo)?;
    }

    let remote = reactor.remote()?;
    let clerk = thread::Builder::new()
        .name("clerk".into())
        .spawn(move || clerk::work(&questions, &users, &remote))?;
    let result = reactor.run();
    // With it goes the last one who could ask.
    drop(reactor);
    clerk.join().map_err(|_| "the clerk has panicked")?;
    Ok(result?)
}

fn hash(name: Option<&str>) -> Result<(), Box<dyn Error>> {
    if name.is_some_and(|name| !users::is_name(name)) {
        return Err("a name is visible, and has no space and no colon in it".into());
    }
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_LEN + 2));
    let mut input = io::stdin().lock().take(MAX_LINE_LEN as u64 + 2);
    input.read_until(b'\n', &mut line)?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    let prefix_len = "LOGIN  ".len() + name.map_or(0, str::len);
    if password.is_empty() || prefix_len + password.len() > MAX_LINE_LEN {
        return Err("the password is empty, or does not fit in a line with the name".into());
    }
    let hash = users::hash(password)?;
    match name {
        Some(name) => println!("{name}:{hash}"),
        None => println!("{hash}"),
    }
    Ok(())
}

/// At least one.
fn count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}
