//! The HTTP client against servers that are played by the test, and against ours: framing is
//! tested beside the decoder, here it is connections. Over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use windlass::http::client::{
    Cause, Client, Failure, Flow, Head, Limits, Receiver, Request, Response, ResponseError,
    SendError,
};
use windlass::http::{self, Fields, Pulled, Router, Server};
use windlass::net::{Connect, Listen, Memory, MemoryPeer, MemoryPeerListener};
use windlass::{CloseReason, Intents, Reactor, Token};

/// A client on a network in memory, and what it was answered, in order.
struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
    client: Client,
    answers: Rc<RefCell<Vec<String>>>,
}

impl World {
    fn new(limits: Limits) -> World {
        let memory = Memory::new();
        World {
            reactor: Reactor::with_network(memory.clone()),
            client: Client::with(Connect::to(ADDRESS).unwrap(), "h", limits).unwrap(),
            answers: Rc::default(),
            memory,
        }
    }

    fn listen(&self) -> MemoryPeerListener {
        let address: windlass::net::Address = ADDRESS.parse().unwrap();
        self.memory.listen_peer(address).unwrap()
    }

    fn turn(&mut self) {
        for _ in 0..6 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        self.turn();
    }

    /// Sends a request whose answer is noted under a name.
    fn try_send(&mut self, name: &'static str, request: Request) -> Result<(), SendError> {
        let answers = Rc::clone(&self.answers);
        let note = move |answer: Result<Response<'_>, Failure>, _: &mut Intents| {
            answers
                .borrow_mut()
                .push(format!("{name}: {}", told(answer)));
        };
        let client = self.client.clone();
        let sent = self
            .reactor
            .with_intents(|cx| client.send(request, note, cx));
        self.turn();
        sent
    }

    fn send(&mut self, name: &'static str, request: Request) {
        self.try_send(name, request).unwrap();
    }

    fn get(&mut self, name: &'static str) {
        self.send(name, Request::get("/"));
    }

    /// The peer sends.
    fn answer(&mut self, peer: &MemoryPeer, bytes: &str) {
        assert_eq!(peer.send(bytes.as_bytes()), bytes.len());
        self.turn();
    }

    #[track_caller]
    fn expect(&self, expected: &[&str]) {
        assert_eq!(*self.answers.borrow(), expected);
    }
}

fn told(answer: Result<Response<'_>, Failure>) -> String {
    match answer {
        Ok(answer) => {
            let body = String::from_utf8_lossy(answer.body());
            format!("{} {body}", answer.status().code())
        }
        Err(failure) => {
            let again = if failure.is_retryable { ", again?" } else { "" };
            format!("{:?}{again}", failure.cause)
        }
    }
}

fn text(peer: &MemoryPeer) -> String {
    String::from_utf8(peer.received()).unwrap()
}

fn pipelined(max: usize) -> Limits {
    Limits {
        max_connections: 1,
        max_pipelined: max,
        ..Limits::default()
    }
}

