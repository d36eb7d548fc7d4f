//! `Trace`: what happened in a simulated world, line by line, and a digest of all of it.
//!
//! Knows nothing of why it happened. Lines are kept as numbers and written out only for whoever
//! wants to read them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::token::Token;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When, since the world began.
    pub(super) at: Duration,
    /// On which host.
    pub(super) host: u16,
    /// To whom, if that has a token.
    pub(super) token: Option<Token>,
    pub(super) what: What,
    /// Bytes, mostly; what else is said by `What`.
    pub(super) count: u64,
    /// Of the bytes.
    pub(super) digest: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    /// `count`: the bits of the readiness.
    Event,
    /// `count`: nanoseconds.
    Sleep,
    Wake,
    Read,
    ReadBlocked,
    ReadEof,
    /// `count`: the number of the error.
    ReadFailed,
    Write,
    WriteBlocked,
    /// `count`: the number of the error.
    WriteFailed,
    Listen,
    Accept,
    /// `count`: the number of the error.
    AcceptFailed,
    Register,
    Connect,
    Connected,
    /// `count`: the number of the error.
    ConnectFailed,
    Fin,
    Close,
    Abort,
    CloseListener,
    /// Bytes arrived at the socket.
    Arrive,
    FinArrive,
    ResetArrive,
    /// A fault broke the connection.
    Break,
    Stop,
    Restart,
    Pause,
    /// `count`: the other host.
    Cut,
    /// `count`: the other host.
    Heal,
    /// `count`: nanoseconds.
    Jump,
    /// A datagram socket was opened.
    Bind,
    /// Bytes were taken to be sent, as one datagram or several.
    Send,
    /// There is no room in the send buffer for so many.
    SendBlocked,
    /// `count`: the number of the error.
    SendFailed,
    /// They have left the send buffer.
    Depart,
    Receive,
    ReceiveBlocked,
    /// A datagram does not get there: it went missing on its way,
    LostByChance,
    /// nothing gets through between the hosts,
    LostToPartition,
    /// one of the hosts is down,
    LostToOutage,
    /// nobody receives at that address,
    LostUnclaimed,
    /// the socket there holds too many,
    LostForRoom,
    /// or was closed before it received it.
    LostUnread,
    /// The network reports that nobody receives what was sent.
    Refused,
}

/// A trace that is hashed as it grows, of which the last lines are kept.
pub(super) struct Trace {
    hasher: Sha256,
    /// Lines that are not yet hashed, as bytes: hashing many at once is cheaper.
    unhashed: Vec<u8>,
    last: VecDeque<Line>,
    len: u64,
}

impl Trace {
    pub(super) fn new() -> Trace {
        Trace {
            hasher: Sha256::new(),
            unhashed: Vec::with_capacity(BATCH_LEN),
            last: VecDeque::with_capacity(KEPT_LINES),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, line: Line) {
        self.len += 1;
        self.unhashed.extend_from_slice(&line.to_bytes());
        if self.unhashed.len() + LINE_LEN > BATCH_LEN {
            self.hasher.update(&self.unhashed);
            self.unhashed.clear();
        }
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// How many lines there were.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The digest of all lines so far.
    pub(super) fn hash(&self) -> Hash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.unhashed);
        Hash(hasher.finalize().into())
    }

    /// The last lines, as text. `name` names a host.
    pub(super) fn last(&self, name: impl Fn(usize) -> String) -> Vec<String> {
        let mut lines = Vec::with_capacity(self.last.len());
        for line in &self.last {
            let host = name(usize::from(line.host));
            let at = line.at;
            let token = line.token.map(|token| format!(" {token}"));
            let token = token.unwrap_or_default();
            let (what, count, digest) = (line.what, line.count, line.digest);
            let digest = match digest {
                0 => String::new(),
                digest => format!(" {digest:016x}"),
            };
            lines.push(format!("{at:?} {host}{token} {what:?} {count}{digest}"));
        }
        lines
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("len", &self.len)
            .field("hash", &self.hash())
            .finish()
    }
}

impl Line {
    fn to_bytes(self) -> [u8; LINE_LEN] {
        let mut bytes = [0; LINE_LEN];
        let token = self.token.map_or(u64::MAX, |token| {
            u64::from(token.generation()) << 32 | u64::from(token.slot())
        });
        let at = self.at.as_nanos() as u64;
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        bytes[8..16].copy_from_slice(&token.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.digest.to_le_bytes());
        bytes[32..34].copy_from_slice(&self.host.to_le_bytes());
        bytes[34] = self.what as u8;
        bytes
    }
}

/// A SHA-256 digest, of a trace or of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// A quick digest of some bytes, never 0: eight bytes at a time, each step mixed as in FNV-1a. It
/// need not resist anybody, only tell that something differs.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(23);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash | 1
}

/// Lines that are kept to be read.
const KEPT_LINES: usize = 50;
/// Bytes of a line as it is hashed.
const LINE_LEN: usize = 40;
/// Bytes that are hashed at once.
const BATCH_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: u64) -> Line {
        Line {
            at: Duration::from_millis(count),
            host: 0,
            token: None,
            what: What::Read,
            count,
            digest: 0,
        }
    }

    #[test]
    fn the_hash_tells_traces_apart_and_does_not_depend_on_when_it_is_asked_for() {
        let (mut one, mut two) = (Trace::new(), Trace::new());
        for count in 0..1000 {
            one.push(line(count));
            two.push(line(count));
            one.hash();
        }
        assert_eq!(one.hash(), two.hash());
        two.push(line(1));
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut trace = Trace::new();
        (0..1000).for_each(|count| trace.push(line(count)));
        let lines = trace.last(|host| format!("host{host}"));
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines.last().unwrap(), "999ms host0 Read 999");
    }

    #[test]
    fn a_digest_sees_every_byte_and_the_length() {
        let bytes = [0; 20];
        for changed in 0..20 {
            let mut other = bytes;
            other[changed] = 1;
            assert_ne!(digest(&bytes), digest(&other));
        }
        assert_ne!(digest(&bytes), digest(&bytes[..19]));
    }
}
