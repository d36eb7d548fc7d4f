//! `CloseReason`: who ended a connection, and why.
//!
//! Pure vocabulary. It knows no socket; an OS error is kept as its number.

use std::{fmt, io};

/// Why a connection ended, as told to `on_close`, exactly once.
///
/// A reason is not an error: most of them are how connections are supposed to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Our side called `finish` and everything it had queued was handed to the kernel.
    Finished,
    /// The peer sent its FIN between two frames, and we had nothing more to say.
    PeerFinished,
    /// The peer sent its FIN in the middle of a frame.
    Truncated,
    /// Our side called `abort`: what was queued is lost, the peer sees a reset.
    Aborted,
    /// The peer reset the connection, or was already gone when we wrote.
    Reset,
    /// Another error of the operating system.
    Os(OsError),
    /// The connection could not be made.
    ConnectFailed(OsError),
    /// The connection was not made within `Limits::connect_timeout`.
    ConnectTimeout,
    /// The decoder refused what the peer sent; `on_malformed` was told the typed error.
    Malformed,
    /// An unfinished frame grew past what the decoder or `Limits::max_inbound` (bytes) allows.
    InboundLimit,
    /// More than `Limits::max_outbound` bytes were queued to the peer.
    OutboundLimit,
    /// The peer took nothing of what was queued to it for `Limits::stall_timeout`.
    Stalled,
    /// Nothing passed in either direction for `Limits::idle_timeout`.
    IdleTimeout,
    /// The peer did not send a first byte within `Limits::first_byte_timeout`.
    FirstByteTimeout,
    /// The peer sent an unfinished frame more slowly than `Limits::min_rate`, or took longer for it
    /// than its protocol's `Patience::frame`.
    TooSlow,
    /// What was queued when the connection finished was not taken within `Limits::drain_timeout`.
    DrainTimeout,
    /// The message could not be represented in the framing: the caller's mistake.
    Unencodable,
    /// A decoder returned a frame without consuming a byte, or consumed more than there was: a
    /// bug in the decoder.
    DecoderStuck,
    /// A callback panicked.
    Panicked,
    /// The protocol was replaced by another one on the same connection, which goes on.
    Switched,
    /// The reactor was shut down, or dropped.
    Shutdown,
}

impl CloseReason {
    /// Whether the connection ended in order: nothing that either side sent was lost by us.
    pub fn is_clean(self) -> bool {
        matches!(
            self,
            CloseReason::Finished | CloseReason::PeerFinished | CloseReason::Switched
        )
    }

    /// Whether the end is a reset: queued output is thrown away and the peer is told so at once.
    pub(crate) fn is_abortive(self) -> bool {
        matches!(
            self,
            CloseReason::Aborted
                | CloseReason::OutboundLimit
                | CloseReason::Stalled
                | CloseReason::DrainTimeout
                | CloseReason::Panicked
                | CloseReason::Shutdown
        )
    }

    /// A short name in snake case, for counters and logs.
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::Finished => "finished",
            CloseReason::PeerFinished => "peer_finished",
            CloseReason::Truncated => "truncated",
            CloseReason::Aborted => "aborted",
            CloseReason::Reset => "reset",
            CloseReason::Os(_) => "os",
            CloseReason::ConnectFailed(_) => "connect_failed",
            CloseReason::ConnectTimeout => "connect_timeout",
            CloseReason::Malformed => "malformed",
            CloseReason::InboundLimit => "inbound_limit",
            CloseReason::OutboundLimit => "outbound_limit",
            CloseReason::Stalled => "stalled",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::FirstByteTimeout => "first_byte_timeout",
            CloseReason::TooSlow => "too_slow",
            CloseReason::DrainTimeout => "drain_timeout",
            CloseReason::Unencodable => "unencodable",
            CloseReason::DecoderStuck => "decoder_stuck",
            CloseReason::Panicked => "panicked",
            CloseReason::Switched => "switched",
            CloseReason::Shutdown => "shutdown",
        }
    }

    /// A small dense number, for tables of counters: below [`CloseReason::KINDS`].
    pub(crate) const fn kind(self) -> usize {
        match self {
            CloseReason::Finished => 0,
            CloseReason::PeerFinished => 1,
            CloseReason::Truncated => 2,
            CloseReason::Aborted => 3,
            CloseReason::Reset => 4,
            CloseReason::Os(_) => 5,
            CloseReason::ConnectFailed(_) => 6,
            CloseReason::ConnectTimeout => 7,
            CloseReason::Malformed => 8,
            CloseReason::InboundLimit => 9,
            CloseReason::OutboundLimit => 10,
            CloseReason::Stalled => 11,
            CloseReason::IdleTimeout => 12,
            CloseReason::FirstByteTimeout => 13,
            CloseReason::TooSlow => 14,
            CloseReason::DrainTimeout => 15,
            CloseReason::Unencodable => 16,
            CloseReason::DecoderStuck => 17,
            CloseReason::Panicked => 18,
            CloseReason::Switched => 19,
            CloseReason::Shutdown => 20,
        }
    }

    /// How many kinds there are.
    pub(crate) const KINDS: usize = 21;
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            CloseReason::Finished => "we finished",
            CloseReason::PeerFinished => "the peer finished",
            CloseReason::Truncated => "the peer finished in the middle of a frame",
            CloseReason::Aborted => "we aborted",
            CloseReason::Reset => "the peer reset the connection",
            CloseReason::Os(error) => return write!(f, "{error}"),
            CloseReason::ConnectFailed(error) => return write!(f, "connect failed: {error}"),
            CloseReason::ConnectTimeout => "connect timed out",
            CloseReason::Malformed => "the peer sent what the framing does not allow",
            CloseReason::InboundLimit => "an unfinished frame grew past its limit",
            CloseReason::OutboundLimit => "too much output was queued",
            CloseReason::Stalled => "the peer stopped taking output",
            CloseReason::IdleTimeout => "idle for too long",
            CloseReason::FirstByteTimeout => "no first byte in time",
            CloseReason::TooSlow => "the peer sent too slowly",
            CloseReason::DrainTimeout => "the peer did not take the last output in time",
            CloseReason::Unencodable => "a message did not fit the framing",
            CloseReason::DecoderStuck => "the decoder made no progress",
            CloseReason::Panicked => "a callback panicked",
            CloseReason::Switched => "another protocol took over",
            CloseReason::Shutdown => "the reactor shut down",
        };
        f.write_str(text)
    }
}

impl From<&io::Error> for CloseReason {
    /// The reason for an error of a read or a write.
    fn from(error: &io::Error) -> CloseReason {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => CloseReason::Reset,
            _ => CloseReason::Os(OsError::from(error)),
        }
    }
}

/// An error of the operating system, by its number (`errno`), so that it can be copied and
/// compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsError(i32);

impl OsError {
    /// Wraps an error number.
    pub const fn from_raw(code: i32) -> OsError {
        OsError(code)
    }

    /// The number (`errno`), or 0 for an error that had none.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// What kind of error it is.
    pub fn kind(self) -> io::ErrorKind {
        io::Error::from(self).kind()
    }
}

impl From<&io::Error> for OsError {
    fn from(error: &io::Error) -> OsError {
        OsError(error.raw_os_error().unwrap_or(0))
    }
}

impl From<OsError> for io::Error {
    fn from(error: OsError) -> io::Error {
        io::Error::from_raw_os_error(error.0)
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // It would call itself a success.
            0 => f.write_str("an error without a number"),
            _ => write!(f, "{}", io::Error::from(*self)),
        }
    }
}

impl fmt::Debug for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsError({self})")
    }
}
