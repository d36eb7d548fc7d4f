//! What the micro-benches have in common: a reactor on the network in memory, and its peers.

// Each bench uses its own part of this.
#![allow(dead_code)]

use std::time::Duration;

use windlass::net::{Address, Memory, MemoryPeer};
use windlass::{IntoDriver, Reactor};

/// A reactor with one listener, and the other ends of its connections.
pub(crate) struct Rig {
    pub(crate) memory: Memory,
    pub(crate) reactor: Reactor<Memory>,
    pub(crate) peers: Vec<MemoryPeer>,
    address: Address,
}

impl Rig {
    /// Serves `count` peers with what `factory` makes.
    pub(crate) fn new<D: IntoDriver + 'static>(
        count: usize,
        mut factory: impl FnMut() -> D + 'static,
    ) -> Rig {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let listener = reactor
            .listen("127.0.0.1:0", move |_| factory())
            .expect("nobody listens yet");
        let address = reactor.local_addr(listener).expect("it listens");
        let mut rig = Rig {
            memory,
            reactor,
            peers: Vec::new(),
            address,
        };
        for _ in 0..count {
            let peer = rig.connect();
            rig.peers.push(peer);
        }
        rig
    }

    /// One more peer, which is accepted.
    pub(crate) fn connect(&mut self) -> MemoryPeer {
        let peer = self.memory.connect_peer(&self.address);
        self.turn();
        peer.expect("the listener's backlog is empty")
    }

    pub(crate) fn turn(&mut self) {
        let turned = self.reactor.turn(Some(Duration::ZERO));
        turned.expect("memory does not fail");
    }

    /// Every peer sends `message`, and takes what comes back: so many bytes in all.
    pub(crate) fn exchange(&mut self, message: &[u8]) -> usize {
        for peer in &self.peers {
            peer.send(message);
        }
        self.turn();
        self.peers.iter().map(|peer| peer.received().len()).sum()
    }
}
