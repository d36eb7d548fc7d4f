//! Setting and reading [`StreamOptions`] on a socket.
//!
//! Knows neither the poller nor how the socket came about.

use std::io;

use socket2::{Domain, Socket, TcpKeepalive};

use super::options::{Keepalive, StreamOptions};

/// Sets every option that is asked for; those that are `None`, and a keepalive that is off, are
/// left as they are. On a Unix socket only the buffers mean anything; the others are passed over.
///
/// # Errors
/// The OS's, at the first option that it refuses; `Unsupported` if it has no such option.
pub(super) fn set(socket: &Socket, domain: Domain, options: &StreamOptions) -> io::Result<()> {
    // Buffers first: TCP settles the window scale from them when the connection is opened (tcp(7)).
    if let Some(size) = options.recv_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if domain == Domain::UNIX {
        return Ok(());
    }
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = options.keepalive {
        set_keepalive(socket, keepalive)?;
    }
    if let Some(ttl) = options.ttl {
        if domain == Domain::IPV6 {
            socket.set_unicast_hops_v6(ttl)?;
        } else {
            socket.set_ttl_v4(ttl)?;
        }
    }
    if let Some(tos) = options.tos {
        tos::set(socket, domain, tos)?;
    }
    linux::set(socket, options)
}

/// Makes the socket's options those of `options`: as [`set`], but what may be off is turned off.
///
/// # Errors
/// As [`set`].
pub(super) fn replace(socket: &Socket, domain: Domain, options: &StreamOptions) -> io::Result<()> {
    set(socket, domain, options)?;
    if domain == Domain::UNIX {
        return Ok(());
    }
    if !options.nodelay {
        socket.set_tcp_nodelay(false)?;
    }
    if options.keepalive.is_none() {
        socket.set_keepalive(false)?;
    }
    Ok(())
}

/// The options as they are. On a Unix socket `nodelay` is true: nothing there is ever delayed.
///
/// # Errors
/// The OS's.
pub(super) fn read(socket: &Socket, domain: Domain) -> io::Result<StreamOptions> {
    let mut options = StreamOptions {
        recv_buffer: Some(socket.recv_buffer_size()? / BUFFER_FACTOR),
        send_buffer: Some(socket.send_buffer_size()? / BUFFER_FACTOR),
        ..StreamOptions::default()
    };
    if domain == Domain::UNIX {
        return Ok(options);
    }
    options.nodelay = socket.tcp_nodelay()?;
    options.keepalive = read_keepalive(socket)?;
    options.ttl = Some(if domain == Domain::IPV6 {
        socket.unicast_hops_v6()?
    } else {
        socket.ttl_v4()?
    });
    options.tos = tos::read(socket, domain)?;
    linux::read(socket, &mut options)?;
    Ok(options)
}

/// Logs a warning for each buffer that the kernel made smaller than was asked for. It does not
/// refuse such a size, so that this is the only sign (socket(7)).
pub(super) fn warn_of_clamps(socket: &Socket, receive: Option<usize>, send: Option<usize>) {
    let asked = [
        (
            "receive",
            receive,
            Socket::recv_buffer_size as fn(&Socket) -> _,
        ),
        ("send", send, Socket::send_buffer_size),
    ];
    for (name, asked_len, size) in asked {
        let Some(asked_len) = asked_len else { continue };
        match size(socket) {
            Ok(size) if size / BUFFER_FACTOR < asked_len => {
                let granted_len = size / BUFFER_FACTOR;
                log::warn!("{name} buffer: {asked_len} bytes asked for, {granted_len} granted");
            }
            Ok(_) => {}
            Err(error) => log::warn!("{name} buffer: its size cannot be read: {error}"),
        }
    }
}

/// What a size that is read is greater by than the size that was set: Linux doubles it "to allow
/// space for bookkeeping overhead" and answers with the double (socket(7)).
pub(super) const BUFFER_FACTOR: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    2
} else {
    1
};

// OpenBSD knows only whether keepalive is on; its numbers are for the whole system (sysctl(2)).
#[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
fn set_keepalive(socket: &Socket, keepalive: Keepalive) -> io::Result<()> {
    let parameters = TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.count);
    socket.set_tcp_keepalive(&parameters)
}

#[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
fn read_keepalive(socket: &Socket) -> io::Result<Option<Keepalive>> {
    if !socket.keepalive()? {
        return Ok(None);
    }
    Ok(Some(Keepalive {
        idle: socket.tcp_keepalive_time()?,
        interval: socket.tcp_keepalive_interval()?,
        count: socket.tcp_keepalive_retries()?,
    }))
}

#[cfg(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris"))]
fn set_keepalive(_: &Socket, _: Keepalive) -> io::Result<()> {
    Err(unsupported("TCP_KEEPIDLE"))
}

#[cfg(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris"))]
fn read_keepalive(_: &Socket) -> io::Result<Option<Keepalive>> {
    Ok(None)
}

#[cfg(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "illumos",
    target_os = "linux",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd",
))]
pub(super) mod tos {
    use super::{Domain, Socket, io};

    pub(in crate::net) fn set(socket: &Socket, domain: Domain, tos: u32) -> io::Result<()> {
        if domain == Domain::IPV6 {
            socket.set_tclass_v6(tos)
        } else {
            socket.set_tos_v4(tos)
        }
    }

    pub(in crate::net) fn read(socket: &Socket, domain: Domain) -> io::Result<Option<u32>> {
        if domain == Domain::IPV6 {
            socket.tclass_v6().map(Some)
        } else {
            socket.tos_v4().map(Some)
        }
    }
}

#[cfg(not(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "illumos",
    target_os = "linux",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
