//! `Tape`: a record as it is played back: what was answered, and whether what is asked and sent is
//! the same again.
//!
//! Knows the format of a record, and no reactor.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::errno;
use super::record::{
    ACCEPT, BIND, CLOSE, CLOSE_DATAGRAM, CLOSE_LISTENER, CONNECT, CONNECTED, DIGEST_LEN, FIN,
    HEADER, JOIN, LEAVE, LISTEN, NOW, OK, POLL, READ, RECEIVE, REGISTER, REPORT, TRAIN, TRANSMIT,
    UNIX_TIME, UNKNOWN, WOULD_BLOCK, WRITE,
};
use crate::net::Address;

/// One thing that a recorded reactor did, and what it was answered.
#[derive(Debug)]
pub(super) struct Entry {
    kind: u8,
    number: u32,
    status: i32,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Tape {
    entries: Vec<Entry>,
    next: usize,
    elapsed: Duration,
    difference: Option<Difference>,
    bytes: u64,
    peers: Vec<Option<Address>>,
}

impl Tape {
    /// A record from its beginning; `None` if it is damaged.
    pub(super) fn of(record: &[u8]) -> Option<Tape> {
        Some(Tape {
            entries: parse(record)?,
            next: 0,
            elapsed: Duration::ZERO,
            difference: None,
            bytes: 0,
            peers: Vec::new(),
        })
    }

    /// The time since the record began. Whoever sets the reactor up may look at the clock more
    /// often than was recorded.
    pub(super) fn look_at_clock(&mut self) -> Duration {
        if let Some(time) = self.take_time(NOW) {
            self.elapsed = time;
        }
        self.elapsed
    }

    /// The time since 1970, if the recorded reactor was told it here.
    pub(super) fn look_at_wall_clock(&mut self) -> Option<Duration> {
        self.take_time(UNIX_TIME)
    }

    fn take_time(&mut self, kind: u8) -> Option<Duration> {
        let next = self.entries.get(self.next)?;
        if next.kind != kind {
            return None;
        }
        self.next += 1;
        let nanos = next.bytes.first_chunk()?;
        Some(Duration::from_nanos(u64::from_le_bytes(*nanos)))
    }

    /// The recorded answer to what the reactor asks now; an error if it asks something else.
    fn answer(&mut self, kind: u8, number: u32) -> io::Result<&Entry> {
        if self.difference.is_some() || self.next >= self.entries.len() {
            return Err(ErrorKind::Interrupted.into());
        }
        let entry = &self.entries[self.next];
        if (entry.kind, entry.number) != (kind, number) {
            let recorded = describe(entry);
            let replayed = name(kind, number);
            self.differ(number, recorded, replayed);
            return Err(ErrorKind::Interrupted.into());
        }
        self.next += 1;
        Ok(&self.entries[self.next - 1])
    }

    pub(super) fn outcome(&mut self, kind: u8, number: u32) -> io::Result<&Entry> {
        let entry = self.answer(kind, number)?;
        match entry.status {
            OK => Ok(entry),
            WOULD_BLOCK => Err(ErrorKind::WouldBlock.into()),
            UNKNOWN => Err(ErrorKind::Other.into()),
            error => Err(errno::error(error)),
        }
    }

    /// The number of what comes next.
    pub(super) fn next_number(&self) -> u32 {
        self.entries.get(self.next).map_or(0, |entry| entry.number)
    }

    /// Another connection is there, which may be one that was accepted.
    pub(super) fn add_peer(&mut self, peer: Option<Address>) {
        self.peers.push(peer);
    }

    pub(super) fn peer(&self, number: u32) -> Option<Address> {
        self.peers.get(number as usize).cloned().flatten()
    }

    pub(super) fn has_differed(&self) -> bool {
        self.difference.is_some()
    }

    /// Bytes that were sent and time that passed, if nothing differed. Nothing is answered any
    /// more.
    pub(super) fn end(&mut self) -> Result<(u64, Duration), Difference> {
        self.entries.clear();
        match self.difference.take() {
            Some(difference) => Err(difference),
            None => Ok((self.bytes, self.elapsed)),
        }
    }

    /// Whether nothing is left but what a reactor does when it is dropped.
    pub(super) fn is_at_its_end(&self) -> bool {
        let mut rest = self.entries[self.next.min(self.entries.len())..].iter();
        let is_of_the_end = |kind| {
            matches!(
                kind,
                NOW | UNIX_TIME | CLOSE | CLOSE_LISTENER | CLOSE_DATAGRAM
            )
        };
        rest.all(|entry| is_of_the_end(entry.kind))
    }

