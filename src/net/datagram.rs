//! `OsDatagram`: a datagram socket of the operating system's, and how one is opened.
//!
//! Knows no poller.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use socket2::{Domain, SockAddr, SockRef, Socket};

use super::address::Address;
use super::bind::{Bind, DatagramOptions, Membership};
use super::datagrams::{Received, Report, Transmit};
use super::extras::Extras;
use super::unix_path::BoundPath;
use super::watch::Watch;
use super::{datagram_opts, listener, socket, sockopt};
use crate::close::OsError;
use crate::token::Token;

/// A datagram socket of the operating system's: UDP or Unix.
#[derive(Debug)]
pub struct OsDatagram {
    handle: Handle,
    domain: Domain,
    /// Goes when the socket goes.
    _path: Option<BoundPath>,
    /// The one address of the machine that the socket is bound to: where everything that it
    /// receives was sent to.
    own: Option<IpAddr>,
    /// Whom it is connected to.
    peer: Option<Address>,
    /// Whether the option to broadcast was given.
    may_broadcast: bool,
    /// Whether it is connected to a broadcast address: everything that is sent goes to everybody.
    is_peer_broadcast: bool,
    /// How it is polled.
    pub(super) watch: Watch,
}

#[derive(Debug)]
enum Handle {
    Udp(UdpSocket, Extras),
    Unix(UnixDatagram),
}

impl OsDatagram {
    /// Opens a socket, or takes over the inherited one.
    ///
    /// # Errors
    /// The OS's; `Unsupported` for what this system lacks.
    pub(super) fn open(bind: &Bind, token: Token) -> io::Result<OsDatagram> {
        let mut path = None;
        let (socket, domain) = match &bind.inherited {
            Some(descriptor) => inherit(descriptor)?,
            None => {
                let domain = domain_of(&bind.address);
                let socket = socket::open_datagram(domain)?;
                set_bind_options(&socket, domain, bind)?;
                path = bind_to(&socket, &bind.address)?;
                (socket, domain)
            }
        };
        let had_broadcast = domain != Domain::UNIX && socket.broadcast()?;
        if had_broadcast {
            // It is turned on again for each datagram that is meant for everybody.
            socket.set_broadcast(false)?;
        }
        datagram_opts::set(&socket, domain, &bind.options)?;
        for membership in &bind.memberships {
            datagram_opts::join(&socket, membership)?;
        }
        let own = own_address(&socket);
        // An inherited one may have a peer already.
        let peer = socket.peer_addr().ok().map(|peer| socket::address(&peer));
        let mut datagram = OsDatagram {
            handle: Handle::new(socket, domain, own.is_some(), &bind.options)?,
            own,
            domain,
            _path: path,
            peer,
            may_broadcast: bind.options.broadcast.unwrap_or(had_broadcast),
            is_peer_broadcast: false,
            watch: Watch::new(token),
        };
        if let Some(peer) = &bind.peer {
            datagram.connect(peer)?;
        }
        Ok(datagram)
    }