pub(super) mod tos {
    use super::{Domain, Socket, io, unsupported};

    pub(in crate::net) fn set(_: &Socket, _: Domain, _: u32) -> io::Result<()> {
        Err(unsupported("IP_TOS"))
    }

    pub(in crate::net) fn read(_: &Socket, _: Domain) -> io::Result<Option<u32>> {
        Ok(None)
    }
}

/// `SO_BINDTODEVICE`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) mod device {
    use super::{Socket, io};

    pub(in crate::net) fn set(socket: &Socket, name: &str) -> io::Result<()> {
        socket.bind_device(Some(name.as_bytes()))
    }

    pub(in crate::net) fn read(socket: &Socket) -> io::Result<Option<String>> {
        let name = socket.device()?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) mod device {
    use super::{Socket, io, unsupported};

    pub(in crate::net) fn set(_: &Socket, _: &str) -> io::Result<()> {
        Err(unsupported("SO_BINDTODEVICE"))
    }

    pub(in crate::net) fn read(_: &Socket) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// The options that only Linux has, or that have other names elsewhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::{Socket, StreamOptions, device, io};

    pub(super) fn set(socket: &Socket, options: &StreamOptions) -> io::Result<()> {
        if options.user_timeout.is_some() {
            socket.set_tcp_user_timeout(options.user_timeout)?;
        }
        if let Some(low_water) = options.not_sent_low_water {
            socket.set_tcp_notsent_lowat(low_water)?;
        }
        if let Some(on) = options.quick_ack {
            socket.set_tcp_quickack(on)?;
        }
        if let Some(name) = &options.device {
            device::set(socket, name)?;
        }
        Ok(())
    }

    pub(super) fn read(socket: &Socket, options: &mut StreamOptions) -> io::Result<()> {
        options.user_timeout = socket.tcp_user_timeout()?;
        options.not_sent_low_water = Some(socket.tcp_notsent_lowat()?);
        options.quick_ack = Some(socket.tcp_quickack()?);
        options.device = device::read(socket)?;
        Ok(())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod linux {
    use super::{Socket, StreamOptions, device, io, unsupported};

    pub(super) fn set(socket: &Socket, options: &StreamOptions) -> io::Result<()> {
        if options.user_timeout.is_some() {
            return Err(unsupported("TCP_USER_TIMEOUT"));
        }
        if options.not_sent_low_water.is_some() {
            return Err(unsupported("TCP_NOTSENT_LOWAT"));
        }
        if options.quick_ack.is_some() {
            return Err(unsupported("TCP_QUICKACK"));
        }
        if let Some(name) = &options.device {
            device::set(socket, name)?;
        }
        Ok(())
    }

    pub(super) fn read(_: &Socket, _: &mut StreamOptions) -> io::Result<()> {
        Ok(())
    }
}

/// The answer to an option that this system, or this build, does not have.
pub(super) fn unsupported(option: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{option} cannot be set on this system"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn every_option() -> StreamOptions {
        use std::time::Duration;

        StreamOptions {
            nodelay: true,
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(61),
                interval: Duration::from_secs(7),
                count: 4,
            }),
            recv_buffer: Some(32 * 1024),
            send_buffer: Some(48 * 1024),
            user_timeout: Some(Duration::from_millis(12_345)),
            not_sent_low_water: Some(16 * 1024),
            quick_ack: Some(false),
            ttl: Some(44),
            tos: Some(0x20),
            device: None,
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn every_option_is_read_back_as_it_was_set() {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let Ok(socket) = socket::open(domain) else {
                continue; // A machine without IPv6.
            };
            set(&socket, domain, &every_option()).unwrap();
            assert_eq!(read(&socket, domain).unwrap(), every_option());
        }
    }

    #[test]
    fn an_option_that_is_not_asked_for_stays_as_it_is() {
        let socket = socket::open(Domain::IPV4).unwrap();
        let options = StreamOptions {
            ttl: Some(33),
            ..StreamOptions::default()
        };
        set(&socket, Domain::IPV4, &options).unwrap();
        set(&socket, Domain::IPV4, &StreamOptions::default()).unwrap();
        assert_eq!(read(&socket, Domain::IPV4).unwrap().ttl, Some(33));
    }

    #[test]
    fn replacing_turns_off_what_is_not_wanted_any_more() {
        let socket = socket::open(Domain::IPV4).unwrap();
        socket.set_keepalive(true).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        let options = StreamOptions {
            nodelay: false,
            ..StreamOptions::default()
        };
        replace(&socket, Domain::IPV4, &options).unwrap();
        let read = read(&socket, Domain::IPV4).unwrap();
        assert_eq!((read.nodelay, read.keepalive), (false, None));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_unix_socket_takes_the_buffers_and_passes_over_the_rest() {
        let socket = socket::open(Domain::UNIX).unwrap();
        set(&socket, Domain::UNIX, &every_option()).unwrap();
        let expected = StreamOptions {
            recv_buffer: every_option().recv_buffer,
            send_buffer: every_option().send_buffer,
            ..StreamOptions::default()
        };
        assert_eq!(read(&socket, Domain::UNIX).unwrap(), expected);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_buffer_beyond_the_limit_is_clamped_and_no_error() {
        let socket = socket::open(Domain::IPV4).unwrap();
        let asked_len = 1 << 30;
        let options = StreamOptions {
            recv_buffer: Some(asked_len),
            ..StreamOptions::default()
        };
        set(&socket, Domain::IPV4, &options).unwrap();
        warn_of_clamps(&socket, options.recv_buffer, options.send_buffer);
        assert!(read(&socket, Domain::IPV4).unwrap().recv_buffer < Some(asked_len));
    }
}
