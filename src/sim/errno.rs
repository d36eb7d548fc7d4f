//! The error numbers that a simulated kernel answers with, as the real one has them.
//!
//! Pure constants; they know nothing of their causes.

use std::io;

/// The error of a number. A real error has one, and `CloseReason` keeps it.
pub(super) fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

pub(super) const NO_ACCESS: i32 = 13;
pub(super) const BROKEN_PIPE: i32 = 32;
pub(super) const TOO_MANY_FILES: i32 = 24;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod numbers {
    pub(in crate::sim) const NO_DESTINATION: i32 = 89;
    pub(in crate::sim) const TOO_LONG: i32 = 90;
    pub(in crate::sim) const NO_ROUTE: i32 = 101;
    pub(in crate::sim) const ABORTED: i32 = 103;
    pub(in crate::sim) const RESET: i32 = 104;
    pub(in crate::sim) const NO_BUFFERS: i32 = 105;
    pub(in crate::sim) const TIMED_OUT: i32 = 110;
    pub(in crate::sim) const REFUSED: i32 = 111;
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod numbers {
    pub(in crate::sim) const NO_DESTINATION: i32 = 39;
    pub(in crate::sim) const TOO_LONG: i32 = 40;
    pub(in crate::sim) const NO_ROUTE: i32 = 51;
    pub(in crate::sim) const ABORTED: i32 = 53;
    pub(in crate::sim) const RESET: i32 = 54;
    pub(in crate::sim) const NO_BUFFERS: i32 = 55;
    pub(in crate::sim) const TIMED_OUT: i32 = 60;
    pub(in crate::sim) const REFUSED: i32 = 61;
}

pub(super) use numbers::{
    ABORTED, NO_BUFFERS, NO_DESTINATION, NO_ROUTE, REFUSED, RESET, TIMED_OUT, TOO_LONG,
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn the_numbers_are_those_of_this_system() {
        let kinds = [
            (NO_ACCESS, ErrorKind::PermissionDenied),
            (BROKEN_PIPE, ErrorKind::BrokenPipe),
            (NO_ROUTE, ErrorKind::NetworkUnreachable),
            (ABORTED, ErrorKind::ConnectionAborted),
            (RESET, ErrorKind::ConnectionReset),
            (TIMED_OUT, ErrorKind::TimedOut),
            (REFUSED, ErrorKind::ConnectionRefused),
        ];
        for (number, kind) in kinds {
            assert_eq!(error(number).kind(), kind);
        }
    }
}
