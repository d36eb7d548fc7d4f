//! Connections that the reactor opens: refused, timed out, tried again, reset on the way.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{End, Script, Seen, TOO_LONG, next, next_close, read_exactly, read_to_end, reset};
use socket2::{Domain, Socket, Type};
use windlass::net::{Backoff, Connect, Memory};
use windlass::{
    CloseReason, Context, Error, Gone, Intents, Limits, Lines, Protocol, Raw, Reactor, Token,
};

const SHORT: Duration = Duration::from_millis(1);

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn open(reactor: &mut Reactor, to: Connect) -> (Token, Receiver<Seen>) {
    let (tell, seen): (Sender<Seen>, _) = channel();
    let script = Script::<Lines>::new().seen(&tell);
    (reactor.connect(to, script).unwrap(), seen)
}

#[test]
fn a_refusal_is_told_as_the_reason_of_the_end() {
    let mut reactor = Reactor::new().unwrap();
    let (token, seen) = open(&mut reactor, Connect::new(nowhere()));
    reactor.run().unwrap();
    let Seen::Close(closed, CloseReason::ConnectFailed(error)) = next(&seen) else {
        panic!("it was never open");
    };
    assert_eq!(
        (closed, error.kind()),
        (token, ErrorKind::ConnectionRefused)
    );
    assert!(seen.try_recv().is_err(), "told once");
    assert_eq!(reactor.send(token, "late"), Err(Gone));
    assert_eq!(reactor.stats().entries, 0);
    assert!(matches!(
        reactor.connect("nonsense", Script::<Raw>::new()),
        Err(Error::Address(_))
    ));
}

#[test]
fn what_was_sent_before_the_connection_was_made_arrives_first_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let (token, seen) = open(&mut reactor, Connect::new(listener.local_addr().unwrap()));
    for line in ["one\n", "two\n", "three\n"] {
        reactor.send(token, line).unwrap();
    }
    reactor.finish_writes(token).unwrap();
    let peer = thread::spawn(move || read_to_end(&mut listener.accept().unwrap().0));
    reactor.run().unwrap();
    assert_eq!(
        peer.join().unwrap(),
        (b"one\ntwo\nthree\n".to_vec(), End::Fin)
    );
    assert_eq!(next(&seen), Seen::Open(token));
    assert_eq!(next_close(&seen), (token, CloseReason::Finished));
}

#[test]
fn a_connection_that_is_finished_before_it_is_made_still_delivers_what_it_owes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let (token, seen) = open(&mut reactor, Connect::new(listener.local_addr().unwrap()));
    reactor.send(token, "last words\n").unwrap();
    reactor.finish(token).unwrap();
    let peer = thread::spawn(move || read_to_end(&mut listener.accept().unwrap().0));
    reactor.run().unwrap();
    assert_eq!(peer.join().unwrap(), (b"last words\n".to_vec(), End::Fin));
    assert_eq!(next_close(&seen), (token, CloseReason::Finished));
}

#[test]
fn a_connection_that_is_tried_again_keeps_its_token_and_its_bytes() {
    let address = nowhere();
    let mut reactor = Reactor::new().unwrap();
    let retry = Backoff {
        first: Duration::from_millis(20),
        max: Duration::from_millis(20),
        attempts: 1000,
    };
    let (token, seen) = open(&mut reactor, Connect::new(address).retry(retry));
    reactor.send(token, "early\n").unwrap();
    let turns = |reactor: &mut Reactor, count: u64| {
        let until = reactor.stats().timers_fired + count;
        reactor.run_until(|reactor| reactor.stats().timers_fired >= until)
    };
    // Several attempts fail, and nobody is told.
    turns(&mut reactor, 3).unwrap();
    assert!(seen.try_recv().is_err());
    let listener = TcpListener::bind(address).unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut stream)
    });
    reactor.run().unwrap();
    assert_eq!(peer.join().unwrap(), (b"early\nhello\n".to_vec(), End::Fin));
    assert_eq!(next(&seen), Seen::Open(token));
    assert_eq!(next(&seen), Seen::Frame(token, b"hello".to_vec()));
    assert_eq!(next_close(&seen), (token, CloseReason::PeerFinished));
}

#[test]
fn attempts_are_counted_and_the_last_failure_is_told() {
    let mut reactor = Reactor::new().unwrap();
    let retry = Backoff {
        first: Duration::from_millis(5),
        max: Duration::from_millis(5),
        attempts: 3,
    };
    let began = Instant::now();
    let (token, seen) = open(&mut reactor, Connect::new(nowhere()).retry(retry));
    reactor.run().unwrap();
    // Each wait is shortened by a quarter at most.
    assert!(began.elapsed() >= Duration::from_millis(3 * 3));
    let (closed, reason) = next_close(&seen);
    assert_eq!(closed, token);
    assert!(matches!(reason, CloseReason::ConnectFailed(_)), "{reason}");
}