    fn connect(&mut self, peer: &Address) -> io::Result<()> {
        let address = self.destination(peer)?;
        let socket = SockRef::from(&self.handle);
        match socket.connect(&address) {
            // The kernel asks for the permission to broadcast when a socket is connected, and not
            // any more when it sends.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.may_broadcast => {
                socket.set_broadcast(true)?;
                socket.connect(&address)?;
                self.is_peer_broadcast = true;
            }
            result => result?,
        }
        self.own = own_address(&socket);
        self.peer = Some(peer.clone());
        Ok(())
    }

    #[inline]
    pub(super) fn receive(&mut self, buf: &mut [u8]) -> io::Result<Received> {
        match &mut self.handle {
            Handle::Udp(socket, extras) if extras.is_used() => {
                extras.receive(socket, buf, self.own)
            }
            Handle::Udp(socket, extras) => receive_plain(socket, extras, buf, self.own),
            Handle::Unix(socket) => receive_unix(socket, buf),
        }
    }

    #[inline]
    pub(super) fn transmit(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.is_broadcast || self.is_peer_broadcast {
            return self.transmit_broadcast(transmit);
        }
        self.transmit_plain(transmit)
    }

    #[inline]
    fn transmit_plain(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        if Extras::is_needed(transmit) {
            return self.transmit_with_extras(transmit);
        }
        let bytes = transmit.bytes;
        let sent = match (&self.handle, transmit.to) {
            (Handle::Udp(socket, _), Some(Address::Ip(to))) => {
                let to = self.mapped(*to);
                socket::retry(|| socket.send_to(bytes, to))
            }
            (Handle::Udp(socket, _), None) => socket::retry(|| socket.send(bytes)),
            (Handle::Unix(socket), None) => socket::retry(|| socket.send(bytes)),
            (_, Some(to)) => {
                let address = self.destination(to)?;
                let socket = SockRef::from(&self.handle);
                let sent = socket::retry(|| socket.send_to(bytes, &address));
                sent.map_err(|error| self.of_receiver(to, error))
            }
        };
        sent.map(drop)
    }

    fn transmit_with_extras(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = match transmit.to {
            Some(Address::Ip(to)) => Some(self.mapped(*to)),
            Some(Address::Unix(_) | Address::Abstract(_) | Address::Unnamed) | None => None,
        };
        match &mut self.handle {
            Handle::Udp(socket, extras) => extras.transmit(socket, to, transmit),
            Handle::Unix(_) => Err(sockopt::unsupported("an interface for a Unix socket")),
        }
    }

    /// A Unix socket takes nothing for somebody who is not its peer: an error about this datagram.
    ///
    /// It is most often the receiver's queue that is full, and a poller tells of that only if it is
    /// the peer's (`unix_dgram_sendmsg` and `unix_dgram_poll` of Linux). Whoever waited would wait
    /// for ever, and what is for everybody else behind him.
    #[cold]
    fn of_receiver(&self, to: &Address, error: io::Error) -> io::Error {
        if error.kind() == ErrorKind::WouldBlock && self.peer.as_ref() != Some(to) {
            return io::Error::from_raw_os_error(socket::EBUSY);
        }
        error
    }

    /// Gives the permission for this one datagram.
    fn transmit_broadcast(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !(self.may_broadcast && transmit.is_broadcast) {
            return Err(io::Error::from_raw_os_error(socket::EACCES));
        }
        SockRef::from(&self.handle).set_broadcast(true)?;
        let sent = self.transmit_plain(transmit);
        SockRef::from(&self.handle).set_broadcast(false)?;
        sent
    }

    /// What the OS has to say about something that was sent before. A pending error that comes
    /// without a destination is about the peer.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        if let Handle::Udp(socket, _) = &self.handle
            && let Some(report) = Extras::take_report(socket)
        {
            return Some(report);
        }
        let error = SockRef::from(&self.handle).take_error().ok()??;
        Some(Report {
            to: self.peer.clone(),
            error: OsError::from(&error),
        })
    }

    #[inline]
    pub(super) fn max_train(&self) -> usize {
        match &self.handle {
            Handle::Udp(_, extras) => extras.max_train(),
            Handle::Unix(_) => 1,
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        match &self.handle {
            Handle::Udp(_, extras) => extras.dropped(),
            Handle::Unix(_) => 0,
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<Address> {
        Ok(socket::address(&SockRef::from(&self.handle).local_addr()?))
    }

    pub(super) fn peer_addr(&self) -> io::Result<Address> {
        Ok(socket::address(&SockRef::from(&self.handle).peer_addr()?))
    }

    pub(super) fn set_options(&mut self, options: &DatagramOptions) -> io::Result<()> {
        datagram_opts::set(&SockRef::from(&self.handle), self.domain, options)?;
        self.may_broadcast = options.broadcast.unwrap_or(self.may_broadcast);
        match &mut self.handle {
            Handle::Udp(socket, extras) => extras.set_options(socket, options),
            Handle::Unix(_) => Ok(()),
        }
    }

    pub(super) fn options(&self) -> io::Result<DatagramOptions> {
        let mut options = datagram_opts::read(&SockRef::from(&self.handle), self.domain)?;
        if let Handle::Udp(_, extras) = &self.handle {
            options.broadcast = Some(self.may_broadcast);
            extras.read_options(&mut options);
        }
        Ok(options)
    }

    pub(super) fn join(&mut self, membership: &Membership) -> io::Result<()> {
        datagram_opts::join(&SockRef::from(&self.handle), membership)
    }

    pub(super) fn leave(&mut self, membership: &Membership) -> io::Result<()> {
        datagram_opts::leave(&SockRef::from(&self.handle), membership)
    }

    /// An IPv4 destination as a socket of IPv6 has to be told.
    #[inline]
    fn mapped(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.domain == Domain::IPV6 => {
                (datagram_opts::mapped(*v4.ip()), v4.port()).into()
            }
            to => to,
        }
    }

    fn destination(&self, to: &Address) -> io::Result<SockAddr> {
        match to {
            Address::Ip(to) => Ok(SockAddr::from(self.mapped(*to))),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => socket::sock_addr(to),
        }
    }
}

impl AsFd for OsDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Handle {
    fn new(
        socket: Socket,
        domain: Domain,
        has_address: bool,
        options: &DatagramOptions,
    ) -> io::Result<Handle> {
        if domain == Domain::UNIX {
            return Ok(Handle::Unix(UnixDatagram::from(OwnedFd::from(socket))));
        }
        let socket = UdpSocket::from(socket);
        let extras = Extras::open(&socket, domain, has_address, options)?;
        Ok(Handle::Udp(socket, extras))
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Handle::Udp(socket, _) => socket.as_fd(),
            Handle::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Without control messages.
#[inline]
fn receive_plain(
    socket: &UdpSocket,
    extras: &mut Extras,
    buf: &mut [u8],
    own: Option<IpAddr>,
) -> io::Result<Received> {
    // The length of a UDP datagram, with its header of 8 bytes, has 16 bits (RFC 768).
    let whole_len = if buf.len() >= usize::from(u16::MAX) {
        0
    } else {
        peek_len(socket)?
    };
    match socket::retry(|| socket.recv_from(buf)) {
        Ok((len, from)) => {
            extras.on_received(socket, from, len, buf.len());
            Ok(Received {
                datagram_len: whole_len.max(len),
                to: own,
                ..Received::single(len, Address::Ip(from))
            })
        }
        Err(error) => {
            extras.on_pause();
            Err(error)
        }
    }
}

fn receive_unix(socket: &UnixDatagram, buf: &mut [u8]) -> io::Result<Received> {
    let whole_len = peek_len(socket)?;
    let (len, from) = socket::retry(|| socket.recv_from(buf))?;
    Ok(Received {
        datagram_len: whole_len.max(len),
        ..Received::single(len, socket::unix_address(&from))
    })
}

/// The length of the next datagram, which a receive with too small a buffer would not tell. 0 where
/// the OS does not tell either.
fn peek_len(socket: &impl AsFd) -> io::Result<usize> {
    let flags = socket::MSG_PEEK | socket::MSG_TRUNC;
    let socket = SockRef::from(socket);
    let len = socket::retry(|| socket.recv_with_flags(&mut [], flags))?;
    let tells = cfg!(any(target_os = "linux", target_os = "android"));
    Ok(if tells { len } else { 0 })
}

fn domain_of(address: &Address) -> Domain {
    match address {
        Address::Ip(SocketAddr::V4(_)) => Domain::IPV4,
        Address::Ip(SocketAddr::V6(_)) => Domain::IPV6,
        Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => Domain::UNIX,
    }
}

fn bind_to(socket: &Socket, address: &Address) -> io::Result<Option<BoundPath>> {
    match address {
        Address::Unix(path) => BoundPath::bind_datagram(socket, path).map(Some),
        // Sends only: nobody could answer.
        Address::Unnamed => Ok(None),
        Address::Ip(_) | Address::Abstract(_) => {
            socket.bind(&socket::sock_addr(address)?)?;
            Ok(None)
        }
    }
}

fn inherit(descriptor: &OwnedFd) -> io::Result<(Socket, Domain)> {
    // A duplicate, as of an inherited listener.
    let socket = Socket::from(descriptor.try_clone()?);
    if socket.r#type()? != socket2::Type::DGRAM {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "the inherited descriptor is not a datagram socket",
        ));
    }
    socket.set_nonblocking(true)?;
    let domain = socket.local_addr()?.domain();
    Ok((socket, domain))
}

