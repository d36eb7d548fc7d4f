//! Datagrams over loopback, with clients on the plain socket interface of the standard library.
//!
//! What the kernel has a part in is tested here; everything else in `tests/datagrams.rs`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test may; the rules are for the library"
)]

use std::cell::RefCell;
use std::io;
#[cfg(all(target_os = "linux", feature = "udp-batch"))]
use std::net::{IpAddr, Ipv6Addr};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::{Address, Bind, DatagramOptions, Interface, Membership};
use windlass::reactor::DatagramStats;
use windlass::{
    Datagram, DatagramContext, DatagramLimits, DatagramProtocol, Discard, Echo, Oversize, Raw,
    Reactor, SendCause, SendError, Token,
};

/// A failure, not a measure: no test gets here unless something was lost.
const TOO_LONG: Duration = Duration::from_secs(30);

type Journal = Rc<RefCell<Vec<String>>>;

/// Writes down what it is told, and sends where the datagram says.
struct Diary(Journal);

impl DatagramProtocol for Diary {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let text = String::from_utf8_lossy(datagram.bytes).into_owned();
        if let Some(to) = text.strip_prefix("to ") {
            cx.send_to(to.parse::<Address>().unwrap(), "sent");
        }
        self.0.borrow_mut().push(text);
    }

    fn on_send_error(&mut self, error: &SendError, _: &mut DatagramContext<'_>) {
        let cause = match error.cause {
            SendCause::Os(error) => format!("{:?}", error.kind()),
            cause => format!("{cause:?}"),
        };
        let to = error.to.as_ref().map(Address::to_string);
        self.0.borrow_mut().push(format!("{to:?} {cause}"));
    }
}

fn address(reactor: &Reactor, token: Token) -> SocketAddr {
    reactor.local_addr(token).unwrap().as_ip().unwrap()
}

fn client(peer: SocketAddr) -> UdpSocket {
    let ours = SocketAddr::from((peer.ip(), 0));
    let client = UdpSocket::bind(ours).unwrap();
    client.set_read_timeout(Some(TOO_LONG)).unwrap();
    client.connect(peer).unwrap();
    client
}

