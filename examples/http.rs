//! A web server: pages, files, an API, streams, uploads.
//!
//! Step six of the story: a protocol with an API of its own on top. Try it:
//!
//! ```text
//! cargo run --release --example http -- --root . --access-log common
//! curl -r 0-99 http://127.0.0.1:8080/files/README.md
//! curl http://127.0.0.1:8080/notes -d '{"text":"ahoy"}'
//! curl http://127.0.0.1:8080/notes/1
//! curl -N http://127.0.0.1:8080/events
//! curl -T Cargo.lock http://127.0.0.1:8080/upload
//! ```
//!
//! With digests (RFC 9530): files and answers have those that are wanted, and an upload that is not
//! what its digest says is refused before anything is done with it.
//!
//! ```text
//! cargo run --release --features digest --example http -- --root . --digest
//! curl -i -H 'Want-Repr-Digest: sha-256=1' http://127.0.0.1:8080/files/README.md
//! curl -i http://127.0.0.1:8080/notes -d '{}' \
//!     -H 'Content-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:'
//! ```

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

#[cfg(feature = "digest")]
use windlass::http::FileDigests;
#[cfg(feature = "digest")]
use windlass::http::digest::{Verify, digests};
use windlass::http::{
    AccessLog, Event, Fields, FileCache, Files, Flow, Limits, Method, Pulled, Receiver, Request,
    Response, Router, Server,
};
use windlass::net::Address;
use windlass::{Error, Intents, Reactor};

/// Serves HTTP.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:8080")]
    address: Address,
    /// A directory to serve below /files/.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Seconds for which a file in memory is served without a look whether it has changed.
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    cache: u64,
    /// Seconds that a head may take, and that a body may stall.
    #[arg(long, value_name = "SECS", default_value_t = 10, value_parser = seconds())]
    header_timeout: u64,
    /// Seconds that a connection is kept without a request.
    #[arg(long, value_name = "SECS", default_value_t = 75, value_parser = seconds())]
    idle_timeout: u64,
    /// Log every request to standard error, one line each: common, combined or json.
    #[arg(long, value_name = "FORMAT")]
    access_log: Option<AccessLog>,
    /// Tell digests of files and answers, make the tags of small files of their content, and refuse
    /// bodies that are not what their digest says (RFC 9530).
    #[cfg(feature = "digest")]
    #[arg(long)]
    digest: bool,
    /// Answer every GET with "OK" and every POST with its body.
    #[arg(long)]
    echo_any: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let accesses = args.access_log.map(|_| "windlass::access");
    common::run_with_lines(accesses, || serve(&args))
}

fn serve(args: &Args) -> Result<(), Error> {
    let limits = Limits {
        header_timeout: Duration::from_secs(args.header_timeout),
        idle_timeout: Duration::from_secs(args.idle_timeout),
        ..Limits::default()
    };
    let mut router = if args.echo_any { echo_any() } else { site() };
    if let Some(root) = &args.root {
        let files = open(root)?.cache(FileCache {
            valid_for: Duration::from_secs(args.cache),
            ..FileCache::default()
        });
        #[cfg(feature = "digest")]
        let files = match args.digest {
            true => files.digests(patient()),
            false => files,
        };
        router = router.files("/files", files);
    }
    let access_log = args.access_log.unwrap_or_default();
    let server = server(router, limits, args).access_log(access_log);

    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.address.clone(), move |_| server.clone())?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "http", listener)?;
    reactor.run()
}

#[cfg(feature = "digest")]
fn server(router: Router, limits: Limits, args: &Args) -> Server {
    match args.digest {
        true => Server::with_limits(Verify::new(router.wrap(digests())), limits),
        false => Server::with_limits(router, limits),
    }
}

#[cfg(not(feature = "digest"))]
fn server(router: Router, limits: Limits, _: &Args) -> Server {
    Server::with_limits(router, limits)
}

/// Digests of files of up to 4 GiB, which takes some 30 seconds once.
#[cfg(feature = "digest")]
fn patient() -> FileDigests {
    FileDigests {
        max_len: 4 << 30,
        max_wait: Duration::from_secs(60),
        ..FileDigests::default()
    }
}

/// An error says of what.
fn open(root: &Path) -> io::Result<Files> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
    Files::new(root).map_err(named)
}

fn site() -> Router {
    Router::new()
        .get("/", |_| Response::html(PAGE))
        .get("/plaintext", |_| Response::text("Hello, World!"))
        .post("/echo", echo)
        .put("/echo", echo)
        .get("/stream/{bytes}", stream)
        .get("/events", |_| events())
        .get("/later/{millis}", |request| {
            let millis = request.param("millis").parse().unwrap_or(0);
            Response::after(Duration::from_millis(millis), || Response::text("now\n"))
        })
        .receive("PUT", "/upload", |_| Ok(Upload::default()))
        .receive("POST", "/upload", |_| Ok(Upload::default()))
        .nest("/notes", notes())
}

