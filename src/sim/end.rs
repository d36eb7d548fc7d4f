//! `End` and `Port`: what a simulated connection and a simulated listener consist of.
//!
//! Data and questions about it. Knows neither events to come nor who drives it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::agenda::EndId;
use crate::limits::Limits;
use crate::net::{Address, Readiness, StreamOptions};
use crate::token::Token;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) serial: u32,
    pub(super) host: usize,
    pub(super) remote_host: usize,
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) options: StreamOptions,
    /// Who hears of events. `None`: not yet registered, so that nobody does.
    pub(super) token: Option<Token>,
    pub(super) service: Rc<Service>,
    /// The listener that it was accepted from.
    pub(super) port: Option<(usize, u32)>,
    pub(super) link: Link,
    pub(super) stage: Stage,
    pub(super) inbound: Pipe,
    pub(super) ear: Ear,
    pub(super) wrote: Wrote,
    /// When a write was first refused since the last one that was not.
    pub(super) blocked_since: Duration,
    /// When it was begun, while it connects.
    pub(super) begun_at: Duration,
    /// When our FIN was sent.
    pub(super) fin_sent_at: Option<Duration>,
    pub(super) read_total: u64,
    /// Bytes that were written to a peer that is no more.
    pub(super) void_len: usize,
    /// A reset is under way because of these.
    pub(super) is_doomed: bool,
    /// Who is to blame if what we write now is answered by a reset: an index of a list.
    pub(super) blame: Option<u32>,
}

/// What connections have in common that belong together: the facts that a reactor told when it
/// opened them.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) limits: Limits,
}

/// What an end is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing yet.
    None,
    /// Another end.
    Up(EndId),
    /// An end that was closed.
    Closed,
    /// An end that vanished with its host, without a word.
    Lost,
}

/// Where an end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The attempt is under way.
    Connecting,
    /// It was made; whoever began it has not asked yet.
    Made,
    /// Connected.
    Up,
    /// Failed, with this error number. `is_told`: an operation has answered with it.
    Broken { error: i32, is_told: bool },
}

/// How the last write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    All,
    /// Less was taken than was offered.
    Part,
    /// Nothing was taken.
    Nothing,
}

/// The readiness of an end or a listener, as its poller sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear {
    /// The next byte to arrive (or the next connection) is an event.
    pub(super) wants_read: bool,
    /// The next room to write is an event.
    pub(super) wants_write: bool,
    /// What is to be told with the next event.
    pub(super) pending: Readiness,
    /// An event is on its way.
    pub(super) is_listed: bool,
    /// An event was promised to a reader, to a writer, who had to wait for no reason. One promise
    /// is enough: each event may be refused again.
    pub(super) promised_read: bool,
    pub(super) promised_write: bool,
}

impl Ear {
    /// Whether a promise is pending, to a reader or to a writer.
    pub(super) fn promised(&mut self, readable: bool) -> &mut bool {
        match readable {
            true => &mut self.promised_read,
            false => &mut self.promised_write,
        }
    }

    pub(super) const DEAF: Ear = Ear {
        wants_read: false,
        wants_write: false,
        pending: Readiness::NONE,
        is_listed: false,
        promised_read: false,
        promised_write: false,
    };
}

/// What is under way to an end, and what has arrived there.
#[derive(Debug)]
pub(super) struct Pipe {
    /// All bytes that were written and not yet read: those that have arrived, then the others.
    pub(super) bytes: VecDeque<u8>,
    /// How many have arrived. Invariant: `arrived <= bytes.len()`.
    pub(super) arrived: usize,
    pub(super) fin: Fin,
    /// How many bytes there may be.
    pub(super) capacity: usize,
    /// When the last segment arrives: none overtakes another.
    pub(super) last_at: Duration,
    /// When the line is free again.
    pub(super) line_free_at: Duration,
}

/// The end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    /// Not yet.
    None,
    /// Under way.
    Sent,
    /// Behind the last byte.
    Arrived,
    /// A read has told it.
    Read,
}

impl Pipe {
    pub(super) fn new(capacity: usize) -> Pipe {
        Pipe {
            bytes: VecDeque::new(),
            arrived: 0,
            fin: Fin::None,
            capacity: capacity.max(1),
            last_at: Duration::ZERO,
            line_free_at: Duration::ZERO,
        }
    }

    /// How many bytes may be written.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Whether a read would answer something that was not told yet.
    pub(super) fn is_readable(&self) -> bool {
        self.arrived > 0 || self.fin == Fin::Arrived
    }

    /// Takes what has arrived, up to `buf`.
    pub(super) fn take(&mut self, buf: &mut [u8]) {
        let (front, back) = self.bytes.as_slices();
        let from_front = buf.len().min(front.len());
        buf[..from_front].copy_from_slice(&front[..from_front]);
        let rest = buf.len() - from_front;
        buf[from_front..].copy_from_slice(&back[..rest]);
        self.bytes.drain(..buf.len());
        self.arrived -= buf.len();
    }
}

impl End {
    /// Whether an operation on it would tell something that was not told yet.
    pub(super) fn is_readable(&self) -> bool {
        match self.stage {
            Stage::Connecting => false,
            Stage::Made => true,
            Stage::Up => self.inbound.is_readable(),
            Stage::Broken { is_told, .. } => !is_told,
        }
    }

    /// Whether its last write was refused, and nobody has told it that it may try again.
    pub(super) fn is_blocked(&self) -> bool {
        self.ear.wants_write || (self.wrote == Wrote::Nothing && self.ear.is_listed)
    }
}

/// A listener.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) serial: u32,
    pub(super) host: usize,
    pub(super) address: Address,
    pub(super) token: Token,
    pub(super) service: Rc<Service>,
    pub(super) backlog: VecDeque<EndId>,
    pub(super) max_backlog: usize,
    pub(super) ear: Ear,
    /// Connections accepted from it that are open.
    pub(super) live: usize,
    /// Of these, so many at which its owner goes on accepting after it had its fill.
    pub(super) resume_at: usize,
    /// The last accept failed for want of descriptors: its owner tries again by itself.
    pub(super) is_exhausted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gives_bytes_in_order_however_it_wraps() {
        let mut pipe = Pipe::new(8);
        let mut expected = 0_u8;
        let mut next = 0_u8;
        for round in 0..100 {
            for _ in 0..pipe.room().min(1 + round % 8) {
                pipe.bytes.push_back(next);
                next = next.wrapping_add(1);
            }
            pipe.arrived = pipe.bytes.len();
            let mut buf = vec![0; pipe.arrived.min(1 + round % 5)];
            pipe.take(&mut buf);
            for byte in buf {
                assert_eq!(byte, expected);
                expected = expected.wrapping_add(1);
            }
        }
        assert_eq!(pipe.room(), 8 - pipe.bytes.len());
    }
}
