//! The HTTP server beyond one request and its answer: streams and their back-pressure, deferred
//! answers, connections that are handed over, shutdown. Over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use windlass::http::{
    Fields, Flow, Limits, Nudge, Pulled, Receiver, Reply, Request, Response, Router, Server, Source,
};
use windlass::{Context, Echo, Gone, Intents, Lines, Protocol, Raw, Token};

#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "common/http_world.rs"]
mod world;

use answers::{Answer, parse};
use world::World;

impl World {
    fn new(router: Router) -> World {
        World::with(Server::new(router))
    }

    /// Sends, and takes what comes back.
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.put(bytes);
        self.peer.received()
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    /// Time passes; takes what has come then.
    fn pass(&mut self, time: Duration) -> Vec<u8> {
        self.advance(time);
        self.peer.received()
    }
}

/// The one answer in `bytes`.
#[track_caller]
fn one(bytes: &[u8]) -> Answer {
    let (answer, rest) = parse(bytes, false).unwrap();
    answer.check().unwrap();
    assert_eq!(rest, b"", "one answer");
    answer
}

#[track_caller]
fn check(bytes: &[u8], status: u16, body: &str) {
    let answer = one(bytes);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (status, body.as_bytes())
    );
}

#[test]
fn an_answer_that_is_made_later_keeps_its_place() {
    let router = Router::new()
        .get("/", |_| Response::text("home"))
        .get("/later", |_| {
            Response::after(SECOND, || Response::text("later"))
        });
    let mut world = World::new(router);
    assert_eq!(world.get("/later"), b"");
    assert_eq!(world.get("/"), b"", "behind the one before");
    let received = world.pass(SECOND);
    let (first, rest) = parse(&received, false).unwrap();
    assert_eq!(first.body, b"later");
    check(rest, 200, "home");
}

/// A router whose `/wait` leaves its reply in the cell.
fn waiting() -> (Router, Rc<Cell<Option<Reply>>>) {
    let cell = Rc::new(Cell::new(None));
    let kept = Rc::clone(&cell);
    let router = Router::new()
        .get("/", |_| Response::text("home"))
        .get("/wait", move |request| {
            let (reply, response) = request.defer();
            kept.set(Some(reply));
            response
        });
    (router, cell)
}

#[test]
fn a_reply_answers_from_outside_and_the_connection_goes_on() {
    let (router, cell) = waiting();
    let mut world = World::new(router);
    for _ in 0..40 {
        assert_eq!(world.get("/wait"), b"");
        // For hours: nothing that takes its time on our side is the peer's fault.
        assert_eq!(world.pass(Duration::from_secs(10_000)), b"");
        let (to, answer) = cell
            .take()
            .unwrap()
            .into_mail(Response::text("at last").status(201));
        world.reactor.mail(to, answer).unwrap();
        world.turn();
        check(&world.peer.received(), 201, "at last");
    }
    check(&world.get("/"), 200, "home");
}

#[test]
fn a_reply_answers_from_another_connection() {
    let (router, cell) = waiting();
    let (waits, sends) = (Rc::clone(&cell), cell);
    let router = router.get("/wake", move |request| {
        let sent = sends
            .take()
            .unwrap()
            .send(request.intents(), Response::text("woken"));
        Response::text(format!("{}", sent.is_ok()))
    });
    let mut world = World::new(router);
    world.get("/wait");
    let other = world.connect();
    other.send(b"GET /wake HTTP/1.1\r\nHost: h\r\n\r\n");
    world.turn();
    check(&other.received(), 200, "true");
    check(&world.peer.received(), 200, "woken");
    assert!(waits.take().is_none());
}

#[test]
fn a_reply_that_is_dropped_answers_500() {
    let (router, cell) = waiting();
    let mut world = World::new(router);
    world.get("/wait");
    drop(cell.take());
    let received = world.pass(SECOND);
    check(&received, 500, "Internal Server Error");
    check(&world.get("/"), 200, "home");
}

#[test]
fn a_reply_to_a_client_that_has_left_is_gone() {
    let (router, cell) = waiting();
    let router = router.get("/wake", {
        let cell = Rc::clone(&cell);
        move |request| {
            let sent = cell
                .take()
                .unwrap()
                .send(request.intents(), Response::text("woken"));
            Response::text(format!("{}", sent == Err(Gone)))
        }
    });
    let mut world = World::new(router);
    world.get("/wait");
    world.peer.reset();
    world.turn();
    world.peer = Rc::new(world.connect());
    check(&world.get("/wake"), 200, "true");
}

