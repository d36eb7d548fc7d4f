//! `Head`: the head of a request, parsed and validated where it lies in the input.
//!
//! `httparse` reads the lines; what it leaves open is decided here, and strictly where leniency
//! would let two readers see different requests. Knows nothing of bodies but how long they will
//! be, and no connection.

use std::fmt;
use std::mem::MaybeUninit;

use memchr::memchr;

use super::error::RequestError;
use super::fields::{Fields, elements, is_token};
use super::limits::Limits;
use super::target::{self, Target};

/// The head of a request: method, target, version and fields, all borrowed from the input.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    method: Method,
    version: Version,
    marks: Marks,
    length: Length,
    method_name: &'a str,
    raw_target: &'a str,
    target: Target<'a>,
    host: &'a str,
    fields: Fields<'a>,
    bytes: &'a [u8],
}

/// A method (RFC 9110, section 9; PATCH: RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are called what they are called")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token; [`Head::method_name`] tells which.
    Other,
}

/// A version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
}

/// How the length of a request's body is told (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes follow; 0 without a `Content-Length`.
    Fixed(u64),
    /// Chunks follow.
    Chunked,
}

/// What the peer expects before it sends the body (RFC 9110, section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    None,
    Continue,
    /// Something that we do not know.
    Unknown,
}

/// What the fields say about the connection.
#[derive(Clone, Copy, Debug)]
struct Marks {
    closes: bool,
    keeps_alive: bool,
    upgrades: bool,
    expectation: Expectation,
}

impl<'a> Head<'a> {
    /// Parses the head at the beginning of `input`, and says how long it is; `None` if its end is
    /// not there yet.
    pub(crate) fn parse(
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<(Head<'a>, usize)>, RequestError> {
        let window = &input[..input.len().min(limits.max_head_len)];
        let max_fields = limits.max_fields.min(MAX_FIELDS);
        let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(window, &mut table[..max_fields]);
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if window.len() < limits.max_head_len => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(too_long(window, limits)),
            Err(error) => return Err(refused(error, window, max_fields)),
        };
        let bytes = &window[..len];
        let (Some(method_name), Some(raw_target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(RequestError::RequestLine);
        };
        if raw_target.len() > limits.max_target_len {
            return Err(RequestError::TargetTooLong {
                limit: limits.max_target_len,
            });
        }
        let method = Method::of(method_name);
        let version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        let target = target::parse(method, raw_target)?;
        let lines_start = lines_start(bytes, request.headers)?;
        let summary = Summary::of(request.headers)?;
        Ok(Some((
            Head {
                method,
                version,
                length: summary.length(version)?,
                host: summary.host(version, target.authority)?,
                marks: summary.marks,
                method_name,
                raw_target,
                target,
                fields: Fields::new(&bytes[lines_start..len - LINE_END.len()]),
                bytes,
            },
            len,
        )))
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was sent.
    pub fn method_name(&self) -> &'a str {
        self.method_name
    }

    /// The target as it was sent.
    pub fn target(&self) -> &'a str {
        self.raw_target
    }

    /// The path, still percent-encoded; `*` if the request is about the server, empty for CONNECT.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.target.path
    }

    /// What follows the question mark, still encoded; empty if nothing does.
    pub fn query(&self) -> &'a str {
        self.target.query
    }

    /// The version.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Host and port that the request is for: the target's, otherwise those of `Host`. Empty only
    /// with HTTP/1.0.
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The fields.
    pub fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// How the length of the body is told.
    #[inline]
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether the connection may go on after this request (RFC 9112, section 9.3).
    #[inline]
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.marks.closes,
            Version::Http10 => self.marks.keeps_alive && !self.marks.closes,
        }
    }

    /// Whether the peer asks for another protocol on this connection (RFC 9110, section 7.8).
    pub fn upgrades(&self) -> bool {
        self.marks.upgrades && self.version == Version::Http11
    }

    /// All bytes of the head, from the method to the empty line.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the peer waits for. HTTP/1.0 knows no expectations (RFC 9110, section 10.1.1).
    #[inline]
    pub(crate) fn expectation(&self) -> Expectation {
        match self.version {
            Version::Http10 => Expectation::None,
            Version::Http11 => self.marks.expectation,
        }
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method_name)
            .field("target", &self.raw_target)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .finish()
    }
}

