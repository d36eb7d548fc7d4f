//! The load: connections that wait for each echo before they send again.
//!
//! Knows the server's port and process, and nothing else of it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::TcpStream;

use super::clients::{self, Clients, Exchange, Meter};
use super::column::{Column, Shape};
use super::machine;

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
        .map(|_| clients::connect(server))
        .collect::<io::Result<Vec<_>>>()?;
    let mut meter = Window::new(order);
    match order.column.shape() {
        Shape::Echo {
            connections,
            message_len,
        } => {
            let echo = Exchange::echo(message_len);
            clients::exchange(server, connections, &echo, &mut meter)?;
        }
        Shape::Stream => clients::stream(server, &mut meter)?,
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
struct Window {
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

impl Window {
    fn new(order: &Order) -> Window {
        let time = Duration::from_secs_f64(order.secs);
        let phase = match order.messages {
            Some(max) => Phase::Counting { max },
            None => Phase::WarmUp {
                until: Instant::now() + time.min(WARM_UP),
            },
        };
        Window {
            pid: order.pid,
            time,
            phase,
            messages: 0,
            ns: 0,
        }
    }
}

impl Meter for Window {
    fn add(&mut self, messages: u64) {
        if !matches!(self.phase, Phase::WarmUp { .. }) {
            self.messages += messages;
        }
    }

    fn is_over(&mut self) -> io::Result<bool> {
        match self.phase {
            Phase::Counting { max } => return Ok(self.messages >= max),
            Phase::WarmUp { until } if Instant::now() >= until => {
                self.phase = Phase::Window {
                    ns: machine::cpu_ns(self.pid)?,
                    until: Instant::now() + self.time,
                };
            }
            Phase::Window { until, ns } if Instant::now() >= until => {
                self.ns = machine::cpu_ns(self.pid)? - ns;
                return Ok(true);
            }
            Phase::WarmUp { .. } | Phase::Window { .. } => {}
        }
        Ok(false)
    }
}

fn connect_again(
    server: SocketAddr,
    connections: usize,
    message_len: usize,
    meter: &mut Window,
) -> io::Result<()> {
    let message = vec![b'x'; message_len];
    let mut all = Clients::connecting(server, connections)?;
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
                clients::send(&mut client.stream, &message)?;
            }
            if event.is_readable() && client.take(&mut all.buffer, message_len)? {
                meter.add(1);
                over.push(event.token().0);
            }
        }
        for index in over.drain(..) {
            all.replace(index, server)?;
        }
    }
}

/// Takes each step when it is told to: to have connected, to have sent a message on each.
fn wait_and_send(mut idle: Vec<TcpStream>, message_len: usize) -> io::Result<()> {
    let echo = Exchange::echo(message_len);
    let is_wanted = || -> io::Result<bool> { Ok(io::stdin().read_line(&mut String::new())? > 0) };
    if !is_wanted()? {
        return Ok(());
    }
    println!("done");
    if !is_wanted()? {
        return Ok(());
    }
    for stream in &mut idle {
        clients::ask(stream, &echo)?;
    }
    println!("done");
    // Stays connected until the measurement is over.
    is_wanted()?;
    Ok(())
}

const WARM_UP: Duration = Duration::from_millis(300);
