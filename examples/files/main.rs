//! Files that arrive whole: a server and its client.
//!
//! Step eight of the story: a protocol with long work in it. Every block has a digest, and so has
//! the file; a transfer that was cut goes on where it was, after what is there was compared; a file
//! gets its name when all of it is right. What takes long is done a slice per turn, with one
//! exception: until a file is on the disk everybody waits, unless `--fsync none` is given. Try it:
//!
//! ```text
//! cargo run --release --example files -- serve /srv/files
//! cargo run --release --example files -- put 127.0.0.1:7100 Cargo.lock
//! cargo run --release --example files -- ls 127.0.0.1:7100
//! cargo run --release --example files -- get 127.0.0.1:7100 Cargo.lock --into /tmp
//! cargo run --release --example files -- verify 127.0.0.1:7100 Cargo.lock
//! ```
//!
//! A client ends with 0 if all went well, with 1 if something did not.

#[path = "../common/mod.rs"]
mod common;

mod args;
mod client;
mod digest;
mod progress;
mod refusal;
mod server;
mod sink;
mod source;
mod step;
mod store;
mod wire;

use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{io, iter};

use clap::Parser;
use windlass::net::{Address, Listen};
use windlass::{Echo, Error, Lines, Reactor};

use args::{Args, Command, Ours};
use client::{Job, Jobs};
use refusal::Refusal;
use server::Service;
use store::{Place, Store};

fn main() -> ExitCode {
    let args = Args::parse();
    let mut is_good = true;
    let status = common::run(|| {
        is_good = run(args.command)?;
        Ok::<(), Error>(())
    });
    if is_good { status } else { ExitCode::FAILURE }
}

fn run(command: Command) -> Result<bool, Error> {
    match command {
        Command::Serve {
            root,
            listen,
            read_only,
            fsync,
            echo,
        } => {
            let service = Service {
                store: Store::open(&root).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", root.display()))
                })?,
                fsync,
                is_read_only: read_only,
            };
            serve(service, listen, echo)?;
            Ok(true)
        }
        Command::Get {
            address,
            paths,
            into,
            fsync,
            no_digest,
            parallel,
        } => {
            let get = move |path: &Path| {
                let name = path.file_name().unwrap_or_default();
                Ok(Job::Get {
                    remote: path.as_os_str().as_bytes().to_vec(),
                    place: Place::new(&into, name.as_bytes())?,
                    fsync,
                    is_plain: no_digest,
                })
            };
            client::run(address, parallel, each(paths, get))
        }
        Command::Put(ours) => each_of_ours(ours, |remote, file| Job::Put { remote, file }),
        Command::Ls { address, path } => {
            let remote = path.unwrap_or_default().into_os_string().into_vec();
            client::run(address, 1, Box::new(iter::once(Ok(Job::List { remote }))))
        }
        Command::Verify(ours) => each_of_ours(ours, |remote, file| Job::Verify { remote, file }),
    }
}

fn serve(service: Service, address: Address, echo: Option<Address>) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let files = server::listen(&mut reactor, address, service)?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", files)?;
    if let Some(echo) = echo {
        let listen = Listen::new(echo).name("echo");
        let echo = reactor.listen(listen, |_| Echo::<Lines>::default())?;
        common::announce(&reactor, "tcp", echo)?;
    }
    reactor.run()
}

/// A job for each path.
fn each(paths: Vec<PathBuf>, job: impl Fn(&Path) -> Result<Job, Refusal> + 'static) -> Jobs {
    let jobs = paths.into_iter();
    Box::new(jobs.map(move |path| job(&path).map_err(|refusal| (path, refusal))))
}

/// A job for each file of ours, and for the path of its like on the server.
fn each_of_ours(ours: Ours, job: impl Fn(Vec<u8>, File) -> Job + 'static) -> Result<bool, Error> {
    let to = ours.to.unwrap_or_default();
    let open = move |path: &Path| {
        let remote = to.join(path.file_name().unwrap_or_default());
        Ok(job(remote.into_os_string().into_vec(), File::open(path)?))
    };
    client::run(ours.address, ours.parallel, each(ours.paths, open))
}
