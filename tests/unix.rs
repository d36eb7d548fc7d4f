//! Unix stream sockets: by path and by abstract name, with the same protocols.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{End, Script, Seen, Server, TOO_LONG, next, next_close, read_exactly, read_to_end};
use windlass::net::{Address, Listen};
use windlass::protocol::Chargen;
use windlass::{CloseReason, Echo, Error, Limits, Lines, Reactor};

/// A path of this process's own, with nothing at it.
fn fresh_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("windlass-{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[track_caller]
fn assert_echoes(mut client: UnixStream) {
    client.set_read_timeout(Some(TOO_LONG)).unwrap();
    let mut lines = Vec::new();
    for line in 0..1000 {
        writeln!(lines, "line {line}").unwrap();
    }
    client.write_all(&lines).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), (lines, End::Fin));
}

#[test]
fn a_path_is_served_and_is_gone_with_its_listener() {
    let path = fresh_path("served");
    let on = format!("unix:{}", path.display());
    let server = Server::start(move |reactor| {
        let listener = reactor.listen(on.as_str(), |_| Echo::<Lines>::default());
        let listener = listener.unwrap();
        assert_eq!(reactor.local_addr(listener).unwrap().to_string(), on);
        listener
    });
    for _ in 0..20 {
        assert_echoes(UnixStream::connect(&path).unwrap());
    }
    server.wait_for_entries(1);
    assert!(path.exists());
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_path_at_which_somebody_listens_is_refused_and_a_stale_one_is_taken_over() {
    let path = fresh_path("taken");
    let other = UnixListener::bind(&path).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let address = Address::Unix(path.clone());
    let refused = reactor.listen(address.clone(), |_| Echo::<Lines>::default());
    assert!(matches!(refused, Err(Error::Listen { .. })), "{refused:?}");
    drop(other);
    assert!(path.exists(), "as after a server that was killed");
    reactor
        .listen(address, |_| Echo::<Lines>::default())
        .unwrap();
    drop(reactor);
    assert!(!path.exists());
}

#[test]
fn an_abstract_name_is_served() {
    let name = format!("windlass-test-{}", std::process::id());
    let on = format!("unix:@{name}");
    let server = Server::start(move |reactor| {
        reactor
            .listen(on.as_str(), |peer| {
                assert_eq!(peer.address, Address::Unnamed);
                Echo::<Lines>::default()
            })
            .unwrap()
    });
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    assert_echoes(UnixStream::connect_addr(&address).unwrap());
    server.wait_for_entries(1);
    assert_eq!(server.stop().stats.panics, 0);
}

#[test]
fn a_peer_that_leaves_without_reading_its_replies_is_told_once() {
    let path = fresh_path("leaves");
    let on = format!("unix:{}", path.display());
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen(on.as_str(), move |_| {
                Script::<Lines>::new().seen(&tell).on_frame(|_, cx| {
                    cx.out().put(&[b'x'; 900_000]);
                })
            })
            .unwrap()
    });
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"much\n").unwrap();
    read_exactly(&mut client, 1);
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Reset);
    server.wait_for_entries(1);
    server.stop();
}

#[test]
fn a_connection_to_a_path_is_made_and_one_to_nowhere_is_refused() {
    let path = fresh_path("connect");
    let listener = UnixListener::bind(&path).unwrap();
    let on = format!("unix:{}", path.display());
    let (tell, seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let script = || Script::<Lines>::new().seen(&tell);
    let token = reactor.connect(on.as_str(), script()).unwrap();
    let peer = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        assert_echoes(stream);
    });
    reactor.run().unwrap();
    peer.join().unwrap();
    assert_eq!(next(&seen), Seen::Open(token));
    assert_eq!(next_close(&seen), (token, CloseReason::PeerFinished));
    let token = reactor.connect(on.as_str(), script()).unwrap();
    reactor.run().unwrap();
    let (closed, reason) = next_close(&seen);
    assert_eq!(closed, token);
    assert!(matches!(reason, CloseReason::ConnectFailed(_)), "{reason}");
    let _ = std::fs::remove_file(&path);
}

/// Takes turns, each of which waits for an event, until it is so.
fn turn_until(reactor: &mut Reactor, is_so: impl Fn(&Reactor) -> bool) {
    let deadline = Instant::now() + TOO_LONG;
    while !is_so(reactor) {
        assert!(Instant::now() < deadline, "it never came to that");
        reactor.turn(Some(TOO_LONG)).unwrap();
    }
}

/// A socket of this kind counts as writable again when three quarters of its buffer are free, for
/// which a peer that takes a piece now and then may need longer than it may stall.
#[test]
fn a_peer_that_takes_less_than_the_poller_waits_for_has_not_stalled() {
    let path = fresh_path("steady");
    let limits = Limits {
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut reactor = Reactor::new().unwrap();
    let listen = Listen::new(Address::from(path.as_path())).limits(limits);
    let chargen = reactor.listen(listen, |_| Chargen::endless()).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(TOO_LONG)).unwrap();
    // Until the socket's buffer is full.
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    // Less than half of it.
    let mut piece = vec![0; 96 * 1024];
    let stats = |reactor: &Reactor| reactor.service_stats(chargen).unwrap();
    let stalled = |reactor: &Reactor| stats(reactor).closed(CloseReason::Stalled);
    for _ in 0..3 {
        client.read_exact(&mut piece).unwrap();
        // The deadline is what wakes the reactor.
        let before = stats(&reactor).bytes_out;
        turn_until(&mut reactor, |reactor| {
            stats(reactor).bytes_out > before || stalled(reactor) > 0
        });
        assert_eq!(stalled(&reactor), 0);
    }
    // One that takes nothing has.
    turn_until(&mut reactor, |reactor| stalled(reactor) > 0);
}

/// The same at the end: what is owed fits into what the peer has made room for.
#[test]
fn a_peer_that_takes_enough_in_time_is_sent_the_rest_whatever_the_poller_waits_for() {
    // 255,300 bytes: more than the socket's buffer, and less than is queued beside it.
    const LINES: u64 = 3450;
    let path = fresh_path("drained");
    let limits = Limits {
        drain_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut reactor = Reactor::new().unwrap();
    let listen = Listen::new(Address::from(path.as_path())).limits(limits);
    let chargen = reactor.listen(listen, |_| Chargen::lines(LINES)).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(TOO_LONG)).unwrap();
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let written = reactor.service_stats(chargen).unwrap().bytes_out;
    assert!(written < 74 * LINES, "the rest is owed");
    let mut piece = vec![0; 96 * 1024];
    client.read_exact(&mut piece).unwrap();
    // The deadline is what wakes the reactor.
    turn_until(&mut reactor, |reactor| {
        let stats = reactor.service_stats(chargen).unwrap();
        stats.bytes_out == 74 * LINES || stats.closed(CloseReason::DrainTimeout) > 0
    });
    let (rest, end) = read_to_end(&mut client);
    assert_eq!((piece.len() + rest.len()) as u64, 74 * LINES);
    assert_eq!(end, End::Fin);
}
