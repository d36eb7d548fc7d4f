//! `Head`: the head of a request, parsed and validated where it lies in the input.
//!
//! One walk over its bytes, strict where leniency would let two readers see different requests.
//! Knows nothing of bodies but how long they will be, and no connection.

use std::fmt;

use memchr::memchr;

use super::error::RequestError;
use super::fields::Fields;
use super::limits::Limits;
use super::method::{Method, Version};
use super::scan::{self, Stop};
use super::summary::{Expectation, Known, Length, Marks, Summary};
use super::target::{self, Target};

/// The head of a request: method, target, version and fields, all borrowed from the input.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    bytes: &'a [u8],
    path: &'a [u8],
    query: &'a [u8],
    host: &'a [u8],
    length: Length,
    method_len: u32,
    target_len: u32,
    fields_start: u32,
    method: Method,
    version: Version,
    marks: Marks,
}

impl<'a> Head<'a> {
    /// Parses the head at the beginning of `input`; `None` if its end is not there yet.
    ///
    /// What is wrong is found in the order in which it stands there, so that it does not depend on
    /// how much has arrived.
    #[inline(always)]
    pub(crate) fn parse(
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<Head<'a>>, RequestError> {
        let max_len = limits.max_head_len.min(MAX_LEN);
        let window = &input[..input.len().min(max_len)];
        match Head::scan(window, limits) {
            Ok(head) => Ok(Some(head)),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Unfinished) if window.len() < max_len => Ok(None),
            Err(Stop::Unfinished) => Err(too_long(window, limits)),
        }
    }

    #[inline(always)]
    fn scan(window: &'a [u8], limits: &Limits) -> Result<Head<'a>, Stop> {
        let line = RequestLine::scan(window, limits)?;
        let mut at = line.len;
        let mut summary = Summary::new();
        let mut fields_left = limits.max_fields;
        while let Some(colon) = scan::name_end(window, at)? {
            if fields_left == 0 {
                return Err(RequestError::TooManyFields {
                    limit: limits.max_fields,
                }
                .into());
            }
            fields_left -= 1;
            at = match Known::of(&window[at..colon]) {
                None => scan::skip_value(window, colon + 1)?,
                Some(Known::Host) => {
                    let (host, next) = host(window, colon + 1)?;
                    summary.on_host(host)?;
                    next
                }
                Some(name) => {
                    let (value, next) = scan::value(window, colon + 1)?;
                    summary.on_field(name, value)?;
                    next
                }
            };
        }
        let (host, length) = summary.finish(line.version)?;
        Ok(Head {
            bytes: &window[..at + LINE_END.len()],
            path: line.target.path,
            query: line.target.query,
            host: line.target.authority.unwrap_or(host),
            length,
            // They are below the limit of a head, which fits.
            method_len: line.method_len as u32,
            target_len: line.target_len as u32,
            fields_start: line.len as u32,
            method: line.method,
            version: line.version,
            marks: summary.marks,
        })
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was sent.
    pub fn method_name(&self) -> &'a str {
        ascii(&self.bytes[..self.method_len as usize])
    }

    /// The target as it was sent.
    pub fn target(&self) -> &'a str {
        let start = self.method_len as usize + 1;
        ascii(&self.bytes[start..start + self.target_len as usize])
    }

    /// The path, still percent-encoded; `*` if the request is about the server, empty for CONNECT.
    #[inline]
    pub fn path(&self) -> &'a str {
        ascii(self.path)
    }

    /// The same as bytes, which costs nothing.
    #[inline]
    pub(crate) fn path_bytes(&self) -> &'a [u8] {
        self.path
    }

    /// What follows the question mark, still encoded; empty if nothing does.
    pub fn query(&self) -> &'a str {
        ascii(self.query)
    }

    /// The version.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Host and port that the request is for: the target's, otherwise those of `Host`. Empty only
    /// with HTTP/1.0.
    pub fn host(&self) -> &'a str {
        ascii(self.host)
    }

    /// The fields.
    pub fn fields(&self) -> Fields<'a> {
        let end = self.bytes.len() - LINE_END.len();
        Fields::new(&self.bytes[self.fields_start as usize..end])
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
    #[inline]
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
            .field("method", &self.method_name())
            .field("target", &self.target())
            .field("version", &self.version)
            .field("fields", &self.fields())
            .finish()
    }
}