impl Method {
    /// The methods that a server has to know by name (RFC 9110, section 9.3), and PATCH.
    pub const ALL: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
    ];

    #[inline]
    fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "TRACE" => Method::Trace,
            "PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Its name; empty for [`Method::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other => "",
        }
    }
}

/// What the fields say that concerns the connection, gathered in one walk over them.
struct Summary<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    transfer_encoding: Option<Result<(), RequestError>>,
    marks: Marks,
}

impl<'a> Summary<'a> {
    #[inline]
    fn of(headers: &[httparse::Header<'a>]) -> Result<Summary<'a>, RequestError> {
        let mut summary = Summary {
            host: None,
            content_length: None,
            transfer_encoding: None,
            marks: Marks {
                closes: false,
                keeps_alive: false,
                upgrades: false,
                expectation: Expectation::None,
            },
        };
        for header in headers {
            // By length first: most fields concern us in no way.
            let name = header.name;
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    let earlier = summary.host.replace(header.value);
                    if earlier.is_some() {
                        return Err(RequestError::Host);
                    }
                }
                6 if name.eq_ignore_ascii_case("expect") => summary.on_expect(header.value),
                10 if name.eq_ignore_ascii_case("connection") => {
                    summary.on_connection(header.value);
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let length = content_length(header.value)?;
                    if summary.content_length.replace(length).is_some() {
                        return Err(RequestError::ContentLength);
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    summary.on_transfer_encoding(header.value);
                }
                _ => {}
            }
        }
        Ok(summary)
    }

    fn on_expect(&mut self, value: &[u8]) {
        let is_known = value.eq_ignore_ascii_case(b"100-continue");
        let is_first = self.marks.expectation == Expectation::None;
        self.marks.expectation = if is_known && is_first {
            Expectation::Continue
        } else {
            Expectation::Unknown
        };
    }

    fn on_connection(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.marks.closes |= option.eq_ignore_ascii_case(b"close");
            self.marks.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.marks.upgrades |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    fn on_transfer_encoding(&mut self, value: &[u8]) {
        self.transfer_encoding = Some(match self.transfer_encoding {
            None => transfer_encoding(value),
            // Two fields are one list (RFC 9110, section 5.3), of which we know one member.
            Some(_) => Err(RequestError::TransferEncoding),
        });
    }

    #[inline]
    fn length(&self, version: Version) -> Result<Length, RequestError> {
        let Some(coding) = self.transfer_encoding else {
            return Ok(Length::Fixed(self.content_length.unwrap_or(0)));
        };
        if self.content_length.is_some() {
            return Err(RequestError::AmbiguousLength);
        }
        if version == Version::Http10 {
            return Err(RequestError::TransferEncoding);
        }
        coding.map(|()| Length::Chunked)
    }

    #[inline]
    fn host(&self, version: Version, authority: Option<&'a str>) -> Result<&'a str, RequestError> {
        let Some(host) = self.host else {
            return match version {
                Version::Http11 => Err(RequestError::Host),
                Version::Http10 => Ok(authority.unwrap_or_default()),
            };
        };
        if !target::is_authority(host) {
            return Err(RequestError::Host);
        }
        let host = std::str::from_utf8(host).map_err(|_| RequestError::Host)?;
        Ok(authority.unwrap_or(host))
    }
}

/// A number and nothing else (RFC 9110, section 8.6). Lists of equal numbers, which a recipient may
/// accept, are refused.
fn content_length(value: &[u8]) -> Result<u64, RequestError> {
    if value.is_empty() {
        return Err(RequestError::ContentLength);
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        let next = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(digit));
        next.filter(|_| digit <= 9)
            .ok_or(RequestError::ContentLength)
    })
}

/// `chunked` and nothing else (RFC 9112, section 6.1). A coding that we do not know is answered
/// with 501, unless `chunked` is somewhere but at the end, or the end is one that cannot be the
/// last: then nobody knows where the body ends, which is the peer's mistake (section 6.3).
fn transfer_encoding(value: &[u8]) -> Result<(), RequestError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is = |coding: &[u8], name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    let is_never_last = |coding: &[u8]| {
        [
            "gzip",
            "x-gzip",
            "deflate",
            "compress",
            "x-compress",
            "identity",
        ]
        .iter()
        .any(|name| is(coding, name))
    };
    let mut codings = value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .peekable();
    while let Some(coding) = codings.next() {
        let is_last = codings.peek().is_none();
        let is_malformed = !is_token(coding);
        if is_malformed || (is(coding, "chunked") && !is_last) || (is_last && is_never_last(coding))
        {
            return Err(RequestError::TransferEncoding);
        }
    }
    Err(RequestError::UnknownCoding)
}

