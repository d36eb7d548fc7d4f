//! The load: sends as many datagrams as are to be under way, and waits for what comes back.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec};
use windlass::Token;
use windlass::net::{
    Address, Batching, Bind, DatagramOptions, Datagrams, Os, OsDatagram, Transmit,
};

use super::Task;
use super::crowd::Crowd;
use super::machine::cpu_ns;

#[derive(Args)]
pub(crate) struct Order {
    /// What to ask for.
    #[arg(value_enum)]
    task: Task,
    #[arg(long)]
    port: u16,
    /// Of the server.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    secs: f64,
}

pub(crate) fn run(order: &Order) -> io::Result<()> {
    let time = Duration::try_from_secs_f64(order.secs).map_err(io::Error::other)?;
    let mut client = Client::new(order)?;
    let warm_up = Instant::now();
    while warm_up.elapsed() < time / 10 {
        client.exchange()?;
    }
    let (began, before) = (Instant::now(), cpu_ns(order.pid)?);
    let mut datagrams = 0;
    while began.elapsed() < time {
        datagrams += client.exchange()?;
    }
    println!("{datagrams} {}", cpu_ns(order.pid)? - before);
    Ok(())
}

struct Client {
    task: Task,
    to: Address,
    plain: UdpSocket,
    network: Os,
    trains: OsDatagram,
    /// For [`Task::FanOut`].
    crowd: Option<Crowd>,
    buffer: Vec<u8>,
}

impl Client {
    fn new(order: &Order) -> io::Result<Client> {
        let to = Address::Ip(([127, 0, 0, 1], order.port).into());
        let plain = UdpSocket::bind("127.0.0.1:0")?;
        plain.connect(("127.0.0.1", order.port))?;
        plain.set_read_timeout(Some(PATIENCE))?;
        let mut network = Os::new()?;
        let options = DatagramOptions {
            batching: Some(Batching::On),
            ..DatagramOptions::default()
        };
        let bind = Bind::on("127.0.0.1:0").map_err(io::Error::other)?;
        let trains = network.bind(Token::from_parts(0, 0), &bind.options(options))?;
        let crowd = (order.task == Task::FanOut).then(|| Crowd::new(order.port));
        let crowd = crowd.transpose()?;
        Ok(Client {
            task: order.task,
            to,
            plain,
            network,
            trains,
            crowd,
            buffer: vec![7; 65_536],
        })
    }

    /// Answers how many datagrams the server was sent.
    fn exchange(&mut self) -> io::Result<u64> {
        if let Some(crowd) = &mut self.crowd {
            return crowd.publish();
        }
        match self.task {
            Task::PingPong => self.one_by_one(1, false),
            Task::Echo => self.one_by_one(32, false),
            Task::Sink => self.one_by_one(63, true),
            Task::EchoTrains => {
                self.send_train()?;
                self.await_bytes(TRAIN * LEN)?;
                Ok(TRAIN as u64)
            }
            Task::SinkTrains | Task::FanOut => {
                // No more, or a receive buffer that counts each datagram would overflow.
                for _ in 0..2 {
                    self.send_train()?;
                }
                let transmit = Transmit::new(Some(&self.to), &[1]);
                self.network.transmit(&mut self.trains, &transmit)?;
                self.await_bytes(1)?;
                Ok(2 * TRAIN as u64 + 1)
            }
        }
    }

    fn one_by_one(&mut self, count: usize, is_sink: bool) -> io::Result<u64> {
        for _ in 0..count {
            self.plain.send(&self.buffer[..LEN])?;
        }
        if is_sink {
            self.plain.send(&[1])?;
        }
        let expected = if is_sink { 1 } else { count };
        for _ in 0..expected {
            self.plain.recv(&mut self.buffer)?;
        }
        Ok(count as u64 + u64::from(is_sink))
    }

    fn send_train(&mut self) -> io::Result<()> {
        let transmit = Transmit {
            segment_len: Some(LEN),
            ..Transmit::new(Some(&self.to), &self.buffer[..TRAIN * LEN])
        };
        self.network.transmit(&mut self.trains, &transmit)
    }

    fn await_bytes(&mut self, mut left: usize) -> io::Result<()> {
        while left > 0 {
            match self.network.receive(&mut self.trains, &mut self.buffer) {
                Ok(received) => left = left.saturating_sub(received.len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::from_borrowed_fd(self.trains.as_fd(), PollFlags::IN)];
                    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
                    if rustix::event::poll(&mut fds, Some(&patience))? == 0 {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

const LEN: usize = 64;
const TRAIN: usize = 64;
/// A failure, not a measure: loopback loses nothing that fits into a buffer.
const PATIENCE: Duration = Duration::from_secs(10);
