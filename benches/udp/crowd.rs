//! A thousand subscribers, each with an address of its own on this machine.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use windlass::Token;
use windlass::net::{Address, Bind, Datagrams, Os, OsDatagram, Transmit};
use windlass::protocol::{Cookie, HubMessage};

/// Subscribers, on a few sockets: what is sent to all of them fits into the sockets' buffers.
pub(crate) struct Crowd {
    network: Os,
    sockets: Vec<OsDatagram>,
    to: Address,
    /// The first one's, who publishes.
    cookie: Cookie,
    /// Somebody else, who asks how far the hub has come.
    asking: UdpSocket,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Subscribes them all.
    pub(crate) fn new(port: u16) -> io::Result<Crowd> {
        let mut network = Os::new()?;
        let mut sockets = Vec::new();
        for index in 0..SOCKETS {
            let bind = Bind::on("0.0.0.0:0").map_err(io::Error::other)?;
            sockets.push(network.bind(Token::from_parts(index, 0), &bind)?);
        }
        let asking = UdpSocket::bind("127.0.0.1:0")?;
        asking.connect((Ipv4Addr::LOCALHOST, port))?;
        asking.set_read_timeout(Some(PATIENCE))?;
        let mut crowd = Crowd {
            network,
            sockets,
            to: Address::Ip(([127, 0, 0, 1], port).into()),
            cookie: Cookie::default(),
            asking,
            buffer: vec![0; 65_536],
        };
        for member in (0..SUBSCRIBERS).rev() {
            let cookie = crowd.ask(member, &HubMessage::Hello)?;
            crowd.cookie = crowd.ask(member, &HubMessage::Subscribe(cookie))?;
        }
        Ok(crowd)
    }

    /// The first one publishes. Answers, once that was sent to all others, to how many.
    pub(crate) fn publish(&mut self) -> io::Result<u64> {
        self.send(0, &HubMessage::Publish(self.cookie, &[7; 64]))?;
        self.asking.send(&HubMessage::Hello.to_bytes())?;
        self.asking.recv(&mut self.buffer)?;
        for socket in &mut self.sockets {
            while self.network.receive(socket, &mut self.buffer).is_ok() {}
        }
        Ok(u64::from(SUBSCRIBERS) - 1)
    }

    fn ask(&mut self, member: u16, message: &HubMessage<'_>) -> io::Result<Cookie> {
        self.send(member, message)?;
        let socket = &mut self.sockets[usize::from(member % SOCKETS as u16)];
        loop {
            match self.network.receive(socket, &mut self.buffer) {
                Ok(received) if received.len >= 26 => {
                    let cookie = self.buffer[6..26].try_into();
                    return cookie.map_err(io::Error::other);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
                    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
                    if rustix::event::poll(&mut fds, Some(&patience))? == 0 {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, member: u16, message: &HubMessage<'_>) -> io::Result<()> {
        // Neither the network's own address nor everybody's.
        let [high, low] = [member / 200, member % 200 + 1].map(|byte| byte as u8);
        let bytes = message.to_bytes();
        let transmit = Transmit {
            from: Some([127, 1, high, low].into()),
            ..Transmit::new(Some(&self.to), &bytes)
        };
        let socket = &mut self.sockets[usize::from(member % SOCKETS as u16)];
        self.network.transmit(socket, &transmit)
    }
}

const SUBSCRIBERS: u16 = 1000;
const SOCKETS: u32 = 5;
/// A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(10);
