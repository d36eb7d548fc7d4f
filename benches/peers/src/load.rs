//! The load: clients in one thread, which wait for their replies or send at a fixed rate.
//!
//! Knows where the server is, and nothing else of it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::peers::{ECHO, SINK};
use super::workload::{Request, Shape};

/// Counts messages, and says when it is enough.
pub(crate) trait Meter {
    fn add(&mut self, messages: u64);
    /// Of a message at a fixed rate: how long after it was due it was answered.
    fn took(&mut self, time: Duration);
    /// Is asked now and then.
    fn is_over(&mut self) -> io::Result<bool>;
    /// Before each exchange of a single connection.
    fn before_sending(&mut self) {}
}

pub(crate) fn run(shape: Shape, server: SocketAddr, meter: &mut impl Meter) -> io::Result<()> {
    match shape {
        Shape::Exchange {
            connections,
            request,
            at_once,
        } => exchange(
            server,
            connections,
            &Exchange::new(server, request, at_once)?,
            meter,
        ),
        Shape::Bulk => bulk(server, meter),
        Shape::Connect { connections } => connect_again(server, connections, meter),
        Shape::Rate {
            connections,
            request,
            per_second,
        } => {
            let exchange = Exchange::new(server, request, 1)?;
            rate(server, connections, &exchange, per_second, meter)
        }
        Shape::Datagrams { is_sink } => datagrams(server, is_sink, meter),
        Shape::FanOut { members } => fan_out(server, members, meter),
        Shape::Idle { .. } => Err(io::Error::other("an idle connection is no load")),
    }
}

/// What is sent at once, and how long the answer to it is.
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) reply_len: usize,
    messages: u64,
}

impl Exchange {
    /// Asks the server once, because only it knows how long its answers are.
    pub(crate) fn new(
        server: SocketAddr,
        request: Request,
        at_once: usize,
    ) -> io::Result<Exchange> {
        let (one, reply_len) = match request {
            Request::Bytes(len) => (vec![b'x'; len], len),
            Request::Get(path) => {
                let head = get(path, "");
                let len = reply_len(server, &head)?;
                (head, len)
            }
        };
        Ok(Exchange {
            request: one.repeat(at_once),
            reply_len: reply_len * at_once,
            messages: at_once as u64,
        })
    }
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: peers\r\n{more}\r\n")
        .into_bytes()
}

/// Of the head and the body.
fn reply_len(server: SocketAddr, request: &[u8]) -> io::Result<usize> {
    let mut stream = std::net::TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        reply.extend_from_slice(&buffer[..len]);
        let Some(end) = reply.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(io::Error::other(format!("the server answers {head}")));
        }
        let body = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let body: Option<usize> = body.and_then(|len| len.trim().parse().ok());
        let body = body.ok_or_else(|| io::Error::other(format!("no length: {head}")))?;
        return Ok(end + 4 + body);
    }
}

/// Connections in a poller, by their index.
struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    received: usize,
    has_sent: bool,
    /// When what is under way was due, at a fixed rate.
    due: Option<Instant>,
}

impl Clients {
    fn new() -> io::Result<Clients> {
        Ok(Clients {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            buffer: vec![0; 256 * 1024],
        })
    }

    fn connected(server: SocketAddr, count: usize) -> io::Result<Clients> {
        let mut all = Clients::new()?;
        for index in 0..count {
            let client = all.client(index, connect(server)?)?;
            all.clients.push(client);
        }
        Ok(all)
    }

    fn client(&self, index: usize, mut stream: TcpStream) -> io::Result<Client> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(index), both)?;
        Ok(Client {
            stream,
            received: 0,
            has_sent: false,
            due: None,
        })
    }

    fn wait(&mut self) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(PATIENCE))?;
        if self.events.is_empty() {
            return Err(io::Error::other("the server does not answer"));
        }
        Ok(())
    }
}

