//! `Counted`: a network that counts what is asked of it, and passes it on to another one.
//!
//! Knows nothing of who asks, nor what for.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::{Add, Sub};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass::Token;
use windlass::net::{
    Address, Bind, Connect, DatagramOptions, Datagrams, Listen, Membership, Network, Ready,
    Received, Report, StreamOptions, Transmit, Wake,
};

/// Calls of each kind since a network was made; a difference of two is what happened between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) clock_readings: u64,
    pub(crate) polls: u64,
    pub(crate) accepts: u64,
    pub(crate) registers: u64,
    /// Of streams and of datagrams.
    pub(crate) reads: u64,
    /// Flat and vectored, and datagrams.
    pub(crate) writes: u64,
    pub(crate) closes: u64,
    /// Anything else that would be a system call.
    pub(crate) others: u64,
    /// How many of the reads and writes answered `WouldBlock`.
    pub(crate) blocked: u64,
}

impl Calls {
    fn zip(self, other: Calls, both: impl Fn(u64, u64) -> u64) -> Calls {
        Calls {
            clock_readings: both(self.clock_readings, other.clock_readings),
            polls: both(self.polls, other.polls),
            accepts: both(self.accepts, other.accepts),
            registers: both(self.registers, other.registers),
            reads: both(self.reads, other.reads),
            writes: both(self.writes, other.writes),
            closes: both(self.closes, other.closes),
            others: both(self.others, other.others),
            blocked: both(self.blocked, other.blocked),
        }
    }
}

impl Add for Calls {
    type Output = Calls;

    fn add(self, other: Calls) -> Calls {
        self.zip(other, |left, right| left + right)
    }
}

impl Sub for Calls {
    type Output = Calls;

    fn sub(self, earlier: Calls) -> Calls {
        self.zip(earlier, |later, earlier| later - earlier)
    }
}

/// A network and its counters.
pub(crate) struct Counted<N> {
    inner: N,
    calls: Rc<Cell<Calls>>,
}

impl<N> Counted<N> {
    pub(crate) fn new(inner: N) -> Counted<N> {
        let calls = Rc::default();
        Counted { inner, calls }
    }

    /// The counters so far.
    pub(crate) fn calls(&self) -> Calls {
        self.calls.get()
    }

    fn count(&self, add: impl FnOnce(&mut Calls)) {
        let mut calls = self.calls.get();
        add(&mut calls);
        self.calls.set(calls);
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            self.count(|calls| calls.blocked += 1);
        }
        result
    }
}

impl<N: Network> Network for Counted<N> {
    type Stream = N::Stream;
    type Listener = N::Listener;

    fn now(&mut self) -> Instant {
        self.count(|calls| calls.clock_readings += 1);
        self.inner.now()
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.count(|calls| calls.polls += 1);
        self.inner.poll(timeout, ready)
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        self.count(|calls| calls.others += 1);
        self.inner.waker()
    }

    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<N::Listener> {
        self.count(|calls| calls.others += 1);
        self.inner.listen(token, listen)
    }

    fn accept(&mut self, listener: &mut N::Listener) -> io::Result<(N::Stream, Address)> {
        self.count(|calls| calls.accepts += 1);
        self.inner.accept(listener)
    }

    fn register(&mut self, token: Token, stream: &mut N::Stream) -> io::Result<()> {
        self.count(|calls| calls.registers += 1);
        self.inner.register(token, stream)
    }

    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<N::Stream> {
        self.count(|calls| calls.others += 1);
        self.inner.connect(token, connect)
    }

    fn connected(&mut self, stream: &mut N::Stream) -> io::Result<bool> {
        self.count(|calls| calls.others += 1);
        self.inner.connected(stream)
    }

    fn read(&mut self, stream: &mut N::Stream, buf: &mut [u8]) -> io::Result<usize> {
        self.count(|calls| calls.reads += 1);
        let result = self.inner.read(stream, buf);
        self.note(result)
    }

    fn write(&mut self, stream: &mut N::Stream, bytes: &[u8]) -> io::Result<usize> {
        self.count(|calls| calls.writes += 1);
        let result = self.inner.write(stream, bytes);
        self.note(result)
    }

