//! What is wrapped around handlers, where answers take their time: limits on requests at a time,
//! and uploads. Over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use windlass::http::{
    Fields, Flow, Pulled, Receiver, Reply, Request, Response, Router, Server, wraps,
};
use windlass::net::{Memory, MemoryPeer};
use windlass::{Intents, Reactor};

const ADDRESS: &str = "10.0.0.1:80";

struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
}

impl World {
    fn new(router: Router) -> World {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let server = Server::new(router);
        reactor.listen(ADDRESS, move |_| server.clone()).unwrap();
        World { memory, reactor }
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn send(&mut self, request: &str) -> MemoryPeer {
        let peer = self.memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
        assert_eq!(peer.send(request.as_bytes()), request.len());
        self.turn();
        peer
    }

    /// Asks on a connection of its own, which stays open.
    fn get(&mut self, path: &str) -> (MemoryPeer, String) {
        let peer = self.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let answer = received(&peer);
        (peer, answer)
    }

    #[track_caller]
    fn check(&mut self, path: &str, status: u16) {
        let (_, answer) = self.get(path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}

fn received(peer: &MemoryPeer) -> String {
    String::from_utf8(peer.received()).unwrap()
}

/// Answers that take their time in every way there is, two at a time.
fn slow(replies: Rc<RefCell<Vec<Reply>>>) -> Router {
    Router::new()
        .get("/now", |_| Response::text("now"))
        .get("/stream", |_| {
            Response::stream(|_: &mut Vec<u8>| Pulled::Wait(SECOND))
        })
        .get("/later", |_| {
            Response::after(SECOND, || Response::text("later"))
        })
        .get("/large", |_| {
            Response::file(File::open(large()).unwrap(), 0..LARGE_LEN)
        })
        .get("/deferred", move |request| {
            let (reply, response) = request.defer();
            replies.borrow_mut().push(reply);
            response
        })
        .receive("PUT", "/upload", |_| Ok(Upload::default()))
        .wrap(wraps::concurrency(2))
}

#[test]
fn no_more_requests_are_under_way_than_the_limit() {
    let replies = Rc::new(RefCell::new(Vec::new()));
    let mut world = World::new(slow(Rc::clone(&replies)));
    for path in ["/stream", "/later", "/deferred"] {
        let first = world.get(path);
        let second = world.get(path);
        let (_, third) = world.get("/now");
        assert!(third.starts_with("HTTP/1.1 503 "), "{path}: {third}");
        assert!(third.contains("Retry-After: 1\r\n"), "{third}");
        // A FIN alone says that nothing more is asked: who sends it may wait for the answer.
        first.0.reset();
        second.0.reset();
        world.turn();
        world.check("/now", 200);
    }
}

#[test]
fn a_request_counts_until_its_answer_is_there() {
    let replies = Rc::new(RefCell::new(Vec::new()));
    let mut world = World::new(slow(Rc::clone(&replies)));
    let (later, _) = world.get("/later");
    let (deferred, _) = world.get("/deferred");
    world.check("/now", 503);
    world.memory.advance(SECOND);
    world.turn();
    assert!(received(&later).ends_with("later"));
    world.check("/now", 200);
    let reply = replies.borrow_mut().pop().unwrap();
    let (token, mail) = reply.into_mail(Response::text("deferred"));
    let _second = world.get("/deferred");
    world.check("/now", 503);
    world.reactor.mail(token, mail).unwrap();
    world.turn();
    assert!(received(&deferred).ends_with("deferred"));
    world.check("/now", 200);
}

#[test]
fn a_file_counts_until_it_is_sent() {
    File::create(large()).unwrap().set_len(LARGE_LEN).unwrap();
    let mut world = World::new(slow(Rc::default()));
    let slow_reader = |world: &mut World| {
        let peer = world
            .memory
            .connect_peer(&ADDRESS.parse().unwrap())
            .unwrap();
        peer.set_capacity(1024);
        peer.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        world.turn();
        peer
    };
    let peers = [slow_reader(&mut world), slow_reader(&mut world)];
    world.check("/now", 503);
    for peer in &peers {
        while !peer.received().is_empty() {
            world.turn();
        }
    }
    world.check("/now", 200);
}

#[derive(Default)]
struct Upload(usize);

impl Receiver for Upload {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.0 += bytes.len();
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        Response::text(self.0.to_string())
    }
}

#[test]
fn an_upload_counts_from_its_head_to_its_answer() {
    let mut world = World::new(slow(Rc::default()));
    let head = "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
    let first = world.send(head);
    let _second = world.send(head);
    assert!(received(&world.send(head)).starts_with("HTTP/1.1 503 "));
    first.send(b"four");
    world.turn();
    assert!(received(&first).ends_with("\r\n\r\n4"));
    world.check("/now", 200);
}

#[test]
fn an_upload_is_begun_once_and_its_answer_has_what_was_added_around_it() {
    let begun = Rc::new(Cell::new(0));
    let counted = Rc::clone(&begun);
    let router = Router::new()
        .receive("PUT", "/", move |_| {
            counted.set(counted.get() + 1);
            Ok(Upload::default())
        })
        .wrap(|request: &mut Request<'_>, next| next.run(request).header("X-Around", "yes"));
    let mut world = World::new(router);
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
    let peer = world.send(&format!("{head}four"));
    for times in 1..=2 {
        let answer = received(&peer);
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n4"),
            "{answer}"
        );
        assert_eq!(answer.matches("X-Around: yes\r\n").count(), 1, "{answer}");
        assert_eq!(begun.get(), times);
        peer.send(head.as_bytes());
        world.turn();
        peer.send(b"four");
        world.turn();
    }
}

#[test]
fn an_upload_is_refused_by_what_is_around_it_before_it_is_read() {
    let router = Router::new()
        .receive("PUT", "/", |_| Ok(Upload::default()))
        .receive("PUT", "/status", |_| Ok(Upload::default()))
        .wrap_route(|request, next| next.run(request).status(403))
        .guard(wraps::bearer_auth("api", |token| token == "good"));
    let mut world = World::new(router);
    let put = |path: &str, token: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
             Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let answer = received(&world.send(&put("/", "bad")));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = received(&world.send(&put("/status", "good")));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let answer = received(&world.send(&put("/", "good")));
    assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
}

#[test]
fn a_stranger_is_refused_before_a_body_is_put_together() {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    let router = Router::new()
        .post("/", move |request| {
            counted.set(counted.get() + 1);
            Response::of(request.body().to_vec())
        })
        .guard(wraps::bearer_auth("api", |token| token == "good"))
        .wrap(|request, next| next.run(request).header("X-Around", "yes"));
    let mut world = World::new(router);
    let post = |token: &str, fields: &str| {
        format!("POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n{fields}\r\n")
    };
    // Nothing of the body is there: who expects 100 is told 401, and so is who just waits.
    for fields in [
        "Expect: 100-continue\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let answer = received(&world.send(&post("bad", fields)));
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("X-Around: yes\r\n"), "{answer}");
    }
    // The body is there already.
    let whole = format!("{}four", post("bad", "Content-Length: 4\r\n"));
    let answer = received(&world.send(&whole));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(calls.get(), 0);
    let whole = format!("{}four", post("good", "Content-Length: 4\r\n"));
    let answer = received(&world.send(&whole));
    assert!(answer.ends_with("X-Around: yes\r\n\r\nfour"), "{answer}");
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_guard_of_one_route_leaves_the_others_alone() {
    let router = Router::new()
        .get("/a", |_| Response::text("a"))
        .get("/b", |_| Response::text("b"))
        .guard_route(|_| Err(Response::error(403)));
    let mut world = World::new(router);
    world.check("/a", 200);
    world.check("/b", 403);
}

#[test]
fn what_is_wrapped_around_one_route_leaves_the_others_alone() {
    let router = Router::new()
        .get("/a", |_| Response::text("a"))
        .get("/b", |_| Response::text("b"))
        .wrap_route(|request, next| next.run(request).header("X-B", "inner"))
        .wrap_route(|_, _| Response::error(418));
    let mut world = World::new(router);
    world.check("/a", 200);
    world.check("/b", 418);
}

#[test]
fn what_is_added_to_an_answer_that_comes_later_is_in_it() {
    let replies = Rc::new(RefCell::new(Vec::new()));
    let router =
        slow(Rc::clone(&replies)).wrap(|request, next| next.run(request).header("X-Around", "yes"));
    let mut world = World::new(router);
    let (later, _) = world.get("/later");
    world.memory.advance(SECOND);
    world.turn();
    let answer = received(&later);
    assert!(answer.ends_with("X-Around: yes\r\n\r\nlater"), "{answer}");

    let (deferred, _) = world.get("/deferred");
    let reply = replies.borrow_mut().pop().unwrap();
    world
        .reactor
        .with_intents(|intents| reply.send(intents, Response::text("reply")))
        .unwrap();
    world.turn();
    let answer = received(&deferred);
    assert!(answer.ends_with("X-Around: yes\r\n\r\nreply"), "{answer}");
}

#[test]
fn a_media_type_that_is_added_to_an_answer_that_comes_later_is_its_only_one_rfc_9110_5_3() {
    type Add = fn(Response) -> Response;
    let ways: [Add; 2] = [
        |response| response.header("Content-Type", "a/b"),
        |response| response.content_type("a/b"),
    ];
    for add in ways {
        let router = slow(Rc::default()).wrap(move |request, next| add(next.run(request)));
        let mut world = World::new(router);
        let (later, _) = world.get("/later");
        world.memory.advance(SECOND);
        world.turn();
        let answer = received(&later);
        assert_eq!(answer.matches("Content-Type: ").count(), 1, "{answer}");
        assert!(answer.contains("Content-Type: a/b\r\n"), "{answer}");
    }
}

fn large() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("wraps-large")
}

/// More than is queued to a peer.
const LARGE_LEN: u64 = 300_000;
const SECOND: Duration = Duration::from_secs(1);
