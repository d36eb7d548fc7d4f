//! Sessions on the network in memory: who is served by whom, timers, and ends to the tick.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::net::{Address, Bind, Memory, MemoryPeerDatagram};
use windlass::protocol::{Mail, Session, SessionContext, SessionLimits, SessionMail, Sessions};
use windlass::{CloseReason, Datagram, Reactor, Token};

const HOME: &str = "10.0.0.1:7";

type Journal = Rc<RefCell<Vec<String>>>;

/// Counts for its peer, and does what it is told.
struct Counter(SocketAddr, u32, Journal);

impl Counter {
    fn note(&self, text: &str) {
        self.2
            .borrow_mut()
            .push(format!("{} {text}", self.0.port()));
    }
}

impl Session for Counter {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut SessionContext<'_, '_>) {
        self.1 += 1;
        cx.send(self.1.to_string());
        match datagram.bytes {
            b"finish" => cx.finish(),
            b"cancel" => cx.cancel_timer(0),
            b"many" => {
                // The last one is one too many; the first is set anew.
                let set = [8, 1, 2, 3, 4, 5, 6, 8, 7, 9].map(|timer| {
                    let ms = u64::from(100 - timer);
                    cx.set_timer(timer, Duration::from_millis(ms))
                });
                cx.cancel_timer(3);
                self.note(&format!("{set:?}"));
            }
            b"name" => self.note(&cx.token().to_string()),
            [b'm', token @ ..] => {
                let mail = cx.mail_to(named(token), "hello".to_owned());
                self.note(if mail.is_ok() { "sent" } else { "gone" });
            }
            [b't', ms @ ..] => {
                let ms = String::from_utf8_lossy(ms).parse().unwrap();
                cx.set_timer(0, Duration::from_millis(ms));
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, timer: u32, cx: &mut SessionContext<'_, '_>) {
        cx.send("again");
        match timer {
            0 => self.note("timer"),
            other => self.note(&format!("timer {other}")),
        }
    }

    fn on_mail(&mut self, mail: Mail, _: &mut SessionContext<'_, '_>) {
        self.note(mail.downcast_ref::<String>().unwrap());
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.note(reason.name());
    }
}

/// A token as a session has written it.
fn named(text: &[u8]) -> Token {
    let text = std::str::from_utf8(text).unwrap();
    let (slot, generation) = text.split_once('.').unwrap();
    Token::from_parts(slot.parse().unwrap(), generation.parse().unwrap())
}

struct Rig {
    socket: Token,
    memory: Memory,
    reactor: Reactor<Memory>,
    journal: Journal,
}

impl Rig {
    fn new(max_sessions: usize) -> Rig {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let journal = Journal::default();
        let notes = Rc::clone(&journal);
        let limits = SessionLimits {
            max_sessions,
            ..SessionLimits::default()
        };
        let open = move |peer: SocketAddr| {
            let is_wanted = peer.port() != 666;
            is_wanted.then(|| Counter(peer, 0, Rc::clone(&notes)))
        };
        let socket = reactor.bind(HOME, Sessions::new(limits, open)).unwrap();
        Rig {
            socket,
            memory,
            reactor,
            journal,
        }
    }

    fn peer(&self, port: u16) -> MemoryPeerDatagram {
        let at = SocketAddr::from(([10, 0, 0, 2], port));
        self.memory.bind_peer(Bind::new(at)).unwrap()
    }

    fn say(&mut self, peer: &MemoryPeerDatagram, text: &str) -> Option<String> {
        let home: Address = HOME.parse().unwrap();
        peer.send_to(&home, text.as_bytes()).unwrap();
        self.pass(Duration::ZERO);
        heard(peer)
    }

    fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        for _ in 0..3 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn take(&self) -> Vec<String> {
        self.journal.take()
    }
}

fn heard(peer: &MemoryPeerDatagram) -> Option<String> {
    let (bytes, _) = peer.receive()?;
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn each_peer_has_a_session_of_its_own_until_it_finishes() {
    let mut rig = Rig::new(10);
    let (anne, bert) = (rig.peer(1), rig.peer(2));
    for count in ["1", "2"] {
        assert_eq!(rig.say(&anne, "").as_deref(), Some(count));
        assert_eq!(rig.say(&bert, "").as_deref(), Some(count));
    }
    assert_eq!(rig.say(&anne, "finish").as_deref(), Some("3"));
    assert_eq!(rig.take(), ["1 finished"]);
    assert_eq!(rig.say(&anne, "").as_deref(), Some("1"));
    assert_eq!(rig.say(&bert, "").as_deref(), Some("3"));
}

#[test]
fn nobody_is_let_in_who_is_not_wanted_or_for_whom_there_is_no_room() {
    let mut rig = Rig::new(2);
    let peers = [666, 1, 2, 3].map(|port| rig.peer(port));
    let answers = peers.each_ref().map(|peer| rig.say(peer, "").is_some());
    assert_eq!(answers, [false, true, true, false]);
    rig.say(&peers[1], "finish");
    assert_eq!(rig.say(&peers[3], "").as_deref(), Some("1"));
}

#[test]
fn a_timer_fires_once_not_early_and_not_if_it_was_put_off_or_cancelled() {
    let mut rig = Rig::new(10);
    let (anne, bert) = (rig.peer(1), rig.peer(2));
    rig.say(&anne, "t100");
    rig.say(&bert, "t50");
    rig.pass(Duration::from_millis(49));
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.take(), ["2 timer"]);
    assert_eq!(heard(&bert).as_deref(), Some("again"));
    rig.say(&anne, "t100");
    rig.pass(Duration::from_millis(99));
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.take(), ["1 timer"]);
    rig.say(&anne, "t10");
    rig.say(&anne, "cancel");
    rig.pass(Duration::from_millis(500));
    assert_eq!(rig.take(), [""; 0]);
}

#[test]
fn ten_thousand_sessions_expire_to_the_tick_unless_they_were_heard() {
    const COUNT: u16 = 10_000;
    let mut rig = Rig::new(COUNT.into());
    let home: Address = HOME.parse().unwrap();
    let peers: Vec<_> = (1000..1000 + COUNT).map(|port| rig.peer(port)).collect();
    for some in peers.chunks(500) {
        for peer in some {
            peer.send_to(&home, b"").unwrap();
        }
        rig.pass(Duration::ZERO);
    }
    // Every tenth one is heard once more, half way.
    rig.pass(Duration::from_secs(30));
    for peer in peers.iter().step_by(10) {
        peer.send_to(&home, b"").unwrap();
    }
    rig.pass(Duration::ZERO);
    assert!(peers.iter().all(|peer| heard(peer).as_deref() == Some("1")));
    rig.pass(Duration::from_millis(29_999));
    assert_eq!(rig.take().len(), 0);
    rig.pass(Duration::from_millis(1));
    let expired = rig.take();
    assert_eq!(expired.len(), usize::from(COUNT) * 9 / 10);
    assert!(expired.iter().all(|line| line.ends_with("idle_timeout")));
    rig.pass(Duration::from_millis(29_999));
    assert_eq!(rig.take().len(), 0);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.take().len(), usize::from(COUNT) / 10);
    assert_eq!(
        rig.say(&peers[0], "").as_deref(),
        Some("2"),
        "the second answer of before"
    );
    assert_eq!(heard(&peers[0]).as_deref(), Some("1"), "of a new session");
}

#[test]
fn a_shutdown_waits_for_sessions_and_lets_nobody_in() {
    for finishes in [true, false] {
        let mut rig = Rig::new(10);
        let (anne, bert) = (rig.peer(1), rig.peer(2));
        rig.say(&anne, "");
        rig.reactor.shutdown(Duration::from_secs(5));
        assert_eq!(rig.say(&anne, "").as_deref(), Some("2"));
        assert_eq!(rig.say(&bert, ""), None);
        if finishes {
            assert_eq!(rig.say(&anne, "finish").as_deref(), Some("3"));
            assert_eq!(rig.take(), ["1 finished"]);
        } else {
            rig.pass(Duration::from_secs(5));
            assert_eq!(rig.take(), ["1 shutdown"]);
        }
        assert!(rig.reactor.is_empty());
    }
}

