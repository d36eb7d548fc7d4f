//! `Head`: the head of an answer, parsed and validated where it lies in the input.
//!
//! Strict where leniency would let two readers see different answers. Knows no connection.

use std::fmt;

use super::error::ResponseError;
use super::limits::Limits;
use crate::http::error::RequestError;
use crate::http::fields::{Fields, elements};
use crate::http::method::{Method, Version};
use crate::http::scan::{self, Stop};
use crate::http::status::Status;

/// The head of an answer: status, version and fields, all borrowed from the input.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    status: Status,
    version: Version,
    length: Length,
    keeps_alive: bool,
    fields: Fields<'a>,
    bytes: &'a [u8],
}

/// How the end of an answer's body is told (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is no body: the request was a HEAD, or the status is one without.
    None,
    /// So many bytes follow.
    Fixed(u64),
    /// Chunks follow.
    Chunked,
    /// The connection's end is the body's. Whether it is whole, nobody can tell.
    UntilClose,
}

impl<'a> Head<'a> {
    /// Parses `bytes`, which end with an empty line and whose lines all end in LF, as the head of
    /// the answer to a request with that method.
    pub(super) fn parse(
        bytes: &'a [u8],
        asked: Method,
        limits: &Limits,
    ) -> Result<Head<'a>, ResponseError> {
        let (status, version, lines) = status_line(bytes)?;
        let mut summary = Summary::default();
        let mut fields_left = limits.max_fields;
        let mut rest = lines;
        while let Some((name, behind)) = scan::name(rest).map_err(refused)? {
            let Some(left) = fields_left.checked_sub(1) else {
                return Err(ResponseError::TooManyFields {
                    limit: limits.max_fields,
                });
            };
            fields_left = left;
            let (value, next) = scan::value(behind).map_err(refused)?;
            summary.on_field(name, value)?;
            rest = next;
        }
        let length = summary.length(status, version, asked)?;
        Ok(Head {
            status,
            version,
            length,
            keeps_alive: length != Length::UntilClose && summary.keeps_alive(version),
            fields: Fields::new(scan::before(lines, rest)),
            bytes,
        })
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The version that the server speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    pub fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// The first value of a field, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name)
    }

    /// How the end of the body is told.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether the connection goes on behind this answer (RFC 9112, section 9.3).
    pub fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// All bytes of the head, from the version to the empty line.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .finish()
    }
}

/// What the fields say that concerns the connection.
#[derive(Default)]
struct Summary {
    content_length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    says_keep_alive: bool,
}

impl Summary {
    fn on_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        // By length first: most fields concern us in no way.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in elements(value) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                return self.on_content_length(value);
            }
            // Codings that nobody asked for by `TE` are no answer to us.
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseError::TransferEncoding);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn on_content_length(&mut self, value: &[u8]) -> Result<(), ResponseError> {
        match self.content_length.replace(number(value)?) {
            None => Ok(()),
            Some(_) => Err(ResponseError::ContentLength),
        }
    }

    fn length(
        &self,
        status: Status,
        version: Version,
        asked: Method,
    ) -> Result<Length, ResponseError> {
        if self.is_chunked && self.content_length.is_some() {
            return Err(ResponseError::AmbiguousLength);
        }
        if self.is_chunked && version == Version::Http10 {
            return Err(ResponseError::TransferEncoding);
        }
        let is_bare = status.code() < 200 || status == Status::NO_CONTENT;
        // RFC 9110, section 8.6, and RFC 9112, section 6.1. Many send a length of 0.
        if is_bare && self.is_chunked {
            return Err(ResponseError::TransferEncoding);
        }
        if is_bare && self.content_length.is_some_and(|len| len > 0) {
            return Err(ResponseError::ContentLength);
        }
        Ok(match self.content_length {
            _ if asked == Method::Head || !status.has_body() => Length::None,
            _ if self.is_chunked => Length::Chunked,
            Some(len) => Length::Fixed(len),
            None => Length::UntilClose,
        })
    }

    fn keeps_alive(&self, version: Version) -> bool {
        let by_default = version == Version::Http11;
        !self.closes && (by_default || self.says_keep_alive)
    }
}

/// A number and nothing else (RFC 9110, section 8.6).
fn number(value: &[u8]) -> Result<u64, ResponseError> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok())
        .ok_or(ResponseError::ContentLength)
}

/// Status, version, and what is left behind their line (RFC 9112, section 4). The space behind the
/// status may be missing where there is no reason, as it is with many servers.
fn status_line(bytes: &[u8]) -> Result<(Status, Version, &[u8]), ResponseError> {
    let version = match bytes.get(..9) {
        Some(b"HTTP/1.0 ") => Version::Http10,
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some([b'H', b'T', b'T', b'P', b'/', _, b'.', _, b' ']) => {
            return Err(ResponseError::Version);
        }
        Some(_) | None => return Err(ResponseError::StatusLine),
    };
    let digits = bytes.get(9..12).unwrap_or_default();
    let code = digits.iter().try_fold(0, |code, byte| {
        let digit = u16::from(byte.wrapping_sub(b'0'));
        (digit <= 9).then_some(code * 10 + digit)
    });
    let Some(code @ 100..) = code else {
        return Err(ResponseError::StatusLine);
    };
    let reason = match bytes[12..] {
        [b' ', ..] => 13,
        [b'\r', ..] => 12,
        _ => return Err(ResponseError::StatusLine),
    };
    match scan::value(&bytes[reason..]) {
        Ok((_, rest)) => Ok((Status::new(code), version, rest)),
        Err(_) => Err(ResponseError::StatusLine),
    }
}

/// What a scan that came to no result means, in a run of whole lines.
#[cold]
fn refused(stop: Stop) -> ResponseError {
    match stop {
        Stop::Refused(RequestError::FieldName) => ResponseError::FieldName,
        Stop::Refused(RequestError::FieldValue) => ResponseError::FieldValue,
        Stop::Refused(_) | Stop::Unfinished => ResponseError::LineEnding,
    }
}