#[test]
fn a_connection_is_opened_when_it_is_needed_and_used_again() {
    let mut world = World::new(Limits::default());
    let listener = world.listen();
    assert!(listener.accept().is_none());
    world.get("a");
    let peer = listener.accept().unwrap();
    assert_eq!(text(&peer), GET);
    world.answer(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    world.expect(&["a: 200 hi"]);
    world.get("b");
    assert_eq!(text(&peer), GET);
    world.answer(
        &peer,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nyo\r\n",
    );
    world.expect(&["a: 200 hi"]);
    world.answer(&peer, "0\r\n\r\n");
    world.expect(&["a: 200 hi", "b: 200 yo"]);
    assert!(listener.accept().is_none(), "no other connection");
    assert_eq!(world.client.connections(), 1);
}

#[test]
fn what_finds_no_free_connection_gets_another_one_up_to_the_limit_and_then_waits() {
    let mut world = World::new(Limits {
        max_connections: 2,
        max_queued: 1,
        ..Limits::default()
    });
    let listener = world.listen();
    world.get("a");
    world.get("b");
    world.get("c");
    assert_eq!((world.client.connections(), world.client.queued()), (2, 1));
    let refused = world.try_send("d", Request::get("/"));
    assert_eq!(refused, Err(SendError::Full { limit: 1 }));
    let (first, second) = (listener.accept().unwrap(), listener.accept().unwrap());
    assert_eq!((text(&first), text(&second)), (GET.into(), GET.into()));
    world.answer(&second, OK);
    assert_eq!(text(&second), GET, "the one that waited");
    world.answer(&second, OK);
    world.answer(&first, OK);
    world.expect(&["b: 200 ", "c: 200 ", "a: 200 "]);
}

#[test]
fn pipelined_requests_leave_together_and_answers_keep_their_order() {
    let mut world = World::new(pipelined(3));
    let listener = world.listen();
    for name in ["a", "b", "c", "d"] {
        world.get(name);
    }
    let peer = listener.accept().unwrap();
    assert_eq!(text(&peer), GET.repeat(3));
    let (first, second) = ("HTTP/1.1 201 \r\nContent-Length: 1\r\n\r\n1", OK);
    world.answer(&peer, &format!("{first}{second}"));
    assert_eq!(text(&peer), GET);
    world.answer(&peer, &format!("HTTP/1.1 204 \r\n\r\n{first}"));
    world.expect(&["a: 201 1", "b: 200 ", "c: 204 ", "d: 201 1"]);
}

#[test]
fn nothing_is_pipelined_behind_a_request_that_is_not_idempotent() {
    let mut world = World::new(pipelined(8));
    let listener = world.listen();
    world.get("a");
    world.send("b", Request::post("/").body("x"));
    world.get("c");
    let peer = listener.accept().unwrap();
    assert_eq!(text(&peer), GET);
    world.answer(&peer, OK);
    assert_eq!(
        text(&peer),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
    );
    world.answer(&peer, OK);
    assert_eq!(text(&peer), GET);
    world.answer(&peer, OK);
    world.expect(&["a: 200 ", "b: 200 ", "c: 200 "]);
}

#[test]
fn the_answer_to_a_head_among_others_has_no_body() {
    let mut world = World::new(pipelined(3));
    let listener = world.listen();
    world.get("a");
    world.send("b", Request::head("/"));
    world.get("c");
    let peer = listener.accept().unwrap();
    let answer = "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n";
    world.answer(&peer, &format!("{answer}hi{answer}{answer}yo"));
    world.expect(&["a: 200 hi", "b: 200 ", "c: 200 yo"]);
}

#[test]
fn a_server_that_closes_is_left_and_what_it_did_not_answer_goes_to_another_connection() {
    let mut world = World::new(pipelined(3));
    let listener = world.listen();
    for name in ["a", "b", "c"] {
        world.get(name);
    }
    let peer = listener.accept().unwrap();
    world.answer(
        &peer,
        "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(peer.is_finished());
    let next = listener.accept().unwrap();
    assert_eq!(text(&next), GET.repeat(2));
    world.answer(&next, &OK.repeat(2));
    world.expect(&["a: 200 ", "b: 200 ", "c: 200 "]);
}

#[test]
fn a_server_of_http_1_0_is_left_unless_it_says_otherwise() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(
        &peer,
        "HTTP/1.0 200 \r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    );
    world.get("b");
    world.answer(&peer, "HTTP/1.0 200 \r\nContent-Length: 0\r\n\r\n");
    assert!(peer.is_finished());
    world.expect(&["a: 200 ", "b: 200 "]);
}

#[test]
fn a_body_without_a_length_ends_with_its_connection() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\n\r\nhi");
    world.expect(&[]);
    peer.finish();
    world.turn();
    world.expect(&["a: 200 hi"]);
    assert_eq!(world.client.connections(), 0);
}

#[test]
fn a_body_without_a_length_that_is_reset_is_not_whole() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\n\r\nhi");
    peer.reset();
    world.turn();
    world.expect(&["a: Closed(Reset), again?"]);
}

#[test]
fn a_request_that_met_a_closing_connection_is_sent_again_once() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    listener.accept().unwrap().finish();
    world.turn();
    world.expect(&[]);
    let second = listener.accept().unwrap();
    assert_eq!(text(&second), GET);
    second.reset();
    world.turn();
    world.expect(&["a: Closed(Reset), again?"]);
    assert!(listener.accept().is_none());
}

#[test]
fn a_post_is_not_sent_again_by_itself() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.send("a", Request::post("/").body("x"));
    let peer = listener.accept().unwrap();
    peer.finish();
    world.turn();
    world.expect(&["a: Closed(PeerFinished)"]);
    assert!(listener.accept().is_none());
}

#[test]
fn an_answer_that_breaks_off_is_told_as_such() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\nhi");
    peer.finish();
    world.turn();
    world.expect(&["a: Closed(Truncated), again?"]);
}

