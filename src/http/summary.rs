//! `Summary`: what the fields of a head say about the connection and the body.
//!
//! Judges them strictly where leniency would let two readers see different requests. Knows nothing
//! of how fields are read, and of no others.

use super::error::RequestError;
use super::fields::{elements, is_token};
use super::method::Version;

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
pub(super) struct Marks {
    pub(super) closes: bool,
    pub(super) keeps_alive: bool,
    pub(super) upgrades: bool,
    pub(super) expectation: Expectation,
}

/// The fields that concern the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Host,
    Expect,
    Connection,
    ContentLength,
    TransferEncoding,
}

impl Known {
    /// Which one a name is, if it is one of them.
    #[inline(always)]
    pub(super) fn of(name: &[u8]) -> Option<Known> {
        // By first letter and length: most fields concern us in no way.
        let first = name.first().map_or(0, |byte| byte | 0x20);
        if !matches!(first, b'c' | b'e' | b'h' | b't') {
            return None;
        }
        let (known, expected) = match (name.len(), first) {
            (4, b'h') => (Known::Host, &b"host"[..]),
            (6, b'e') => (Known::Expect, &b"expect"[..]),
            (10, b'c') => (Known::Connection, &b"connection"[..]),
            (14, b'c') => (Known::ContentLength, &b"content-length"[..]),
            (17, b't') => (Known::TransferEncoding, &b"transfer-encoding"[..]),
            _ => return None,
        };
        if known == Known::Host {
            // Nearly every request has it.
            let letters = name
                .first_chunk()
                .map_or(0, |name| u32::from_le_bytes(*name));
            return (letters | 0x2020_2020 == u32::from_le_bytes(*b"host")).then_some(known);
        }
        is_alike(name, expected).then_some(known)
    }
}

/// Apart, because the loop that reads fields pays for what it takes to compare many bytes at once.
#[inline(never)]
fn is_alike(name: &[u8], expected: &[u8]) -> bool {
    name.eq_ignore_ascii_case(expected)
}

/// Gathers what concerns the connection, field by field.
pub(super) struct Summary<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    transfer_encoding: Option<Result<(), RequestError>>,
    pub(super) marks: Marks,
}

impl<'a> Summary<'a> {
    #[inline(always)]
    pub(super) fn new() -> Summary<'a> {
        Summary {
            host: None,
            content_length: None,
            transfer_encoding: None,
            marks: Marks {
                closes: false,
                keeps_alive: false,
                upgrades: false,
                expectation: Expectation::None,
            },
        }
    }

    /// Takes a field into account that is a [`Known`] one, but no `Host`.
    pub(super) fn on_field(&mut self, name: Known, value: &[u8]) -> Result<(), RequestError> {
        match name {
            Known::Expect => self.on_expect(value),
            Known::Connection => self.on_connection(value),
            Known::ContentLength => return self.on_content_length(value),
            Known::TransferEncoding => self.on_transfer_encoding(value),
            Known::Host => {}
        }
        Ok(())
    }

    /// Takes a `Host` into account, which was found to be one.
    #[inline(always)]
    pub(super) fn on_host(&mut self, host: &'a [u8]) -> Result<(), RequestError> {
        match self.host.replace(host) {
            None => Ok(()),
            Some(_) => Err(RequestError::Host),
        }
    }

    /// The host, and how long the body will be.
    #[inline(always)]
    pub(super) fn finish(&self, version: Version) -> Result<(&'a [u8], Length), RequestError> {
        let host = match (self.host, version) {
            (Some(host), _) => host,
            (None, Version::Http10) => &[],
            (None, Version::Http11) => return Err(RequestError::Host),
        };
        let length = match self.transfer_encoding {
            None => Length::Fixed(self.content_length.unwrap_or(0)),
            Some(_) if self.content_length.is_some() => {
                return Err(RequestError::AmbiguousLength);
            }
            Some(_) if version == Version::Http10 => return Err(RequestError::TransferEncoding),
            Some(coding) => coding.map(|()| Length::Chunked)?,
        };
        Ok((host, length))
    }

    fn on_content_length(&mut self, value: &[u8]) -> Result<(), RequestError> {
        match self.content_length.replace(content_length(value)?) {
            None => Ok(()),
            Some(_) => Err(RequestError::ContentLength),
        }
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
    let is_never_last = |coding: &[u8]| NEVER_LAST.iter().any(|name| is(coding, name));
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

/// Codings that do not tell where a body ends.
const NEVER_LAST: [&str; 6] = [
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "identity",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the body of a request with these fields is.
    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: Result<Length, RequestError>) {
        let of = |version| {
            let mut summary = Summary::new();
            summary.on_host(b"h")?;
            for (name, value) in fields {
                let name = Known::of(name.as_bytes()).expect("it is one of them");
                summary.on_field(name, value.as_bytes())?;
            }
            Ok(summary.finish(version)?.1)
        };
        assert_eq!(of(Version::Http11), expected, "{fields:?}");
        if fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"))
        {
            assert!(of(Version::Http10).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn a_content_length_is_there_once_and_a_number() {
        let length = |value| [("CONTENT-length", value)];
        let malformed = Err(RequestError::ContentLength);
        check(&[], Ok(Length::Fixed(0)));
        check(&length("18446744073709551615"), Ok(Length::Fixed(u64::MAX)));
        check(&length("18446744073709551616"), malformed);
        check(&length("007"), Ok(Length::Fixed(7)));
        for value in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "a"] {
            check(&length(value), malformed);
        }
        check(&[length("1")[0], length("1")[0]], malformed);
    }

    #[test]
    fn a_transfer_encoding_is_chunked_and_comes_alone() {
        let coding = |value| [("transfer-Encoding", value)];
        check(&coding("Chunked"), Ok(Length::Chunked));
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
            check(&coding(value), malformed);
        }
        check(&[coding("chunked")[0], coding("chunked")[0]], malformed);
        for value in ["foo", "gzip, chunked", "foo, chunked"] {
            check(&coding(value), Err(RequestError::UnknownCoding));
        }
        let ambiguous = Err(RequestError::AmbiguousLength);
        for coding in [coding("chunked")[0], coding("foo")[0]] {
            check(&[coding, ("Content-Length", "1")], ambiguous);
            check(&[("Content-Length", "1"), coding], ambiguous);
        }
    }

    #[test]
    fn a_host_is_there_once_and_with_http_1_0_it_may_be_missing() {
        let mut summary = Summary::new();
        assert_eq!(
            summary.finish(Version::Http11).err(),
            Some(RequestError::Host)
        );
        assert_eq!(
            summary.finish(Version::Http10),
            Ok((&[][..], Length::Fixed(0)))
        );
        assert_eq!(summary.on_host(b"h"), Ok(()));
        assert_eq!(summary.on_host(b"h"), Err(RequestError::Host));
    }

    #[test]
    fn a_field_is_known_by_its_whole_name_in_any_case() {
        for (name, expected) in [
            ("host", Some(Known::Host)),
            ("HOST", Some(Known::Host)),
            ("hosT", Some(Known::Host)),
            ("expECT", Some(Known::Expect)),
            ("Connection", Some(Known::Connection)),
            ("hos\x14", None),
            ("\x08ost", None),
            ("most", None),
            ("hosts", None),
            ("expecT-", None),
            ("connectioN2", None),
            ("coNtent-leng\x54H", Some(Known::ContentLength)),
            ("content-lengt_", None),
            ("", None),
        ] {
            assert_eq!(Known::of(name.as_bytes()), expected, "{name:?}");
        }
    }
}