/// Where the field lines begin in `bytes`. Checks besides that every line ends in CR LF: the parser
/// lets a bare LF pass (RFC 9112, section 2.2 permits that), which others may read as part of a
/// value.
#[inline]
fn lines_start(bytes: &[u8], headers: &[httparse::Header<'_>]) -> Result<usize, RequestError> {
    let base = bytes.as_ptr().addr();
    let mut lines_start = bytes.len() - LINE_END.len();
    for (index, header) in headers.iter().enumerate() {
        let start = header.name.as_ptr().addr() - base;
        if bytes[start - 2] != b'\r' {
            return Err(RequestError::LineEnding);
        }
        if index == 0 {
            lines_start = start;
        }
    }
    if bytes.ends_with(b"\r\n\r\n") {
        Ok(lines_start)
    } else {
        Err(RequestError::LineEnding)
    }
}

/// What is too long of a head that does not end within its limit.
#[cold]
fn too_long(window: &[u8], limits: &Limits) -> RequestError {
    let target_start = memchr(b' ', window).map_or(window.len(), |space| space + 1);
    let rest = &window[target_start..];
    let target_len = rest
        .iter()
        .take_while(|byte| byte.is_ascii_graphic())
        .count();
    if target_len > limits.max_target_len {
        RequestError::TargetTooLong {
            limit: limits.max_target_len,
        }
    } else {
        RequestError::HeadTooLong {
            limit: limits.max_head_len,
        }
    }
}

/// What the parser's refusal means.
#[cold]
fn refused(error: httparse::Error, window: &[u8], max_fields: usize) -> RequestError {
    match error {
        httparse::Error::HeaderName => RequestError::FieldName,
        httparse::Error::HeaderValue => RequestError::FieldValue,
        httparse::Error::NewLine => RequestError::LineEnding,
        httparse::Error::TooManyHeaders => RequestError::TooManyFields { limit: max_fields },
        httparse::Error::Version => version_refused(window),
        httparse::Error::Token | httparse::Error::Status => RequestError::RequestLine,
    }
}

/// A version that we do not speak is one thing, and something that is no version another (RFC
/// 9112, section 2.3: `HTTP/` digit `.` digit, in capitals).
fn version_refused(window: &[u8]) -> RequestError {
    let line_end = memchr(b'\n', window).unwrap_or(window.len());
    let line = window[..line_end].trim_ascii_end();
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            RequestError::Version
        }
        _ => RequestError::RequestLine,
    }
}

