//! The error numbers that a simulated kernel answers with, as the real one has them.
//!
//! Pure constants; they know nothing of their causes.

use std::io;

/// The error of a number. A real error has one, and `CloseReason` keeps it.
pub(super) fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

pub(super) const BROKEN_PIPE: i32 = 32;
pub(super) const TOO_MANY_FILES: i32 = 24;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod numbers {
    pub(in crate::sim) const ABORTED: i32 = 103;
    pub(in crate::sim) const RESET: i32 = 104;
    pub(in crate::sim) const TIMED_OUT: i32 = 110;
    pub(in crate::sim) const REFUSED: i32 = 111;
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod numbers {
    pub(in crate::sim) const ABORTED: i32 = 53;
    pub(in crate::sim) const RESET: i32 = 54;
    pub(in crate::sim) const TIMED_OUT: i32 = 60;
    pub(in crate::sim) const REFUSED: i32 = 61;
}

pub(super) use numbers::{ABORTED, REFUSED, RESET, TIMED_OUT};

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn the_numbers_are_those_of_this_system() {
        let kinds = [
            (BROKEN_PIPE, ErrorKind::BrokenPipe),
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
