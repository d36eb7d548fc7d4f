//! `OsStream`: a connection of the operating system's, and how one is begun.
//!
//! Knows neither the poller nor tokens.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Socket};

use super::address::Address;
use super::connect::Connect;
use super::options::StreamOptions;
use super::socket::{self, EINPROGRESS, MSG_MORE, MSG_NOSIGNAL, retry};
use super::sockopt;
use super::stretch;

/// A connection of the operating system's: TCP or Unix.
///
/// Nothing but the descriptor, 4 bytes. For options that [`StreamOptions`] does not have, borrow
/// it: `socket2::SockRef::from(&stream)`.
#[derive(Debug)]
pub struct OsStream(Socket);

impl OsStream {
    /// Takes over a connected stream socket: a `TcpStream` or `UnixStream` of `std`, or any
    /// descriptor that is one. It becomes non-blocking.
    ///
    /// There should be no duplicate of the descriptor: closing a stream takes it off the poller
    /// only when it was the last, and until then its events go to nobody.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use windlass::net::OsStream;
    ///
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let stream = OsStream::adopt(ours)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The OS's.
    pub fn adopt(descriptor: impl Into<OwnedFd>) -> io::Result<OsStream> {
        let socket = Socket::from(descriptor.into());
        socket.set_nonblocking(true)?;
        // Only Apple's systems need it, whose `MSG_NOSIGNAL` is young; sockets that socket2 opens
        // have it already.
        #[cfg(target_vendor = "apple")]
        socket.set_nosigpipe(true)?;
        Ok(OsStream(socket))
    }

    /// Opens a socket and begins to connect it.
    ///
    /// # Errors
    /// The OS's. On a Unix socket `WouldBlock` means that the listener's backlog is full (unix(7)).
    pub(super) fn connect(connect: &Connect) -> io::Result<OsStream> {
        let address = socket::sock_addr(&connect.address)?;
        let domain = address.domain();
        let socket = socket::open(domain)?;
        sockopt::set(&socket, domain, &connect.options)?;
        let options = &connect.options;
        sockopt::warn_of_clamps(&socket, options.recv_buffer, options.send_buffer);
        if let Some(from) = connect.from {
            if domain == Domain::UNIX {
                return Err(io::Error::new(
                    ErrorKind::InvalidInput,
                    "a Unix connection cannot come from an IP address",
                ));
            }
            if from.port() != 0 {
                // A fixed port is of use again at once after the last connection from it ended.
                socket.set_reuse_address(true)?;
            }
            socket.bind(&from.into())?;
        }
        match socket.connect(&address) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            // An interrupted attempt goes on without us, as one in progress does (connect(2)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        Ok(OsStream(socket))
    }

    /// What `accept` answered.
    pub(super) fn accepted(socket: Socket) -> OsStream {
        OsStream(socket)
    }

    /// Whether a connection that was begun is made by now.
    ///
    /// # Errors
    /// It failed, for this reason.
    pub(super) fn connected(&self) -> io::Result<bool> {
        // The error first: a socket whose connection failed has no peer either.
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[inline]
    pub(super) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| (&self.0).read(buf))
    }

    #[inline]
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.0.send_with_flags(bytes, MSG_NOSIGNAL))
    }

    #[inline]
    pub(super) fn write_more(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.0.send_with_flags(bytes, MSG_NOSIGNAL | MSG_MORE))
    }

    pub(super) fn send_file(&self, file: &File, start: u64, len: usize) -> io::Result<usize> {
        #[cfg(all(feature = "sendfile", any(target_os = "linux", target_os = "android")))]
        if let Some(sent) = stretch::sendfile(&self.0, file, start, len) {
            return sent;
        }
        stretch::read_and_write(file, start, len, |bytes| self.write(bytes))
    }

    // As sendmsg(2), because writev(2) has no flag against the signal.
    #[inline]
    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| self.0.send_vectored_with_flags(slices, MSG_NOSIGNAL))
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    pub(super) fn close(self, reset: bool) {
        if reset {
            // Zero is the one time that never makes close(2) wait. A failure leaves an ordinary
            // close, which is all that can be had then.
            if let Err(error) = self.0.set_linger(Some(Duration::ZERO)) {
                log::debug!("a connection is closed without a reset: {error}");
            }
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<Address> {
        Ok(socket::address(&self.0.local_addr()?))
    }

    pub(super) fn peer_addr(&self) -> io::Result<Address> {
        Ok(socket::address(&self.0.peer_addr()?))
    }

    pub(super) fn set_options(&self, options: &StreamOptions) -> io::Result<()> {
        let domain = self.0.local_addr()?.domain();
        sockopt::replace(&self.0, domain, options)?;
        sockopt::warn_of_clamps(&self.0, options.recv_buffer, options.send_buffer);
        Ok(())
    }

    pub(super) fn options(&self) -> io::Result<StreamOptions> {
        sockopt::read(&self.0, self.0.local_addr()?.domain())
    }
}

impl AsFd for OsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
