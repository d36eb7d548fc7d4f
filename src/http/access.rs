//! The access log: one line per request, through `log`.
//!
//! Knows how a line is written, and how to keep a peer from forging one. Neither connections nor
//! where the lines go.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::head::Head;
use super::method::Version;
use super::status::Status;
use crate::net::Address;

/// How the lines of the access log are written.
///
/// Each request is one record of the crate `log`, at level `info`, with the target
/// `windlass::access`: written when its answer is complete (its last byte is queued to the peer),
/// or when it is certain that it never will be. A request that is refused is logged as well; if it
/// was malformed, without its method and target.
///
/// The logger is asked at most once per second whether it wants them. If it does not, a request
/// pays a comparison for that, and allocates nothing. Who the peer is, is noted when a connection
/// begins: if the logger wanted no lines then, it is not known later.
///
/// The time is when the head was complete. The duration is from there to the answer's end, by the
/// clock of the reactor's turns: an answer that is given at once took 0. A request that was never
/// answered has the status 499; `Json` says of each whether its answer is complete.
///
/// What a peer sent cannot forge a line or a field: control characters, `"`, `\` and bytes outside
/// of ASCII are written as `\xHH`, in JSON as `\u00HH`.
///
/// ```text
/// 127.0.0.1 - - [24/Nov/2026:17:13:27 +0000] "GET /a?b HTTP/1.1" 200 13 0.000000
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLog {
    /// The Common Log Format: address, time, request line, status, bytes of the body; and behind
    /// it the duration in seconds.
    #[default]
    Common,
    /// As `Common`, with `Referer` and `User-Agent` in front of the duration.
    Combined,
    /// An object of JSON: `time` (RFC 3339), `peer` (with its port), `method`, `target`, `version`
    /// (`null` if they could not be read), `referer`, `user_agent` (`null` without), `status`,
    /// `bytes`, `seconds` (`null` if a handler panicked), `complete`.
    Json,
}

impl FromStr for AccessLog {
    type Err = String;

    /// From `common`, `combined` or `json`.
    fn from_str(text: &str) -> Result<AccessLog, String> {
        match text {
            "common" => Ok(AccessLog::Common),
            "combined" => Ok(AccessLog::Combined),
            "json" => Ok(AccessLog::Json),
            _ => Err(format!("{text:?} is none of common, combined, json")),
        }
    }
}

/// A request that is to be logged, once: at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    format: AccessLog,
    /// The line, but for what is known at the end.
    text: String,
    /// Where in `text` that belongs.
    gap: usize,
    began: Instant,
    status: u16,
    /// Bytes of the answer's body that were queued.
    pub(crate) sent_len: u64,
    took: Option<Duration>,
    is_complete: bool,
}

impl Record {
    /// Begins a line about a request whose head came `now`; it is `None` if it could not be read.
    /// `date` is the same time as HTTP writes it.
    pub(crate) fn new(
        format: AccessLog,
        peer: Option<&Address>,
        head: Option<&Head<'_>>,
        (date, now): (&[u8; 29], Instant),
    ) -> Record {
        let mut text = String::with_capacity(256);
        let date = Date(date);
        let gap = match format {
            AccessLog::Common | AccessLog::Combined => {
                let is_combined = format == AccessLog::Combined;
                put_common(&mut text, peer, head, &date, is_combined)
            }
            AccessLog::Json => put_json(&mut text, peer, head, &date),
        };
        Record {
            format,
            text,
            gap,
            began: now,
            status: UNANSWERED,
            sent_len: 0,
            took: None,
            is_complete: false,
        }
    }

    /// An answer has begun.
    pub(crate) fn begin(&mut self, status: Status) {
        self.status = status.code();
    }

    /// The answer is complete.
    pub(crate) fn complete(mut self, now: Instant) {
        self.is_complete = true;
        self.end(now);
    }

