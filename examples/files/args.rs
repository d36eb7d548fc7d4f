//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use windlass::net::Address;

use super::store::Fsync;

/// Moves files that arrive whole: with a digest of each block, and resumed where they were cut.
///
/// Digests are SHA-256 of blocks of 256 KiB. That of a file is made of its path, its length and the
/// digests of its blocks, so it is not the one that sha256sum prints.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the files beneath a directory.
    Serve {
        root: PathBuf,
        /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7100")]
        listen: Address,
        /// Let nobody write.
        #[arg(long)]
        read_only: bool,
        /// What is on the disk before a file gets its name.
        #[arg(long, value_enum, default_value_t)]
        fsync: Fsync,
        /// Echo lines there, on the same reactor: to see what transfers do to others.
        #[arg(long, value_name = "ADDRESS")]
        echo: Option<Address>,
    },
    /// Fetch files.
    Get {
        address: Address,
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The directory to write them to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        into: PathBuf,
        /// What is on the disk before a file gets its name.
        #[arg(long, value_enum, default_value_t)]
        fsync: Fsync,
        /// Compare nothing, and begin anew: where others see to it that files arrive as they are.
        #[arg(long)]
        no_digest: bool,
        /// How many at a time.
        #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = count())]
        parallel: u16,
    },
    /// Store files.
    Put(Ours),
    /// List a directory.
    Ls {
        address: Address,
        path: Option<PathBuf>,
    },
    /// Compare files with those of the same names there, block by block.
    Verify(Ours),
}

/// Files of this side, and where their like is on the other one.
#[derive(Debug, clap::Args)]
pub(crate) struct Ours {
    pub(crate) address: Address,
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Their directory on the server.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// How many at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = count())]
    pub(crate) parallel: u16,
}

/// At least one.
fn count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=256)
}
