//! The network boundary: what the reactor asks of an operating system, and nothing more.
//!
//! Knows neither protocols nor connections. [`Os`] is the real one; [`Memory`] an in-memory one
//! for tests of protocols; a simulated one implements the same trait.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::token::Token;

mod address;
mod bind;
mod connect;
mod datagram;
mod datagram_opts;
mod datagrams;
mod defer;
mod extras;
mod interfaces;
mod key;
mod listen;
mod listener;
mod memory;
mod memory_datagrams;
mod options;
mod os;
mod os_datagrams;
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
mod packets;
mod peer;
mod post;
mod socket;
mod sockopt;
mod source;
mod source_group;
mod stream;
mod stretch;
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
mod trains;
mod unix_path;
mod watch;
mod world;

pub use address::{Address, AddressError};
pub use bind::{Batching, Bind, DatagramOptions, Interface, Membership};
pub use connect::{Backoff, Connect};
pub use datagram::OsDatagram;
pub use datagrams::{Datagrams, Ecn, Received, Report, Transmit};
pub use listen::{Admission, Listen};
pub use listener::OsListener;
pub use memory::{Memory, MemoryListener, MemoryStream};
pub use memory_datagrams::{MemoryDatagram, MemoryPeerDatagram};
pub use mio::{Interest, event::Source as EventSource};
pub use options::{Keepalive, StreamOptions};
pub use os::Os;
pub use peer::{MemoryPeer, MemoryPeerListener};
pub use source::FdSource;
pub use stream::OsStream;

