//! `Response`: what a handler answers.
//!
//! Checks what the handler puts into it. Knows nothing of how it is written, nor of the connection.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::body::{Body, Source};
use super::fields::{Fields, is_token, is_value};
use super::file::FileBody;
use super::permit::Permit;
use super::status::Status;
use crate::protocol::IntoDriver;

/// An answer: a status, fields and a body.
///
/// ```
/// use windlass::http::{Response, Status};
///
/// let page = Response::html("<h1>Ahoy</h1>");
/// let teapot = Response::text("short and stout").status(418).header("X-Spout", "here");
/// let gone = Response::empty(Status::GONE);
/// # drop((page, teapot, gone));
/// ```
///
/// It implements [`io::Write`], so that any serialiser can write its body:
///
/// ```
/// # use windlass::http::Response;
/// use std::io::Write;
///
/// let mut response = Response::default().content_type("application/json");
/// write!(response, "{{\"bottles\":{}}}", 99)?;
/// # std::io::Result::Ok(())
/// ```
///
/// The server adds `Date`, `Server`, `Content-Length` or `Transfer-Encoding`, and `Connection`; a
/// handler may not. A body that the request's method or the status does not allow is not sent.
#[derive(Debug, Default)]
pub struct Response {
    pub(crate) status: Status,
    pub(crate) content_type: Option<&'static str>,
    /// Field lines, each ended by CR LF. Invariant: valid.
    pub(crate) fields: Vec<u8>,
    /// The same, in common with other answers.
    pub(crate) shared_fields: Option<Rc<[u8]>>,
    pub(crate) body: Body,
    /// The connection is to end after this.
    pub(crate) closes: bool,
    /// The first field that could not be sent.
    pub(crate) error: Option<FieldError>,
}

impl Response {
    /// Text, as UTF-8.
    #[inline]
    pub fn text(body: impl IntoBody) -> Response {
        Response::of(body).content_type("text/plain; charset=utf-8")
    }

    /// A page, as UTF-8.
    pub fn html(body: impl IntoBody) -> Response {
        Response::of(body).content_type("text/html; charset=utf-8")
    }

    /// JSON that is serialised already.
    pub fn json(body: impl IntoBody) -> Response {
        Response::of(body).content_type("application/json")
    }

    /// Bytes of a type that is yet to be told.
    #[inline]
    pub fn of(body: impl IntoBody) -> Response {
        // Without the default's body, which would have to be dropped.
        Response {
            status: Status::OK,
            content_type: None,
            fields: Vec::new(),
            shared_fields: None,
            body: body.into_body(),
            closes: false,
            error: None,
        }
    }

    /// A status and nothing else.
    pub fn empty(status: impl Into<Status>) -> Response {
        Response {
            status: status.into(),
            ..Response::default()
        }
    }

    /// A status, with its name as text.
    pub fn error(status: impl Into<Status>) -> Response {
        let status = status.into();
        Response {
            status,
            ..Response::text(status.reason())
        }
    }

    /// Sends the peer elsewhere: 303, which is followed with GET (RFC 9110, section 15.4.4).
    pub fn see_other(location: &str) -> Response {
        Response::empty(Status::SEE_OTHER).header("Location", location)
    }

    /// A body that is produced as the peer takes it: in chunks, or to a peer that speaks HTTP/1.0
    /// until the connection's end.
    pub fn stream(source: impl Source + 'static) -> Response {
        Response {
            body: Body::Source(Box::new(source), None),
            ..Response::default()
        }
    }

    /// As [`Response::stream`], of a length that is known. A source that ends too early cuts the
    /// connection off; what it produces beyond is not sent.
    pub fn stream_of(len: u64, source: impl Source + 'static) -> Response {
        Response {
            body: Body::Source(Box::new(source), Some(len)),
            ..Response::default()
        }
    }

    /// The bytes of a regular file from `range.start` up to `range.end`, read while the peer takes
    /// them. If the file turns out to be shorter, the connection is cut off.
    pub fn file(file: File, range: Range<u64>) -> Response {
        Response {
            body: Body::File(FileBody::new(file, range)),
            ..Response::default()
        }
    }

    /// Answers after a while, with what `make` makes then, and the fields that are added to this.
    pub fn after(wait: Duration, make: impl FnOnce() -> Response + 'static) -> Response {
        Response {
            body: Body::Later(wait, Box::new(|_| make())),
            ..Response::default()
        }
    }