#[test]
fn where_nobody_listens_everything_that_waits_fails_and_later_requests_try_anew() {
    let mut world = World::new(pipelined(1));
    world.get("a");
    assert!(world.answers.borrow()[0].starts_with("a: Closed(ConnectFailed("));
    assert!(world.answers.borrow()[0].ends_with(", again?"));
    let listener = world.listen();
    world.get("b");
    world.answer(&listener.accept().unwrap(), OK);
    assert_eq!(world.answers.borrow()[1], "b: 200 ");
}

#[test]
fn a_mistake_of_the_server_resets_the_connection_and_those_behind_it_try_elsewhere() {
    let mut world = World::new(pipelined(2));
    let listener = world.listen();
    world.get("a");
    world.get("b");
    let peer = listener.accept().unwrap();
    let smuggled = "HTTP/1.1 200 \r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.answer(&peer, &format!("{smuggled}{OK}"));
    assert!(peer.is_reset());
    let error = Cause::Response(ResponseError::AmbiguousLength);
    world.expect(&[&format!("a: {error:?}, again?")]);
    world.answer(&listener.accept().unwrap(), OK);
    assert_eq!(world.answers.borrow()[1], "b: 200 ");
}

#[test]
fn bytes_that_nobody_asked_for_reset_an_idle_connection() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, &OK.repeat(2));
    world.expect(&["a: 200 "]);
    assert!(peer.is_reset());
    world.get("b");
    world.answer(&listener.accept().unwrap(), OK);
    world.expect(&["a: 200 ", "b: 200 "]);
}

#[test]
fn bytes_that_nobody_asked_for_are_no_answer_to_a_request_that_waits() {
    for followed in [
        OK,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        CHUNKED,
    ] {
        let mut world = World::new(pipelined(1));
        let listener = world.listen();
        world.get("a");
        world.get("b");
        let peer = listener.accept().unwrap();
        world.answer(&peer, &[followed, OK].concat());
        assert_eq!(world.answers.borrow().len(), 1, "{followed}");
        world.answer(
            &listener.accept().unwrap(),
            "HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(world.answers.borrow()[1], "b: 202 ");
    }
}

#[test]
fn a_body_beyond_the_limit_is_not_put_together() {
    let limits = Limits {
        max_body_len: 4,
        ..pipelined(1)
    };
    let chunked = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n";
    for answer in [
        "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nabcde",
        chunked,
    ] {
        let mut world = World::new(limits.clone());
        let listener = world.listen();
        world.get("a");
        world.answer(&listener.accept().unwrap(), answer);
        let failure = world.answers.borrow()[0].clone();
        assert!(
            failure.starts_with("a: BodyTooLong { limit: 4 }"),
            "{failure}"
        );
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_after_30_s_and_what_it_was_asked_is_not_sent_again() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.pass(Duration::from_millis(29_900));
    world.expect(&[]);
    world.pass(Duration::from_millis(200));
    world.expect(&["a: Timeout, again?"]);
    assert!(peer.is_reset() && listener.accept().is_none());
}

#[test]
fn a_head_that_trickles_is_given_up_after_10_s() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    for byte in "HTTP/1.1 200 ".chars() {
        peer.send(byte.to_string().as_bytes());
        world.pass(Duration::from_secs(1));
    }
    world.expect(&["a: Timeout, again?"]);
}

#[test]
fn a_body_that_trickles_is_given_up() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\nContent-Length: 999\r\n\r\n");
    for _ in 0..4 {
        world.pass(Duration::from_secs(4));
        peer.send(b"x");
        world.turn();
    }
    world.expect(&["a: Timeout, again?"]);
}

#[test]
fn a_request_may_have_a_time_out_of_its_own() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    let quick = || Request::get("/").timeout(Duration::from_secs(2));
    world.send("a", quick());
    let peer = listener.accept().unwrap();
    world.pass(Duration::from_secs(1));
    world.answer(&peer, OK);
    world.send("b", quick());
    world.pass(Duration::from_millis(1900));
    world.expect(&["a: 200 "]);
    world.pass(Duration::from_millis(200));
    world.expect(&["a: 200 ", "b: Timeout, again?"]);
    assert!(peer.is_reset());
}

#[test]
fn a_time_out_may_be_as_long_as_can_be_said() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.send("a", Request::get("/").timeout(Duration::MAX));
    let peer = listener.accept().unwrap();
    world.answer(&peer, OK);
    world.expect(&["a: 200 "]);
}

