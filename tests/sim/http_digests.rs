//! HTTP digests (RFC 9530) and bits that are flipped on their way: no handler takes a body that was
//! not sent, no client one that was not answered.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::Intents;
use windlass::http::client::{self, Cause, Client, Failure, Head};
use windlass::http::digest::{Algorithm, Verify, digests};
use windlass::http::{self, Fields, Flow, Pulled, Receiver, Response, Router, Server, Status};
use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, Random, World, check, seeds};

use super::path::{TO_SERVER, harm};
use crate::SEEDS;
use crate::client::{is_quiet, patient, pieces};

/// Bodies that handlers took for whole.
pub(super) type Kept = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

/// Takes an upload piece by piece, and keeps it at its end.
struct Keeping {
    path: String,
    body: Vec<u8>,
    kept: Kept,
}

impl Receiver for Keeping {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.body.extend_from_slice(bytes);
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        let body = std::mem::take(&mut self.body);
        self.kept.borrow_mut().push((self.path.clone(), body));
        Response::text("kept")
    }
}

/// Uploads that are put together, and such as are received in pieces.
pub(super) fn uploads(kept: &Kept) -> Router {
    let (whole, pieces) = (Rc::clone(kept), Rc::clone(kept));
    Router::new()
        .put("/whole/{number}", move |request| {
            let path = request.path().to_owned();
            whole.borrow_mut().push((path, request.body().to_vec()));
            Response::text("kept")
        })
        .receive("PUT", "/pieces/{number}", move |request| {
            Ok(Keeping {
                path: request.path().to_owned(),
                body: Vec::new(),
                kept: Rc::clone(&pieces),
            })
        })
}

/// Waits that only end with what the world does; what is damaged may well hang.
pub(super) const LONG: Duration = Duration::from_secs(7200);

pub(super) fn serve(world: &mut World, host: &str, server: Server) -> SocketAddr {
    let host = world.host(host);
    let address = world.address(host, 80);
    let listen = Listen::new(address).limits(patient());
    let listening = world.reactor(host).listen(listen, move |_| server.clone());
    listening.expect("the port is free");
    address
}

pub(super) fn server_limits() -> http::Limits {
    http::Limits {
        header_timeout: LONG,
        min_body_rate: None,
        ..http::Limits::default()
    }
}

pub(super) fn client_limits(random: &mut Random) -> client::Limits {
    client::Limits {
        max_connections: 1 + random.below(3),
        response_timeout: LONG,
        head_timeout: LONG,
        min_body_rate: None,
        ..client::Limits::default()
    }
}

/// What `/text/{number}` answers: it says itself how long it is.
fn text(number: usize) -> String {
    let numbers: String = (0..number).map(|n| format!("{n} ")).collect();
    format!("{number}: {numbers}")
}

fn downloads() -> Router {
    let number = |request: &http::Request<'_>| request.param("number").parse().unwrap_or(0_usize);
    Router::new()
        .get("/text/{number}", move |request| {
            Response::of(text(number(request).min(10_000)))
        })
        .get("/stream/{number}", move |request| {
            let mut rest = text(number(request).min(10_000)).into_bytes();
            Response::stream(move |out: &mut Vec<u8>| {
                out.extend(rest.drain(..rest.len().min(3_000)));
                let is_over = rest.is_empty();
                if is_over { Pulled::End } else { Pulled::More }
            })
        })
        .wrap(digests())
}

/// What became of one request.
#[derive(Debug, Default)]
struct Told {
    status: Option<Status>,
    body: Vec<u8>,
    end: Option<Result<(), Failure>>,
}

type Note = Rc<RefCell<Told>>;

/// Takes an answer piece by piece.
struct Taking(Note);

impl client::Receiver for Taking {
    fn on_head(&mut self, head: &Head<'_>, _: &mut Intents) -> client::Flow {
        self.0.borrow_mut().status = Some(head.status());
        client::Flow::More
    }

    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> client::Flow {
        self.0.borrow_mut().body.extend_from_slice(bytes);
        client::Flow::More
    }

    fn on_end(self: Box<Self>, _: Fields<'_>, _: &mut Intents) {
        self.0.borrow_mut().end = Some(Ok(()));
    }

    fn on_failure(self: Box<Self>, failure: Failure, _: &mut Intents) {
        self.0.borrow_mut().end = Some(Err(failure));
    }
}

