//! Datagram sockets in a reactor, on the network in memory: queues, reports, storms, ends.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use windlass::net::{Address, Bind, Memory, MemoryPeerDatagram};
use windlass::{
    CloseReason, Datagram, DatagramContext, DatagramLimits, DatagramProtocol, Echo, Intents,
    Overflow, Oversize, Raw, Reactor, SendCause, SendError, Sent, StormGuard, TimerId, Token,
};

const HOME: &str = "10.0.0.1:7";

/// What a protocol was told, in order.
type Journal = Rc<RefCell<Vec<String>>>;

/// Writes down everything, and does what the datagram says.
struct Diary(Journal);

impl Diary {
    fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }
}

impl DatagramProtocol for Diary {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.note(format!("open {}", cx.queued()));
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let text = String::from_utf8_lossy(datagram.bytes).into_owned();
        let cut = if datagram.is_truncated() {
            format!(" of {}", datagram.len)
        } else {
            String::new()
        };
        self.note(format!("{text}{cut}"));
        match text.split_once(' ') {
            Some(("to", to)) => {
                cx.send_to(to.parse::<Address>().unwrap(), "sent");
            }
            Some(("flood", count)) => {
                let sent: Vec<Sent> = (0..count.parse().unwrap())
                    .map(|n: u32| cx.reply(n.to_string()))
                    .collect();
                let count = |which| sent.iter().filter(|sent| **sent == which).count();
                let (queued, over) = (count(Sent::Queued), count(Sent::HighWater));
                self.note(format!("{queued} {over} {}", count(Sent::Dropped)));
            }
            Some(("timer", ms)) => {
                cx.set_timer(Duration::from_millis(ms.parse().unwrap()))
                    .unwrap();
            }
            _ => match text.as_str() {
                "finish" => {
                    cx.reply("last");
                    cx.finish();
                    assert_eq!(cx.reply("too late"), Sent::Closed);
                }
                "abort" => {
                    cx.reply("never");
                    cx.abort();
                }
                "pause" => cx.pause(),
                "panic" => panic!("as was asked for"),
                _ => {}
            },
        }
    }

    fn on_send_error(&mut self, error: &SendError, _: &mut DatagramContext<'_>) {
        self.note(format!("error {error}"));
    }

    fn on_drain(&mut self, _: &mut DatagramContext<'_>) {
        self.note("drain");
    }

    fn on_timer(&mut self, _: TimerId, _: &mut DatagramContext<'_>) {
        self.note("timer");
    }

    fn on_mail(&mut self, mail: Box<dyn Any + Send>, cx: &mut DatagramContext<'_>) {
        let text = *mail.downcast::<&str>().unwrap();
        self.note(format!("mail {text}"));
        cx.resume();
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.note(format!("close {}", reason.name()));
    }
}

struct Rig {
    memory: Memory,
    reactor: Reactor<Memory>,
    token: Token,
    journal: Journal,
    anne: MemoryPeerDatagram,
}

impl Rig {
    fn new(limits: DatagramLimits) -> Rig {
        Rig::bound(Bind::on(HOME).unwrap().limits(limits))
    }

    fn bound(bind: Bind) -> Rig {
        let memory = Memory::new();
        let anne = memory.bind_peer(Bind::on("10.0.0.2:8").unwrap()).unwrap();
        let mut reactor = Reactor::with_network(memory.clone());
        let journal = Journal::default();
        let token = reactor.bind(bind, Diary(Rc::clone(&journal))).unwrap();
        let rig = Rig {
            memory,
            reactor,
            token,
            journal,
            anne,
        };
        assert_eq!(rig.take(), ["open 0"]);
        rig
    }

