//! What the bare loop answers. The others are divided by it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use super::bare_loop::{self, BUFFER_LEN, Connections, Next};
use super::{BODY, SINK, Served, Service};

pub(crate) fn serve(service: Service, address: SocketAddr) -> Served {
    if service == Service::Udp {
        return Ok(datagrams(address)?);
    }
    let listener = super::listen(address)?;
    match service {
        Service::Http | Service::Connect => {
            // One reply, as often as one read can ask for it.
            let hello = hello();
            let replies: &'static [u8] = hello.repeat(BUFFER_LEN / MIN_REQUEST).leak();
            bare_loop::serve(listener, |connections, event, buffer| {
                bare_loop::answer(connections, event, buffer, |read| {
                    let is_last = read.ends_with(CLOSE);
                    let next = if is_last { Next::Close } else { Next::Wait };
                    (&replies[..hello.len() * requests(read)], next)
                });
            })?;
        }
        Service::Chat => bare_loop::serve(listener, |connections, event, buffer| {
            broadcast(connections, event.token().0, buffer);
        })?,
        _ => bare_loop::serve(listener, bare_loop::echo)?,
    }
    Ok(())
}

/// What is read from one is written to all; what does not fit is lost.
fn broadcast(connections: &mut Connections, from: usize, buffer: &mut [u8]) {
    let Some(sender) = &mut connections[from] else {
        return;
    };
    let len = match sender.stream.read(buffer) {
        Ok(0) => {
            connections[from] = None;
            return;
        }
        Ok(len) => len,
        Err(_) => return,
    };
    for receiver in connections.iter_mut().flatten() {
        // Who has gone is noticed by its own event.
        let _ = receiver.stream.write(&buffer[..len]);
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

fn hello() -> Vec<u8> {
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
