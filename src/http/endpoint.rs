//! What a route leads to: handlers, receivers, and what is wrapped around them.
//!
//! Knows requests and responses, and nothing of paths.

use std::fmt;
use std::rc::Rc;

use super::body::Body;
use super::fields::Fields;
use super::method::{Method, Version};
use super::permit::Permit;
use super::reply::Awaited;
use super::request::Request;
use super::response::Response;
use super::service::{Flow, Receiver};
use super::status::Status;
use crate::protocol::Intents;

pub(super) type Handler = Rc<dyn Fn(&mut Request<'_>) -> Response>;
pub(super) type MakeReceiver = Rc<dyn Fn(&mut Request<'_>) -> Result<Box<dyn Receiver>, Response>>;

type Around = dyn Fn(&mut Request<'_>, Next<'_>) -> Response;
type Guard = dyn Fn(&mut Request<'_>) -> Result<(), Response>;

/// What is around a handler.
#[derive(Clone)]
pub(super) enum Wrap {
    /// It sees the answer, too.
    Around(Rc<Around>),
    /// It sees the head alone, and can refuse it.
    Guard(Rc<Guard>),
}

/// What serves one method of a route.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// `None`: any.
    pub(super) method: Option<String>,
    /// The same, if it is a standard method.
    pub(super) known: Method,
    pub(super) max_body_len: Option<usize>,
    pub(super) action: Action,
}

#[derive(Clone)]
pub(super) enum Action {
    /// A handler of whole requests.
    Whole(Handler),
    /// What takes the body piece by piece.
    Pieces(MakeReceiver),
}

/// What is within something that was wrapped around handlers; see
/// [`Router::wrap`](super::Router::wrap).
pub struct Next<'a> {
    pub(super) outer: &'a [Wrap],
    pub(super) inner: &'a [Wrap],
    pub(super) end: End<'a>,
}

/// Where a request arrives behind all that is wrapped around.
pub(super) enum End<'a> {
    Endpoint(&'a Endpoint),
    Handler(&'a Handler),
    Trace,
    Answer(Response),
}

impl<'a> Next<'a> {
    /// Runs it.
    #[inline]
    pub fn run(mut self, request: &mut Request<'_>) -> Response {
        while let Some(first) = self.take_first() {
            match first {
                Wrap::Around(wrap) => return wrap(request, self),
                Wrap::Guard(guard) => {
                    if let Err(refusal) = guard(request) {
                        return refusal;
                    }
                }
            }
        }
        match self.end {
            End::Endpoint(endpoint) => match &endpoint.action {
                Action::Whole(handler) => handler(request),
                Action::Pieces(make) => receive_at_once(make, request),
            },
            End::Handler(handler) => handler(request),
            End::Trace => trace(request),
            End::Answer(response) => response,
        }
    }

    fn take_first(&mut self) -> Option<&'a Wrap> {
        if let Some((first, rest)) = self.outer.split_first() {
            self.outer = rest;
            return Some(first);
        }
        let (first, rest) = self.inner.split_first()?;
        self.inner = rest;
        Some(first)
    }

    /// Whether a guard refuses the request.
    pub(super) fn is_refused(&self, request: &mut Request<'_>) -> bool {
        let mut guards = self.outer.iter().chain(self.inner);
        guards.any(|wrap| match wrap {
            Wrap::Around(_) => false,
            Wrap::Guard(guard) => guard(request).is_err(),
        })
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// What is wrapped around is shown, where the answer is not there yet.
pub(super) fn yet_to_come() -> Response {
    Response {
        body: Body::Awaited(Awaited::nothing()),
        ..Response::default()
    }
}

/// A refusal that was made of [`yet_to_come`] has no body.
pub(super) fn without_body(mut response: Response) -> Response {
    if matches!(&response.body, Body::Awaited(awaited) if awaited.is_lost()) {
        response.body = Body::Empty;
    }
    response
}

/// A receiver, and what was wrapped around it before its answer was there.
pub(super) struct Wrapped {
    receiver: Box<dyn Receiver>,
    fields: Vec<u8>,
    #[expect(dead_code, reason = "it is dropped")]
    permit: Option<Box<Permit>>,
}

impl Wrapped {
    /// `wrapped` is what became of [`yet_to_come`].
    pub(super) fn new(receiver: Box<dyn Receiver>, mut wrapped: Response) -> Wrapped {
        let fields = wrapped.take_fields();
        let permit = match wrapped.body {
            Body::Awaited(awaited) => awaited.into_permit(),
            _ => None,
        };
        Wrapped {
            receiver,
            fields,
            permit,
        }
    }
}

impl Receiver for Wrapped {
    fn on_bytes(&mut self, bytes: &[u8], intents: &mut Intents) -> Flow {
        match self.receiver.on_bytes(bytes, intents) {
            Flow::Answer(response) => Flow::Answer(response.with_fields(&self.fields)),
            flow @ (Flow::More | Flow::Pause) => flow,
        }
    }

    fn on_end(&mut self, trailers: Fields<'_>, intents: &mut Intents) -> Response {
        let response = self.receiver.on_end(trailers, intents);
        response.with_fields(&self.fields)
    }
}

/// Gives a body that is here already to what takes it piece by piece.
fn receive_at_once(make: &MakeReceiver, request: &mut Request<'_>) -> Response {
    let mut receiver = match make(request) {
        Ok(receiver) => receiver,
        Err(response) => return response,
    };
    let (body, trailers) = (request.body(), request.trailers());
    if !body.is_empty()
        && let Flow::Answer(response) = receiver.on_bytes(body, request.intents())
    {
        return response;
    }
    receiver.on_end(trailers, request.intents())
}

/// The head as it arrived (RFC 9110, section 9.3.8), without what may be secret.
fn trace(request: &Request<'_>) -> Response {
    let head = request.head();
    let version = match head.version() {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    let line = format!("{} {} {version}\r\n", head.method_name(), head.target());
    let mut body = line.into_bytes();
    for (name, value) in &head.fields() {
        if !SECRET_FIELDS
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(b": ");
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(b"\r\n");
    Response::of(body).content_type("message/http")
}

pub(super) fn not_implemented<'a>() -> End<'a> {
    End::Answer(Response::error(Status::NOT_IMPLEMENTED))
}

/// Fields that TRACE does not send back.
const SECRET_FIELDS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];
