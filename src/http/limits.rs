//! `http::Limits`: every bound of the server, with its default.
//!
//! Plain numbers, which know nothing of who enforces them.

use std::time::Duration;

use crate::limits::MinRate;

/// The bounds of every connection of one server. The defaults are safe for the open network.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_head_len` | 16 KiB | 431, close |
/// | `max_target_len` | 8 KiB | 414, close |
/// | `max_fields` | 100 | 431, close |
/// | `max_body_len` | 1 MiB | 413, close; before the body is read, if its length is announced |
/// | `max_trailers_len` | 8 KiB | 431, close |
/// | `header_timeout` | 10 s | 408, close; without an answer if not a byte had come |
/// | `min_body_rate` | 1 KiB in 10 s | 408, close; without that if it was answered already |
/// | `idle_timeout` | 75 s | close |
/// | `max_requests` | off | the last answer says `Connection: close` |
/// | `max_concurrent` | off | 503 with `Retry-After` |
/// | `max_discard_len` | 64 KiB | the answer says `Connection: close` |
///
/// Time-outs and limits of bytes on their way out are those of the connection:
/// `windlass::Limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head: request line, fields and the line that ends them.
    pub max_head_len: usize,
    /// Bytes of a request's target.
    pub max_target_len: usize,
    /// Fields of a head or of a trailer.
    pub max_fields: usize,
    /// Bytes of a body that is buffered for its handler. Routes may set their own.
    pub max_body_len: usize,
    /// Bytes of the trailer behind a chunked body.
    pub max_trailers_len: usize,
    /// How long a head may take from its first byte, be that an empty line's before it, to its
    /// last; and how long the first one may take to begin. A body in which nothing arrives for so
    /// long is given up as well.
    pub header_timeout: Duration,
    /// How fast a body has to arrive, on average over a stretch of at least this length. `None`:
    /// as slowly as it likes, so long as it arrives.
    pub min_body_rate: Option<MinRate>,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// Requests on one connection.
    pub max_requests: Option<u32>,
    /// Requests of the server that are being received or answered at once.
    pub max_concurrent: Option<usize>,
    /// Bytes of a body that nobody wants which are read and thrown away, so that the connection
    /// can go on.
    pub max_discard_len: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_head_len: 16 * 1024,
            max_target_len: 8 * 1024,
            max_fields: 100,
            max_body_len: 1024 * 1024,
            max_trailers_len: 8 * 1024,
            header_timeout: Duration::from_secs(10),
            min_body_rate: Some(MinRate {
                bytes: 1024,
                per: Duration::from_secs(10),
            }),
            idle_timeout: Duration::from_secs(75),
            max_requests: None,
            max_concurrent: None,
            max_discard_len: 64 * 1024,
        }
    }
}
