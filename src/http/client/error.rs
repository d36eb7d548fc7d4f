//! What can go wrong with a request of ours, and who is to blame for it.
//!
//! Pure vocabulary: knows neither how requests are written nor how answers are read.

use std::error::Error;
use std::fmt;

use crate::close::CloseReason;
use crate::http::error::RequestError;
use crate::http::response::FieldError;

/// What a server did wrong in an answer. Nobody knows where the next answer would begin, so the
/// connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// Bytes that answer no request.
    Unasked,
    /// The status line is not `HTTP/1.x SP status [SP reason]` (RFC 9112, section 4).
    StatusLine,
    /// A version of HTTP that is not 1.0 or 1.1.
    Version,
    /// A field name that is no token, or is followed by whitespace, or a folded line (RFC 9112,
    /// sections 5.1 and 5.2).
    FieldName,
    /// A field value with a control character in it (RFC 9110, section 5.5).
    FieldValue,
    /// A line that does not end in CR LF.
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
    /// More than `limit` interim answers (1xx) before one answer.
    TooManyInterim {
        /// `Limits::max_interim`.
        limit: u32,
    },
    /// 101, which nobody has asked for (RFC 9110, section 15.2.2).
    Upgrade,
    /// A `Content-Length` that is no number, or is there twice, or announces a body where there
    /// can be none (RFC 9112, section 6.3).
    ContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`: readers that differ in which one counts take
    /// different bytes for the next answer (RFC 9112, section 6.1).
    AmbiguousLength,
    /// A `Transfer-Encoding` that is not a single `chunked`, or comes with HTTP/1.0 or where there
    /// can be no body.
    TransferEncoding,
    /// The chunked body is malformed, in this way.
    Coding(RequestError),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ResponseError::Unasked => "bytes that answer no request",
            ResponseError::StatusLine => "the status line is malformed",
            ResponseError::Version => "the version is not supported",
            ResponseError::FieldName => "a field name is malformed",
            ResponseError::FieldValue => "a field value is malformed",
            ResponseError::LineEnding => "a line does not end in CR LF",
            ResponseError::Upgrade => "another protocol that nobody asked for",
            ResponseError::ContentLength => "Content-Length is malformed, repeated or misplaced",
            ResponseError::AmbiguousLength => "both Content-Length and Transfer-Encoding",
            ResponseError::TransferEncoding => "Transfer-Encoding is not a single chunked",
            ResponseError::Coding(error) => return write!(f, "{error}"),
            ResponseError::HeadTooLong { limit } => {
                return write!(f, "the head is longer than {limit} bytes");
            }
            ResponseError::TooManyFields { limit } => {
                return write!(f, "there are more than {limit} fields");
            }
            ResponseError::TooManyInterim { limit } => {
                return write!(f, "there are more than {limit} interim answers");
            }
        };
        f.write_str(text)
    }
}

impl Error for ResponseError {}

/// How an answer is not what its digests say (RFC 9530), where that is looked at:
/// `Request::verify`, with the feature `digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestError {
    /// A field is no dictionary, or a digest has not the length of its algorithm.
    Malformed,
    /// The body is another one.
    Mismatch,
    /// There is no digest that can be made here, and one is required.
    Missing,
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DigestError::Malformed => "a digest is malformed",
            DigestError::Mismatch => "the body is not what its digest says",
            DigestError::Missing => "there is no digest of the body",
        })
    }
}

impl Error for DigestError {}

/// A request that cannot be sent as it is: the program's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The method is no token, or is CONNECT, which this client does not speak.
    Method,
    /// The target is not a path that begins with `/`, with or without a query (RFC 9112, section
    /// 3.2.1), nor `*` with OPTIONS; or it has a character that must be percent-encoded.
    Target,
    /// The host is none (RFC 9110, section 7.2).
    Host,
    /// A field cannot be sent. Those which decide about framing and the connection are the
    /// client's: `Connection`, `Content-Length`, `Expect`, `Host`, `Keep-Alive`, `TE`, `Trailer`,
    /// `Transfer-Encoding`, `Upgrade`.
    Field(FieldError),
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidRequest::Method => "the method cannot be sent",
            InvalidRequest::Target => "the target cannot be sent",
            InvalidRequest::Host => "the host is none",
            InvalidRequest::Field(FieldError::Reserved) => "the field is for the client to send",
            InvalidRequest::Field(error) => return write!(f, "{error}"),
        })
    }
}

impl Error for InvalidRequest {}

/// A request that was not taken. Its receiver is dropped and will not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// It cannot be sent as it is.
    Invalid(InvalidRequest),
    /// So many requests are waiting already.
    Full {
        /// `Limits::max_queued`.
        limit: usize,
    },
    /// The client was closed.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Invalid(error) => write!(f, "{error}"),
            SendError::Full { limit } => write!(f, "{limit} requests are waiting already"),
            SendError::Closed => f.write_str("the client was closed"),
        }
    }
}

impl Error for SendError {}

impl From<InvalidRequest> for SendError {
    fn from(error: InvalidRequest) -> SendError {
        SendError::Invalid(error)
    }
}

/// Why a request has no answer, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// Sending the request again does no harm: the server has not seen it, or its method is
    /// idempotent (RFC 9110, section 9.2.2).
    pub is_retryable: bool,
}

/// What a [`Failure`] came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The connection could not be made, or ended too early.
    Closed(CloseReason),
    /// The server's mistake.
    Response(ResponseError),
    /// The body is not what its digest says, or has none. Nobody can tell which of the bytes are
    /// wrong, so that the connection is reset, as after any other mistake.
    Digest(DigestError),
    /// The server took too long: `Limits::response_timeout`, `Limits::head_timeout`,
    /// `Limits::min_body_rate` or `Request::timeout`.
    Timeout,
    /// The body is longer than `limit` bytes.
    BodyTooLong {
        /// `Limits::max_body_len`.
        limit: usize,
    },
    /// The receiver wanted no more of it: `Flow::Stop`.
    Stopped,
    /// The source of the request's body failed, or did not keep to its length.
    Source,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Closed(reason) => write!(f, "{reason}"),
            Cause::Response(error) => write!(f, "{error}"),
            Cause::Digest(error) => write!(f, "{error}"),
            Cause::Timeout => f.write_str("the server took too long"),
            Cause::BodyTooLong { limit } => write!(f, "the body is longer than {limit} bytes"),
            Cause::Stopped => f.write_str("the receiver wanted no more"),
            Cause::Source => f.write_str("the request's body could not be produced"),
        }
    }
}

impl Error for Failure {}