    /// Nothing more follows.
    pub(crate) fn end(mut self, now: Instant) {
        self.took = Some(now.saturating_duration_since(self.began));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (before, after) = self.text.split_at(self.gap);
        let (status, len) = (self.status, self.sent_len);
        let took = self.took.map(|took| format!("{:.6}", took.as_secs_f64()));
        match self.format {
            AccessLog::Common | AccessLog::Combined => {
                let took = took.as_deref().unwrap_or("-");
                log::info!(target: TARGET, "{before} {status} {len}{after} {took}");
            }
            AccessLog::Json => {
                let took = took.as_deref().unwrap_or("null");
                let is_complete = self.is_complete;
                log::info!(
                    target: TARGET,
                    "{before},\"status\":{status},\"bytes\":{len},\"seconds\":{took},\
                     \"complete\":{is_complete}}}"
                );
            }
        }
    }
}

/// Answers where the status belongs.
fn put_common(
    text: &mut String,
    peer: Option<&Address>,
    head: Option<&Head<'_>>,
    date: &Date<'_>,
    is_combined: bool,
) -> usize {
    match peer {
        // An IP address needs no escaping; a path might.
        Some(Address::Ip(address)) => put(text, format_args!("{}", address.ip())),
        Some(_) => text.push_str("unix:"),
        None => text.push('-'),
    }
    let [day, month, year, time] = date.parts();
    put(
        text,
        format_args!(" - - [{day}/{month}/{year}:{time} +0000] \""),
    );
    match head {
        Some(head) => {
            put_escaped(text, head.method_name().as_bytes(), hex);
            text.push(' ');
            put_escaped(text, head.target().as_bytes(), hex);
            text.push(' ');
            text.push_str(name(head.version()));
        }
        None => text.push('-'),
    }
    text.push('"');
    let gap = text.len();
    for field in FIELDS.into_iter().filter(|_| is_combined) {
        text.push_str(" \"");
        put_escaped(text, value(head, field).unwrap_or(b"-"), hex);
        text.push('"');
    }
    gap
}

/// Answers where the status belongs: at the end.
fn put_json(
    text: &mut String,
    peer: Option<&Address>,
    head: Option<&Head<'_>>,
    date: &Date<'_>,
) -> usize {
    let [day, month, year, time] = date.parts();
    // Months are named by three letters each.
    let month = MONTHS.find(month).unwrap_or_default() / 3 + 1;
    put(
        text,
        format_args!("{{\"time\":\"{year}-{month:02}-{day}T{time}Z\""),
    );
    let mut member = |name: &str, value: Option<&[u8]>| {
        put(text, format_args!(",\"{name}\":"));
        match value {
            Some(value) => {
                text.push('"');
                put_escaped(text, value, code_point);
                text.push('"');
            }
            None => text.push_str("null"),
        }
    };
    let peer = peer.map(ToString::to_string);
    member("peer", peer.as_deref().map(str::as_bytes));
    member("method", head.map(|head| head.method_name().as_bytes()));
    member("target", head.map(|head| head.target().as_bytes()));
    member("version", head.map(|head| name(head.version()).as_bytes()));
    member("referer", value(head, FIELDS[0]));
    member("user_agent", value(head, FIELDS[1]));
    text.len()
}

fn value<'a>(head: Option<&Head<'a>>, field: &str) -> Option<&'a [u8]> {
    let fields = head?.fields();
    fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(field))
        .map(|(_, value)| value)
}

fn name(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

/// Appends what a peer has sent: what could end a line or a quotation is written by `escape`, and
/// so is all that is not ASCII, because who reads the log may take it for something else.
fn put_escaped(text: &mut String, bytes: &[u8], escape: fn(&mut String, u8)) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => escape(text, byte),
            _ => text.push(char::from(byte)),
        }
    }
}

fn hex(text: &mut String, byte: u8) {
    put(text, format_args!("\\x{byte:02X}"));
}

fn code_point(text: &mut String, byte: u8) {
    put(text, format_args!("\\u{byte:04x}"));
}

fn put(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Appending to a string does not fail.
    let _ = text.write_fmt(arguments);
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
struct Date<'a>(&'a [u8; 29]);

impl Date<'_> {
    /// Day, month, year and time of day.
    fn parts(&self) -> [&str; 4] {
        [5..7, 8..11, 12..16, 17..25]
            .map(|part| std::str::from_utf8(&self.0[part]).unwrap_or_default())
    }
}

/// Where accesses are logged.
pub(super) const TARGET: &str = "windlass::access";
/// Stands for the status of an answer that was never given, as in nginx's logs.
const UNANSWERED: u16 = 499;
const FIELDS: [&str; 2] = ["Referer", "User-Agent"];
const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
