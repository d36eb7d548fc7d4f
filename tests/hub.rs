//! The hub on the network in memory: who hears what, and who cannot make it a weapon.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::net::{Address, Bind, Memory, MemoryPeerDatagram};
use windlass::protocol::{Cookie, Hub, HubLimits, HubMessage, HubStats};
use windlass::{Datagram, DatagramContext, DatagramProtocol, Reactor, TimerId};

const HUB: &str = "10.0.0.1:7500";

/// A hub that can be asked what it has done.
struct Shown(Hub, Rc<RefCell<HubStats>>);

impl DatagramProtocol for Shown {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        self.0.on_datagram(datagram, cx);
        *self.1.borrow_mut() = self.0.stats();
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        self.0.on_timer(timer, cx);
        *self.1.borrow_mut() = self.0.stats();
    }
}

struct Rig {
    memory: Memory,
    reactor: Reactor<Memory>,
    stats: Rc<RefCell<HubStats>>,
}

struct Client {
    socket: MemoryPeerDatagram,
    cookie: Cookie,
}

impl Rig {
    fn new(limits: HubLimits) -> Rig {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let stats = Rc::default();
        let hub = Shown(Hub::new(&[7; 32], limits), Rc::clone(&stats));
        reactor.bind(HUB, hub).unwrap();
        Rig {
            memory,
            reactor,
            stats,
        }
    }

    fn say(&mut self, socket: &MemoryPeerDatagram, bytes: &[u8]) {
        socket.send_to(&hub(), bytes).unwrap();
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
    }

    /// Somebody who has a cookie.
    fn greet(&mut self, at: &str) -> Client {
        let socket = self.memory.bind_peer(Bind::on(at).unwrap()).unwrap();
        self.say(&socket, &HubMessage::Hello.to_bytes());
        let (answer, from) = socket.receive().unwrap();
        assert_eq!(from, hub());
        let Some(HubMessage::Challenge(cookie)) = HubMessage::parse(&answer) else {
            panic!("no challenge: {answer:?}");
        };
        Client { socket, cookie }
    }

    /// Somebody who hears.
    fn subscribe(&mut self, at: &str) -> Client {
        let mut client = self.greet(at);
        assert!(self.renew(&mut client));
        client
    }

    fn renew(&mut self, client: &mut Client) -> bool {
        self.say(
            &client.socket,
            &HubMessage::Subscribe(client.cookie).to_bytes(),
        );
        let answer = client.socket.receive().map(|(answer, _)| answer);
        match answer.as_deref().and_then(HubMessage::parse) {
            Some(HubMessage::Welcome(cookie)) => {
                client.cookie = cookie;
                true
            }
            _ => false,
        }
    }

    fn publish(&mut self, client: &Client, payload: &[u8]) {
        let message = HubMessage::Publish(client.cookie, payload).to_bytes();
        self.say(&client.socket, &message);
    }

    fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn hub() -> Address {
    HUB.parse().unwrap()
}

fn heard(client: &Client) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| client.socket.receive())
        .map(|(bytes, _)| match HubMessage::parse(&bytes) {
            Some(HubMessage::Message(payload)) => payload.to_vec(),
            other => panic!("no message: {other:?}"),
        })
        .collect()
}

#[test]
fn what_one_publishes_all_others_hear() {
    let mut rig = Rig::new(HubLimits::default());
    let clients = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.3:1"].map(|at| rig.subscribe(at));
    let long = vec![b'x'; 1200];
    for payload in [&b"ahoy"[..], b"", &long] {
        rig.publish(&clients[0], payload);
        assert_eq!(heard(&clients[0]), [b""; 0]);
        assert_eq!(heard(&clients[1]), [payload]);
        assert_eq!(heard(&clients[2]), [payload]);
    }
    rig.say(
        &clients[1].socket,
        &HubMessage::Leave(clients[1].cookie).to_bytes(),
    );
    rig.publish(&clients[0], b"who is left?");
    assert_eq!(heard(&clients[1]), [b""; 0]);
    assert_eq!(heard(&clients[2]).len(), 1);
    assert_eq!(
        (rig.stats.borrow().published, rig.stats.borrow().relayed),
        (4, 7)
    );
}

