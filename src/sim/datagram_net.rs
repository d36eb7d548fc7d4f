//! The simulated network's datagrams as one host's reactor sees them.
//!
//! A handle, and a translation of calls. Knows no protocols and no reactor.

use std::io::{self, ErrorKind};

use super::datagrams::{DatagramId, DatagramSocket};
use super::fabric::Fabric;
use super::network::SimNet;
use crate::net::{
    Address, Bind, DatagramOptions, Datagrams, Membership, Received, Report, Transmit,
};
use crate::token::Token;

/// A datagram socket in a simulated world.
#[derive(Debug)]
pub struct SimDatagram(DatagramId);

impl SimDatagram {
    fn of<'a>(&self, fabric: &'a mut Fabric) -> &'a mut DatagramSocket {
        &mut fabric.datagrams[self.0.key as usize]
    }
}

impl Datagrams for SimNet {
    type Datagram = SimDatagram;

    /// Opens a socket. Its address has to be one of the host's, mean any, or be that of a group or
    /// of everybody: 255.255.255.255, or 10.255.255.255.
    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<SimDatagram> {
        self.fabric()
            .bind(self.host(), token, bind)
            .map(SimDatagram)
    }

    fn receive(&mut self, socket: &mut SimDatagram, buf: &mut [u8]) -> io::Result<Received> {
        self.fabric().receive(socket.0, buf)
    }

    fn transmit(&mut self, socket: &mut SimDatagram, transmit: &Transmit<'_>) -> io::Result<()> {
        self.fabric().transmit(socket.0, transmit)
    }

    fn take_report(&mut self, socket: &mut SimDatagram) -> Option<Report> {
        self.fabric().take_report(socket.0)
    }

    fn max_train(&self, socket: &SimDatagram) -> usize {
        socket.of(&mut self.fabric()).max_train
    }

    fn dropped(&self, socket: &SimDatagram) -> u64 {
        socket.of(&mut self.fabric()).dropped
    }

    fn close_datagram(&mut self, socket: SimDatagram) {
        self.fabric().close_datagram(socket.0);
    }

    fn datagram_addr(&self, socket: &SimDatagram) -> io::Result<Address> {
        Ok(socket.of(&mut self.fabric()).address.clone())
    }

