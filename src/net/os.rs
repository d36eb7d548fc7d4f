//! `Os`: the real network, on mio. The only file that names `mio::Poll` or reads the clock.
//!
//! Knows neither protocols nor connections. Unix-like systems only: every socket is a plain
//! descriptor, which Windows cannot poll.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use super::address::Address;
use super::connect::Connect;
use super::key::{self, Keys};
use super::listen::Listen;
use super::listener::OsListener;
use super::options::StreamOptions;
use super::stream::OsStream;
use super::{Network, Readiness, Ready, Wake};
use crate::token::Token;

/// The operating system's network.
///
/// Every operation on a stream is exactly one system call, and so is accepting on Linux, Android,
/// the BSDs and illumos. A connection costs one more in its life, the one that registers it: its
/// options are set on the listening socket, from which Linux lets accepted TCP sockets inherit
/// them. (On other systems, and for the buffers of Unix sockets, they are set one by one.)
///
/// No operation raises SIGPIPE.
///
/// `Os` is itself a descriptor that becomes readable when there are events, so that a reactor can
/// be nested in a foreign loop.
#[derive(Debug)]
pub struct Os {
    poll: Poll,
    /// Between [`MIN_EVENTS`] and [`MAX_EVENTS`].
    events: Events,
    keys: Keys,
    /// Kept as long as the poller: it delivers wake-ups only while its one waker lives.
    waker: Option<Arc<OsWaker>>,
}

/// How many events one poll takes at first: 12 KiB.
const MIN_EVENTS: usize = 1024;
/// How many it takes at most. What does not fit is reported by the next poll.
const MAX_EVENTS: usize = 16 * 1024;

impl Os {
    /// Opens a poller.
    ///
    /// # Errors
    /// The OS's: the limit of descriptors is reached, …
    pub fn new() -> io::Result<Os> {
        Ok(Os {
            poll: Poll::new()?,
            events: Events::with_capacity(MIN_EVENTS),
            keys: Keys::new(),
            waker: None,
        })
    }

    /// Watches a source that is no stream: see [`FdSource`](super::FdSource). Its events come
    /// under `token`, as edges.
    ///
    /// # Errors
    /// The OS's: `AlreadyExists` if it is registered, `PermissionDenied` for a regular file.
    pub fn register_source(
        &mut self,
        source: &mut dyn mio::event::Source,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let key = self.keys.key(token);
        self.poll.registry().register(source, key, interest)
    }

    /// Watches it no longer.
    ///
    /// # Errors
    /// The OS's: `NotFound` if it is not registered.
    pub fn deregister_source(&mut self, source: &mut dyn mio::event::Source) -> io::Result<()> {
        self.poll.registry().deregister(source)
    }

    #[inline]
    fn watch(&mut self, socket: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let key = self.keys.key(token);
        let descriptor = socket.as_fd().as_raw_fd();
        let mut source = SourceFd(&descriptor);
        self.poll.registry().register(&mut source, key, interest)
    }
}

impl AsFd for Os {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl AsRawFd for Os {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

/// Ends the wait of an [`Os`].
struct OsWaker(mio::Waker);

impl Wake for OsWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            // Nothing that a caller in another thread could do about it; the reactor's next event
            // or deadline brings it round.
            log::warn!("a reactor could not be woken: {error}");
        }
    }
}

impl fmt::Debug for OsWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsWaker")
    }
}

impl Network for Os {
    type Stream = OsStream;
    type Listener = OsListener;

