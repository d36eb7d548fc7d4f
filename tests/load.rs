//! The load tester, run as a user would run it, against the examples and against servers that do
//! what they should not.
//!
//! Knows nothing of the library. `cargo test` builds the examples; `cargo test --test load` alone
//! does not.

// Servers that misbehave stand on threads of their own: they may block.
#![allow(clippy::disallowed_methods)]

mod running;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{self, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use running::{Running, check_exit, command};

/// Runs `load` with these words, and expects it to end with that status.
#[track_caller]
fn load(line: &str, status: i32) -> Output {
    let args: Vec<&str> = line.split_whitespace().collect();
    check_exit("load", &args, status)
}

/// Runs `load`, and answers with what it measured.
#[track_caller]
fn measured(line: &str, status: i32) -> Value {
    let path = scratch("json");
    load(&format!("{line} --json {}", path.display()), status);
    let json = fs::read(&path).expect("it was written");
    _ = fs::remove_file(path);
    let run: Value = serde_json::from_slice(&json).expect("it is JSON");
    // It has one thread, however short the run.
    let share = run["client"]["max_cpu_share"].as_f64();
    assert!(share <= Some(1.0), "{share:?}");
    run
}

fn scratch(kind: &str) -> std::path::PathBuf {
    let thread = thread::current();
    let name = thread.name().unwrap_or("test").replace(':', "_");
    env::temp_dir().join(format!("windlass-{}-{name}.{kind}", process::id()))
}

/// A server that gives the same answer to each connection's first request, and closes it.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buf = [0; 4096];
            if matches!(stream.read(&mut buf), Ok(len) if len > 0) {
                _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    address
}

/// What a server has heard: a connection, or bytes on it.
struct Heard {
    from: IpAddr,
    at: Instant,
    bytes: Vec<u8>,
}

/// A server that gives back what it hears, or the same answer to everything, and tells of it.
fn hearing(answer: Option<&'static str>) -> (SocketAddr, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let tell = tell.clone();
            let say = move |bytes: &[u8]| {
                let (from, at, bytes) = (from.ip(), Instant::now(), bytes.to_vec());
                _ = tell.send(Heard { from, at, bytes });
            };
            say(b"");
            thread::spawn(move || {
                let mut buf = [0; 4096];
                while let Ok(len) = stream.read(&mut buf)
                    && len > 0
                {
                    say(&buf[..len]);
                    let answer = answer.map_or(&buf[..len], str::as_bytes);
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

/// All bytes that were heard so far.
fn bytes(heard: &Receiver<Heard>) -> Vec<u8> {
    heard.try_iter().flat_map(|heard| heard.bytes).collect()
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn every_request_of_a_count_is_sent_and_answered_once() {
    let server = Running::start("http", &["127.0.0.1:0"]);
    let url = format!("http://{}/plaintext", server.address());
    for options in ["", "-p 16", "--no-keep-alive", "--think 1ms"] {
        let line = format!("http {url} -n 500 -c 8 --max-errors 0 {options}");
        let run = measured(&line, 0);
        assert_eq!(run["requests"], 500, "{options}");
        assert_eq!(run["error_count"], 0, "{options}");
        assert!(run["latency_ns"]["p50"].as_u64() > Some(0), "{options}");
    }
}

#[test]
fn every_framing_is_echoed() {
    let tcp = ["raw", "lines", "length"]
        .map(|framing| Running::start("echo", &["127.0.0.1:0", "--framing", framing]));
    for (framing, server) in [
        ("raw", &tcp[0]),
        ("fixed", &tcp[0]),
        ("crlf", &tcp[0]),
        ("delimited", &tcp[0]),
        ("netstring", &tcp[0]),
        ("varint", &tcp[0]),
        ("length8", &tcp[0]),
        ("length16le", &tcp[0]),
        ("length24", &tcp[0]),
        ("length24le", &tcp[0]),
        ("length64", &tcp[0]),
        ("length16", &tcp[0]),
        ("length32le", &tcp[0]),
        ("length64le", &tcp[0]),
        ("lines", &tcp[1]),
        ("length32", &tcp[2]),
    ] {
        let to = server.address();
        let run = measured(&format!("tcp {to} --framing {framing} -n 200 -c 4 -p 3"), 0);
        assert_eq!(run["requests"], 200, "{framing}");
        assert_eq!(run["error_count"], 0, "{framing}");
    }
}

#[test]
fn messages_are_framed_as_they_were_asked_for() {
    let (to, heard) = hearing(None);
    for (options, expected) in [
        ("raw", &b"abc"[..]),
        ("lines", b"abc\n"),
        ("crlf", b"abc\r\n"),
        ("delimited", b"abc;"),
        ("delimited --delimiter 1a1", b"bcd1a1"),
        ("fixed", b"abcd"),
        ("length8", b"\x03abc"),
        ("length16", b"\0\x03abc"),
        ("length24", b"\0\0\x03abc"),
        ("length32", b"\0\0\0\x03abc"),
        ("length64", b"\0\0\0\0\0\0\0\x03abc"),
        ("length16le", b"\x03\0abc"),
        ("length24le", b"\x03\0\0abc"),
        ("length32le", b"\x03\0\0\0abc"),
        ("length64le", b"\x03\0\0\0\0\0\0\0abc"),
        ("varint", b"\x03abc"),
        ("netstring", b"3:abc,"),
    ] {
        let size = if options == "fixed" { 4 } else { 3 };
        load(
            &format!("tcp {to} -c 1 -n 1 -s {size} --framing {options}"),
            0,
        );
        let bytes = bytes(&heard);
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{options}"
        );
    }
}

#[test]
#[cfg(feature = "digest")]
fn a_checked_frame_has_its_digest_and_damage_is_an_error() {
    let (to, heard) = hearing(None);
    load(&format!("tcp {to} -c 1 -n 1 -s 3 --framing checked"), 0);
    let bytes = bytes(&heard);
    // FIPS 180-2, appendix B.1: the digest of "abc" begins and ends so.
    let (head, tail) = (&bytes[..11], &bytes[37..]);
    assert_eq!(
        (head, tail),
        (&b"\0\0\0\x23abc\xba\x78\x16\xbf"[..], &b"\x15\xad"[..])
    );
    let damaged = "\0\0\0\x23abc--------------------------------";
    let (to, _heard) = hearing(Some(damaged));
    let run = measured(&format!("tcp {to} -c 1 -n 1 -s 3 --framing checked"), 1);
    assert_eq!(run["errors"]["malformed"], 1);
}

#[test]
fn a_request_is_sent_as_it_was_asked_for() {
    let (to, heard) = hearing(Some("HTTP/1.1 204 No Content\r\n\r\n"));
    let body = scratch("body");
    fs::write(&body, "ahoy").expect("a file");
    let check = |target: &str, options: &str, expected: &str| {
        load(&format!("http http://{to}{target} -c 1 -n 1 {options}"), 0);
        let bytes = bytes(&heard);
        assert_eq!(String::from_utf8_lossy(&bytes), expected, "{options}");
    };
    check("", "", &format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n"));
    check(
        "/\u{fc}?\u{20ac}",
        "",
        &format!("GET /%C3%BC?%E2%82%AC HTTP/1.1\r\nHost: {to}\r\n\r\n"),
    );
    check(
        "/a?b=c#d",
        &format!(
            "-m PUT -H X-One:1 --header host:x --body @{}",
            body.display()
        ),
        "PUT /a?b=c HTTP/1.1\r\nX-One: 1\r\nhost: x\r\nContent-Length: 4\r\n\r\nahoy",
    );
    check(
        "?",
        "-m BREW -b now -H Content-Length:3",
        &format!("BREW /? HTTP/1.1\r\nHost: {to}\r\nContent-Length: 3\r\n\r\nnow"),
    );
    _ = fs::remove_file(body);
}

#[test]
fn a_server_of_ipv6_is_loaded_too() {
    // Not every machine has it.
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let http = Running::start("http", &["[::1]:0"]);
    let line = format!("http http://{}/plaintext -n 20 -c 2", http.address());
    assert_eq!(measured(&line, 0)["requests"], 20);
    let echo = Running::start("echo", &["[::1]:0"]);
    let line = format!("tcp {} -n 20 -c 2", echo.address());
    assert_eq!(measured(&line, 0)["requests"], 20);
}

#[test]
fn a_unix_socket_is_loaded_too() {
    let path = scratch("socket");
    let path = path.display();
    let http = Running::start("http", &[&format!("unix:{path}")]);
    let line = format!("http http://unix:{path}:/plaintext -n 20 -c 2 --expect-length 13");
    assert_eq!(measured(&line, 0)["requests"], 20);
    http.terminate();
    let echo = Running::start("echo", &[&format!("unix:{path}")]);
    let line = format!("tcp unix:{path} -n 20 -c 2 --max-errors 0");
    assert_eq!(measured(&line, 0)["requests"], 20);
    echo.terminate();
}

#[test]
fn a_message_that_no_buffer_holds_is_read_while_it_is_still_being_sent() {
    // Those of a Unix socket are of 208 KiB.
    let path = scratch("sock");
    let server = Running::start("echo", &[&format!("unix:{}", path.display())]);
    let line = format!(
        "tcp unix:{} -c 2 -n 6 -s 1000000 --timeout 5s",
        path.display()
    );
    let run = measured(&line, 0);
    assert_eq!(
        (&run["requests"], &run["error_count"]),
        (&json!(6), &json!(0)),
        "{run}"
    );
    drop(server);
}

#[test]
fn without_keep_alive_each_request_has_a_connection() {
    let (to, heard) = hearing(None);
    let run = measured(
        &format!("tcp {to} -n 10 -c 2 --no-keep-alive --max-errors 0"),
        0,
    );
    assert_eq!(run["requests"], 10);
    let connected = heard.try_iter().filter(|heard| heard.bytes.is_empty());
    assert_eq!(connected.count(), 10);
}

/// As nginx does after so many requests of a connection: the others are sent again.
#[test]
fn requests_that_the_server_said_it_would_not_answer_are_sent_again() {
    let to = doing(|heard, stream| {
        let asked = heard.windows(4).filter(|bytes| bytes == b"GET ").count();
        let first = "HTTP/1.1 204 No\r\n\r\n".repeat(usize::from(asked > 1));
        let last = "HTTP/1.1 204 No\r\nConnection: close\r\n\r\n";
        stream.write_all((first + last).as_bytes())?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    for options in ["", "--rate 1000"] {
        let line = format!("http http://{to}/ -n 40 -c 2 -p 4 --max-errors 0 {options}");
        let run = measured(&line, 0);
        assert_eq!(run["requests"], 40, "{options}");
    }
}

#[test]
fn requests_are_pipelined_as_deep_as_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        // Nothing is answered before there are three of them.
        let mut three = [0; 3 * 8];
        while stream.read_exact(&mut three).is_ok() {
            stream.write_all(&three).expect("it listens");
        }
    });
    let run = measured(&format!("tcp {to} -s 8 -p 3 -n 6 -c 1 --max-errors 0"), 0);
    assert_eq!(run["requests"], 6);
}

#[test]
fn connections_are_shared_out_among_servers_and_come_from_all_sources() {
    let (one, heard_by_one) = hearing(None);
    let (two, heard_by_two) = hearing(None);
    // Each of the six is for one request.
    let line = format!("tcp {one} {two} -n 6 -c 6 --no-keep-alive");
    let sources = "--source 127.0.0.2 --source 127.0.0.3 --source 127.0.0.4";
    let run = measured(&format!("{line} {sources} --max-errors 0"), 0);
    assert_eq!(run["requests"], 6);
    for heard in [heard_by_one, heard_by_two] {
        let connected = heard.try_iter().filter(|heard| heard.bytes.is_empty());
        let mut sources: Vec<String> = connected.map(|heard| heard.from.to_string()).collect();
        sources.sort();
        assert_eq!(sources, ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    }
}

#[test]
fn a_constant_rate_is_kept_for_as_long_as_was_asked_for() {
    let (to, heard) = hearing(None);
    let run = measured(&format!("tcp {to} -s 8 -c 4 --rate 500 -d 200ms"), 0);
    assert_eq!(
        (&run["requests"], &run["error_count"]),
        (&100.into(), &0.into())
    );
    assert_eq!(bytes(&heard).len(), 100 * 8);
    // The last of them was due 2 ms before the end.
    assert!(run["elapsed_ns"].as_u64() >= Some(198_000_000), "{run}");
}

#[test]
fn what_is_sent_in_the_warm_up_is_not_counted() {
    let (to, heard) = hearing(None);
    let line = format!("tcp {to} -s 8 -c 4 --warm-up 100ms -n 50");
    let run = measured(&format!("{line} --rate 1000"), 0);
    assert_eq!(run["requests"], 50);
    assert_eq!(run["sent_bytes"], 50 * 8);
    assert_eq!(bytes(&heard).len(), (100 + 50) * 8);
    let began = Instant::now();
    let run = measured(&line, 0);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(run["requests"], 50);
    assert_eq!(run["sent_bytes"], 50 * 8);
}

#[test]
fn connections_are_opened_one_after_the_other_in_the_ramp_up() {
    for options in ["", "--rate 1000"] {
        let (to, heard) = hearing(None);
        let began = Instant::now();
        let run = measured(&format!("tcp {to} -c 4 --ramp-up 200ms -n 20 {options}"), 0);
        assert_eq!(run["requests"], 20);
        let heard: Vec<Heard> = heard.try_iter().collect();
        let connected = heard.iter().filter(|heard| heard.bytes.is_empty());
        let after: Vec<Duration> = connected.map(|heard| heard.at - began).collect();
        assert_eq!(after.len(), 4);
        for (number, after) in (0..).zip(after) {
            assert!(
                after >= number * Duration::from_millis(50),
                "{number}: {after:?}"
            );
        }
        // At a constant rate nothing is due before they are all there.
        let mut asked = heard.iter().filter(|heard| !heard.bytes.is_empty());
        let first = asked.next().expect("a message").at - began;
        assert!(
            options.is_empty() || first >= Duration::from_millis(200),
            "{first:?}"
        );
    }
}

#[test]
fn a_connection_that_thinks_sends_nothing_meanwhile() {
    let (to, heard) = hearing(None);
    let run = measured(&format!("tcp {to} -c 1 -n 4 --think 30ms"), 0);
    assert_eq!(run["requests"], 4);
    let asked: Vec<Instant> = heard
        .try_iter()
        .filter(|heard| !heard.bytes.is_empty())
        .map(|heard| heard.at)
        .collect();
    // It cannot have its answer before the server has its request.
    let all = asked[3] - asked[0];
    assert!(all >= Duration::from_millis(3 * 30), "{all:?}");
}

#[test]
fn figures_over_time_are_for_stretches_of_the_length_that_was_asked_for() {
    let (to, _heard) = hearing(None);
    let line = format!("tcp {to} -c 1 -d 300ms --rate 100");
    let stretches = |run: &Value| run["over_time"].as_array().map(Vec::len);
    assert_eq!(
        stretches(&measured(&format!("{line} --interval 1h"), 0)),
        Some(1)
    );
    assert!(stretches(&measured(&line, 0)) > Some(1));
}

/// A run of an hour that has an answer.
fn under_way() -> (Running, Receiver<Heard>) {
    let (to, heard) = hearing(None);
    let command = command("load", &["tcp", &to.to_string(), "-d", "1h", "-c", "1"]);
    let running = Running::spawn("load", command, 0);
    // One message has been answered, at least, when the next one comes.
    for _ in 0..3 {
        heard.recv().expect("it connects and sends");
    }
    (running, heard)
}

#[test]
fn a_run_that_is_interrupted_tells_what_it_has_measured() {
    let (mut running, _heard) = under_way();
    running.signal(Signal::INT);
    let line = running.line_until(|line| line.starts_with("requests "));
    assert_ne!(line.split_whitespace().last(), Some("0"));
    running.line_until(|line| line.starts_with("this client "));
    assert_eq!(running.child.wait().expect("it ends").code(), Some(0));
}

/// As `timeout` sends them: to the process, and to its group.
#[test]
fn two_signals_at_a_time_are_as_good_as_one() {
    let (mut running, _heard) = under_way();
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        running.signal(signal);
    }
    running.line_until(|line| line.starts_with("this client "));
    assert_eq!(running.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_file_that_cannot_be_written_is_noticed_before_the_run() {
    let (to, heard) = hearing(None);
    for kind in ["json", "html"] {
        let output = load(&format!("tcp {to} -n 1 --{kind} /nowhere/run.{kind}"), 1);
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/run"));
        assert!(heard.try_recv().is_err());
    }
}

#[test]
fn whoever_reads_no_table_gets_the_files_all_the_same() {
    let (to, _heard) = hearing(None);
    let path = scratch("json");
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let to = to.to_string();
    let args = [
        "tcp",
        &to,
        "-n",
        "5",
        "--json",
        path.to_str().expect("text"),
    ];
    let status = command("load", &args).stdout(writer).status();
    assert_eq!(status.expect("it ends").code(), Some(0));
    let json = fs::read_to_string(&path).expect("it was written");
    assert!(json.contains("\"requests\": 5"), "{json}");
    _ = fs::remove_file(path);
}

#[test]
fn what_was_measured_goes_down_a_pipe_too() {
    let (to, _heard) = hearing(None);
    let output = load(&format!("tcp {to} -n 5 --json -"), 0);
    let run: Value = serde_json::from_slice(&output.stdout).expect("JSON, and nothing else");
    assert_eq!(run["requests"], 5);
    assert!(String::from_utf8_lossy(&output.stderr).contains("requests      5\n"));
}

/// A server that does this with each datagram, counted from 0, and what sends to its peer.
fn datagrams(
    mut answer: impl FnMut(u32, &mut [u8], &dyn Fn(&[u8])) + Send + 'static,
) -> SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buf = [0; 2048];
        for number in 0.. {
            let Ok((len, from)) = server.recv_from(&mut buf) else {
                return;
            };
            answer(number, &mut buf[..len], &|bytes| {
                _ = server.send_to(bytes, from);
            });
        }
    });
    address
}

#[test]
fn datagrams_are_echoed_and_lost_ones_are_counted() {
    // Every tenth is lost.
    let address = datagrams(|number, datagram, send| {
        if number % 10 != 9 {
            send(datagram);
        }
    });
    let run = measured(&format!("udp {address} -n 100 -c 4 --timeout 200ms"), 0);
    assert_eq!(run["requests"], 90);
    assert_eq!(run["errors"]["timeout"], 10);
}

#[test]
fn datagrams_that_come_back_otherwise_are_errors_and_doubles_are_none() {
    let address = datagrams(|number, datagram, send| match number % 3 {
        0 => {
            datagram[datagram.len() - 1] ^= 1;
            send(datagram);
        }
        1 => {
            send(datagram);
            send(datagram);
        }
        _ => send(&datagram[..datagram.len() - 1]),
    });
    let run = measured(&format!("udp {address} -n 30 -c 1 -p 4 --rate 1000"), 0);
    assert_eq!(run["requests"], 10);
    assert_eq!(run["errors"]["content"], 10);
    assert_eq!(run["errors"]["length"], 10);
    assert_eq!(run["error_count"], 20);
}

#[test]
fn a_datagram_to_where_nobody_receives_is_an_error_of_its_kind() {
    for options in ["-c 2", "-c 1 -p 4", "-c 2 --rate 100"] {
        let to = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr();
        let to = to.expect("an address");
        // Long before a time-out.
        let run = measured(&format!("udp {to} -n 6 {options} --timeout 15s"), 1);
        let seen = (&run["requests"], &run["errors"]);
        assert_eq!(seen, (&0.into(), &json!({"unreachable": 6})), "{options}");
    }
}

#[test]
fn datagrams_to_a_server_that_has_gone_away_are_errors() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = server.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buf = [0; 2048];
        let (len, from) = server.recv_from(&mut buf).expect("it sends");
        server.send_to(&buf[..len], from).expect("it receives");
    });
    let run = measured(&format!("udp {to} -n 3 -c 1 --timeout 1s"), 0);
    let seen = (&run["requests"], &run["errors"]);
    // What was on its way when the socket closed is lost without a word.
    assert_eq!(seen.0, 1, "{run}");
    assert_eq!(run["error_count"], 2, "{run}");
    assert!(run["errors"]["unreachable"].as_u64() >= Some(1), "{run}");
}

#[test]
fn a_load_tester_that_is_late_says_so() {
    let (to, heard) = hearing(None);
    // However slow the server is just now, some connections are free.
    let to = to.to_string();
    let args = ["tcp", &to, "-c", "64", "--rate", "100", "-d", "1h"];
    let mut running = Running::spawn("load", command("load", &args), 0);
    for _ in 0..5 {
        while heard.recv().expect("it sends").bytes.is_empty() {}
        running.signal(Signal::STOP);
        // Until nothing comes for as long as two requests would take.
        while heard.recv_timeout(Duration::from_millis(20)).is_ok() {}
        running.signal(Signal::CONT);
    }
    running.signal(Signal::INT);
    running.line_until(|line| line.starts_with("CAUTION") && line.contains("ms late"));
}

#[test]
#[cfg(feature = "digest")]
fn a_load_tester_that_is_the_bottleneck_says_so() {
    let server = Running::start("echo", &["127.0.0.1:0"]);
    // It computes two digests of each message, which the server gives back unseen.
    let line = format!(
        "tcp {} -c 4 -d 300ms --framing checked -s 1000000",
        server.address()
    );
    let run = measured(&line, 0);
    let doubts = run["client"]["doubts"].to_string();
    assert!(doubts.contains("was the bottleneck"), "{run}");
    // Whoever compares it is told, too.
    let path = scratch("json");
    fs::write(&path, run.to_string()).expect("a file");
    let output = load(&format!("compare {0} {0}", path.display()), 0);
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.contains("CAUTION (after): this load"), "{table}");
    _ = fs::remove_file(path);
}

