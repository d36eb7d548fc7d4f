//! The HTTP server against RFC 9110 and RFC 9112: a table of requests, and what has to come back.
//!
//! Every case is sent whole, split at every position, and byte by byte, over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use windlass::Reactor;
use windlass::http::{Limits, Router, Server};
use windlass::net::{Memory, MemoryPeer};

#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "http_conformance/site.rs"]
mod site;
#[path = "http_conformance/table.rs"]
mod table;
#[path = "http_conformance/verdict.rs"]
mod verdict;

use answers::{Answer, parse};
use site::site;
use table::{Case, cases};
use verdict::{End, judge};

/// A server on a network in memory.
struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
}

impl World {
    fn new() -> World {
        World::with(site(), Limits::default())
    }

    fn with(router: Router, limits: Limits) -> World {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let server = Server::with_limits(router, limits);
        reactor.listen(ADDRESS, move |_| server.clone()).unwrap();
        World { memory, reactor }
    }

    fn connect(&mut self) -> MemoryPeer {
        let peer = self.memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
        self.turn();
        peer
    }

    fn turn(&mut self) {
        for _ in 0..3 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    /// Sends `pieces` one after the other, and answers what came back and whether that was all.
    fn exchange(&mut self, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let peer = self.connect();
        let mut received = Vec::new();
        for piece in pieces {
            peer.send(piece);
            self.turn();
            received.append(&mut peer.received());
        }
        let is_closed = peer.is_finished();
        drop(peer);
        self.turn();
        (received, is_closed)
    }

    /// Time passes.
    fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        self.turn();
    }
}

/// Expects of a case what the table says, when it is sent in these pieces.
#[track_caller]
fn check(world: &mut World, case: &Case, pieces: &[&[u8]], how: &str) {
    let (received, is_closed) = world.exchange(pieces);
    let end = if is_closed { End::Closed } else { End::Kept };
    if let Err(problem) = judge(case, &received, end) {
        let text = String::from_utf8_lossy(&received);
        panic!(
            "{} ({}), sent {how}: {problem}: {text:?}",
            case.name, case.source
        );
    }
}

#[test]
fn every_case_is_answered_as_the_table_says() {
    let mut world = World::new();
    for case in &cases() {
        check(&mut world, case, &[&case.request], "whole");
    }
}

#[test]
fn every_case_is_answered_the_same_however_it_is_split_in_two() {
    let mut world = World::new();
    for case in &cases() {
        let bytes = &case.request;
        // Long requests are split at some hundred positions.
        let step = (bytes.len() / 200).max(1);
        for cut in (1..bytes.len()).step_by(step) {
            let (first, second) = bytes.split_at(cut);
            check(
                &mut world,
                case,
                &[first, second],
                &format!("in two at {cut}"),
            );
        }
    }
}

#[test]
fn every_case_is_answered_the_same_byte_by_byte() {
    let mut world = World::new();
    for case in &cases() {
        let bytes = &case.request;
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        check(&mut world, case, &pieces, "byte by byte");
    }
}

#[test]
fn no_case_has_the_name_of_another_and_there_are_two_hundred_at_least() {
    let mut names: Vec<&str> = cases().iter().map(|case| case.name).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None);
    assert!(names.len() >= 200, "{}", names.len());
}

#[test]
fn continue_is_followed_by_the_answer_when_the_body_has_come() {
    let mut world = World::new();
    let head =
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let (received, is_closed) = world.exchange(&[head, b"hi"]);
    let (first, rest) = parse(&received, false).unwrap();
    let (second, rest) = parse(rest, false).unwrap();
    assert_eq!(
        (first.status, second.status, second.body.as_slice()),
        (100, 200, &b"hi"[..])
    );
    assert!(rest.is_empty() && !is_closed);
}

/// Sends `input`, lets `time` pass, and expects the status of an answer, or 0, and a close.
#[track_caller]
fn check_timeout(input: &[u8], time: u64, expected: Option<u16>) {
    let mut world = World::new();
    let peer = world.connect();
    peer.send(input);
    world.turn();
    let before = peer.received();
    world.pass(Duration::from_secs(time) - Duration::from_millis(100));
    assert!(!peer.is_finished(), "too early");
    assert_eq!(peer.received(), b"", "after {before:?}");
    world.pass(Duration::from_millis(200));
    let received = peer.received();
    let status = parse(&received, false)
        .ok()
        .map(|(answer, _): (Answer, _)| answer.status);
    assert_eq!(status, expected);
    assert!(peer.is_finished(), "closed in the end");
}

#[test]
fn a_peer_that_sends_nothing_is_left_after_10_s_in_silence() {
    check_timeout(b"", 10, None);
}

#[test]
fn a_head_that_does_not_end_within_10_s_is_answered_408() {
    check_timeout(b"GET / HTTP/1.1\r\nHost:", 10, Some(408));
}

