//! The bare loop: the least that a server on `mio` can do. The others are divided by it.
//!
//! One static buffer, edge-triggered, a short read taken for a drained socket. It parses nothing
//! and protects from nothing: no limits, no time-outs, no careful close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use super::{BODY, SINK, Served, Service};

pub(crate) fn serve(service: Service, address: SocketAddr) -> Served {
    Ok(match service {
        Service::Udp => datagrams(address)?,
        _ => Loop::new(service, address)?.run()?,
    })
}

struct Loop {
    service: Service,
    listener: TcpListener,
    poll: Poll,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
}

struct Connection {
    stream: TcpStream,
    /// What the kernel did not take.
    pending: Vec<u8>,
    /// There is more to read once `pending` has left.
    has_more: bool,
}

#[derive(PartialEq, Eq)]
enum Next {
    Wait,
    Close,
}

impl Loop {
    fn new(service: Service, address: SocketAddr) -> io::Result<Loop> {
        let mut listener = TcpListener::from_std(super::listen(address)?);
        let poll = Poll::new()?;
        let key = Token(listener.as_raw_fd() as usize);
        let registry = poll.registry();
        registry.register(&mut listener, key, Interest::READABLE)?;
        Ok(Loop {
            service,
            listener,
            poll,
            connections: Vec::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let key = Token(self.listener.as_raw_fd() as usize);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        // One reply, as often as one read can ask for it.
        let reply = reply();
        let replies = reply.repeat(buffer.len() / MIN_REQUEST);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                let Token(index) = event.token();
                if event.token() == key {
                    self.accept_all()?;
                } else if self.service == Service::Chat {
                    self.broadcast(index, &mut buffer);
                } else if let Some(connection) = &mut self.connections[index] {
                    let is_http = self.service == Service::Http;
                    let http = is_http.then_some((&replies[..], reply.len()));
                    if connection.on_ready(event, &mut buffer, http) == Next::Close {
                        self.connections[index] = None;
                    }
                }
            }
        }
    }

    fn accept_all(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let index = stream.as_raw_fd() as usize;
            let both = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, Token(index), both)?;
            if index >= self.connections.len() {
                self.connections.resize_with(index + 1, || None);
            }
            self.connections[index] = Some(Connection {
                stream,
                pending: Vec::new(),
                has_more: false,
            });
        }
        Ok(())
    }

    /// What is read from one is written to all; what does not fit is lost.
    fn broadcast(&mut self, from: usize, buffer: &mut [u8]) {
        let Some(sender) = &mut self.connections[from] else {
            return;
        };
        let len = match sender.stream.read(buffer) {
            Ok(0) => {
                self.connections[from] = None;
                return;
            }
            Ok(len) => len,
            Err(_) => return,
        };
        for receiver in self.connections.iter_mut().flatten() {
            // Who has gone is noticed by its own event.
            let _ = receiver.stream.write(&buffer[..len]);
        }
    }
}

impl Connection {
    fn on_ready(
        &mut self,
        event: &mio::event::Event,
        buffer: &mut [u8],
        http: Option<(&[u8], usize)>,
    ) -> Next {
        if event.is_error() {
            return Next::Close;
        }
        if !self.pending.is_empty() && !(event.is_writable() && self.flush()) {
            self.has_more |= event.is_readable();
            return Next::Wait;
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
            let read = &buffer[..len];
            let out = match http {
                None => read,
                Some((replies, len)) => &replies[..len * requests(read)],
            };
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
            if http.is_some() && read.ends_with(CLOSE) {
                return Next::Close;
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

/// Every blank line ends one.
fn requests(read: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = read;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\r') {
        let is_blank = rest[at..].starts_with(b"\r\n\r\n");
        count += usize::from(is_blank);
        rest = &rest[(at + if is_blank { 4 } else { 2 }).min(rest.len())..];
    }
    count
}

fn reply() -> Vec<u8> {
    let len = BODY.len();
    format!(
        "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{BODY}"
    )
    .into_bytes()
}

fn datagrams(address: SocketAddr) -> io::Result<()> {
    let mut socket = UdpSocket::bind(address)?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let registry = poll.registry();
    registry.register(&mut socket, Token(0), Interest::READABLE)?;
    let mut buffer = vec![0; 65_536];
    loop {
        poll.poll(&mut events, None)?;
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((SINK, _)) => {}
                Ok((len, from)) => {
                    socket.send_to(&buffer[..len], from)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// How a request ends that wants the connection closed.
const CLOSE: &[u8] = b"Connection: close\r\n\r\n";
/// Bytes that a request has at least.
const MIN_REQUEST: usize = 18;
