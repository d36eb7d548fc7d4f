//! `Os`: the real network, on mio. The only file that names `mio::Poll`, and the only one that asks
//! the clock again and again: other networks do once, for where to begin.
//!
//! Knows neither protocols nor connections. Unix-like systems only: every socket is a plain
//! descriptor, which Windows cannot poll.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
/// Every operation on a stream is exactly one system call (but for files that `sendfile` does not
/// send), and so is accepting on Linux, Android, the BSDs and illumos. A connection costs one more
/// in its life, the one that registers it: its options are set on the listening socket, from which
/// Linux lets accepted TCP sockets inherit them. (On other systems, and for
/// `TCP_QUICKACK` and the buffers of Unix sockets, they are set one by one.)
///
/// No operation raises SIGPIPE: there is no flag for that with `sendfile`, so it is used only if
/// the process ignores or handles the signal when the first file is sent, and files are read and
/// written otherwise. Whoever restores the signal's default later is not protected.
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
    pub(super) fn watch(
        &mut self,
        socket: &impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let key = self.keys.key(token);
        let descriptor = socket.as_fd().as_raw_fd();
        let mut source = SourceFd(&descriptor);
        self.poll.registry().register(&mut source, key, interest)
    }

    /// Polls a socket for something else from now on.
    pub(super) fn rewatch(
        &mut self,
        socket: &impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let key = self.keys.key(token);
        let descriptor = socket.as_fd().as_raw_fd();
        let mut source = SourceFd(&descriptor);
        self.poll.registry().reregister(&mut source, key, interest)
    }

    /// Deregisters what is about to be closed, unlike a stream: whoever let us inherit it may hold
    /// a duplicate, which would keep it on the poller after ours is closed.
    pub(super) fn unwatch(&mut self, socket: &impl AsFd) {
        let descriptor = socket.as_fd().as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&descriptor)) {
            log::debug!("a socket was not registered: {error}");
        }
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

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the real clock is read"
    )]
    fn unix_time(&mut self) -> Option<Duration> {
        // A clock that is set to before 1970 is as good as none.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
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
    fn write_more(&mut self, stream: &mut OsStream, bytes: &[u8]) -> io::Result<usize> {
        stream.write_more(bytes)
    }

    /// By `sendfile(2)`, on Linux with the feature `sendfile`, if the process ignores SIGPIPE.
    fn send_file(
        &mut self,
        stream: &mut OsStream,
        file: &File,
        start: u64,
        len: usize,
    ) -> io::Result<usize> {
        stream.send_file(file, start, len)
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
        self.unwatch(&listener);
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::net::FdSource;

    const LISTENER: Token = Token::from_parts(0, 1);
    const ACCEPTED: Token = Token::from_parts(1, 2);
    const CONNECTED: Token = Token::from_parts(2, 3);

    /// A failure, not a measure: no test gets here unless an event was lost.
    const TOO_LONG: Option<Duration> = Some(Duration::from_secs(20));

    struct Rig {
        os: Os,
        ready: Vec<Ready>,
    }

    impl Rig {
        fn new() -> Rig {
            Rig {
                os: Os::new().unwrap(),
                ready: Vec::new(),
            }
        }

        /// Polls until there is an event.
        #[track_caller]
        fn wait(&mut self) {
            self.ready.clear();
            self.os.poll(TOO_LONG, &mut self.ready).unwrap();
            assert!(!self.ready.is_empty(), "no event came");
        }

        /// Repeats an operation, waiting for events while it would block.
        #[track_caller]
        fn until<T>(
            &mut self,
            mut operation: impl FnMut(&mut Os) -> io::Result<T>,
        ) -> io::Result<T> {
            loop {
                match operation(&mut self.os) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(),
                    result => return result,
                }
            }
        }

        #[track_caller]
        fn listen(&mut self, address: &str) -> (OsListener, Address) {
            let listen = Listen::on(address).unwrap();
            let listener = self.os.listen(LISTENER, &listen).unwrap();
            let address = self.os.listener_addr(&listener).unwrap();
            (listener, address)
        }

        #[track_caller]
        fn accept(&mut self, listener: &mut OsListener) -> OsStream {
            let (mut stream, _) = self.until(|os| os.accept(listener)).unwrap();
            self.os.register(ACCEPTED, &mut stream).unwrap();
            stream
        }

        #[track_caller]
        fn connect(&mut self, connect: &Connect) -> io::Result<OsStream> {
            let mut stream = self.os.connect(CONNECTED, connect)?;
            while !self.os.connected(&mut stream)? {
                self.wait();
            }
            Ok(stream)
        }

        /// A stream of ours with a peer that is one of `std`'s.
        #[track_caller]
        fn with_std_peer(&mut self) -> (OsStream, TcpStream) {
            let (mut listener, address) = self.listen("127.0.0.1:0");
            let peer = TcpStream::connect(address.as_ip().unwrap()).unwrap();
            let stream = self.accept(&mut listener);
            self.os.close_listener(listener);
            (stream, peer)
        }
    }

    #[track_caller]
    fn check_both_ways(address: &str) {
        let mut rig = Rig::new();
        let (mut listener, address) = rig.listen(address);
        let mut ours = rig.connect(&Connect::new(address.clone())).unwrap();
        let mut theirs = rig.accept(&mut listener);
        assert_eq!(rig.os.peer_addr(&ours).unwrap(), address);
        assert_eq!(rig.os.local_addr(&theirs).unwrap(), address);

        let mut buf = [0; 16];
        for (from, to) in [(0, 1), (1, 0)] {
            let mut ends = [&mut ours, &mut theirs];
            assert_eq!(rig.os.write(ends[from], b"hawser").unwrap(), 6);
            assert_eq!(rig.until(|os| os.read(ends[to], &mut buf)).unwrap(), 6);
            assert_eq!(&buf[..6], b"hawser");
        }
        rig.os.shutdown_write(&mut ours).unwrap();
        assert_eq!(rig.until(|os| os.read(&mut theirs, &mut buf)).unwrap(), 0);
        assert_eq!(rig.os.write(&mut theirs, b"still open").unwrap(), 10);
        rig.os.close(ours, false);
        rig.os.close(theirs, false);
        rig.os.close_listener(listener);
    }

    #[test]
    fn bytes_go_both_ways_over_ipv4() {
        check_both_ways("127.0.0.1:0");
    }

    #[test]
    fn bytes_go_both_ways_over_ipv6() {
        if TcpListener::bind("[::1]:0").is_err() {
            return; // A machine without IPv6.
        }
        check_both_ways("[::1]:0");
    }

    #[test]
    fn bytes_go_both_ways_over_a_unix_path() {
        let path = std::env::temp_dir().join(format!("windlass-both-{}", std::process::id()));
        check_both_ways(&format!("unix:{}", path.display()));
        assert!(!path.exists(), "the path goes when the listener goes");
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn bytes_go_both_ways_over_an_abstract_address() {
        check_both_ways(&format!("unix:@windlass-both-{}", std::process::id()));
    }

    #[test]
    fn a_stream_costs_no_more_than_its_descriptor() {
        assert_eq!(size_of::<OsStream>(), 4);
    }

    #[test]
    fn events_carry_the_token_that_was_registered() {
        let mut rig = Rig::new();
        let token = Token::from_parts(70_000, u32::MAX);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = OsStream::adopt(ours).unwrap();
        rig.os.register(token, &mut stream).unwrap();
        theirs.write_all(b"x").unwrap();
        rig.wait();
        assert!(rig.ready.iter().all(|ready| ready.token == token));
        assert!(rig.ready.iter().any(|ready| ready.readiness.wants_read()));
    }

    #[test]
    fn a_slice_list_leaves_in_order_in_one_write() {
        let mut rig = Rig::new();
        let (mut stream, mut peer) = rig.with_std_peer();
        let slices = [b"heave".as_slice(), b" and ", b"haul"].map(IoSlice::new);
        assert_eq!(rig.os.write_vectored(&mut stream, &slices).unwrap(), 14);
        rig.os.close(stream, false);
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "heave and haul");
    }

    #[test]
    fn a_blocked_write_is_followed_by_an_event() {
        let mut rig = Rig::new();
        let (mut stream, mut peer) = rig.with_std_peer();
        let mut sent = 0;
        loop {
            match rig.os.write(&mut stream, &[7; 64 * 1024]) {
                Ok(count) => sent += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        rig.os.poll(Some(Duration::ZERO), &mut rig.ready).unwrap();
        let mut buf = vec![0; sent];
        peer.read_exact(&mut buf).unwrap();
        assert!(rig.until(|os| os.write(&mut stream, b"more")).unwrap() > 0);
    }

    #[test]
    fn a_refused_connection_is_reported_with_its_reason() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = Rig::new().connect(&Connect::new(address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connection_comes_from_the_address_that_was_asked_for() {
        let mut rig = Rig::new();
        let (mut listener, address) = rig.listen("127.0.0.1:0");
        let from = "127.0.0.1:0".parse().unwrap();
        let connect = Connect::new(address).from_addr(from);
        let stream = rig.connect(&connect).unwrap();
        let (_, peer) = rig.until(|os| os.accept(&mut listener)).unwrap();
        assert_eq!(peer, rig.os.local_addr(&stream).unwrap());
        assert_eq!(peer.as_ip().unwrap().ip(), from.ip());
    }

    #[test]
    fn a_unix_connection_from_an_ip_address_is_a_mistake_of_the_caller() {
        let address = Address::Unix("/windlass/none".into());
        let connect = Connect::new(address).from_addr("127.0.0.1:0".parse().unwrap());
        let error = Rig::new().connect(&connect).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_closed_stream_reads_as_ended_and_a_reset_one_as_reset() {
        for (reset, expected) in [(false, Ok(0)), (true, Err(ErrorKind::ConnectionReset))] {
            let mut rig = Rig::new();
            let (stream, mut peer) = rig.with_std_peer();
            rig.os.close(stream, reset);
            let result = peer.read(&mut [0; 16]).map_err(|error| error.kind());
            assert_eq!(result, expected, "reset: {reset}");
        }
    }

    #[test]
    fn a_closed_stream_has_no_more_events() {
        let mut rig = Rig::new();
        let (stream, mut peer) = rig.with_std_peer();
        rig.os.close(stream, false);
        let _ = peer.write(b"too late");
        rig.ready.clear();
        rig.os.poll(Some(Duration::ZERO), &mut rig.ready).unwrap();
        assert_eq!(rig.ready, []);
    }

    #[test]
    fn a_peer_that_hangs_up_wakes_the_reader() {
        let mut rig = Rig::new();
        let (mut stream, peer) = rig.with_std_peer();
        drop(peer);
        assert_eq!(
            rig.until(|os| os.read(&mut stream, &mut [0; 16])).unwrap(),
            0
        );
    }

    #[test]
    fn a_write_to_a_peer_that_is_gone_fails_without_a_signal() {
        let mut rig = Rig::new();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut stream = OsStream::adopt(ours).unwrap();
        drop(theirs);
        let slices = [IoSlice::new(b"x")];
        for result in [
            rig.os.write(&mut stream, b"x"),
            rig.os.write_vectored(&mut stream, &slices),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn a_wake_ends_a_wait_and_is_no_event() {
        let mut rig = Rig::new();
        let waker = rig.os.waker().unwrap();
        assert!(Arc::ptr_eq(&waker, &rig.os.waker().unwrap()));
        waker.wake();
        // For ever, unless the wake is remembered.
        rig.os.poll(None, &mut rig.ready).unwrap();
        assert_eq!(rig.ready, []);
    }

    #[test]
    fn a_poll_that_fills_the_list_of_events_makes_room_for_more() {
        let mut rig = Rig::new();
        rig.os.events = Events::with_capacity(1);
        let (stream, _peer) = rig.with_std_peer();
        rig.wait();
        assert_eq!(rig.os.events.capacity(), 2);
        rig.os.close(stream, false);
    }

    #[test]
    fn any_descriptor_is_watched_as_a_source() {
        let mut rig = Rig::new();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut source = FdSource::new(ours);
        rig.os
            .register_source(&mut source, CONNECTED, Interest::READABLE)
            .unwrap();
        theirs.send(b"datagram").unwrap();
        rig.wait();
        assert_eq!(rig.ready[0].token, CONNECTED);
        assert_eq!(source.as_inner().recv(&mut [0; 16]).unwrap(), 8);

        rig.os.deregister_source(&mut source).unwrap();
        theirs.send(b"unheard").unwrap();
        rig.ready.clear();
        rig.os.poll(Some(Duration::ZERO), &mut rig.ready).unwrap();
        assert_eq!(rig.ready, []);
    }

    #[test]
    fn a_network_is_a_descriptor_that_another_one_can_watch() {
        let mut inner = Rig::new();
        let (mut stream, mut peer) = inner.with_std_peer();
        let _ = inner.os.poll(Some(Duration::ZERO), &mut inner.ready);

        let mut outer = Rig::new();
        let mut source = FdSource::new(inner.os);
        outer
            .os
            .register_source(&mut source, CONNECTED, Interest::READABLE)
            .unwrap();
        peer.write_all(b"x").unwrap();
        outer.wait();
        assert_eq!(outer.ready[0].token, CONNECTED);
        let inner = source.inner_mut();
        inner.poll(TOO_LONG, &mut outer.ready).unwrap();
        assert_eq!(inner.read(&mut stream, &mut [0; 16]).unwrap(), 1);
    }
}