#[test]
fn a_time_out_counts_even_if_an_earlier_request_had_more_time() {
    let mut world = World::new(pipelined(2));
    let listener = world.listen();
    world.send("a", Request::get("/").timeout(Duration::from_secs(20)));
    world.send("b", Request::get("/").timeout(Duration::from_secs(2)));
    let peer = listener.accept().unwrap();
    world.answer(&peer, OK);
    world.pass(Duration::from_millis(2100));
    world.expect(&["a: 200 ", "b: Timeout, again?"]);
}

#[test]
fn an_upload_without_a_timer_to_go_on_with_fails() {
    let mut world = World::new(pipelined(1));
    let limits = windlass::Limits {
        max_timers: 0,
        ..windlass::Limits::default()
    };
    let connect = Connect::to(ADDRESS).unwrap().limits(limits);
    world.client = Client::new(connect);
    let _listener = world.listen();
    let idle = |_: &mut Vec<u8>| Pulled::Wait(Duration::from_secs(1));
    world.send("a", Request::post("/").stream(None, idle));
    world.expect(&["a: Source"]);
}

#[test]
fn a_connection_without_a_request_is_closed_after_30_s() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    let peer = listener.accept().unwrap();
    world.answer(&peer, OK);
    world.pass(Duration::from_millis(29_900));
    assert!(!peer.is_finished());
    world.pass(Duration::from_millis(200));
    assert!(peer.is_finished());
    assert_eq!(world.client.connections(), 0);
}

#[test]
fn a_client_that_is_closed_takes_no_more_and_ends_when_all_is_answered() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    world.get("b");
    let client = world.client.clone();
    world.reactor.with_intents(|cx| client.close(cx));
    world.turn();
    assert_eq!(
        world.try_send("c", Request::get("/")),
        Err(SendError::Closed)
    );
    let peer = listener.accept().unwrap();
    world.answer(&peer, OK);
    world.answer(&peer, OK);
    world.expect(&["a: 200 ", "b: 200 "]);
    assert!(peer.is_finished());
}

#[test]
fn a_shutdown_waits_for_what_was_sent_and_fails_what_was_not() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    world.get("a");
    world.get("b");
    world.reactor.shutdown(Duration::from_secs(10));
    world.turn();
    let peer = listener.accept().unwrap();
    let last = "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    world.answer(&peer, last);
    world.expect(&["a: 200 ", "b: Closed(Shutdown), again?"]);
    peer.finish();
    world.turn();
    assert!(world.reactor.is_empty());
}

#[test]
fn a_request_that_cannot_be_sent_is_refused_before_anything_is_done() {
    let mut world = World::new(pipelined(1));
    let split = Request::get("/").header("A", "b\r\nC: d");
    assert!(matches!(
        world.try_send("a", split),
        Err(SendError::Invalid(_))
    ));
    assert_eq!(world.client.connections(), 0);
}

/// Hundreds of kilobytes: more than is read at once, or queued.
fn large() -> String {
    "0123456789".repeat(50_000)
}

fn own_server(world: &mut World) {
    let echo = |request: &mut http::Request<'_>| http::Response::of(request.body().to_vec());
    let router = Router::new()
        .get("/large", |_| http::Response::of(large()))
        .get("/stream", |_| {
            let mut left = 100;
            http::Response::stream(move |out: &mut Vec<u8>| {
                out.extend_from_slice(&[b'x'; 5000]);
                left -= 1;
                if left == 0 { Pulled::End } else { Pulled::More }
            })
        })
        .post("/early", |_| http::Response::error(403).close())
        .post("/echo", echo);
    let server = Server::new(router);
    // One that waits for a slow reader.
    let limits = windlass::Limits {
        stall_timeout: Duration::from_secs(3600),
        ..windlass::Limits::default()
    };
    let listen = Listen::on(ADDRESS).unwrap().limits(limits);
    let listener = move |_: &_| server.clone();
    world.reactor.listen(listen, listener).unwrap();
}

