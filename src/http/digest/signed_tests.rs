//! Signed requests against a server: what passes, and what is answered 401 in the same words. Knows
//! the public side alone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{Algorithm, Key, Signed, Signer, key_id};
use crate::buffer::Outbox;
use crate::http::client::Request;
use crate::http::{Fields, Flow, Receiver, Response, Router, Server};
use crate::net::{Memory, Network};
use crate::protocol::{Driver, Effects, Intents};

const NOW: u64 = 1_700_000_000;

/// What the connections of one server are answered.
struct World {
    server: Server,
    calls: Rc<Cell<usize>>,
}

/// Takes what it is given, and counts whole bodies.
struct Count(Rc<Cell<usize>>);

impl Receiver for Count {
    fn on_bytes(&mut self, _: &[u8], _: &mut Intents) -> Flow {
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        self.0.set(self.0.get() + 1);
        Response::text("kept")
    }
}

impl World {
    fn new(change: impl FnOnce(Signed<Router>) -> Signed<Router>) -> World {
        let calls = Rc::new(Cell::new(0));
        let (whole, pieces) = (Rc::clone(&calls), Rc::clone(&calls));
        let router = Router::new()
            .any("/{*path}", move |request| {
                whole.set(whole.get() + 1);
                Response::text(key_id(request).unwrap_or_default())
            })
            .receive("PUT", "/pieces", move |_| Ok(Count(Rc::clone(&pieces))));
        let keys = |id: &str| (id == "client-7").then(|| Key::new(b"secret"));
        let server = Server::new(change(Signed::new(router, keys)));
        World { server, calls }
    }

    /// Sends a request in pieces, cut where it says, and answers the status.
    #[track_caller]
    fn ask(&self, request: &str, cut: usize, now: u64) -> u16 {
        let before = self.calls.get();
        let mut fx = Effects::new(Memory::new().now());
        fx.intents.unix_time = Duration::from_secs(now);
        let mut session = self.server.session();
        session.on_open(&mut fx);
        let input = request.as_bytes();
        let mut at = 0;
        for end in [cut.min(input.len()), input.len()] {
            let driven = session.drive(&input[at..end], &mut 1024, &mut fx);
            at += driven.consumed;
        }
        let answer = String::from_utf8(fx.out.to_vec()).expect("the answer is text");
        let status = answer[9..12].parse().expect("a status");
        assert_eq!(
            self.calls.get() - before,
            usize::from(status == 200),
            "{request}"
        );
        if status == 401 {
            let refusal = "WWW-Authenticate: Signature\r\nAccept-Signature: sig1=(\"@method\"";
            assert!(answer.contains(refusal), "{answer}");
            assert!(answer.ends_with("\r\n\r\nUnauthorized"), "{answer}");
        }
        status
    }

    #[track_caller]
    fn check(&self, request: &str, status: u16) {
        assert_eq!(self.ask(request, usize::MAX, NOW), status, "{request}");
    }
}

fn signer(id: &str, secret: &[u8]) -> Signer {
    Signer::new(id, Key::new(secret))
}

/// A request as it is sent, signed at that time.
fn signed_by(signer: &Signer, request: Request, now: u64, nonce: &str) -> String {
    let signed = signer.sign(request, "h", Duration::from_secs(now), nonce);
    let (_, _, _, body) = signed.signable();
    let body = body.expect("it is at hand").to_vec();
    let mut out = Outbox::new();
    signed.put_head("h", &body, &mut out);
    String::from_utf8(out.to_vec()).expect("the request is text")
}

fn signed(request: Request, nonce: &str) -> String {
    signed_by(&signer("client-7", b"secret"), request, NOW, nonce)
}

fn put(path: &str) -> Request {
    Request::put(path).body("some body")
}

#[test]
fn who_signs_is_let_in_once() {
    let world = World::new(|signed| signed);
    for request in [
        signed(Request::get("/a?b=c"), "1"),
        signed(put("/a"), "2"),
        signed(put("/pieces"), "3"),
    ] {
        world.check(&request, 200);
        world.check(&request, 401);
    }
    world.check(&signed(Request::get("/a?b=c"), "4"), 200);
}

#[test]
fn a_request_is_the_same_however_it_is_split() {
    let world = World::new(|signed| signed);
    let len = signed(put("/a"), "000").len();
    for path in ["/a", "/pieces"] {
        for cut in 1..len {
            let request = signed(put(path), &format!("{path}{cut:03}"));
            assert_eq!(world.ask(&request, cut, NOW), 200, "{cut}");
            assert_eq!(world.ask(&request, cut, NOW), 401, "{cut}");
        }
    }
}