    fn turns(&mut self) {
        for _ in 0..4 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn say(&mut self, text: &str) {
        self.anne.send_to(&home(), text.as_bytes()).unwrap();
        self.turns();
    }

    fn take(&self) -> Vec<String> {
        self.journal.take()
    }

    /// What Anne is told, in order.
    fn heard(&self) -> Vec<String> {
        std::iter::from_fn(|| self.anne.receive())
            .map(|(bytes, _)| String::from_utf8(bytes).unwrap())
            .collect()
    }
}

fn home() -> Address {
    HOME.parse().unwrap()
}

#[test]
fn an_echo_is_a_protocol_for_datagrams_too() {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    reactor.bind(HOME, Echo::<Raw>::default()).unwrap();
    let anne = memory.bind_peer(Bind::on("10.0.0.2:8").unwrap()).unwrap();
    for text in ["one", "", "three"] {
        anne.send_to(&home(), text.as_bytes()).unwrap();
    }
    reactor.turn(Some(Duration::ZERO)).unwrap();
    for text in ["one", "", "three"] {
        assert_eq!(anne.receive(), Some((text.into(), home())));
    }
    assert_eq!(anne.receive(), None);
}

#[test]
fn a_datagram_that_is_too_long_is_delivered_flagged_or_dropped_and_counted() {
    for (oversize, expected) in [
        (Oversize::Deliver, &["12345", "12345 of 6"][..]),
        (Oversize::Drop, &["12345"][..]),
    ] {
        let mut rig = Rig::new(DatagramLimits {
            max_datagram: 5,
            oversize,
            ..DatagramLimits::default()
        });
        rig.say("12345");
        rig.say("123456");
        assert_eq!(rig.take(), expected);
        let stats = rig.reactor.datagram_stats(rig.token).unwrap();
        assert_eq!((stats.received, stats.truncated), (2, 1));
    }
}

#[test]
fn what_does_not_fit_into_the_buffer_of_the_reactor_is_flagged_with_its_true_length() {
    let memory = Memory::new();
    let config = windlass::Config {
        read_buffer_len: 4,
        ..windlass::Config::default()
    };
    let mut reactor = Reactor::with_config(memory.clone(), config);
    let journal = Journal::default();
    reactor.bind(HOME, Diary(Rc::clone(&journal))).unwrap();
    let anne = memory.bind_peer(Bind::on("10.0.0.2:8").unwrap()).unwrap();
    anne.send_to(&home(), b"heave").unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(journal.take()[1..], ["heav of 5"]);
}

#[test]
fn what_the_kernel_does_not_take_waits_within_its_bounds_and_leaves_in_order() {
    for (overflow, told, heard) in [
        (Overflow::DropNewest, "4 4 2", 0..8),
        (Overflow::DropOldest, "4 6 0", 2..10),
    ] {
        let mut rig = Rig::new(DatagramLimits {
            max_queued_datagrams: 8,
            overflow,
            ..DatagramLimits::default()
        });
        rig.memory.hold_datagrams(&home(), true);
        rig.say("flood 10");
        assert_eq!(rig.take(), ["flood 10", told]);
        let stats = rig.reactor.datagram_stats(rig.token).unwrap();
        assert_eq!((stats.sent, stats.queued, stats.queue_dropped), (0, 8, 2));
        rig.memory.hold_datagrams(&home(), false);
        rig.turns();
        let expected: Vec<String> = heard.map(|n: u32| n.to_string()).collect();
        assert_eq!(rig.heard(), expected);
        assert_eq!(rig.take(), ["drain"]);
        assert_eq!(rig.reactor.datagram_stats(rig.token).unwrap().sent, 8);
    }
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let mut rig = Rig::new(DatagramLimits {
        max_queued_bytes: 5,
        ..DatagramLimits::default()
    });
    rig.memory.hold_datagrams(&home(), true);
    rig.say("flood 9");
    assert_eq!(rig.take(), ["flood 9", "2 3 4"]);
}

#[test]
fn a_datagram_that_no_packet_can_hold_is_refused_with_a_typed_error() {
    struct Long(Rc<RefCell<Vec<SendError>>>);

    impl DatagramProtocol for Long {
        fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
            for len in [65_507, 65_508] {
                if let Err(error) = cx.try_send_to(datagram.from, vec![0; len]) {
                    self.0.borrow_mut().push(error);
                }
            }
            if let Err(error) = cx.try_send_to("[::1]:9".parse::<Address>().unwrap(), [0; 65_528]) {
                self.0.borrow_mut().push(error);
            }
            assert_eq!(cx.send("nobody"), Sent::Dropped);
        }
    }

    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let errors = Rc::default();
    reactor.bind(HOME, Long(Rc::clone(&errors))).unwrap();
    let anne = memory.bind_peer(Bind::on("10.0.0.2:8").unwrap()).unwrap();
    anne.send_to(&home(), b"?").unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(anne.receive().map(|(bytes, _)| bytes.len()), Some(65_507));
    let causes: Vec<_> = errors.borrow().iter().map(|error| error.cause).collect();
    let too_long = |len, max| SendCause::TooLong { len, max };
    assert_eq!(causes, [too_long(65_508, 65_507), too_long(65_528, 65_527)]);
    assert_eq!(errors.borrow()[0].to, Some(anne.local_addr()));
}

