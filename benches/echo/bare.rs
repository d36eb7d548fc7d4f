//! The bare loop: the least that an echo server on `mio` can do.
//!
//! One static buffer, edge-triggered, a short read taken for a drained socket. It parses nothing
//! and protects from nothing: no limits, no time-outs, no careful close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

/// A connection, by its descriptor.
struct Connection {
    stream: TcpStream,
    /// What the kernel did not take.
    pending: Vec<u8>,
    /// There is more to read once `pending` has left.
    has_more: bool,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Wait,
    Close,
}

/// Serves until the process is killed.
pub(crate) fn serve(announce: impl FnOnce(u16)) -> io::Result<()> {
    let mut listener = listen()?;
    announce(listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let key = Token(listener.as_raw_fd() as usize);
    poll.registry()
        .register(&mut listener, key, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == key {
                accept_all(&listener, &poll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[event.token().0];
            let Some(connection) = slot else { continue };
            if connection.on_ready(event, &mut buffer) == Next::Close {
                *slot = None;
            }
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
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
    fn on_ready(&mut self, event: &mio::event::Event, buffer: &mut [u8]) -> Next {
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
            let written = match self.stream.write(&buffer[..len]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Next::Close,
            };
            if written < len {
                self.pending.extend_from_slice(&buffer[written..len]);
                self.has_more = true;
                return Next::Wait;
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

const BUFFER_LEN: usize = 64 * 1024;
