//! `MemoryPeer` and `MemoryPeerListener`: the test's side of connections in a `Memory`.
//!
//! Knows neither tokens nor events: a test looks when it likes.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use super::address::Address;
use super::world::World;

/// The test's end of a connection. Nothing it does waits.
///
/// Dropping it closes the connection, as dropping a `std::net::TcpStream` does: with a FIN, or with
/// a reset if there is input that was not taken.
#[derive(Debug)]
pub struct MemoryPeer {
    world: Rc<RefCell<World>>,
    end: usize,
}

impl MemoryPeer {
    pub(super) fn new(world: Rc<RefCell<World>>, end: usize) -> MemoryPeer {
        MemoryPeer { world, end }
    }

    /// Sends, and answers how many bytes were taken: fewer when the other end has not read and
    /// its capacity is reached, 0 after [`MemoryPeer::finish`] or a reset.
    pub fn send(&self, bytes: &[u8]) -> usize {
        self.world().write(self.end, bytes).unwrap_or(0)
    }

    /// Sends our FIN; what was sent before arrives before. Nothing if the connection has broken.
    pub fn finish(&self) {
        // The one failure is a broken connection, which the test asks for with `is_reset`.
        let _ = self.world().finish(self.end);
    }

    /// Breaks the connection: the other end loses what it has not read.
    pub fn reset(&self) {
        self.world().reset(self.end);
    }

    /// Takes what has arrived, which makes room for more.
    pub fn received(&self) -> Vec<u8> {
        let mut world = self.world();
        let mut bytes = vec![0; world.ends[self.end].inbound.len()];
        let count = world.read(self.end, &mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Whether the other end has sent its FIN. There may be bytes to take all the same.
    pub fn is_finished(&self) -> bool {
        self.world().ends[self.end].is_finished
    }

    /// Whether the connection was reset, by either end.
    pub fn is_reset(&self) -> bool {
        self.world().check(self.end).is_err()
    }

    /// How many unread bytes each end holds; the sender has to wait then. What is held already
    /// stays. Default 65,536.
    pub fn set_capacity(&self, capacity: usize) {
        self.world().set_capacity(self.end, capacity);
    }

    /// Our address, as the other end sees it.
    pub fn local_addr(&self) -> Address {
        self.world().ends[self.end].local.clone()
    }

    fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}

impl Drop for MemoryPeer {
    fn drop(&mut self) {
        self.world().close(self.end, false);
    }
}

/// The test as a listener, for the connections that a reactor opens.
#[derive(Debug)]
pub struct MemoryPeerListener {
    world: Rc<RefCell<World>>,
    port: usize,
}

impl MemoryPeerListener {
    pub(super) fn new(world: Rc<RefCell<World>>, port: usize) -> MemoryPeerListener {
        MemoryPeerListener { world, port }
    }

    /// The next connection, if there is one.
    pub fn accept(&self) -> Option<MemoryPeer> {
        let end = self.world.borrow_mut().accept(self.port).ok()?;
        Some(MemoryPeer::new(self.world.clone(), end))
    }

    /// The address to connect to.
    pub fn local_addr(&self) -> Address {
        self.world.borrow().ports[self.port].address.clone()
    }
}

impl Drop for MemoryPeerListener {
    fn drop(&mut self) {
        self.world.borrow_mut().close_listener(self.port);
    }
}