#[test]
fn a_later_head_has_10_s_from_its_first_byte() {
    check_timeout(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nG", 10, Some(408));
}

#[test]
fn a_head_has_10_s_from_its_first_byte_even_if_that_begins_an_empty_line() {
    check_timeout(b"\r", 10, Some(408));
    check_timeout(b"\r\n\r\n", 10, Some(408));
    check_timeout(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n", 10, Some(408));
}

#[test]
fn empty_lines_put_the_deadline_of_a_head_off_no_more_than_its_other_bytes_do() {
    let mut world = World::new();
    let peer = world.connect();
    for piece in [&b"\r\n"[..], b"\r\n", b"\r", b"\nG"] {
        peer.send(piece);
        world.turn();
        assert_eq!(peer.received(), b"");
        world.pass(Duration::from_millis(2499));
    }
    assert!(!peer.is_finished(), "too early");
    world.pass(Duration::from_millis(5));
    assert!(peer.received().starts_with(b"HTTP/1.1 408 "));
    assert!(peer.is_finished());
}

#[test]
fn a_body_that_stalls_for_10_s_is_answered_408() {
    check_timeout(
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc",
        10,
        Some(408),
    );
}

#[test]
fn a_connection_without_a_request_is_kept_for_75_s() {
    check_timeout(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 75, None);
}

#[test]
fn a_body_that_trickles_is_answered_408() {
    let mut world = World::new();
    let peer = world.connect();
    peer.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\n");
    world.turn();
    for _ in 0..3 {
        world.pass(Duration::from_secs(4));
        peer.send(b"x");
        world.turn();
    }
    let received = peer.received();
    assert!(
        received.starts_with(b"HTTP/1.1 408 "),
        "{received:?} {}",
        peer.is_finished()
    );
    assert!(peer.is_finished());
}

#[test]
fn a_body_that_nobody_wants_and_that_trickles_ends_the_connection() {
    for framing in [
        "Content-Length: 999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut world = World::new();
        let peer = world.connect();
        peer.send(format!("POST /no HTTP/1.1\r\nHost: h\r\n{framing}").as_bytes());
        world.turn();
        assert!(peer.received().starts_with(b"HTTP/1.1 404 "));
        for piece in ["1\r\nx\r\n"; 3] {
            assert!(!peer.is_finished(), "too early");
            world.pass(Duration::from_secs(4));
            peer.send(piece.as_bytes());
            world.turn();
        }
        assert_eq!(peer.received(), b"", "it was answered");
        assert!(peer.is_finished());
    }
}

#[test]
fn a_head_that_trickles_is_answered_408() {
    let mut world = World::new();
    let peer = world.connect();
    for byte in b"GET / HTTP/1" {
        peer.send(&[*byte]);
        world.pass(Duration::from_secs(1));
    }
    assert!(peer.received().starts_with(b"HTTP/1.1 408 "));
    assert!(peer.is_finished());
}

#[test]
fn the_last_request_of_a_connection_is_told_so() {
    let limits = Limits {
        max_requests: Some(2),
        ..Limits::default()
    };
    let mut world = World::with(site(), limits);
    let (received, is_closed) = world.exchange(&[&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3)]);
    let (first, rest) = parse(&received, false).unwrap();
    let (second, rest) = parse(rest, false).unwrap();
    assert_eq!(first.field("connection"), None);
    assert_eq!(second.field("connection"), Some("close"));
    assert!(rest.is_empty() && is_closed);
}

#[test]
fn more_requests_at_once_than_are_allowed_are_answered_503() {
    let limits = Limits {
        max_concurrent: Some(1),
        ..Limits::default()
    };
    let mut world = World::with(site(), limits);
    let busy = world.connect();
    busy.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nh");
    world.turn();
    let (received, _) = world.exchange(&[b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"]);
    let (answer, _) = parse(&received, false).unwrap();
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    busy.send(b"i");
    world.turn();
    assert!(busy.received().ends_with(b"hi"));
    let (received, _) = world.exchange(&[b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"]);
    assert_eq!(parse(&received, false).unwrap().0.status, 200);
}

/// Some requests that are fine, one after the other, and what they ask for.
fn requests() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let one = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        Just(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(|body| {
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), &body].concat()
        }),
        proptest::collection::vec(any::<u8>(), 1..50).prop_map(|body| {
            let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let size = format!("{:x}\r\n", body.len());
            [head.as_bytes(), size.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
        }),
    ];
    proptest::collection::vec(one, 1..8).prop_map(|all| (all.concat(), all.len()))
}

/// `bytes`, cut at these positions.
fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let mut start = 0;
    let mut pieces = Vec::new();
    for end in cuts {
        if end > start {
            pieces.push(&bytes[start..end]);
            start = end;
        }
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn two_splits_of_the_same_requests_get_the_same_answers(
        (bytes, count) in requests(),
        cuts: [prop::sample::Index; 6],
    ) {
        let mut world = World::new();
        let (whole, _) = world.exchange(&[&bytes]);
        let (split, _) = world.exchange(&cut(&bytes, &cuts));
        let answers = |mut rest: &[u8]| {
            let mut bodies = Vec::new();
            while !rest.is_empty() {
                let (answer, behind) = parse(rest, false).unwrap();
                bodies.push((answer.status, answer.body));
                rest = behind;
            }
            bodies
        };
        prop_assert_eq!(answers(&whole), answers(&split));
        prop_assert_eq!(answers(&whole).len(), count);
    }

    #[test]
    fn arbitrary_bytes_get_well_formed_answers_or_none(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        prefix in proptest::sample::select(PREFIXES),
        cuts: [prop::sample::Index; 4],
    ) {
        bytes.splice(0..0, prefix.iter().copied());
        let mut world = World::new();
        let (received, _) = world.exchange(&cut(&bytes, &cuts));
        let mut rest = received.as_slice();
        while !rest.is_empty() {
            let (answer, behind) = parse(rest, false).unwrap();
            prop_assert_eq!(answer.check(), Ok(()));
            rest = behind;
        }
    }
}

/// What arbitrary bytes follow, so that they get somewhere.
const PREFIXES: &[&[u8]] = &[
    b"",
    b"GET ",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX:",
    b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
];

const ADDRESS: &str = "10.0.0.1:80";
