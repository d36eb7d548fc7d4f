//! The load tester, run as a user would run it, against the examples and against servers that do
//! what they should not.
//!
//! Knows nothing of the library. `cargo test` builds the examples; `cargo test --test load` alone
//! does not.

// Servers that misbehave stand on threads of their own: they may block.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{self, Child, Command, Output, Stdio};
use std::{env, fs, thread};

use serde_json::Value;

fn command(name: &str, args: &[&str]) -> Command {
    let test = env::current_exe().expect("a test knows where it lies");
    // target/PROFILE/deps/TEST, and target/PROFILE/examples/NAME.
    let profile = test.ancestors().nth(2).expect("the folder of the profile");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --examples",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// An example that serves until this is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    #[track_caller]
    fn start(name: &str, args: &[&str]) -> Server {
        let mut child = command(name, args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("standard output");
        let (_, address) = line.trim_end().split_once("://").expect("an address");
        Server {
            child,
            address: address.to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs `load`, and expects it to end with that status.
#[track_caller]
fn load(args: &[&str], status: i32) -> Output {
    let output = command("load", args).output().expect("the example starts");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}:\n{out}{err}");
    output
}

/// Runs `load`, and answers with what it measured.
#[track_caller]
fn measured(args: &[&str], status: i32) -> Value {
    let path = scratch("json");
    let path = path.to_str().expect("a path of letters");
    let mut args = args.to_vec();
    args.extend(["--json", path]);
    load(&args, status);
    let json = fs::read(path).expect("it was written");
    _ = fs::remove_file(path);
    serde_json::from_slice(&json).expect("it is JSON")
}

fn scratch(kind: &str) -> std::path::PathBuf {
    let thread = thread::current();
    let name = thread.name().unwrap_or("test").replace(':', "_");
    env::temp_dir().join(format!("windlass-{}-{name}.{kind}", process::id()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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

#[test]
fn every_request_of_a_count_is_sent_and_answered_once() {
    let server = Server::start("http", &["127.0.0.1:0"]);
    let url = format!("http://{}/plaintext", server.address);
    for options in [
        &[][..],
        &["-p", "16"],
        &["--no-keep-alive"],
        &["--think", "1ms"],
    ] {
        let mut args = vec!["http", &url, "-n", "500", "-c", "8", "--max-errors", "0"];
        args.extend(options);
        let run = measured(&args, 0);
        assert_eq!(run["requests"], 500, "{options:?}");
        assert_eq!(run["error_count"], 0, "{options:?}");
        assert!(run["latency_ns"]["p50"].as_u64() > Some(0), "{options:?}");
    }
}

#[test]
fn every_framing_is_echoed() {
    let tcp = ["raw", "lines", "length"]
        .map(|framing| Server::start("echo", &["127.0.0.1:0", "--framing", framing]));
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
        let args = ["tcp", &server.address, "--framing", framing, "-n", "200"];
        let run = measured(&[&args[..], &["-c", "4", "-p", "3"]].concat(), 0);
        assert_eq!(run["requests"], 200, "{framing}");
        assert_eq!(run["error_count"], 0, "{framing}");
    }
}

#[test]
fn datagrams_are_echoed_and_lost_ones_are_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address").to_string();
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
    let args = [
        "udp",
        &address,
        "-n",
        "100",
        "-c",
        "4",
        "--timeout",
        "200ms",
    ];
    let run = measured(&args, 0);
    assert_eq!(run["requests"], 90);
    assert_eq!(run["errors"]["timeout"], 10);
}

#[test]
fn what_is_wrong_is_counted_by_kind_and_fails_the_run() {
    let check = |answer: &'static str, options: &[&str], kind: &str| {
        let url = format!("http://{}/", answering(answer));
        let mut args = vec!["http", &url, "-c", "1", "-n", "3", "--max-errors", "0"];
        args.extend(options);
        let run = measured(&args, 1);
        assert_eq!(run["errors"][kind], 3, "{answer:?}: {}", run["errors"]);
    };
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nahoy";
    let bad = "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    check(bad, &[], "status");
    check(good, &["--expect-status", "204"], "status");
    check(good, &["--expect-length", "5"], "length");
    check(good, &["--expect-sha256", &"00".repeat(32)], "content");
    check("ICY 200 OK\r\n\r\n", &[], "malformed");
    check("HTTP/1.1 200 OK\r\nContent-Le", &[], "closed");
}

#[test]
fn a_good_digest_is_good() {
    let url = format!(
        "http://{}/",
        answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
    );
    // FIPS 180-2, appendix B.1.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let args = [
        "http",
        &url,
        "-c",
        "1",
        "-n",
        "2",
        "--expect-sha256",
        digest,
    ];
    assert_eq!(measured(&args, 0)["requests"], 2);
}

#[test]
fn a_server_that_answers_nothing_is_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let args = [
        "tcp",
        &address,
        "-c",
        "2",
        "-d",
        "100ms",
        "--timeout",
        "100ms",
    ];
    let run = measured(&args, 1);
    assert_eq!(run["requests"], 0);
    assert!(run["errors"]["timeout"].as_u64() >= Some(2), "{run}");
}

#[test]
fn nobody_there_is_an_error_of_its_kind() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let run = measured(&["tcp", &address, "-c", "2", "-d", "50ms"], 1);
    assert!(run["errors"]["connect"].as_u64() >= Some(2), "{run}");
}