#[test]
fn what_is_waited_for_in_vain_does_not_stretch_the_time_of_the_others() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let silent = listener.accept().expect("a connection");
        let (mut stream, _) = listener.accept().expect("another connection");
        let mut buf = [0; 64];
        while stream.read_exact(&mut buf).is_ok() && stream.write_all(&buf).is_ok() {}
        drop(silent);
    });
    let run = measured(&format!("tcp {to} -c 2 -n 10 --timeout 3s"), 0);
    assert_eq!(
        (&run["requests"], &run["errors"]["timeout"]),
        (&9.into(), &1.into())
    );
    assert!(run["elapsed_ns"].as_u64() < Some(3_000_000_000), "{run}");
}

#[test]
fn what_is_wrong_is_counted_by_kind_and_fails_the_run() {
    let check = |answer: &'static str, options: &str, kind: &str| {
        let to = answering(answer);
        let run = measured(
            &format!("http http://{to}/ -c 1 -n 3 --max-errors 0 {options}"),
            1,
        );
        assert_eq!(run["errors"][kind], 3, "{answer:?}: {}", run["errors"]);
    };
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nahoy";
    let bad = "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let zeros = format!("--expect-sha256 {}", "00".repeat(32));
    check(bad, "", "status");
    check(good, "--expect-status 204", "status");
    check(good, "--expect-length 5", "length");
    check(good, &zeros, "content");
    check("ICY 200 OK\r\n\r\n", "", "malformed");
    check("HTTP/1.1 200 OK\r\nContent-Le", "", "closed");
}

