//! The HTTP client and digests (RFC 9530): no body counts that is not what its digest says, and
//! what is sent has one. Servers are played by the test, or are ours; over the network in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::http::client::{
    Cause, Client, DigestError, Failure, Flow, Head, Limits, Receiver, Request, Response,
};
use windlass::http::digest::{Algorithm, Verify, digests};
use windlass::http::{self, Fields, Pulled, Router, Server};
use windlass::net::{Address, Connect, Memory, MemoryPeer, MemoryPeerListener};
use windlass::{Intents, Reactor};

const HELLO: &str = "{\"hello\": \"world\"}\n";
/// RFC 9530, appendix B.1.
const DIGEST: &str = "Content-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:\r\n";
const MISMATCH: &str = "Digest(Mismatch), again?";

/// A client of one connection on a network in memory, and what it was told, in order.
struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
    client: Client,
    told: Rc<RefCell<Vec<String>>>,
}

impl World {
    fn new() -> World {
        let memory = Memory::new();
        let limits = Limits {
            max_connections: 1,
            max_pipelined: 2,
            ..Limits::default()
        };
        World {
            reactor: Reactor::with_network(memory.clone()),
            client: Client::with(Connect::to(ADDRESS).unwrap(), "h", limits).unwrap(),
            told: Rc::default(),
            memory,
        }
    }

    fn listen(&self) -> MemoryPeerListener {
        let address: Address = ADDRESS.parse().unwrap();
        self.memory.listen_peer(address).unwrap()
    }

    fn serve(&mut self, server: Server) {
        let listening = self.reactor.listen(ADDRESS, move |_| server.clone());
        listening.unwrap();
    }

    fn turn(&mut self) {
        for _ in 0..6 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn send(&mut self, request: Request) {
        let (client, told) = (self.client.clone(), Rc::clone(&self.told));
        let note = move |answer: Result<Response<'_>, Failure>, _: &mut Intents| {
            told.borrow_mut().push(match answer {
                Ok(answer) => {
                    let body = String::from_utf8_lossy(answer.body());
                    format!("{} {body}", answer.status().code())
                }
                Err(failure) => said(failure),
            });
        };
        let sent = self
            .reactor
            .with_intents(|cx| client.send(request, note, cx));
        sent.unwrap();
        self.turn();
    }

    /// As `send`, to one who takes the answer piece by piece.
    fn receive(&mut self, request: Request) {
        let (client, taking) = (self.client.clone(), Taking(Rc::clone(&self.told)));
        let sent = self
            .reactor
            .with_intents(|cx| client.receive(request, Box::new(taking), cx));
        sent.unwrap();
        self.turn();
    }

    /// The peer answers in two parts.
    fn answer(&mut self, peer: &MemoryPeer, answer: &[u8], cut: usize) {
        for part in [&answer[..cut], &answer[cut..]] {
            peer.send(part);
            self.turn();
        }
    }

    fn told(&self) -> Vec<String> {
        self.told.take()
    }
}

fn said(failure: Failure) -> String {
    let again = if failure.is_retryable { ", again?" } else { "" };
    format!("{:?}{again}", failure.cause)
}

/// Notes what it is told, and the bytes together.
struct Taking(Rc<RefCell<Vec<String>>>);

impl Taking {
    fn note(&self, what: &str) {
        self.0.borrow_mut().push(what.to_owned());
    }
}

impl Receiver for Taking {
    fn on_head(&mut self, _: &Head<'_>, _: &mut Intents) -> Flow {
        self.note("");
        Flow::More
    }

    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        let text = str::from_utf8(bytes).unwrap();
        self.0.borrow_mut().last_mut().unwrap().push_str(text);
        Flow::More
    }

    fn on_end(self: Box<Self>, _: Fields<'_>, _: &mut Intents) {
        self.note("end");
    }

    fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
        self.note(&said(failure));
    }
}

fn text(peer: &MemoryPeer) -> String {
    String::from_utf8(peer.received()).unwrap()
}

