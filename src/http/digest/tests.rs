//! The appendices of RFC 9530, and what is refused: requests in, answers out. Knows the public
//! side alone.

use std::cell::Cell;
use std::rc::Rc;

use super::{Algorithm, Verify, digests};
use crate::http::testing::ask;
use crate::http::{Fields, Flow, Pulled, Receiver, Response, Router, Server};
use crate::protocol::Intents;

const HELLO: &str = "{\"hello\": \"world\"}\n";
const HELLO_DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
const TITLE: &str = "{\"title\": \"New Title\"}\n";
const TITLE_DIGEST: &str = "sha-256=:mEkdbO7Srd9LIOegftO0aBX+VPTVz7/CSHes2Z27gc4=:";

fn answers() -> Server {
    let stream = || {
        let mut pieces = HELLO.as_bytes().chunks(8);
        Response::stream(move |out: &mut Vec<u8>| {
            out.extend_from_slice(pieces.next().unwrap_or_default());
            if pieces.len() > 0 {
                Pulled::More
            } else {
                Pulled::End
            }
        })
    };
    let router = Router::new()
        .get("/", |_| Response::json(HELLO))
        .get("/part", |_| Response::json(&HELLO[10..]).status(206))
        .get("/stream", move |_| stream())
        .get("/none", |_| Response::empty(204))
        .head("/bare", |_| Response::empty(200))
        .get("/own", |_| {
            Response::json(HELLO).header("Repr-Digest", "x=:eA==:")
        })
        .wrap(digests());
    Server::new(router)
}

/// The lines about digests in an answer, head and trailer.
#[track_caller]
fn check_answer(request_line: &str, fields: &str, expected: &[&str]) {
    let request = format!("{request_line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let answer = ask(&answers(), request.as_bytes());
    let lines = answer.lines().filter(|line| {
        let name = line.split(':').next().expect("the test is right");
        name.ends_with("-Digest") || name == "Trailer"
    });
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{request}{answer}");
}

const WANTS_BOTH: &str = "Want-Repr-Digest: sha-256=1\r\nWant-Content-Digest: sha-256=1\r\n";

#[test]
fn an_answer_has_the_digests_that_are_wanted_rfc_9530_b_1() {
    let content = format!("Content-Digest: {HELLO_DIGEST}");
    let repr = format!("Repr-Digest: {HELLO_DIGEST}");
    check_answer("GET /", "", &[]);
    check_answer("GET /", WANTS_BOTH, &[&content, &repr]);
    check_answer("GET /", "Want-Content-Digest: sha-256=1\r\n", &[&content]);
    check_answer("GET /", "Want-Repr-Digest: sha-256=1\r\n", &[&repr]);
    check_answer("GET /", "Want-Repr-Digest: md5=10\r\n", &[]);
    let long = format!(
        "Repr-Digest: {}",
        Algorithm::Sha512.value_of(HELLO.as_bytes())
    );
    check_answer(
        "GET /",
        "Want-Repr-Digest: sha-256=3, sha-512=10\r\n",
        &[&long],
    );
    check_answer("GET /none", WANTS_BOTH, &[]);
    check_answer("GET /own", WANTS_BOTH, &["Repr-Digest: x=:eA==:", &content]);
}

#[test]
fn an_answer_to_head_has_the_representations_digest_alone_rfc_9530_b_2() {
    check_answer(
        "HEAD /",
        WANTS_BOTH,
        &[&format!("Repr-Digest: {HELLO_DIGEST}")],
    );
    check_answer("HEAD /bare", WANTS_BOTH, &[]);
}

#[test]
fn a_part_has_a_digest_of_its_own_rfc_9530_b_3() {
    let part = "Content-Digest: sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:";
    check_answer("GET /part", WANTS_BOTH, &[part]);
}

#[test]
fn the_digest_of_a_stream_follows_it_rfc_9530_b_11() {
    let repr = format!("Repr-Digest: {HELLO_DIGEST}");
    let content = format!("Content-Digest: {HELLO_DIGEST}");
    let wants = "TE: trailers\r\nWant-Repr-Digest: sha-256=1\r\n";
    check_answer("GET /stream", wants, &["Trailer: Repr-Digest", &repr]);
    let wants = format!("TE: gzip , Trailers\r\n{WANTS_BOTH}");
    let names = ["Trailer: Content-Digest", "Trailer: Repr-Digest"];
    check_answer(
        "GET /stream",
        &wants,
        &[names[0], names[1], &content, &repr],
    );
    check_answer("GET /stream", WANTS_BOTH, &[]);
    check_answer("GET /stream", "TE: trailers\r\n", &[]);
    check_answer("HEAD /stream", &wants, &[]);
}

/// Counts what a service is told of bodies.
#[derive(Clone, Default)]
struct Told {
    bytes: Rc<Cell<usize>>,
    ends: Rc<Cell<usize>>,
}

impl Receiver for Told {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.bytes.set(self.bytes.get() + bytes.len());
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        self.ends.set(self.ends.get() + 1);
        Response::text("kept")
    }
}