fn set_bind_options(socket: &Socket, domain: Domain, bind: &Bind) -> io::Result<()> {
    if domain == Domain::UNIX {
        return Ok(());
    }
    if bind.reuse_address {
        socket.set_reuse_address(true)?;
    }
    if bind.reuse_port {
        listener::set_reuse_port(socket)?;
    }
    if let (Some(only), Domain::IPV6) = (bind.only_v6, domain) {
        socket.set_only_v6(only)?;
    }
    Ok(())
}

/// The address that a socket is bound to, if it is one and not all, nor a group's.
fn own_address(socket: &Socket) -> Option<IpAddr> {
    let own = socket.local_addr().ok()?.as_socket()?.ip();
    (!own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::net::Batching;

    /// What every socket here is given time for: loopback delivers at once.
    fn wait(socket: &OsDatagram) {
        let mut fds = [rustix::event::PollFd::new(
            socket,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(
            rustix::event::poll(&mut fds, Some(&timeout)).unwrap(),
            1,
            "nothing came"
        );
    }

    fn open(bind: &Bind) -> io::Result<OsDatagram> {
        OsDatagram::open(bind, Token::from_parts(0, 0))
    }

    fn on(address: &str) -> OsDatagram {
        open(&Bind::on(address).unwrap()).unwrap()
    }

    #[track_caller]
    fn check_receive(socket: &mut OsDatagram, buf_len: usize) -> (Vec<u8>, Received) {
        wait(socket);
        let mut buf = vec![0; buf_len];
        let received = socket.receive(&mut buf).unwrap();
        buf.truncate(received.len);
        (buf, received)
    }

    #[test]
    fn boundaries_are_kept_from_nothing_to_the_largest_datagram() {
        let mut socket = on("127.0.0.1:0");
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for len in [0, 1, 1472, 65_507] {
            let sent: Vec<u8> = (0..len).map(|at| at as u8).collect();
            assert_eq!(sender.send_to(&sent, to.as_ip().unwrap()).unwrap(), len);
            let (bytes, received) = check_receive(&mut socket, 65_536);
            assert!(bytes == sent);
            assert_eq!(received.datagram_len, len);
            assert_eq!(received.from, Address::Ip(sender.local_addr().unwrap()));
            assert_eq!(received.to, Some(Ipv4Addr::LOCALHOST.into()));
        }
        let transmit = Transmit::new(Some(&to), &[0; 65_508]);
        let error = socket.transmit(&transmit).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(socket::EMSGSIZE));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn what_does_not_fit_into_the_buffer_is_told_by_its_true_length() {
        let mut socket = on("127.0.0.1:0");
        let to = socket.local_addr().unwrap().as_ip().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"heave away", to).unwrap();
        sender.send_to(b"five5", to).unwrap();
        let (bytes, received) = check_receive(&mut socket, 5);
        assert_eq!((&bytes[..], received.datagram_len), (&b"heave"[..], 10));
        let (bytes, received) = check_receive(&mut socket, 5);
        assert_eq!((&bytes[..], received.datagram_len), (&b"five5"[..], 5));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn unix_sockets_know_each_other_by_name_and_tell_true_lengths() {
        let name = format!("unix:@windlass-datagram-{}", std::process::id());
        let mut ours = on(&name);
        let path = std::env::temp_dir().join(format!("windlass-dgram-{}", std::process::id()));
        let theirs = open(&Bind::new(&*path).peer(ours.local_addr().unwrap()));
        let mut theirs = theirs.unwrap();
        theirs
            .transmit(&Transmit::new(None, &[7; 100_000]))
            .unwrap();
        let (bytes, received) = check_receive(&mut ours, 65_536);
        assert_eq!((bytes.len(), received.datagram_len), (65_536, 100_000));
        assert_eq!(received.from, Address::Unix(path.clone()));
        ours.transmit(&Transmit::new(Some(&received.from), b"aye"))
            .unwrap();
        assert_eq!(check_receive(&mut theirs, 16).0, b"aye");
        // The path is taken over only from the dead.
        let error = open(&Bind::new(&*path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(theirs);
        assert!(!path.exists());
        drop(UnixDatagram::bind(&path).unwrap());
        open(&Bind::new(&*path)).unwrap();
        assert!(!path.exists());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_queue_of_the_peer_is_waited_for_also_by_its_address_and_nobody_elses_is() {
        let name = |who| format!("unix:@windlass-full-{who}-{}", std::process::id());
        let (ours, theirs) = (on(&name("full")), on(&name("other")));
        let [full, other] = [&ours, &theirs].map(|socket| socket.local_addr().unwrap());
        let error_of = |bind: Bind| {
            let mut socket = open(&bind).unwrap();
            let error = (0..10_000).find_map(|_| {
                let transmit = Transmit::new(Some(&full), b"x");
                socket.transmit(&transmit).err()
            });
            error.unwrap().kind()
        };
        assert_eq!(
            error_of(Bind::new(Address::Unnamed).peer(full.clone())),
            ErrorKind::WouldBlock
        );
        let inherited = UnixDatagram::unbound().unwrap();
        let address = socket::sock_addr(&full).unwrap();
        SockRef::from(&inherited).connect(&address).unwrap();
        assert_eq!(error_of(Bind::inherited(inherited)), ErrorKind::WouldBlock);
        let to_other = Bind::new(Address::Unnamed).peer(other);
        assert_eq!(error_of(to_other), ErrorKind::ResourceBusy);
    }

    #[test]
    fn the_kernel_says_what_is_a_broadcast_address_and_lets_it_pass_only_when_meant() {
        let mut socket = on("0.0.0.0:0");
        let port = socket.local_addr().unwrap().port().unwrap();
        let everybody = Address::Ip((Ipv4Addr::new(127, 255, 255, 255), port).into());
        let mut transmit = Transmit::new(Some(&everybody), b"all hands");
        for is_broadcast in [false, true] {
            transmit.is_broadcast = is_broadcast;
            let error = socket.transmit(&transmit).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(socket::EACCES));
        }
        let allowed = DatagramOptions {
            broadcast: Some(true),
            ..DatagramOptions::default()
        };
        socket.set_options(&allowed).unwrap();
        socket.transmit(&transmit).unwrap();
        assert_eq!(check_receive(&mut socket, 16).0, b"all hands");
        transmit.is_broadcast = false;
        let error = socket.transmit(&transmit).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(socket::EACCES));
    }

    #[test]
    fn a_socket_that_is_connected_to_everybody_sends_only_what_is_meant_for_everybody() {
        let to = Bind::to("127.255.255.255:9").unwrap();
        assert!(open(&to).is_err());
        let mut socket = open(&to_everybody()).unwrap();
        let mut transmit = Transmit::new(None, b"x");
        assert!(socket.transmit(&transmit).is_err());
        transmit.is_broadcast = true;
        for _ in 0..2 {
            socket.transmit(&transmit).unwrap();
        }
    }

    fn to_everybody() -> Bind {
        Bind::to("127.255.255.255:9").unwrap().broadcast(true)
    }

    #[test]
    fn a_connected_socket_is_told_that_nobody_receives() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(nobody.local_addr().unwrap());
        drop(nobody);
        let mut socket = open(&Bind::to(&address.to_string()).unwrap()).unwrap();
        socket.transmit(&Transmit::new(None, b"?")).unwrap();
        wait(&socket);
        let report = socket.take_report().unwrap();
        assert_eq!(report.to, Some(address));
        assert_eq!(report.error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(socket.take_report(), None);
    }

    #[test]
    fn options_are_read_back_as_they_were_set() {
        let options = DatagramOptions {
            recv_buffer: Some(32 * 1024),
            send_buffer: Some(48 * 1024),
            broadcast: Some(true),
            ttl: Some(44),
            multicast_ttl: Some(3),
            multicast_loop: Some(false),
            tos: Some(0x20),
            packet_info: Some(false),
            batching: Some(Batching::Off),
            ..DatagramOptions::default()
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let bind = Bind::on(address).unwrap().options(options.clone());
            let Ok(socket) = open(&bind) else {
                continue; // A machine without IPv6.
            };
            let expected = DatagramOptions {
                multicast_interface: Some(super::super::Interface::Any),
                ..options.clone()
            };
            assert_eq!(socket.options().unwrap(), expected);
        }
    }

    #[test]
    fn a_socket_of_both_families_sends_to_either() {
        let Ok(mut socket) = open(&Bind::on("[::]:0").unwrap().only_v6(false)) else {
            return; // A machine without IPv6.
        };
        let mut theirs = on("127.0.0.1:0");
        let to = theirs.local_addr().unwrap();
        socket.transmit(&Transmit::new(Some(&to), b"four")).unwrap();
        assert_eq!(check_receive(&mut theirs, 16).0, b"four");
    }

    #[test]
    fn what_is_no_group_is_refused_with_a_reason() {
        let mut socket = on("127.0.0.1:0");
        let error = socket
            .join(&Membership::of(Ipv4Addr::LOCALHOST.into()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }

    #[cfg(all(feature = "udp-batch", target_os = "linux"))]
    mod with_control_messages {
        use super::*;
        use crate::net::Ecn;

        fn with(address: &str, options: DatagramOptions) -> OsDatagram {
            open(&Bind::on(address).unwrap().options(options)).unwrap()
        }

        fn batching(batching: Batching) -> DatagramOptions {
            DatagramOptions {
                batching: Some(batching),
                ..DatagramOptions::default()
            }
        }

        #[test]
        fn a_train_that_is_sent_is_received_as_one_or_as_its_datagrams() {
            let mut sender = on("127.0.0.1:0");
            assert_eq!(sender.max_train(), 64);
            let bytes: Vec<u8> = (0..1000).map(|at| (at / 300) as u8).collect();
            for (mode, expected) in [
                (Batching::On, &[(1000, 300)][..]),
                (
                    Batching::Off,
                    &[(300, 300), (300, 300), (300, 300), (100, 100)][..],
                ),
            ] {
                let mut socket = with("127.0.0.1:0", batching(mode));
                let to = socket.local_addr().unwrap();
                let transmit = Transmit {
                    segment_len: Some(300),
                    ..Transmit::new(Some(&to), &bytes)
                };
                sender.transmit(&transmit).unwrap();
                let mut got = Vec::new();
                for (len, segment_len) in expected {
                    let (part, received) = check_receive(&mut socket, 65_536);
                    assert_eq!((received.len, received.segment_len), (*len, *segment_len));
                    assert_eq!(received.from, sender.local_addr().unwrap());
                    got.extend(part);
                }
                assert!(got == bytes);
            }
        }

        #[test]
        fn a_socket_begins_to_receive_trains_when_they_come_and_ends_when_they_do_not() {
            let mut sender = on("127.0.0.1:0");
            let mut socket = on("127.0.0.1:0");
            let to = socket.local_addr().unwrap();
            let transmit = Transmit {
                segment_len: Some(100),
                ..Transmit::new(Some(&to), &[7; 6400])
            };
            let mut longest = 0;
            for _ in 0..4 {
                sender.transmit(&transmit).unwrap();
                let mut len = 0;
                while len < 6400 {
                    let (_, received) = check_receive(&mut socket, 65_536);
                    longest = longest.max(received.len / received.segment_len);
                    len += received.len;
                }
            }
            assert_eq!(longest, 64);
            let single = Transmit::new(Some(&to), &[7; 100]);
            for _ in 0..300 {
                sender.transmit(&single).unwrap();
                check_receive(&mut socket, 65_536);
                socket.receive(&mut [0; 65_536]).unwrap_err();
            }
            let Handle::Udp(_, extras) = &socket.handle else {
                unreachable!("it is a UDP socket");
            };
            assert!(!extras.is_used());
        }

        #[test]
        fn a_socket_at_all_addresses_tells_which_one_was_meant_and_answers_from_there() {
            for (any, meant) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "::1")] {
                let Ok(bound) = open(&Bind::on(any).unwrap()) else {
                    continue; // A machine without IPv6.
                };
                let mut socket = bound;
                let port = socket.local_addr().unwrap().port().unwrap();
                let meant: IpAddr = meant.parse().unwrap();
                let Ok(client) = UdpSocket::bind((meant, 0)) else {
                    continue;
                };
                client.connect((meant, port)).unwrap();
                client.send(b"who?").unwrap();
                let (_, received) = check_receive(&mut socket, 65_536);
                assert_eq!((received.to, received.local), (Some(meant), Some(meant)));
                assert_eq!(received.interface, Some(1));
                assert_eq!(received.ecn, Some(Ecn::NotCapable));
                let transmit = Transmit {
                    from: received.local,
                    ..Transmit::new(Some(&received.from), b"I")
                };
                socket.transmit(&transmit).unwrap();
                // A connected client takes no answer from elsewhere.
                assert_eq!(client.recv(&mut [0; 8]).unwrap(), 1);
            }
        }

        #[test]
        fn a_congestion_mark_is_told() {
            let mut socket = on("0.0.0.0:0");
            let port = socket.local_addr().unwrap().port().unwrap();
            let marked = DatagramOptions {
                tos: Some(0b11),
                ..DatagramOptions::default()
            };
            let mut sender = with("127.0.0.1:0", marked);
            let to = Address::Ip((Ipv4Addr::LOCALHOST, port).into());
            sender
                .transmit(&Transmit::new(Some(&to), b"slow down"))
                .unwrap();
            let (_, received) = check_receive(&mut socket, 65_536);
            assert_eq!(received.ecn, Some(Ecn::Congested));
        }

        #[test]
        fn a_socket_without_a_peer_hears_too_that_nobody_receives_and_where() {
            let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = Address::Ip(nobody.local_addr().unwrap());
            drop(nobody);
            let mut socket = on("127.0.0.1:0");
            socket
                .transmit(&Transmit::new(Some(&address), b"?"))
                .unwrap();
            wait(&socket);
            assert!(socket.receive(&mut [0; 8]).is_err());
            let report = socket.take_report().unwrap();
            assert_eq!(report.to, Some(address));
            assert_eq!(report.error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(socket.take_report(), None);
            let error = socket.receive(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }

        #[test]
        fn an_error_that_was_told_at_once_is_no_report() {
            let mut socket = on("127.0.0.1:0");
            let to = socket.local_addr().unwrap();
            let error = socket
                .transmit(&Transmit::new(Some(&to), &[0; 65_508]))
                .unwrap_err();
            assert_eq!(error.raw_os_error(), Some(socket::EMSGSIZE));
            assert_eq!(socket.take_report(), None);
        }

        #[test]
        fn what_the_kernel_drops_is_counted() {
            let options = DatagramOptions {
                recv_buffer: Some(4096),
                packet_info: Some(true),
                batching: Some(Batching::Off),
                ..DatagramOptions::default()
            };
            let mut socket = with("127.0.0.1:0", options);
            let to = socket.local_addr().unwrap();
            let mut sender = on("127.0.0.1:0");
            let mut received = 0;
            for _ in 0..2 {
                for _ in 0..100 {
                    sender
                        .transmit(&Transmit::new(Some(&to), &[0; 64]))
                        .unwrap();
                }
                while socket.receive(&mut [0; 64]).is_ok() {
                    received += 1;
                }
            }
            // The counter comes with a datagram: what was dropped after the last one comes later.
            sender.transmit(&Transmit::new(Some(&to), b"last")).unwrap();
            check_receive(&mut socket, 64);
            assert!(received < 200);
            assert_eq!(received + socket.dropped(), 200);
        }

        #[test]
        fn a_datagram_leaves_by_the_interface_that_was_chosen() {
            let mut socket = on("0.0.0.0:0");
            let mut theirs = on("127.0.0.1:0");
            let to = theirs.local_addr().unwrap();
            let by = |interface| Transmit {
                interface: Some(interface),
                ..Transmit::new(Some(&to), b"x")
            };
            socket.transmit(&by(1)).unwrap();
            check_receive(&mut theirs, 16);
            assert!(socket.transmit(&by(1 << 20)).is_err());
        }
    }
}
