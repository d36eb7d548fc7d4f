//! `Service`: what answers requests, and `Receiver`: what takes a body piece by piece.
//!
//! The seam between the server and everything built on it. Knows neither connections nor routes.

use super::fields::Fields;
use super::request::Request;
use super::response::Response;
use crate::protocol::Intents;

/// Answers requests: a [`Router`](super::Router), a closure, or your own.
///
/// One service serves all connections of a server, one call at a time.
pub trait Service {
    /// Answers a request that is here as a whole.
    fn call<'a>(&'a self, request: &mut Request<'a>) -> Response;

    /// Says what is to become of a body that is still to come. `request` has none yet.
    ///
    /// A peer that expects `100 Continue` is told so only if the body is wanted.
    fn accept<'a>(&'a self, request: &mut Request<'a>) -> Accept {
        let _ = request;
        Accept::Buffer(None)
    }
}

impl<F: Fn(&mut Request<'_>) -> Response> Service for F {
    fn call<'a>(&'a self, request: &mut Request<'a>) -> Response {
        self(request)
    }
}

/// What is to become of a request's body.
pub enum Accept {
    /// It is put together, up to so many bytes (`None`: `Limits::max_body_len`), and the service
    /// is called with the whole request.
    Buffer(Option<usize>),
    /// It is given to this, piece by piece.
    Stream(Box<dyn Receiver>),
    /// Nobody wants it: this is the answer.
    Refuse(Response),
}

impl std::fmt::Debug for Accept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Accept::Buffer(limit) => f.debug_tuple("Buffer").field(limit).finish(),
            Accept::Stream(_) => f.write_str("Stream"),
            Accept::Refuse(response) => f.debug_tuple("Refuse").field(response).finish(),
        }
    }
}

/// Takes the body of one request as it arrives.
///
/// If the peer leaves before the end, it is dropped.
pub trait Receiver {
    /// Some of the body has arrived.
    fn on_bytes(&mut self, bytes: &[u8], intents: &mut Intents) -> Flow;

    /// That was all of it: the answer.
    fn on_end(&mut self, trailers: Fields<'_>, intents: &mut Intents) -> Response;
}

/// How a [`Receiver`] wants the body to go on.
#[derive(Debug)]
pub enum Flow {
    /// With more of it.
    More,
    /// Not before somebody calls `Intents::resume_other` with the connection's token: until then
    /// nothing is read, and TCP slows the peer down. After `Limits::idle_timeout` the request is
    /// given up (408).
    Pause,
    /// Not at all: this is the answer.
    Answer(Response),
}
