//! Nobody waits for somebody else: busy peers, full descriptor tables, bursts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Script, Server, connect, let_pass, read_exactly, read_to_end};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use windlass::{Discard, Echo, Lines, Raw, Reactor};

#[test]
fn a_connection_that_never_stops_sending_does_not_starve_a_hundred_others() {
    let server = Server::start(|reactor| {
        let listener = reactor.listen("127.0.0.1:0", |_| Echo::<Lines>::default());
        listener.unwrap()
    });
    let is_over = Arc::new(AtomicBool::new(false));
    // It also takes what comes back, so that nothing but fairness slows it down.
    let mut greedy = server.connect();
    let mut taker = greedy.try_clone().unwrap();
    let taking = thread::spawn(move || std::io::copy(&mut taker, &mut std::io::sink()));
    let told = Arc::clone(&is_over);
    let sending = thread::spawn(move || {
        let lines = b"0123456789\n".repeat(5000);
        while !told.load(Ordering::Relaxed) {
            greedy.write_all(&lines).unwrap();
        }
        greedy.shutdown(Shutdown::Write).unwrap();
    });
    server.wait_until(|snapshot| snapshot.services[0].bytes_in > 500_000);
    let mut others: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for round in 0..10 {
        for other in &mut others {
            writeln!(other, "{round:05}").unwrap();
        }
        for other in &mut others {
            assert_eq!(read_exactly(other, 6), format!("{round:05}\n").as_bytes());
        }
    }
    is_over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    taking.join().unwrap().unwrap();
    drop(others);
    let last = server.stop();
    assert!(last.services[0].budget_spent > 0);
}

#[test]
fn a_burst_of_five_thousand_connections_is_served_to_the_last() {
    const CLIENTS: usize = 5000;
    let server = Server::start(|reactor| {
        let listener = reactor.listen("127.0.0.1:0", |_| Echo::<Raw>::default());
        listener.unwrap()
    });
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"ping").unwrap();
    }
    for client in &mut clients {
        assert_eq!(read_exactly(client, 4), b"ping");
    }
    server.wait_for_entries(CLIENTS + 1);
    drop(clients);
    server.wait_for_entries(1);
    let last = server.stop();
    assert_eq!(last.services[0].accepted, CLIENTS as u64);
    assert_eq!(last.stats.accept_pauses, 0);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let server = Server::start(|reactor| {
        let listener = reactor.listen("127.0.0.1:0", |_| Echo::<Lines>::default());
        listener.unwrap()
    });
    let address = server.address;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for round in 0..250 {
                    let mut client = connect(address);
                    writeln!(client, "{round}").unwrap();
                    if round % 3 == 0 {
                        common::reset(client);
                    } else {
                        client.shutdown(Shutdown::Write).unwrap();
                        assert_eq!(read_to_end(&mut client).0, format!("{round}\n").as_bytes());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    server.wait_until(|s| s.services[0].closed_total() == 1000 && s.stats.entries == 1);
    server.stop();
}

/// Set in a process that is to be a server with few descriptors.
const CHILD: &str = "WINDLASS_TEST_CHILD";
/// Descriptors that it may have.
const DESCRIPTORS: u64 = 64;

/// Not a test, unless it is run as the child of the next one.
#[test]
fn child_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(DESCRIPTORS),
            maximum: getrlimit(Resource::Nofile).maximum,
        },
    )
    .unwrap();
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", |_| {
            Script::<Lines>::new().on_frame(|_, cx| {
                cx.send("served");
            })
        })
        .unwrap();
    // On a line of its own: the test harness writes there too.
    println!("\nlistening on {}", reactor.local_addr(listener).unwrap());
    std::io::stdout().flush().unwrap();
    let stdin = windlass::net::FdSource::new(std::io::stdin());
    reactor.add_source("stdin", UntilStdinEnds(stdin)).unwrap();
    reactor.run().unwrap();
    println!("\npauses {}", reactor.stats().accept_pauses);
}

/// Shuts the reactor down when the standard input ends.
struct UntilStdinEnds(windlass::net::FdSource<std::io::Stdin>);

impl windlass::Source for UntilStdinEnds {
    type Io = windlass::net::FdSource<std::io::Stdin>;

    fn io(&mut self) -> &mut Self::Io {
        &mut self.0
    }

    fn on_ready(
        &mut self,
        _: windlass::net::Readiness,
        cx: &mut windlass::Context<'_, ()>,
    ) -> windlass::Progress {
        // Nothing is ever written to it.
        cx.shutdown(Duration::ZERO);
        windlass::Progress::Drained
    }
}

/// Nanoseconds that a process has been on a processor.
fn processor_time(child: &Child) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("schedstat")).ok())
        .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn line_after(out: &mut impl BufRead, head: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "no {head}");
        if let Some(rest) = line.strip_prefix(head) {
            return rest.trim().to_owned();
        }
    }
}

#[test]
fn a_server_without_descriptors_waits_at_rest_and_serves_when_there_is_room() {
    const CLIENTS: usize = 200;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_few_descriptors", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let address: SocketAddr = line_after(&mut out, "listening on ").parse().unwrap();

    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    for client in &mut clients {
        client.write_all(b"hello\n").unwrap();
    }
    // The first ones are served; the others wait in the backlog.
    for client in &mut clients[..40] {
        assert_eq!(read_exactly(client, 7), b"served\n");
    }
    let_pass(Duration::from_millis(200));
    let served = |client: &TcpStream| {
        client.set_nonblocking(true).unwrap();
        let is_served = client.peek(&mut [0]).is_ok();
        client.set_nonblocking(false).unwrap();
        is_served
    };
    let waiting = clients[40..]
        .iter()
        .filter(|client| !served(client))
        .count();
    assert!(waiting > CLIENTS - DESCRIPTORS as usize, "{waiting} wait");

    let (began, before) = (Instant::now(), processor_time(&child));
    let_pass(Duration::from_secs(1));
    let busy = Duration::from_nanos(processor_time(&child) - before);
    let share = busy.as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(
        share < 0.05,
        "{share} of a processor while it can do nothing"
    );

    // Whoever leaves makes room for the next one, at once.
    let mut waiting = clients.split_off(40);
    drop(clients);
    let room = Instant::now();
    for client in &mut waiting[..40] {
        assert_eq!(read_exactly(client, 7), b"served\n");
    }
    assert!(room.elapsed() < Duration::from_secs(1), "{room:?}");
    waiting.drain(..40);
    for mut client in waiting {
        assert_eq!(read_exactly(&mut client, 7), b"served\n");
    }
    drop(child.stdin.take());
    let pauses: u64 = line_after(&mut out, "pauses ").parse().unwrap();
    assert!(child.wait().unwrap().success());
    // One at least, and none without a success in between, of which there were 200.
    assert!((1..=CLIENTS as u64).contains(&pauses), "{pauses}");
}

#[test]
fn bytes_that_nobody_wants_are_taken_to_the_last() {
    const LEN: usize = 50_000_000;
    let server = Server::start(|reactor| reactor.listen("127.0.0.1:0", |_| Discard).unwrap());
    let mut client = server.connect();
    let chunk = vec![0; 1_000_000];
    for _ in 0..LEN / chunk.len() {
        client.write_all(&chunk).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client).0, b"");
    let last = server.stop();
    assert_eq!(last.services[0].bytes_in, LEN as u64);
}