/// Sends back what was sent, as what it was sent.
fn echo(request: &mut Request<'_>) -> Response {
    let response = Response::of(request.body().to_vec());
    match request.header("Content-Type") {
        Some(media_type) => response.header("Content-Type", media_type),
        None => response.content_type("application/octet-stream"),
    }
}

/// Produces so many bytes while the peer takes them.
fn stream(request: &mut Request<'_>) -> Response {
    let Ok(len) = request.param("bytes").parse::<u64>() else {
        return Response::error(400);
    };
    let mut left = len;
    let source = move |out: &mut Vec<u8>| {
        let piece = left.min(32 * 1024);
        out.resize(piece as usize, b'w');
        left -= piece;
        if left == 0 { Pulled::End } else { Pulled::More }
    };
    Response::stream_of(len, source).content_type("application/octet-stream")
}

/// Server-sent events: one per second.
fn events() -> Response {
    let mut number = 0;
    let source = move |out: &mut Vec<u8>| {
        number += 1;
        let event = Event::new(format!("tick {number}")).id(number.to_string());
        out.extend_from_slice(event.to_string().as_bytes());
        Pulled::Wait(Duration::from_secs(1))
    };
    Response::stream(source)
        .content_type("text/event-stream")
        .header("Cache-Control", "no-store")
}

/// Takes a body of any length, of which it keeps no more than the sum.
#[derive(Default)]
struct Upload {
    len: u64,
    sum: u64,
}

impl Receiver for Upload {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.len += bytes.len() as u64;
        let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
        self.sum = self.sum.wrapping_add(sum);
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        json_of(&json!({ "bytes": self.len, "sum": self.sum }))
    }
}

/// An API over notes that are kept in memory.
fn notes() -> Router {
    let notes = Rc::new(RefCell::new(Notes::default()));
    let with = |act: fn(&mut Notes, &Request<'_>) -> Response| {
        let notes = Rc::clone(&notes);
        move |request: &mut Request<'_>| act(&mut notes.borrow_mut(), request)
    };
    Router::new()
        .get("/", with(|notes, _| json_of(&json!(notes.by_id))))
        .post("/", with(Notes::create))
        .get("/{id}", with(Notes::read))
        .put("/{id}", with(Notes::replace))
        .delete("/{id}", with(Notes::delete))
}

#[derive(Default)]
struct Notes {
    by_id: BTreeMap<u64, Value>,
    last_id: u64,
}

impl Notes {
    fn create(&mut self, request: &Request<'_>) -> Response {
        let Ok(note) = serde_json::from_slice(request.body()) else {
            return Response::error(400);
        };
        if self.by_id.len() >= MAX_NOTES {
            return Response::error(507);
        }
        self.last_id += 1;
        let location = format!("/notes/{}", self.last_id);
        let response = json_of(&note).status(201).header("Location", &location);
        self.by_id.insert(self.last_id, note);
        response
    }

    fn read(&mut self, request: &Request<'_>) -> Response {
        let note = id_of(request).and_then(|id| self.by_id.get(&id));
        note.map_or_else(|| Response::error(404), json_of)
    }

    fn replace(&mut self, request: &Request<'_>) -> Response {
        if request.header("Content-Range").is_some() {
            // A part of a note must not take the place of the whole (RFC 9110, section 14.5).
            return Response::error(400);
        }
        let old = id_of(request).and_then(|id| self.by_id.get_mut(&id));
        match (old, serde_json::from_slice(request.body())) {
            (None, _) => Response::error(404),
            (Some(_), Err(_)) => Response::error(400),
            (Some(old), Ok(new)) => {
                *old = new;
                json_of(old)
            }
        }
    }

    fn delete(&mut self, request: &Request<'_>) -> Response {
        let old = id_of(request).and_then(|id| self.by_id.remove(&id));
        Response::empty(if old.is_some() { 204 } else { 404 })
    }
}

fn id_of(request: &Request<'_>) -> Option<u64> {
    request.param("id").parse().ok()
}

fn json_of(value: &Value) -> Response {
    let mut response = Response::default().content_type("application/json");
    match serde_json::to_writer(&mut response, value) {
        Ok(()) => response,
        Err(_) => Response::error(500),
    }
}

/// Answers anything: for tools that only want a server.
fn echo_any() -> Router {
    Router::new().fallback(|request| match request.method() {
        Method::Post => echo(request),
        Method::Get | Method::Head => Response::text("OK"),
        Method::Options => Response::empty(204).header("Allow", ANY_METHODS),
        _ => Response::error(405).header("Allow", ANY_METHODS),
    })
}

/// A number of seconds, at least one.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// What `echo_any` answers.
const ANY_METHODS: &str = "GET, HEAD, OPTIONS, POST";
/// Notes that are kept; each is at most as long as a body may be.
const MAX_NOTES: usize = 1000;

const PAGE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>windlass</title></head>
<body>
<h1>windlass</h1>
<p>One thread, many lines.</p>
<p>Ticks since you came: <output id=\"ticks\">0</output></p>
<script>
new EventSource('/events').onmessage = (event) => {
    document.getElementById('ticks').textContent = event.lastEventId;
};
</script>
</body>
</html>
";
