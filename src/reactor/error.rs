//! `Error`: what can go wrong for the caller of a reactor.
//!
//! Knows nothing of peers: what they do wrong is a decoder's error or a `CloseReason`.

use std::convert::Infallible;
use std::{fmt, io};

use crate::net::AddressError;
use crate::token::Gone;

/// An operation of the reactor failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an address: the caller's mistake.
    Address(AddressError),
    /// The OS refused to listen on an address.
    Listen {
        /// The address, as text.
        address: String,
        /// What the OS said.
        source: io::Error,
    },
    /// The OS refused a datagram socket at an address, or one of its options or groups.
    Bind {
        /// The address, as text.
        address: String,
        /// What the OS said.
        source: io::Error,
    },
    /// The entry that the token named has ended.
    Gone,
    /// The OS refused something else.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Address(error) => write!(f, "{error}"),
            Error::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Error::Bind { address, source } => write!(f, "cannot bind to {address}: {source}"),
            Error::Gone => write!(f, "{Gone}"),
            Error::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } | Error::Bind { source, .. } => Some(source),
            Error::Io(error) => Some(error),
            Error::Address(_) | Error::Gone => None,
        }
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Error {
        Error::Address(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Error {
        Error::Gone
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}