#[test]
fn a_shutdown_without_sessions_is_over_at_once() {
    let mut rig = Rig::new(10);
    rig.reactor.shutdown(Duration::from_secs(5));
    rig.pass(Duration::ZERO);
    assert!(rig.reactor.is_empty());
}

#[test]
fn a_session_has_timers_by_number_each_in_its_time_and_no_more_than_it_may() {
    let mut rig = Rig::new(10);
    let anne = rig.peer(1);
    rig.say(&anne, "many");
    let set: Vec<bool> = (0..10).map(|nth| nth < 9).collect();
    assert_eq!(rig.take(), [format!("1 {set:?}")]);
    rig.pass(Duration::from_millis(91));
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.take(), ["1 timer 8"]);
    rig.pass(Duration::from_millis(3));
    assert_eq!(rig.take(), ["1 timer 7", "1 timer 6", "1 timer 5"]);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.take(), ["1 timer 4", "1 timer 2", "1 timer 1"]);
}

#[test]
fn mail_reaches_the_session_that_its_token_names_and_never_the_next_one_of_the_same_peer() {
    let mut rig = Rig::new(10);
    let (anne, bert) = (rig.peer(1), rig.peer(2));
    rig.say(&anne, "name");
    let name = rig.take().remove(0).split_off(2);
    rig.say(&bert, &format!("m{name}"));
    assert_eq!(rig.take(), ["2 sent", "1 hello"]);

    let post = |rig: &mut Rig| {
        let mail = SessionMail::new(named(name.as_bytes()), "from outside".to_owned());
        rig.reactor.mail(rig.socket, mail).unwrap();
        rig.pass(Duration::ZERO);
        rig.take()
    };
    assert_eq!(post(&mut rig), ["1 from outside"]);
    rig.say(&anne, "finish");
    rig.say(&anne, "");
    rig.take();
    assert_eq!(post(&mut rig), [""; 0]);
    rig.say(&bert, &format!("m{name}"));
    assert_eq!(rig.take(), ["2 gone"]);
}

#[test]
fn a_session_may_be_silent_for_ever() {
    let mut rig = Rig::new(1);
    let limits = SessionLimits {
        idle_timeout: Duration::MAX,
        ..SessionLimits::default()
    };
    let journal = Rc::clone(&rig.journal);
    let open = move |peer| Some(Counter(peer, 0, Rc::clone(&journal)));
    rig.reactor.finish(rig.socket).unwrap();
    rig.pass(Duration::ZERO);
    rig.reactor.bind(HOME, Sessions::new(limits, open)).unwrap();
    let peer = rig.peer(1);
    assert_eq!(rig.say(&peer, "one").as_deref(), Some("1"));
    rig.pass(Duration::from_secs(1_000_000_000));
    assert_eq!(rig.say(&peer, "again").as_deref(), Some("2"));
    assert!(rig.journal.borrow().is_empty());
}

/// Takes its leave when the reactor shuts down.
struct Polite;

impl Session for Polite {
    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut SessionContext<'_, '_>) {}

    fn on_shutdown(&mut self, cx: &mut SessionContext<'_, '_>) {
        cx.send("bye");
        cx.finish();
    }
}

#[test]
fn a_session_is_told_of_a_shutdown_and_may_end_at_once() {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let sessions = Sessions::new(SessionLimits::default(), |_| Some(Polite));
    reactor.bind(HOME, sessions).unwrap();
    let peers = [1, 2].map(|port| {
        let at = SocketAddr::from(([10, 0, 0, 2], port));
        memory.bind_peer(Bind::new(at)).unwrap()
    });
    for peer in &peers {
        peer.send_to(&HOME.parse().unwrap(), b"hello").unwrap();
    }
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let began = reactor.now();
    reactor.shutdown(Duration::from_secs(60));
    reactor.run().unwrap();
    assert_eq!(reactor.now(), began);
    assert_eq!(
        peers.map(|peer| heard(&peer)),
        [Some("bye".to_owned()), Some("bye".to_owned())]
    );
}
