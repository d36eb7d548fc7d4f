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
use super::{socket, sockopt};

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
    /// The OS's; `Unsupported` for what this system lacks, and for `TCP_DEFER_ACCEPT`.
    pub(super) fn open(listen: &Listen) -> io::Result<OsListener> {
        if listen.defer_accept.is_some() {
            return Err(sockopt::unsupported("TCP_DEFER_ACCEPT"));
        }
        let listener = match &listen.inherited {
            Some(descriptor) => OsListener::inherit(descriptor, listen)?,
            None => OsListener::bind(listen)?,
        };
        sockopt::warn_of_clamps(&listener.socket, &listen.options);
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
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(sockopt::unsupported("SO_REUSEPORT"))
}

/// The options that connections accepted in `domain` do not inherit from the listening socket.
fn told_one_by_one(domain: Domain, options: &StreamOptions) -> Option<Box<StreamOptions>> {
    let wanted = if domain == Domain::UNIX {
        // The kernel makes the socket of a Unix connection when the peer connects, from nothing.
        options.recv_buffer.is_some() || options.send_buffer.is_some()
    } else {
        // Linux copies the listening socket when a TCP connection is made, options included.
        !cfg!(any(target_os = "linux", target_os = "android"))
    };
    wanted.then(|| Box::new(options.clone()))
}