#[test]
fn a_connection_that_waits_to_be_tried_again_can_be_aborted() {
    let mut reactor = Reactor::new().unwrap();
    let retry = Backoff {
        first: TOO_LONG,
        ..Backoff::default()
    };
    let (token, seen) = open(&mut reactor, Connect::new(nowhere()).retry(retry));
    for _ in 0..3 {
        reactor.turn(Some(Duration::from_millis(5))).unwrap();
    }
    assert!(reactor.is_alive(token));
    reactor.abort(token).unwrap();
    reactor.run().unwrap();
    assert_eq!(next_close(&seen), (token, CloseReason::Aborted));
}

#[test]
fn a_refusal_has_its_number_on_the_network_in_memory_too() {
    let mut reactor = Reactor::with_network(Memory::new());
    let (tell, seen) = channel();
    let nowhere: SocketAddr = ([10, 0, 0, 1], 7).into();
    let script = Script::<Lines>::new().seen(&tell);
    let token = reactor.connect(nowhere, script).unwrap();
    reactor.run().unwrap();
    let (closed, reason) = next_close(&seen);
    assert_eq!(closed, token);
    let CloseReason::ConnectFailed(error) = reason else {
        panic!("{reason}");
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_connection_begins_after_the_wait_that_it_was_given_and_not_before() {
    let memory = Memory::new();
    let address: SocketAddr = ([10, 0, 0, 1], 7).into();
    let listener = memory.listen_peer(address).unwrap();
    let mut reactor = Reactor::with_network(memory.clone());
    let wait = Duration::from_secs(60);
    let connect = Connect::new(address).after(wait);
    let token = reactor.connect(connect, Script::<Lines>::new()).unwrap();
    reactor.send(token, "early\n").unwrap();
    let take_turn = |reactor: &mut Reactor<Memory>| reactor.turn(Some(Duration::ZERO)).unwrap();
    memory.advance(wait - Duration::from_millis(1));
    take_turn(&mut reactor);
    assert!(listener.accept().is_none());
    memory.advance(Duration::from_millis(1));
    take_turn(&mut reactor);
    let peer = listener.accept().expect("the wait is over");
    take_turn(&mut reactor);
    assert_eq!(peer.received(), b"early\n");
}

/// Comes back, after a wait that doubles, each time that it is cut off.
struct Returning {
    server: SocketAddr,
    failed: u32,
}

impl Protocol for Returning {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Lines>) {}

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        assert_eq!(
            cx.set_timer(SHORT),
            None,
            "a timer would end with its entry"
        );
        if reason == CloseReason::Shutdown {
            return;
        }
        let Returning { server, failed } = *self;
        let wait = Backoff::default().wait(failed, 0).unwrap();
        let failed = failed + 1;
        cx.connect(
            Connect::new(server).after(wait),
            Returning { server, failed },
        );
    }
}

#[test]
fn a_protocol_comes_back_with_a_back_off_to_a_server_that_closes_at_once() {
    let memory = Memory::new();
    let server: SocketAddr = ([10, 0, 0, 1], 7).into();
    let listener = memory.listen_peer(server).unwrap();
    let mut reactor = Reactor::with_network(memory.clone());
    let returning = Returning { server, failed: 0 };
    reactor.connect(server, returning).unwrap();
    let began = reactor.now();
    for failed in 0..6 {
        let peer = loop {
            // Without an event a turn moves the clock to the end of the wait.
            reactor.turn(None).unwrap();
            match listener.accept() {
                Some(peer) => break peer,
                None => assert!(reactor.now() - began < TOO_LONG),
            }
        };
        let waits = (0..failed).map(|nth| Backoff::default().wait(nth, 0).unwrap());
        assert!(reactor.now() - began >= waits.sum(), "attempt {failed}");
        peer.finish();
        while !peer.is_finished() {
            reactor.turn(None).unwrap();
        }
    }
}

/// A listener whose backlog is full, so that the next one to connect is not answered.
fn full() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the backlog never fills");
    }
    (listener, address, fillers)
}

#[test]
fn a_connection_that_is_not_answered_times_out() {
    let (_listener, address, _fillers) = full();
    let limits = Limits {
        connect_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut reactor = Reactor::new().unwrap();
    let began = Instant::now();
    let (token, seen) = open(&mut reactor, Connect::new(address).limits(limits));
    reactor.run().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::ConnectTimeout));
}