#[test]
fn that_nobody_receives_is_an_event_that_names_the_destination_and_ends_nothing() {
    let mut rig = Rig::new(DatagramLimits::default());
    for _ in 0..3 {
        rig.say("to 10.0.0.9:9");
    }
    let journal = rig.take();
    assert_eq!(journal.len(), 6);
    assert_eq!(journal[0], "to 10.0.0.9:9");
    assert!(
        journal[1].starts_with("error a datagram to 10.0.0.9:9: "),
        "{}",
        journal[1]
    );
    rig.say("still there");
    assert_eq!(rig.take(), ["still there"]);
    assert_eq!(rig.reactor.datagram_stats(rig.token).unwrap().reports, 3);
}

#[test]
fn what_the_os_refuses_is_an_event_that_names_the_destination_and_ends_nothing() {
    let mut rig = Rig::new(DatagramLimits::default());
    let to = rig.anne.local_addr();
    for errno in [Errno::MSGSIZE, Errno::NETUNREACH, Errno::HOSTUNREACH] {
        let code = errno.raw_os_error();
        rig.memory.refuse_datagrams(&home(), &[code]);
        rig.say(&format!("to {to}"));
        let why = io::Error::from_raw_os_error(code);
        assert_eq!(rig.take()[1], format!("error a datagram to {to}: {why}"));
        assert_eq!(rig.heard(), [""; 0]);
        rig.say(&format!("to {to}"));
        assert_eq!(rig.heard(), ["sent"]);
        assert_eq!(rig.take().len(), 1);
    }
    let stats = rig.reactor.datagram_stats(rig.token).unwrap();
    assert_eq!((stats.sent, stats.send_errors), (3, 3));
}

#[test]
fn what_finds_no_memory_in_the_kernel_waits_and_leaves_in_order() {
    let mut rig = Rig::new(DatagramLimits::default());
    let codes = [Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error);
    rig.memory.refuse_datagrams(&home(), &codes);
    rig.say("flood 3");
    assert_eq!(rig.heard(), [""; 0]);
    let queued = |rig: &Rig| rig.reactor.datagram_stats(rig.token).unwrap().queued;
    // No event says when to try again: a timer does.
    let mut tries = 0;
    while queued(&rig) > 0 {
        assert_eq!(queued(&rig), 3);
        rig.reactor.turn(None).unwrap();
        tries += 1;
    }
    assert_eq!(rig.heard(), ["0", "1", "2"]);
    assert_eq!(tries, codes.len());
    assert_eq!(rig.take(), ["flood 3", "3 0 0"]);
    let stats = rig.reactor.datagram_stats(rig.token).unwrap();
    assert_eq!((stats.sent, stats.send_errors), (3, 0));
}

#[test]
fn a_broadcast_without_permission_is_an_event() {
    let mut rig = Rig::new(DatagramLimits::default());
    for to in ["10.0.0.255:8", "255.255.255.255:8"] {
        rig.say(&format!("to {to}"));
        let journal = rig.take();
        assert!(
            journal[1].starts_with(&format!("error a datagram to {to}: ")),
            "{journal:?}"
        );
    }
    assert_eq!(rig.heard(), [""; 0]);
    assert_eq!(
        rig.reactor.datagram_stats(rig.token).unwrap().send_errors,
        2
    );
}

/// Sends to everybody, or to a group, ten times each millisecond.
struct Storm(Address, Rc<RefCell<u64>>);

impl DatagramProtocol for Storm {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        cx.set_interval(Duration::from_millis(1));
    }

    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        for _ in 0..10 {
            cx.send_to(&self.0, [0; 100]);
        }
    }

    fn on_send_error(&mut self, error: &SendError, _: &mut DatagramContext<'_>) {
        assert_eq!(
            (&error.to, error.cause),
            (&Some(self.0.clone()), SendCause::StormGuard)
        );
        *self.1.borrow_mut() += 1;
    }
}

