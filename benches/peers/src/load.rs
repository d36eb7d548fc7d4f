//! The load: clients in one thread, which wait for their replies or send at a fixed rate.
//!
//! Knows where the server is, and nothing else of it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::clients::{self, Clients, Exchange, Meter, PATIENCE, receive, send};
use super::peers::{ECHO, SINK};
use super::workload::{Request, Shape};

/// A meter for a fixed rate.
pub(crate) trait Timed: Meter {
    /// How long after it was due a message was answered.
    fn took(&mut self, time: Duration);
}

pub(crate) fn run(shape: Shape, server: SocketAddr, meter: &mut impl Timed) -> io::Result<()> {
    match shape {
        Shape::Exchange {
            connections,
            request,
            at_once,
        } => {
            let exchange = exchange(server, request, at_once)?;
            clients::exchange(server, connections, &exchange, meter)
        }
        Shape::Bulk => clients::stream(server, meter),
        Shape::Connect { connections } => connect_again(server, connections, meter),
        Shape::Rate {
            connections,
            request,
            per_second,
        } => {
            let exchange = exchange(server, request, 1)?;
            rate(server, connections, &exchange, per_second, meter)
        }
        Shape::Datagrams { is_sink } => datagrams(server, is_sink, meter),
        Shape::FanOut { members } => fan_out(server, members, meter),
        Shape::Idle { .. } => Err(io::Error::other("an idle connection is no load")),
    }
}

/// Asks the server once, because only it knows how long its answers are.
pub(crate) fn exchange(
    server: SocketAddr,
    request: Request,
    at_once: usize,
) -> io::Result<Exchange> {
    let one = match request {
        Request::Bytes(len) => Exchange::echo(len),
        Request::Get(path) => {
            let request = get(path, "");
            let reply_len = reply_len(server, &request)?;
            let messages = 1;
            Exchange {
                request,
                reply_len,
                messages,
            }
        }
    };
    Ok(Exchange {
        request: one.request.repeat(at_once),
        reply_len: one.reply_len * at_once,
        messages: at_once as u64,
    })
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

fn connect_again(server: SocketAddr, connections: usize, meter: &mut impl Meter) -> io::Result<()> {
    let request = get("/", "Connection: close\r\n");
    let mut all = Clients::connecting(server, connections)?;
    let mut over = Vec::new();
    loop {
        if let Err(error) = all.wait() {
            let is_answered = all.clients.iter().any(|client| client.received > 0);
            let why = "the server answers, and does not close as it is asked to";
            return Err(if is_answered {
                io::Error::other(why)
            } else {
                error
            });
        }
        if meter.is_over()? {
            return Ok(());
        }
        for event in &all.events {
            let client = &mut all.clients[event.token().0];
            if event.is_writable() && !client.has_sent {
                client.has_sent = true;
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
        for index in over.drain(..) {
            meter.add(1);
            all.replace(index, server)?;
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
    meter: &mut impl Timed,
) -> io::Result<()> {
    let mut all = Clients::connected(server, connections)?;
    let mut idle: VecDeque<usize> = (0..connections).collect();
    // When what is under way was due.
    let mut due_of: Vec<Option<Instant>> = vec![None; connections];
    let pause = Duration::from_nanos(1_000_000_000 / per_second);
    let mut due = Instant::now();
    loop {
        // Without waiting: the core is there for it, and a poller's time-outs are too coarse.
        all.poll.poll(&mut all.events, Some(Duration::ZERO))?;
        for event in &all.events {
            let index = event.token().0;
            let Some(due) = due_of[index] else { continue };
            if all.clients[index].take(&mut all.buffer, exchange.reply_len)? {
                due_of[index] = None;
                meter.took(due.elapsed());
                meter.add(1);
                idle.push_back(index);
            }
        }
        while due <= Instant::now() {
            let Some(index) = idle.pop_front() else { break };
            due_of[index] = Some(due);
            send(&mut all.clients[index].stream, &exchange.request)?;
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
