//! What `Sealed` says of a stream that it does not trust.
//!
//! Knows that no reason may help whoever forged it.

use std::error::Error;
use std::fmt;

/// How a stream broke [`Sealed`](super::Sealed). Whatever it was, it is the last thing decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealedError<E> {
    /// The framing around is broken: a length, say, which is no secret.
    Framing(E),
    /// A tag that is not right, for whatever reason: a frame that was altered, repeated, moved,
    /// left out, sent back to where it came from, or made with another key. One answer for all of
    /// them, because a finer one would tell a forger how far he has come.
    Forged,
    /// The stream ended without its authenticated end: something is missing.
    Truncated,
    /// Bytes behind the authenticated end.
    AfterEnd,
    /// A frame, rightly sealed, of a kind that this version does not know.
    UnknownKind(u8),
    /// All sequence numbers are used up.
    Exhausted,
}

impl<E: fmt::Display> fmt::Display for SealedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealedError::Framing(error) => error.fmt(f),
            SealedError::Forged => f.write_str("a frame is not authentic"),
            SealedError::Truncated => f.write_str("the stream was cut off before its end"),
            SealedError::AfterEnd => f.write_str("bytes behind the end of the stream"),
            SealedError::UnknownKind(kind) => write!(f, "a sealed frame of unknown kind {kind}"),
            SealedError::Exhausted => f.write_str("the sequence numbers of the key are used up"),
        }
    }
}

impl<E: Error> Error for SealedError<E> {}
