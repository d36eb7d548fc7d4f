//! What a datagram costs: allocations and system calls, counted, so that neither comes back
//! unnoticed. Times are measured by `benches/udp.rs`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::net::UdpSocket;
use std::time::Duration;

use windlass::net::{Address, Batching, Bind, DatagramOptions, Os};
#[cfg(all(feature = "udp-batch", target_os = "linux"))]
use windlass::net::{Datagrams, Transmit};
use windlass::reactor::DatagramStats;
use windlass::{Datagram, DatagramContext, DatagramProtocol, Echo, Raw, Reactor, Token};

#[path = "cost/counted.rs"]
mod counted;

use counted::{Calls, Counted};

/// Exchanges in which tables and buffers reach their size, and those that are counted.
const WARM_UP: u64 = 64;
const COUNTED: u64 = 256;
/// A failure, not a measure.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A reactor with one socket, and clients in the same thread.
struct Rig {
    reactor: Reactor<Counted<Os>>,
    token: Token,
    to: Address,
}

impl Rig {
    fn new(bind: &str, batching: Batching, protocol: impl DatagramProtocol + 'static) -> Rig {
        let mut reactor = Reactor::with_network(Counted::new(Os::new().unwrap()));
        let options = DatagramOptions {
            batching: Some(batching),
            ..DatagramOptions::default()
        };
        let bind = Bind::on(bind).unwrap().options(options);
        let token = reactor.bind(bind, protocol).unwrap();
        let port = reactor.local_addr(token).unwrap().port().unwrap();
        let to = format!("127.0.0.1:{port}").parse().unwrap();
        Rig { reactor, token, to }
    }

    fn stats(&self) -> DatagramStats {
        self.reactor.datagram_stats(self.token).unwrap()
    }

    /// Turns until so many datagrams were received, and answers the allocations.
    fn turn_until(&mut self, received: u64) -> u64 {
        let mut allocations = 0;
        while self.stats().received < received {
            let reactor = &mut self.reactor;
            let measured = allocation_counter::measure(|| reactor.turn(Some(TOO_LONG)).unwrap());
            allocations += measured.count_total;
        }
        allocations
    }

    /// What so many exchanges of `each` datagrams cost in the steady state.
    fn steady(&mut self, each: u64, mut send: impl FnMut(&Address)) -> (u64, Calls) {
        let mut cost = (0, Calls::default());
        for round in 0..WARM_UP + COUNTED {
            let before = self.reactor.network().calls();
            send(&self.to);
            let allocations = self.turn_until((round + 1) * each);
            if round >= WARM_UP {
                cost.0 += allocations;
                cost.1 = cost.1 + (self.reactor.network().calls() - before);
            }
        }
        assert_eq!(self.stats().sent, (WARM_UP + COUNTED) * each);
        cost
    }
}

/// Answers by way of a copy.
struct Wasteful;

impl DatagramProtocol for Wasteful {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        cx.reply(datagram.bytes.to_ascii_uppercase());
    }
}

fn client() -> (UdpSocket, impl FnMut(&Address)) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = client.try_clone().unwrap();
    let send = move |to: &Address| {
        sender.send_to(&[7; 64], to.as_ip().unwrap()).unwrap();
    };
    (client, send)
}

#[test]
fn an_allocation_would_be_seen() {
    let mut rig = Rig::new("127.0.0.1:0", Batching::Off, Wasteful);
    let (_client, send) = client();
    assert_eq!(rig.steady(1, send).0, COUNTED);
}

#[test]
fn an_echoed_datagram_costs_one_receive_one_that_blocks_one_send_and_no_memory() {
    // With and without control messages.
    for bind in ["127.0.0.1:0", "0.0.0.0:0"] {
        let mut rig = Rig::new(bind, Batching::Auto, Echo::<Raw>::default());
        let (_client, send) = client();
        let (allocations, calls) = rig.steady(1, send);
        assert_eq!(allocations, 0);
        assert_eq!(calls.reads, 2 * COUNTED);
        assert_eq!((calls.writes, calls.blocked), (COUNTED, COUNTED));
        assert_eq!((calls.others, calls.clock_readings), (0, calls.polls));
    }
}

#[test]
#[cfg(all(feature = "udp-batch", target_os = "linux"))]
fn what_arrives_together_is_answered_together_and_like_answers_to_one_leave_as_a_train() {
    const TOGETHER: u64 = 16;
    let mut rig = Rig::new("127.0.0.1:0", Batching::Auto, Echo::<Raw>::default());
    let clients = [client(), client()];
    let [(_one, mut one), (_other, mut other)] = clients;
    let (allocations, calls) = rig.steady(TOGETHER, |to| {
        for _ in 0..TOGETHER / 2 {
            one(to);
        }
        for _ in 0..TOGETHER / 2 {
            other(to);
        }
    });
    assert_eq!(allocations, 0);
    assert_eq!(calls.reads, (TOGETHER + 1) * COUNTED);
    assert_eq!(calls.writes, 2 * COUNTED);
}

