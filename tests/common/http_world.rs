//! An HTTP server on a network in memory, with one client. Knows the server's public side alone.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::rc::Rc;
use std::time::Duration;

use windlass::Reactor;
use windlass::http::Server;
use windlass::net::{Memory, MemoryPeer};

pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) reactor: Reactor<Memory>,
    pub(crate) peer: Rc<MemoryPeer>,
}

impl World {
    pub(crate) fn with(server: Server) -> World {
        let memory = Memory::new();
        World::on(Reactor::with_network(memory.clone()), memory, server)
    }

    /// As `with`, at that time since 1970.
    pub(crate) fn at(server: Server, since_1970: Duration) -> World {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        memory.advance(since_1970);
        // It looks at the date once in a while, and so now.
        reactor.turn(Some(Duration::ZERO)).unwrap();
        World::on(reactor, memory, server)
    }

    fn on(mut reactor: Reactor<Memory>, memory: Memory, server: Server) -> World {
        reactor.listen(ADDRESS, move |_| server.clone()).unwrap();
        let peer = Rc::new(memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap());
        World {
            memory,
            reactor,
            peer,
        }
    }

    /// Another client.
    pub(crate) fn connect(&self) -> MemoryPeer {
        self.memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap()
    }

    pub(crate) fn turn(&mut self) {
        for _ in 0..3 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    /// Sends, and takes nothing of what comes back.
    pub(crate) fn put(&mut self, bytes: impl AsRef<[u8]>) {
        assert_eq!(self.peer.send(bytes.as_ref()), bytes.as_ref().len());
        self.turn();
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.memory.advance(time);
        self.turn();
    }
}

const ADDRESS: &str = "127.0.0.1:8080";
/// Long after any file was written, since 1970.
pub(crate) const LATE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
