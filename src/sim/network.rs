//! `SimNet`: the simulated network as one host's reactor sees it.
//!
//! A handle, and a translation of calls. Knows no protocols and no reactor.

use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::agenda::EndId;
use super::fabric::{Fabric, Sleep};
use super::trace::What;
use crate::net::{Address, Connect, Listen, Network, Ready, StreamOptions, Wake};
use crate::token::Token;

/// The network of one host in a [`World`](super::World). Reactors are given theirs by the world.
#[derive(Debug)]
pub struct SimNet {
    fabric: Rc<RefCell<Fabric>>,
    host: usize,
}

/// A connection in a simulated world.
#[derive(Debug)]
pub struct SimStream(EndId);

/// A listener in a simulated world.
#[derive(Debug)]
pub struct SimListener(usize);

impl SimNet {
    pub(super) fn new(fabric: Rc<RefCell<Fabric>>, host: usize) -> SimNet {
        SimNet { fabric, host }
    }

    pub(super) fn host(&self) -> usize {
        self.host
    }

    pub(super) fn fabric(&self) -> RefMut<'_, Fabric> {
        self.fabric.borrow_mut()
    }
}

impl Network for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    fn now(&mut self) -> Instant {
        let fabric = self.fabric();
        fabric.origin + fabric.now + fabric.hosts[self.host].skew
    }

    /// Never waits. When there is nothing to tell, it remembers until when the reactor wants to
    /// sleep and leaves the turn with an error, so that the turn goes on (with another call of
    /// `poll`) no sooner than a real one would have. The world knows that this error is none.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut fabric = self.fabric();
        fabric.collect(self.host, ready);
        let now = fabric.now;
        let host = &mut fabric.hosts[self.host];
        let was_woken = host.waker.0.swap(false, Ordering::AcqRel);
        let is_over = host.was_over;
        host.was_over = false;
        if !ready.is_empty() || was_woken || is_over || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        // epoll_wait counts in milliseconds, and `mio` rounds up: never early.
        let until = timeout.map(|timeout| now.saturating_add(round_up(timeout)));
        host.sleep = Sleep::Until(until);
        let count = timeout.map_or(u64::MAX, |timeout| timeout.as_nanos() as u64);
        fabric.log(self.host, None, What::Sleep, count);
        Err(ErrorKind::Interrupted.into())
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        Ok(self.fabric().hosts[self.host].waker.clone())
    }

    /// Opens a listener. Its address has to be one of the host's, or mean any.
    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<SimListener> {
        let (port, _) = self.fabric().listen(self.host, token, listen)?;
        Ok(SimListener(port))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Address)> {
        let mut fabric = self.fabric();
        let id = fabric.accept(listener.0)?;
        let remote = fabric.ends[id.key as usize].remote.clone();
        Ok((SimStream(id), remote))
    }

    fn register(&mut self, token: Token, stream: &mut SimStream) -> io::Result<()> {
        self.fabric().register(token, stream.0);
        Ok(())
    }

    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<SimStream> {
        let id = self.fabric().connect(self.host, token, connect)?;
        Ok(SimStream(id))
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.fabric().connected(stream.0)
    }

    fn read(&mut self, stream: &mut SimStream, buf: &mut [u8]) -> io::Result<usize> {
        self.fabric().read(stream.0, buf)
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[u8]) -> io::Result<usize> {
        self.fabric().write(stream.0, std::iter::once(bytes))
    }

    fn write_vectored(
        &mut self,
        stream: &mut SimStream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let slices = slices.iter().map(|slice| &**slice);
        self.fabric().write(stream.0, slices)
    }

    fn shutdown_write(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.fabric().finish(stream.0)
    }

    fn close(&mut self, stream: SimStream, reset: bool) {
        self.fabric().close(stream.0, reset);
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.fabric().close_listener(listener.0);
    }

    fn local_addr(&self, stream: &SimStream) -> io::Result<Address> {
        Ok(self.fabric().ends[stream.0.key as usize].local.clone())
    }

    fn peer_addr(&self, stream: &SimStream) -> io::Result<Address> {
        Ok(self.fabric().ends[stream.0.key as usize].remote.clone())
    }

    fn listener_addr(&self, listener: &SimListener) -> io::Result<Address> {
        Ok(self.fabric().ports[listener.0].address.clone())
    }

    /// Remembers the options. They have no effect.
    fn set_options(&mut self, stream: &mut SimStream, options: &StreamOptions) -> io::Result<()> {
        self.fabric().ends[stream.0.key as usize].options = options.clone();
        Ok(())
    }

    fn options(&self, stream: &SimStream) -> io::Result<StreamOptions> {
        Ok(self.fabric().ends[stream.0.key as usize].options.clone())
    }

    fn short_read_drains(&self) -> bool {
        self.fabric().short_read_drains
    }
}

/// Rounds up to whole milliseconds.
fn round_up(timeout: Duration) -> Duration {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