#[test]
fn a_shutdown_ends_what_is_being_connected_within_its_grace() {
    let (_listener, address, _fillers) = full();
    let mut reactor = Reactor::new().unwrap();
    let (token, seen) = open(&mut reactor, Connect::new(address));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.shutdown(Duration::from_millis(50));
    reactor.run().unwrap();
    assert_eq!(next_close(&seen), (token, CloseReason::Shutdown));
    // And what is asked for afterwards is never begun.
    let (token, seen) = open(&mut reactor, Connect::new(address));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::Shutdown));
    assert_eq!(reactor.stats().entries, 0);
}

/// Connects again whenever it ends.
struct Persistent {
    to: SocketAddr,
    ends: Rc<Cell<u32>>,
}

impl Protocol for Persistent {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}

    fn on_close(&mut self, _: CloseReason, cx: &mut Intents) {
        self.ends.set(self.ends.get() + 1);
        let (to, ends) = (self.to, Rc::clone(&self.ends));
        let token = cx.connect(to, Persistent { to, ends });
        cx.send_to(token, "I am back");
    }
}

#[test]
fn who_comes_back_whenever_it_ends_does_not_keep_a_shutdown_busy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let ends = Rc::default();
    let protocol = Persistent {
        to,
        ends: Rc::clone(&ends),
    };
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(to, protocol).unwrap();
    let _accepted = listener.accept().unwrap();
    reactor.shutdown(Duration::ZERO);
    reactor.run().unwrap();
    // Once when the connection ends, and once when the next one is not opened.
    assert_eq!(ends.get(), 2);
    assert_eq!(Rc::strong_count(&ends), 1);
    assert_eq!(reactor.stats().entries, 0);
}

#[test]
fn a_peer_that_resets_as_soon_as_it_has_accepted_is_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        for _ in 0..100 {
            reset(listener.accept().unwrap().0);
        }
    });
    for _ in 0..100 {
        let mut reactor = Reactor::new().unwrap();
        let (token, seen) = open(&mut reactor, Connect::new(address));
        reactor.run().unwrap();
        let closes: Vec<Seen> = seen
            .try_iter()
            .filter(|seen| !matches!(seen, Seen::Open(_)))
            .collect();
        // It depends on when it came whether the connection had been made by then.
        let [Seen::Close(closed, reason)] = closes[..] else {
            panic!("{closes:?}");
        };
        assert_eq!(closed, token);
        let was_reset = match reason {
            CloseReason::ConnectFailed(error) => error.kind() == ErrorKind::ConnectionReset,
            reason => reason == CloseReason::Reset,
        };
        assert!(was_reset, "{reason}");
    }
    peer.join().unwrap();
}

#[test]
fn a_connection_comes_from_the_address_that_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let from: SocketAddr = ([127, 0, 0, 2], 0).into();
    let connect = Connect::new(listener.local_addr().unwrap()).from_addr(from);
    let (token, _seen) = open(&mut reactor, connect);
    let (mut peer, address) = listener.accept().unwrap();
    assert_eq!(address.ip(), from.ip());
    reactor.send(token, "hello\n").unwrap();
    let reading = thread::spawn(move || {
        let hello = read_exactly(&mut peer, 6);
        drop(peer);
        hello
    });
    reactor.run().unwrap();
    assert_eq!(reading.join().unwrap(), b"hello\n");
    assert_eq!(reactor.services().next().unwrap().connected, 1);
}

#[test]
fn a_protocol_opens_connections_of_its_own() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let server = common::Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().on_frame(move |line, cx| {
                    let asker = cx.token();
                    let asks = Script::<Lines>::new().on_frame(move |line, cx| {
                        cx.send_to(asker, [line, b"\n"].concat());
                        cx.finish();
                    });
                    let token = cx.connect(address, asks);
                    cx.send_to(token, [line, b"\n"].concat());
                })
            })
            .unwrap()
    });
    let answering = thread::spawn(move || {
        for _ in 0..10 {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut line = read_exactly(&mut stream, 6);
            line.make_ascii_uppercase();
            stream.write_all(&line).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
    let mut client = server.connect();
    for _ in 0..10 {
        client.write_all(b"hello\n").unwrap();
        assert_eq!(read_exactly(&mut client, 6), b"HELLO\n");
    }
    answering.join().unwrap();
    server.wait_for_entries(2);
    drop(client);
    server.stop();
}
