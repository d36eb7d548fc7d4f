//! The datagrams of an [`Os`]: its sockets, and for what they are polled.
//!
//! A translation of calls. Knows neither protocols nor the reactor.

use std::io;

use mio::Interest;

use super::address::Address;
use super::bind::{Bind, DatagramOptions, Membership};
use super::datagram::OsDatagram;
use super::datagrams::{Datagrams, Received, Report, Transmit};
use super::os::Os;
use super::watch::Change;
use crate::token::Token;

impl Datagrams for Os {
    type Datagram = OsDatagram;

    /// Opens a socket.
    ///
    /// - Options first, then bind, then groups, then the peer.
    /// - `SO_BROADCAST` is on only for as long as one datagram is sent that may go to everybody,
    ///   so that the kernel, which alone knows what is a broadcast address, refuses all others.
    /// - A Unix path at which nobody receives any more is removed first, as for a listener.
    /// - It is polled for reading. For writing, too, only once it has taken nothing.
    ///
    /// # Errors
    /// The OS's. `Unsupported` for what this system lacks.
    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<OsDatagram> {
        let socket = OsDatagram::open(bind, token)?;
        self.watch(&socket, token, Interest::READABLE)?;
        Ok(socket)
    }

    #[inline]
    fn receive(&mut self, socket: &mut OsDatagram, buf: &mut [u8]) -> io::Result<Received> {
        socket.receive(buf)
    }

    #[inline]
    fn transmit(&mut self, socket: &mut OsDatagram, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = socket.transmit(transmit);
        match socket.watch.on_sent(&sent) {
            None => sent,
            Some(change) => self.change_watch(socket, change).and(sent),
        }
    }

    fn take_report(&mut self, socket: &mut OsDatagram) -> Option<Report> {
        socket.take_report()
    }

    #[inline]
    fn max_train(&self, socket: &OsDatagram) -> usize {
        socket.max_train()
    }

    fn dropped(&self, socket: &OsDatagram) -> u64 {
        socket.dropped()
    }

    fn close_datagram(&mut self, socket: OsDatagram) {
        self.unwatch(&socket);
    }

    fn datagram_addr(&self, socket: &OsDatagram) -> io::Result<Address> {
        socket.local_addr()
    }

    fn datagram_peer(&self, socket: &OsDatagram) -> io::Result<Address> {
        socket.peer_addr()
    }

    fn set_datagram_options(
        &mut self,
        socket: &mut OsDatagram,
        options: &DatagramOptions,
    ) -> io::Result<()> {
        socket.set_options(options)
    }

    fn datagram_options(&self, socket: &OsDatagram) -> io::Result<DatagramOptions> {
        socket.options()
    }

    fn join(&mut self, socket: &mut OsDatagram, membership: &Membership) -> io::Result<()> {
        socket.join(membership)
    }

    fn leave(&mut self, socket: &mut OsDatagram, membership: &Membership) -> io::Result<()> {
        socket.leave(membership)
    }
}

impl Os {
    /// Polls a datagram socket for writing too, or no longer.
    ///
    /// No event is missed in between: the poller looks at the socket when it is asked anew, and
    /// tells what it is ready for by then (epoll_ctl(2), `EPOLL_CTL_MOD`; kqueue(2), `EV_ADD`).
    ///
    /// # Errors
    /// The OS's: nobody would be told that the socket is writable. It is asked again with the next
    /// attempt to send.
    #[cold]
    fn change_watch(&mut self, socket: &mut OsDatagram, change: Change) -> io::Result<()> {
        let interest = match change {
            Change::Begin => Interest::READABLE | Interest::WRITABLE,
            Change::End => Interest::READABLE,
        };
        let changed = self.rewatch(socket, socket.watch.token, interest);
        match (change, changed) {
            (Change::Begin, Err(error)) => {
                socket.watch.refused();
                Err(error)
            }
            // At worst there are needless events.
            (Change::Begin | Change::End, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;
    use crate::net::{Network, Readiness, Ready};

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
    const SOCKET: Token = Token::from_parts(2, 3);

    /// A failure, not a measure: no test gets here unless an event was lost.
    const TOO_LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn a_datagram_socket_is_told_that_it_is_writable_once_it_has_taken_nothing_and_not_before() {
        let path = std::env::temp_dir().join(format!("windlass-watch-{}", std::process::id()));
        let peer = UnixDatagram::bind(&path).unwrap();
        let mut os = Os::new().unwrap();
        let bind = Bind::new(Address::Unnamed).peer(Address::Unix(path.clone()));
        let mut socket = os.bind(SOCKET, &bind).unwrap();
        std::fs::remove_file(&path).unwrap();
        let events = |os: &mut Os, timeout| {
            let mut ready = Vec::new();
            os.poll(timeout, &mut ready).unwrap();
            ready
        };
        let datagram = Transmit::new(None, b"x");
        let mut buf = [0; 16];
        for _ in 0..3 {
            assert_eq!(events(&mut os, AT_ONCE), []);
            let mut sent = 0;
            while os.transmit(&mut socket, &datagram).is_ok() {
                sent += 1;
            }
            assert_eq!(events(&mut os, AT_ONCE), [], "the peer's queue is full");
            for _ in 0..sent {
                peer.recv(&mut buf).unwrap();
            }
            let is_told = |event: &Ready| event.readiness.has(Readiness::WRITABLE);
            assert!(events(&mut os, TOO_LONG).iter().any(is_told));
            // Datagrams that leave again and again, until nobody waits for room.
            for _ in 0..200 {
                os.transmit(&mut socket, &datagram).unwrap();
                peer.recv(&mut buf).unwrap();
            }
            events(&mut os, AT_ONCE);
            os.transmit(&mut socket, &datagram).unwrap();
            peer.recv(&mut buf).unwrap();
        }
    }
}