    fn differ(&mut self, number: u32, recorded: String, replayed: String) {
        let peer = self.peer(number);
        self.difference = Some(Difference {
            at: self.elapsed,
            peer,
            recorded,
            replayed,
        });
    }

    /// Compares what is written or sent with what was.
    pub(super) fn compare(&mut self, kind: u8, number: u32, offered: &[u8]) -> io::Result<usize> {
        let expected = self.outcome(kind, number)?.bytes.clone();
        let common = offered.iter().zip(&expected);
        let common = common.take_while(|(one, other)| one == other).count();
        // A stream may be offered more than it takes; a datagram is all or nothing.
        if common < expected.len() || (kind == TRANSMIT && common < offered.len()) {
            let around = common.saturating_sub(CONTEXT_LEN);
            let show = |bytes: &[u8]| {
                let end = bytes.len().min(common + CONTEXT_LEN);
                format!("\"{}\"", bytes[around.min(end)..end].escape_ascii())
            };
            let recorded = format!("{}, byte {common} of a {}", show(&expected), noun(kind));
            self.differ(number, recorded, show(offered));
            return Err(ErrorKind::Interrupted.into());
        }
        self.bytes += expected.len() as u64;
        Ok(expected.len())
    }
}

/// What an entry is, for people.
fn describe(entry: &Entry) -> String {
    let name = name(entry.kind, entry.number);
    match entry.bytes.len() {
        len if len > 0 && matches!(entry.kind, READ | WRITE | RECEIVE | TRANSMIT) => format!(
            "{name} of {len} bytes, \"{}\"",
            entry.bytes[..len.min(2 * CONTEXT_LEN)].escape_ascii()
        ),
        _ => name,
    }
}

/// What it is whose bytes differ.
fn noun(kind: u8) -> &'static str {
    match kind {
        TRANSMIT => "datagram",
        _ => "write",
    }
}

fn name(kind: u8, number: u32) -> String {
    let what = match kind {
        NOW => return "a look at the clock".into(),
        UNIX_TIME => return "a look at the wall clock".into(),
        POLL => return "a poll".into(),
        LISTEN => "listener opened",
        ACCEPT => "accept on listener",
        REGISTER => "registration of connection",
        CONNECT => "attempt to open connection",
        CONNECTED => "question for the outcome of connection",
        READ => "read from connection",
        WRITE => "write to connection",
        FIN => "end of our half of connection",
        CLOSE => "close of connection",
        CLOSE_LISTENER => "close of listener",
        BIND => "datagram socket opened",
        RECEIVE => "receipt on datagram socket",
        TRANSMIT => "datagram sent by socket",
        REPORT => "question for reports to datagram socket",
        TRAIN => "question for trains to datagram socket",
        JOIN => "joining of a group by datagram socket",
        LEAVE => "leaving of a group by datagram socket",
        CLOSE_DATAGRAM => "close of datagram socket",
        _ => "unknown entry",
    };
    format!("{what} {number}")
}

/// Takes a record apart; `None` if it is damaged.
fn parse(record: &[u8]) -> Option<Vec<Entry>> {
    let (body, digest) = record.split_at_checked(record.len().checked_sub(DIGEST_LEN)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let mut rest = body.strip_prefix(HEADER)?;
    let mut entries = Vec::new();
    while let Some((&kind, after)) = rest.split_first() {
        let (number, after) = after.split_first_chunk::<4>()?;
        let (status, after) = after.split_first_chunk::<4>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let (bytes, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        entries.push(Entry {
            kind,
            number: u32::from_le_bytes(*number),
            status: i32::from_le_bytes(*status),
            bytes: bytes.to_vec(),
        });
        rest = after;
    }
    Some(entries)
}

/// Where a replay differs from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When, since the record began.
    pub at: Duration,
    /// The peer of the connection, if it is one that was accepted.
    pub peer: Option<Address>,
    /// What was recorded.
    pub recorded: String,
    /// What happened instead.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:?}", self.at)?;
        if let Some(peer) = &self.peer {
            write!(f, ", to {peer}")?;
        }
        let (recorded, replayed) = (&self.recorded, &self.replayed);
        write!(f, ":\n  recorded: {recorded}\n  replayed: {replayed}")
    }
}

/// Bytes that are shown on either side of a difference.
const CONTEXT_LEN: usize = 32;
