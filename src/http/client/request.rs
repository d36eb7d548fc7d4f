//! `Request`: what a client asks, and how it is written (RFC 9112, section 3).
//!
//! Checks what the program puts into it, so that it cannot end early and begin a request of its
//! own. Knows nothing of connections.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::error::InvalidRequest;
use crate::buffer::Outbox;
use crate::http::body::Source;
#[cfg(feature = "digest")]
use crate::http::digest::{Algorithm, Scope, with_digest_behind};
#[cfg(feature = "digest")]
use crate::http::fields::Fields;
use crate::http::fields::{is_token, is_value};
use crate::http::method::Method;
use crate::http::response::{FieldError, IntoBody, put_field};
use crate::http::target;
use crate::http::writer::{Framing, put_framing};

/// A request to be sent: method, target, fields and body.
///
/// ```
/// use windlass::http::client::Request;
///
/// let probe = Request::get("/health?full=1").header("Accept", "text/plain");
/// let order = Request::post("/orders").header("Content-Type", "application/json").body("{}");
/// # drop((probe, order));
/// ```
///
/// The client adds `Host`, and `Content-Length` or `Transfer-Encoding`; a program may not. One
/// that is sent again and again is made once: `Rc<Request>` can be sent as well.
pub struct Request {
    method: Method,
    /// `METHOD SP target SP HTTP/1.1 CR LF`. Invariant: valid, unless there is an error.
    line: Vec<u8>,
    host: Option<String>,
    /// Field lines, each ended by CR LF. Invariant: valid.
    fields: Vec<u8>,
    content: Content,
    timeout: Option<Duration>,
    closes: bool,
    #[cfg(feature = "digest")]
    verifying: Verifying,
    /// The first thing that cannot be sent.
    error: Option<InvalidRequest>,
}

/// The body.
pub(super) enum Content {
    Bytes(Bytes),
    /// Produced as it is sent, once; with its length, if that is known.
    Source(Cell<Option<Box<dyn Source>>>, Option<u64>),
}