/// One socket that plays many clients, each with an address of its own on this machine.
#[cfg(all(feature = "hub", feature = "udp-batch", target_os = "linux"))]
struct Crowd {
    network: Os,
    socket: <Os as Datagrams>::Datagram,
    buffer: Vec<u8>,
}

#[cfg(all(feature = "hub", feature = "udp-batch", target_os = "linux"))]
impl Crowd {
    fn send(&mut self, member: u16, to: &Address, message: &windlass::protocol::HubMessage<'_>) {
        let [high, low] = member.to_be_bytes();
        let bytes = message.to_bytes();
        let transmit = Transmit {
            from: Some([127, 1, high, low].into()),
            ..Transmit::new(Some(to), &bytes)
        };
        self.network.transmit(&mut self.socket, &transmit).unwrap();
    }

    /// The cookie of what has come.
    fn cookie(&mut self) -> windlass::protocol::Cookie {
        use windlass::protocol::HubMessage;

        let received = self.network.receive(&mut self.socket, &mut self.buffer);
        let answer = &self.buffer[..received.unwrap().len];
        match HubMessage::parse(answer) {
            Some(HubMessage::Challenge(cookie) | HubMessage::Welcome(cookie)) => cookie,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[cfg(all(feature = "hub", feature = "udp-batch", target_os = "linux"))]
fn a_message_to_a_thousand_subscribers_costs_one_send_for_each_and_no_memory() {
    use windlass::protocol::{Hub, HubLimits, HubMessage};

    const SUBSCRIBERS: u16 = 1000;
    const MESSAGES: u64 = 32;
    let hub = Hub::new(&[7; 32], HubLimits::default());
    let mut rig = Rig::new("127.0.0.1:0", Batching::Auto, hub);
    let (mut network, to) = (Os::new().unwrap(), rig.to.clone());
    let bind = Bind::on("0.0.0.0:0").unwrap();
    let socket = network.bind(Token::from_parts(0, 0), &bind).unwrap();
    let mut crowd = Crowd {
        network,
        socket,
        buffer: vec![0; 65_536],
    };
    let mut cookies = Vec::new();
    let mut received = 0;
    for member in 1..=SUBSCRIBERS {
        crowd.send(member, &to, &HubMessage::Hello);
        rig.turn_until(received + 1);
        let cookie = crowd.cookie();
        crowd.send(member, &to, &HubMessage::Subscribe(cookie));
        rig.turn_until(received + 2);
        cookies.push(crowd.cookie());
        received += 2;
    }
    // What does not fit into the clients' buffer is lost there, which costs the hub the same.
    let mut publish = |rig: &mut Rig| {
        crowd.send(1, &to, &HubMessage::Publish(cookies[0], &[7; 64]));
        received += 1;
        rig.turn_until(received)
    };
    for _ in 0..MESSAGES {
        publish(&mut rig);
    }
    let (before, sent) = (rig.reactor.network().calls(), rig.stats().sent);
    let allocations: u64 = (0..MESSAGES).map(|_| publish(&mut rig)).sum();
    let calls = rig.reactor.network().calls() - before;
    let delivered = MESSAGES * u64::from(SUBSCRIBERS - 1);
    assert_eq!(rig.stats().sent - sent, delivered);
    assert_eq!((allocations, calls.writes), (0, delivered));
    assert_eq!(calls.reads, 2 * MESSAGES);
}

#[test]
#[cfg(all(feature = "udp-batch", target_os = "linux"))]
fn an_echoed_train_costs_one_receive_one_send_and_no_memory() {
    const TRAIN: u64 = 32;
    let mut rig = Rig::new("127.0.0.1:0", Batching::On, Echo::<Raw>::default());
    let mut network = Os::new().unwrap();
    let token = Token::from_parts(0, 0);
    let mut client = network
        .bind(token, &Bind::on("127.0.0.1:0").unwrap())
        .unwrap();
    let bytes = vec![7; 64 * TRAIN as usize];
    let (allocations, calls) = rig.steady(TRAIN, |to| {
        let transmit = Transmit {
            segment_len: Some(64),
            ..Transmit::new(Some(to), &bytes)
        };
        network.transmit(&mut client, &transmit).unwrap();
    });
    assert_eq!(allocations, 0);
    assert_eq!((calls.reads, calls.writes), (2 * COUNTED, COUNTED));
}
