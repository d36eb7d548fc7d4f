//! Connections of a load, in a poller, and the loads that consist of bytes.
//!
//! `benches/peers` loads with it, too. Knows the server's address, and nothing else of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Counts messages, and says when it is enough.
pub(crate) trait Meter {
    fn add(&mut self, messages: u64);
    /// Is asked now and then.
    fn is_over(&mut self) -> io::Result<bool>;
    /// Before each exchange of a single connection.
    fn before_sending(&mut self) {}
}

/// What is sent at once, and how long the answer to it is.
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) reply_len: usize,
    pub(crate) messages: u64,
}

impl Exchange {
    /// So many bytes, which come back.
    pub(crate) fn echo(len: usize) -> Exchange {
        Exchange {
            request: vec![b'x'; len],
            reply_len: len,
            messages: 1,
        }
    }
}

/// Connections in a poller, by their index.
pub(crate) struct Clients {
    pub(crate) poll: Poll,
    pub(crate) events: Events,
    pub(crate) clients: Vec<Client>,
    pub(crate) buffer: Vec<u8>,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) received: usize,
    pub(crate) has_sent: bool,
}

impl Clients {
    pub(crate) fn new() -> io::Result<Clients> {
        Ok(Clients {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            buffer: vec![0; 256 * 1024],
        })
    }

    pub(crate) fn connected(server: SocketAddr, count: usize) -> io::Result<Clients> {
        let mut all = Clients::new()?;
        for index in 0..count {
            let client = all.client(index, connect(server)?)?;
            all.clients.push(client);
        }
        Ok(all)
    }

    /// So many that begin to connect.
    pub(crate) fn connecting(server: SocketAddr, count: usize) -> io::Result<Clients> {
        let mut all = Clients::new()?;
        for index in 0..count {
            let client = all.connecting_client(index, server)?;
            all.clients.push(client);
        }
        Ok(all)
    }

    /// Connects anew.
    pub(crate) fn replace(&mut self, index: usize, server: SocketAddr) -> io::Result<()> {
        self.clients[index] = self.connecting_client(index, server)?;
        Ok(())
    }

    /// Does not wait for the connection to be made.
    ///
    /// The 28,000 ports from which loopback connects suffice: those whose connection has ended are
    /// used again after a second (`net.ipv4.tcp_tw_reuse`).
    fn connecting_client(&self, index: usize, server: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        self.client(index, stream)
    }

    fn client(&self, index: usize, mut stream: TcpStream) -> io::Result<Client> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(index), both)?;
        Ok(Client {
            stream,
            received: 0,
            has_sent: false,
        })
    }

    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(PATIENCE))?;
        if self.events.is_empty() {
            return Err(io::Error::other("the server does not answer"));
        }
        Ok(())
    }
}

impl Client {
    /// Takes what there is; answers whether that was the whole reply.
    pub(crate) fn take(&mut self, buffer: &mut [u8], reply_len: usize) -> io::Result<bool> {
        loop {
            let len = receive(&mut self.stream, buffer)?;
            self.received += len;
            if self.received > reply_len {
                return Err(io::Error::other("a reply is longer than the first one"));
            }
            if self.received == reply_len {
                self.received = 0;
                return Ok(true);
            }
            if len < buffer.len() {
                return Ok(false);
            }
        }
    }
}

pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    // Blocking, so that the server's backlog is never too long.
    let stream = std::net::TcpStream::connect(server)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(TcpStream::from_std(stream))
}

pub(crate) fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < message.len() {
        match stream.write(&message[sent..]) {
            Ok(len) => sent += len,
            // A large message and a small socket: the server is about to read.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What can be read now; 0 if there is nothing.
pub(crate) fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// So many connections, each of which sends again when it is answered.
pub(crate) fn exchange(
    server: SocketAddr,
    connections: usize,
    exchange: &Exchange,
    meter: &mut impl Meter,
) -> io::Result<()> {
    let mut all = Clients::connected(server, connections)?;
    for client in &mut all.clients {
        meter.before_sending();
        send(&mut client.stream, &exchange.request)?;
    }
    loop {
        all.wait()?;
        for event in &all.events {
            let client = &mut all.clients[event.token().0];
            if client.take(&mut all.buffer, exchange.reply_len)? {
                meter.add(exchange.messages);
                if meter.is_over()? {
                    return Ok(());
                }
                meter.before_sending();
                send(&mut client.stream, &exchange.request)?;
            }
        }
    }
}

/// One connection sends for as long as the server takes it; 16 KiB count as a message.
pub(crate) fn stream(server: SocketAddr, meter: &mut impl Meter) -> io::Result<()> {
    let bytes = vec![b'x'; 64 * 1024];
    let mut all = Clients::connected(server, 1)?;
    // What was received and is not yet a whole unit.
    let mut rest = 0;
    loop {
        all.wait()?;
        let mut is_blocked = false;
        while !is_blocked {
            if meter.is_over()? {
                return Ok(());
            }
            for _ in 0..64 {
                let client = &mut all.clients[0];
                let sent = match client.stream.write(&bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    result => result?,
                };
                let len = receive(&mut client.stream, &mut all.buffer)?;
                rest += len;
                meter.add((rest / STREAM_UNIT) as u64);
                rest %= STREAM_UNIT;
                is_blocked = sent == 0 && len == 0;
                if is_blocked {
                    break;
                }
            }
        }
    }
}

/// One exchange over a connection that is otherwise idle.
pub(crate) fn ask(stream: &mut TcpStream, exchange: &Exchange) -> io::Result<()> {
    send(stream, &exchange.request)?;
    let mut buffer = [0; 4096];
    let mut received = 0;
    let since = Instant::now();
    while received < exchange.reply_len {
        received += receive(stream, &mut buffer)?;
        if since.elapsed() > PATIENCE {
            return Err(io::Error::other("the server does not answer"));
        }
    }
    Ok(())
}

/// A failure, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that count as one message of a stream.
const STREAM_UNIT: usize = 16 * 1024;
