//! Why a handshake came to nothing.
//!
//! For the side that it is told on; the other one learns less. Knows no keys and no connections.

use std::fmt;

use crate::close::CloseReason;

/// Why a peer was not authenticated: told to `on_failure` of this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthFailure {
    /// On the server: the proof is wrong, or the key is not known. Deliberately one: a log that
    /// told them apart would soon be an answer that does.
    Denied,
    /// On the server: too many attempts from this address.
    TooManyAttempts,
    /// On the client: the server refuses. It does not say why.
    Refused,
    /// On the client: the server does not know the key, so that it is another one.
    Impostor,
    /// A message that has no place here, or is none.
    Unexpected,
    /// It took too long.
    Deadline,
    /// The connection ended before.
    Ended(CloseReason),
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthFailure::Denied => f.write_str("an unknown key, or a wrong proof"),
            AuthFailure::TooManyAttempts => f.write_str("too many attempts from this address"),
            AuthFailure::Refused => f.write_str("the server refuses"),
            AuthFailure::Impostor => f.write_str("the server does not know the key"),
            AuthFailure::Unexpected => f.write_str("a message that has no place here"),
            AuthFailure::Deadline => f.write_str("the handshake took too long"),
            AuthFailure::Ended(reason) => write!(f, "the connection ended: {reason}"),
        }
    }
}

impl std::error::Error for AuthFailure {}