/// What ends every line.
const LINE_END: &[u8] = b"\r\n";
/// Fields that the table on the stack has room for.
const MAX_FIELDS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a request whose fields, but for `Host`, are these.
    fn with_fields(fields: &str) -> String {
        format!("POST /a?b HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
    }

    #[track_caller]
    fn check(head: &str, expected: Result<Length, RequestError>) {
        let limits = Limits::default();
        let parsed = Head::parse(head.as_bytes(), &limits);
        let parsed = parsed.map(|head| head.expect("it is complete").0.length());
        assert_eq!(parsed, expected, "{head:?}");
        // A head that is cut short is unfinished, or refused for the same reason.
        for cut in 0..head.len() {
            match Head::parse(&head.as_bytes()[..cut], &limits) {
                Ok(None) => {}
                Ok(Some(_)) => panic!("{head:?} is complete at {cut}"),
                Err(error) => assert_eq!(Err(error), expected, "{head:?} cut at {cut}"),
            }
        }
    }

    #[test]
    fn a_head_is_taken_apart() {
        let head = b"PUT /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nA: b\r\nConnection: Upgrade\r\n\r\nrest";
        let (head, len) = Head::parse(head, &Limits::default()).unwrap().unwrap();
        assert_eq!(len, head.as_bytes().len());
        assert_eq!((head.method(), head.method_name()), (Method::Put, "PUT"));
        assert_eq!(
            (head.target(), head.path(), head.query()),
            ("/a/b?c=d", "/a/b", "c=d")
        );
        assert_eq!((head.host(), head.version()), ("x:1", Version::Http11));
        assert_eq!(head.fields().get("a"), Some("b"));
        assert_eq!(head.fields().iter().count(), 3);
        assert!(head.upgrades() && head.keeps_alive());
    }

    #[test]
    fn a_head_without_fields_is_one_of_http_1_0() {
        check("GET / HTTP/1.0\r\n\r\n", Ok(Length::Fixed(0)));
        check("GET / HTTP/1.1\r\n\r\n", Err(RequestError::Host));
    }

    #[test]
    fn the_length_of_a_body_is_told_in_one_way() {
        let check = |fields: &str, expected| check(&with_fields(fields), expected);
        let malformed = Err(RequestError::ContentLength);
        check("", Ok(Length::Fixed(0)));
        check(
            "Content-Length: 18446744073709551615\r\n",
            Ok(Length::Fixed(u64::MAX)),
        );
        check("Content-Length: 18446744073709551616\r\n", malformed);
        check("Content-Length: 007\r\n", Ok(Length::Fixed(7)));
        for value in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "a"] {
            check(&format!("Content-Length: {value}\r\n"), malformed);
        }
        check("Content-Length: 1\r\nContent-Length: 1\r\n", malformed);
        let ambiguous = Err(RequestError::AmbiguousLength);
        check(
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            ambiguous,
        );
        check("Transfer-Encoding: Chunked\r\n", Ok(Length::Chunked));
        let malformed = Err(RequestError::TransferEncoding);
        for value in [
            "",
            "gzip",
            "chunked, gzip",
            "chunked, chunked",
            "chunked,",
            "a b",
            "\"chunked\"",
        ] {
            check(&format!("Transfer-Encoding: {value}\r\n"), malformed);
        }
        check(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            malformed,
        );
        for value in ["foo", "gzip, chunked", "foo, chunked"] {
            check(
                &format!("Transfer-Encoding: {value}\r\n"),
                Err(RequestError::UnknownCoding),
            );
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            Head::parse(old.as_bytes(), &Limits::default()).err(),
            malformed.err()
        );
    }

    #[test]
    fn a_line_ends_in_cr_lf() {
        for head in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
        ] {
            let parsed = Head::parse(head.as_bytes(), &Limits::default());
            assert_eq!(parsed.err(), Some(RequestError::LineEnding), "{head:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_named() {
        let limits = Limits {
            max_head_len: 64,
            max_target_len: 16,
            max_fields: 2,
            ..Limits::default()
        };
        let check = |head: &str, expected| {
            let parsed = Head::parse(head.as_bytes(), &limits);
            assert_eq!(parsed.err(), Some(expected), "{head}");
        };
        let target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(16));
        check(
            &(target + "Host: h\r\n\r\n"),
            RequestError::TargetTooLong { limit: 16 },
        );
        let endless = format!("GET /{}", "a".repeat(64));
        check(&endless, RequestError::TargetTooLong { limit: 16 });
        let head = format!("GET / HTTP/1.1\r\nHost: {}", "h".repeat(64));
        check(&head, RequestError::HeadTooLong { limit: 64 });
        let fields = "GET / HTTP/1.1\r\nHost: h\r\nA:\r\nB:\r\n\r\n";
        check(fields, RequestError::TooManyFields { limit: 2 });
    }

    #[test]
    fn a_version_is_refused_as_such_only_if_it_is_one() {
        let check = |version: &str, expected| {
            let head = format!("GET / {version}\r\nHost: h\r\n\r\n");
            let parsed = Head::parse(head.as_bytes(), &Limits::default());
            assert_eq!(parsed.err(), Some(expected), "{version}");
        };
        check("HTTP/2.0", RequestError::Version);
        check("HTTP/1.2", RequestError::Version);
        check("http/1.1", RequestError::RequestLine);
        check("HTTP/1", RequestError::RequestLine);
        check("HTTP/11.1", RequestError::RequestLine);
    }
}
