//! The access log of the HTTP server: one line per request, whatever becomes of it, and none that a
//! peer could forge. Over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde_json::{Value, json};

use windlass::http::wraps;
use windlass::http::{AccessLog, Limits, Pulled, Response, Router, Server};

#[path = "common/http_world.rs"]
mod world;

use world::World;

/// Keeps the lines of each thread, which is each test's own.
struct Kept;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(true) };
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "windlass::access" && IS_ON.get()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            assert_eq!(record.level(), log::Level::Info);
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// What was logged since the last call.
fn lines() -> Vec<String> {
    LINES.take()
}

/// The one line that was logged.
#[track_caller]
fn line() -> String {
    let mut lines = lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The one line that was logged, which is JSON.
#[track_caller]
fn object() -> Value {
    let line = line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

impl World {
    fn new(format: AccessLog) -> World {
        let limits = Limits {
            max_body_len: 1000,
            ..Limits::default()
        };
        World::logged(Server::with_limits(site(), limits).access_log(format))
    }

    /// A server whose lines are kept.
    fn logged(server: Server) -> World {
        // Another test may have been first.
        let _ = log::set_logger(&Kept);
        log::set_max_level(LevelFilter::Info);
        World::with(server)
    }

    fn get(&mut self, path: &str) {
        self.put(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
    }
}

fn site() -> Router {
    let endless = |len: usize| {
        move |out: &mut Vec<u8>| {
            out.resize(len, b'x');
            Pulled::More
        }
    };
    Router::new()
        .get("/", |_| Response::text("home"))
        .get("/fields", |_| Response::text("some").header("A", "b"))
        .get("/none", |_| Response::empty(204))
        .post("/echo", |request| Response::of(request.body().to_vec()))
        .get("/large", |_| Response::of(vec![b'x'; 200_000]))
        .get("/endless", move |_| Response::stream(endless(1000)))
        .get("/three", |_| {
            let mut left = 3;
            Response::stream(move |out: &mut Vec<u8>| {
                left -= 1;
                out.extend_from_slice(b"abcde");
                if left == 0 {
                    Pulled::End
                } else {
                    Pulled::Wait(SECOND)
                }
            })
        })
        .get("/later", |_| {
            Response::after(SECOND, || Response::text("late"))
        })
        .get("/panic", |_| panic!("as it was asked to"))
        .get("/up", |_| {
            let echo = windlass::Echo::<windlass::Raw>::default();
            Response::upgrade("echo", echo)
        })
}

/// What a line of `AccessLog::Common` has behind the address, with `DATE` for the date.
#[track_caller]
fn check(line: &str, expected: &str) {
    let line = line.strip_prefix("127.0.0.1 - - [").unwrap();
    let (date, rest) = line.split_once("] ").unwrap();
    assert_eq!(date.len(), "24/Nov/2026:17:13:27 +0000".len(), "{date}");
    assert!(date.ends_with(" +0000"), "{date}");
    assert_eq!(rest, expected);
}

#[test]
fn a_line_is_in_the_common_log_format_and_has_the_duration_behind_it() {
    let mut world = World::new(AccessLog::default());
    world.get("/?a=b");
    check(&line(), r#""GET /?a=b HTTP/1.1" 200 4 0.000000"#);
    world.get("/fields");
    check(&line(), r#""GET /fields HTTP/1.1" 200 4 0.000000"#);
    world.get("/none");
    check(&line(), r#""GET /none HTTP/1.1" 204 0 0.000000"#);
    world.put("M-SEARCH /nowhere HTTP/1.0\r\n\r\n");
    let last = line();
    assert!(last.contains(r#""M-SEARCH /nowhere HTTP/1.0" "#), "{last}");
}

#[test]
fn the_date_is_the_one_of_the_answer() {
    let mut world = World::new(AccessLog::Common);
    world.get("/");
    let answer = String::from_utf8(world.peer.received()).unwrap();
    let date = answer.split_once("Date: ").unwrap().1;
    // `Sun, 06 Nov 1994 08:49:37 GMT` and `[06/Nov/1994:08:49:37 +0000]`.
    let (day, month) = (&date[5..7], &date[8..11]);
    let (year, time) = (&date[12..16], &date[17..25]);
    let expected = format!("[{day}/{month}/{year}:{time} +0000]");
    let line = line();
    assert!(line.contains(&expected), "{line}: {expected}");
}

#[test]
fn the_combined_form_has_referer_and_user_agent() {
    let mut world = World::new(AccessLog::Combined);
    world.put("GET / HTTP/1.1\r\nHost: h\r\nuser-agent: a b\r\nReferer: http://r/\r\n\r\n");
    let expected = r#""GET / HTTP/1.1" 200 4 "http://r/" "a b" 0.000000"#;
    check(&line(), expected);
    world.get("/");
    check(&line(), r#""GET / HTTP/1.1" 200 4 "-" "-" 0.000000"#);
}

#[test]
fn the_json_form_is_an_object_with_everything() {
    let mut world = World::new(AccessLog::Json);
    world.put("GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: c\r\n\r\n");
    let mut object = object();
    let time = object["time"].take();
    assert_eq!(time.as_str().unwrap().len(), "1994-11-06T08:49:37Z".len());
    let expected = json!({
        "time": null,
        "peer": world.peer.local_addr().to_string(),
        "method": "GET",
        "target": "/a?b",
        "version": "HTTP/1.1",
        "referer": null,
        "user_agent": "c",
        "status": 404,
        "bytes": "Not Found".len(),
        "seconds": 0.0,
        "complete": true,
    });
    assert_eq!(object, expected);
}

#[test]
fn what_a_peer_sends_forges_neither_a_line_nor_a_field() {
    let evil = "GET /\"\\%0d%0a?\"&\\ HTTP/1.1\r\nHost: h\r\n\
                Referer: \" 200 0 \"\r\nUser-Agent: \\\"\t\u{fc}\u{2028}\r\n\r\n";
    let mut world = World::new(AccessLog::Combined);
    world.put(evil);
    let line = line();
    let (_, rest) = line.split_once("] ").unwrap();
    let expected = r#""GET /\x22\x5C%0d%0a?\x22&\x5C HTTP/1.1" "#;
    assert!(rest.starts_with(expected), "{rest}");
    let fields = r#" "\x22 200 0 \x22" "\x5C\x22\x09\xC3\xBC\xE2\x80\xA8" 0.000000"#;
    assert!(rest.ends_with(fields), "{rest}");
    assert!(line.bytes().all(|byte| (b' '..0x7f).contains(&byte)));

    let mut world = World::new(AccessLog::Json);
    world.put(evil);
    let object = object();
    assert_eq!(object["target"], "/\"\\%0d%0a?\"&\\");
    assert_eq!(object["referer"], "\" 200 0 \"");
    // Bytes, of whatever encoding.
    assert_eq!(object["user_agent"], "\\\"\t\u{c3}\u{bc}\u{e2}\u{80}\u{a8}");
}

#[test]
fn the_bytes_are_those_of_the_body_that_was_sent() {
    let mut world = World::new(AccessLog::Common);
    world.put("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    check(&line(), r#""HEAD / HTTP/1.1" 200 0 0.000000"#);
    world.put("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    check(&line(), r#""POST /echo HTTP/1.1" 200 3 0.000000"#);
}

#[test]
fn an_answer_that_takes_longer_is_logged_once_when_it_is_complete() {
    let mut world = World::new(AccessLog::Common);
    world.get("/later");
    assert!(lines().is_empty());
    world.advance(SECOND);
    check(&line(), r#""GET /later HTTP/1.1" 200 4 1.000000"#);

    world.get("/three");
    world.advance(SECOND);
    assert!(lines().is_empty());
    world.advance(SECOND);
    check(&line(), r#""GET /three HTTP/1.1" 200 15 2.000000"#);

    world.get("/large");
    assert!(lines().is_empty());
    world.memory.advance(SECOND);
    let mut received = 0;
    while received < 200_000 {
        received += world.peer.received().len();
        world.turn();
    }
    check(&line(), r#""GET /large HTTP/1.1" 200 200000 1.000000"#);
}

#[test]
fn a_body_that_takes_its_time_counts_from_the_head() {
    let mut world = World::new(AccessLog::Common);
    world.put("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    world.advance(SECOND);
    world.put("bc");
    check(&line(), r#""POST /echo HTTP/1.1" 200 3 1.000000"#);
}

#[test]
fn what_is_refused_is_logged() {
    let mut world = World::new(AccessLog::Common);
    world.put("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n");
    check(&line(), r#""POST /echo HTTP/1.1" 413 17 0.000000"#);

    let mut world = World::new(AccessLog::Common);
    world.put("GET /\" 200 HTTP/1.1\r\n\r\n");
    check(&line(), r#""-" 400 0 0.000000"#);

    let mut world = World::new(AccessLog::Json);
    world.put("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let object = object();
    assert_eq!(
        (&object["target"], &object["status"]),
        (&json!("/echo"), &json!(400))
    );

    // A head that does not end.
    let mut world = World::new(AccessLog::Common);
    world.put("GET / HT");
    world.advance(Duration::from_secs(11));
    check(&line(), r#""-" 408 0 0.000000"#);

    let limits = Limits {
        max_concurrent: Some(0),
        ..Limits::default()
    };
    let mut world = World::logged(Server::with_limits(site(), limits));
    world.get("/");
    check(&line(), r#""GET / HTTP/1.1" 503 19 0.000000"#);
}

#[test]
fn an_answer_that_cannot_be_sent_is_logged_as_what_was_sent_instead() {
    let router = Router::new().get("/", |_| Response::text("a").header("B", "c\r\n"));
    let mut world = World::logged(Server::new(router));
    world.get("/");
    check(&line(), r#""GET / HTTP/1.1" 500 21 0.000000"#);
}

#[test]
fn a_refusal_by_what_is_wrapped_around_is_logged() {
    let router = Router::new()
        .get("/", |_| Response::text("secret"))
        .guard(wraps::basic_auth("here", |_, _| false));
    let mut world = World::logged(Server::new(router));
    world.get("/");
    let line = line();
    assert!(line.contains(r#""GET / HTTP/1.1" 401 "#), "{line}");
}

#[test]
fn a_connection_that_is_handed_over_is_logged_with_its_last_request() {
    let mut world = World::new(AccessLog::Common);
    world.put("GET /up HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    check(&line(), r#""GET /up HTTP/1.1" 101 0 0.000000"#);
    world.put("GET / HTTP/1.1\r\n\r\n");
    assert!(lines().is_empty());
}

#[test]
fn a_request_whose_peer_has_left_is_logged_as_incomplete() {
    let mut world = World::new(AccessLog::Json);
    world.get("/later");
    world.peer.reset();
    world.turn();
    let unanswered = object();
    assert_eq!(
        (&unanswered["status"], &unanswered["complete"]),
        (&json!(499), &json!(false))
    );

    let mut world = World::new(AccessLog::Json);
    world.get("/endless");
    world.memory.advance(SECOND);
    world.peer.reset();
    world.turn();
    let partial = object();
    assert_eq!(
        (
            &partial["status"],
            &partial["complete"],
            &partial["seconds"]
        ),
        (&json!(200), &json!(false), &json!(1.0))
    );
    assert!(partial["bytes"].as_u64().unwrap() > 10_000);
}

#[test]
fn a_request_whose_handler_panics_is_logged() {
    let mut world = World::new(AccessLog::Json);
    world.get("/panic");
    let object = object();
    assert_eq!(
        (&object["status"], &object["seconds"], &object["complete"]),
        (&json!(499), &json!(null), &json!(false))
    );
}

#[test]
fn every_request_of_a_pipeline_has_its_line_in_order() {
    let mut world = World::new(AccessLog::Common);
    let requests: String = (0..20)
        .map(|number| format!("GET /?{number} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .collect();
    world.put(requests);
    let lines = lines();
    assert_eq!(lines.len(), 20);
    for (number, line) in lines.iter().enumerate() {
        check(
            line,
            &format!(r#""GET /?{number} HTTP/1.1" 200 4 0.000000"#),
        );
    }
}

#[test]
fn a_logger_that_does_not_want_them_costs_no_allocation() {
    IS_ON.set(false);
    let mut world = World::new(AccessLog::Common);
    world.turn();
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut allocations = || {
        assert_eq!(world.peer.send(request), request.len());
        let turn = || {
            world.reactor.turn(Some(Duration::ZERO)).unwrap();
        };
        let count = allocation_counter::measure(turn).count_total;
        assert!(!world.peer.received().is_empty());
        count
    };
    for _ in 0..64 {
        allocations();
    }
    assert_eq!(allocations(), 0);
    assert!(lines().is_empty());

    // The logger is asked again within a second.
    IS_ON.set(true);
    world.memory.advance(SECOND);
    world.get("/");
    // It was not when the connection began, so nobody has noted the peer.
    let line = line();
    assert!(line.starts_with("- - - ["), "{line}");
}

const SECOND: Duration = Duration::from_secs(1);
