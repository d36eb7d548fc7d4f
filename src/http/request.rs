//! `Request`: what a handler is given.
//!
//! Lends what the decoder found, and decodes on demand. Knows nothing of the connection but its
//! name.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;

use super::body::Body;
use super::fields::Fields;
use super::head::Head;
use super::method::Method;
use super::reply::Reply;
use super::response::Response;
use crate::protocol::Intents;
use crate::token::Token;

/// A request on its way through handlers. Everything in it is borrowed from the input.
pub struct Request<'a> {
    head: &'a Head<'a>,
    /// The normal form of the path, if that is another than was sent.
    normal: Option<&'a [u8]>,
    body: &'a [u8],
    trailers: Fields<'a>,
    params: Option<matchit::Params<'a, 'a>>,
    intents: &'a mut Intents,
}

impl<'a> Request<'a> {
    #[inline]
    pub(crate) fn new(
        head: &'a Head<'a>,
        body: &'a [u8],
        trailers: Fields<'a>,
        intents: &'a mut Intents,
    ) -> Request<'a> {
        Request {
            head,
            normal: None,
            body,
            trailers,
            params: None,
            intents,
        }
    }

    /// The same, whose route is looked for by another form of its path.
    pub(crate) fn with_normal<'b>(&'b mut self, path: &'b [u8]) -> Request<'b> {
        Request {
            normal: Some(path),
            ..Request::new(self.head, self.body, self.trailers, self.intents)
        }
    }

    /// The path by which a route is looked for; `None` if it may have another form still.
    #[inline]
    pub(crate) fn normal_path(&self) -> Option<&'a [u8]> {
        match self.head.is_escaped() {
            true => self.normal,
            false => Some(self.head.path_bytes()),
        }
    }

    /// The head as it was sent.
    pub fn head(&self) -> &'a Head<'a> {
        self.head
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The path, still percent-encoded.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// The first value of a header field, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.head.fields().get(name)
    }

    /// The part of the path that stands for `{name}` in the route, decoded; empty if the route has
    /// no such parameter. What is no UTF-8 is replaced (U+FFFD).
    pub fn param(&self, name: &str) -> Cow<'a, str> {
        percent_decode_str(self.raw_param(name)).decode_utf8_lossy()
    }

    /// As [`Request::param`], but still percent-encoded, where it need be.
    pub fn raw_param(&self, name: &str) -> &'a str {
        let raw = self.params.as_ref().and_then(|params| params.get(name));
        raw.unwrap_or_default()
    }

    /// The pairs of the query string, decoded.
    pub fn query(&self) -> form_urlencoded::Parse<'a> {
        form_urlencoded::parse(self.head.query().as_bytes())
    }

    /// The first value of `name` in the query string, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    }

    /// The body. Empty while a body that a handler wants piece by piece is still to come.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The pairs of a body of type `application/x-www-form-urlencoded`, decoded.
    pub fn form(&self) -> form_urlencoded::Parse<'a> {
        form_urlencoded::parse(self.body)
    }

    /// The fields behind a chunked body.
    pub fn trailers(&self) -> Fields<'a> {
        self.trailers
    }

    /// The connection that the request came over.
    pub fn token(&self) -> Token {
        self.intents.token()
    }

    /// The wall clock, as time since 1970.
    pub fn unix_time(&self) -> Duration {
        self.intents.unix_time()
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Instant {
        self.intents.now()
    }

    /// For everything but the answer: timers, mail, other connections.
    pub fn intents(&mut self) -> &mut Intents {
        self.intents
    }

    /// Puts the answer off: return the response, and use the [`Reply`] whenever you can. Fields
    /// that are added to the response are added to the answer.
    pub fn defer(&mut self) -> (Reply, Response) {
        let (reply, awaited) = Reply::new(self.token());
        let response = Response {
            body: Body::Awaited(awaited),
            ..Response::default()
        };
        (reply, response)
    }

    #[inline]
    pub(crate) fn set_params(&mut self, params: matchit::Params<'a, 'a>) {
        self.params = Some(params);
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", self.head)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