#[test]
fn a_limit_that_is_not_kept_is_status_1() {
    let server = Server::start("echo", &["127.0.0.1:0"]);
    let args = ["tcp", &server.address, "-n", "50", "-c", "1"];
    load(&[&args[..], &["--max-p99", "1h"]].concat(), 0);
    load(&[&args[..], &["--max-p99", "0.001us"]].concat(), 1);
}

#[test]
fn a_file_of_requests_is_asked_in_turn() {
    let server = Server::start("http", &["127.0.0.1:0"]);
    let path = scratch("txt");
    let base = format!("http://{}", server.address);
    let requests =
        format!("# three\nGET {base}/plaintext\n\nHEAD {base}/plaintext\nPOST {base}/echo ahoy\n");
    fs::write(&path, requests).expect("a file");
    let file = path.to_str().expect("a path of letters");
    let run = measured(
        &["http", "--file", file, "-n", "90", "-c", "3", "-p", "2"],
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
    let server = Server::start("echo", &["127.0.0.1:0"]);
    let path = scratch("json");
    let path = path.to_str().expect("a path of letters");
    load(&["tcp", &server.address, "-n", "50", "--json", path], 0);
    let output = load(&["compare", path, path], 0);
    let table = text(&output.stdout);
    let requests = table.lines().find(|line| line.starts_with("requests "));
    let cells: Vec<&str> = requests.unwrap_or_default().split_whitespace().collect();
    assert_eq!(cells, ["requests", "50", "50", "1.000"], "{table}");
    load(&["compare", path, "/nowhere.json"], 1);
    _ = fs::remove_file(path);
}

#[test]
fn what_makes_no_sense_is_status_2() {
    for args in [
        &["--no-such-option"][..],
        &[],
        &["http"],
        &["http", "ftp://127.0.0.1/"],
        &["http", "http://127.0.0.1/", "--header", "no colon"],
        &["http", "--file", "/nowhere"],
        &["tcp", "127.0.0.1:1", "--duration", "5"],
        &["tcp", "127.0.0.1:1", "--connections", "0"],
        &[
            "tcp",
            "127.0.0.1:1",
            "--framing",
            "length8",
            "--size",
            "256",
        ],
        &["tcp", "127.0.0.1:1", "--framing", "fixed", "--size", "3"],
        &["tcp", "127.0.0.1:1", "--rate", "0"],
        &["tcp", "127.0.0.1:1", "--rate", "5", "--think", "1s"],
        &["udp", "unix:/nowhere"],
    ] {
        let output = load(args, 2);
        assert!(!output.stderr.is_empty(), "{args:?}: no message");
    }
}

#[test]
fn the_page_needs_nothing_else_and_shows_what_was_measured() {
    let server = Server::start("http", &["127.0.0.1:0"]);
    let path = scratch("html");
    let url = format!("http://{}/<&", server.address);
    let file = path.to_str().expect("a path of letters");
    load(
        &[
            "http",
            &url,
            "-n",
            "200",
            "--expect-status",
            "404",
            "--html",
            file,
        ],
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