#[test]
fn large_bodies_go_both_ways() {
    let mut world = World::new(pipelined(4));
    own_server(&mut world);
    world.send("a", Request::get("/large"));
    world.send("b", Request::post("/echo").body(large()));
    let mut left = 50;
    let source = move |out: &mut Vec<u8>| {
        out.extend_from_slice(&[b'y'; 10_000]);
        left -= 1;
        if left == 0 { Pulled::End } else { Pulled::More }
    };
    world.send("c", Request::post("/echo").stream(None, source));
    world.send("d", Request::get("/stream"));
    for _ in 0..300 {
        world.turn();
    }
    let expected = [
        format!("a: 200 {}", large()),
        format!("b: 200 {}", large()),
        format!("c: 200 {}", "y".repeat(500_000)),
        format!("d: 200 {}", "x".repeat(500_000)),
    ];
    assert!(*world.answers.borrow() == expected);
}

/// Pauses after each piece.
#[derive(Clone, Default)]
struct Slow {
    seen: Rc<Cell<usize>>,
    token: Rc<Cell<Option<Token>>>,
    is_done: Rc<Cell<bool>>,
}

impl Slow {
    /// Asks for that, as one that receives it.
    #[track_caller]
    fn ask(&self, world: &mut World, path: &str) {
        let client = world.client.clone();
        let slow = Box::new(self.clone());
        let sent = world
            .reactor
            .with_intents(|cx| client.receive(Request::get(path), slow, cx));
        assert_eq!(sent, Ok(()));
        world.turn();
    }

    /// Is ready for the next piece.
    #[track_caller]
    fn go_on(&self, world: &mut World) {
        world.reactor.resume(self.token.get().unwrap()).unwrap();
        world.turn();
    }
}

impl Receiver for Slow {
    fn on_head(&mut self, head: &Head<'_>, cx: &mut Intents) -> Flow {
        assert_eq!(head.status().code(), 200);
        self.token.set(Some(cx.token()));
        Flow::Pause
    }

    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.seen.set(self.seen.get() + bytes.len());
        Flow::Pause
    }

    fn on_end(self: Box<Self>, _: Fields<'_>, _: &mut Intents) {
        self.is_done.set(true);
    }

    fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
        panic!("{failure}");
    }
}

#[test]
fn a_receiver_that_pauses_holds_the_server_back_for_as_long_as_it_likes() {
    let mut world = World::new(pipelined(1));
    own_server(&mut world);
    let slow = Slow::default();
    slow.ask(&mut world, "/stream");
    assert_eq!(slow.seen.get(), 0);
    // In all more than the client's own time-outs.
    for _ in 0..3 {
        world.pass(Duration::from_secs(20));
        let before = slow.seen.get();
        slow.go_on(&mut world);
        assert!(
            slow.seen.get() > before && slow.seen.get() < 200_000,
            "{}",
            slow.seen.get()
        );
    }
    while !slow.is_done.get() {
        slow.go_on(&mut world);
    }
    assert_eq!(slow.seen.get(), 500_000);
}

#[test]
fn a_server_is_not_too_slow_for_what_it_could_not_send_while_a_receiver_paused() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    let slow = Slow::default();
    slow.ask(&mut world, "/");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n");
    for count in 1..=3 {
        world.pass(Duration::from_secs(20));
        slow.go_on(&mut world);
        world.answer(&peer, "x");
        assert_eq!(slow.seen.get(), count);
    }
    assert!(slow.is_done.get());
}

#[test]
fn a_server_that_is_gone_when_a_receiver_goes_on_is_given_up_in_the_end() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    let client = world.client.clone();
    let failed = Rc::new(Cell::new(None));
    let sleepy = Box::new(Sleepy(Rc::clone(&failed)));
    let sent = world
        .reactor
        .with_intents(|cx| client.receive(Request::get("/"), sleepy, cx));
    assert_eq!(sent, Ok(()));
    world.turn();
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\n");
    world.pass(Duration::from_secs(599));
    assert_eq!(failed.get(), None);
    world.pass(Duration::from_secs(2));
    assert_eq!(failed.get(), Some(Cause::Timeout));
}

/// Pauses, and is resumed by nobody.
struct Sleepy(Rc<Cell<Option<Cause>>>);

impl Receiver for Sleepy {
    fn on_head(&mut self, _: &Head<'_>, _: &mut Intents) -> Flow {
        Flow::Pause
    }

    fn on_end(self: Box<Self>, _: Fields<'_>, _: &mut Intents) {
        panic!("nothing more was sent");
    }

    fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
        self.0.set(Some(failure.cause));
    }
}