#[test]
fn the_storm_guard_holds_its_rate_whatever_the_protocol_does() {
    // The limited and a directed broadcast address, and a group; by number and by bytes.
    for to in ["255.255.255.255:9", "10.0.0.255:9", "239.1.2.3:9"] {
        for (datagrams_per_second, bytes_per_second, rate) in
            [(50, 1 << 20, 50), (1 << 20, 8000, 80)]
        {
            let memory = Memory::new();
            let mut reactor = Reactor::with_network(memory.clone());
            let told = Rc::default();
            let bind = Bind::on("10.0.0.1:7")
                .unwrap()
                .broadcast(true)
                .limits(DatagramLimits {
                    storm_guard: StormGuard {
                        datagrams_per_second,
                        bytes_per_second,
                        ..StormGuard::default()
                    },
                    ..DatagramLimits::default()
                });
            let storm = Storm(to.parse().unwrap(), Rc::clone(&told));
            let token = reactor.bind(bind, storm).unwrap();
            let begin = reactor.now();
            while reactor.now() - begin < Duration::from_secs(60) {
                reactor.turn(None).unwrap();
            }
            let stats = reactor.datagram_stats(token).unwrap();
            let most = rate * 60 * 105 / 100;
            assert!(
                (rate * 60..=most).contains(&stats.sent),
                "{to}: {}",
                stats.sent
            );
            assert!(stats.sent + stats.storm_guarded >= 60 * 10_000 - 100);
            assert_eq!(stats.storm_guarded, *told.borrow());
        }
    }
}

#[test]
fn what_goes_to_one_is_not_held_back_by_the_storm_guard() {
    let mut rig = Rig::new(DatagramLimits::default());
    rig.say("flood 1000");
    assert_eq!(rig.heard().len(), 1000);
}

#[test]
fn a_socket_that_finishes_sends_what_is_queued_first_and_no_longer_than_its_limit() {
    for lets_go in [true, false] {
        let mut rig = Rig::new(DatagramLimits::default());
        rig.memory.hold_datagrams(&home(), true);
        rig.say("finish");
        assert_eq!(rig.take(), ["finish"]);
        rig.say("unheard");
        if lets_go {
            rig.memory.hold_datagrams(&home(), false);
        } else {
            rig.memory.advance(Duration::from_millis(4999));
            rig.turns();
            assert!(rig.reactor.is_alive(rig.token));
            rig.memory.advance(Duration::from_millis(2));
        }
        rig.turns();
        assert_eq!(rig.take(), ["close finished"]);
        let expected: &[&str] = if lets_go { &["last"] } else { &[] };
        assert_eq!(rig.heard(), expected);
        assert!(rig.reactor.is_empty());
    }
}

#[test]
fn an_abort_closes_at_once() {
    let mut rig = Rig::new(DatagramLimits::default());
    rig.memory.hold_datagrams(&home(), true);
    rig.say("abort");
    assert_eq!(rig.take(), ["abort", "close aborted"]);
    assert!(rig.reactor.is_empty());
    assert!(rig.memory.bind_peer(Bind::on(HOME).unwrap()).is_ok());
}

#[test]
fn a_panic_ends_its_socket_alone_and_its_queue_goes_with_it() {
    let mut rig = Rig::new(DatagramLimits::default());
    let other = rig
        .reactor
        .bind("10.0.0.1:70", Echo::<Raw>::default())
        .unwrap();
    rig.memory.hold_datagrams(&home(), true);
    rig.say("flood 3");
    rig.say("panic");
    assert_eq!(rig.take()[2..], ["panic", "close panicked"]);
    assert_eq!(rig.reactor.services().next().unwrap().frames, 2);
    rig.anne
        .send_to(&"10.0.0.1:70".parse().unwrap(), b"ahoy")
        .unwrap();
    rig.turns();
    assert_eq!(rig.heard(), ["ahoy"]);
    assert!(rig.reactor.is_alive(other) && !rig.reactor.is_alive(rig.token));
}

#[test]
fn a_shutdown_is_told_after_what_had_arrived() {
    let mut rig = Rig::new(DatagramLimits::default());
    rig.anne.send_to(&home(), b"early").unwrap();
    rig.reactor.shutdown(Duration::from_secs(5));
    rig.turns();
    assert_eq!(rig.take(), ["early", "close finished"]);
    assert!(rig.reactor.is_empty());
}

