//! Announcers and listeners on the network in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::net::{Address, Bind, Memory, MemoryPeerDatagram};
use windlass::protocol::{Announce, Announcement, Announcer, Listener, Sighting};
use windlass::{Reactor, Token};

const SECOND: Duration = Duration::from_secs(1);

type Journal = Rc<RefCell<Vec<String>>>;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn listener(journal: &Journal) -> Listener<impl FnMut(&Sighting) + 'static> {
    let journal = Rc::clone(journal);
    Listener::new(move |sighting| {
        let (what, sighted) = match sighting {
            Sighting::Appeared(sighted) => ("appeared", sighted),
            Sighting::Changed(sighted) => ("changed", sighted),
            Sighting::Expired(sighted) => ("expired", sighted),
            _ => unreachable!("there are three"),
        };
        let text = String::from_utf8_lossy(&sighted.payload);
        journal
            .borrow_mut()
            .push(format!("{what} {} {text}", sighted.id));
    })
}

struct Rig {
    memory: Memory,
    reactor: Reactor<Memory>,
    journal: Journal,
}

impl Rig {
    fn new() -> Rig {
        let memory = Memory::new();
        Rig {
            reactor: Reactor::with_network(memory.clone()),
            memory,
            journal: Journal::default(),
        }
    }

    fn listen(&mut self, listener: Listener<impl FnMut(&Sighting) + 'static>) -> Token {
        self.reactor.bind("10.0.0.1:7400", listener).unwrap()
    }

    fn announce(&mut self, announcer: Announcer) -> Token {
        let bind = Bind::on("10.0.0.2:0").unwrap().broadcast(true);
        self.reactor.bind(bind, announcer).unwrap()
    }

    fn peer(&self, at: &str) -> MemoryPeerDatagram {
        self.memory.bind_peer(Bind::on(at).unwrap()).unwrap()
    }

    /// Lets time pass, with everything that is due.
    fn pass(&mut self, time: Duration) {
        let end = self.reactor.now() + time;
        loop {
            let left = end.saturating_duration_since(self.reactor.now());
            self.reactor.turn(Some(left)).unwrap();
            if left.is_zero() {
                break;
            }
        }
        for _ in 0..4 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn take(&self) -> Vec<String> {
        self.journal.take()
    }
}

fn say(peer: &MemoryPeerDatagram, sender: u64, sequence: u64, hops: u8, seconds: u64) {
    let announcement = Announcement {
        sender,
        sequence,
        hops,
        interval: SECOND * seconds as u32,
        payload: b"",
    };
    peer.send_to(&address("10.0.0.1:7400"), &announcement.to_bytes())
        .unwrap();
}

#[test]
fn who_announces_is_there_until_it_falls_silent_for_three_intervals() {
    let mut rig = Rig::new();
    let journal = Rc::clone(&rig.journal);
    rig.listen(listener(&journal).patience(60 * SECOND));
    let everybody = address("10.0.0.255:7400");
    let token = rig.announce(
        Announcer::new(5, "printer")
            .to(everybody)
            .every(10 * SECOND),
    );
    rig.pass(SECOND);
    assert_eq!(rig.take(), ["appeared 5 printer"]);
    rig.reactor
        .mail(token, Announce::Payload(b"plotter".into()))
        .unwrap();
    rig.pass(10 * SECOND);
    assert_eq!(rig.take(), ["changed 5 plotter"]);
    rig.pass(100 * SECOND);
    assert_eq!(rig.take(), [""; 0]);
    // The last announcement was at 110 s, it is 111 s now.
    rig.reactor.finish(token).unwrap();
    rig.pass(29 * SECOND - Duration::from_millis(1));
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(Duration::from_millis(2));
    assert_eq!(rig.take(), ["expired 5 plotter"]);
}

#[test]
fn repetitions_own_words_and_foreign_ones_are_dropped_and_counted() {
    let mut rig = Rig::new();
    let journal = Rc::clone(&rig.journal);
    rig.listen(listener(&journal).own(9).max_peers(2));
    let anne = rig.peer("10.0.0.3:1");
    say(&anne, 9, 1, 0, 1);
    for sequence in [1, 1, 3, 2] {
        say(&anne, 4, sequence, 0, 1);
    }
    anne.send_to(&address("10.0.0.1:7400"), b"WLDAhello")
        .unwrap();
    say(&anne, 6, 1, 0, 1);
    say(&anne, 7, 1, 0, 1);
    rig.pass(Duration::ZERO);
    assert_eq!(rig.take(), ["appeared 4 ", "appeared 6 "]);
    // Whoever is gone makes room.
    rig.pass(4 * SECOND);
    say(&anne, 7, 2, 0, 1);
    rig.pass(Duration::ZERO);
    assert_eq!(rig.take(), ["expired 4 ", "expired 6 ", "appeared 7 "]);
}

#[test]
fn a_shorter_patience_than_the_one_that_is_waited_for_is_not_missed() {
    let mut rig = Rig::new();
    let journal = Rc::clone(&rig.journal);
    rig.listen(listener(&journal));
    let anne = rig.peer("10.0.0.3:1");
    say(&anne, 1, 1, 0, 15);
    rig.pass(SECOND);
    say(&anne, 2, 1, 0, 1);
    rig.pass(Duration::ZERO);
    rig.take();
    rig.pass(3 * SECOND - Duration::from_millis(1));
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(Duration::from_millis(2));
    assert_eq!(rig.take(), ["expired 2 "]);
}

#[test]
fn a_relay_passes_on_what_is_new_as_far_as_it_may_go_and_two_of_them_make_no_loop() {
    let mut rig = Rig::new();
    let quiet = |_: &Sighting| {};
    let (one, other) = (address("10.0.0.1:7400"), address("10.0.0.1:7401"));
    let watcher = rig.peer("10.0.0.9:9");
    let relay = Listener::new(quiet)
        .relay_to(&other)
        .relay_to(watcher.local_addr());
    rig.reactor.bind(Bind::new(&one), relay).unwrap();
    rig.reactor
        .bind(Bind::new(other), Listener::new(quiet).relay_to(&one))
        .unwrap();
    let anne = rig.peer("10.0.0.3:1");
    for (sender, hops) in [(1, 0), (2, 1), (3, 200)] {
        say(&anne, sender, 1, hops, 1);
    }
    rig.pass(Duration::ZERO);
    let heard: Vec<(u64, u8)> = std::iter::from_fn(|| watcher.receive())
        .map(|(bytes, _)| {
            let heard = Announcement::parse(&bytes).unwrap();
            (heard.sender, heard.hops)
        })
        .collect();
    assert_eq!(heard, [(2, 0), (3, 199)]);
}

#[test]
fn a_storm_of_announcements_is_held_back() {
    let mut rig = Rig::new();
    let everybody = address("255.255.255.255:7400");
    let every = Duration::from_millis(1);
    let token = rig.announce(Announcer::new(5, "me").to(everybody).every(every));
    rig.pass(20 * SECOND);
    let sent = rig.reactor.datagram_stats(token).unwrap().sent;
    assert!((2000..=2100).contains(&sent), "{sent}");
}

#[test]
fn whoever_does_not_say_when_it_will_be_heard_again_can_be_remembered_for_ever() {
    let mut rig = Rig::new();
    let patient = listener(&rig.journal).patience(Duration::MAX);
    rig.listen(patient);
    let peer = rig.peer("10.0.0.9:7400");
    say(&peer, 7, 1, 0, 0);
    rig.pass(1_000_000_000 * SECOND);
    assert_eq!(rig.take(), ["appeared 7 "]);
}
