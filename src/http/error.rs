//! `RequestError`: what a peer did wrong in a request, and the status that answers it.
//!
//! Pure vocabulary: knows neither how requests are read nor how answers are written.

use std::fmt;

use super::status::Status;

/// Why a request was refused before any handler saw it. The peer is to blame; it is answered with
/// [`RequestError::status`], and the connection ends, because nobody knows where the next request
/// would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The request line is not `method SP target SP version` (RFC 9112, section 3).
    RequestLine,
    /// A version of HTTP whose first number is not 1 (RFC 9110, section 15.6.6).
    Version,
    /// The target has none of the four forms, or not the one that its method takes (RFC 9112,
    /// section 3.2), or a `%` in its path that no two hexadecimal digits follow (RFC 3986, section
    /// 2.1).
    Target,
    /// The target is longer than `limit` bytes.
    TargetTooLong {
        /// `Limits::max_target_len`.
        limit: usize,
    },
    /// A field name that is no token, or is followed by whitespace, or a folded line (RFC 9112,
    /// sections 5.1 and 5.2).
    FieldName,
    /// A field value with a control character in it (RFC 9110, section 5.5).
    FieldValue,
    /// A line that does not end in CR LF. Lenient readers disagree about where such a line ends,
    /// and requests are smuggled between them.
    LineEnding,
    /// The head is longer than `limit` bytes.
    HeadTooLong {
        /// `Limits::max_head_len`.
        limit: usize,
    },
    /// There are more than `limit` fields.
    TooManyFields {
        /// `Limits::max_fields`.
        limit: usize,
    },
    /// HTTP/1.1 without `Host`, or more than one, or one that names no host (RFC 9112, section
    /// 3.2).
    Host,
    /// A `Content-Length` that is no number, or is there twice (RFC 9112, section 6.3). Equal
    /// duplicates are refused too: whoever sends them has been tampered with.
    ContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`: request smuggling until proven otherwise
    /// (RFC 9112, section 6.1).
    AmbiguousLength,
    /// A `Transfer-Encoding` that is malformed or does not end in `chunked`, or comes with
    /// HTTP/1.0 (RFC 9112, sections 6.1 and 6.3).
    TransferEncoding,
    /// A transfer coding that is well-formed and that we do not know (RFC 9112, section 6.1).
    UnknownCoding,
    /// A chunk's size is no hexadecimal number, or too large a one (RFC 9112, section 7.1).
    ChunkSize,
    /// A chunk extension is malformed, or the line is longer than `limit` bytes (RFC 9112, section
    /// 7.1.1).
    ChunkExtension {
        /// Bytes of the line with a chunk's size.
        limit: usize,
    },
    /// A chunk is longer than its size says.
    ChunkEnd,
    /// A trailer field that decides about framing or routing, which a trailer must not (RFC 9110,
    /// section 6.5.1).
    Trailer,
    /// The trailer is longer than `limit` bytes.
    TrailersTooLong {
        /// `Limits::max_trailers_len`.
        limit: usize,
    },
}

impl RequestError {
    /// The status that the peer is told.
    pub fn status(self) -> Status {
        match self {
            RequestError::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
            RequestError::TargetTooLong { .. } => Status::URI_TOO_LONG,
            RequestError::HeadTooLong { .. }
            | RequestError::TooManyFields { .. }
            | RequestError::TrailersTooLong { .. } => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestError::UnknownCoding => Status::NOT_IMPLEMENTED,
            RequestError::RequestLine
            | RequestError::Target
            | RequestError::FieldName
            | RequestError::FieldValue
            | RequestError::LineEnding
            | RequestError::Host
            | RequestError::ContentLength
            | RequestError::AmbiguousLength
            | RequestError::TransferEncoding
            | RequestError::ChunkSize
            | RequestError::ChunkExtension { .. }
            | RequestError::ChunkEnd
            | RequestError::Trailer => Status::BAD_REQUEST,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            RequestError::RequestLine => "the request line is malformed",
            RequestError::Version => "the version is not supported",
            RequestError::Target => "the target is malformed",
            RequestError::FieldName => "a field name is malformed",
            RequestError::FieldValue => "a field value is malformed",
            RequestError::LineEnding => "a line does not end in CR LF",
            RequestError::Host => "the host is missing, repeated or malformed",
            RequestError::ContentLength => "Content-Length is malformed or repeated",
            RequestError::AmbiguousLength => "both Content-Length and Transfer-Encoding",
            RequestError::TransferEncoding => "Transfer-Encoding is not a single chunked",
            RequestError::UnknownCoding => "the transfer coding is not supported",
            RequestError::ChunkSize => "a chunk size is malformed",
            RequestError::ChunkEnd => "a chunk does not end in CR LF",
            RequestError::Trailer => "the trailer has a field that it must not have",
            RequestError::TargetTooLong { limit } => {
                return write!(f, "the target is longer than {limit} bytes");
            }
            RequestError::HeadTooLong { limit } => {
                return write!(f, "the head is longer than {limit} bytes");
            }
            RequestError::TooManyFields { limit } => {
                return write!(f, "there are more than {limit} fields");
            }
            RequestError::ChunkExtension { limit } => {
                return write!(f, "a chunk extension is malformed or exceeds {limit} bytes");
            }
            RequestError::TrailersTooLong { limit } => {
                return write!(f, "the trailer is longer than {limit} bytes");
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for RequestError {}

/// A route that cannot be added. The program is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The method is no token.
    Method,
    /// The pattern is malformed: it begins with `/`, and has `{name}` or a final `{*name}`.
    Pattern,
    /// Another handler is in its place.
    Taken,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteError::Method => "the method is no token",
            RouteError::Pattern => "the pattern is malformed",
            RouteError::Taken => "another route is in its place",
        })
    }
}

impl std::error::Error for RouteError {}