    fn datagram_peer(&self, socket: &SimDatagram) -> io::Result<Address> {
        let peer = socket.of(&mut self.fabric()).peer.clone();
        peer.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Remembers the options. The permission to broadcast, and whether groups hear themselves,
    /// have an effect.
    fn set_datagram_options(
        &mut self,
        socket: &mut SimDatagram,
        options: &DatagramOptions,
    ) -> io::Result<()> {
        socket.of(&mut self.fabric()).options = options.clone();
        Ok(())
    }

    fn datagram_options(&self, socket: &SimDatagram) -> io::Result<DatagramOptions> {
        Ok(socket.of(&mut self.fabric()).options.clone())
    }

    fn join(&mut self, socket: &mut SimDatagram, membership: &Membership) -> io::Result<()> {
        self.fabric().join(socket.0, membership)
    }

    fn leave(&mut self, socket: &mut SimDatagram, membership: &Membership) -> io::Result<()> {
        self.fabric().leave(socket.0, membership)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::Duration;

    use super::super::fates::Fates;
    use super::super::faults::Faults;
    use super::*;
    use crate::token::Tokens;

    /// Three hosts and their sockets, without reactors.
    struct Sea {
        fabric: Rc<RefCell<Fabric>>,
        nets: Vec<SimNet>,
        tokens: Tokens,
    }

    impl Sea {
        fn new(faults: Faults) -> Sea {
            let fabric = Rc::new(RefCell::new(Fabric::new(7, faults)));
            let host = |name| fabric.borrow_mut().add_host(name);
            let hosts = ["anne", "bert", "carl"].map(host);
            let nets = hosts.map(|host| SimNet::new(Rc::clone(&fabric), host));
            Sea {
                fabric,
                nets: nets.into(),
                tokens: Tokens::default(),
            }
        }

        fn bind(&mut self, host: usize, bind: &Bind) -> io::Result<SimDatagram> {
            let token = self.tokens.reserve();
            self.nets[host].bind(token, bind)
        }

        fn open(&mut self, host: usize, on: &str) -> SimDatagram {
            self.bind(host, &Bind::on(on).unwrap().broadcast(true))
                .unwrap()
        }

        fn send(
            &mut self,
            host: usize,
            from: &mut SimDatagram,
            to: &str,
            bytes: &[u8],
        ) -> io::Result<()> {
            let to = Address::from(to.parse::<SocketAddr>().unwrap());
            let transmit = Transmit {
                is_broadcast: true,
                ..Transmit::new(Some(&to), bytes)
            };
            self.nets[host].transmit(from, &transmit)
        }

        /// Lets everything happen that is under way.
        fn settle(&mut self) {
            let mut fabric = self.fabric.borrow_mut();
            while let Some(at) = fabric.agenda.next_at() {
                fabric.now = at;
                fabric.happen();
            }
        }

        /// Lets one thing happen.
        fn step(&mut self) {
            let mut fabric = self.fabric.borrow_mut();
            fabric.now = fabric.agenda.next_at().expect("something is under way");
            fabric.happen();
        }

        /// Whether a host's poller has something to tell.
        fn is_told(&self, host: usize) -> bool {
            !self.fabric.borrow().hosts[host].ready.is_empty()
        }

        /// Sends until there is no room, and answers how often that went well.
        #[track_caller]
        fn fill(&mut self, host: usize, from: &mut SimDatagram, to: &str, bytes: &[u8]) -> usize {
            for count in 0..1_000 {
                if let Err(error) = self.send(host, from, to, bytes) {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return count;
                }
            }
            panic!("there is always room");
        }

        /// What a socket receives until it would block.
        #[track_caller]
        fn received(&mut self, host: usize, socket: &mut SimDatagram) -> Vec<(Received, Vec<u8>)> {
            let mut all = Vec::new();
            let mut buf = [0; 2000];
            loop {
                match self.nets[host].receive(socket, &mut buf) {
                    Ok(received) => all.push((received.clone(), buf[..received.len].to_vec())),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        return all;
                    }
                }
            }
        }
    }

    #[test]
    fn a_datagram_arrives_whole_and_tells_where_from_and_where_to() {
        let mut sea = Sea::new(Faults::none());
        let mut anne = sea.open(0, "0.0.0.0:7");
        let mut bert = sea.open(1, "0.0.0.0:9");
        sea.send(0, &mut anne, "10.0.0.2:9", b"ahoy").unwrap();
        sea.send(0, &mut anne, "10.0.0.2:9", b"").unwrap();
        sea.settle();
        let all = sea.received(1, &mut bert);
        let bytes: Vec<&[u8]> = all.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(bytes, [&b"ahoy"[..], b""]);
        let received = &all[0].0;
        assert_eq!(received.from.to_string(), "10.0.0.1:7");
        assert_eq!(received.to, Some("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn everybody_hears_a_broadcast_and_members_hear_their_group() {
        let mut sea = Sea::new(Faults::none());
        let group = Membership::of("239.1.1.1".parse().unwrap());
        let from_anne = group.clone().from_source("10.0.0.1".parse().unwrap());
        let from_carl = group.clone().from_source("10.0.0.3".parse().unwrap());
        let bind = |memberships: &[&Membership]| {
            let bind = Bind::on("0.0.0.0:7").unwrap().broadcast(true);
            memberships
                .iter()
                .fold(bind, |bind, m| bind.join((*m).clone()))
        };
        let mut anne = sea.bind(0, &bind(&[])).unwrap();
        let mut bert = sea.bind(1, &bind(&[&from_anne])).unwrap();
        let mut carl = sea.bind(2, &bind(&[&from_carl])).unwrap();
        sea.send(0, &mut anne, "255.255.255.255:7", b"all").unwrap();
        sea.send(0, &mut anne, "239.1.1.1:7", b"group").unwrap();
        sea.settle();
        let counts = [(0, &mut anne), (1, &mut bert), (2, &mut carl)];
        let counts = counts.map(|(host, socket)| sea.received(host, socket).len());
        assert_eq!(counts, [1, 2, 1]);

        sea.nets[1].leave(&mut bert, &from_anne).unwrap();
        sea.nets[2].join(&mut carl, &group).unwrap();
        sea.send(0, &mut anne, "239.1.1.1:7", b"group").unwrap();
        sea.settle();
        assert_eq!(sea.received(1, &mut bert).len(), 0);
        assert_eq!(sea.received(2, &mut carl).len(), 1);
    }

    #[test]
    fn only_a_socket_with_one_peer_is_told_that_nobody_receives() {
        let mut sea = Sea::new(Faults::none());
        let mut connected = sea.bind(0, &Bind::to("10.0.0.2:9").unwrap()).unwrap();
        let mut open = sea.open(0, "0.0.0.0:7");
        sea.nets[0]
            .transmit(&mut connected, &Transmit::new(None, b"ahoy"))
            .unwrap();
        sea.send(0, &mut open, "10.0.0.2:9", b"ahoy").unwrap();
        sea.settle();
        let error = sea.nets[0]
            .receive(&mut connected, &mut [0; 9])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let report = sea.nets[0].take_report(&mut connected).unwrap();
        assert_eq!(report.to.unwrap().to_string(), "10.0.0.2:9");
        assert_eq!(sea.nets[0].take_report(&mut connected), None);
        assert_eq!(sea.received(0, &mut connected).len(), 0);
        assert_eq!(sea.received(0, &mut open).len(), 0);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_what_finds_no_room_is_counted() {
        let mut sea = Sea::new(Faults {
            max_datagram: Some(1000),
            ..Faults::none()
        });
        let mut anne = sea.bind(0, &Bind::on("10.0.0.1:7").unwrap()).unwrap();
        let mut bert = sea.open(1, "10.0.0.2:9");
        let codes = [
            ("10.0.0.2:9", 1001, Some(super::super::errno::TOO_LONG)),
            ("10.255.255.255:9", 10, Some(super::super::errno::NO_ACCESS)),
            ("192.0.2.1:9", 10, Some(super::super::errno::NO_ROUTE)),
            ("10.0.0.77:9", 10, None),
            ("10.0.0.2:9", 1000, None),
        ];
        for (to, len, code) in codes {
            let sent = sea.send(0, &mut anne, to, &vec![b'x'; len]);
            assert_eq!(
                sent.err().and_then(|error| error.raw_os_error()),
                code,
                "{to}"
            );
        }
        for _ in 0..500 {
            sea.send(0, &mut anne, "10.0.0.2:9", &[b'x'; 1000]).unwrap();
            sea.settle();
        }
        let received = sea.received(1, &mut bert).len() as u64;
        assert_eq!(received + sea.nets[1].dropped(&bert), 501);
        assert!(received < 501);
    }

    #[test]
    fn loss_doubles_and_trains_happen_and_boundaries_are_kept() {
        let mut sea = Sea::new(Faults {
            lose_datagram: 0.3,
            repeat_datagram: 0.3,
            delay_datagram: 0.5,
            merge_datagrams: 0.5,
            ..Faults::none()
        });
        let mut anne = sea.open(0, "10.0.0.1:7");
        let mut bert = sea.open(1, "10.0.0.2:9");
        for number in 0..200_u16 {
            sea.send(0, &mut anne, "10.0.0.2:9", &number.to_be_bytes())
                .unwrap();
        }
        sea.settle();
        let mut times = [0; 200];
        let (mut order, mut trains) = (Vec::new(), 0);
        for (received, bytes) in sea.received(1, &mut bert) {
            trains += usize::from(received.len > received.segment_len);
            for number in bytes.chunks(received.segment_len) {
                let number = u16::from_be_bytes(number.try_into().unwrap());
                times[usize::from(number)] += 1;
                order.push(number);
            }
        }
        assert!(trains > 0);
        assert!(!order.is_sorted());
        assert!(
            [0, 1, 2].iter().all(|count| times.contains(count)),
            "{times:?}"
        );
    }

    #[test]
    fn a_datagram_that_does_not_fit_tells_how_long_it_was() {
        let mut sea = Sea::new(Faults::none());
        let mut anne = sea.open(0, "10.0.0.1:7");
        let mut bert = sea.open(1, "10.0.0.2:9");
        sea.send(0, &mut anne, "10.0.0.2:9", b"heave away").unwrap();
        sea.settle();
        let mut buf = [0; 5];
        let received = sea.nets[1].receive(&mut bert, &mut buf).unwrap();
        assert_eq!((received.len, received.datagram_len), (5, 10));
        assert_eq!(&buf, b"heave");
    }

    /// A socket that holds four datagrams of 36 bytes, on a line that takes one in 36 ms.
    fn narrow() -> (Sea, SimDatagram) {
        let mut sea = Sea::new(Faults {
            bandwidth: Some(1000),
            send_buffer_len: Some(400..=400),
            ..Faults::none()
        });
        let anne = sea.open(0, "10.0.0.1:7");
        (sea, anne)
    }

    #[test]
    fn a_full_send_buffer_takes_nothing_and_tells_once_when_half_of_it_has_left() {
        let (mut sea, mut anne) = narrow();
        let mut bert = sea.open(1, "10.0.0.2:9");
        assert_eq!(sea.fill(0, &mut anne, "10.0.0.2:9", &[7; 36]), 4);
        // One departs and arrives, and another one departs.
        for _ in 0..2 {
            sea.step();
            assert!(!sea.is_told(0));
        }
        sea.step();
        assert!(sea.is_told(0));
        assert_eq!(sea.fill(0, &mut anne, "10.0.0.2:9", &[7; 36]), 2);
        sea.settle();
        assert_eq!(sea.received(1, &mut bert).len(), 6);
        assert_eq!(sea.fabric.borrow().hosts[0].ready.len(), 1);
        assert_eq!(
            sea.fabric.borrow().now,
            MILLIS * 36 * 6 + Duration::from_micros(20)
        );
    }

    #[test]
    fn a_datagram_that_is_longer_than_the_send_buffer_is_sent_alone() {
        let (mut sea, mut anne) = narrow();
        let mut bert = sea.open(1, "10.0.0.2:9");
        for len in [1000, 1] {
            assert_eq!(sea.fill(0, &mut anne, "10.0.0.2:9", &vec![7; 1000]), 1);
            let error = sea.send(0, &mut anne, "10.0.0.2:9", &vec![7; len]);
            assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
            sea.settle();
            assert_eq!(sea.received(1, &mut bert).len(), 1);
        }
    }

    #[test]
    fn what_was_taken_is_sent_after_a_close_and_lost_when_the_power_fails() {
        for fails in [false, true] {
            let (mut sea, mut anne) = narrow();
            let mut bert = sea.open(1, "10.0.0.2:9");
            let count = sea.fill(0, &mut anne, "10.0.0.2:9", &[7; 36]) as u64;
            if fails {
                sea.fabric.borrow_mut().lose_unsent(0);
            }
            sea.nets[0].close_datagram(anne);
            let (received, lost) = if fails { (0, count) } else { (count, 0) };
            let under_way = sea.fabric.borrow().fates_so_far().under_way;
            assert_eq!(under_way, count);
            sea.settle();
            assert_eq!(sea.received(1, &mut bert).len() as u64, received);
            let expected = Fates {
                sent: count,
                copies: count,
                received,
                lost_to_outage: lost,
                ..Fates::default()
            };
            assert_eq!(sea.fabric.borrow().fates_so_far(), expected);
        }
    }

    #[test]
    fn a_network_card_without_buffers_refuses_and_no_event_follows() {
        let mut sea = Sea::new(Faults {
            congest: 1.0,
            ..Faults::none()
        });
        let mut anne = sea.open(0, "10.0.0.1:7");
        let error = sea.send(0, &mut anne, "10.0.0.2:9", b"ahoy").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(super::super::errno::NO_BUFFERS));
        sea.settle();
        assert!(!sea.is_told(0));
    }

    #[test]
    fn every_datagram_is_received_or_lost_for_a_reason() {
        let mut sea = Sea::new(Faults {
            lose_datagram: 0.2,
            repeat_datagram: 0.2,
            ..Faults::none()
        });
        let mut anne = sea.open(0, "10.0.0.1:7");
        let small = DatagramOptions {
            recv_buffer: Some(1000),
            ..DatagramOptions::default()
        };
        let bind = Bind::on("10.0.0.2:9").unwrap().options(small);
        let mut bert = sea.bind(1, &bind).unwrap();
        let carl = sea.open(2, "10.0.0.3:9");
        sea.fabric.borrow_mut().cuts.insert((0, 2));
        for to in ["10.0.0.2:9", "10.0.0.2:8", "10.0.0.77:9", "10.0.0.3:9"] {
            for _ in 0..50 {
                sea.send(0, &mut anne, to, b"ahoy").unwrap();
            }
        }
        sea.settle();
        let received = sea.received(1, &mut bert).len() as u64;
        sea.fabric.borrow_mut().cuts.clear();
        while sea.fabric.borrow().fates_so_far().under_way == 0 {
            sea.send(0, &mut anne, "10.0.0.3:9", b"ahoy").unwrap();
            sea.settle();
        }
        sea.nets[2].close_datagram(carl);
        let fates = sea.fabric.borrow().fates_so_far();
        assert_eq!((fates.received, fates.under_way), (received, 0));
        assert_eq!(fates.copies, fates.received + fates.lost());
        let reasons = [
            fates.lost_by_chance,
            fates.lost_to_partition,
            fates.lost_unclaimed,
            fates.lost_for_room,
            fates.lost_unread,
        ];
        assert!(reasons.iter().all(|count| *count > 0), "{fates:?}");
    }

    const MILLIS: Duration = Duration::from_millis(1);
}