#[test]
fn timers_and_mail_reach_a_socket_and_a_pause_keeps_datagrams_waiting() {
    let mut rig = Rig::new(DatagramLimits::default());
    rig.say("timer 20");
    rig.memory.advance(Duration::from_millis(19));
    rig.turns();
    assert_eq!(rig.take(), ["timer 20"]);
    rig.memory.advance(Duration::from_millis(1));
    rig.turns();
    assert_eq!(rig.take(), ["timer"]);
    rig.say("pause");
    rig.say("later");
    assert_eq!(rig.take(), ["pause"]);
    assert!(rig.reactor.is_paused(rig.token).unwrap());
    rig.reactor.mail(rig.token, "go on").unwrap();
    rig.turns();
    assert_eq!(rig.take(), ["mail go on", "later"]);
}

#[test]
fn others_send_by_a_socket_and_open_one() {
    struct Opener(Journal);

    impl DatagramProtocol for Opener {
        fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
            let taken = Bind::on(HOME).unwrap();
            cx.bind(taken, Diary(Rc::clone(&self.0)));
            let free = Bind::on("10.0.0.1:9")
                .unwrap()
                .peer("10.0.0.2:8".parse::<Address>().unwrap());
            let token = cx.bind(free, Diary(Rc::clone(&self.0)));
            cx.intents().send_to(token, "to the peer");
            cx.datagram_by(
                token,
                "10.0.0.2:8".parse::<Address>().unwrap(),
                "to an address",
            );
        }

        fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}
    }

    let mut rig = Rig::new(DatagramLimits::default());
    let journal = Rc::clone(&rig.journal);
    rig.reactor.bind("10.0.0.1:90", Opener(journal)).unwrap();
    rig.turns();
    assert_eq!(rig.take(), ["close os", "open 0"]);
    assert_eq!(rig.heard(), ["to the peer", "to an address"]);
    rig.reactor
        .send_datagram(rig.token, rig.anne.local_addr(), "from outside")
        .unwrap();
    assert_eq!(rig.heard(), ["from outside"]);
}

#[test]
fn a_flood_to_one_socket_starves_neither_another_nor_a_stream() {
    let mut rig = Rig::new(DatagramLimits::default());
    rig.reactor
        .bind("10.0.0.1:70", Echo::<Raw>::default())
        .unwrap();
    let streams = "10.0.0.1:71".parse().unwrap();
    rig.reactor
        .listen("10.0.0.1:71", |_| Echo::<Raw>::default())
        .unwrap();
    let stream = rig.memory.connect_peer(&streams).unwrap();
    rig.turns();
    for _ in 0..3000 {
        rig.anne.send_to(&home(), b"x").unwrap();
    }
    rig.anne
        .send_to(&"10.0.0.1:70".parse().unwrap(), b"ahoy")
        .unwrap();
    stream.send(b"heave");
    rig.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(rig.heard(), ["ahoy"]);
    assert_eq!(stream.received(), b"heave");
    assert_eq!(rig.take().len(), 1024);
    rig.turns();
    assert_eq!(rig.take().len(), 3000 - 1024);
}

#[test]
fn timers_of_a_socket_are_bounded_and_end_with_it() {
    struct Many(Rc<RefCell<usize>>);

    impl DatagramProtocol for Many {
        fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
            let timers = std::iter::from_fn(|| cx.set_timer(Duration::from_secs(1)));
            *self.0.borrow_mut() = timers.count();
        }

        fn on_datagram(&mut self, _: Datagram<'_>, cx: &mut DatagramContext<'_>) {
            cx.finish();
        }

        fn on_timer(&mut self, _: TimerId, _: &mut DatagramContext<'_>) {
            unreachable!("the socket is closed by then");
        }
    }

    let mut rig = Rig::new(DatagramLimits::default());
    let count = Rc::default();
    rig.reactor
        .bind("10.0.0.1:70", Many(Rc::clone(&count)))
        .unwrap();
    assert_eq!(*count.borrow(), 16);
    rig.anne
        .send_to(&"10.0.0.1:70".parse().unwrap(), b"x")
        .unwrap();
    rig.turns();
    rig.memory.advance(Duration::from_secs(2));
    rig.turns();
    assert_eq!(rig.reactor.stats().panics, 0);
}