#[test]
fn a_stream_is_produced_as_the_peer_takes_it() {
    let produced = Rc::new(Cell::new(0));
    let counter = Rc::clone(&produced);
    let router = Router::new().get("/", move |_| {
        let counter = Rc::clone(&counter);
        Response::stream_of(10_000_000, move |out: &mut Vec<u8>| {
            out.resize(10_000, b'x');
            counter.set(counter.get() + out.len());
            Pulled::More
        })
    });
    let mut world = World::new(router);
    world.peer.set_capacity(1000);
    let mut received = world.get("/").len();
    let high_water = windlass::Limits::default().high_water;
    assert!(
        produced.get() <= high_water + 20_000,
        "{} bytes",
        produced.get()
    );
    while produced.get() < 10_000_000 {
        world.peer.set_capacity(1 << 20);
        world.turn();
        received += world.peer.received().len();
        assert!(produced.get() <= received + high_water + 20_000);
    }
    world.turn();
    received += world.peer.received().len();
    assert!(received > 10_000_000);
    assert!(!world.peer.is_finished());
}

#[test]
fn a_large_body_leaves_in_pieces_that_stay_within_the_limits() {
    let router = Router::new().get("/", |_| Response::of(vec![b'x'; 5_000_000]));
    let mut world = World::new(router);
    let mut received = world.get("/");
    while received.len() < 5_000_000 {
        world.turn();
        let more = world.peer.received();
        assert!(!more.is_empty(), "stuck at {}", received.len());
        received.extend(more);
    }
    world.turn();
    received.extend(world.peer.received());
    assert_eq!(one(&received).body.len(), 5_000_000);
}

#[test]
fn a_source_waits_until_its_time_or_a_nudge() {
    let words = Rc::new(RefCell::new(vec!["b", "a"]));
    let tokens = Rc::new(Cell::new(None));
    let (kept, queue) = (Rc::clone(&tokens), Rc::clone(&words));
    let router = Router::new().get("/", move |request| {
        kept.set(Some(request.token()));
        let queue = Rc::clone(&queue);
        Response::stream(move |out: &mut Vec<u8>| {
            out.extend(queue.borrow_mut().pop().unwrap_or_default().bytes());
            Pulled::Wait(SECOND)
        })
    });
    let mut world = World::new(router);
    assert!(world.get("/").ends_with(b"\r\n\r\n1\r\na\r\n"));
    assert_eq!(world.pass(SECOND / 2), b"");
    assert_eq!(world.pass(SECOND / 2), b"1\r\nb\r\n");
    words.borrow_mut().push("c");
    let token: Token = tokens.get().unwrap();
    world.reactor.mail(token, Nudge).unwrap();
    world.turn();
    assert_eq!(world.peer.received(), b"1\r\nc\r\n");
    assert_eq!(
        world.pass(Duration::from_secs(10_000)),
        b"",
        "there is no end to waiting"
    );
    assert!(!world.peer.is_finished());
}

#[test]
fn a_source_has_the_last_word_in_its_trailers() {
    struct Summed;
    impl Source for Summed {
        fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
            out.extend_from_slice(b"x");
            Pulled::End
        }
        fn trailers(&mut self) -> Vec<(String, String)> {
            vec![
                ("X-Sum".into(), "1".into()),
                ("Bad".into(), "a\r\nb".into()),
            ]
        }
    }
    let mut world = World::new(Router::new().get("/", |_| Response::stream(Summed)));
    let received = world.get("/");
    assert!(
        received.ends_with(b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"),
        "{received:?}"
    );
}

#[test]
fn a_body_that_cannot_be_produced_is_cut_off() {
    let router = || {
        Router::new()
            .get("/fails", |_| {
                Response::stream(|_: &mut Vec<u8>| Pulled::Fail)
            })
            .get("/short", |_| {
                Response::stream_of(9, |_: &mut Vec<u8>| Pulled::End)
            })
    };
    for path in ["/fails", "/short"] {
        let mut world = World::new(router());
        world.get(path);
        assert!(world.peer.is_reset(), "{path}");
    }
}

#[test]
fn a_header_that_would_split_the_answer_makes_it_a_500() {
    let router = Router::new().get("/", |request| {
        let value = request.query_value("x").unwrap_or_default();
        Response::text("x").header("X", &value)
    });
    let mut world = World::new(router);
    check(&world.get("/?x=ok"), 200, "x");
    check(
        &world.get("/?x=a%0d%0aSet-Cookie:%20b"),
        500,
        "Internal Server Error",
    );
}

/// Takes bodies, and pauses after each piece.
struct Slow {
    len: usize,
}

impl Receiver for Slow {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.len += bytes.len();
        if bytes.contains(&b'!') {
            return Flow::Answer(Response::text("enough"));
        }
        Flow::Pause
    }

    fn on_end(&mut self, trailers: Fields<'_>, _: &mut Intents) -> Response {
        Response::text(format!("{} {:?}", self.len, trailers.get("x")))
    }
}

