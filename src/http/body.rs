//! Bodies of responses, and `Source`: one that is produced piece by piece.
//!
//! Knows nothing of how a body is framed on its way.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::file::FileBody;
use super::permit::Permit;
use super::reply::Awaited;
use super::response::Response;
use crate::protocol::Driver;

/// The body of a response that is produced as the peer takes it.
///
/// It is asked for more when there is room for it, so what a slow peer costs is one piece and what
/// the connection's high water allows. A closure is a source too.
///
/// ```
/// use windlass::http::{Pulled, Response};
///
/// let mut left = 3;
/// let response = Response::stream(move |out: &mut Vec<u8>| {
///     out.extend_from_slice(b"tick\n");
///     left -= 1;
///     if left == 0 { Pulled::End } else { Pulled::More }
/// });
/// # drop(response);
/// ```
pub trait Source {
    /// Appends the next piece to `out`, which is empty; a few dozen kilobytes are a good size.
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled;

    /// Fields to be sent behind the body, asked for once it has ended. They are left out where the
    /// peer speaks HTTP/1.0 or the length was announced. So are those that have to be in a head,
    /// such as `Content-Type` (RFC 9110, section 6.5.1).
    fn trailers(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The server is shutting down: a body without an end may come to one. It is pulled next.
    fn on_shutdown(&mut self) {}
}

impl<F: FnMut(&mut Vec<u8>) -> Pulled> Source for F {
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
        self(out)
    }
}

/// What a [`Source`] says of what follows the piece that it has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There is more.
    More,
    /// That was the end.
    End,
    /// There is nothing more yet: ask again after this time, or when the connection gets a
    /// [`Nudge`] by mail.
    Wait(Duration),
    /// The rest cannot be produced. The connection is cut off, so that the peer does not take what
    /// it has for the whole.
    Fail,
}

/// A mail that asks a streamed response to look for more at once: to `Request::token`, with
/// `Intents::mail_to` or `Remote::post`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nudge;

/// Makes a response once its time has come, which it is told.
pub(crate) type Make = Box<dyn FnOnce(Instant) -> Response>;

/// What a response consists of besides its head.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
    /// Produced as it is sent; with its length, if that is known.
    Source(Box<dyn Source>, Option<u64>),
    /// Read as it is sent.
    File(FileBody),
    /// Comes by mail.
    Awaited(Awaited),
    /// Is made later.
    Later(Duration, Make),
    /// None: the connection is somebody else's from here on.
    Switch(Box<dyn Driver>),
}

impl Body {
    /// The bytes, if they are all there.
    #[inline]
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Body::Empty => Some(b""),
            Body::Static(bytes) => Some(bytes),
            Body::Owned(bytes) => Some(bytes),
            Body::Shared(bytes) => Some(bytes),
            Body::Source(..)
            | Body::File(_)
            | Body::Awaited(_)
            | Body::Later(..)
            | Body::Switch(_) => None,
        }
    }

    /// Is counted as under way until it is sent, or until it is there. Bytes are there already.
    pub(crate) fn held_by(self, permit: Box<Permit>) -> Body {
        match self {
            Body::Source(source, len) => Body::Source(Box::new(Held { source, permit }), len),
            Body::File(mut file) => {
                file.hold(permit);
                Body::File(file)
            }
            Body::Awaited(mut awaited) => {
                awaited.hold(permit);
                Body::Awaited(awaited)
            }
            Body::Later(wait, make) => {
                Body::Later(wait, Box::new(move |now| make(now).held_by(permit)))
            }
            body @ (Body::Empty
            | Body::Static(_)
            | Body::Owned(_)
            | Body::Shared(_)
            | Body::Switch(_)) => body,
        }
    }

    /// The bytes, to be kept.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Body::Static(bytes) => Bytes::from_static(bytes),
            Body::Owned(bytes) => bytes.into(),
            Body::Shared(bytes) => bytes,
            Body::Empty
            | Body::Source(..)
            | Body::File(_)
            | Body::Awaited(_)
            | Body::Later(..)
            | Body::Switch(_) => Bytes::new(),
        }
    }
}

/// A source that is counted.
struct Held {
    source: Box<dyn Source>,
    #[expect(dead_code, reason = "it is dropped")]
    permit: Box<Permit>,
}

impl Source for Held {
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
        self.source.pull(out)
    }

    fn trailers(&mut self) -> Vec<(String, String)> {
        self.source.trailers()
    }

    fn on_shutdown(&mut self) {
        self.source.on_shutdown();
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Source(_, len) => write!(f, "Source({len:?})"),
            Body::File(file) => file.fmt(f),
            Body::Awaited(_) => f.write_str("Awaited"),
            Body::Later(after, _) => write!(f, "Later({after:?})"),
            Body::Switch(_) => f.write_str("Switch"),
            _ => write!(f, "{} bytes", self.as_bytes().map_or(0, <[u8]>::len)),
        }
    }
}
