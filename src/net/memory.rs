//! `Memory`: a network inside the process with a clock that stands still, for tests of protocols.
//!
//! Knows neither protocols nor the reactor, and no faults: nothing is late, lost or cut here, and
//! the same calls give the same events. What goes wrong on real networks is the simulation's
//! business.

use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::address::Address;
use super::connect::Connect;
use super::listen::Listen;
use super::options::StreamOptions;
use super::peer::{MemoryPeer, MemoryPeerListener};
use super::world::World;
use super::{Network, Ready, Wake};
use crate::token::Token;

/// An in-memory network with virtual time.
///
/// A clone is another handle to the same network: the reactor owns one, the test keeps one and
/// acts through it as the peers of the reactor's connections ([`Memory::connect_peer`],
/// [`Memory::listen_peer`]) and as time ([`Memory::advance`]). Connections between two ends of
/// the reactor's own work too.
///
/// # Readiness
///
/// As sparing as the contract of [`Network`] allows, so that a connection that forgets to drain its
/// socket stalls here as well: there is an event at registration, and one when an operation
/// that answered `WouldBlock`, or a read that came short, may succeed again. The end of a peer
/// (its FIN, its reset) is always one. No event is lost.
///
/// # Time
///
/// The clock moves in two ways: the test advances it, and a poll that finds nothing moves it by its
/// time-out instead of waiting. A poll without a time-out that finds nothing returns at once:
/// there is nobody else who could make something happen, so a test should run single turns.
///
/// ```
/// use std::time::Duration;
/// use windlass::Token;
/// use windlass::net::{Listen, Memory, Network};
///
/// let memory = Memory::new();
/// let mut network = memory.clone();
/// let token = Token::from_parts(0, 0);
/// let mut listener = network.listen(token, &Listen::on("127.0.0.1:7000")?)?;
///
/// let peer = memory.connect_peer(&"127.0.0.1:7000".parse()?)?;
/// peer.send(b"ahoy");
/// let (mut stream, _) = network.accept(&mut listener)?;
/// let mut buf = [0; 16];
/// assert_eq!(network.read(&mut stream, &mut buf)?, 4);
/// network.write(&mut stream, b"aye")?;
/// assert_eq!(peer.received(), b"aye");
///
/// let before = network.now();
/// memory.advance(Duration::from_secs(60));
/// assert_eq!(network.now() - before, Duration::from_secs(60));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    world: Rc<RefCell<World>>,
    waker: Arc<Flag>,
    /// When the network was made: the clock's zero.
    origin: Instant,
}

/// One end of a connection in a [`Memory`].
#[derive(Debug)]
pub struct MemoryStream(usize);

/// A listener in a [`Memory`].
#[derive(Debug)]
pub struct MemoryListener(usize);

