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
    socket: &socket2::Socket,
    file: &File,
    mut start: u64,
    len: usize,
) -> Option<io::Result<usize>> {
    use rustix::io::Errno;

    if !survives_sigpipe() {
        return None;
    }
    if len > NOT_SENT_LOW_WATER as usize {
        bound_unsent(socket);
    }
    let sent = retry(|| Ok(rustix::fs::sendfile(socket, file, Some(&mut start), len)?));
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

/// Lets a socket take no more than `NOT_SENT_LOW_WATER` of what is not sent yet, unless a bound was
/// set before.
///
/// It would take megabytes. Where the congestion control spreads what it sends over time (BBR),
/// each segment of them has to wait for a timer of its own, and a file of 1 MiB costs three times
/// as much (PERFORMANCE.md). Nothing is slower for it: the next stretch comes when half of that is
/// sent. There is no such option on a Unix socket.
#[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
fn bound_unsent(socket: &socket2::Socket) {
    if matches!(socket.tcp_notsent_lowat(), Ok(0)) {
        let set = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER);
        debug_assert!(set.is_ok(), "it was read a moment ago");
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

/// Bytes of large files that may wait in a socket and are not sent yet.
#[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
const NOT_SENT_LOW_WATER: u32 = 64 * 1024;

/// Bytes that are read and written at once. They lie on the stack, and are cleared each time.
const PIECE_LEN: usize = 16 * 1024;

#[cfg(all(
    test,
    feature = "sendfile",
    any(target_os = "linux", target_os = "android")
))]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use socket2::Socket;

    /// The bound after `len` bytes of a file were sent.
    fn low_water_after(before: Option<u32>, len: usize) -> io::Result<u32> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let _peer = TcpStream::connect(listener.local_addr()?)?;
        let socket = Socket::from(listener.accept()?.0);
        socket.set_nonblocking(true)?;
        if let Some(bytes) = before {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        let program = File::open(std::env::current_exe()?)?;
        let sent = sendfile(&socket, &program, 0, len).expect("it is a file");
        assert!(sent? > 0);
        socket.tcp_notsent_lowat()
    }

    #[test]
    fn of_a_long_stretch_the_kernel_takes_no_more_than_it_is_about_to_send() {
        #[track_caller]
        fn check(before: Option<u32>, len: usize, after: u32) {
            let found = low_water_after(before, len).expect("it is sent");
            assert_eq!(found, after, "{before:?}, {len} bytes");
        }
        check(None, 1024 * 1024, NOT_SENT_LOW_WATER);
        check(None, 64 * 1024, 0);
        check(Some(70_000), 1024 * 1024, 70_000);
    }

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