/// A server that does this with what each read returns, and a connection.
fn doing(
    act: impl Fn(&[u8], &mut TcpStream) -> io::Result<()> + Copy + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buf = [0; 4096];
                while let Ok(len) = stream.read(&mut buf)
                    && len > 0
                    && act(&buf[..len], &mut stream).is_ok()
                {}
            });
        }
    });
    address
}

/// Whether the next request is sent at once or later: what lies behind an answer is none to it.
#[test]
fn what_nobody_asked_for_is_an_error_and_no_answer_to_the_next_request() {
    let twice = doing(|heard, stream| stream.write_all(&heard.repeat(2)));
    let longer = doing(|heard, stream| stream.write_all(&[heard, b"\x03a"].concat()));
    for options in ["", "--think 1ms", "--no-keep-alive"] {
        let framings = ["raw", "lines", "fixed", "length8", "netstring"];
        for (framing, to) in framings.map(|framing| (framing, twice)) {
            let line = format!("tcp {to} --framing {framing} -c 1 -n 3 {options} --max-errors 0");
            let run = measured(&line, 1);
            assert_eq!(
                (&run["requests"], &run["errors"]),
                (&3.into(), &json!({"unasked": 3}))
            );
        }
        let line = format!("tcp {longer} --framing length8 -c 1 -n 3 {options} --max-errors 0");
        let run = measured(&line, 1);
        assert_eq!(
            (&run["requests"], &run["errors"]),
            (&3.into(), &json!({"unasked": 3}))
        );
    }
    // The last answer to three requests is the one behind which nothing may come.
    let line = format!("tcp {longer} --framing length8 -c 1 -n 3 -p 3 --max-errors 0");
    let run = measured(&line, 1);
    assert_eq!(
        (&run["requests"], &run["errors"]),
        (&3.into(), &json!({"unasked": 1}))
    );
}

