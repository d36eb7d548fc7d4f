//! How a stretch of a file is sent: by `sendfile(2)`, or read and written.
//!
//! Knows neither queues nor connections.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::socket::retry;

/// Reads some of `len` bytes of `file` from `start` on, and lets them be written. What is read and
/// not written is read again the next time.
///
/// # Errors
/// Those of `write` and of reading, where `WouldBlock` (there is no event for it) is another error.
pub(super) fn read_and_write(
    file: &File,
    start: u64,
    len: usize,
    write: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut piece = [0; PIECE_LEN];
    let piece = &mut piece[..len.min(PIECE_LEN)];
    match retry(|| file.read_at(piece, start)) {
        Ok(0) => Ok(0),
        Ok(len) => write(&piece[..len]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::other("the file cannot be read just now"))
        }
        Err(error) => Err(error),
    }
}

/// Sends some of `len` bytes of `file` from `start` on, from where the kernel has them: they are
/// not copied, so that what is written to the file meanwhile may be sent. `None`: not for this
/// file, or not on this system.
#[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
pub(super) fn sendfile(
    socket: impl std::os::fd::AsFd,
    file: &File,
    mut start: u64,
    len: usize,
) -> Option<io::Result<usize>> {
    use rustix::io::Errno;

    if !survives_sigpipe() {
        return None;
    }
    let sent = retry(|| Ok(rustix::fs::sendfile(&socket, file, Some(&mut start), len)?));
    match sent {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::INVAL | Errno::NOSYS)
            ) =>
        {
            None
        }
        sent => Some(sent),
    }
}

/// Whether the process ignores SIGPIPE or handles it, as every program of Rust does that does not
/// ask for something else. `sendfile` has no flag against the signal, and a peer can bring it
/// about: by a FIN and a reset behind it. It is looked up once.
#[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
fn survives_sigpipe() -> bool {
    use std::sync::OnceLock;

    static SURVIVES: OnceLock<bool> = OnceLock::new();
    *SURVIVES.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let survives = is_masked(&status);
        if !survives {
            log::info!("files are read and written, not sent by sendfile: SIGPIPE is not ignored");
        }
        survives
    })
}

/// Whether `status` (proc_pid_status(5)) says that SIGPIPE is ignored or caught.
#[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
fn is_masked(status: &str) -> bool {
    const SIGPIPE: u64 = 1 << (13 - 1);
    let masks = status.lines().filter_map(|line| {
        let mask = line
            .strip_prefix("SigIgn:")
            .or_else(|| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & SIGPIPE != 0
}

/// Bytes that are read and written at once. They lie on the stack, and are cleared each time.
const PIECE_LEN: usize = 16 * 1024;

#[cfg(all(
    test,
    feature = "sendfile",
    any(target_os = "linux", target_os = "android")
))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_survived_if_it_is_ignored_or_caught() {
        let check = |status: &str, survives| assert_eq!(is_masked(status), survives, "{status}");
        check("SigBlk:\t0\nSigIgn:\t0000000000001000\nSigCgt:\t0\n", true);
        check("SigIgn:\t0\nSigCgt:\t0000000180001440\n", true);
        check(
            "SigIgn:\tffffffffffffefff\nSigCgt:\t0000000000000440\n",
            false,
        );
        // Blocked in one thread is not ignored.
        check("SigBlk:\t0000000000001000\nSigIgn:\t0\n", false);
        check("", false);
    }

    #[test]
    fn this_process_survives_it() {
        assert!(survives_sigpipe());
    }
}
