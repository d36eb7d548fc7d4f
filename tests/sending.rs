//! Stretches of files in a connection's queue: in their place, bounded, and ended where they cannot
//! be sent; by `sendfile` on the network of the OS, read and written on the one in memory.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::{End, Script, Seen, Server, TOO_LONG, connect_narrow, next, next_close, read_to_end};
use windlass::net::{Listen, Memory, MemoryPeer, Network};
use windlass::{Budgets, CloseReason, Lines, Reactor};

const ADDRESS: &str = "10.0.0.1:80";

/// A file that is removed with its test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Temporary {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sending-{name}"));
        fs::write(&path, bytes).unwrap();
        Temporary(path)
    }

    fn open(&self) -> Arc<File> {
        Arc::new(File::open(&self.0).unwrap())
    }

    fn set_len(&self, len: u64) {
        let file = File::options().write(true).open(&self.0).unwrap();
        file.set_len(len).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Bytes of which no two stretches are alike for long.
fn numbers(len: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Answers each line `START LEN` with `<`, that stretch of the file, and `>`; `end` with its end.
fn teller(file: &Arc<File>, seen: &Sender<Seen>) -> Script<Lines> {
    let file = Arc::clone(file);
    Script::new().seen(seen).on_frame(move |line, cx| {
        let line = std::str::from_utf8(line).unwrap();
        let Some((start, len)) = line.split_once(' ') else {
            return cx.finish();
        };
        cx.out().put(b"<");
        cx.out()
            .put_file(&file, start.parse().unwrap(), len.parse().unwrap());
        cx.out().put(b">");
    })
}

/// Requests of stretches of every size, and what has to come back.
fn requests(bytes: &[u8]) -> (String, Vec<u8>) {
    let mut lines = String::new();
    let mut expected = Vec::new();
    for round in 0..60_usize {
        let start = (round * 7919) % (bytes.len() / 2);
        let len = [0, 1, 100, 4096, 16_384, 16_385, 70_000, 300_000][round % 8];
        lines += &format!("{start} {len}\n");
        expected.push(b'<');
        expected.extend(&bytes[start..start + len]);
        expected.push(b'>');
    }
    (lines + "end\n", expected)
}

/// A reactor in memory with one client.
struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
    peer: MemoryPeer,
    seen: Receiver<Seen>,
}

impl World {
    fn of(file: &Arc<File>) -> World {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let (told, seen) = channel();
        let file = Arc::clone(file);
        let listen = Listen::on(ADDRESS).unwrap();
        reactor
            .listen(listen, move |_| teller(&file, &told))
            .unwrap();
        let peer = memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
        let mut world = World {
            memory,
            reactor,
            peer,
            seen,
        };
        world.turn();
        world
    }

    fn ask(&mut self, lines: &str) {
        assert_eq!(self.peer.send(lines.as_bytes()), lines.len());
        self.turn();
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
    }

    /// Turns until the server has closed; answers what the client received.
    fn received(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.peer.is_finished() && !self.peer.is_reset() {
            self.turn();
            all.extend(self.peer.received());
        }
        all.extend(self.peer.received());
        all
    }
}

/// The server's side of one connection, over the loopback.
fn start(file: &Arc<File>) -> (Server, Receiver<Seen>) {
    let (told, seen) = channel();
    let file = Arc::clone(file);
    let server = Server::start(move |reactor| {
        let listener = reactor.listen("127.0.0.1:0", move |_| teller(&file, &told));
        listener.unwrap()
    });
    (server, seen)
}

#[test]
fn stretches_arrive_in_their_place_over_tcp_however_slowly_they_are_read() {
    let bytes = numbers(1_000_000);
    let temporary = Temporary::new("tcp", &bytes);
    let (server, seen) = start(&temporary.open());
    let (lines, expected) = requests(&bytes);
    let mut client = connect_narrow(server.address);
    client.write_all(lines.as_bytes()).unwrap();
    let mut received = Vec::<u8>::new();
    for size in (1..=5000).cycle() {
        let mut piece = vec![0; size];
        let len = client.read(&mut piece).unwrap();
        if len == 0 {
            break;
        }
        received.extend(&piece[..len]);
    }
    assert!(received == expected, "{} bytes", received.len());
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

#[test]
fn stretches_arrive_in_their_place_over_a_unix_socket() {
    let bytes = numbers(1_000_000);
    let temporary = Temporary::new("unix", &bytes);
    let (told, _seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sending.sock");
    let file = temporary.open();
    let address = format!("unix:{}", path.display());
    reactor
        .listen(address.as_str(), move |_| teller(&file, &told))
        .unwrap();
    let mut client = UnixStream::connect(path).unwrap();
    client.set_nonblocking(true).unwrap();
    let (lines, expected) = requests(&bytes);
    client.write_all(lines.as_bytes()).unwrap();
    let mut received = Vec::<u8>::new();
    let until = Instant::now() + TOO_LONG;
    loop {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let mut piece = [0; 3000];
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => received.extend(&piece[..len]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < until);
    }
    assert!(received == expected, "{} bytes", received.len());
}

#[test]
fn stretches_arrive_in_their_place_in_memory_whatever_the_peer_has_room_for() {
    let bytes = numbers(1_000_000);
    let temporary = Temporary::new("memory", &bytes);
    let file = temporary.open();
    let (lines, expected) = requests(&bytes);
    for capacity in [1000, 16_383, 16_384, 16_385, 65_537, 10_000_000] {
        let mut world = World::of(&file);
        world.peer.set_capacity(capacity);
        world.ask(&lines);
        assert!(world.received() == expected, "capacity {capacity}");
        world.peer.finish();
        world.turn();
        assert_eq!(next_close(&world.seen).1, CloseReason::Finished);
        drop(world);
        assert_eq!(Arc::strong_count(&file), 1, "what was sent is closed");
    }
}

#[test]
fn a_file_that_a_peer_takes_as_fast_as_it_comes_is_a_budget_per_turn() {
    let temporary = Temporary::new("budget", b"");
    temporary.set_len(1 << 40);
    let mut world = World::of(&temporary.open());
    world.peer.set_capacity(usize::MAX / 2);
    world.ask(&format!("0 {}\n", 1_u64 << 40));
    world.peer.received();
    for _ in 0..10 {
        world.turn();
        let len = world.peer.received().len();
        let budget = Budgets::default().file_bytes;
        assert!((1..=budget).contains(&len), "{len} bytes in a turn");
    }
    // It takes no memory either, or the connection would have been reset for its queue.
    world.peer.reset();
    world.turn();
    assert_eq!(next_close(&world.seen).1, CloseReason::Reset);
}

#[test]
fn while_a_file_is_queued_no_further_request_is_delivered() {
    let bytes = numbers(200_000);
    let temporary = Temporary::new("order", &bytes);
    let mut world = World::of(&temporary.open());
    world.peer.set_capacity(1000);
    world.ask("0 200000\n0 1\n0 1\n");
    for _ in 0..10 {
        world.turn();
    }
    let frames = |seen: &Receiver<Seen>| {
        let frames = seen
            .try_iter()
            .filter(|seen| matches!(seen, Seen::Frame(..)));
        frames.count()
    };
    assert_eq!(frames(&world.seen), 1);
    world.peer.set_capacity(1_000_000);
    for _ in 0..10 {
        world.turn();
    }
    assert_eq!(frames(&world.seen), 2);
    assert_eq!(world.peer.received().len(), 200_002 + 3 + 3);
}

#[test]
fn a_peer_that_takes_nothing_of_a_file_stalls_and_one_that_takes_a_little_does_not() {
    let temporary = Temporary::new("stalls", &[1; 100_000]);
    let mut world = World::of(&temporary.open());
    world.peer.set_capacity(1000);
    world.ask("0 100000\n");
    for _ in 0..5 {
        world.memory.advance(Duration::from_secs(29));
        assert_eq!(world.peer.received().len(), 1000);
        world.turn();
        assert!(!world.peer.is_reset());
    }
    world.memory.advance(Duration::from_secs(31));
    world.turn();
    assert_eq!(next_close(&world.seen).1, CloseReason::Stalled);
    assert!(world.peer.is_reset());
}

#[test]
fn a_file_that_shrinks_in_memory_or_over_tcp_ends_its_connection_with_a_reset() {
    let temporary = Temporary::new("shrinks", &[1; 100]);
    let file = temporary.open();
    temporary.set_len(1 << 30);
    let mut world = World::of(&file);
    world.peer.set_capacity(10_000);
    world.ask(&format!("0 {}\n", 1 << 30));
    assert!(!world.peer.received().is_empty());
    temporary.set_len(50);
    world.received();
    assert!(world.peer.is_reset());
    assert_eq!(next_close(&world.seen).1, CloseReason::Aborted);

    temporary.set_len(1 << 30);
    let (server, seen) = start(&file);
    let mut client = connect_narrow(server.address);
    client
        .write_all(format!("0 {}\n", 1 << 30).as_bytes())
        .unwrap();
    client.read_exact(&mut [0; 1000]).unwrap();
    temporary.set_len(50);
    assert_eq!(read_to_end(&mut client).1, End::Reset);
    assert_eq!(next_close(&seen).1, CloseReason::Aborted);
    server.stop();
}

#[test]
fn of_a_file_that_grows_what_was_announced_is_sent() {
    let bytes = numbers(500_000);
    let temporary = Temporary::new("grows", &bytes);
    let (server, _seen) = start(&temporary.open());
    let mut client = connect_narrow(server.address);
    client.write_all(b"0 500000\nend\n").unwrap();
    let mut received = vec![0; 1000];
    client.read_exact(&mut received).unwrap();
    temporary.set_len(1_000_000);
    let (rest, end) = read_to_end(&mut client);
    received.extend(rest);
    assert_eq!((received.len(), end), (500_002, End::Fin));
    assert!(received[1..500_001] == bytes);
    server.stop();
}

#[test]
fn a_file_that_cannot_be_read_is_told_from_a_connection_that_is_broken() {
    let temporary = Temporary::new("unreadable", &[1; 100]);
    let unreadable = Arc::new(File::options().write(true).open(&temporary.0).unwrap());
    let mut world = World::of(&unreadable);
    world.ask("0 100\n");
    world.received();
    assert_eq!(next_close(&world.seen).1, CloseReason::Aborted);

    let (server, seen) = start(&unreadable);
    let mut client = server.connect();
    client.write_all(b"0 100\n").unwrap();
    assert_eq!(read_to_end(&mut client).1, End::Reset);
    assert_eq!(next_close(&seen).1, CloseReason::Aborted);
    server.stop();
}

#[test]
fn what_sendfile_refuses_is_read_and_written() {
    // A file of the kernel's making, which lies nowhere.
    let path = "/proc/self/limits";
    let Ok(expected) = fs::read(path) else { return };
    let (server, _seen) = start(&Arc::new(File::open(path).unwrap()));
    let mut client = server.connect();
    client
        .write_all(format!("0 {}\nend\n", expected.len()).as_bytes())
        .unwrap();
    let (received, end) = read_to_end(&mut client);
    assert_eq!(end, End::Fin);
    assert_eq!(received[1..received.len() - 1], expected);
    server.stop();
}

#[test]
fn a_peer_that_resets_in_the_middle_of_a_file_costs_its_connection_alone() {
    let temporary = Temporary::new("abort", b"");
    temporary.set_len(1 << 30);
    let (server, seen) = start(&temporary.open());
    for finishes in [false, true] {
        let mut client = connect_narrow(server.address);
        client
            .write_all(format!("0 {}\n", 1 << 30).as_bytes())
            .unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        if finishes {
            // The kernel then tells a broken pipe, not a reset (tcp_reset), as by a signal.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            while !matches!(next(&seen), Seen::Frame(..)) {}
        }
        common::reset(client);
        assert_eq!(next_close(&seen).1, CloseReason::Reset);
    }
    let mut client = server.connect();
    client.write_all(b"0 3\nend\n").unwrap();
    assert_eq!(read_to_end(&mut client), (b"<\0\0\0>".to_vec(), End::Fin));
    server.stop();
}

#[test]
fn a_network_that_knows_nothing_better_reads_and_writes() {
    let bytes = numbers(100_000);
    let temporary = Temporary::new("default", &bytes);
    let mut memory = Memory::new();
    let mut listener = memory
        .listen(
            windlass::Token::from_parts(0, 0),
            &Listen::on(ADDRESS).unwrap(),
        )
        .unwrap();
    let peer = memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
    let (mut stream, _) = memory.accept(&mut listener).unwrap();
    let file = temporary.open();
    let sent = memory.send_file(&mut stream, &file, 500, 1000).unwrap();
    assert_eq!(peer.received(), bytes[500..500 + sent]);
    assert_eq!(memory.send_file(&mut stream, &file, 100_000, 1).unwrap(), 0);
    peer.set_capacity(0);
    let error = memory.send_file(&mut stream, &file, 0, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}