/// A request, and the body of what it uploads or the number of what it asks for.
fn ask(random: &mut Random, number: usize) -> (client::Request, Result<Vec<u8>, usize>) {
    if random.chance(0.5) {
        let asked = random.length(&(0..=3_000));
        let kind = ["text", "stream"][random.below(2)];
        let request = client::Request::get(&format!("/{kind}/{asked}"));
        return (request.verify_all(), Err(asked));
    }
    let body = pieces(random, 2, 4_000).concat();
    let kind = ["whole", "pieces"][random.below(2)];
    let request = client::Request::put(&format!("/{kind}/{number}"));
    let request = if random.chance(0.5) {
        request.body(body.clone())
    } else {
        let mut rest = body.clone();
        let source = move |out: &mut Vec<u8>| {
            out.extend(rest.drain(..rest.len().min(1_500)));
            let is_over = rest.is_empty();
            if is_over { Pulled::End } else { Pulled::More }
        };
        request.stream(None, source)
    };
    (request.content_digest(Algorithm::Sha256), Ok(body))
}

fn play(world: &mut World, seen: &Seen) -> Outcome {
    let kept = Kept::default();
    // Each is a server of its own: what uploads is strict, what downloads asks for nothing.
    let strict = Verify::new(uploads(&kept)).required();
    let servers = [
        ("uploads", Server::with_limits(strict, server_limits())),
        (
            "downloads",
            Server::with_limits(downloads(), server_limits()),
        ),
    ];
    let clients = servers.map(|(name, server)| {
        let address = serve(world, name, server);
        let (path, harm) = harm(world, &format!("path to {name}"), address);
        let connect = Connect::new(path).limits(patient());
        let limits = client_limits(world.random());
        let client = Client::with(connect, "h", limits).expect("a host");
        (client, harm)
    });
    let client_host = world.host("client");
    let mut all = Vec::new();
    for number in 0..1 + world.random().below(6) {
        let (request, wanted) = ask(world.random(), number);
        let note = Note::default();
        let (client, _) = &clients[usize::from(wanted.is_err())];
        let receiver = Box::new(Taking(Rc::clone(&note)));
        world.with(client_host, |reactor| {
            let sent = reactor.with_intents(|cx| client.receive(request, receiver, cx));
            sent.expect("there is room");
        });
        all.push((wanted, note));
        let pause = world.random().below(30);
        world.run_for(Duration::from_millis(pause as u64))?;
    }
    let is_told = |note: &Note| note.borrow().end.is_some();
    let all_told = |_: &mut World| all.iter().all(|(_, note)| is_told(note));
    world.run_until(all_told, LONG * 20)?;
    world.run_for(LONG)?;

    for (_, body) in kept.borrow().iter() {
        let is_sent = all.iter().any(|(wanted, _)| wanted.as_ref() == Ok(body));
        world.require(is_sent, "a handler took a body that nobody has sent")?;
    }
    for (wanted, note) in &all {
        let Told { status, body, end } = &*note.borrow();
        let is_download = wanted.is_err();
        let (_, harm) = &clients[usize::from(is_download)];
        let is_good = *status == Some(Status::OK) && *end == Some(Ok(()));
        if is_good && let Err(asked) = wanted {
            // A request that was damaged may have asked for another one.
            let is_asked = harm.done[TO_SERVER].get() == 0;
            let number = String::from_utf8_lossy(body);
            let number = number.split(':').next().and_then(|text| text.parse().ok());
            let is_whole = number.is_some_and(|number| text(number).as_bytes() == body);
            world.require(is_whole, "a client took a body that nobody has sent")?;
            world.require(
                !is_asked || number == Some(*asked),
                "another question was answered",
            )?;
        }
        world.require(
            is_good || harm.is_done() || !is_quiet(world),
            format_args!("nothing happened, and it failed: {status:?}, {end:?}"),
        )?;
        let cause = end.and_then(Result::err).map(|failure| failure.cause);
        seen.downloads
            .set(seen.downloads.get() + usize::from(matches!(cause, Some(Cause::Digest(_)))));
        let is_refused = !is_download && *status == Some(Status::BAD_REQUEST);
        seen.uploads
            .set(seen.uploads.get() + usize::from(is_refused));
    }
    Ok(())
}

/// How often something was refused.
#[derive(Default)]
struct Seen {
    uploads: Cell<usize>,
    downloads: Cell<usize>,
}

#[test]
fn no_damaged_body_is_taken_by_a_handler_or_by_a_client() {
    let seen = Seen::default();
    let count = check(seeds(SEEDS), |world: &mut World| play(world, &seen));
    let Seen { uploads, downloads } = &seen;
    let is_seen = uploads.get() > 0 && downloads.get() > 0;
    assert!(is_seen || count < SEEDS, "nothing was ever refused");
}