    fn write_vectored(
        &mut self,
        stream: &mut N::Stream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.count(|calls| calls.writes += 1);
        let result = self.inner.write_vectored(stream, slices);
        self.note(result)
    }

    fn shutdown_write(&mut self, stream: &mut N::Stream) -> io::Result<()> {
        self.count(|calls| calls.others += 1);
        self.inner.shutdown_write(stream)
    }

    fn close(&mut self, stream: N::Stream, reset: bool) {
        self.count(|calls| calls.closes += 1);
        self.inner.close(stream, reset);
    }

    fn close_listener(&mut self, listener: N::Listener) {
        self.count(|calls| calls.others += 1);
        self.inner.close_listener(listener);
    }

    fn local_addr(&self, stream: &N::Stream) -> io::Result<Address> {
        self.count(|calls| calls.others += 1);
        self.inner.local_addr(stream)
    }

    fn peer_addr(&self, stream: &N::Stream) -> io::Result<Address> {
        self.count(|calls| calls.others += 1);
        self.inner.peer_addr(stream)
    }

    fn listener_addr(&self, listener: &N::Listener) -> io::Result<Address> {
        self.count(|calls| calls.others += 1);
        self.inner.listener_addr(listener)
    }

    fn set_options(&mut self, stream: &mut N::Stream, options: &StreamOptions) -> io::Result<()> {
        self.count(|calls| calls.others += 1);
        self.inner.set_options(stream, options)
    }

    fn options(&self, stream: &N::Stream) -> io::Result<StreamOptions> {
        self.count(|calls| calls.others += 1);
        self.inner.options(stream)
    }

    fn short_read_drains(&self) -> bool {
        self.inner.short_read_drains()
    }
}

impl<N: Network> Datagrams for Counted<N> {
    type Datagram = N::Datagram;

    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<Self::Datagram> {
        self.count(|calls| calls.others += 1);
        self.inner.bind(token, bind)
    }

    fn receive(&mut self, socket: &mut Self::Datagram, buf: &mut [u8]) -> io::Result<Received> {
        self.count(|calls| calls.reads += 1);
        let result = self.inner.receive(socket, buf);
        self.note(result)
    }

    fn transmit(&mut self, socket: &mut Self::Datagram, transmit: &Transmit<'_>) -> io::Result<()> {
        self.count(|calls| calls.writes += 1);
        let result = self.inner.transmit(socket, transmit);
        self.note(result)
    }

    fn take_report(&mut self, socket: &mut Self::Datagram) -> Option<Report> {
        self.count(|calls| calls.others += 1);
        self.inner.take_report(socket)
    }

    fn max_train(&self, socket: &Self::Datagram) -> usize {
        self.inner.max_train(socket)
    }

    fn dropped(&self, socket: &Self::Datagram) -> u64 {
        self.inner.dropped(socket)
    }

    fn close_datagram(&mut self, socket: Self::Datagram) {
        self.count(|calls| calls.closes += 1);
        self.inner.close_datagram(socket);
    }

    fn datagram_addr(&self, socket: &Self::Datagram) -> io::Result<Address> {
        self.inner.datagram_addr(socket)
    }

    fn datagram_peer(&self, socket: &Self::Datagram) -> io::Result<Address> {
        self.inner.datagram_peer(socket)
    }

    fn set_datagram_options(
        &mut self,
        socket: &mut Self::Datagram,
        options: &DatagramOptions,
    ) -> io::Result<()> {
        self.count(|calls| calls.others += 1);
        self.inner.set_datagram_options(socket, options)
    }

    fn datagram_options(&self, socket: &Self::Datagram) -> io::Result<DatagramOptions> {
        self.inner.datagram_options(socket)
    }

    fn join(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()> {
        self.count(|calls| calls.others += 1);
        self.inner.join(socket, membership)
    }

    fn leave(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()> {
        self.count(|calls| calls.others += 1);
        self.inner.leave(socket, membership)
    }
}