/// The first line of a head (RFC 9112, section 3).
struct RequestLine<'a> {
    method: Method,
    version: Version,
    method_len: usize,
    target_len: usize,
    target: Target<'a>,
    /// Its length, line end included.
    len: usize,
}

impl<'a> RequestLine<'a> {
    #[inline(always)]
    fn scan(window: &'a [u8], limits: &Limits) -> Result<RequestLine<'a>, Stop> {
        let (method, method_len) = if scan::begins_with(window, 0, b"GET ") {
            (Method::Get, 3)
        } else {
            method(window)?
        };
        let start = method_len + 1;
        let path_end = scan::run(window, start, &scan::IS_PATH);
        let query_end = match window.get(path_end) {
            Some(b'?') => scan::run(window, path_end + 1, &scan::IS_TARGET),
            _ => path_end,
        };
        let end = match window.get(query_end) {
            Some(b' ') if query_end > start => query_end,
            _ => target_end(window, start, limits)?,
        };
        if end - start > limits.max_target_len {
            return Err(target_too_long(limits).into());
        }
        let (version, len) = if scan::begins_with(window, end + 1, b"HTTP/1.1")
            && scan::begins_with(window, end + 9, b"\r\n")
        {
            (Version::Http11, end + 11)
        } else {
            other_version(window, end + 1)?
        };
        let is_origin_form = window[start] == b'/' && method != Method::Connect;
        let target = if is_origin_form && end == query_end {
            let query: &[u8] = match end - path_end {
                0 => &[],
                _ => &window[path_end + 1..end],
            };
            Target {
                path: &window[start..path_end],
                query,
                authority: None,
            }
        } else {
            target::parse(method, &window[start..end])?
        };
        Ok(RequestLine {
            method,
            version,
            method_len,
            target_len: end - start,
            target,
            len,
        })
    }
}

/// The method at the beginning, and its length.
fn method(window: &[u8]) -> Result<(Method, usize), Stop> {
    let end = scan::run(window, 0, &scan::IS_TOKEN);
    match window.get(end) {
        Some(b' ') if end > 0 => Ok((Method::of(&window[..end]), end)),
        None => Err(Stop::Unfinished),
        Some(_) => Err(RequestError::RequestLine.into()),
    }
}

/// Where the target that begins at `start` ends. Bytes outside of ASCII have to be percent-encoded
/// (RFC 3986, section 2).
#[cold]
fn target_end(window: &[u8], start: usize, limits: &Limits) -> Result<usize, Stop> {
    let end = scan::run(window, start, &scan::IS_VISIBLE);
    if end - start > limits.max_target_len {
        return Err(target_too_long(limits).into());
    }
    match window.get(end) {
        Some(b' ') if end > start => Ok(end),
        None => Err(Stop::Unfinished),
        Some(0x80..) => Err(RequestError::Target.into()),
        Some(_) => Err(RequestError::RequestLine.into()),
    }
}

/// The version that begins at `start`, and where its line ends. One that we do not speak is one
/// thing, and something that is no version another (RFC 9112, section 2.3: `HTTP/` digit `.` digit,
/// in capitals). Which it is shows when the line is complete.
#[cold]
fn other_version(window: &[u8], start: usize) -> Result<(Version, usize), Stop> {
    let rest = &window[start..];
    let end = memchr(b'\n', rest).ok_or(Stop::Unfinished)?;
    let next = start + end + 1;
    match &rest[..end] {
        b"HTTP/1.0\r" => Ok((Version::Http10, next)),
        b"HTTP/1.1\r" => Ok((Version::Http11, next)),
        b"HTTP/1.0" | b"HTTP/1.1" => Err(RequestError::LineEnding.into()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r']
        | [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(RequestError::Version.into())
        }
        _ => Err(RequestError::RequestLine.into()),
    }
}

/// The value of `Host` that begins at `at`, and where the next line begins.
#[inline(always)]
fn host(window: &[u8], at: usize) -> Result<(&[u8], usize), Stop> {
    // Nearly always it is a host behind a space, which is all that has to be found out about it.
    let start = at + 1;
    if window.get(at) == Some(&b' ')
        && let Some(end) = target::authority_end(window, start)
        && scan::begins_with(window, end, LINE_END)
    {
        return Ok((&window[start..end], end + LINE_END.len()));
    }
    any_host(window, at)
}

#[cold]
fn any_host(window: &[u8], at: usize) -> Result<(&[u8], usize), Stop> {
    let (host, next) = scan::value(window, at)?;
    if !target::is_authority(host) {
        return Err(RequestError::Host.into());
    }
    Ok((host, next))
}

/// What is too long of a head that does not end within its limit.
#[cold]
fn too_long(window: &[u8], limits: &Limits) -> RequestError {
    let target_start = memchr(b' ', window).map_or(window.len(), |space| space + 1);
    let target_end = scan::run(window, target_start, &scan::IS_VISIBLE);
    if target_end - target_start > limits.max_target_len {
        return target_too_long(limits);
    }
    RequestError::HeadTooLong {
        limit: limits.max_head_len,
    }
}

#[cold]
fn target_too_long(limits: &Limits) -> RequestError {
    RequestError::TargetTooLong {
        limit: limits.max_target_len,
    }
}

/// What was found to be ASCII, as text.
#[inline]
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// What ends every line.
const LINE_END: &[u8; 2] = b"\r\n";
/// Bytes of a head in any case, so that a place within it fits into 32 bits.
const MAX_LEN: usize = u32::MAX as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Result<Length, RequestError>) {
        let limits = Limits::default();
        let parsed = Head::parse(head.as_bytes(), &limits);
        let parsed = parsed.map(|head| head.expect("it is complete").length());
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
        let all = head;
        let head = Head::parse(all, &Limits::default()).unwrap().unwrap();
        assert_eq!(head.as_bytes(), all.strip_suffix(b"rest").unwrap());
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

    /// Heads that are nearly right: pieces of requests in any order, some bytes of them changed.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let field = prop::sample::select(vec![
            "Host: h:80\r\n",
            "hOST:h\r\n",
            "Host: [::1]:8 \r\n",
            "A: b\r\n",
            "X-Long-Name!#$%&'*+-.^_`|~: some value, and \t more of it \t\r\n",
            "Empty:\r\n",
            "Content-Length: 12\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: keep-alive, x\r\n",
            "Expect: 100-continue\r\n",
            "Obs: \u{fc}\u{e4}\r\n",
            " folded\r\n",
            "Bare: lf\n",
        ]);
        let line = prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "GET /a/b?c=d&e HTTP/1.0\r\n",
            "POST http://h:1/x HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1\r\n",
            "CONNECT h:443 HTTP/1.1\r\n",
            "M-SEARCH /\u{e4} HTTP/1.1\r\n",
            "GET /a HTTP/2.0\r\n",
        ]);
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        let fields = prop::collection::vec(field, 0..5);
        (line, fields, changes).prop_map(|(line, fields, changes)| {
            let mut head = format!("{line}Host: h\r\n{}\r\n", fields.concat()).into_bytes();
            for (at, byte) in changes {
                let at = at.index(head.len());
                head[at] = byte;
            }
            head
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// `httparse` has been fuzzed for years. What we accept, it reads as the same request; what
        /// it accepts and we do not is what it leaves open.
        #[test]
        fn a_head_is_read_as_httparse_reads_it_or_refused_for_a_reason(head in heads()) {
            let mut table = [httparse::EMPTY_HEADER; 16];
            let mut theirs = httparse::Request::new(&mut table);
            let parsed = theirs.parse(&head);
            match Head::parse(&head, &Limits::default()) {
                Ok(Some(ours)) => {
                    prop_assert_eq!(parsed, Ok(httparse::Status::Complete(ours.bytes.len())));
                    prop_assert_eq!(theirs.method, Some(ours.method_name()));
                    prop_assert_eq!(theirs.path, Some(ours.target()));
                    let minor = u8::from(ours.version() == Version::Http11);
                    prop_assert_eq!(theirs.version, Some(minor));
                    let fields = theirs.headers.iter().map(|field| (field.name, field.value));
                    prop_assert!(fields.eq(ours.fields().iter()));
                }
                Ok(None) => prop_assert!(!matches!(parsed, Ok(httparse::Status::Complete(_)))),
                Err(
                    error @ (RequestError::RequestLine
                    | RequestError::FieldName
                    | RequestError::FieldValue
                    | RequestError::Version),
                ) => prop_assert!(
                    // It passes over line ends before a request, which is the decoder's part here.
                    parsed.is_err() || parsed == Ok(httparse::Status::Partial)
                        || matches!(head[0], b'\r' | b'\n'),
                    "{:?}: {:?}", error, parsed
                ),
                Err(_) => {}
            }
        }
    }
}
