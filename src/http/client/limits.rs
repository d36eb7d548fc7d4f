//! `client::Limits`: every bound of a client, with its default.
//!
//! Plain numbers, which know nothing of who enforces them.

use std::time::Duration;

use crate::limits::MinRate;

/// The bounds of one [`Client`](super::Client). What a server can cost us is at most
/// `max_connections` times the limits of a connection, and `max_queued` requests.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_connections` | 8 | further requests wait in the queue |
/// | `max_pipelined` | 1 | further requests wait in the queue |
/// | `max_queued` | 1,024 | `SendError::Full` |
/// | `max_retries` | 1 | the failure is told |
/// | `max_head_len` | 16 KiB | `ResponseError::HeadTooLong`, reset |
/// | `max_fields` | 100 | `ResponseError::TooManyFields`, reset |
/// | `max_trailers_len` | 8 KiB | `ResponseError::Coding`, reset |
/// | `max_interim` | 16 | `ResponseError::TooManyInterim`, reset |
/// | `max_body_len` | 1 MiB | `Cause::BodyTooLong`, reset |
/// | `response_timeout` | 30 s | `Cause::Timeout`, reset |
/// | `head_timeout` | 10 s | `Cause::Timeout`, reset |
/// | `min_body_rate` | 1 KiB in 10 s | `Cause::Timeout`, reset |
/// | `idle_timeout` | 30 s | the connection is closed |
///
/// The time to connect and limits of bytes on their way out are those of the connection:
/// `windlass::Limits`, as the `Connect` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at once. One that a server has told us to close is not counted.
    pub max_connections: usize,
    /// Requests on one connection whose answers are not complete. More than one: pipelining, and
    /// only of methods that are idempotent (RFC 9112, section 9.3.2).
    pub max_pipelined: usize,
    /// Requests that wait for a connection.
    pub max_queued: usize,
    /// How often a request is sent again by itself when its connection has ended before any of
    /// the answer was here, if that cannot do harm: its method is idempotent (RFC 9110, section
    /// 9.2.2), and its body is at hand.
    pub max_retries: u8,
    /// Bytes of an answer's head.
    pub max_head_len: usize,
    /// Fields of a head or of a trailer.
    pub max_fields: usize,
    /// Bytes of the trailer behind a chunked body.
    pub max_trailers_len: usize,
    /// Interim answers (1xx) before one answer.
    pub max_interim: u32,
    /// Bytes of a body that is put together for a callback. One that is received piece by piece
    /// has no limit but the receiver's.
    pub max_body_len: usize,
    /// How long nothing may pass on a connection that owes an answer. While a body of ours is being
    /// sent, or a receiver pauses, it is `windlass::Limits::idle_timeout`.
    pub response_timeout: Duration,
    /// How long an answer's head may take from its first byte to its last.
    pub head_timeout: Duration,
    /// How fast a body has to arrive, on average over a stretch of at least this length. `None`:
    /// as slowly as it likes, so long as it arrives within `response_timeout`.
    pub min_body_rate: Option<MinRate>,
    /// How long a connection is kept without a request. Below the server's own time-out, so that
    /// requests do not meet a connection that is just being closed.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 8,
            max_pipelined: 1,
            max_queued: 1024,
            max_retries: 1,
            max_head_len: 16 * 1024,
            max_fields: 100,
            max_trailers_len: 8 * 1024,
            max_interim: 16,
            max_body_len: 1024 * 1024,
            response_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            min_body_rate: Some(MinRate {
                bytes: 1024,
                per: Duration::from_secs(10),
            }),
            idle_timeout: Duration::from_secs(30),
        }
    }
}
