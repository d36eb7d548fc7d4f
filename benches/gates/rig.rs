//! What is counted: a reactor that serves, with its clients in the same thread, or alone.
//!
//! Knows nothing of the tools that count it.

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process;
use std::time::Duration;

use nix::sys::socket::{self as nix_socket, ControlMessage, MsgFlags};
use windlass::Reactor;

use super::workload::{SEGMENT_LEN, Workload};

/// Serves until the process is killed.
pub(crate) fn serve(workload: Workload) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let address = workload.serve(&mut reactor)?;
    println!("{} {}", address.port(), process::id());
    Ok(reactor.run()?)
}

/// All clients send, the reactor turns until all have been answered, again and again. Prints the
/// allocations of the turns, and the messages.
pub(crate) fn exchange(workload: Workload) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let address = workload.serve(&mut reactor)?;
    let count = if workload.has_trains() {
        TRAINS
    } else {
        CLIENTS
    };
    let clients = (0..count).map(|_| Client::connect(workload, address));
    let mut clients = clients.collect::<io::Result<Vec<_>>>()?;
    let mut turn = |is_counted: bool| -> Result<u64, Box<dyn Error>> {
        if !is_counted {
            reactor.turn(Some(Duration::ZERO))?;
            return Ok(0);
        }
        let mut turned = Ok(());
        let allocated = allocation_counter::measure(|| turned = counted_turn(&mut reactor));
        turned?;
        Ok(allocated.count_total)
    };
    let mut allocations = 0;
    for round in 0..WARM_UP + COUNTED {
        for client in &mut clients {
            client.send(workload)?;
        }
        let mut turns = 0;
        while !clients
            .iter_mut()
            .all(|client| client.is_answered(workload))
        {
            allocations += turn(round >= WARM_UP)?;
            turns += 1;
            if turns > MAX_TURNS {
                return Err("the server does not answer".into());
            }
            for client in &mut clients {
                client.take()?;
            }
        }
    }
    let messages = (COUNTED * count * workload.messages()) as u64;
    println!("{allocations} {messages}");
    Ok(())
}

/// By its name callgrind knows what to count.
#[inline(never)]
fn counted_turn(reactor: &mut Reactor) -> Result<(), windlass::Error> {
    reactor.turn(Some(Duration::ZERO)).map(drop)
}

/// The other end, TCP or UDP.
pub(crate) enum Socket {
    Stream(TcpStream),
    Datagram(UdpSocket),
}

pub(crate) struct Client {
    socket: Socket,
    received: Vec<u8>,
}

impl Client {
    /// Whose reads do not wait.
    fn connect(workload: Workload, to: SocketAddr) -> io::Result<Client> {
        let client = Client::connect_blocking(workload, to)?;
        match &client.socket {
            Socket::Stream(stream) => stream.set_nonblocking(true)?,
            Socket::Datagram(socket) => socket.set_nonblocking(true)?,
        }
        Ok(client)
    }

    pub(crate) fn connect_blocking(workload: Workload, to: SocketAddr) -> io::Result<Client> {
        let socket = if workload.is_datagrams() {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            if workload.has_trains() {
                nix_socket::setsockopt(&socket, nix_socket::sockopt::UdpGroSegment, &true)?;
            }
            Socket::Datagram(socket)
        } else {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Socket::Stream(stream)
        };
        let received = Vec::new();
        Ok(Client { socket, received })
    }

    /// And forgets what it was answered before.
    pub(crate) fn send(&mut self, workload: Workload) -> io::Result<()> {
        self.received.clear();
        let request = workload.request();
        match &mut self.socket {
            Socket::Stream(stream) => stream.write_all(&request),
            Socket::Datagram(socket) if workload.has_trains() => send_train(socket, &request),
            Socket::Datagram(socket) => socket.send(&request).map(drop),
        }
    }

    /// Takes what has arrived.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let taken = match &mut self.socket {
            Socket::Stream(stream) => stream.read(&mut buffer),
            Socket::Datagram(socket) => socket.recv(&mut buffer),
        };
        match taken {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.received.extend_from_slice(&buffer[..len]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_answered(&self, workload: Workload) -> bool {
        workload.is_answered(&self.received)
    }
}

fn send_train(socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
    let segment_len = SEGMENT_LEN as u16;
    let controls = [ControlMessage::UdpGsoSegments(&segment_len)];
    let (slices, flags) = ([IoSlice::new(bytes)], MsgFlags::empty());
    nix_socket::sendmsg::<()>(socket.as_raw_fd(), &slices, &controls, flags, None)?;
    Ok(())
}

/// As many as a turn serves at a busy time.
const CLIENTS: usize = 64;
/// Trains at a time: the receive buffer of the server holds them even as single datagrams.
const TRAINS: usize = 2;
/// Rounds in which tables and buffers reach their size.
const WARM_UP: usize = 16;
/// Rounds that are counted.
const COUNTED: usize = 50;
/// Failures, not measures: the loopback interface may be late.
const MAX_TURNS: u32 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(20);
