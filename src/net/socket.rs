//! What is common to all sockets of the operating system: how they are made, accepted and named,
//! and where the systems differ.
//!
//! Knows neither the poller nor tokens. Every socket is non-blocking and closed on exec.

use std::io::{self, ErrorKind};
use std::os::unix;

use socket2::{Domain, SockAddr, Socket};

use super::address::Address;

/// The OS's form of an address.
///
/// # Errors
/// `InvalidInput` for a path that is too long (108 bytes on Linux), and for no address at all;
/// `Unsupported` for an abstract address outside Linux.
pub(super) fn sock_addr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Ip(address) => Ok(SockAddr::from(*address)),
        Address::Unix(path) => SockAddr::unix(path),
        Address::Abstract(name) => abstract_addr(name),
        Address::Unnamed => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "an unnamed address cannot be bound or connected to",
        )),
    }
}

/// Our form of an address.
pub(super) fn address(address: &SockAddr) -> Address {
    if let Some(address) = address.as_socket() {
        Address::Ip(address)
    } else if let Some(path) = address.as_pathname() {
        Address::Unix(path.to_owned())
    } else if let Some(name) = address.as_abstract_namespace() {
        Address::Abstract(name.to_vec())
    } else {
        Address::Unnamed
    }
}

/// `std`'s form of a Unix address in ours.
pub(super) fn unix_address(address: &unix::net::SocketAddr) -> Address {
    if let Some(path) = address.as_pathname() {
        return Address::Unix(path.to_owned());
    }
    abstract_name(address).map_or(Address::Unnamed, |name| Address::Abstract(name.to_vec()))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(address: &unix::net::SocketAddr) -> Option<&[u8]> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;

    address.as_abstract_name()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_: &unix::net::SocketAddr) -> Option<&[u8]> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_addr(name: &[u8]) -> io::Result<SockAddr> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    // A leading NUL is what makes a name abstract (unix(7)).
    let name = [b"\0", name].concat();
    SockAddr::unix(OsStr::from_bytes(&name))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_addr(_: &[u8]) -> io::Result<SockAddr> {
    Err(super::sockopt::unsupported("an abstract Unix address"))
}

pub(super) use opening::{accept, open, open_datagram};

/// Systems on which `socket` and `accept4` take the flags along: one system call each.
#[cfg(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
))]
mod opening {
    use super::{Domain, SockAddr, Socket, io};
    use socket2::Type;

    /// A stream socket, neither bound nor connected.
    pub(in crate::net) fn open(domain: Domain) -> io::Result<Socket> {
        Socket::new(domain, Type::STREAM.nonblocking(), None)
    }

    /// A datagram socket, neither bound nor connected.
    pub(in crate::net) fn open_datagram(domain: Domain) -> io::Result<Socket> {
        Socket::new(domain, Type::DGRAM.nonblocking(), None)
    }

    /// Accepts one connection.
    #[inline]
    pub(in crate::net) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
        // `SOCK_NONBLOCK | SOCK_CLOEXEC`. Their values differ from system to system and from
        // processor to processor, but socket2 sets them as bits of the type (socket(2)).
        let flags = i32::from(Type::STREAM.nonblocking().cloexec()) & !i32::from(Type::STREAM);
        listener.accept4(flags)
    }
}

/// Systems that have to be asked twice.
#[cfg(not(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
mod opening {
    use super::{Domain, SockAddr, Socket, io};
    use socket2::Type;

    /// A stream socket, neither bound nor connected.
    pub(in crate::net) fn open(domain: Domain) -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// A datagram socket, neither bound nor connected.
    pub(in crate::net) fn open_datagram(domain: Domain) -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Accepts one connection.
    pub(in crate::net) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
        let (socket, address) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }
}

/// Repeats what a signal interrupted before it did anything.
#[inline]
pub(super) fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A send to a peer that is gone answers `EPIPE` and raises no signal (send(2)). The values are
/// those of each system's `<sys/socket.h>`.
pub(super) const MSG_NOSIGNAL: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x4000
} else if cfg!(target_vendor = "apple") {
    0x8_0000
} else if cfg!(target_os = "freebsd") {
    0x2_0000
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    0x200
} else {
    // DragonFly, NetBSD and OpenBSD.
    0x400
};

/// More follows at once: what does not fill a segment waits for it, 200 ms at most (tcp(7),
/// `TCP_CORK`).
pub(super) const MSG_MORE: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x8000
} else {
    0
};

/// The next message is looked at, not taken. The same on every system.
pub(super) const MSG_PEEK: i32 = 2;

/// Asks for the true length of a datagram that does not fit into the buffer, of UDP sockets since
/// Linux 2.4, of Unix ones since 3.4 (recv(2)); elsewhere it is an answer and no question.
pub(super) const MSG_TRUNC: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x20
} else {
    0
};

/// Permission denied; for a datagram, to send to everybody. The same on every system.
pub(super) const EACCES: i32 = 13;

/// Somebody is busy: the receiver of a datagram. The same on every system.
pub(super) const EBUSY: i32 = 16;

/// A datagram is too long for the path that it would take, or for any.
pub(super) const EMSGSIZE: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        97
    } else {
        90
    }
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    97
} else {
    40
};

/// A datagram has no destination, and its socket no peer.
pub(super) const EDESTADDRREQ: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        96
    } else {
        89
    }
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    96
} else {
    39
};

/// Nobody receives there.
pub(super) const ECONNREFUSED: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        146
    } else {
        111
    }
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    146
} else {
    61
};

/// A connection attempt goes on in the background (connect(2)). The values are those of each
/// system's `<errno.h>`; `ErrorKind::InProgress` is not stable.
pub(super) const EINPROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        150
    } else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        36
    } else {
        115
    }
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    150
} else {
    // The BSDs and Apple's systems.
    36
};