#[test]
fn bytes_behind_an_answer_are_not_the_next_answer() {
    let check = |second: &'static str, options: &str| {
        let to = doing(move |_, stream| {
            let first = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nahoy";
            stream.write_all([first, second].concat().as_bytes())
        });
        let run = measured(
            &format!("http http://{to}/ -c 1 -n 3 --max-errors 0 {options}"),
            1,
        );
        let seen = (&run["requests"], &run["errors"]);
        assert_eq!(
            seen,
            (&3.into(), &json!({"unasked": 3})),
            "{second:?} {options}"
        );
    };
    for options in ["", "--think 1ms", "--rate 100"] {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nevil", options);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
            options,
        );
        check("\r\n", options);
    }
}

/// One answer and a part of the next one came, so that a request has left since.
#[test]
fn an_answer_whose_beginning_came_early_may_be_followed_by_more_than_was_asked_for_then() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut three = [0; 3 * 8];
        stream.read_exact(&mut three).expect("three messages");
        stream.write_all(&three[..12]).expect("it listens");
        stream.read_exact(&mut three[..8]).expect("one more");
        stream.write_all(&three[4..]).expect("it listens");
    });
    let line = format!("tcp {to} -s 8 -p 3 -n 4 -c 1 --framing fixed --max-errors 0");
    assert_eq!(measured(&line, 0)["requests"], 4);
}