#[test]
fn who_does_not_sign_or_signs_something_else_is_not_let_in() {
    let world = World::new(|signed| signed.covering(&["X-Tenant"]));
    world.check("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 401);
    world.check(
        "PUT /pieces HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
        401,
    );
    let by = |id: &str, secret: &[u8]| signed_by(&signer(id, secret), Request::get("/a"), NOW, "n");
    world.check(&by("client-7", b"guess"), 401);
    world.check(&by("client-8", b"secret"), 401);
    // Not even with the key that takes the place of one that nobody knows.
    world.check(&by("client-8", b"nobody's"), 401);
    let good = signed(put("/a"), "n");
    for (from, to) in [
        ("PUT /a", "POST /a"),
        ("PUT /a", "PUT /b"),
        ("PUT /a", "PUT /a?b"),
        ("Host: h", "Host: i"),
        ("\"@method\" ", ""),
        ("\"@query\" ", ""),
        (" \"content-digest\"", ""),
        ("nonce=\"n\"", "nonce=\"m\""),
        (";nonce=\"n\"", ""),
        ("nonce=\"n\"", "nonce=\"\""),
        ("Host: h\r\n", "Host: h\r\nX-Tenant: 1\r\n"),
        ("Content-Digest: ", "Content-Digest: md5=:eA==:, "),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        world.check(&changed, 401);
    }
    world.check(&good, 200);
}

#[test]
fn a_body_that_was_changed_is_refused_though_its_head_is_signed() {
    let world = World::new(|signed| signed);
    for (nonce, path) in [("1", "/a"), ("2", "/pieces")] {
        world.check(
            &signed(put(path), nonce).replace("some body", "same body"),
            400,
        );
    }
    // Without its body, and in chunks with another one.
    let good = signed(put("/a"), "3");
    let head = good.strip_suffix("some body").expect("the test is right");
    world.check(&head.replace("Content-Length: 9\r\n", ""), 400);
    let chunked = head.replace("Content-Length: 9", "Transfer-Encoding: chunked");
    world.check(
        &format!("{chunked}0\r\n\r\n").replace("nonce=\"3\"", "nonce=\"4\""),
        401,
    );
    let empty = signed(put("/a"), "5").replace("Content-Length: 9", "Transfer-Encoding: chunked");
    world.check(&empty.replace("some body", "0\r\n\r\n"), 400);
}

#[test]
fn a_digest_that_was_not_signed_does_not_stand_for_one_that_cannot_be_made() {
    let world = World::new(|signed| signed);
    let digest = Algorithm::Sha256.value_of(b"some body");
    let head = format!("PUT /a HTTP/1.1\r\nHost: h\r\nRepr-Digest: {digest}\r\n");
    let base = "\"@method\": PUT\n\"@authority\": h\n\"@request-target\": /a\n\
        \"content-digest\": md5=:eA==:\n\"@signature-params\": ";
    let params = format!(
        "(\"@method\" \"@authority\" \"@request-target\" \"content-digest\")\
         ;created={NOW};keyid=\"client-7\";nonce=\"n\""
    );
    let mut signature = String::new();
    let mac = Key::new(b"secret").sign(format!("{base}{params}").as_bytes());
    crate::http::base64::encode(&mac, &mut signature);
    let request = format!(
        "{head}Content-Digest: md5=:eA==:\r\nContent-Length: 9\r\nSignature-Input: s={params}\r\n\
         Signature: s=:{signature}:\r\n\r\nsome body"
    );
    world.check(&request, 400);
}

#[test]
fn a_signature_is_good_within_the_skew_of_the_clocks() {
    let world = World::new(|signed| signed.skew(Duration::from_secs(10)));
    for (number, (created, status)) in [
        (NOW - 10, 200),
        (NOW + 10, 200),
        (NOW - 11, 401),
        (NOW + 11, 401),
    ]
    .into_iter()
    .enumerate()
    {
        let signer = signer("client-7", b"secret");
        let request = signed_by(&signer, Request::get("/a"), created, &number.to_string());
        world.check(&request, status);
    }
    // Seen at the earliest moment, it is known until the last one.
    let signer = signer("client-7", b"secret");
    let request = signed_by(&signer, Request::get("/a"), NOW + 10, "early");
    assert_eq!(world.ask(&request, usize::MAX, NOW), 200);
    assert_eq!(world.ask(&request, usize::MAX, NOW + 20), 401);
}

#[test]
fn when_no_more_nonces_can_be_remembered_good_requests_have_to_wait() {
    let world = World::new(|signed| signed.max_nonces(2));
    world.check(&signed(Request::get("/a"), "1"), 200);
    world.check(&signed(put("/a"), "2"), 200);
    world.check(&signed(Request::get("/a"), "3"), 503);
    world.check(&signed(put("/pieces"), "4"), 503);
    world.check(&signed(Request::get("/a"), "1"), 401);
    // Who cannot sign is not told.
    let guess = signed_by(&signer("client-7", b"guess"), Request::get("/a"), NOW, "5");
    world.check(&guess, 401);
    let signer = signer("client-7", b"secret");
    let later = signed_by(&signer, Request::get("/a"), NOW + 601, "6");
    assert_eq!(world.ask(&later, usize::MAX, NOW + 601), 200);
}
