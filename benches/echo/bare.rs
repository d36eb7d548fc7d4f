//! The bare loop: the least that a server on `mio` can do.
//!
//! One static buffer, edge-triggered, a short read taken for a drained socket. It parses nothing
//! and protects from nothing: no limits, no time-outs, no careful close. Knows not what is
//! answered: `benches/peers` has it answer other things than an echo.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

/// By descriptor.
pub(crate) type Connections = Vec<Option<Connection>>;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What the kernel did not take.
    pending: Vec<u8>,
    /// There is more to read once `pending` has left.
    has_more: bool,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    Wait,
    Close,
}

/// A listener whose connections do not wait for one another's small packets.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Serves until the process is killed.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    mut on_ready: impl FnMut(&mut Connections, &Event, &mut [u8]),
) -> io::Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let key = Token(listener.as_raw_fd() as usize);
    poll.registry()
        .register(&mut listener, key, Interest::READABLE)?;
    let mut connections = Connections::new();
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == key {
                accept_all(&listener, &poll, &mut connections)?;
            } else {
                on_ready(&mut connections, event, &mut buffer);
            }
        }
    }
}

/// Sends back what comes.
pub(crate) fn echo(connections: &mut Connections, event: &Event, buffer: &mut [u8]) {
    answer(connections, event, buffer, |read| (read, Next::Wait));
}

/// Sends what `reply` makes of each read, and goes on as it says once that has left.
pub(crate) fn answer(
    connections: &mut Connections,
    event: &Event,
    buffer: &mut [u8],
    reply: impl Fn(&[u8]) -> (&[u8], Next),
) {
    let slot = &mut connections[event.token().0];
    if let Some(connection) = slot
        && connection.on_ready(event, buffer, reply) == Next::Close
    {
        *slot = None;
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Connections,
) -> io::Result<()> {
    while let Ok((mut stream, _)) = listener.accept() {
        let index = stream.as_raw_fd() as usize;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), both)?;
        if index >= connections.len() {
            connections.resize_with(index + 1, || None);
        }
        connections[index] = Some(Connection {
            stream,
            pending: Vec::new(),
            has_more: false,
        });
    }
    Ok(())
}

impl Connection {
    fn on_ready(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        reply: impl Fn(&[u8]) -> (&[u8], Next),
    ) -> Next {
        if event.is_error() {
            return Next::Close;
        }
        if !self.pending.is_empty() {
            let is_flushed = event.is_writable() && self.flush();
            if !is_flushed {
                self.has_more |= event.is_readable();
                return Next::Wait;
            }
        }
        if !event.is_readable() && !self.has_more {
            return Next::Wait;
        }
        self.has_more = false;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Next::Close,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(_) => return Next::Close,
            };
            let (out, next) = reply(&buffer[..len]);
            let written = match self.stream.write(out) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Next::Close,
            };
            if written < out.len() {
                self.pending.extend_from_slice(&out[written..]);
                self.has_more = true;
                return Next::Wait;
            }
            if next == Next::Close {
                return next;
            }
            if len < buffer.len() && !event.is_read_closed() {
                return Next::Wait;
            }
        }
    }

    /// Answers whether nothing is left to be written. A failure is told by the next read.
    fn flush(&mut self) -> bool {
        let mut written = 0;
        while written < self.pending.len() {
            match self.stream.write(&self.pending[written..]) {
                Ok(len) => written += len,
                Err(_) => break,
            }
        }
        self.pending.drain(..written);
        self.pending.is_empty()
    }
}

/// What one read takes at most.
pub(crate) const BUFFER_LEN: usize = 64 * 1024;