/// An answer that is another one is one error, whatever follows it.
#[test]
fn the_answers_of_another_protocol_are_an_error_each() {
    let to = doing(|_, stream| stream.write_all(b"220 ready\n220 steady\n220 go\n"));
    for (framing, kind) in [
        ("lines", "length"),
        ("raw", "content"),
        ("fixed", "content"),
    ] {
        let line = format!("tcp {to} --framing {framing} -s 16 -c 1 -n 3 --max-errors 0");
        assert_eq!(measured(&line, 1)["errors"], json!({kind: 3}), "{framing}");
    }
}

#[test]
fn an_answer_that_comes_byte_by_byte_may_have_its_time() {
    let to = doing(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
        // Until nobody wants them any more, which is long before the end.
        loop {
            stream.write_all(b"x")?;
        }
    });
    let line = format!("http http://{to}/ -c 1 -n 2 --answer-timeout 50ms");
    assert_eq!(measured(&line, 1)["errors"], json!({"timeout": 2}));
}

/// However much is answered at a time, what is asked then is not answered in the same moment.
#[test]
fn an_answer_takes_some_time() {
    let sockets = if cfg!(feature = "hub") { 10 } else { 9 };
    let server = Running::spawn("serve", command("serve", &["--port0"]), sockets);
    let udp = server.addresses.iter().find(|to| to.starts_with("udp://"));
    for line in [
        format!("udp {} -n 20000 -c 2 -p 64", udp.expect("its echo")),
        format!("tcp {} -n 2000 -c 2 -p 3 -s 100000", server.address()),
    ] {
        let run = measured(&line, 0);
        assert!(run["latency_ns"]["min"].as_u64() > Some(0), "{line}: {run}");
    }
}