fn plain(fields: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {len}\r\n\r\n{body}")
}

fn chunked(fields: &str, body: &str, trailers: &str) -> String {
    let (one, two) = body.split_at(8);
    let (a, b) = (one.len(), two.len());
    format!(
        "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n\
         {a:x}\r\n{one}\r\n{b:x}\r\n{two}\r\n0\r\n{trailers}\r\n"
    )
}

#[test]
fn a_body_is_what_its_digest_says_however_the_answer_is_cut() {
    let good = [
        plain(DIGEST, HELLO),
        plain(&DIGEST.replace("Content", "Repr"), HELLO),
        chunked(DIGEST, HELLO, ""),
        chunked("Trailer: Content-Digest\r\n", HELLO, DIGEST),
    ];
    for good in good {
        let wrong = good.replace(" \"w", " \"W");
        for cut in 0..good.len() {
            let mut world = World::new();
            let listener = world.listen();
            world.send(Request::get("/").verify());
            let peer = listener.accept().unwrap();
            world.answer(&peer, good.as_bytes(), cut);
            assert_eq!(world.told(), [format!("200 {HELLO}")], "{cut}: {good}");
            world.send(Request::get("/").verify());
            world.answer(&peer, wrong.as_bytes(), cut);
            assert_eq!(world.told(), [MISMATCH], "{cut}: {wrong}");
            assert!(peer.is_reset());
            // Who does not ask is told what comes.
            world.send(Request::get("/"));
            let peer = listener.accept().unwrap();
            world.answer(&peer, wrong.as_bytes(), cut);
            assert_eq!(world.told().len(), 1);
            assert!(!peer.is_reset());
        }
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_verified_at_its_end() {
    for (body, told) in [(HELLO, format!("200 {HELLO}")), ("{}", MISMATCH.to_owned())] {
        let mut world = World::new();
        let listener = world.listen();
        world.send(Request::get("/").verify_all());
        let peer = listener.accept().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\n{DIGEST}\r\n{body}");
        world.answer(&peer, answer.as_bytes(), answer.len() - 1);
        assert_eq!(world.told(), [""; 0]);
        peer.finish();
        world.turn();
        assert_eq!(world.told(), [told]);
    }
}

#[test]
fn who_takes_a_body_piece_by_piece_is_told_of_no_end_that_is_wrong() {
    let wrong = HELLO.replace('w', "W");
    for (answer, told) in [
        (plain(DIGEST, HELLO), [HELLO, "end"]),
        (plain(DIGEST, &wrong), [&wrong, MISMATCH]),
        (chunked(DIGEST, &wrong, ""), [&wrong, MISMATCH]),
        (
            chunked("Trailer: Content-Digest\r\n", &wrong, DIGEST),
            [&wrong, MISMATCH],
        ),
    ] {
        let mut world = World::new();
        let listener = world.listen();
        world.receive(Request::get("/").verify());
        let peer = listener.accept().unwrap();
        world.answer(&peer, answer.as_bytes(), answer.len() - 12);
        assert_eq!(world.told(), told, "{answer}");
    }
}

#[test]
fn where_a_digest_is_required_a_body_without_one_is_not_even_begun() {
    let none = "Digest(Missing), again?";
    let unknown = "Content-Digest: md5=:Zm9v:\r\n";
    let partial = format!("HTTP/1.1 206 P\r\n{}", DIGEST.replace("Content", "Repr"));
    for (answer, told) in [
        (plain("", HELLO), none),
        (plain("", ""), none),
        (plain(unknown, HELLO), none),
        (chunked("", HELLO, DIGEST), none),
        (format!("{partial}Content-Length: 2\r\n\r\nhi"), none),
        // It was announced, and did not come.
        (chunked("Trailer: Content-Digest\r\n", HELLO, ""), none),
        (
            plain("Content-Digest: sha-256=:Zm9v:\r\n", HELLO),
            "Digest(Malformed), again?",
        ),
        (
            plain("Content-Digest: ,\r\n", HELLO),
            "Digest(Malformed), again?",
        ),
    ] {
        let mut world = World::new();
        let listener = world.listen();
        world.receive(Request::get("/").verify_all());
        let peer = listener.accept().unwrap();
        world.answer(&peer, answer.as_bytes(), answer.len() / 2);
        let heard = world.told();
        assert_eq!(heard.last().map(String::as_str), Some(told), "{answer}");
        let is_announced = answer.contains("Trailer");
        assert_eq!(heard.len(), if is_announced { 2 } else { 1 }, "{answer}");
        assert!(peer.is_reset());
    }
    // Where it is not, they are told.
    for answer in [plain("", HELLO), plain(unknown, HELLO)] {
        let mut world = World::new();
        let listener = world.listen();
        world.send(Request::get("/").verify());
        world.answer(&listener.accept().unwrap(), answer.as_bytes(), 3);
        assert_eq!(world.told(), [format!("200 {HELLO}")]);
    }
}

#[test]
fn an_answer_without_a_body_has_the_digest_of_something_else() {
    let mut world = World::new();
    let listener = world.listen();
    world.send(Request::head("/").verify_all());
    world.send(Request::get("/").verify_all());
    let peer = listener.accept().unwrap();
    let head = plain(DIGEST, HELLO);
    let head = head.strip_suffix(HELLO).unwrap();
    let answers = format!("{head}HTTP/1.1 204 \r\n{DIGEST}\r\n");
    world.answer(&peer, answers.as_bytes(), 5);
    assert_eq!(world.told(), ["200 ", "204 "]);
    world.send(Request::get("/").verify_all());
    let answer = format!("HTTP/1.1 304 \r\n{DIGEST}\r\n");
    world.answer(&peer, answer.as_bytes(), 5);
    assert_eq!(world.told(), ["304 "]);
}

#[test]
fn a_part_has_a_digest_of_its_own_and_that_of_the_whole_is_passed_over() {
    let part = Algorithm::Sha512.value_of(b"hello");
    for (body, told) in [("hello", "206 hello"), ("hallo", MISMATCH)] {
        let mut world = World::new();
        let listener = world.listen();
        world.send(Request::get("/").header("Range", "bytes=2-6").verify_all());
        let repr = DIGEST.replace("Content", "Repr");
        let answer = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-6/19\r\n\
             Content-Digest: {part}\r\n{repr}Content-Length: 5\r\n\r\n{body}"
        );
        world.answer(&listener.accept().unwrap(), answer.as_bytes(), 9);
        assert_eq!(world.told(), [told]);
    }
}

#[test]
fn those_behind_a_wrong_one_are_asked_for_again_elsewhere() {
    let mut world = World::new();
    let listener = world.listen();
    world.send(Request::get("/a").verify());
    world.send(Request::get("/b").verify());
    let peer = listener.accept().unwrap();
    let wrong = plain(DIGEST, "{}");
    // Whoever wrote the first might have written what stands behind it, too.
    let both = format!("{wrong}{}", plain("", "forged"));
    world.answer(&peer, both.as_bytes(), 3);
    assert!(peer.is_reset());
    assert_eq!(world.told(), [MISMATCH]);
    let next = listener.accept().unwrap();
    assert!(text(&next).starts_with("GET /b "));
    world.answer(&next, plain(DIGEST, HELLO).as_bytes(), 3);
    assert_eq!(world.told(), [format!("200 {HELLO}")]);
}

#[test]
fn whatever_bit_of_an_answer_is_flipped_no_other_body_is_taken() {
    let mut taken = 0;
    for answer in [
        plain(DIGEST, HELLO),
        chunked("Trailer: Content-Digest\r\n", HELLO, DIGEST),
    ] {
        for bit in 0..answer.len() * 8 {
            let mut bytes = answer.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut world = World::new();
            let listener = world.listen();
            world.send(Request::get("/").verify_all());
            let peer = listener.accept().unwrap();
            world.answer(&peer, &bytes, bytes.len() - 7);
            peer.finish();
            world.turn();
            for told in world.told() {
                // Nobody signs the status.
                let body = told.split_once(' ').filter(|(status, _)| status.len() == 3);
                if let Some((_, body)) = body {
                    taken += 1;
                    assert_eq!(body, HELLO, "bit {bit} of {answer}");
                }
            }
        }
    }
    assert!(taken > 20, "{taken}: the right ones are taken");
}

fn kept() -> Router {
    let stream = |_: &mut http::Request<'_>| {
        let mut pieces = HELLO.as_bytes().chunks(8);
        http::Response::stream(move |out: &mut Vec<u8>| {
            out.extend_from_slice(pieces.next().unwrap_or_default());
            let is_over = pieces.len() == 0;
            if is_over { Pulled::End } else { Pulled::More }
        })
    };
    Router::new()
        .get("/whole", |_| http::Response::json(HELLO))
        .get("/stream", stream)
        .get("/empty", |_| http::Response::of(""))
        .put("/", |request| http::Response::of(request.body().to_vec()))
        .wrap(digests())
}

