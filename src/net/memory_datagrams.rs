//! The datagrams of a [`Memory`]: the reactor's sockets, and the test's.
//!
//! Handles, and a translation of calls. Knows neither protocols nor the reactor.

use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;

use super::address::Address;
use super::bind::{Bind, DatagramOptions, Membership};
use super::datagrams::{Datagrams, Received, Report, Transmit};
use super::memory::Memory;
use super::world::World;
use crate::token::Token;

/// A datagram socket in a [`Memory`].
#[derive(Debug)]
pub struct MemoryDatagram(usize);

impl Memory {
    /// Opens a datagram socket for the test. Of a [`Bind`] the address, the peer, the groups and
    /// the permission to broadcast have an effect.
    ///
    /// ```
    /// use windlass::net::{Bind, Memory};
    ///
    /// let memory = Memory::new();
    /// let anne = memory.bind_peer(Bind::on("10.0.0.1:7")?)?;
    /// let bert = memory.bind_peer(Bind::on("10.0.0.2:7")?)?;
    /// anne.send_to(&bert.local_addr(), b"ahoy")?;
    /// assert_eq!(bert.receive(), Some((b"ahoy".to_vec(), anne.local_addr())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `AddrInUse` if there is a socket at that address already.
    pub fn bind_peer(&self, bind: impl Into<Bind>) -> io::Result<MemoryPeerDatagram> {
        let socket = self.world().bind(None, &bind.into())?;
        Ok(MemoryPeerDatagram {
            world: self.handle(),
            socket,
        })
    }

    /// Lets the datagram sockets at an address take nothing that is sent by them, as if the
    /// kernel's buffer were full, or lets them go on.
    pub fn hold_datagrams(&self, of: &Address, is_held: bool) {
        let mut world = self.world();
        world.post.hold(of, is_held);
        world.collect_post();
    }

    /// Refuses what the datagram sockets at an address send next: once with each of these errors,
    /// which are numbers of the OS's (errno(3)).
    pub fn refuse_datagrams(&self, of: &Address, errors: &[i32]) {
        let mut world = self.world();
        let all = world.post.sockets.iter_mut();
        for (_, mailbox) in all.filter(|(_, mailbox)| mailbox.address == *of) {
            mailbox.refusals.extend(errors);
        }
    }
}

impl Datagrams for Memory {
    type Datagram = MemoryDatagram;

    /// Opens a socket. There is nothing to inherit.
    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<MemoryDatagram> {
        self.world().bind(Some(token), bind).map(MemoryDatagram)
    }

    fn receive(&mut self, socket: &mut MemoryDatagram, buf: &mut [u8]) -> io::Result<Received> {
        self.world().post.receive(socket.0, buf)
    }

    fn transmit(&mut self, socket: &mut MemoryDatagram, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut world = self.world();
        let sent = world.post.transmit(socket.0, transmit);
        world.collect_post();
        sent
    }

    fn take_report(&mut self, socket: &mut MemoryDatagram) -> Option<Report> {
        self.world().post.take_report(socket.0)
    }

    fn dropped(&self, socket: &MemoryDatagram) -> u64 {
        self.world().post.sockets[socket.0].dropped
    }

    fn close_datagram(&mut self, socket: MemoryDatagram) {
        self.world().close_datagram(socket.0);
    }

    fn datagram_addr(&self, socket: &MemoryDatagram) -> io::Result<Address> {
        Ok(self.world().post.sockets[socket.0].address.clone())
    }

    fn datagram_peer(&self, socket: &MemoryDatagram) -> io::Result<Address> {
        self.world().post.peer(socket.0)
    }

    /// Remembers the options. The permission to broadcast, and whether groups hear themselves,
    /// have an effect.
    fn set_datagram_options(
        &mut self,
        socket: &mut MemoryDatagram,
        options: &DatagramOptions,
    ) -> io::Result<()> {
        self.world().post.sockets[socket.0].options = options.clone();
        Ok(())
    }

    fn datagram_options(&self, socket: &MemoryDatagram) -> io::Result<DatagramOptions> {
        Ok(self.world().post.sockets[socket.0].options.clone())
    }

