//! The load: connections that wait for each echo before they send again.
//!
//! Knows the server's port and process, and nothing else of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::column::{Column, Shape};
use super::process;

/// What to load whom with.
#[derive(Args)]
pub(crate) struct Order {
    #[arg(value_enum)]
    column: Column,
    #[arg(long)]
    port: u16,
    /// The server, whose CPU time is read; none is if this is 0.
    #[arg(long, default_value_t = 0)]
    pid: u32,
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Ends after so many messages instead, and measures no time.
    #[arg(long)]
    messages: Option<u64>,
    /// Connections that do nothing, besides.
    #[arg(long, default_value_t = 0)]
    idle: usize,
}

pub(crate) fn run(order: &Order) -> io::Result<()> {
    let server = SocketAddr::from(([127, 0, 0, 1], order.port));
    let idle = (0..order.idle)
        .map(|_| connect(server))
        .collect::<io::Result<Vec<_>>>()?;
    let mut meter = Meter::new(order);
    match order.column.shape() {
        Shape::Echo {
            connections,
            message_len,
        } => echo(server, connections, message_len, &mut meter)?,
        Shape::Stream => stream(server, &mut meter)?,
        Shape::Connect {
            connections,
            message_len,
        } => connect_again(server, connections, message_len, &mut meter)?,
        Shape::Idle { message_len } => return wait_and_send(idle, message_len),
    }
    println!("{} {}", meter.messages, meter.ns);
    Ok(())
}

/// Counts messages in a window of time, or until there are enough of them.
struct Meter {
    pid: u32,
    time: Duration,
    phase: Phase,
    messages: u64,
    /// What the server has run in the window.
    ns: u64,
}

enum Phase {
    WarmUp { until: Instant },
    Window { until: Instant, ns: u64 },
    Counting { max: u64 },
}

impl Meter {
    fn new(order: &Order) -> Meter {
        let time = Duration::from_secs_f64(order.secs);
        let phase = match order.messages {
            Some(max) => Phase::Counting { max },
            None => Phase::WarmUp {
                until: Instant::now() + time.min(WARM_UP),
            },
        };
        Meter {
            pid: order.pid,
            time,
            phase,
            messages: 0,
            ns: 0,
        }
    }

    fn add(&mut self, messages: u64) {
        if !matches!(self.phase, Phase::WarmUp { .. }) {
            self.messages += messages;
        }
    }

    /// Is asked now and then.
    fn is_over(&mut self) -> io::Result<bool> {
        match self.phase {
            Phase::Counting { max } => return Ok(self.messages >= max),
            Phase::WarmUp { until } if Instant::now() >= until => {
                self.phase = Phase::Window {
                    ns: process::cpu_ns(self.pid)?,
                    until: Instant::now() + self.time,
                };
            }
            Phase::Window { until, ns } if Instant::now() >= until => {
                self.ns = process::cpu_ns(self.pid)? - ns;
                return Ok(true);
            }
            Phase::WarmUp { .. } | Phase::Window { .. } => {}
        }
        Ok(false)
    }
}

/// Connections in a poller, by their index.
struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    received: usize,
    has_sent: bool,
}

impl Clients {
    fn new() -> io::Result<Clients> {
        Ok(Clients {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
        })
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

    fn push(&mut self, stream: TcpStream) -> io::Result<()> {
        let client = self.client(self.clients.len(), stream)?;
        self.clients.push(client);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(PATIENCE))?;
        if self.events.is_empty() {
            return Err(io::Error::other("the server does not answer"));
        }
        Ok(())
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    // Blocking, so that the server's backlog is never too long.
    let stream = std::net::TcpStream::connect(server)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(TcpStream::from_std(stream))
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let sent = stream.write(message)?;
    if sent < message.len() {
        return Err(io::Error::other("a message does not fit the socket"));
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

fn echo(
    server: SocketAddr,
    connections: usize,
    message_len: usize,
    meter: &mut Meter,
) -> io::Result<()> {
    let message = vec![b'x'; message_len];
    let mut buffer = vec![0; BUFFER_LEN];
    let mut all = Clients::new()?;
    for _ in 0..connections {
        all.push(connect(server)?)?;
    }
    for client in &mut all.clients {
        send(&mut client.stream, &message)?;
    }
    loop {
        all.wait()?;
        if meter.is_over()? {
            return Ok(());
        }
        for event in &all.events {
            let client = &mut all.clients[event.token().0];
            loop {
                let len = receive(&mut client.stream, &mut buffer)?;
                client.received += len;
                if client.received >= message_len {
                    client.received = 0;
                    meter.add(1);
                    send(&mut client.stream, &message)?;
                    break;
                }
                if len < buffer.len() {
                    break;
                }
            }
        }
    }
}

fn stream(server: SocketAddr, meter: &mut Meter) -> io::Result<()> {
    let bytes = vec![b'x'; PIECE_LEN];
    let mut buffer = vec![0; BUFFER_LEN];
    let mut all = Clients::new()?;
    all.push(connect(server)?)?;
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
                let len = receive(&mut client.stream, &mut buffer)?;
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

fn connect_again(
    server: SocketAddr,
    connections: usize,
    message_len: usize,
    meter: &mut Meter,
) -> io::Result<()> {
    let message = vec![b'x'; message_len];
    let mut buffer = vec![0; BUFFER_LEN];
    let mut all = Clients::new()?;
    for _ in 0..connections {
        all.push(begin_to_connect(server)?)?;
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
                send(&mut client.stream, &message)?;
            }
            if event.is_readable() {
                client.received += receive(&mut client.stream, &mut buffer)?;
                if client.received >= message_len {
                    meter.add(1);
                    over.push(event.token().0);
                }
            }
        }
        for index in over.drain(..) {
            all.clients[index] = all.client(index, begin_to_connect(server)?)?;
        }
    }
}

/// Does not wait for the connection to be made.
///
/// The 28,000 ports from which loopback connects suffice: those whose connection has ended are
/// used again after a second (`net.ipv4.tcp_tw_reuse`).
fn begin_to_connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes each step when it is told to: to have connected, to have sent a message on each.
fn wait_and_send(mut idle: Vec<TcpStream>, message_len: usize) -> io::Result<()> {
    let message = vec![b'x'; message_len];
    let mut buffer = vec![0; BUFFER_LEN];
    let is_wanted = || -> io::Result<bool> { Ok(io::stdin().read_line(&mut String::new())? > 0) };
    if !is_wanted()? {
        return Ok(());
    }
    println!("done");
    if !is_wanted()? {
        return Ok(());
    }
    for stream in &mut idle {
        send(stream, &message)?;
        SockRef::from(&*stream).set_nonblocking(false)?;
        let mut received = 0;
        while received < message_len {
            received += receive(stream, &mut buffer)?;
        }
    }
    println!("done");
    // Stays connected until the measurement is over.
    is_wanted()?;
    Ok(())
}

const WARM_UP: Duration = Duration::from_millis(300);
/// A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(20);
const BUFFER_LEN: usize = 256 * 1024;
const PIECE_LEN: usize = 64 * 1024;
/// Bytes that count as one message of a stream.
const STREAM_UNIT: usize = 16 * 1024;