#[test]
fn our_server_gives_every_digest_that_our_client_asks_for() {
    let mut world = World::new();
    world.serve(Server::new(kept()));
    for path in ["/whole", "/stream"] {
        world.send(Request::get(path).verify_all());
        assert_eq!(world.told(), [format!("200 {HELLO}")], "{path}");
        let long = Request::get(path).header("Want-Content-Digest", "sha-512=1");
        world.send(long.verify_all());
        assert_eq!(world.told(), [format!("200 {HELLO}")], "{path}");
    }
    world.send(Request::get("/empty").verify_all());
    assert_eq!(world.told(), ["200 "]);
    world.send(Request::get("/nowhere").verify_all());
    assert!(world.told()[0].starts_with("404 "));
}

#[test]
fn what_is_sent_has_a_digest_that_a_strict_server_takes() {
    let mut world = World::new();
    world.serve(Server::new(Verify::new(kept()).required()));
    let large = "0123456789".repeat(50_000);
    let source = |text: String, len| {
        let mut rest = text.into_bytes();
        let source = move |out: &mut Vec<u8>| {
            out.extend(rest.drain(..rest.len().min(9_000)));
            let is_over = rest.is_empty();
            if is_over { Pulled::End } else { Pulled::More }
        };
        Request::put("/").stream(len, source)
    };
    for body in [HELLO, &large] {
        for (request, own) in [
            (Request::put("/").body(body.to_owned()), "bytes"),
            (source(body.to_owned(), None), "a stream"),
            (source(body.to_owned(), Some(body.len() as u64)), "a length"),
        ] {
            world.send(request.content_digest(Algorithm::Sha256).verify_all());
            for _ in 0..100 {
                world.turn();
            }
            assert!(world.told() == [format!("200 {body}")], "{own}");
        }
    }
    // And what has none is refused, so that the above says something.
    world.send(Request::put("/").body(HELLO));
    assert!(world.told()[0].starts_with("400 "));
    let wrong = Algorithm::Sha256.value_of(b"other");
    world.send(
        Request::put("/")
            .header("Content-Digest", &wrong)
            .body(HELLO),
    );
    assert!(world.told()[0].starts_with("400 "));
}

#[test]
fn a_failure_says_what_was_wrong_with_the_digest() {
    for (error, text) in [
        (DigestError::Malformed, "a digest is malformed"),
        (
            DigestError::Mismatch,
            "the body is not what its digest says",
        ),
        (DigestError::Missing, "there is no digest of the body"),
    ] {
        let failure = Failure {
            cause: Cause::Digest(error),
            is_retryable: true,
        };
        assert_eq!(failure.to_string(), text);
    }
}

const ADDRESS: &str = "127.0.0.1:8080";
