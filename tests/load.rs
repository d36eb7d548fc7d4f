//! The load tester, run as a user would run it, against the examples and against servers that do
//! what they should not.
//!
//! Knows nothing of the library. `cargo test` builds the examples; `cargo test --test load` alone
//! does not.

// Servers that misbehave stand on threads of their own: they may block.
#![allow(clippy::disallowed_methods)]

mod running;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{self, Output};
use std::{env, fs, thread};

use serde_json::Value;

use running::{Running, check_exit};

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
    serde_json::from_slice(&json).expect("it is JSON")
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
        ("length64", &tcp[0]),
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
fn datagrams_are_echoed_and_lost_ones_are_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buf = [0; 2048];
        for number in 0_u32.. {
            let Ok((len, from)) = server.recv_from(&mut buf) else {
                return;
            };
            // Every tenth is lost.
            if number % 10 != 9 {
                _ = server.send_to(&buf[..len], from);
            }
        }
    });
    let run = measured(&format!("udp {address} -n 100 -c 4 --timeout 200ms"), 0);
    assert_eq!(run["requests"], 90);
    assert_eq!(run["errors"]["timeout"], 10);
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

#[test]
fn what_nobody_asked_for_is_an_error() {
    for framing in ["raw", "lines"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                thread::spawn(move || {
                    let mut buf = [0; 4096];
                    while let Ok(len) = stream.read(&mut buf) {
                        if len == 0 || stream.write_all(&buf[..len].repeat(2)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let line = format!("tcp {to} --framing {framing} -c 1 -n 3 --think 1ms --max-errors 0");
        let run = measured(&line, 1);
        assert_eq!(
            (&run["requests"], &run["errors"]["malformed"]),
            (&3.into(), &3.into())
        );
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
    let run = measured(&format!("tcp {to} -c 2 -d 100ms --timeout 100ms"), 1);
    assert_eq!(run["requests"], 0);
    assert!(run["errors"]["timeout"].as_u64() >= Some(2), "{run}");
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
        let line = format!("http http://{to}/ -n 3 -c 1 --timeout 50ms {options}");
        assert_eq!(measured(&line, 0)["requests"], 3, "{options}");
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
    load(&format!("compare {file} /nowhere.json"), 1);
    _ = fs::remove_file(path);
}

#[test]
fn what_makes_no_sense_is_status_2() {
    for line in [
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
        "tcp 127.0.0.1:1 --rate 5 --think 1s",
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
    for foreign in ["src=", "href=", "url(", "@import", "<script", "NaN", "inf"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let opened = page.matches("<svg").count();
    assert_eq!((opened, page.matches("</svg>").count()), (4, 4));
    _ = fs::remove_file(path);
}