/// Of as many as were asked for, the first may well be followed by the others.
#[test]
fn answers_that_come_together_are_no_surplus() {
    let server = Running::start("http", &["127.0.0.1:0"]);
    let url = format!("http://{}/plaintext", server.address());
    for depth in [2, 7, 512] {
        let line = format!("http {url} -n 5000 -c 2 -p {depth} --max-errors 0");
        assert_eq!(measured(&line, 0)["requests"], 5000);
    }
}

#[test]
fn a_good_digest_is_good() {
    let to = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    // FIPS 180-2, appendix B.1.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let line = format!("http http://{to}/ -c 1 -n 2 --expect-sha256 {digest}");
    assert_eq!(measured(&line, 0)["requests"], 2);
}

#[test]
fn a_server_that_answers_nothing_is_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    let run = measured(&format!("tcp {to} -c 2 -n 4 --timeout 100ms"), 1);
    let seen = (&run["requests"], &run["errors"]);
    assert_eq!(seen, (&0.into(), &json!({"timeout": 4})));
}

#[test]
fn nobody_there_is_an_error_of_its_kind() {
    let run = measured(&format!("tcp {} -c 2 -d 50ms", nobody()), 1);
    assert!(run["errors"]["connect"].as_u64() >= Some(2), "{run}");
}