/// Sockets, readiness and time.
///
/// The contract of readiness is that of an edge-triggered poller: each socket is registered once,
/// and an operation that answered `WouldBlock` is followed by an event once it may succeed. Events
/// may come at any time besides, early, late or twice; they are hints, and the operation tells the
/// truth.
///
/// No operation blocks. `Interrupted` is retried inside.
pub trait Network: Datagrams + 'static {
    /// A connection.
    type Stream: fmt::Debug + 'static;
    /// A socket that accepts connections.
    type Listener: fmt::Debug + 'static;

    /// The time. Monotonic.
    fn now(&mut self) -> Instant;

    /// The wall clock: the time since 1970-01-01 00:00 UTC. Reactors do not ask each time that they
    /// need it, but add what the monotonic clock measured since they last did.
    ///
    /// `None`, unless a network has one: its wall clock then begins in 1970 with the reactor.
    fn unix_time(&mut self) -> Option<Duration> {
        None
    }

    /// Waits for events, at most as long as `timeout` (`None`: for ever), and appends them to
    /// `ready`. An interrupted wait is a short one, not an error.
    ///
    /// # Errors
    /// The poller itself failed; the reactor cannot go on.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// A handle with which any thread ends a wait early. There is one for the life of the network.
    ///
    /// # Errors
    /// The OS refused to make one.
    fn waker(&mut self) -> io::Result<Arc<dyn Wake>>;

    /// Opens a listener, registered under `token`.
    ///
    /// # Errors
    /// The OS's: address in use, permission denied, …
    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<Self::Listener>;

    /// Accepts one connection, not yet registered.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; otherwise the OS's.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Address)>;

    /// Registers an accepted stream under `token`, for reading and writing.
    ///
    /// # Errors
    /// The OS's; the stream is of no use then.
    fn register(&mut self, token: Token, stream: &mut Self::Stream) -> io::Result<()>;

    /// Begins to connect; the stream is registered under `token`. Its outcome is asked for with
    /// [`Network::connected`] when the stream becomes writable.
    ///
    /// # Errors
    /// The OS refused at once.
    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<Self::Stream>;

    /// Whether a connection that was begun is made by now.
    ///
    /// # Errors
    /// It failed, for this reason.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Reads; 0 means that the peer has sent its FIN.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to read; otherwise the OS's.
    fn read(&mut self, stream: &mut Self::Stream, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes some of `bytes`, which are not empty.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing; otherwise the OS's.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// As [`Network::write`], of bytes behind which more follow at once: a network may wait for
    /// those, so that they leave together.
    ///
    /// # Errors
    /// As [`Network::write`].
    fn write_more(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize> {
        self.write(stream, bytes)
    }

    /// Writes some of `slices`, in order; they are not empty.
    ///
    /// # Errors
    /// As [`Network::write`].
    fn write_vectored(
        &mut self,
        stream: &mut Self::Stream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize>;

    /// Writes some of the `len` bytes (not 0) of a regular file from `start` on; 0 means that the
    /// file has none there. Unless a network knows better, up to 16 KiB are read and written.
    ///
    /// # Errors
    /// As [`Network::write`], or those of reading the file, which is not told by `WouldBlock`.
    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        file: &File,
        start: u64,
        len: usize,
    ) -> io::Result<usize> {
        stretch::read_and_write(file, start, len, |bytes| self.write(stream, bytes))
    }

    /// Sends our FIN: the peer's reads end, ours do not.
    ///
    /// # Errors
    /// The OS's; the connection is broken.
    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Closes; with `reset` the peer is sent a RST and what the kernel still holds is thrown away.
    fn close(&mut self, stream: Self::Stream, reset: bool);

    /// Closes a listener. Connections that wait in its backlog are lost.
    fn close_listener(&mut self, listener: Self::Listener);

    /// Our address.
    ///
    /// # Errors
    /// The OS's.
    fn local_addr(&self, stream: &Self::Stream) -> io::Result<Address>;

    /// The peer's address.
    ///
    /// # Errors
    /// The OS's: the peer may be gone.
    fn peer_addr(&self, stream: &Self::Stream) -> io::Result<Address>;

    /// The address that the listener is bound to.
    ///
    /// # Errors
    /// The OS's.
    fn listener_addr(&self, listener: &Self::Listener) -> io::Result<Address>;

    /// Changes options of a stream.
    ///
    /// # Errors
    /// The OS's, at the first option that it refuses.
    fn set_options(&mut self, stream: &mut Self::Stream, options: &StreamOptions)
    -> io::Result<()>;

    /// The options of a stream as the OS has them now.
    ///
    /// # Errors
    /// The OS's.
    fn options(&self, stream: &Self::Stream) -> io::Result<StreamOptions>;

    /// Whether a read that returned less than was asked for has emptied the socket, so that the
    /// next byte comes with an event. True for stream sockets under epoll and kqueue, as long as
    /// no close was hinted at. It saves the read that ends in `WouldBlock`.
    fn short_read_drains(&self) -> bool;
}

/// Ends a reactor's wait from another thread.
pub trait Wake: Send + Sync {
    /// Makes the current or the next `poll` return.
    fn wake(&self);
}

/// A readiness event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whose.
    pub token: Token,
    /// What for.
    pub readiness: Readiness,
}

/// What a socket may be ready for, as bits: hints, never the truth.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Readiness = Readiness(0);
    /// A read may succeed.
    pub const READABLE: Readiness = Readiness(1);
    /// A write may succeed.
    pub const WRITABLE: Readiness = Readiness(2);
    /// The peer has ended its half, or both: there may be unread bytes all the same.
    pub const READ_CLOSED: Readiness = Readiness(4);
    /// Our half is of no use any more.
    pub const WRITE_CLOSED: Readiness = Readiness(8);
    /// The socket has an error to report.
    pub const ERROR: Readiness = Readiness(16);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }

    /// Whether any bit of `other` is set.
    pub const fn has(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Readiness) -> Readiness {
        Readiness(self.0 & !other.0)
    }

    /// Whether a read should be tried: readable, or a close or an error that a read would tell.
    pub const fn wants_read(self) -> bool {
        self.has(Readiness(1 | 4 | 16))
    }

    /// Whether a write should be tried.
    pub const fn wants_write(self) -> bool {
        self.has(Readiness(2 | 8 | 16))
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "readable",
            "writable",
            "read closed",
            "write closed",
            "error",
        ];
        let set = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0);
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}
