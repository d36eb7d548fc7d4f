//! `OsListener`: a listening socket of the operating system's, and how one is opened.
//!
//! Knows neither the poller nor tokens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket};

use super::address::Address;
use super::listen::Listen;
use super::options::StreamOptions;
use super::stream::OsStream;
use super::unix_path::BoundPath;
use super::{defer, socket, sockopt};

/// A listening socket of the operating system's: TCP or Unix.
#[derive(Debug)]
pub struct OsListener {
    socket: Socket,
    /// Goes when the listener goes.
    _path: Option<BoundPath>,
    /// What accepted sockets do not inherit from this one, and have to be told one by one.
    each: Option<Box<StreamOptions>>,
}

impl OsListener {
    /// Opens a listener, or takes over the inherited one.
    ///
    /// # Errors
    /// The OS's; `Unsupported` for what this system lacks.
    pub(super) fn open(listen: &Listen) -> io::Result<OsListener> {
        let listener = match &listen.inherited {
            Some(descriptor) => OsListener::inherit(descriptor, listen)?,
            None => OsListener::bind(listen)?,
        };
        let options = &listen.options;
        sockopt::warn_of_clamps(&listener.socket, options.recv_buffer, options.send_buffer);
        if let Some(at_most) = listen.defer_accept {
            defer::set(&listener.socket, at_most)?;
        }
        Ok(listener)
    }

    fn bind(listen: &Listen) -> io::Result<OsListener> {
        let address = socket::sock_addr(&listen.address)?;
        let domain = address.domain();
        let socket = socket::open(domain)?;
        if domain != Domain::UNIX {
            set_listener_options(&socket, domain, listen)?;
        }
        // Before `listen`: TCP settles the window scale of a connection when its SYN arrives.
        sockopt::set(&socket, domain, &listen.options)?;
        let path = match &listen.address {
            Address::Unix(path) => Some(BoundPath::bind(&socket, path)?),
            Address::Ip(_) | Address::Abstract(_) | Address::Unnamed => {
                socket.bind(&address)?;
                None
            }
        };
        let backlog = i32::try_from(listen.backlog).unwrap_or(i32::MAX);
        socket.listen(backlog)?;
        let each = told_one_by_one(domain, &listen.options);
        Ok(OsListener {
            socket,
            _path: path,
            each,
        })
    }

    fn inherit(descriptor: &OwnedFd, listen: &Listen) -> io::Result<OsListener> {
        // A duplicate, since the description of the listener is only lent to us. The original is
        // never registered, so that closing it means nothing to the poller.
        let socket = Socket::from(descriptor.try_clone()?);
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        if !socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the inherited descriptor is not a listening socket",
            ));
        }
        socket.set_nonblocking(true)?;
        let domain = socket.local_addr()?.domain();
        sockopt::set(&socket, domain, &listen.options)?;
        Ok(OsListener {
            each: told_one_by_one(domain, &listen.options),
            socket,
            _path: None,
        })
    }

    #[inline]
    pub(super) fn accept(&self) -> io::Result<(OsStream, Address)> {
        let (socket, peer) = socket::retry(|| socket::accept(&self.socket))?;
        if let Some(options) = &self.each {
            // A failure is not the end of the connection: most likely its peer is gone already,
            // which the first read will tell.
            if let Err(error) = sockopt::set(&socket, peer.domain(), options) {
                log::debug!("options of an accepted connection: {error}");
            }
        }
        Ok((OsStream::accepted(socket), socket::address(&peer)))
    }

    pub(super) fn local_addr(&self) -> io::Result<Address> {
        Ok(socket::address(&self.socket.local_addr()?))
    }
}

impl AsFd for OsListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set_listener_options(socket: &Socket, domain: Domain, listen: &Listen) -> io::Result<()> {
    if listen.reuse_address {
        // Or else a restarted server could not bind for as long as connections of the former one
        // are in TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    if listen.reuse_port {
        set_reuse_port(socket)?;
    }
    if let (Some(only), Domain::IPV6) = (listen.only_v6, domain) {
        socket.set_only_v6(only)?;
    }
    Ok(())
}

