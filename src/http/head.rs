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
use super::scan::{self, Found, Stop};
use super::summary::{Expectation, Known, Length, Marks, Summary};
use super::target::{self, Target};

/// The head of a request: method, target, version and fields, all borrowed from the input.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    bytes: &'a [u8],
    path: &'a [u8],
    host: &'a [u8],
    length: Length,
    method_len: u32,
    target_len: u32,
    method: Method,
    version: Version,
    marks: Marks,
    is_escaped: bool,
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
        // What is usual is read apart from all that may be: both would leave what they find in one
        // place otherwise, which would lie in memory, and not in registers.
        let (line, mut rest) = match RequestLine::usual(window, limits) {
            Some(found) => found,
            None => RequestLine::any(window, limits)?,
        };
        let mut summary = Summary::new();
        let mut fields_left = limits.max_fields;
        // Nearly always `Host` is the first field (RFC 9110, section 7.2), and spelled so.
        if let Some(behind) = rest.strip_prefix(b"Host: ")
            && fields_left > 0
        {
            let (host, lines) = match usual_host(behind) {
                Some(found) => found,
                None => any_host(behind)?,
            };
            summary.on_host(host)?;
            fields_left -= 1;
            rest = lines;
        }
        while let Some((name, behind)) = scan::name(rest)? {
            if fields_left == 0 {
                return Err(RequestError::TooManyFields {
                    limit: limits.max_fields,
                }
                .into());
            }
            fields_left -= 1;
            rest = match Known::of(name) {
                None => scan::skip_value(behind)?,
                Some(Known::Host) => {
                    let (host, rest) = any_host(behind)?;
                    summary.on_host(host)?;
                    rest
                }
                Some(name) => {
                    let (value, rest) = scan::value(behind)?;
                    summary.on_field(name, value)?;
                    rest
                }
            };
        }
        let (host, length) = summary.finish(line.version)?;
        Ok(Head {
            bytes: &window[..window.len() - rest.len() + LINE_END.len()],
            path: line.path,
            host: line.authority.unwrap_or(host),
            length,
            // They are below the limit of a head, which fits.
            method_len: line.method_len as u32,
            target_len: line.target_len as u32,
            method: line.method,
            version: line.version,
            marks: summary.marks,
            is_escaped: line.is_escaped,
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

    /// Whether anything in the path is percent-encoded.
    #[inline]
    pub(crate) fn is_escaped(&self) -> bool {
        self.is_escaped
    }

    /// What follows the question mark, still encoded; empty if nothing does.
    pub fn query(&self) -> &'a str {
        self.target().split_once('?').map_or("", |(_, query)| query)
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
        // Every version that we speak is as long.
        let start = (self.method_len + self.target_len) as usize + "  HTTP/1.1\r\n".len();
        let end = self.bytes.len() - LINE_END.len();
        Fields::new(&self.bytes[start..end])
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
    path: &'a [u8],
    is_escaped: bool,
    authority: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    /// The line that `window` begins with, and what is left behind it, if it is one as most are: of
    /// HTTP/1.1, with a path.
    #[inline(always)]
    fn usual(window: &'a [u8], limits: &Limits) -> Option<(RequestLine<'a>, &'a [u8])> {
        let (method, method_len, text) = match window.split_first_chunk() {
            Some((start, text)) if u32::from_le_bytes(*start) == u32::from_le_bytes(*b"GET ") => {
                (Method::Get, 3, text)
            }
            _ => method(window).ok()?,
        };
        let behind_path = scan::behind_path(text);
        let rest = match behind_path {
            [b'?', query @ ..] => scan::behind_query(query),
            _ => behind_path,
        };
        let lines = rest.strip_prefix(b" HTTP/1.1\r\n")?;
        let target_len = text.len() - rest.len();
        if text[0] != b'/' || method == Method::Connect || target_len > limits.max_target_len {
            return None;
        }
        let line = RequestLine {
            method,
            version: Version::Http11,
            method_len,
            target_len,
            path: scan::before(text, behind_path),
            // It would have ended there: that is unusual.
            is_escaped: false,
            authority: None,
        };
        Some((line, lines))
    }

    /// As `usual`, of any line, be it wrong or right in a rare way.
    #[cold]
    fn any(window: &'a [u8], limits: &Limits) -> Result<(RequestLine<'a>, &'a [u8]), Stop> {
        let (method, method_len, text) = method(window)?;
        let (target, rest) = target(text, limits)?;
        let (version, lines) = version(rest)?;
        let Target {
            path, authority, ..
        } = target::parse(method, target)?;
        let line = RequestLine {
            method,
            version,
            method_len,
            target_len: target.len(),
            path,
            is_escaped: path.contains(&b'%'),
            authority,
        };
        Ok((line, lines))
    }
}

/// The method that `window` begins with, its length, and what is left behind the space.
fn method(window: &[u8]) -> Result<(Method, usize, &[u8]), Stop> {
    let rest = scan::behind(window, &scan::IS_TOKEN);
    let name = scan::before(window, rest);
    match rest {
        [b' ', rest @ ..] if !name.is_empty() => Ok((Method::of(name), name.len(), rest)),
        [] => Err(Stop::Unfinished),
        _ => Err(RequestError::RequestLine.into()),
    }
}

/// The target that `text` begins with, and what is left behind the space. Bytes outside of ASCII
/// have to be percent-encoded (RFC 3986, section 2).
fn target<'a>(text: &'a [u8], limits: &Limits) -> Result<Found<'a>, Stop> {
    let rest = scan::behind(text, &scan::IS_VISIBLE);
    let target = scan::before(text, rest);
    if target.len() > limits.max_target_len {
        return Err(target_too_long(limits).into());
    }
    match rest {
        [b' ', rest @ ..] if !target.is_empty() => Ok((target, rest)),
        [] => Err(Stop::Unfinished),
        [0x80..=0xff, ..] => Err(RequestError::Target.into()),
        _ => Err(RequestError::RequestLine.into()),
    }
}