    #[inline]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the real clock is read"
    )]
    fn now(&mut self) -> Instant {
        Instant::now()
    }

    #[inline]
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // Not retried: time has passed, and only the reactor knows its next deadline.
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut count = 0;
        for event in &self.events {
            count += 1;
            if event.token() == key::WAKER {
                continue;
            }
            if let Some(token) = self.keys.token(event.token()) {
                let readiness = readiness(event);
                ready.push(Ready { token, readiness });
            }
        }
        let capacity = self.events.capacity();
        if count == capacity && capacity < MAX_EVENTS {
            self.events = Events::with_capacity(capacity * 2);
        }
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        if let Some(waker) = &self.waker {
            return Ok(waker.clone());
        }
        let waker = mio::Waker::new(self.poll.registry(), key::WAKER)?;
        let waker = Arc::new(OsWaker(waker));
        self.waker = Some(waker.clone());
        Ok(waker)
    }

    /// Opens a listener.
    ///
    /// - TCP: `SO_REUSEADDR` and its like, the options of the connections, bind, listen.
    /// - A Unix path at which nobody listens any more is removed first. Ours goes when
    ///   the listener is closed or dropped, unless it has become somebody else's by then.
    /// - An inherited listener is made non-blocking and given the options of the connections;
    ///   whoever shares it sees both.
    /// - `Listen::defer_accept` is refused: no safe call leads to `TCP_DEFER_ACCEPT`.
    ///
    /// # Errors
    /// The OS's. `Unsupported` for what this system lacks; `InvalidInput` for an address that
    /// cannot be bound, and for an inherited descriptor that does not listen.
    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<OsListener> {
        let listener = OsListener::open(listen)?;
        self.watch(&listener, token, Interest::READABLE)?;
        Ok(listener)
    }

    #[inline]
    fn accept(&mut self, listener: &mut OsListener) -> io::Result<(OsStream, Address)> {
        listener.accept()
    }

    #[inline]
    fn register(&mut self, token: Token, stream: &mut OsStream) -> io::Result<()> {
        self.watch(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Begins to connect.
    ///
    /// A Unix connection is made, or refused, at once. `WouldBlock` says that the listener's
    /// backlog is full: no event follows, the attempt is over (unix(7)).
    ///
    /// # Errors
    /// The OS's; `InvalidInput` for an address that cannot be connected to.
    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<OsStream> {
        let mut stream = OsStream::connect(connect)?;
        self.register(token, &mut stream)?;
        Ok(stream)
    }

    fn connected(&mut self, stream: &mut OsStream) -> io::Result<bool> {
        stream.connected()
    }

    #[inline]
    fn read(&mut self, stream: &mut OsStream, buf: &mut [u8]) -> io::Result<usize> {
        stream.read(buf)
    }

    #[inline]
    fn write(&mut self, stream: &mut OsStream, bytes: &[u8]) -> io::Result<usize> {
        stream.write(bytes)
    }

    #[inline]
    fn write_vectored(
        &mut self,
        stream: &mut OsStream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        stream.write_vectored(slices)
    }

    fn shutdown_write(&mut self, stream: &mut OsStream) -> io::Result<()> {
        stream.shutdown_write()
    }

    // No call to deregister: closing the last descriptor of a socket takes it off the poller
    // (epoll(7), "Questions and answers"), and those of streams are never duplicated here.
    fn close(&mut self, stream: OsStream, reset: bool) {
        stream.close(reset);
    }

    fn close_listener(&mut self, listener: OsListener) {
        // Deregistered, unlike a stream: whoever let us inherit it may hold a duplicate, which
        // would keep it on the poller after ours is closed.
        let descriptor = listener.as_fd().as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&descriptor)) {
            log::debug!("a listener was not registered: {error}");
        }
    }

    fn local_addr(&self, stream: &OsStream) -> io::Result<Address> {
        stream.local_addr()
    }

    fn peer_addr(&self, stream: &OsStream) -> io::Result<Address> {
        stream.peer_addr()
    }

    fn listener_addr(&self, listener: &OsListener) -> io::Result<Address> {
        listener.local_addr()
    }

    /// Changes options: `nodelay` and `keepalive` are turned off too; what is `None` otherwise
    /// stays as it is. On a Unix socket only the buffers mean anything.
    ///
    /// # Errors
    /// The OS's, at the first option that it refuses; `Unsupported` if this system lacks it.
    fn set_options(&mut self, stream: &mut OsStream, options: &StreamOptions) -> io::Result<()> {
        stream.set_options(options)
    }

    fn options(&self, stream: &OsStream) -> io::Result<StreamOptions> {
        stream.options()
    }

    /// True where mio uses epoll or kqueue.
    #[inline]
    fn short_read_drains(&self) -> bool {
        cfg!(any(
            target_os = "android",
            target_os = "dragonfly",
            target_os = "freebsd",
            target_os = "illumos",
            target_os = "linux",
            target_os = "netbsd",
            target_os = "openbsd",
            target_vendor = "apple",
        ))
    }
}

#[inline]
fn readiness(event: &Event) -> Readiness {
    let hints = [
        (event.is_readable(), Readiness::READABLE),
        (event.is_writable(), Readiness::WRITABLE),
        (event.is_read_closed(), Readiness::READ_CLOSED),
        (event.is_write_closed(), Readiness::WRITE_CLOSED),
        (event.is_error(), Readiness::ERROR),
    ];
    let set = hints.into_iter().filter(|(is_set, _)| *is_set);
    set.fold(Readiness::NONE, |all, (_, hint)| all.or(hint))
}