    /// Hands the connection over: 101 to a peer that asked for the protocol `name` in `Upgrade`
    /// (RFC 9110, section 7.8). `protocol` is left what the peer has sent behind its request. One
    /// that has not asked is answered 426.
    pub fn upgrade(name: &str, protocol: impl IntoDriver) -> Response {
        Response {
            status: Status::SWITCHING_PROTOCOLS,
            body: Body::Switch(Box::new(protocol.into_driver())),
            ..Response::default()
        }
        .header("Upgrade", name)
    }

    /// Hands the connection over in answer to CONNECT: 200 (RFC 9110, section 9.3.6). In answer to
    /// anything else it becomes a 500, and any other success of CONNECT a 501.
    pub fn tunnel(protocol: impl IntoDriver) -> Response {
        Response {
            body: Body::Switch(Box::new(protocol.into_driver())),
            ..Response::default()
        }
    }

    /// With this status.
    #[must_use]
    pub fn status(mut self, status: impl Into<Status>) -> Response {
        self.status = status.into();
        self
    }

    /// With this media type, a constant. For others there is [`Response::header`].
    #[inline]
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Response {
        if is_value(content_type.as_bytes()) {
            self.content_type = Some(content_type);
            if !self.fields.is_empty() {
                remove(&mut self.fields, CONTENT_TYPE);
            }
        } else {
            self.error.get_or_insert(FieldError::Value);
        }
        self
    }

    /// With this field. One that cannot be sent turns the whole answer into a 500;
    /// [`Response::add_header`] returns that as an error instead.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Response {
        if let Err(error) = self.add_header(name, value) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Adds a field. Another `Content-Type` takes the place of the one before.
    ///
    /// # Errors
    /// The name is no token, the value has a line end or another control character in it, or the
    /// field is the server's. Nothing was added.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        check_field(name, value)?;
        if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            self.forget_content_type();
        }
        put_field(&mut self.fields, name, value);
        Ok(())
    }

    /// There is one media type, whichever way it was given (RFC 9110, section 5.3).
    fn forget_content_type(&mut self) {
        self.content_type = None;
        remove(&mut self.fields, CONTENT_TYPE);
    }

    /// Ends the connection after this answer.
    #[must_use]
    pub fn close(mut self) -> Response {
        self.closes = true;
        self
    }

    /// The field lines that were added to what stands for an answer that comes later.
    pub(crate) fn take_fields(&mut self) -> Vec<u8> {
        let mut fields = mem::take(&mut self.fields);
        if let Some(content_type) = self.content_type.take() {
            put_field(&mut fields, "Content-Type", content_type);
        }
        fields
    }

    /// With these field lines besides, which are valid.
    pub(crate) fn with_fields(mut self, fields: &[u8]) -> Response {
        if has(fields, CONTENT_TYPE) {
            self.forget_content_type();
        }
        self.fields.extend_from_slice(fields);
        self
    }

    /// Has no field lines in common with others any more.
    pub(crate) fn own_fields(&mut self) {
        if let Some(lines) = self.shared_fields.take() {
            self.fields.extend_from_slice(&lines);
        }
    }

    /// Is counted as under way, as far as it takes time.
    pub(crate) fn held_by(mut self, permit: Box<Permit>) -> Response {
        self.body = self.body.held_by(permit);
        self
    }

    /// The status.
    pub fn code(&self) -> u16 {
        self.status.code()
    }

    /// The body, unless it is yet to be produced.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_bytes()
    }
}

impl io::Write for Response {
    /// Appends to the body. What was a stream before is replaced.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Body::Owned(body) = &mut self.body {
            body.extend_from_slice(bytes);
        } else {
            let mut body = self.body.as_bytes().unwrap_or_default().to_vec();
            body.extend_from_slice(bytes);
            self.body = Body::Owned(body);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What can be the body of a response.
pub trait IntoBody {
    #[doc(hidden)]
    #[expect(
        private_interfaces,
        reason = "the trait is not for others to implement"
    )]
    fn into_body(self) -> Body;
}

macro_rules! into_body {
    ($($type:ty, $bytes:ident => $body:expr;)+) => { $(
        impl IntoBody for $type {
            #[inline]
            #[expect(private_interfaces, reason = "the trait is not for others to implement")]
            fn into_body(self) -> Body {
                let $bytes = self;
                $body
            }
        }
    )+ };
}