fn slow() -> (Router, Rc<Cell<Option<Token>>>) {
    let cell = Rc::new(Cell::new(None));
    let kept = Rc::clone(&cell);
    let router = Router::new().receive("PUT", "/", move |request| {
        kept.set(Some(request.token()));
        Ok(Slow { len: 0 })
    });
    (router, cell)
}

const CHUNKED: &str = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_receiver_that_pauses_holds_the_peer_up() {
    let (router, token) = slow();
    let mut world = World::new(router);
    world.peer.set_capacity(1000);
    world.send(format!("{CHUNKED}1\r\na\r\n"));
    // Paused: what comes now stays with the peer, but for what its socket holds.
    assert_eq!(world.peer.send(&[b'x'; 5000]), 1000);
    world.turn();
    assert_eq!(world.peer.send(&[b'x'; 5000]), 0);
    // Not even the time-out of a body is the peer's fault now.
    assert_eq!(world.pass(Duration::from_secs(20)), b"");
    assert!(!world.peer.is_finished());
    world.reactor.resume(token.get().unwrap()).unwrap();
    world.turn();
    assert!(
        world.peer.received().starts_with(b"HTTP/1.1 400 "),
        "no size begins with an x"
    );
}

#[test]
fn a_peer_is_not_too_slow_for_what_it_could_not_send_while_a_receiver_paused() {
    let (router, token) = slow();
    let mut world = World::new(router);
    world.send(format!("{CHUNKED}1\r\na\r\n"));
    for _ in 0..2 {
        assert_eq!(world.pass(Duration::from_secs(20)), b"");
        world.reactor.resume(token.get().unwrap()).unwrap();
        world.turn();
        assert_eq!(world.send("1\r\nb\r\n"), b"", "it goes on");
    }
    world.reactor.resume(token.get().unwrap()).unwrap();
    check(&world.send("0\r\n\r\n"), 200, "3 None");
}

#[test]
fn a_receiver_that_nobody_resumes_gives_the_request_up_after_75_s() {
    let (router, _) = slow();
    let mut world = World::new(router);
    world.send(format!("{CHUNKED}1\r\na\r\n"));
    assert_eq!(world.pass(Duration::from_secs(74)), b"");
    check(&world.pass(2 * SECOND), 408, "Request Timeout");
    assert!(world.peer.is_finished());
}

#[test]
fn a_receiver_sees_the_body_and_its_trailers() {
    let (router, token) = slow();
    let mut world = World::new(router);
    world.send(format!("{CHUNKED}1\r\na\r\n"));
    world.reactor.resume(token.get().unwrap()).unwrap();
    check(&world.send("0\r\nX: y\r\n\r\n"), 200, "1 Some(\"y\")");
    assert!(!world.peer.is_finished());
}

#[test]
fn a_receiver_that_has_enough_ends_the_connection_with_its_answer() {
    let (router, _) = slow();
    let mut world = World::new(router);
    let received = world.send(format!("{CHUNKED}9\r\na!"));
    check(&received, 200, "enough");
    assert!(world.peer.is_finished());
}

#[test]
fn an_upgraded_connection_is_left_what_came_behind_the_request() {
    struct Shout;
    impl Protocol for Shout {
        type Decoder = Lines;
        type Encoder = Lines;
        fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
            cx.send(line.to_ascii_uppercase());
        }
    }
    let router = Router::new().get("/", |request| {
        if request.head().upgrades() && request.header("Upgrade") == Some("shout") {
            Response::upgrade("shout", Shout)
        } else {
            Response::error(426).header("Upgrade", "shout")
        }
    });
    let mut world = World::new(router);
    check(&world.get("/"), 426, "Upgrade Required");
    let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";
    let received = world.send(format!("{head}ahoy\nmate"));
    let (answer, rest) = parse(&received, false).unwrap();
    assert_eq!(
        (answer.status, answer.field("upgrade")),
        (101, Some("shout"))
    );
    assert_eq!(answer.field("connection"), Some("upgrade"));
    assert_eq!(rest, b"AHOY\n");
    assert_eq!(world.send("s\n"), b"MATES\n");
}

#[test]
fn a_tunnel_is_left_what_came_behind_connect() {
    let router = Router::new().connect(|request| match request.head().host() {
        "echo:7" => Response::tunnel(Echo::<Raw>::default()),
        _ => Response::error(403),
    });
    let mut world = World::new(router);
    let received = world.send("CONNECT other:7 HTTP/1.1\r\nHost: h\r\n\r\n");
    check(&received, 403, "Forbidden");
    let received = world.send("CONNECT echo:7 HTTP/1.1\r\nHost: h\r\n\r\nahoy");
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(received.ends_with(b"\r\n\r\nahoy"));
    assert!(
        !String::from_utf8_lossy(&received).contains("Length"),
        "RFC 9110, 9.3.6"
    );
    assert_eq!(world.send("GET"), b"GET");
}