    fn join(&mut self, socket: &mut MemoryDatagram, membership: &Membership) -> io::Result<()> {
        self.world().post.join(socket.0, membership)
    }

    fn leave(&mut self, socket: &mut MemoryDatagram, membership: &Membership) -> io::Result<()> {
        self.world().post.leave(socket.0, membership)
    }
}

/// The test's datagram socket. Nothing it does waits.
#[derive(Debug)]
pub struct MemoryPeerDatagram {
    world: Rc<RefCell<World>>,
    socket: usize,
}

impl MemoryPeerDatagram {
    /// Sends.
    ///
    /// # Errors
    /// As a socket's: too long, or a broadcast without permission.
    pub fn send_to(&self, to: &Address, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let transmit = Transmit {
            is_broadcast: true,
            ..Transmit::new(Some(to), bytes)
        };
        let sent = world.post.transmit(self.socket, &transmit);
        world.collect_post();
        sent
    }

    /// Takes the next datagram that has arrived, with its sender.
    pub fn receive(&self) -> Option<(Vec<u8>, Address)> {
        let mut bytes = vec![0; usize::from(u16::MAX)];
        let received = self.world().post.receive(self.socket, &mut bytes).ok()?;
        bytes.truncate(received.len);
        Some((bytes, received.from))
    }

    /// What became of something that was sent: that nobody receives there.
    pub fn take_report(&self) -> Option<Report> {
        self.world().post.take_report(self.socket)
    }

    /// How many bytes wait here until they are taken; more are dropped. Default 212,992, of which
    /// each datagram takes 64 beside its own.
    pub fn set_capacity(&self, capacity: usize) {
        self.world().post.sockets[self.socket].capacity = capacity;
    }

    /// Our address.
    pub fn local_addr(&self) -> Address {
        self.world().post.sockets[self.socket].address.clone()
    }

    fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}

impl Drop for MemoryPeerDatagram {
    fn drop(&mut self) {
        self.world().close_datagram(self.socket);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;
    use crate::net::{Network, Readiness};

    const SOCKET: Token = Token::from_parts(1, 1);

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    /// A socket of the network's under [`SOCKET`].
    fn bind(memory: &mut Memory, at: &str) -> MemoryDatagram {
        memory.bind(SOCKET, &Bind::on(at).unwrap()).unwrap()
    }

    fn peer(memory: &Memory, at: &str) -> MemoryPeerDatagram {
        memory.bind_peer(Bind::on(at).unwrap()).unwrap()
    }

    #[track_caller]
    fn check_events(memory: &mut Memory, expected: &[Readiness]) {
        let mut ready = Vec::new();
        memory.poll(Some(Duration::ZERO), &mut ready).unwrap();
        assert!(ready.iter().all(|ready| ready.token == SOCKET));
        let ready: Vec<_> = ready.iter().map(|ready| ready.readiness).collect();
        assert_eq!(ready, expected);
    }

    #[track_caller]
    fn check_would_block<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_receive_that_would_block_is_followed_by_one_event() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let anne = peer(&memory, "10.0.0.2:8");
        for text in ["one", "two"] {
            anne.send_to(&address("10.0.0.1:7"), text.as_bytes())
                .unwrap();
        }
        check_events(&mut memory, &[Readiness::READABLE]);
        let mut buf = [0; 16];
        let received = memory.receive(&mut socket, &mut buf).unwrap();
        assert_eq!((received.len, received.from), (3, anne.local_addr()));
        memory.receive(&mut socket, &mut buf).unwrap();
        check_would_block(memory.receive(&mut socket, &mut buf));
        check_events(&mut memory, &[]);
        anne.send_to(&address("10.0.0.1:7"), b"three").unwrap();
        check_events(&mut memory, &[Readiness::READABLE]);
    }