impl Client {
    /// Takes what there is; answers whether that was the whole reply.
    fn take(&mut self, buffer: &mut [u8], reply_len: usize) -> io::Result<bool> {
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

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < message.len() {
        match stream.write(&message[sent..]) {
            Ok(len) => sent += len,
            // A large message and a small socket: the server is about to read.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What can be read now; 0 if there is nothing.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

fn exchange(
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

fn bulk(server: SocketAddr, meter: &mut impl Meter) -> io::Result<()> {
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
                meter.add((rest / BULK_UNIT) as u64);
                rest %= BULK_UNIT;
                is_blocked = sent == 0 && len == 0;
                if is_blocked {
                    break;
                }
            }
        }
    }
}

fn connect_again(server: SocketAddr, connections: usize, meter: &mut impl Meter) -> io::Result<()> {
    let request = get("/", "Connection: close\r\n");
    let mut all = Clients::new()?;
    for index in 0..connections {
        let client = all.client(index, TcpStream::connect(server)?)?;
        all.clients.push(client);
    }
    let mut over = Vec::new();
    loop {
        all.wait()?;
        if meter.is_over()? {
            return Ok(());
        }
        for event in &all.events {
            let client = &mut all.clients[event.token().0];
            if event.is_writable() && !client.has_sent {
                client.has_sent = true;
                client.stream.set_nodelay(true)?;
                send(&mut client.stream, &request)?;
            }
            if event.is_readable() && client.has_sent {
                match client.stream.read(&mut all.buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(len) if len > 0 && !event.is_read_closed() => client.received += len,
                    Ok(_) => over.push(event.token().0),
                    Err(error) => return Err(error),
                }
            }
        }
        // The ports from which loopback connects suffice: those whose connection has ended are
        // used again after a second (`net.ipv4.tcp_tw_reuse`).
        for index in over.drain(..) {
            meter.add(1);
            all.clients[index] = all.client(index, TcpStream::connect(server)?)?;
        }
    }
}

/// Sends when it is due, whether or not the server has kept up: a server that stalls is late with
/// all that was due meanwhile.
fn rate(
    server: SocketAddr,
    connections: usize,
    exchange: &Exchange,
    per_second: u64,
    meter: &mut impl Meter,
) -> io::Result<()> {
    let mut all = Clients::connected(server, connections)?;
    let mut idle: VecDeque<usize> = (0..connections).collect();
    let pause = Duration::from_nanos(1_000_000_000 / per_second);
    let mut due = Instant::now();
    loop {
        // Without waiting: the core is there for it, and a poller's time-outs are too coarse.
        all.poll.poll(&mut all.events, Some(Duration::ZERO))?;
        for event in &all.events {
            let index = event.token().0;
            let client = &mut all.clients[index];
            if client.due.is_some() && client.take(&mut all.buffer, exchange.reply_len)? {
                let due = client.due.take().expect("it is under way");
                meter.took(due.elapsed());
                meter.add(1);
                idle.push_back(index);
            }
        }
        while due <= Instant::now() {
            let Some(index) = idle.pop_front() else { break };
            let client = &mut all.clients[index];
            client.due = Some(due);
            send(&mut client.stream, &exchange.request)?;
            due += pause;
        }
        if meter.is_over()? {
            return Ok(());
        }
        if Instant::now().saturating_duration_since(due) > PATIENCE {
            return Err(io::Error::other("the server does not keep up"));
        }
    }
}

fn datagrams(server: SocketAddr, is_sink: bool, meter: &mut impl Meter) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 256];
    let (taken, echoed) = if is_sink { (63, 1) } else { (0, 32) };
    while !meter.is_over()? {
        meter.before_sending();
        for _ in 0..taken {
            socket.send(&[b'x'; SINK])?;
        }
        for _ in 0..echoed {
            socket.send(&[b'x'; ECHO])?;
        }
        for _ in 0..echoed {
            socket.recv(&mut buffer)?;
        }
        meter.add(taken + echoed);
    }
    Ok(())
}

fn fan_out(server: SocketAddr, members: usize, meter: &mut impl Meter) -> io::Result<()> {
    let line = b"land ahoy, land ahoy, land ahoy, land ahoy, land ahoy, land aho\n";
    let mut all = Clients::connected(server, members)?;
    // Everybody is a member only when all were accepted: again, until each has heard something.
    let mut has_heard = vec![false; members];
    while !has_heard.iter().all(|&has_heard| has_heard) {
        send(&mut all.clients[0].stream, line)?;
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(200) {
            let timeout = Some(Duration::from_millis(50));
            all.poll.poll(&mut all.events, timeout)?;
            for event in &all.events {
                let index = event.token().0;
                let client = &mut all.clients[index];
                while receive(&mut client.stream, &mut all.buffer)? > 0 {
                    has_heard[index] = true;
                    quiet = Instant::now();
                }
            }
        }
    }
    loop {
        send(&mut all.clients[0].stream, line)?;
        let mut left = members;
        while left > 0 {
            all.wait()?;
            for event in &all.events {
                let client = &mut all.clients[event.token().0];
                if client.take(&mut all.buffer, line.len())? {
                    left -= 1;
                }
            }
        }
        meter.add(members as u64);
        if meter.is_over()? {
            return Ok(());
        }
    }
}

/// One message over a connection that is otherwise idle.
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
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that count as one message.
const BULK_UNIT: usize = 16 * 1024;