/// The version that `text` begins with, and what is left behind its line. One that we do not speak
/// is one thing, and something that is no version another (RFC 9112, section 2.3: `HTTP/` digit `.`
/// digit, in capitals). Which it is shows when the line is complete.
fn version(text: &[u8]) -> Result<(Version, &[u8]), Stop> {
    let end = memchr(b'\n', text).ok_or(Stop::Unfinished)?;
    let lines = &text[end + 1..];
    match &text[..end] {
        b"HTTP/1.0\r" => Ok((Version::Http10, lines)),
        b"HTTP/1.1\r" => Ok((Version::Http11, lines)),
        // A later minor version is taken for the last one that is known (RFC 9110, section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', b'\r'] => {
            Ok((Version::Http11, lines))
        }
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => {
            Err(RequestError::LineEnding.into())
        }
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r']
        | [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(RequestError::Version.into())
        }
        _ => Err(RequestError::RequestLine.into()),
    }
}

/// The value of `Host` that `bytes` begins with, and what is left behind its line, if it is a host
/// and nothing else, which is all that has to be found out about it.
#[inline(always)]
fn usual_host(bytes: &[u8]) -> Option<Found<'_>> {
    let rest = target::behind_authority(bytes)?;
    let lines = rest.strip_prefix(LINE_END)?;
    Some((scan::before(bytes, rest), lines))
}

/// As `usual_host`, with whitespace around it, or with an address of IPv6.
#[cold]
fn any_host(bytes: &[u8]) -> Result<Found<'_>, Stop> {
    let (host, rest) = scan::value(bytes)?;
    if !target::is_authority(host) {
        return Err(RequestError::Host.into());
    }
    Ok((host, rest))
}

/// What is too long of a head that does not end within its limit.
#[cold]
fn too_long(window: &[u8], limits: &Limits) -> RequestError {
    // A method that does not end: nothing that could be called a field came.
    let Some(space) = memchr(b' ', window) else {
        return RequestError::RequestLine;
    };
    let text = &window[space + 1..];
    let rest = scan::behind(text, &scan::IS_VISIBLE);
    if text.len() - rest.len() > limits.max_target_len {
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
        check(&"A".repeat(64), RequestError::RequestLine);
        let head = format!("GET / HTTP/1.1\r\nHost: {}", "h".repeat(64));
        check(&head, RequestError::HeadTooLong { limit: 64 });
        let fields = "GET / HTTP/1.1\r\nHost: h\r\nA:\r\nB:\r\n\r\n";
        check(fields, RequestError::TooManyFields { limit: 2 });
    }

    #[test]
    fn a_later_minor_version_is_taken_for_the_last_that_is_known_rfc_9110_2_5() {
        for version in ["HTTP/1.2", "HTTP/1.9"] {
            let head = format!("GET / {version}\r\nHost: h\r\nA: b\r\n\r\n");
            let head = Head::parse(head.as_bytes(), &Limits::default());
            let head = head.unwrap().unwrap();
            assert_eq!(head.version(), Version::Http11);
            assert!(head.keeps_alive());
            assert_eq!(head.fields().get("a"), Some("b"));
        }
        check(
            "GET / HTTP/1.2\nHost: h\r\n\r\n",
            Err(RequestError::LineEnding),
        );
        // It is nothing that asks for the rules of HTTP/1.0.
        check("GET / HTTP/1.2\r\n\r\n", Err(RequestError::Host));
    }

    #[test]
    fn a_version_is_refused_as_such_only_if_it_is_one() {
        let check = |version: &str, expected| {
            let head = format!("GET / {version}\r\nHost: h\r\n\r\n");
            let parsed = Head::parse(head.as_bytes(), &Limits::default());
            assert_eq!(parsed.err(), Some(expected), "{version}");
        };
        check("HTTP/2.0", RequestError::Version);
        check("HTTP/0.9", RequestError::Version);
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

    /// A later minor version, which `httparse` refuses, is the last that is known.
    fn with_known_version(mut head: Vec<u8>) -> Vec<u8> {
        let at = head.windows(8).position(|bytes| bytes == b" HTTP/1.");
        if let Some(minor @ b'2'..=b'9') = at.and_then(|at| head.get_mut(at + 8)) {
            *minor = b'1';
        }
        head
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// `httparse` has been fuzzed for years. What we accept, it reads as the same request; what
        /// it accepts and we do not is what it leaves open.
        #[test]
        fn a_head_is_read_as_httparse_reads_it_or_refused_for_a_reason(head in heads()) {
            let mut table = [httparse::EMPTY_HEADER; 16];
            let mut theirs = httparse::Request::new(&mut table);
            let known = with_known_version(head.clone());
            let parsed = theirs.parse(&known);
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