#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
pub(super) fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
pub(super) fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(sockopt::unsupported("SO_REUSEPORT"))
}

/// The options that connections accepted in `domain` do not inherit from the listening socket.
fn told_one_by_one(domain: Domain, options: &StreamOptions) -> Option<Box<StreamOptions>> {
    let inherits = cfg!(any(target_os = "linux", target_os = "android"));
    if domain == Domain::UNIX {
        // The kernel makes the socket of a Unix connection when the peer connects, from nothing.
        let wanted = options.recv_buffer.is_some() || options.send_buffer.is_some();
        wanted.then(|| Box::new(options.clone()))
    } else if inherits {
        // Linux copies the listening socket when a TCP connection is made, its options included;
        // only the state of delayed acknowledgements begins anew.
        options.quick_ack.map(|on| {
            Box::new(StreamOptions {
                nodelay: false,
                quick_ack: Some(on),
                ..StreamOptions::default()
            })
        })
    } else {
        Some(Box::new(options.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::net::Keepalive;

    /// A path of this process's own, with nothing at it.
    fn fresh_path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("windlass-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn on_path(path: &Path) -> Listen {
        Listen::new(path)
    }

    /// Accepts a connection that was made before: over loopback it is in the backlog already.
    #[track_caller]
    fn accept(listener: &OsListener) -> OsStream {
        listener.accept().unwrap().0
    }

    #[test]
    fn a_path_at_which_nobody_listens_any_more_is_taken_over() {
        let path = fresh_path("stale");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = OsListener::open(&on_path(&path)).unwrap();
        let _peer = UnixStream::connect(&path).unwrap();
        accept(&listener);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_at_which_somebody_listens_is_left_alone() {
        let path = fresh_path("live");
        let living = UnixListener::bind(&path).unwrap();
        let error = OsListener::open(&on_path(&path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(living);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = fresh_path("file");
        fs::write(&path, "dear").unwrap();
        let error = OsListener::open(&on_path(&path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"dear");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_path_that_has_become_somebody_elses_is_left_alone() {
        let path = fresh_path("replaced");
        let listener = OsListener::open(&on_path(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_inherited_listener_keeps_its_path_and_its_other_owners() {
        let path = fresh_path("inherited");
        let owner = UnixListener::bind(&path).unwrap();
        let listen = Listen::inherited(owner.try_clone().unwrap());
        let listener = OsListener::open(&listen).unwrap();
        drop(listen);
        let _first = UnixStream::connect(&path).unwrap();
        accept(&listener);
        assert_eq!(listener.local_addr().unwrap(), Address::Unix(path.clone()));

        drop(listener);
        let _second = UnixStream::connect(&path).unwrap();
        owner.accept().unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_inherited_listener_does_not_block() {
        let listen = Listen::inherited(TcpListener::bind("127.0.0.1:0").unwrap());
        let listener = OsListener::open(&listen).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn an_inherited_socket_that_does_not_listen_is_refused() {
        let (socket, _) = UnixStream::pair().unwrap();
        let error = OsListener::open(&Listen::inherited(socket)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn accepted_tcp_connections_have_the_options_of_their_listener() {
        let options = StreamOptions {
            nodelay: true,
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(61),
                interval: Duration::from_secs(7),
                count: 4,
            }),
            recv_buffer: Some(32 * 1024),
            send_buffer: Some(48 * 1024),
            ttl: Some(44),
            tos: Some(0x20),
            ..StreamOptions::default()
        };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let options = StreamOptions {
            user_timeout: Some(Duration::from_millis(12_345)),
            not_sent_low_water: Some(16 * 1024),
            quick_ack: Some(false),
            ..options
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listen = Listen::on(address).unwrap().options(options.clone());
            let Ok(listener) = OsListener::open(&listen) else {
                continue; // A machine without IPv6.
            };
            let address = listener.local_addr().unwrap().as_ip().unwrap();
            let _peer = TcpStream::connect(address).unwrap();
            assert_eq!(accept(&listener).options().unwrap(), options, "{address}");
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn accepted_unix_connections_have_the_buffers_of_their_listener() {
        let path = fresh_path("buffers");
        let listen = on_path(&path).options(StreamOptions {
            recv_buffer: Some(32 * 1024),
            send_buffer: Some(48 * 1024),
            ..StreamOptions::default()
        });
        let listener = OsListener::open(&listen).unwrap();
        let _peer = UnixStream::connect(&path).unwrap();
        let options = accept(&listener).options().unwrap();
        assert_eq!(options, listen.options);
    }

    #[cfg(all(feature = "defer-accept", target_os = "linux"))]
    mod deferred {
        use std::io::Write;

        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        use super::*;

        fn deferred(listen: Listen, seconds: u64) -> (OsListener, std::net::SocketAddr) {
            let listen = listen.defer_accept(Duration::from_secs(seconds));
            let listener = OsListener::open(&listen).unwrap();
            let address = listener.local_addr().unwrap().as_ip().unwrap();
            (listener, address)
        }

        fn on_loopback() -> Listen {
            Listen::on("127.0.0.1:0").unwrap()
        }

        /// Who is accepted next, as soon as somebody is.
        #[track_caller]
        fn next(listener: &OsListener) -> Address {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            let too_long = Timespec {
                tv_sec: 20,
                tv_nsec: 0,
            };
            assert_eq!(poll(&mut fds, Some(&too_long)), Ok(1), "nobody came");
            listener.accept().unwrap().1
        }

        fn name(peer: &TcpStream) -> Address {
            Address::Ip(peer.local_addr().unwrap())
        }

        #[test]
        fn who_says_nothing_is_not_accepted_until_he_does() {
            let inherited = || Listen::inherited(TcpListener::bind("127.0.0.1:0").unwrap());
            for listen in [on_loopback(), inherited()] {
                let (listener, address) = deferred(listen, 3600);
                let mut silent = TcpStream::connect(address).unwrap();
                let mut speaking = TcpStream::connect(address).unwrap();
                speaking.write_all(b"aye").unwrap();
                assert_eq!(next(&listener), name(&speaking));
                let nobody = listener.accept().unwrap_err();
                assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
                silent.write_all(b"after all").unwrap();
                assert_eq!(next(&listener), name(&silent));
            }
        }

        #[test]
        fn who_ends_without_a_word_is_accepted() {
            let (listener, address) = deferred(on_loopback(), 3600);
            let silent = TcpStream::connect(address).unwrap();
            silent.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(next(&listener), name(&silent));
        }

        /// A second of the kernel's own passes: it is the time-out that is tested.
        #[test]
        fn who_says_nothing_for_long_is_accepted_all_the_same() {
            let (listener, address) = deferred(on_loopback(), 1);
            let silent = TcpStream::connect(address).unwrap();
            assert_eq!(next(&listener), name(&silent));
        }
    }

    #[test]
    #[cfg(not(all(feature = "defer-accept", target_os = "linux")))]
    fn a_system_that_defers_no_connection_says_so() {
        let listen = Listen::on("127.0.0.1:0").unwrap();
        let error = OsListener::open(&listen.defer_accept(Duration::from_secs(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn two_listeners_share_a_port_if_both_ask_for_it() {
        let listen = Listen::on("127.0.0.1:0").unwrap().reuse_port(true);
        let first = OsListener::open(&listen).unwrap();
        let address = first.local_addr().unwrap();
        OsListener::open(&Listen::new(address.clone()).reuse_port(true)).unwrap();
        let error = OsListener::open(&Listen::new(address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_not_forgotten() {
        let path = fresh_path("deferred");
        let deferred = on_path(&path).defer_accept(Duration::from_secs(1));
        let error = OsListener::open(&deferred).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(!path.exists());

        let nowhere = Listen::new(Address::Unnamed);
        let error = OsListener::open(&nowhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