#[test]
fn a_shutdown_lets_the_request_under_way_end_and_closes_behind_it() {
    let router = || {
        Router::new()
            .post("/", |request| Response::of(request.body().to_vec()))
            .get("/later", |_| {
                Response::after(SECOND, || Response::text("later"))
            })
    };
    for (first, second) in [
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nh",
            "i",
        ),
        ("GET /later HTTP/1.1\r\nHost: h\r\n\r\n", ""),
    ] {
        let mut world = World::new(router());
        world.send(first);
        world.reactor.shutdown(Duration::from_secs(5));
        world.turn();
        assert!(!world.peer.is_finished());
        world.peer.send(second.as_bytes());
        let received = world.pass(SECOND);
        let answer = one(&received);
        assert_eq!(
            (answer.status, answer.field("connection")),
            (200, Some("close"))
        );
        assert!(world.peer.is_finished());
    }
}

#[test]
fn a_shutdown_closes_a_connection_between_requests_at_once() {
    let mut world = World::new(Router::new().get("/", |_| Response::text("home")));
    check(&world.get("/"), 200, "home");
    world.reactor.shutdown(Duration::from_secs(5));
    world.turn();
    assert!(world.peer.is_finished());
    assert_eq!(world.peer.received(), b"");
}

#[test]
fn a_connection_ends_at_once_if_its_peer_has_said_so_and_lingers_if_more_may_come() {
    let router = || {
        Router::new()
            .get("/", |_| Response::text("home"))
            .post("/", |request| Response::of(request.body().to_vec()))
            .get("/rude", |_| Response::text("bye").close())
    };
    for (request, status, lingers) in [
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            200,
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", 200, false),
        // A line end may follow the body.
        ("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", 200, true),
        // It is we who end it: the peer may be sending.
        ("GET /rude HTTP/1.1\r\nHost: h\r\n\r\n", 200, true),
        ("GET / HTTP/1.1\r\n\r\n", 400, true),
        // The body is announced, and not here.
        ("POST /no HTTP/1.0\r\nContent-Length: 2\r\n\r\n", 404, true),
        (
            "PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
            405,
            true,
        ),
    ] {
        let mut world = World::new(router());
        let received = world.send(request);
        assert_eq!(one(&received).status, status, "{request:?}");
        assert!(world.peer.is_finished(), "{request:?}");
        // The listener is one.
        let is_open = world.reactor.stats().entries > 1;
        assert_eq!(is_open, lingers, "{request:?}");
    }
}

#[test]
fn a_peer_that_ends_its_half_still_gets_its_answers() {
    let router = Router::new().get("/", |_| Response::after(SECOND, || Response::text("late")));
    let mut world = World::new(router);
    world.peer.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    world.peer.finish();
    world.turn();
    let received = world.pass(SECOND);
    check(&received, 200, "late");
    assert!(world.peer.is_finished());
}

#[test]
fn pipelined_answers_leave_in_one_write() {
    let mut world = World::new(Router::new().get("/", |_| Response::text("home")));
    let received = world.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(16));
    let size = received.len() / 16;
    assert!(
        received
            .chunks(size)
            .all(|answer| one(answer).body == b"home")
    );
    assert_eq!(world.reactor.stats().turns, 3);
}

#[test]
fn a_form_and_a_query_are_decoded() {
    let router = Router::new().post("/{x}", |request: &mut Request<'_>| {
        let form: Vec<_> = request.form().collect();
        let query = request.query_value("q");
        Response::text(format!("{:?} {:?} {:?}", request.param("x"), query, form))
    });
    let mut world = World::new(router);
    let head = "POST /a%20b?q=c+d%21 HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n";
    let received = world.send(format!("{head}e=f+g&h=%20"));
    check(
        &received,
        200,
        "\"a b\" Some(\"c d!\") [(\"e\", \"f g\"), (\"h\", \" \")]",
    );
}

#[test]
fn a_middleware_refuses_an_upload_before_it_is_read() {
    let (router, _) = slow();
    let router = router.wrap(|request, next| match request.header("Authorization") {
        Some("let me in") => next.run(request),
        _ => Response::error(401).header("WWW-Authenticate", "Basic"),
    });
    let mut world = World::with(Server::with_limits(router, Limits::default()));
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    check(&world.send(head), 401, "Unauthorized");
    assert!(world.peer.is_finished());
}

const SECOND: Duration = Duration::from_secs(1);