#[test]
fn a_receiver_that_has_enough_resets_the_connection() {
    struct Picky(Rc<Cell<Option<Cause>>>);
    impl Receiver for Picky {
        fn on_bytes(&mut self, _: &[u8], _: &mut Intents) -> Flow {
            Flow::Stop
        }
        fn on_end(self: Box<Self>, _: Fields<'_>, _: &mut Intents) {
            panic!("it had enough");
        }
        fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
            self.0.set(Some(failure.cause));
        }
    }
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    let cause = Rc::default();
    let client = world.client.clone();
    let picky = Box::new(Picky(Rc::clone(&cause)));
    let sent = world
        .reactor
        .with_intents(|cx| client.receive(Request::get("/"), picky, cx));
    assert_eq!(sent, Ok(()));
    world.turn();
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\nab");
    assert_eq!(cause.get(), Some(Cause::Stopped));
    assert!(peer.is_reset());
}

#[test]
fn an_upload_that_is_answered_early_ends_the_connection() {
    let mut world = World::new(pipelined(1));
    let listener = world.listen();
    let endless = |out: &mut Vec<u8>| {
        out.extend_from_slice(&[b'z'; 10_000]);
        Pulled::More
    };
    world.send("a", Request::post("/").stream(None, endless));
    world.get("b");
    let peer = listener.accept().unwrap();
    world.answer(&peer, "HTTP/1.1 413 \r\nContent-Length: 0\r\n\r\n");
    // More is queued than the high water allows, so nothing is read. A server that wants its
    // answer to arrive reads on (RFC 9112, section 9.6).
    world.expect(&[]);
    assert!(!peer.received().is_empty());
    world.turn();
    world.expect(&["a: 413 "]);
    let next = listener.accept().unwrap();
    world.answer(&next, OK);
    world.expect(&["a: 413 ", "b: 200 "]);
    while !peer.received().is_empty() {
        world.turn();
    }
    assert!(peer.is_finished());
}

/// Asks again with every answer, until it has asked often enough.
struct Again {
    client: Client,
    request: Rc<Request>,
    left: Rc<Cell<u32>>,
}

impl Receiver for Again {
    fn on_end(self: Box<Self>, _: Fields<'_>, cx: &mut Intents) {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            let (client, request) = (self.client.clone(), Rc::clone(&self.request));
            client.receive(request, self, cx).unwrap();
        }
    }

    fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
        panic!("{failure}");
    }
}

#[test]
fn a_request_that_is_sent_again_by_its_receiver_allocates_nothing() {
    let mut world = World::new(pipelined(4));
    let server = Server::new(Router::new().get("/", |_| http::Response::text("home")));
    let listen = move |_: &_| server.clone();
    world.reactor.listen(ADDRESS, listen).unwrap();
    let left = Rc::new(Cell::new(0));
    let request = Rc::new(Request::get("/"));
    let mut run = |world: &mut World, count: u32| {
        left.set(count);
        let client = world.client.clone();
        let receiver = Box::new(Again {
            client: client.clone(),
            request: Rc::clone(&request),
            left: Rc::clone(&left),
        });
        let request = Rc::clone(&request);
        let sent = world
            .reactor
            .with_intents(|cx| client.receive(request, receiver, cx));
        assert_eq!(sent, Ok(()));
        while left.get() > 0 {
            world.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        world.turn();
    };
    run(&mut world, 5000);
    let count = |world: &mut World, run: &mut dyn FnMut(&mut World, u32), requests| {
        allocation_counter::measure(|| run(world, requests)).count_total
    };
    let (few, many) = (
        count(&mut world, &mut run, 1010),
        count(&mut world, &mut run, 9010),
    );
    // Queues may grow once or twice.
    assert!(many < few + 10, "8,000 more requests: {few} and {many}");
}

#[test]
fn a_refused_answer_of_our_own_server_is_understood() {
    let mut world = World::new(pipelined(1));
    own_server(&mut world);
    world.send("a", Request::post("/early").body("x"));
    world.send("b", Request::get("/nowhere"));
    world.turn();
    world.expect(&["a: 403 Forbidden", "b: 404 Not Found"]);
}

#[test]
fn what_still_waits_when_the_reactor_is_dropped_is_told() {
    let mut world = World::new(pipelined(1));
    let _listener = world.listen();
    world.get("a");
    world.get("b");
    drop(world.reactor);
    let shutdown = Cause::Closed(CloseReason::Shutdown);
    let answers = world.answers.borrow();
    let expected = ["a", "b"].map(|name| format!("{name}: {shutdown:?}, again?"));
    assert_eq!(*answers, expected);
}

const ADDRESS: &str = "127.0.0.1:80";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