/// Sends a body to a handler of whole bodies and to a receiver, and expects both to say so; whether
/// they are called. The body comes in chunks if there are trailers.
#[track_caller]
fn check_upload(is_required: bool, fields: &str, trailers: &str, status: u16) {
    let told = Told::default();
    let (whole, pieces) = (told.clone(), told.clone());
    let router = Router::new()
        .put("/whole", move |_| {
            whole.ends.set(whole.ends.get() + 1);
            Response::text("kept")
        })
        .receive("PUT", "/pieces", move |_| Ok(pieces.clone()));
    let service = Verify::new(router);
    let server = Server::new(if is_required {
        service.required()
    } else {
        service
    });
    let body = match trailers {
        "" => format!("Content-Length: {}\r\n{fields}\r\n{TITLE}", TITLE.len()),
        _ => {
            let chunk = format!("{:x}\r\n{TITLE}\r\n0\r\n", TITLE.len());
            format!("Transfer-Encoding: chunked\r\n{fields}\r\n{chunk}{trailers}\r\n")
        }
    };
    for path in ["/whole", "/pieces"] {
        told.ends.set(0);
        let request = format!("PUT {path} HTTP/1.1\r\nHost: h\r\n{body}");
        let answer = ask(&server, request.as_bytes());
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{request}\n{answer}");
        assert_eq!(told.ends.get(), usize::from(status == 200), "{request}");
        let is_problem = answer.contains("\r\nContent-Type: application/problem+json\r\n");
        assert_eq!(is_problem, status == 400, "{answer}");
    }
}

#[test]
fn a_body_that_is_what_its_digest_says_is_kept_rfc_9530_b_7() {
    for name in ["Content-Digest", "Repr-Digest"] {
        check_upload(true, &format!("{name}: {TITLE_DIGEST}\r\n"), "", 200);
        let both = format!(
            "{TITLE_DIGEST}, {}",
            Algorithm::Sha512.value_of(TITLE.as_bytes())
        );
        check_upload(true, &format!("{name}: {both}, md5=:eA==:\r\n"), "", 200);
    }
}

#[test]
fn a_body_that_has_lost_its_length_is_missed_where_a_digest_is_required() {
    let empty = format!("Content-Digest: {}\r\n", Algorithm::Sha256.value_of(b""));
    for is_required in [true, false] {
        let router = Router::new()
            .put("/", |_| Response::text("kept"))
            .post("/", |_| Response::text("kept"))
            .delete("/", |_| Response::text("kept"))
            .get("/", |_| Response::text("kept"))
            .receive("PUT", "/pieces", |_| Ok(Told::default()));
        let service = Verify::new(router);
        let server = Server::new(if is_required {
            service.required()
        } else {
            service
        });
        for (request, is_missed) in [
            // The length was called otherwise before it was damaged.
            ("PUT / HTTP/1.1\r\nTransfer-Encodinf: chunked\r\n", true),
            ("PUT /pieces HTTP/1.1\r\nTrailer: Content-Digest\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n", true),
            ("DELETE / HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\r\n", false),
            (&format!("PUT / HTTP/1.1\r\n{empty}"), false),
        ] {
            let answer = ask(&server, format!("{request}Host: h\r\n\r\n").as_bytes());
            let status = if is_required && is_missed { 400 } else { 200 };
            let start = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&start), "{request}\n{answer}");
        }
    }
}

#[test]
fn a_body_that_is_not_is_refused_before_anything_is_kept() {
    let wrong = Algorithm::Sha512.value_of(b"other");
    for digest in [
        HELLO_DIGEST,
        &wrong,
        &format!("{TITLE_DIGEST}, {wrong}"),
        "sha-256=1",
        "x,,",
    ] {
        for name in ["Content-Digest", "Repr-Digest"] {
            check_upload(false, &format!("{name}: {digest}\r\n"), "", 400);
        }
    }
    let contradiction =
        format!("Content-Digest: {TITLE_DIGEST}\r\nRepr-Digest: {HELLO_DIGEST}\r\n");
    check_upload(false, &contradiction, "", 400);
    // Of a whole that is not here.
    check_upload(
        false,
        &format!("{contradiction}Content-Range: bytes 0-22/99\r\n"),
        "",
        200,
    );
}

#[test]
fn what_cannot_be_verified_passes_unless_it_must_be() {
    for fields in [
        "",
        "Content-Digest: md5=:eA==:\r\n",
        "Repr-Digest: sha=:eA==:, adler=:eA==:\r\n",
    ] {
        check_upload(false, fields, "", 200);
        check_upload(true, fields, "", 400);
    }
}

#[test]
fn a_digest_may_follow_its_body() {
    let announced = "Trailer: X, content-digest\r\n";
    let good = format!("Content-Digest: {TITLE_DIGEST}\r\n");
    let wrong = format!("Content-Digest: {HELLO_DIGEST}\r\n");
    check_upload(true, announced, &good, 200);
    check_upload(false, announced, &wrong, 400);
    check_upload(true, announced, "X: y\r\n", 400);
    check_upload(false, announced, "X: y\r\n", 200);
    // Both count.
    check_upload(false, &format!("{announced}{wrong}"), &good, 400);
    check_upload(false, &format!("{announced}{good}"), &wrong, 400);
}