impl Request {
    /// A request with this method. `target` is a path with or without a query, percent-encoded.
    ///
    /// What cannot be sent makes [`Client::send`](super::Client::send) refuse the request.
    pub fn new(method: &str, target: &str) -> Request {
        let known = Method::of(method.as_bytes());
        let is_speakable = is_token(method.as_bytes()) && known != Method::Connect;
        let is_about_server = known == Method::Options && target == "*";
        let is_path = target.starts_with('/') && target.bytes().all(is_target_byte);
        let error = if !is_speakable {
            Some(InvalidRequest::Method)
        } else if !is_path && !is_about_server {
            Some(InvalidRequest::Target)
        } else {
            None
        };
        Request {
            method: known,
            line: format!("{method} {target} HTTP/1.1\r\n").into_bytes(),
            host: None,
            fields: Vec::new(),
            content: Content::Bytes(Bytes::new()),
            timeout: None,
            closes: false,
            #[cfg(feature = "digest")]
            verifying: Verifying::Nothing,
            error,
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// A HEAD.
    pub fn head(target: &str) -> Request {
        Request::new("HEAD", target)
    }

    /// A POST.
    pub fn post(target: &str) -> Request {
        Request::new("POST", target)
    }

    /// A PUT.
    pub fn put(target: &str) -> Request {
        Request::new("PUT", target)
    }

    /// A DELETE.
    pub fn delete(target: &str) -> Request {
        Request::new("DELETE", target)
    }

    /// With this field. One that cannot be sent makes the client refuse the request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Request {
        match check_field(name, value) {
            Ok(()) => put_field(&mut self.fields, name, value),
            Err(error) => {
                self.error.get_or_insert(InvalidRequest::Field(error));
            }
        }
        self
    }

    /// For this host, with or without a port, instead of the client's.
    #[must_use]
    pub fn host(mut self, host: &str) -> Request {
        if !target::is_authority(host.as_bytes()) {
            self.error.get_or_insert(InvalidRequest::Host);
        }
        self.host = Some(host.to_owned());
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl IntoBody) -> Request {
        self.content = Content::Bytes(body.into_body().into_bytes());
        self
    }

    /// With a body that is produced as the server takes it: in chunks, or of a length that is
    /// known. A request with such a body is sent once, and never again by itself.
    #[must_use]
    pub fn stream(mut self, len: Option<u64>, source: impl Source + 'static) -> Request {
        self.content = Content::Source(Cell::new(Some(Box::new(source))), len);
        self
    }

    /// How long the answer may take, from when the request is sent until the answer is complete.
    /// Default: as long as the limits of the client allow.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// Ends the connection behind this request.
    #[must_use]
    pub fn close(mut self) -> Request {
        self.closes = true;
        self
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether doing it twice is doing it once (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        match self.method {
            Method::Get
            | Method::Head
            | Method::Put
            | Method::Delete
            | Method::Options
            | Method::Trace => true,
            Method::Post | Method::Patch | Method::Connect | Method::Other => false,
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidRequest> {
        self.error.map_or(Ok(()), Err)
    }

    /// Whether it can be sent a second time.
    pub(super) fn is_at_hand(&self) -> bool {
        matches!(self.content, Content::Bytes(_))
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn deadline_after(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    pub(super) fn framing(&self) -> Framing {
        match &self.content {
            // RFC 9110, section 8.6: where a body is to be expected, its absence is told.
            Content::Bytes(bytes) if bytes.is_empty() && !self.method.expects_body() => {
                Framing::None
            }
            Content::Bytes(bytes) => Framing::Length(bytes.len() as u64),
            Content::Source(_, Some(len)) => Framing::Length(*len),
            Content::Source(_, None) => Framing::Chunked,
        }
    }

    /// Appends the head, and `body` behind it.
    pub(in crate::http) fn put_head(&self, host: &str, body: &[u8], out: &mut Outbox) {
        let host = self.host.as_deref().unwrap_or(host);
        out.with_buf(|buf| {
            buf.reserve(self.line.len() + host.len() + self.fields.len() + body.len() + ROOM);
            buf.extend_from_slice(&self.line);
            buf.extend_from_slice(b"Host: ");
            buf.extend_from_slice(host.as_bytes());
            buf.extend_from_slice(b"\r\n");
            buf.extend_from_slice(&self.fields);
            put_framing(buf, self.framing());
            // `TE` is for the next hop alone, which has to be told so (RFC 9110, section 10.1.4).
            buf.extend_from_slice(match (self.takes_trailers(), self.closes) {
                (false, false) => b"",
                (false, true) => b"Connection: close\r\n",
                (true, false) => b"TE: trailers\r\nConnection: TE\r\n",
                (true, true) => b"TE: trailers\r\nConnection: TE, close\r\n",
            });
            buf.extend_from_slice(b"\r\n");
            buf.extend_from_slice(body);
        });
    }

    /// What a signature covers: method, target and host as they are sent, and the body, if it is at
    /// hand.
    #[cfg(feature = "digest")]
    pub(in crate::http) fn signable(&self) -> (&str, &str, Option<&str>, Option<&[u8]>) {
        let line = std::str::from_utf8(&self.line).unwrap_or_default();
        let mut words = line.split(' ');
        let (method, target) = (words.next(), words.next());
        let body = match &self.content {
            Content::Bytes(bytes) => Some(&bytes[..]),
            Content::Source(..) => None,
        };
        let host = self.host.as_deref();
        (
            method.unwrap_or_default(),
            target.unwrap_or_default(),
            host,
            body,
        )
    }

    /// Whether digests behind a body are asked for.
    fn takes_trailers(&self) -> bool {
        #[cfg(feature = "digest")]
        return self.verifying != Verifying::Nothing;
        #[cfg(not(feature = "digest"))]
        false
    }
}

/// Digests (RFC 9530).
#[cfg(feature = "digest")]
impl Request {
    /// Asks for a digest of the answer's body, and takes no body that is not what its digests say:
    /// it fails with [`Cause::Digest`](super::Cause::Digest), in the place of its end.
    ///
    /// | the answer | what happens |
    /// |---|---|
    /// | `Content-Digest` or `Repr-Digest` holds | it is told |
    /// | one of them does not, or is malformed | the failure; the connection is reset |
    /// | no digest, or only such as we cannot make | it is told; see [`Request::verify_all`] |
    /// | no body (to HEAD, or 204, 304) | it is told: its digests are those of what is elsewhere |
    /// | 206 | `Repr-Digest`, which is that of the whole, is passed over |
    ///
    /// A [`Receiver`](super::Receiver) gets the pieces as they come, so nothing counts before its
    /// `on_end`. A digest behind a body in chunks counts if the head announces it (`Trailer`).
    /// Hashing costs about a millisecond per megabyte, and 500 bytes while a body is on its way.
    ///
    /// What is asked for is `Want-Content-Digest: sha-256=10, sha-512=9`, unless the request says
    /// by then what it wants, and that behind a stream (`TE: trailers`). A digest detects damage;
    /// whoever can change the answer on its way can change its digest.
    ///
    /// ```
    /// use windlass::http::client::Request;
    ///
    /// let probe = Request::get("/files/disk.img").verify();
    /// # drop(probe);
    /// ```
    #[must_use]
    pub fn verify(self) -> Request {
        self.verifying(Verifying::WhatIsThere)
    }

    /// As [`Request::verify`], and an answer without a digest that can be verified fails as well,
    /// if it could have had a body. So no damage, not even to the digest, goes unnoticed.
    #[must_use]
    pub fn verify_all(self) -> Request {
        self.verifying(Verifying::All)
    }

    fn verifying(mut self, verifying: Verifying) -> Request {
        let own = Fields::new(&self.fields);
        if own.get_all(WANT_CONTENT_DIGEST).next().is_none() {
            put_field(&mut self.fields, WANT_CONTENT_DIGEST, WANTED_DIGESTS);
        }
        self.verifying = verifying;
        self
    }

    /// Adds the `Content-Digest` of the body that the request has by now. That of a stream follows
    /// it: for that it is sent in chunks, also if its length is known.
    ///
    /// ```
    /// use windlass::http::{client::Request, digest::Algorithm};
    ///
    /// let upload = Request::put("/notes").body("ahoy").content_digest(Algorithm::Sha256);
    /// # drop(upload);
    /// ```
    #[must_use]
    pub fn content_digest(mut self, algorithm: Algorithm) -> Request {
        self.content = match self.content {
            Content::Bytes(bytes) => {
                let value = algorithm.value_of(&bytes);
                put_field(&mut self.fields, Scope::Content.field(), &value);
                Content::Bytes(bytes)
            }
            Content::Source(source, _) => {
                let source = source.take().map(|source| {
                    let source = with_digest_behind(source, algorithm, &mut self.fields);
                    Box::new(source) as Box<dyn Source>
                });
                Content::Source(Cell::new(source), None)
            }
        };
        self
    }

    pub(in crate::http) fn verifies(&self) -> Verifying {
        self.verifying
    }
}

/// Which answers are compared with their digests.
#[cfg(feature = "digest")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Verifying {
    Nothing,
    /// Those that have some.
    WhatIsThere,
    /// All that could have a body; one without a digest fails.
    All,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("line", &String::from_utf8_lossy(&self.line))
            .field("framing", &self.framing())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// What may stand in a path or a query (RFC 3986, sections 3.3 and 3.4), and what else is sent
/// there without doing harm. A space or a control character would end the target, and what is
/// behind `#` is not for the server.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

fn check_field(name: &str, value: &str) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    let is_name = |reserved: &&str| name.eq_ignore_ascii_case(reserved);
    if RESERVED.iter().any(is_name) {
        return Err(FieldError::Reserved);
    }
    if !is_value(value.as_bytes()) {
        return Err(FieldError::Value);
    }
    Ok(())
}

/// Fields that decide about framing, routing and the connection.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What the client's own fields have room in.
const ROOM: usize = 112;
#[cfg(feature = "digest")]
const WANT_CONTENT_DIGEST: &str = "Want-Content-Digest";
/// Those that can be made here, and the shorter one rather (RFC 9530, section 4).
#[cfg(feature = "digest")]
const WANTED_DIGESTS: &str = "sha-256=10, sha-512=9";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Pulled;

    #[track_caller]
    fn check_head(request: &Request, expected: &str) {
        assert_eq!(request.check(), Ok(()));
        let mut out = Outbox::new();
        request.put_head("h:80", b"", &mut out);
        let expected = format!("{expected}\r\n")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r");
        assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_head_has_a_host_and_says_how_long_the_body_is() {
        check_head(&Request::get("/a?b=c"), "GET /a?b=c HTTP/1.1\nHost: h:80\n");
        let post = Request::post("/").header("A", "b").body("xyz");
        let expected = "POST / HTTP/1.1\nHost: h:80\nA: b\nContent-Length: 3\n";
        check_head(&post, expected);
        check_head(
            &Request::put("/"),
            "PUT / HTTP/1.1\nHost: h:80\nContent-Length: 0\n",
        );
        let stream = Request::post("/").stream(None, |_: &mut Vec<u8>| Pulled::End);
        let expected = "POST / HTTP/1.1\nHost: h:80\nTransfer-Encoding: chunked\n";
        check_head(&stream, expected);
        let other = Request::get("/").host("other").close();
        check_head(&other, "GET / HTTP/1.1\nHost: other\nConnection: close\n");
        check_head(
            &Request::new("OPTIONS", "*"),
            "OPTIONS * HTTP/1.1\nHost: h:80\n",
        );
    }

    #[cfg(feature = "digest")]
    #[test]
    fn a_request_that_verifies_asks_for_digests_also_behind_the_body() {
        let wants = "Want-Content-Digest: sha-256=10, sha-512=9\nTE: trailers\n";
        let get = "GET / HTTP/1.1\nHost: h:80\n";
        check_head(
            &Request::get("/").verify(),
            &format!("{get}{wants}Connection: TE\n"),
        );
        check_head(
            &Request::get("/").close().verify_all(),
            &format!("{get}{wants}Connection: TE, close\n"),
        );
        let own = Request::get("/").header("want-content-digest", "sha-512=1");
        let wants = "want-content-digest: sha-512=1\nTE: trailers\nConnection: TE\n";
        check_head(&own.verify().verify(), &format!("{get}{wants}"));
    }

    #[cfg(feature = "digest")]
    #[test]
    fn the_digest_of_a_body_stands_before_it_and_that_of_a_stream_behind() {
        let put = || Request::put("/");
        let head = "PUT / HTTP/1.1\nHost: h:80\n";
        let digest = Algorithm::Sha256.value_of(b"xyz");
        check_head(
            &put().body("xyz").content_digest(Algorithm::Sha256),
            &format!("{head}Content-Digest: {digest}\nContent-Length: 3\n"),
        );
        let stream = put().stream(Some(3), |_: &mut Vec<u8>| Pulled::End);
        check_head(
            &stream.content_digest(Algorithm::Sha512),
            &format!("{head}Trailer: Content-Digest\nTransfer-Encoding: chunked\n"),
        );
    }

    #[test]
    fn a_target_cannot_split_the_request() {
        for target in [
            "",
            "a",
            "*",
            "/ HTTP/1.1\r\nX: y",
            "/a b",
            "/a\n",
            "/\u{7f}",
            "/\u{e4}",
            "/#a",
            "http://h/",
            "/\0",
        ] {
            let error = Request::get(target).check();
            assert_eq!(error, Err(InvalidRequest::Target), "{target:?}");
        }
    }

    #[test]
    fn a_method_cannot_split_the_request() {
        for method in ["", "GET ", "G ET", "GET\r\n", "CONNECT", "\u{e4}"] {
            let error = Request::new(method, "/").check();
            assert_eq!(error, Err(InvalidRequest::Method), "{method:?}");
        }
    }

    #[test]
    fn a_field_or_host_cannot_split_the_request() {
        for (name, value, expected) in [
            ("A", "b\r\nC: d", FieldError::Value),
            ("A", "b\n", FieldError::Value),
            ("A", "\0", FieldError::Value),
            ("A:", "b", FieldError::Name),
            ("A\r\n", "b", FieldError::Name),
            ("content-LENGTH", "3", FieldError::Reserved),
            ("Transfer-Encoding", "chunked", FieldError::Reserved),
            ("Host", "x", FieldError::Reserved),
        ] {
            let error = Request::get("/").header(name, value).check();
            assert_eq!(
                error,
                Err(InvalidRequest::Field(expected)),
                "{name:?} {value:?}"
            );
        }
        for host in ["", "a b", "a\r\n", "user@a", "a/"] {
            let error = Request::get("/").host(host).check();
            assert_eq!(error, Err(InvalidRequest::Host), "{host:?}");
        }
    }
}