into_body! {
    &'static str, text => Body::Static(text.as_bytes());
    &'static [u8], bytes => Body::Static(bytes);
    String, text => Body::Owned(text.into_bytes());
    Vec<u8>, bytes => Body::Owned(bytes);
    Bytes, bytes => Body::Shared(bytes);
}

impl<const N: usize> IntoBody for &'static [u8; N] {
    #[expect(
        private_interfaces,
        reason = "the trait is not for others to implement"
    )]
    fn into_body(self) -> Body {
        Body::Static(self)
    }
}

/// A field that cannot be sent. The handler is to blame, not the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldError {
    /// The name is no token (RFC 9110, section 5.1).
    Name,
    /// The value has a line end or another control character in it, or whitespace around it: sent
    /// as it is, it could end the head and begin an answer of its own.
    Value,
    /// The field is for the server to send: `Connection`, `Content-Length`, `Date`, `Keep-Alive`,
    /// `Server`, `Trailer`, `Transfer-Encoding`.
    Reserved,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldError::Name => "the name of the field is no token",
            FieldError::Value => "the value of the field has a character that it must not have",
            FieldError::Reserved => "the field is for the server to send",
        })
    }
}

impl std::error::Error for FieldError {}

/// Whether a handler may send this field.
pub(crate) fn check_field(name: &str, value: &str) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    if RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return Err(FieldError::Reserved);
    }
    if !is_value(value.as_bytes()) {
        return Err(FieldError::Value);
    }
    Ok(())
}

/// Appends a field line.
pub(crate) fn put_field(lines: &mut Vec<u8>, name: &str, value: &str) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value.as_bytes());
    lines.extend_from_slice(b"\r\n");
}

fn has(lines: &[u8], name: &str) -> bool {
    Fields::new(lines).get_all(name).next().is_some()
}

/// Takes a field out of these lines.
#[cold]
fn remove(lines: &mut Vec<u8>, name: &str) {
    if !has(lines, name) {
        return;
    }
    let mut rest = Vec::with_capacity(lines.len());
    for (own, value) in &Fields::new(lines) {
        if !own.eq_ignore_ascii_case(name) {
            rest.extend_from_slice(own.as_bytes());
            rest.extend_from_slice(b": ");
            rest.extend_from_slice(value);
            rest.extend_from_slice(b"\r\n");
        }
    }
    *lines = rest;
}

const CONTENT_TYPE: &str = "content-type";
const RESERVED: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "trailer",
    "transfer-encoding",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_split_the_response() {
        let mut response = Response::default();
        for value in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0", " a"] {
            assert_eq!(
                response.add_header("X", value),
                Err(FieldError::Value),
                "{value:?}"
            );
        }
        for name in ["", "a b", "a:", "a\r\nb"] {
            assert_eq!(
                response.add_header(name, "x"),
                Err(FieldError::Name),
                "{name:?}"
            );
        }
        let reserved = response.add_header("content-LENGTH", "1");
        assert_eq!(reserved, Err(FieldError::Reserved));
        assert!(response.fields.is_empty());
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_remembered() {
        let response = Response::text("x").header("A", "b\r\n").header("B", "c");
        assert_eq!(response.error, Some(FieldError::Value));
        assert_eq!(response.fields, b"B: c\r\n");
    }

    #[test]
    fn there_is_one_media_type_whichever_way_it_is_given_rfc_9110_5_3() {
        let response = Response::text("x")
            .header("A", "b")
            .header("content-TYPE", "a/b")
            .header("Content-Type", "c/d")
            .header("E", "");
        assert_eq!(response.content_type, None);
        assert_eq!(response.fields, b"A: b\r\nContent-Type: c/d\r\nE: \r\n");
        let response = response.content_type("e/f");
        assert_eq!(response.content_type, Some("e/f"));
        assert_eq!(response.fields, b"A: b\r\nE: \r\n");
        let later = Response::text("x").with_fields(b"Content-Type: g/h\r\n");
        assert_eq!(
            (later.content_type, &later.fields[..]),
            (None, &b"Content-Type: g/h\r\n"[..])
        );
    }

    #[test]
    fn a_serialiser_can_write_the_body() {
        use std::io::Write;
        let mut response = Response::text("a");
        write!(response, "{}", 12).unwrap();
        assert_eq!(response.body(), Some(&b"a12"[..]));
    }
}