/// Turns until it is so.
#[track_caller]
fn turn_until(reactor: &mut Reactor, mut is_so: impl FnMut(&mut Reactor) -> bool) {
    let deadline = Instant::now() + TOO_LONG;
    while !is_so(reactor) {
        assert!(Instant::now() < deadline, "it never came to that");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

fn stats(reactor: &Reactor, token: Token) -> DatagramStats {
    reactor.datagram_stats(token).unwrap()
}

#[test]
fn boundaries_are_kept_from_nothing_to_the_largest_datagram() {
    let mut reactor = Reactor::new().unwrap();
    for bind in ["127.0.0.1:0", "0.0.0.0:0"] {
        let echo = reactor.bind(bind, Echo::<Raw>::default()).unwrap();
        let port = address(&reactor, echo).port();
        let client = client((Ipv4Addr::LOCALHOST, port).into());
        for (before, len) in (0..).zip([0, 1, 1472, 65_507, 1, 0]) {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            client.send(&bytes).unwrap();
            turn_until(&mut reactor, |reactor| stats(reactor, echo).sent > before);
            let mut back = vec![0; 65_536];
            assert_eq!(client.recv(&mut back).unwrap(), len);
            assert!(back[..len] == bytes);
        }
    }
}

#[test]
fn one_byte_more_than_the_largest_datagram_is_a_typed_error() {
    struct Long(Rc<RefCell<Option<SendError>>>);

    impl DatagramProtocol for Long {
        fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
            let sent = cx.try_send_to(datagram.from, vec![0; 65_508]);
            *self.0.borrow_mut() = sent.err();
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let error = Rc::default();
    let token = reactor
        .bind("127.0.0.1:0", Long(Rc::clone(&error)))
        .unwrap();
    client(address(&reactor, token)).send(b"?").unwrap();
    turn_until(&mut reactor, |_| error.borrow().is_some());
    let cause = error.borrow().as_ref().map(|error| error.cause);
    let expected = SendCause::TooLong {
        len: 65_508,
        max: 65_507,
    };
    assert_eq!(cause, Some(expected));
}

#[test]
#[cfg(all(feature = "udp-batch", target_os = "linux"))]
fn an_unreachable_port_is_an_event_that_names_it_and_the_socket_goes_on() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = nobody.local_addr().unwrap();
    drop(nobody);
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let token = reactor
        .bind("127.0.0.1:0", Diary(Rc::clone(&journal)))
        .unwrap();
    let client = client(address(&reactor, token));
    // The second one finds the error of the first one in its way.
    for _ in 0..2 {
        client.send(format!("to {nowhere}").as_bytes()).unwrap();
        turn_until(&mut reactor, |_| journal.borrow().len() == 2);
        let refused = format!("Some(\"{nowhere}\") ConnectionRefused");
        assert_eq!(journal.take()[1], refused);
    }
    client.send(b"still there").unwrap();
    turn_until(&mut reactor, |_| !journal.borrow().is_empty());
    assert_eq!(journal.take(), ["still there"]);
    let stats = stats(&reactor, token);
    assert_eq!((stats.sent, stats.reports, stats.send_errors), (2, 2, 0));
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_os_refuses_is_an_event_that_names_the_destination() {
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let token = reactor
        .bind("127.0.0.1:0", Diary(Rc::clone(&journal)))
        .unwrap();
    let client = client(address(&reactor, token));
    for (to, kind) in [
        // A socket of the loopback network reaches nothing beyond it.
        ("192.0.2.1:9", "InvalidInput"),
        ("127.255.255.255:9", "PermissionDenied"),
    ] {
        client.send(format!("to {to}").as_bytes()).unwrap();
        turn_until(&mut reactor, |_| journal.borrow().len() == 2);
        assert_eq!(journal.take()[1], format!("Some(\"{to}\") {kind}"));
    }
    assert_eq!(stats(&reactor, token).send_errors, 2);
}

#[test]
fn a_directed_broadcast_reaches_every_socket_of_the_port_when_it_is_allowed() {
    let began = Instant::now();
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let shared = || Bind::on("0.0.0.0:0").unwrap().reuse_address(true);
    let diary = || Diary(Rc::clone(&journal));
    let first = reactor.bind(shared().broadcast(true), diary()).unwrap();
    let port = address(&reactor, first).port();
    let second = Bind::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    reactor.bind(second.reuse_address(true), diary()).unwrap();
    let everybody = SocketAddr::from(([127, 255, 255, 255], port));
    reactor
        .send_datagram(first, everybody, "all hands")
        .unwrap();
    turn_until(&mut reactor, |_| journal.borrow().len() == 2);
    assert_eq!(journal.take(), ["all hands", "all hands"]);
    // And the guard stands before it.
    for _ in 0..1000 {
        reactor.send_datagram(first, everybody, "flood").unwrap();
    }
    let stats = stats(&reactor, first);
    assert_eq!(stats.sent + stats.storm_guarded, 1001);
    let guarded = journal
        .borrow()
        .iter()
        .filter(|text| text.ends_with("StormGuard"))
        .count();
    assert_eq!(guarded as u64, stats.storm_guarded);
    // The burst of a second, and what the seconds since then are worth.
    let most = 100 + began.elapsed().as_secs_f64().ceil() as u64 * 100;
    assert!((100..=most).contains(&stats.sent), "{stats:?}");
}

#[test]
#[cfg(all(target_os = "linux", feature = "udp-batch"))]
fn a_group_is_heard_from_one_source_by_an_interface_with_an_index() {
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let group = Ipv4Addr::new(232, 255, 77, 2);
    // The interface of loopback is the first of every network namespace.
    let loopback = Interface::Index(1);
    let sources = [Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::LOCALHOST];
    let of = |source: Ipv4Addr| {
        Membership::of(group.into())
            .on(loopback)
            .from_source(source.into())
    };
    let bind = Bind::on("0.0.0.0:0").unwrap().join(of(sources[0]));
    let token = reactor.bind(bind, Diary(Rc::clone(&journal))).unwrap();
    let to = SocketAddr::from((group, address(&reactor, token).port()));
    let options = DatagramOptions {
        multicast_interface: Some(loopback),
        ..DatagramOptions::default()
    };
    for (source, text) in sources.into_iter().rev().zip(["a stranger", "the source"]) {
        let sender = Bind::new(SocketAddr::from((source, 0))).options(options.clone());
        let sender = reactor.bind(sender, Discard).unwrap();
        reactor.send_datagram(sender, to, text).unwrap();
    }
    turn_until(&mut reactor, |_| !journal.borrow().is_empty());
    assert_eq!(journal.take(), ["the source"]);
    reactor.leave(token, &of(sources[0])).unwrap();
    let none = Membership::of(group.into()).on(Interface::Index(u32::MAX));
    assert!(
        reactor
            .join(token, &none.from_source(sources[0].into()))
            .is_err()
    );
}

#[test]
#[cfg(all(target_os = "linux", feature = "udp-batch"))]
fn a_group_of_ipv6_is_heard_from_the_sources_that_were_joined_until_they_are_left() {
    let group: Ipv6Addr = "ff3e::8077:2".parse().unwrap();
    let Some(source) = source_for(group) else {
        return; // A machine without IPv6, or without an interface that takes groups.
    };
    let from = |source| Membership::of(group.into()).from_source(source);
    let stranger = "2001:db8::9".parse().unwrap();
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let bind = Bind::on("[::]:0").unwrap().join(from(stranger));
    let token = reactor.bind(bind, Diary(Rc::clone(&journal))).unwrap();
    let port = address(&reactor, token).port();
    // Without a hop nothing of it leaves the machine.
    let options = DatagramOptions {
        multicast_ttl: Some(0),
        ..DatagramOptions::default()
    };
    let sender = Bind::on("[::]:0").unwrap().options(options);
    let sender = reactor.bind(sender, Discard).unwrap();
    let check = |reactor: &mut Reactor, expected: &[&str]| {
        for (to, text) in [(group, "all hands"), (Ipv6Addr::LOCALHOST, "you")] {
            let to = SocketAddr::from((to, port));
            reactor.send_datagram(sender, to, text).unwrap();
        }
        // Loopback delivers in order: the second arrives after the first has, or never will.
        let has_come = |_: &mut Reactor| journal.borrow().last().is_some_and(|last| last == "you");
        turn_until(reactor, has_come);
        assert_eq!(journal.take(), expected);
    };
    check(&mut reactor, &["you"]);
    reactor.join(token, &from(source)).unwrap();
    check(&mut reactor, &["all hands", "you"]);
    reactor.leave(token, &from(stranger)).unwrap();
    check(&mut reactor, &["all hands", "you"]);
    reactor.leave(token, &from(source)).unwrap();
    check(&mut reactor, &["you"]);
    assert!(reactor.leave(token, &from(source)).is_err());
    let nowhere = from(source).on(Interface::Index(u32::MAX));
    assert!(reactor.join(token, &nowhere).is_err());
    let of_ipv4 = from(Ipv4Addr::LOCALHOST.into());
    let refused = reactor.join(token, &of_ipv4).unwrap_err();
    assert!(refused.to_string().contains("no membership"), "{refused}");
}

/// The address that this machine sends to a group from.
#[cfg(all(target_os = "linux", feature = "udp-batch"))]
fn source_for(group: Ipv6Addr) -> Option<IpAddr> {
    let socket = UdpSocket::bind("[::]:0").ok()?;
    socket.connect((group, 9)).ok()?;
    Some(socket.local_addr().unwrap().ip())
}

#[test]
#[cfg(target_os = "linux")]
fn a_group_is_joined_heard_and_left() {
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let group = Ipv4Addr::new(239, 255, 77, 1);
    let membership = Membership::of(group.into()).on(Interface::Address(Ipv4Addr::LOCALHOST));
    let bind = Bind::on("0.0.0.0:0").unwrap().join(membership.clone());
    let token = reactor.bind(bind, Diary(Rc::clone(&journal))).unwrap();
    let port = address(&reactor, token).port();
    let options = DatagramOptions {
        multicast_interface: Some(Interface::Address(Ipv4Addr::LOCALHOST)),
        ..DatagramOptions::default()
    };
    let sender = Bind::on("0.0.0.0:0").unwrap().options(options);
    let sender = reactor.bind(sender, Discard).unwrap();
    let to = SocketAddr::from((group, port));
    reactor.send_datagram(sender, to, "hear").unwrap();
    turn_until(&mut reactor, |_| !journal.borrow().is_empty());
    assert_eq!(journal.take(), ["hear"]);
    let again = reactor.join(token, &membership).unwrap_err();
    assert!(again.to_string().contains("in use"), "{again}");
    reactor.leave(token, &membership).unwrap();
    reactor.send_datagram(sender, to, "unheard").unwrap();
    // The next one that arrives was sent behind it.
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    reactor.send_datagram(sender, direct, "direct").unwrap();
    turn_until(&mut reactor, |_| !journal.borrow().is_empty());
    assert_eq!(journal.take(), ["direct"]);
    assert!(reactor.leave(token, &membership).is_err());
}

/// Joins and leaves a group as it is told to.
struct Fickle(Journal, Membership);

impl DatagramProtocol for Fickle {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        match datagram.bytes {
            b"join" => cx.join(self.1.clone()),
            b"leave" => cx.leave(self.1.clone()),
            _ => {}
        }
        let text = String::from_utf8_lossy(datagram.bytes).into_owned();
        self.0.borrow_mut().push(text);
    }

    fn on_membership_error(
        &mut self,
        membership: &Membership,
        error: &io::Error,
        _: &mut DatagramContext<'_>,
    ) {
        assert_eq!(*membership, self.1);
        self.0.borrow_mut().push(format!("{:?}", error.kind()));
    }
}

#[test]
fn a_callback_joins_and_leaves_a_group_and_is_told_what_the_os_refuses() {
    let group = Ipv4Addr::new(239, 255, 74, 8);
    let membership = Membership::of(group.into()).on(Interface::Address(Ipv4Addr::LOCALHOST));
    let mut reactor = Reactor::new().unwrap();
    let journal = Journal::default();
    let fickle = Fickle(Rc::clone(&journal), membership);
    let token = reactor.bind("0.0.0.0:0", fickle).unwrap();
    let port = address(&reactor, token).port();
    let client = client((Ipv4Addr::LOCALHOST, port).into());
    let everybody = socket2::Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    everybody.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let group = SocketAddr::from((group, port)).into();
    let mut steps = 0;
    for (order, len) in [("join", 1), ("join", 2), ("leave", 1), ("leave", 2)] {
        client.send(order.as_bytes()).unwrap();
        steps += len;
        turn_until(&mut reactor, |_| journal.borrow().len() == steps);
        // Loopback delivers in order: the second arrives after the first has, or never will.
        let sent = everybody.send_to(b"all hands", &group);
        assert!(sent.is_ok() || order == "leave", "{sent:?}");
        client.send(b"you").unwrap();
        steps += if order == "join" { 2 } else { 1 };
        turn_until(&mut reactor, |_| journal.borrow().len() == steps);
    }
    let told = [
        "join",
        "all hands",
        "you",
        "join",
        "AddrInUse",
        "all hands",
        "you",
        "leave",
        "you",
        "leave",
        "AddrNotAvailable",
        "you",
    ];
    assert_eq!(*journal.borrow(), told);
}

#[test]
fn unix_sockets_keep_boundaries_beyond_the_length_of_udp() {
    let dir = std::env::temp_dir();
    let ours = dir.join(format!("windlass-udp-ours-{}", std::process::id()));
    let theirs = dir.join(format!("windlass-udp-theirs-{}", std::process::id()));
    let _ = std::fs::remove_file(&theirs);
    let mut reactor = Reactor::new().unwrap();
    let echo = reactor
        .bind(Bind::new(&*ours), Echo::<Raw>::default())
        .unwrap();
    let client = UnixDatagram::bind(&theirs).unwrap();
    client.set_read_timeout(Some(TOO_LONG)).unwrap();
    client.connect(&ours).unwrap();
    for (at, len) in [1, 0, 60_000, 70_000].into_iter().enumerate() {
        client.send(&vec![7; len]).unwrap();
        turn_until(&mut reactor, |reactor| {
            stats(reactor, echo).sent == at as u64 + 1
        });
        let mut back = vec![0; 100_000];
        assert_eq!(client.recv(&mut back).unwrap(), len.min(65_536));
    }
    assert_eq!(stats(&reactor, echo).truncated, 1);
    drop(reactor);
    assert!(!ours.exists());
    std::fs::remove_file(&theirs).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_unix_client_that_takes_nothing_loses_what_is_for_it_and_the_others_are_answered() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = |who: &str| format!("unix:@windlass-udp-{who}-{}", std::process::id());
    let at = |who| SocketAddr::from_abstract_name(&name(who)[6..]).unwrap();
    let bound = |who| {
        let socket = UnixDatagram::bind_addr(&at(who)).unwrap();
        socket.set_read_timeout(Some(TOO_LONG)).unwrap();
        socket
    };
    let (deaf, client) = (bound("deaf"), bound("client"));
    let journal = Journal::default();
    let mut reactor = Reactor::new().unwrap();
    // With room for more than the queue of one client holds (`net.unix.max_dgram_qlen`).
    let options = DatagramOptions {
        send_buffer: Some(200_000),
        ..DatagramOptions::default()
    };
    let bind = Bind::on(&name("server")).unwrap().options(options);
    let server = reactor.bind(bind, Diary(journal.clone())).unwrap();
    let ask = |reactor: &mut Reactor, who| {
        let before = stats(reactor, server).received;
        let question = format!("to {}", name(who));
        client
            .send_to_addr(question.as_bytes(), &at("server"))
            .unwrap();
        turn_until(reactor, |reactor| stats(reactor, server).received > before);
    };
    let mut asked = 0;
    while stats(&reactor, server).send_errors < 3 && asked < 2000 {
        ask(&mut reactor, "deaf");
        asked += 1;
    }
    ask(&mut reactor, "client");
    turn_until(&mut reactor, |reactor| stats(reactor, server).queued == 0);
    let mut buf = [0; 16];
    assert_eq!(client.recv(&mut buf).unwrap(), 4);
    let told = stats(&reactor, server);
    assert_eq!((told.send_errors, told.sent), (3, asked - 3 + 1));
    let lost = format!("Some({:?}) ResourceBusy", name("deaf"));
    let said = journal.borrow();
    assert_eq!(said.iter().filter(|line| **line == lost).count(), 3);
    // It is served again as soon as it takes what it has.
    drop(said);
    deaf.recv(&mut buf).unwrap();
    ask(&mut reactor, "deaf");
    assert_eq!(stats(&reactor, server).sent, told.sent + 1);
    assert_eq!(stats(&reactor, server).send_errors, 3);
}

#[test]
#[cfg(all(feature = "udp-batch", target_os = "linux"))]
fn a_panic_within_a_train_leaves_none_uncounted_that_was_delivered() {
    struct Fragile(u32);

    impl DatagramProtocol for Fragile {
        fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {
            self.0 += 1;
            assert_ne!(self.0, 3, "as asked");
        }
    }

    struct Train(SocketAddr);

    impl DatagramProtocol for Train {
        fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
            for _ in 0..5 {
                cx.send_to(self.0, "alike");
            }
        }

        fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}
    }

    let mut reactor = Reactor::new().unwrap();
    let options = DatagramOptions {
        batching: Some(windlass::net::Batching::On),
        ..DatagramOptions::default()
    };
    let bind = Bind::on("127.0.0.1:0").unwrap().options(options);
    let fragile = reactor.bind(bind, Fragile(0)).unwrap();
    let train = Train(address(&reactor, fragile));
    reactor.bind("127.0.0.1:0", train).unwrap();
    turn_until(&mut reactor, |reactor| !reactor.is_alive(fragile));
    let service = reactor.services().find(|service| service.panics == 1);
    let service = service.unwrap();
    assert_eq!((service.frames, service.bytes_in), (3, 5 * 5));
}

