//! `FdSource`: any file descriptor as something that the poller can watch.
//!
//! Knows nothing of what the descriptor is: a timerfd, inotify, a CAN or a raw socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

/// Lets the poller watch any file descriptor.
///
/// Its reports are edges, like everybody's: read (or write) until `WouldBlock` before waiting for
/// the next event. So the descriptor must be non-blocking, which is for its owner to see to. A
/// regular file cannot be watched (epoll answers `EPERM`, epoll_ctl(2)): it is always ready.
///
/// Deregister it before closing it if its descriptor was ever duplicated: a duplicate keeps the
/// registration, and its events, alive.
///
/// ```
/// use std::os::unix::net::UnixDatagram;
/// use windlass::net::FdSource;
///
/// let (ours, _theirs) = UnixDatagram::pair()?;
/// ours.set_nonblocking(true)?;
/// let source = FdSource::new(ours);
/// assert!(source.as_inner().recv(&mut [0; 16]).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FdSource<T: AsFd> {
    inner: T,
}

impl<T: AsFd> FdSource<T> {
    /// Wraps whatever owns (or borrows) the descriptor.
    pub fn new(inner: T) -> FdSource<T> {
        FdSource { inner }
    }

    /// What was wrapped.
    pub fn as_inner(&self) -> &T {
        &self.inner
    }

    /// What was wrapped, to read from or write to.
    pub fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Unwraps.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsFd> Source for FdSource<T> {
    fn register(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inner.as_fd().as_raw_fd()).deregister(registry)
    }
}
