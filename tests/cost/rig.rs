//! A reactor whose allocations and calls are counted, with clients in the same thread.
//!
//! The clients are the test's own and not counted. Knows no protocol.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::time::Duration;

use windlass::net::{Address, Memory, MemoryPeer, Network, Os};
use windlass::{IntoDriver, Reactor, Token};

use super::counted::{Calls, Counted};

/// A network together with a way to be somebody else on it.
pub(crate) trait Place: Sized {
    type Network: Network;
    type Client: Client;

    fn network(&self) -> Self::Network;
    fn connect(&self, to: &Address) -> Self::Client;
}

/// The other end of a connection. Nothing that it does waits.
pub(crate) trait Client {
    fn send(&mut self, bytes: &[u8]);
    /// Takes what has arrived, and answers how many bytes that were.
    fn take(&mut self) -> usize;
}

/// The network in memory.
pub(crate) struct InMemory(Memory);

impl InMemory {
    pub(crate) fn new() -> InMemory {
        InMemory(Memory::new())
    }
}

impl Place for InMemory {
    type Network = Memory;
    type Client = MemoryPeer;

    fn network(&self) -> Memory {
        self.0.clone()
    }

    fn connect(&self, to: &Address) -> MemoryPeer {
        self.0.connect_peer(to).expect("somebody listens")
    }
}

impl Client for MemoryPeer {
    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(
            MemoryPeer::send(self, bytes),
            bytes.len(),
            "the peer has room"
        );
    }

    fn take(&mut self) -> usize {
        self.received().len()
    }
}

/// The operating system's network, over the loopback interface.
pub(crate) struct Loopback;

impl Place for Loopback {
    type Network = Os;
    type Client = TcpStream;

    fn network(&self) -> Os {
        Os::new().expect("the OS has another poller")
    }

    fn connect(&self, to: &Address) -> TcpStream {
        let to = to.as_ip().expect("the reactor listens on TCP");
        let client = TcpStream::connect(to).expect("somebody listens");
        client.set_nonblocking(true).expect("any socket can be");
        client.set_nodelay(true).expect("TCP has the option");
        client
    }
}

impl Client for TcpStream {
    fn send(&mut self, bytes: &[u8]) {
        self.write_all(bytes).expect("the socket has room");
    }

    fn take(&mut self) -> usize {
        let mut taken = 0;
        let mut buf = [0; 4096];
        loop {
            match self.read(&mut buf) {
                Ok(0) => panic!("the connection has ended"),
                Ok(len) => taken += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What something cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) allocations: u64,
    pub(crate) allocated_len: u64,
    pub(crate) calls: Calls,
    pub(crate) turns: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.allocations += other.allocations;
        self.allocated_len += other.allocated_len;
        self.calls = self.calls + other.calls;
        self.turns += other.turns;
    }
}

/// A reactor with one listener.
pub(crate) struct Rig<P: Place> {
    place: P,
    reactor: Reactor<Counted<P::Network>>,
    listener: Token,
    address: Address,
    pub(crate) clients: Vec<P::Client>,
}

impl<P: Place> Rig<P> {
    /// A reactor that serves with what `factory` makes, and `count` clients.
    pub(crate) fn new<D: IntoDriver + 'static>(
        place: P,
        count: usize,
        mut factory: impl FnMut(Token) -> D + 'static,
    ) -> Rig<P> {
        let mut reactor = Reactor::with_network(Counted::new(place.network()));
        let listener = reactor
            .listen("127.0.0.1:0", move |peer| factory(peer.token))
            .expect("a free port can be listened on");
        let address = reactor.local_addr(listener).expect("it is bound");
        let mut rig = Rig {
            place,
            reactor,
            listener,
            address,
            clients: Vec::new(),
        };
        for _ in 0..count {
            rig.connect();
        }
        rig
    }

    /// One more client, which is accepted.
    pub(crate) fn connect(&mut self) -> Cost {
        self.clients.push(self.place.connect(&self.address));
        let expected = self.clients.len();
        self.turn_until(|rig| rig.live() == expected)
    }

    /// The client that came first leaves.
    pub(crate) fn disconnect(&mut self) -> Cost {
        drop(self.clients.remove(0));
        let expected = self.clients.len();
        self.turn_until(|rig| rig.live() == expected)
    }

    /// Every client sends `message`, and gets `reply_len` bytes.
    pub(crate) fn exchange(&mut self, message: &[u8], reply_len: usize) -> Cost {
        self.send(message);
        self.replies(reply_len)
    }

    /// Every client sends `message`.
    pub(crate) fn send(&mut self, message: &[u8]) {
        for client in &mut self.clients {
            client.send(message);
        }
    }

    /// Every client gets `reply_len` bytes.
    pub(crate) fn replies(&mut self, reply_len: usize) -> Cost {
        let received = RefCell::new(vec![0; self.clients.len()]);
        self.turn_until(|rig| {
            let mut received = received.borrow_mut();
            for (client, received) in rig.clients.iter_mut().zip(received.iter_mut()) {
                *received += client.take();
                assert!(*received <= reply_len, "the reply is longer than expected");
            }
            received.iter().all(|&received| received == reply_len)
        })
    }

    /// What one turn costs.
    pub(crate) fn turn(&mut self) -> Cost {
        self.turn_until(|_| true)
    }

    /// What the reactor's turns cost until `is_done`.
    fn turn_until(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) -> Cost {
        let mut cost = Cost::default();
        loop {
            let calls = self.reactor.network().calls();
            let turned = allocation_counter::measure(|| {
                let turned = self.reactor.turn(Some(Duration::ZERO));
                turned.expect("the poller works");
            });
            cost += Cost {
                allocations: turned.count_total,
                allocated_len: turned.bytes_total,
                calls: self.reactor.network().calls() - calls,
                turns: 1,
            };
            if is_done(self) {
                return cost;
            }
            assert!(cost.turns < MAX_TURNS, "it never happens");
        }
    }

    fn live(&self) -> usize {
        let stats = self.reactor.service_stats(self.listener);
        stats.expect("the listener is open").live
    }
}

/// A failure, not a measure: a few turns are enough, but the loopback interface may be late.
const MAX_TURNS: u64 = 10_000_000;