#[test]
fn a_run_of_a_count_ends_although_no_connection_can_be_made() {
    let to = nobody();
    // An address of the other family is none to come from.
    for line in [
        format!("tcp {to} -c 2"),
        format!("http http://{to}/ -c 2 --no-keep-alive"),
        format!("tcp {to} -c 2 --source ::1"),
        format!("udp {to} -c 2 --source ::1"),
    ] {
        let run = measured(&format!("{line} -n 5"), 1);
        assert_eq!(run["errors"]["connect"], 5, "{line}");
        assert_eq!(run["error_count"], 5, "{line}");
    }
}

#[test]
fn a_server_that_promises_to_close_and_does_not_holds_nothing_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if matches!(stream.read(&mut [0; 4096]), Ok(len) if len > 0) {
                _ = stream.write_all(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n");
            }
            kept.push(stream);
        }
    });
    for options in ["", "--rate 100", "--rate 100 --no-keep-alive"] {
        let line = format!("http http://{to}/ -n 2 -c 1 --timeout 500ms {options}");
        assert_eq!(measured(&line, 0)["requests"], 2, "{options}");
    }
}

#[test]
fn a_limit_that_is_not_kept_is_status_1() {
    let server = Running::start("echo", &["127.0.0.1:0"]);
    let line = format!("tcp {} -n 50 -c 1", server.address());
    load(&format!("{line} --max-p99 1h"), 0);
    load(&format!("{line} --max-p99 0.001us"), 1);
}

#[test]
fn a_file_of_requests_is_asked_in_turn() {
    let server = Running::start("http", &["127.0.0.1:0"]);
    let path = scratch("txt");
    let base = format!("http://{}", server.address());
    let requests =
        format!("# three\nGET {base}/plaintext\n\nHEAD {base}/plaintext\nPOST {base}/echo ahoy\n");
    fs::write(&path, requests).expect("a file");
    let run = measured(
        &format!("http --file {} -n 90 -c 3 -p 2", path.display()),
        0,
    );
    assert_eq!(
        (&run["requests"], &run["error_count"]),
        (&90.into(), &0.into())
    );
    _ = fs::remove_file(path);
}

#[test]
fn of_several_the_first_failure_names_the_one_that_failed() {
    let server = Running::start("http", &["127.0.0.1:0"]);
    let (to, nobody) = (server.address(), nobody());
    let first = |line: &str| measured(line, 0)["first_failure"].clone();
    let line = format!("http http://{to}/plaintext http://{to}/missing -c 1 -n 4");
    assert_eq!(first(&line), "GET /missing: status 404");
    let line = format!("http http://{to}/plaintext http://{nobody}/ -c 2 -d 300ms");
    let text = first(&line).to_string();
    assert!(
        text.contains(&format!("{nobody}: connect failed")),
        "{text}"
    );
    let line = format!("http http://{to}/plaintext -c 1 -n 4");
    assert_eq!(first(&line), Value::Null);
}

#[test]
fn every_kind_of_error_is_explained() {
    let help = String::from_utf8(load("tcp --help", 0).stdout).expect("text");
    let source = include_str!("../examples/load/stats.rs");
    let kinds: Vec<&str> = source
        .lines()
        .filter(|line| line.contains("Failure::") && line.contains("=> \""))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
    for kind in kinds {
        assert!(help.contains(&format!("\n  {kind} ")), "{kind}: {help}");
    }
}