impl Memory {
    /// An empty network.
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can be made in no other way; only differences to it are ever seen"
    )]
    pub fn new() -> Memory {
        Memory {
            world: Rc::default(),
            waker: Arc::default(),
            origin: Instant::now(),
        }
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        let mut world = self.world();
        world.elapsed = world.elapsed.saturating_add(by);
    }

    /// Connects the test to a listener.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens at `address`, or if the listener's backlog is full.
    pub fn connect_peer(&self, address: &Address) -> io::Result<MemoryPeer> {
        let options = StreamOptions::default();
        let end = self.world().connect(address, None, &options)?;
        Ok(MemoryPeer::new(self.world.clone(), end))
    }

    /// Lets the test listen at `address`, for the connections that the reactor opens. The backlog
    /// is 128 connections; more are refused.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there already, `InvalidInput` if it is no address.
    pub fn listen_peer(&self, address: impl Into<Address>) -> io::Result<MemoryPeerListener> {
        let listen = Listen::new(address).backlog(128);
        let port = self.world().listen(None, &listen)?;
        Ok(MemoryPeerListener::new(self.world.clone(), port))
    }

    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    pub(super) fn handle(&self) -> Rc<RefCell<World>> {
        Rc::clone(&self.world)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

/// Whether somebody woke the network since its last poll.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Network for Memory {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    fn now(&mut self) -> Instant {
        self.origin + self.world().elapsed
    }

    /// Takes the events that there are. Without any, the clock moves by `timeout`; nothing waits.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let woken = self.waker.0.swap(false, Ordering::Acquire);
        let mut world = self.world();
        if world.events.is_empty() && !woken {
            world.elapsed = world.elapsed.saturating_add(timeout.unwrap_or_default());
        }
        ready.append(&mut world.events);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        Ok(self.waker.clone())
    }

    /// Opens a listener. The address is all that matters: a port 0 becomes a free one, and of the
    /// options only the backlog has an effect. There is nothing to inherit.
    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<MemoryListener> {
        self.world().listen(Some(token), listen).map(MemoryListener)
    }

    fn accept(&mut self, listener: &mut MemoryListener) -> io::Result<(MemoryStream, Address)> {
        let mut world = self.world();
        let end = world.accept(listener.0)?;
        Ok((MemoryStream(end), world.ends[end].remote.clone()))
    }

    fn register(&mut self, token: Token, stream: &mut MemoryStream) -> io::Result<()> {
        self.world().register(token, stream.0);
        Ok(())
    }

    /// Begins to connect. A refusal is told by [`Network::connected`], as TCP tells it.
    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<MemoryStream> {
        let mut world = self.world();
        let end = match world.connect(&connect.address, connect.from, &connect.options) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                world.refused(&connect.address, &connect.options)
            }
            result => result?,
        };
        world.register(token, end);
        Ok(MemoryStream(end))
    }

    fn connected(&mut self, stream: &mut MemoryStream) -> io::Result<bool> {
        self.world().check(stream.0)?;
        Ok(true)
    }

    fn read(&mut self, stream: &mut MemoryStream, buf: &mut [u8]) -> io::Result<usize> {
        self.world().read(stream.0, buf)
    }

    fn write(&mut self, stream: &mut MemoryStream, bytes: &[u8]) -> io::Result<usize> {
        self.world().write(stream.0, bytes)
    }

    fn write_vectored(
        &mut self,
        stream: &mut MemoryStream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.world().write(stream.0, &bytes)
    }

    fn shutdown_write(&mut self, stream: &mut MemoryStream) -> io::Result<()> {
        self.world().finish(stream.0)
    }

    /// Closes. As with TCP, unread input makes it a reset (RFC 1122, section 4.2.2.13).
    fn close(&mut self, stream: MemoryStream, reset: bool) {
        self.world().close(stream.0, reset);
    }

    fn close_listener(&mut self, listener: MemoryListener) {
        self.world().close_listener(listener.0);
    }

    fn local_addr(&self, stream: &MemoryStream) -> io::Result<Address> {
        Ok(self.world().ends[stream.0].local.clone())
    }

    fn peer_addr(&self, stream: &MemoryStream) -> io::Result<Address> {
        Ok(self.world().ends[stream.0].remote.clone())
    }

    fn listener_addr(&self, listener: &MemoryListener) -> io::Result<Address> {
        Ok(self.world().ports[listener.0].address.clone())
    }

    /// Remembers the options. They have no effect.
    fn set_options(
        &mut self,
        stream: &mut MemoryStream,
        options: &StreamOptions,
    ) -> io::Result<()> {
        self.world().ends[stream.0].options = options.clone();
        Ok(())
    }

    fn options(&self, stream: &MemoryStream) -> io::Result<StreamOptions> {
        Ok(self.world().ends[stream.0].options.clone())
    }

    fn short_read_drains(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Readiness;

    const LISTENER: Token = Token::from_parts(0, 0);
    const STREAM: Token = Token::from_parts(1, 1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A stream of the network's under [`STREAM`], whose first event is taken, and its peer.
    fn pair() -> (Memory, MemoryStream, MemoryPeer) {
        let mut memory = Memory::new();
        let mut listener = listen(&mut memory, "10.0.0.1:80");
        let peer = connect(&memory, "10.0.0.1:80").unwrap();
        let (mut stream, _) = memory.accept(&mut listener).unwrap();
        memory.register(STREAM, &mut stream).unwrap();
        memory.close_listener(listener);
        check_events(&mut memory, &[(STREAM, Readiness::WRITABLE)]);
        (memory, stream, peer)
    }

    fn listen(memory: &mut Memory, address: &str) -> MemoryListener {
        let listen = Listen::on(address).unwrap().backlog(2);
        memory.listen(LISTENER, &listen).unwrap()
    }

    fn connect(memory: &Memory, address: &str) -> io::Result<MemoryPeer> {
        memory.connect_peer(&address.parse().unwrap())
    }

    #[track_caller]
    fn check_events(memory: &mut Memory, expected: &[(Token, Readiness)]) {
        let mut ready = Vec::new();
        memory.poll(Some(Duration::ZERO), &mut ready).unwrap();
        let ready: Vec<_> = ready
            .iter()
            .map(|event| (event.token, event.readiness))
            .collect();
        assert_eq!(ready, expected);
    }

    #[track_caller]
    fn check_read(memory: &mut Memory, stream: &mut MemoryStream, expected: &[u8]) {
        let mut buf = [0; 64];
        let count = memory.read(stream, &mut buf).unwrap();
        assert_eq!(&buf[..count], expected);
    }

    #[track_caller]
    fn check_would_block<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_listener_hears_of_the_next_connection_only_after_it_would_have_blocked() {
        let mut memory = Memory::new();
        let mut listener = listen(&mut memory, "10.0.0.1:80");
        let _first = connect(&memory, "10.0.0.1:80").unwrap();
        check_events(&mut memory, &[(LISTENER, Readiness::READABLE)]);
        let _second = connect(&memory, "10.0.0.1:80").unwrap();
        check_events(&mut memory, &[]);
        memory.accept(&mut listener).unwrap();
        memory.accept(&mut listener).unwrap();
        check_would_block(memory.accept(&mut listener));
        let _third = connect(&memory, "10.0.0.1:80").unwrap();
        check_events(&mut memory, &[(LISTENER, Readiness::READABLE)]);
    }

    #[test]
    fn a_connection_is_refused_where_nobody_listens_and_where_the_backlog_is_full() {
        let mut memory = Memory::new();
        let refused = |result: io::Result<MemoryPeer>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        };
        refused(connect(&memory, "10.0.0.1:80"));
        let listener = listen(&mut memory, "10.0.0.1:80");
        let waiting = [(); 2].map(|()| connect(&memory, "10.0.0.1:80").unwrap());
        refused(connect(&memory, "10.0.0.1:80"));
        memory.close_listener(listener);
        assert!(waiting.iter().all(MemoryPeer::is_reset));
        refused(connect(&memory, "10.0.0.1:80"));
    }

    #[test]
    fn an_address_has_one_listener_and_port_0_is_a_free_one() {
        let mut memory = Memory::new();
        let first = listen(&mut memory, "10.0.0.1:0");
        let second = listen(&mut memory, "10.0.0.1:0");
        let address = memory.listener_addr(&first).unwrap();
        assert_ne!(address, memory.listener_addr(&second).unwrap());
        let error = memory.listen_peer(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn registration_tells_what_arrived_before_it() {
        let mut memory = Memory::new();
        let mut listener = listen(&mut memory, "unix:@windlass");
        let peer = connect(&memory, "unix:@windlass").unwrap();
        peer.send(b"early");
        peer.finish();
        let (mut stream, address) = memory.accept(&mut listener).unwrap();
        assert_eq!(address, Address::Unnamed);
        memory.poll(None, &mut Vec::new()).unwrap();
        memory.register(STREAM, &mut stream).unwrap();
        let everything = Readiness::READABLE
            .or(Readiness::WRITABLE)
            .or(Readiness::READ_CLOSED);
        check_events(&mut memory, &[(STREAM, everything)]);
        check_read(&mut memory, &mut stream, b"early");
        check_read(&mut memory, &mut stream, b"");
    }

    #[test]
    fn a_read_that_would_block_is_followed_by_one_event() {
        let (mut memory, mut stream, peer) = pair();
        check_would_block(memory.read(&mut stream, &mut [0; 8]));
        check_events(&mut memory, &[]);
        peer.send(b"one");
        peer.send(b"two");
        check_events(&mut memory, &[(STREAM, Readiness::READABLE)]);
        peer.send(b"three");
        check_events(&mut memory, &[]);
        check_read(&mut memory, &mut stream, b"onetwothree");
    }

    #[test]
    fn a_read_that_comes_short_is_followed_by_an_event_and_a_full_one_is_not() {
        let (mut memory, mut stream, peer) = pair();
        peer.send(b"abcd");
        check_events(&mut memory, &[(STREAM, Readiness::READABLE)]);
        assert_eq!(memory.read(&mut stream, &mut [0; 4]).unwrap(), 4);
        peer.send(b"ef");
        check_events(&mut memory, &[]);
        assert_eq!(memory.read(&mut stream, &mut [0; 4]).unwrap(), 2);
        peer.send(b"g");
        check_events(&mut memory, &[(STREAM, Readiness::READABLE)]);
    }

    #[test]
    fn a_write_that_would_block_is_followed_by_an_event_when_the_peer_takes_something() {
        let (mut memory, mut stream, peer) = pair();
        peer.set_capacity(4);
        assert_eq!(memory.write(&mut stream, b"abcdef").unwrap(), 4);
        check_would_block(memory.write(&mut stream, b"ef"));
        check_events(&mut memory, &[]);
        assert_eq!(peer.received(), b"abcd");
        check_events(&mut memory, &[(STREAM, Readiness::WRITABLE)]);
        assert_eq!(memory.write(&mut stream, b"ef").unwrap(), 2);
        assert_eq!(peer.received(), b"ef");
        check_events(&mut memory, &[]);
    }

    #[test]
    fn a_peer_is_held_up_by_a_reader_that_does_not_read() {
        let (mut memory, mut stream, peer) = pair();
        peer.set_capacity(4);
        assert_eq!(peer.send(b"abcdef"), 4);
        assert_eq!(peer.send(b"ef"), 0);
        check_read(&mut memory, &mut stream, b"abcd");
        assert_eq!(peer.send(b"ef"), 2);
    }

    #[test]
    fn slices_arrive_in_order() {
        let (mut memory, mut stream, peer) = pair();
        let slices = [b"heave".as_slice(), b"", b" ho"].map(IoSlice::new);
        assert_eq!(memory.write_vectored(&mut stream, &slices).unwrap(), 8);
        assert_eq!(peer.received(), b"heave ho");
    }

    #[test]
    fn a_fin_ends_one_direction_only() {
        let (mut memory, mut stream, peer) = pair();
        peer.finish();
        let closed = Readiness::READABLE.or(Readiness::READ_CLOSED);
        check_events(&mut memory, &[(STREAM, closed)]);
        check_read(&mut memory, &mut stream, b"");
        assert_eq!(peer.send(b"too late"), 0);
        memory.write(&mut stream, b"reply").unwrap();
        memory.shutdown_write(&mut stream).unwrap();
        assert!(peer.is_finished());
        assert_eq!(peer.received(), b"reply");
    }

    #[test]
    fn what_was_sent_before_a_close_arrives() {
        let (mut memory, mut stream, peer) = pair();
        memory.write(&mut stream, b"farewell").unwrap();
        memory.close(stream, false);
        assert!(peer.is_finished() && !peer.is_reset());
        assert_eq!(peer.received(), b"farewell");
    }

    #[test]
    fn a_close_with_unread_input_is_a_reset_that_destroys_the_last_reply() {
        let (mut memory, mut stream, peer) = pair();
        peer.send(b"unread");
        memory.write(&mut stream, b"farewell").unwrap();
        memory.close(stream, false);
        assert!(peer.is_reset() && !peer.is_finished());
        assert_eq!(peer.received(), b"");
    }

    #[test]
    fn a_reset_is_an_event_and_an_error_of_every_operation() {
        let (mut memory, mut stream, peer) = pair();
        peer.send(b"lost");
        peer.reset();
        let mut ready = Vec::new();
        memory.poll(None, &mut ready).unwrap();
        assert!(ready[0].readiness.has(Readiness::ERROR));
        let reset = Some(ErrorKind::ConnectionReset);
        let read = memory.read(&mut stream, &mut [0; 8]);
        assert_eq!(read.err().map(|error| error.kind()), reset);
        let write = memory.write(&mut stream, b"x");
        assert_eq!(write.err().map(|error| error.kind()), reset);
    }

    #[test]
    fn a_blocked_writer_hears_that_its_peer_has_closed() {
        let (mut memory, mut stream, peer) = pair();
        peer.set_capacity(0);
        check_would_block(memory.write(&mut stream, b"x"));
        drop(peer);
        let mut ready = Vec::new();
        memory.poll(None, &mut ready).unwrap();
        assert!(ready[0].readiness.wants_write());
        // The first write learns it, the second is told.
        memory.write(&mut stream, b"x").unwrap();
        let error = memory.write(&mut stream, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_closed_stream_has_no_more_events() {
        let (mut memory, stream, peer) = pair();
        peer.send(b"x");
        memory.close(stream, true);
        peer.send(b"y");
        check_events(&mut memory, &[]);
        assert!(peer.is_reset());
    }

    #[test]
    fn an_outgoing_connection_reaches_the_test() {
        let mut memory = Memory::new();
        let listener = memory
            .listen_peer("10.0.0.9:25".parse::<Address>().unwrap())
            .unwrap();
        assert!(listener.accept().is_none());
        let connect = Connect::new(listener.local_addr());
        let mut stream = memory.connect(STREAM, &connect).unwrap();
        check_events(&mut memory, &[(STREAM, Readiness::WRITABLE)]);
        assert!(memory.connected(&mut stream).unwrap());
        let peer = listener.accept().unwrap();
        peer.send(b"220");
        check_read(&mut memory, &mut stream, b"220");
        assert_eq!(memory.peer_addr(&stream).unwrap(), peer.local_addr());
    }

    #[test]
    fn an_outgoing_connection_reaches_a_listener_of_the_same_network() {
        let mut memory = Memory::new();
        let mut listener = listen(&mut memory, "10.0.0.1:80");
        let connect = Connect::to("10.0.0.1:80").unwrap();
        let mut ours = memory.connect(STREAM, &connect).unwrap();
        let (mut theirs, address) = memory.accept(&mut listener).unwrap();
        assert_eq!(address, memory.local_addr(&ours).unwrap());
        memory.write(&mut theirs, b"ahoy").unwrap();
        check_read(&mut memory, &mut ours, b"ahoy");
    }

    #[test]
    fn an_outgoing_connection_that_is_refused_is_told_by_an_event() {
        let mut memory = Memory::new();
        let connect = Connect::to("10.0.0.9:25").unwrap();
        let mut stream = memory.connect(STREAM, &connect).unwrap();
        let mut ready = Vec::new();
        memory.poll(None, &mut ready).unwrap();
        assert!(ready[0].readiness.wants_write());
        let error = memory.connected(&mut stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        memory.close(stream, false);
    }

    #[test]
    fn an_idle_poll_moves_the_clock_by_its_timeout() {
        let mut memory = Memory::new();
        let start = memory.now();
        memory.poll(Some(MINUTE), &mut Vec::new()).unwrap();
        assert_eq!(memory.now() - start, MINUTE);
        memory.poll(None, &mut Vec::new()).unwrap();
        assert_eq!(memory.now() - start, MINUTE);
        memory.clone().advance(MINUTE);
        assert_eq!(memory.now() - start, 2 * MINUTE);
    }

    #[test]
    fn a_poll_that_finds_an_event_or_a_wake_does_not_move_the_clock() {
        let (mut memory, _stream, peer) = pair();
        let start = memory.now();
        peer.send(b"x");
        memory.poll(Some(MINUTE), &mut Vec::new()).unwrap();
        memory.waker().unwrap().wake();
        memory.poll(Some(MINUTE), &mut Vec::new()).unwrap();
        assert_eq!(memory.now(), start);
        memory.poll(Some(MINUTE), &mut Vec::new()).unwrap();
        assert_eq!(memory.now() - start, MINUTE);
    }

    #[test]
    fn options_are_remembered() {
        let (mut memory, mut stream, _peer) = pair();
        let options = StreamOptions {
            ttl: Some(3),
            ..StreamOptions::default()
        };
        memory.set_options(&mut stream, &options).unwrap();
        assert_eq!(memory.options(&stream).unwrap(), options);
    }
}
