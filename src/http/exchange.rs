//! `Exchange`: a request that takes more than one event, and how far it is.
//!
//! What a session carries only then. Knows no handlers but those it carries, and writes nothing but
//! bodies.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::access::Record;
use super::body::{Make, Pulled, Source};
use super::file::FileBody;
use super::reply::Awaited;
use super::service::Receiver;
use super::writer::{Asked, Framing, put_chunk, put_last_chunk};
use crate::limits::MinRate;
use crate::protocol::{Context, TimerId};

/// What a session is in the middle of.
pub(crate) enum Exchange {
    /// The body is put together, behind a copy of the head.
    Buffering {
        head: Vec<u8>,
        body: Vec<u8>,
        limit: usize,
        asked: Asked,
        pace: Pace,
    },
    /// The body is given away as it comes.
    Receiving {
        receiver: Box<dyn Receiver>,
        asked: Asked,
        pace: Pace,
        is_paused: bool,
    },
    /// The answer was given, and the body, of which so many bytes are allowed, is thrown away.
    Discarding { left: usize, pace: Pace },
    /// The answer's body is under way.
    Sending(Sending),
    /// Somebody else has the right to answer. The timer looks after whether they still have it.
    Awaiting {
        awaited: Awaited,
        /// What was added to the response that stands for the answer.
        fields: Vec<u8>,
        asked: Asked,
        timer: Option<TimerId>,
    },
    /// The answer is made when the timer fires.
    Later { make: Make, asked: Asked },
}

impl Exchange {
    /// What will be logged of the request, unless that was done.
    pub(crate) fn take_record(&mut self) -> Option<Box<Record>> {
        match self {
            Exchange::Buffering { asked, .. }
            | Exchange::Receiving { asked, .. }
            | Exchange::Awaiting { asked, .. }
            | Exchange::Later { asked, .. } => asked.record.take(),
            Exchange::Sending(sending) => sending.asked.record.take(),
            Exchange::Discarding { .. } => None,
        }
    }
}

/// How fast a body arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    since: Instant,
    len: u64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { since: now, len: 0 }
    }

    /// `len` bytes have arrived; answers whether that is too slow.
    pub(crate) fn is_too_slow(&mut self, len: usize, now: Instant, rate: Option<MinRate>) -> bool {
        self.len += len as u64;
        let Some(rate) = rate else { return false };
        let elapsed = now.saturating_duration_since(self.since);
        let owed = rate.bytes as u128 * elapsed.as_millis();
        elapsed >= rate.per && u128::from(self.len) * rate.per.as_millis() < owed
    }
}

/// The body of an answer on its way.
pub(crate) struct Sending {
    pub(crate) content: Content,
    pub(crate) framing: Framing,
    /// Bytes that are still owed, if the length was announced.
    pub(crate) left: u64,
    pub(crate) asked: Asked,
    /// When to look for more.
    pub(crate) timer: Option<TimerId>,
}

/// Where the body comes from.
pub(crate) enum Content {
    Bytes(Bytes),
    Source(Box<dyn Source>),
    File(FileBody),
}

/// How far a body was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// To its end.
    All,
    /// As far as there is room; `on_drain` follows.
    Full,
    /// As far as there is something; to be asked again after this time.
    Waits(Duration),
    /// It cannot be sent to its end.
    Failed,
}

impl Sending {
    /// Sends as much as there is room for, by way of `scratch`.
    pub(crate) fn pump(&mut self, scratch: &mut Vec<u8>, cx: &mut Context<'_, ()>) -> Sent {
        for _ in 0..MAX_PULLS {
            if !cx.is_writable() {
                return Sent::Full;
            }
            let piece = match &mut self.content {
                Content::Bytes(bytes) => {
                    let piece = bytes.split_to(bytes.len().min(PIECE_LEN));
                    let len = piece.len();
                    cx.out().put_shared(piece);
                    Ok(len)
                }
                // What is queued of a file is more than what drains in a moment: it is sent when
                // it has left.
                Content::File(file) if file.len() == 0 => return Sent::All,
                Content::File(file) => file.put(cx.out()),
                Content::Source(source) => {
                    scratch.clear();
                    let pulled = source.pull(scratch);
                    match self.on_pulled(pulled, scratch, cx) {
                        Some(sent) => return sent,
                        None => continue,
                    }
                }
            };
            match piece {
                Ok(len) => {
                    self.left -= len as u64;
                    self.count(len);
                }
                Err(error) => {
                    log::warn!("{}: a file cannot be sent to its end: {error}", cx.token());
                    return Sent::Failed;
                }
            }
            if self.left == 0 && !matches!(self.content, Content::File(_)) {
                return Sent::All;
            }
        }
        // Tiny pieces: others first, then on with the next turn.
        Sent::Waits(Duration::ZERO)
    }

    /// The server is shutting down.
    pub(crate) fn on_shutdown(&mut self) {
        if let Content::Source(source) = &mut self.content {
            source.on_shutdown();
        }
    }

    /// Sends a piece. Answers if there is a reason to stop.
    fn on_pulled(
        &mut self,
        pulled: Pulled,
        piece: &[u8],
        cx: &mut Context<'_, ()>,
    ) -> Option<Sent> {
        match self.framing {
            Framing::Length(_) => {
                let len =
                    usize::try_from(self.left).map_or(piece.len(), |left| piece.len().min(left));
                if len < piece.len() {
                    log::error!("{}: a source exceeds its length", cx.token());
                }
                self.left -= len as u64;
                self.count(len);
                cx.out().put(&piece[..len]);
                if self.left == 0 {
                    return Some(Sent::All);
                }
            }
            Framing::Chunked if piece.is_empty() => {}
            Framing::Chunked => {
                self.count(piece.len());
                put_chunk(piece, cx.out());
            }
            Framing::Close | Framing::None => {
                self.count(piece.len());
                cx.out().put(piece);
            }
        }
        match pulled {
            Pulled::More if piece.is_empty() => Some(Sent::Waits(EMPTY_WAIT)),
            Pulled::More => None,
            Pulled::Wait(wait) => Some(Sent::Waits(wait)),
            Pulled::Fail => Some(Sent::Failed),
            Pulled::End => Some(self.end(cx)),
        }
    }

    /// So much of the body has left.
    fn count(&mut self, len: usize) {
        if let Some(record) = &mut self.asked.record {
            record.sent_len += len as u64;
        }
    }

    fn end(&mut self, cx: &mut Context<'_, ()>) -> Sent {
        match (&mut self.content, self.framing) {
            (Content::Source(source), Framing::Chunked) => {
                put_last_chunk(&source.trailers(), cx.out());
                Sent::All
            }
            (_, Framing::Length(_)) => {
                log::error!("{}: a source falls short of its length", cx.token());
                Sent::Failed
            }
            (_, Framing::Chunked | Framing::Close | Framing::None) => Sent::All,
        }
    }
}

/// Pieces that one source may produce in a row.
const MAX_PULLS: usize = 64;
/// Bytes of a large body that are queued at once.
const PIECE_LEN: usize = 128 * 1024;
/// How long a source rests that says it has more and produces nothing.
const EMPTY_WAIT: Duration = Duration::from_millis(10);