#[test]
fn two_runs_are_compared() {
    let server = Running::start("echo", &["127.0.0.1:0"]);
    let path = scratch("json");
    let file = path.display();
    load(&format!("tcp {} -n 50 --json {file}", server.address()), 0);
    let output = load(&format!("compare {file} {file}"), 0);
    let table = String::from_utf8(output.stdout).expect("text");
    let requests = table.lines().find(|line| line.starts_with("requests "));
    let cells: Vec<&str> = requests.unwrap_or_default().split_whitespace().collect();
    assert_eq!(cells, ["requests", "50", "50", "1.000"], "{table}");
    assert!(!table.contains("CAUTION"), "{table}");
    let other = scratch("other");
    let to = server.address();
    load(
        &format!("tcp {to} -n 50 -p 2 --json {}", other.display()),
        0,
    );
    let output = load(&format!("compare {file} {}", other.display()), 0);
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(
        table.contains("CAUTION: the two were run on different terms: pipeline 1 and 2\n"),
        "{table}"
    );
    load(&format!("compare {file} /nowhere.json"), 1);
    let nobody = nobody();
    load(&format!("tcp {nobody} -n 5 --json {}", other.display()), 1);
    let output = load(&format!("compare {file} {}", other.display()), 0);
    let table = String::from_utf8(output.stdout).expect("text");
    let errors = table.lines().find(|line| line.starts_with("  connect "));
    let cells: Vec<&str> = errors.unwrap_or_default().split_whitespace().collect();
    assert_eq!(cells, ["connect", "0", "5", "-"], "{table}");
    _ = fs::remove_file(other);
    _ = fs::remove_file(path);
}

#[test]
fn where_nothing_was_answered_there_is_no_line_of_latencies() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let to = doing(|heard, stream| {
        // One is not answered, until its time is over.
        match COUNT.fetch_add(1, Ordering::Relaxed) {
            5 => Ok(()),
            _ => stream.write_all(heard),
        }
    });
    let path = scratch("html");
    let file = path.display();
    load(
        &format!("tcp {to} -c 1 -n 10 --timeout 300ms --interval 10ms --html {file}"),
        0,
    );
    let page = fs::read_to_string(&path).expect("it was written");
    let mut plots = page.split("</svg>");
    let plot = plots.find(|plot| plot.contains("Latency over time"));
    let plot = plot.expect("there is one");
    let lines = plot.matches("class=\"line p99\"").count();
    // More, where the machine had something else to do.
    assert!(lines >= 2, "{lines}: {plot}");
    _ = fs::remove_file(path);
}

#[test]
fn what_makes_no_sense_is_status_2() {
    let signs = format!("http http://127.0.0.1/ --expect-sha256 {}", "+a".repeat(32));
    for line in [
        &signs,
        "--no-such-option",
        "",
        "http",
        "http ftp://127.0.0.1/",
        "http http://127.0.0.1/ --header no-colon",
        "http --file /nowhere",
        "tcp 127.0.0.1:1 --duration 5",
        "tcp 127.0.0.1:1 --connections 0",
        "tcp 127.0.0.1:1 --framing length8 --size 256",
        "tcp 127.0.0.1:1 --framing fixed --size 3",
        "tcp 127.0.0.1:1 --rate 0",
        "tcp 127.0.0.1:1 --interval 0.1ms",
        "tcp 127.0.0.1",
        "tcp unix:",
        "http http://a:b@127.0.0.1/",
        "http http://127.0.0.1/ --expect-status 1000",
        "tcp 127.0.0.1:1 --rate 5 --think 1s",
        "tcp 127.0.0.1:1 -p 2 --no-keep-alive",
        "tcp 127.0.0.1:1 127.0.0.1:2 -c 1",
        "udp 127.0.0.1:1 --no-keep-alive",
        "udp unix:/nowhere",
    ] {
        let output = load(line, 2);
        assert!(!output.stderr.is_empty(), "{line}: no message");
    }
}

#[test]
fn the_page_needs_nothing_else_and_shows_what_was_measured() {
    let server = Running::start("http", &["127.0.0.1:0"]);
    let path = scratch("html");
    let url = format!("http://{}/<&", server.address());
    let file = path.display();
    load(
        &format!("http {url} -n 200 --expect-status 404 --html {file}"),
        0,
    );
    let page = fs::read_to_string(&path).expect("it was written");
    for title in [
        "Latency by percentile",
        "Requests a second",
        "Latency over time",
        "Errors a second",
    ] {
        assert!(page.contains(title), "{title}");
    }
    assert!(page.contains("/&lt;&amp;</h1>"));
    for foreign in ["src=", "href=", "url(", "@import", "<script", "NaN", "inf"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let opened = page.matches("<svg").count();
    assert_eq!((opened, page.matches("</svg>").count()), (4, 4));
    _ = fs::remove_file(path);
}