#[test]
fn nobody_is_sent_more_than_it_has_sent_before_its_address_is_confirmed() {
    let mut rig = Rig::new(HubLimits::default());
    let subscriber = rig.subscribe("10.0.0.2:1");
    let stranger = rig
        .memory
        .bind_peer(Bind::on("10.0.0.9:1").unwrap())
        .unwrap();
    let guesses = [
        HubMessage::Hello.to_bytes(),
        HubMessage::Subscribe([0; 20]).to_bytes(),
        HubMessage::Publish([0; 20], b"x").to_bytes(),
        HubMessage::Leave([0; 20]).to_bytes(),
        // Another's cookie is of no use: it is for another address.
        HubMessage::Subscribe(subscriber.cookie).to_bytes(),
        HubMessage::Publish(subscriber.cookie, b"x").to_bytes(),
        HubMessage::Welcome([0; 20]).to_bytes(),
        b"WLDH".to_vec(),
        Vec::new(),
        vec![0; 2000],
    ];
    for guess in &guesses {
        for len in 0..=guess.len() {
            rig.say(&stranger, &guess[..len]);
            let answer_len = stranger.receive().map_or(0, |(answer, _)| answer.len());
            assert!(answer_len <= len, "{answer_len} bytes for {len}");
            assert_eq!(stranger.receive(), None);
        }
    }
    rig.publish(&subscriber, b"anybody?");
    assert_eq!(stranger.receive(), None);
    assert_eq!(heard(&subscriber), [b""; 0]);
}

#[test]
fn a_cookie_alone_makes_no_subscriber() {
    let mut rig = Rig::new(HubLimits::default());
    let subscriber = rig.subscribe("10.0.0.2:1");
    let greeted = rig.greet("10.0.0.3:1");
    rig.publish(&greeted, b"let me in");
    assert_eq!(heard(&subscriber), [b""; 0]);
    rig.publish(&subscriber, b"who?");
    assert_eq!(heard(&greeted), [b""; 0]);
}

#[test]
fn the_silent_are_forgotten_to_the_tick_and_whoever_speaks_is_not() {
    let mut rig = Rig::new(HubLimits::default());
    let mut loud = rig.subscribe("10.0.0.2:1");
    let silent = rig.subscribe("10.0.0.3:1");
    for _ in 0..2 {
        rig.pass(Duration::from_secs(14));
        assert!(rig.renew(&mut loud));
    }
    rig.pass(Duration::from_millis(1999));
    rig.publish(&loud, b"still there?");
    assert_eq!(heard(&silent).len(), 1);
    assert_eq!(rig.stats.borrow().forgotten, 0);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.stats.borrow().forgotten, 1);
    rig.publish(&loud, b"and now?");
    assert_eq!(heard(&silent), [b""; 0]);
}

#[test]
fn an_old_cookie_is_refused_and_a_new_one_is_to_be_had() {
    let mut rig = Rig::new(HubLimits::default());
    let mut client = rig.subscribe("10.0.0.2:1");
    rig.pass(Duration::from_secs(62));
    assert!(!rig.renew(&mut client));
    assert_eq!(rig.stats.borrow().bad_cookies, 1);
    drop(client);
    rig.subscribe("10.0.0.2:1");
}

#[test]
fn a_full_hub_a_fast_subscriber_and_a_long_message_are_refused_and_counted() {
    let mut rig = Rig::new(HubLimits {
        max_subscribers: 2,
        max_message: 10,
        messages_per_second: 5,
        ..HubLimits::default()
    });
    let (one, other) = (rig.subscribe("10.0.0.2:1"), rig.subscribe("10.0.0.3:1"));
    let mut third = rig.greet("10.0.0.4:1");
    assert!(!rig.renew(&mut third));
    rig.publish(&one, b"eleven byte");
    for _ in 0..8 {
        rig.publish(&one, b"fast");
    }
    assert_eq!(heard(&other).len(), 5);
    let stats = *rig.stats.borrow();
    assert_eq!((stats.crowded, stats.too_long, stats.too_fast), (1, 1, 3));
    rig.pass(Duration::from_millis(200));
    rig.publish(&one, b"slow");
    assert_eq!(heard(&other), [b"slow"]);
}
