//! What can be asked for on the command line, and what is refused there.
//!
//! Knows no socket.

use std::net::IpAddr;
use std::num::ParseFloatError;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use windlass::net::Address;

use crate::common::url::{Url, resolve};

/// Loads servers, and tells how they bear it.
#[derive(Debug, Parser)]
#[command(name = "load", after_help = STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const STATUS: &str = "\
Examples:
  load http http://127.0.0.1:8080/ -c 64 -d 5s
  load http http://127.0.0.1:8080/ --rate 5000 --max-p99 5ms --max-errors 0 --html load.html
  load tcp 127.0.0.1:7000 --framing lines -n 100000 --json before.json
  load compare before.json after.json

Exit status:
  0  it ran, and kept to the limits (--max-p99, --max-errors)
  1  it did not, it could not run, or there was no good answer
  2  the arguments make no sense";

const ERRORS: &str = "\
Errors, by kind:
  connect      the connection could not be made; that is tried again after 100 ms
  unreachable  the system was told that a datagram did not arrive
  timeout      no answer in time
  closed       the connection ended before the answer did
  malformed    what came is not what the protocol allows
  unasked      bytes that answer no request
  status       an answer with a status that is not good
  length       an answer of another length
  content      an answer with other bytes
  unsent       due at a constant rate, and never sent, because no connection was free";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks HTTP/1.1 servers.
    #[command(after_help = ERRORS)]
    Http(HttpArgs),
    /// Sends messages to echo servers, over TCP or Unix sockets.
    #[command(after_help = ERRORS)]
    Tcp(TcpArgs),
    /// Sends datagrams to echo servers.
    #[command(after_help = ERRORS)]
    Udp(UdpArgs),
    /// Puts two runs side by side that were kept with --json.
    Compare(CompareArgs),
}

#[derive(Args, Debug)]
pub(crate) struct HttpArgs {
    /// What to ask: http://HOST[:PORT][/PATH] or http://unix:/SOCKET:/PATH. Connections are shared
    /// out among several; those to one server ask for all that was given of it, in turn.
    #[arg(required_unless_present = "file")]
    pub(crate) urls: Vec<Url>,
    /// More to ask, a line each: METHOD URL [BODY]; empty lines and those with a # are none.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The method.
    #[arg(short, long, default_value = "GET", value_parser = token)]
    pub(crate) method: String,
    /// A field of the request: "Name: value".
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = header)]
    pub(crate) headers: Vec<String>,
    /// The body; of a file: @FILE.
    #[arg(short, long)]
    pub(crate) body: Option<String>,
    /// How long an answer may take from its head to its end. By default as long as something comes.
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) answer_timeout: Option<Duration>,
    /// The one status that is good. By default 200 to 399 are.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=999))]
    pub(crate) expect_status: Option<u16>,
    /// The one length of a body that is good, in bytes.
    #[arg(long, value_name = "BYTES")]
    pub(crate) expect_length: Option<u64>,
    /// The one SHA-256 of a body that is good, in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub(crate) expect_sha256: Option<[u8; 32]>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct TcpArgs {
    /// Where to: HOST:PORT, unix:/PATH or unix:@NAME. Connections are shared out among several.
    #[arg(required = true, value_parser = address)]
    pub(crate) to: Vec<Address>,
    /// How messages are told apart.
    #[cfg_attr(feature = "digest", arg(requires_if("sealed", "key_file")))]
    #[arg(long, value_enum, default_value = "raw")]
    pub(crate) framing: Framing,
    /// The key that is shared with the server, with the framing `sealed`: a file of 32 bytes, or of
    /// their 64 hexadecimal digits. Each connection uses it from the beginning: take one that is
    /// for tests alone.
    #[cfg(feature = "digest")]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// What ends a message, with the framing `delimited`.
    #[arg(long, value_name = "TEXT", default_value = ";")]
    pub(crate) delimiter: String,
    /// Bytes of a message.
    #[arg(short, long, value_name = "BYTES", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub(crate) size: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct UdpArgs {
    /// Where to: HOST:PORT. Sockets are shared out among several.
    #[arg(required = true, value_parser = address)]
    pub(crate) to: Vec<Address>,
    /// Bytes of a datagram, of which the first eight are its number.
    #[arg(short, long, value_name = "BYTES", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(8..=65_507))]
    pub(crate) size: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The run that the other one is measured by.
    pub(crate) before: PathBuf,
    /// The other run.
    pub(crate) after: PathBuf,
}