    #[test]
    fn what_does_not_fit_into_the_buffer_is_told_by_its_true_length() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let anne = peer(&memory, "10.0.0.2:8");
        anne.send_to(&address("10.0.0.1:7"), b"heave away").unwrap();
        let received = memory.receive(&mut socket, &mut [0; 5]).unwrap();
        assert_eq!((received.len, received.datagram_len), (5, 10));
    }

    #[test]
    fn what_nobody_receives_is_reported_with_its_destination() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let nobody = address("10.0.0.9:9");
        memory
            .transmit(&mut socket, &Transmit::new(Some(&nobody), b"?"))
            .unwrap();
        check_events(&mut memory, &[Readiness::READABLE.or(Readiness::ERROR)]);
        let error = memory.receive(&mut socket, &mut [0; 5]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(memory.take_report(&mut socket).unwrap().to, Some(nobody));
        assert_eq!(memory.take_report(&mut socket), None);
        check_would_block(memory.receive(&mut socket, &mut [0; 5]));
    }

    #[test]
    fn a_broadcast_needs_permission_and_reaches_every_socket_on_the_port() {
        let mut memory = Memory::new();
        let allowed = Bind::on("10.0.0.1:7").unwrap().broadcast(true);
        let mut socket = memory.bind(SOCKET, &allowed).unwrap();
        let (anne, bert) = (peer(&memory, "10.0.0.2:7"), peer(&memory, "0.0.0.0:7"));
        let other = peer(&memory, "10.0.0.3:8");
        let everybody = address("10.0.0.255:7");
        let mut transmit = Transmit::new(Some(&everybody), b"all hands");
        let error = memory.transmit(&mut socket, &transmit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        transmit.is_broadcast = true;
        memory.transmit(&mut socket, &transmit).unwrap();
        assert!(anne.receive().is_some());
        assert!(bert.receive().is_some());
        assert!(other.receive().is_none());
        // As on a real network, it hears itself.
        assert!(memory.receive(&mut socket, &mut [0; 16]).is_ok());
    }

    #[test]
    fn a_group_is_heard_by_its_members_from_the_source_that_they_want() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let group = address("239.1.2.3:7");
        let membership = Membership::of(group.as_ip().unwrap().ip());
        let member = |at: &str, membership: Membership| {
            memory
                .bind_peer(Bind::on(at).unwrap().join(membership))
                .unwrap()
        };
        let anne = member("10.0.0.2:7", membership.clone());
        let own = "10.0.0.1".parse().unwrap();
        let bert = member("10.0.0.3:7", membership.clone().from_source(own));
        let other = "10.0.0.8".parse().unwrap();
        let carl = member("10.0.0.4:7", membership.from_source(other));
        let mut memory = memory.clone();
        memory
            .transmit(&mut socket, &Transmit::new(Some(&group), b"hear"))
            .unwrap();
        let heard = [&anne, &bert, &carl].map(|peer| peer.receive().is_some());
        assert_eq!(heard, [true, true, false]);
        check_would_block(memory.receive(&mut socket, &mut [0; 16]));
    }

    #[test]
    fn a_socket_that_is_held_takes_nothing_and_tells_when_it_does() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let anne = peer(&memory, "10.0.0.2:8");
        memory.hold_datagrams(&address("10.0.0.1:7"), true);
        let to = anne.local_addr();
        check_would_block(memory.transmit(&mut socket, &Transmit::new(Some(&to), b"x")));
        check_events(&mut memory, &[]);
        memory.hold_datagrams(&address("10.0.0.1:7"), false);
        check_events(&mut memory, &[Readiness::WRITABLE]);
    }

    #[test]
    fn what_nobody_takes_in_time_is_dropped_and_counted() {
        let mut memory = Memory::new();
        let mut socket = bind(&mut memory, "10.0.0.1:7");
        let anne = peer(&memory, "10.0.0.2:8");
        let sent = 4000;
        for _ in 0..sent {
            anne.send_to(&address("10.0.0.1:7"), &[0; 64]).unwrap();
        }
        let mut received = 0;
        while memory.receive(&mut socket, &mut [0; 64]).is_ok() {
            received += 1;
        }
        assert_eq!(received + memory.dropped(&socket), sent);
        assert_eq!(received, 208 * 1024 / 128);
    }
}
