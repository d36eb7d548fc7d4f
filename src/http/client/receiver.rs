//! Who takes an answer: piece by piece, or as a whole.
//!
//! Knows neither the connection that it came over nor how it was framed.

use std::fmt;
use std::rc::Rc;

use super::decoder::Bounds;
use super::error::{Cause, Failure};
use super::head::{Head, Length};
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::status::Status;
use crate::protocol::Intents;

/// Takes the answer to one request, piece by piece: for a body that is large, or is passed on.
///
/// `on_head` comes first, then `on_bytes` as often as it takes, then `on_end`; or, at any time and
/// then last, `on_failure`. `cx.token()` names the connection in all of them. The two that come
/// last are given the receiver back, so that it can serve another request.
///
/// One that panics ends its connection, and with it, untold, whatever else was in flight there.
pub trait Receiver {
    /// The head is here. Interim answers (1xx) are not told.
    fn on_head(&mut self, head: &Head<'_>, cx: &mut Intents) -> Flow {
        let _ = (head, cx);
        Flow::More
    }

    /// Some of the body is here: at least one byte.
    fn on_bytes(&mut self, bytes: &[u8], cx: &mut Intents) -> Flow {
        let _ = (bytes, cx);
        Flow::More
    }

    /// The answer is complete.
    fn on_end(self: Box<Self>, trailers: Fields<'_>, cx: &mut Intents);

    /// There is no answer, or not all of it.
    fn on_failure(self: Box<Self>, failure: Failure, cx: &mut Intents);

    /// A whole answer is here. Unless overridden: its head, its bytes, its end.
    fn on_response(mut self: Box<Self>, response: &Response<'_>, cx: &mut Intents) {
        let mut flow = self.on_head(&response.head, cx);
        if !matches!(flow, Flow::Stop) && !response.body.is_empty() {
            flow = self.on_bytes(response.body, cx);
        }
        match flow {
            Flow::More | Flow::Pause => self.on_end(response.trailers, cx),
            Flow::Stop => self.on_failure(
                Failure {
                    cause: Cause::Stopped,
                    is_retryable: false,
                },
                cx,
            ),
        }
    }
}

/// What a [`Receiver`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More.
    More,
    /// Nothing until somebody resumes the connection (`Intents::resume_other`): the server is
    /// slowed down by TCP, and until more has come only `windlass::Limits::idle_timeout` (10 min)
    /// ends the connection. Of no effect if the answer was here as a whole.
    Pause,
    /// Nothing any more. The connection is reset, `on_failure` says [`Cause::Stopped`].
    Stop,
}

/// An answer that is here as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub(super) head: Head<'a>,
    pub(super) body: &'a [u8],
    pub(super) trailers: Fields<'a>,
}

impl<'a> Response<'a> {
    /// The status.
    pub fn status(&self) -> Status {
        self.head.status()
    }

    /// The first value of a header field, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.head.header(name)
    }

    /// The head.
    pub fn head(&self) -> &Head<'a> {
        &self.head
    }

    /// The body. Of an answer that ends with its connection ([`Length::UntilClose`]) nobody can
    /// tell whether it is whole.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The fields behind a chunked body.
    pub fn trailers(&self) -> Fields<'a> {
        self.trailers
    }
}

/// Puts an answer together, up to a limit, for a callback.
pub(super) struct Whole<F> {
    callback: F,
    bounds: Rc<Bounds>,
    head: Vec<u8>,
    body: Vec<u8>,
    is_too_long: bool,
}

impl<F> Whole<F>
where
    F: FnOnce(Result<Response<'_>, Failure>, &mut Intents),
{
    pub(super) fn new(callback: F, bounds: Rc<Bounds>) -> Whole<F> {
        Whole {
            callback,
            bounds,
            head: Vec::new(),
            body: Vec::new(),
            is_too_long: false,
        }
    }

    fn limit(&self) -> usize {
        self.bounds.limits.max_body_len
    }

    fn too_long(&self) -> Failure {
        Failure {
            cause: Cause::BodyTooLong {
                limit: self.limit(),
            },
            is_retryable: false,
        }
    }
}

impl<F> Receiver for Whole<F>
where
    F: FnOnce(Result<Response<'_>, Failure>, &mut Intents),
{
    fn on_head(&mut self, head: &Head<'_>, _: &mut Intents) -> Flow {
        // An announced length is no reason to reserve it: the buffer grows with what arrives.
        let is_too_long = matches!(head.length(), Length::Fixed(len) if len > self.limit() as u64);
        self.is_too_long = is_too_long;
        self.head.extend_from_slice(head.as_bytes());
        if is_too_long { Flow::Stop } else { Flow::More }
    }

    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        if bytes.len() > self.limit() - self.body.len() {
            self.is_too_long = true;
            return Flow::Stop;
        }
        self.body.extend_from_slice(bytes);
        Flow::More
    }

    fn on_end(self: Box<Self>, trailers: Fields<'_>, cx: &mut Intents) {
        // It was parsed before; only an answer with a body comes in pieces.
        let head = Head::parse(&self.head, Method::Get, &self.bounds.limits);
        let response = head.map(|head| Response {
            head,
            body: &self.body,
            trailers,
        });
        let response = response.map_err(|error| Failure {
            cause: Cause::Response(error),
            is_retryable: false,
        });
        (self.callback)(response, cx);
    }

    fn on_failure(self: Box<Self>, failure: Failure, cx: &mut Intents) {
        let failure = match failure.cause {
            Cause::Stopped if self.is_too_long => self.too_long(),
            _ => failure,
        };
        (self.callback)(Err(failure), cx);
    }

    fn on_response(self: Box<Self>, response: &Response<'_>, cx: &mut Intents) {
        let answer = if response.body.len() > self.limit() {
            Err(self.too_long())
        } else {
            Ok(*response)
        };
        (self.callback)(answer, cx);
    }
}

impl fmt::Debug for dyn Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