/// What all kinds of load have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Connections, or sockets.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Requests on one connection without an answer.
    #[arg(short, long, default_value_t = 1, conflicts_with = "no_keep_alive",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) pipeline: u32,
    /// How long is measured. 10 s, if there is no --requests either.
    #[arg(short, long, value_name = "TIME", value_parser = some_time)]
    pub(crate) duration: Option<Duration>,
    /// How many requests are measured.
    #[arg(short = 'n', long, value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Requests a second, in all, whatever the server does; latencies count from when a request
    /// was due. Without it, each connection sends when it has its answer.
    #[arg(short, long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How long a connection sends nothing after an answer; in milliseconds, not finer.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time,
        conflicts_with = "rate")]
    pub(crate) think: Duration,
    /// How long opening all connections takes; nothing is measured meanwhile.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) ramp_up: Duration,
    /// How long requests are sent after that before any is measured.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) warm_up: Duration,
    /// How long a connection may take to be made, and nothing may come while an answer is awaited.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub(crate) timeout: Duration,
    /// A connection for each request.
    #[arg(long)]
    pub(crate) no_keep_alive: bool,
    /// Addresses to connect from, in turn: each is good for about 28,000 connections to one server.
    #[arg(long, value_name = "IP")]
    pub(crate) source: Vec<IpAddr>,
    /// The length of the stretches that figures over time are for. Default: 1 s, less if the run
    /// is short, more if it is long.
    #[arg(long, value_name = "TIME", value_parser = stretch)]
    pub(crate) interval: Option<Duration>,
    /// Writes what was measured to a file; with -, to standard output, and the table to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes a page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Ends with 1 if the p99 of the good answers is higher.
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) max_p99: Option<Duration>,
    /// Ends with 1 if there are more errors.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_errors: Option<u64>,
    /// Shows no progress.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Common {
    /// How long is measured, if time bounds it.
    pub(crate) fn measured(&self) -> Option<Duration> {
        match (self.duration, self.requests) {
            (None, None) => Some(Duration::from_secs(10)),
            (duration, _) => duration,
        }
    }

    /// The stretches that figures over time are for: no more of them than a plot can show.
    pub(crate) fn stretch(&self) -> Duration {
        self.interval.unwrap_or_else(|| match self.measured() {
            Some(all) => (all / 600)
                .max(Duration::from_secs(1))
                .min((all / 20).max(Duration::from_millis(10))),
            None => Duration::from_secs(1),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// None: the bytes of a message, in whatever pieces they come back.
    Raw,
    /// Lines, ended by LF.
    Lines,
    /// Lines, ended by CRLF.
    Crlf,
    /// Messages ended by --delimiter.
    Delimited,
    /// Messages of one length, which both sides know: 1, 2, 4 and so on to 65,536.
    Fixed,
    /// A length of one byte, then so many bytes.
    Length8,
    /// A length of two bytes, big-endian, then so many bytes.
    Length16,
    /// The same with three bytes.
    Length24,
    /// The same with four.
    Length32,
    /// The same with eight.
    Length64,
    /// A length of two bytes, little-endian, then so many bytes.
    Length16le,
    /// The same with three bytes.
    Length24le,
    /// The same with four.
    Length32le,
    /// The same with eight.
    Length64le,
    /// A length as Protocol Buffers write it, then so many bytes.
    Varint,
    /// Netstrings.
    Netstring,
    /// A length of four bytes, big-endian, then so many bytes with their SHA-256 behind them.
    #[cfg(feature = "digest")]
    Checked,
    /// A length of four bytes, big-endian, then so many bytes with a proof of who sent them and in
    /// which place (`framing::Sealed`), made with the key of --key-file.
    #[cfg(feature = "digest")]
    Sealed,
}

/// An address as the library reads it, or a name with a port.
fn address(text: &str) -> Result<Address, String> {
    let text = ["tcp://", "udp://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    match text.parse::<Address>() {
        Ok(address) => Ok(address),
        Err(error) if text.starts_with("unix:") => Err(error.to_string()),
        Err(_) => resolve(text).map(Address::from),
    }
}

/// A time with its unit: 5ms, 1.5s, 2m.
fn time(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or("it has no unit: us, ms, s, m or h")?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number
        .parse()
        .map_err(|error: ParseFloatError| error.to_string())?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err("its unit is none of us, ms, s, m, h".into()),
    };
    if seconds > 1e7 {
        return Err("that is more than a hundred days".into());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A time that passes.
fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("it is no time at all".into()),
        time => Ok(time),
    }
}

/// A time that figures can be told for.
fn stretch(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < Duration::from_millis(1) {
        return Err("it is shorter than a millisecond".into());
    }
    Ok(time)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text
        .parse()
        .map_err(|error: ParseFloatError| error.to_string())?;
    if (0.001..=1e8).contains(&rate) {
        Ok(rate)
    } else {
        Err("it is from 0.001 to 100,000,000 a second".into())
    }
}

pub(crate) fn token(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err("it is no token".into())
    }
}

fn header(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once(':').ok_or("it has no colon")?;
    token(name)?;
    if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err("there are control characters in its value".into());
    }
    Ok(format!("{name}: {}", value.trim()))
}

/// 32 bytes by their digits.
pub(crate) fn digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("it has not 64 digits".into());
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|error| error.to_string())?;
    }
    Ok(digest)
}
