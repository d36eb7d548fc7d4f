//! `Announcer`: tells everybody on a network, or a group, that we are here.
//!
//! Knows neither sockets nor the reactor: what goes to many passes the socket's storm guard.

use std::time::Duration;

use super::Mail;
use super::announcement::Announcement;
use super::datagram::{Datagram, DatagramProtocol};
use super::datagram_context::DatagramContext;
use super::effects::TimerId;
use crate::net::Address;

/// Sends an [`Announcement`] to one or more addresses: at once, then every interval, and whenever
/// it gets the mail [`Announce`].
///
/// The socket needs [`Bind::broadcast`](crate::net::Bind::broadcast) to reach broadcast addresses.
///
/// ```no_run
/// use std::time::Duration;
/// use windlass::Reactor;
/// use windlass::net::{Address, Bind};
/// use windlass::protocol::Announcer;
///
/// let mut reactor = Reactor::new()?;
/// let everybody: Address = "255.255.255.255:7400".parse()?;
/// let announcer = Announcer::new(1234, "printer").to(everybody).every(Duration::from_secs(5));
/// reactor.bind(Bind::on("0.0.0.0:0")?.broadcast(true), announcer)?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Announcer {
    id: u64,
    payload: Vec<u8>,
    to: Vec<Address>,
    interface: Option<u32>,
    interval: Option<Duration>,
    hops: u8,
    sequence: u64,
}

/// A mail to an [`Announcer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announce {
    /// Announce now.
    Now,
    /// Announce this from now on, and now.
    Payload(Vec<u8>),
}

impl Announcer {
    /// An announcer whose `id` no other one on the network has: best a random number.
    ///
    /// Of the payload [`Announcement::MAX_PAYLOAD_LEN`] bytes (1,200) are sent; the rest is cut
    /// off, and logged.
    pub fn new(id: u64, payload: impl Into<Vec<u8>>) -> Announcer {
        let mut announcer = Announcer {
            id,
            payload: Vec::new(),
            to: Vec::new(),
            interface: None,
            interval: None,
            hops: 0,
            sequence: 0,
        };
        announcer.set_payload(payload.into());
        announcer
    }

    /// One more address to announce to.
    #[must_use]
    pub fn to(mut self, address: impl Into<Address>) -> Announcer {
        self.to.push(address.into());
        self
    }

    /// Announces by the interface with this index, on a machine with several. Default: the OS
    /// chooses, one for each address. Feature `udp-batch`, as for [`DatagramContext::send_by`].
    #[must_use]
    pub fn by(mut self, interface: u32) -> Announcer {
        self.interface = Some(interface);
        self
    }

    /// Announces periodically. Default: once, and on demand.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Announcer {
        self.interval = Some(interval);
        self
    }

    /// How many relays may pass it on. Default 0: it stays on its own network.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Announcer {
        self.hops = hops;
        self
    }

    fn set_payload(&mut self, mut payload: Vec<u8>) {
        if payload.len() > Announcement::MAX_PAYLOAD_LEN {
            let len = payload.len();
            log::warn!("an announcement of {len} bytes is cut off");
            payload.truncate(Announcement::MAX_PAYLOAD_LEN);
        }
        self.payload = payload;
    }

    fn announce(&mut self, cx: &mut DatagramContext<'_>) {
        self.sequence += 1;
        let bytes = Announcement {
            sender: self.id,
            sequence: self.sequence,
            hops: self.hops,
            interval: self.interval.unwrap_or_default(),
            payload: &self.payload,
        }
        .to_bytes();
        for to in &self.to {
            match self.interface {
                Some(interface) => cx.send_by(interface, to, &bytes),
                None => cx.send_to(to, &bytes),
            };
        }
    }
}

impl DatagramProtocol for Announcer {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.announce(cx);
        if let Some(interval) = self.interval {
            cx.set_interval(interval);
        }
    }

    /// Nobody is expected to answer.
    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        self.announce(cx);
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut DatagramContext<'_>) {
        match mail.downcast::<Announce>() {
            Ok(order) => {
                if let Announce::Payload(payload) = *order {
                    self.set_payload(payload);
                }
                self.announce(cx);
            }
            Err(_) => log::warn!("{}: an announcer takes no such mail", cx.token()),
        }
    }
}