#[cfg(target_os = "linux")]
thread_local! {
    /// What the library has warned of.
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[cfg(target_os = "linux")]
struct Warnings;

#[cfg(target_os = "linux")]
impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

#[test]
#[cfg(target_os = "linux")]
fn a_buffer_that_the_kernel_makes_smaller_is_read_back_so_and_warned_of() {
    log::set_logger(&Warnings).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let asked_len = 1 << 30;
    let options = DatagramOptions {
        recv_buffer: Some(asked_len),
        send_buffer: Some(asked_len),
        ..DatagramOptions::default()
    };
    let mut reactor = Reactor::new().unwrap();
    let bind = Bind::on("127.0.0.1:0").unwrap().options(options);
    let token = reactor.bind(bind, Discard).unwrap();
    let granted = reactor.datagram_options(token).unwrap();
    let granted = [
        ("receive", granted.recv_buffer),
        ("send", granted.send_buffer),
    ];
    let expected = granted.map(|(name, len)| {
        let granted_len = len.unwrap();
        assert!(
            granted_len < asked_len,
            "this kernel grants {asked_len} bytes"
        );
        format!("{name} buffer: {asked_len} bytes asked for, {granted_len} granted")
    });
    assert_eq!(WARNINGS.take(), expected);
}

/// What the kernel has dropped for want of room in the socket's buffer.
#[cfg(target_os = "linux")]
fn dropped(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let suffix = format!(":{port:04X}");
    let row = table.lines().find(|line| {
        let local = line.split_ascii_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&suffix))
    });
    let drops = row.and_then(|row| row.split_ascii_whitespace().last());
    drops.unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_of_a_flood_is_lost_without_being_counted() {
    const FLOOD: u64 = 1_000_000;
    let mut reactor = Reactor::new().unwrap();
    let bind = Bind::on("127.0.0.1:0")
        .unwrap()
        .options(DatagramOptions {
            recv_buffer: Some(16 * 1024),
            ..DatagramOptions::default()
        })
        .limits(DatagramLimits {
            max_datagram: 64,
            oversize: Oversize::Drop,
            ..DatagramLimits::default()
        });
    let count = Rc::default();
    let token = reactor.bind(bind, Count(Rc::clone(&count))).unwrap();
    let peer = address(&reactor, token);
    let sender = std::thread::spawn(move || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(peer).unwrap();
        let long = (0..FLOOD).filter(|n| {
            let len = if n % 10 == 0 { 65 } else { 64 };
            client.send(&[0; 65][..len]).unwrap();
            len == 65
        });
        long.count() as u64
    });
    turn_until(&mut reactor, |_| sender.is_finished());
    let sent_long = sender.join().unwrap();
    turn_until(&mut reactor, |reactor| {
        stats(reactor, token).received + dropped(peer.port()) == FLOOD
    });
    let stats = stats(&reactor, token);
    assert_eq!(*count.borrow() + stats.truncated, stats.received);
    assert!(
        stats.truncated > 0 && stats.truncated <= sent_long,
        "{stats:?}"
    );
    assert!(stats.received < FLOOD, "nothing was dropped: no flood");
}

/// Counts what is delivered.
struct Count(Rc<RefCell<u64>>);

impl DatagramProtocol for Count {
    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut DatagramContext<'_>) {
        assert_eq!((datagram.len, datagram.bytes.len()), (64, 64));
        *self.0.borrow_mut() += 1;
    }
}
