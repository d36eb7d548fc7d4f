//! HTTP, client and server of ours: every request has one answer, the right one, or a reason why
//! there is none; and nothing that must not be done twice is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use windlass::http::client::{self, Client, Failure};
use windlass::http::{self, Pulled, Request, Response, Router, Server};
use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, Random, World, check, seeds};

use crate::SEEDS;
use crate::client::{is_quiet, patient, pieces};

/// What became of each request: its answer's body, or the failure.
type Answers = Rc<RefCell<BTreeMap<usize, Vec<Result<Vec<u8>, Failure>>>>>;
/// How often the server did what was asked.
type Done = Rc<RefCell<BTreeMap<String, usize>>>;

fn site(done: &Done) -> Router {
    let count = {
        let done = Rc::clone(done);
        move |request: &Request<'_>| {
            let path = request.path().to_owned();
            *done.borrow_mut().entry(path).or_default() += 1;
        }
    };
    let vanish = {
        let count = count.clone();
        move |request: &mut Request<'_>| {
            count(request);
            // The connection is reset before anything of the answer has left.
            Response::stream(|_: &mut Vec<u8>| Pulled::Fail)
        }
    };
    let echo = move |request: &mut Request<'_>| {
        count(request);
        Response::of(request.body().to_vec())
    };
    Router::new()
        .get("/numbers/{count}", |request| {
            let count: usize = request.param("count").parse().unwrap_or(0);
            let mut next = 0;
            Response::stream(move |out: &mut Vec<u8>| {
                out.extend_from_slice(numbers(next..count.min(next + 500)).as_bytes());
                next = count.min(next + 500);
                if next == count {
                    Pulled::End
                } else {
                    Pulled::More
                }
            })
        })
        .get("/file/{range}", |request| {
            let range = request.param("range").into_owned();
            let (start, end) = range.split_once('-').expect("a range");
            let number = |text: &str| text.parse().expect("a number");
            let file = File::open(&file().0).expect("it is there");
            Response::file(file, number(start)..number(end))
        })
        .get("/last/{count}", |request| {
            Response::text(request.param("count").into_owned()).close()
        })
        .post("/vanish/{number}", vanish.clone())
        .put("/vanish/{number}", vanish)
        .post("/echo/{number}", echo.clone())
        .put("/echo/{number}", echo)
}

/// A file that is longer than what is read, or queued, at once, and what is in it.
fn file() -> &'static (PathBuf, Vec<u8>) {
    static FILE: OnceLock<(PathBuf, Vec<u8>)> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sim-http-file");
        let bytes = numbers(0..20_000).into_bytes();
        // By its name it is there at once and as a whole, whoever else runs these tests.
        let new = path.with_extension(std::process::id().to_string());
        fs::write(&new, &bytes).expect("there is room");
        fs::rename(new, &path).expect("there is room");
        (path, bytes)
    })
}

fn numbers(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("{number} ")).collect()
}

/// A request, and what is to come of it.
struct Ask {
    path: String,
    request: client::Request,
    /// The answer's body; `None` if there is to be none.
    body: Option<Vec<u8>>,
}

fn ask(random: &mut Random, number: usize) -> Ask {
    if random.below(6) == 0 {
        let path = format!("/vanish/{number}");
        let method = if random.chance(0.5) { "POST" } else { "PUT" };
        let request = client::Request::new(method, &path);
        return Ask {
            request,
            path,
            body: None,
        };
    }
    let (request, body) = ask_for_an_answer(random, number);
    Ask {
        path: format!("/echo/{number}"),
        request,
        body: Some(body),
    }
}

/// A request, and what its answer has to be.
fn ask_for_an_answer(random: &mut Random, number: usize) -> (client::Request, Vec<u8>) {
    match random.below(6) {
        5 => {
            let bytes = &file().1;
            let start = random.below(bytes.len());
            let end = random.length(&(start..=bytes.len()));
            let request = client::Request::get(&format!("/file/{start}-{end}"));
            (request, bytes[start..end].to_vec())
        }
        0 => {
            let count = random.length(&(1..=20_000));
            let request = client::Request::get(&format!("/numbers/{count}"));
            (request, numbers(0..count).into_bytes())
        }
        1 => {
            let request = client::Request::get(&format!("/last/{number}"));
            (request, number.to_string().into_bytes())
        }
        2 => (client::Request::head("/numbers/9"), Vec::new()),
        kind => {
            let body = pieces(random, 3, 30_000).concat();
            let path = format!("/echo/{number}");
            let request = if kind == 3 {
                client::Request::post(&path)
            } else {
                client::Request::put(&path)
            };
            if random.chance(0.5) {
                return (request.body(body.clone()), body);
            }
            let mut rest = body.clone();
            let source = move |out: &mut Vec<u8>| {
                out.extend(rest.drain(..rest.len().min(9_000)));
                if rest.is_empty() {
                    Pulled::End
                } else {
                    Pulled::More
                }
            };
            (request.stream(None, source), body)
        }
    }
}

/// Waits that only end with what the world does.
fn client_limits(random: &mut Random) -> client::Limits {
    let long = Duration::from_secs(7200);
    client::Limits {
        max_connections: 1 + random.below(3),
        max_pipelined: 1 + random.below(4),
        response_timeout: long,
        head_timeout: long,
        min_body_rate: None,
        ..client::Limits::default()
    }
}

pub(crate) fn scenario(world: &mut World) -> Outcome {
    let (server, client_host) = (world.host("server"), world.host("client"));
    let long = Duration::from_secs(7200);
    let limits = http::Limits {
        header_timeout: long,
        min_body_rate: None,
        ..http::Limits::default()
    };
    let done = Done::default();
    let http = Server::with_limits(site(&done), limits);
    let listen = Listen::new(world.address(server, 80)).limits(patient());
    world
        .reactor(server)
        .listen(listen, move |_| http.clone())
        .expect("the port is free");
    let connect = Connect::new(world.address(server, 80)).limits(patient());
    let limits = client_limits(world.random());
    let client = Client::with(connect, "h", limits).expect("a host");
    let answers = Answers::default();
    let mut expected = Vec::new();
    for number in 0..1 + world.random().below(12) {
        let Ask {
            path,
            request,
            body,
        } = ask(world.random(), number);
        // By its name, without asking the client.
        let is_post = format!("{request:?}").contains("POST");
        expected.push((path, is_post, body));
        let (client, answers) = (client.clone(), Rc::clone(&answers));
        world.with(client_host, |reactor| {
            let note = move |answer: Result<client::Response<'_>, Failure>, _: &mut _| {
                let answer = answer.map(|answer| answer.body().to_vec());
                answers.borrow_mut().entry(number).or_default().push(answer);
            };
            let sent = reactor.with_intents(|cx| client.send(request, note, cx));
            sent.expect("there is room");
        });
        let pause = world.random().below(30);
        world.run_for(Duration::from_millis(pause as u64))?;
    }
    let all_told = |_: &mut World| answers.borrow().len() == expected.len();
    world.run_until(all_told, Duration::from_secs(36_000))?;
    // What is in flight behind a request that costs its connection may run out of attempts.
    let vanishes = expected.iter().any(|(_, _, body)| body.is_none());
    for (number, (path, is_post, body)) in expected.iter().enumerate() {
        let answers = answers.borrow();
        let told = &answers[&number];
        world.require(told.len() == 1, "an answer came twice")?;
        match &told[0] {
            Ok(answer) => {
                world.require(body.as_ref() == Some(answer), "something else was answered")?;
            }
            Err(failure) => world.require(
                !is_quiet(world) || vanishes,
                format_args!("nothing broke, and request {number} failed: {failure:?}"),
            )?,
        }
        let times = done.borrow().get(path).copied().unwrap_or(0);
        world.require(
            times <= 1 || !*is_post,
            format_args!("request {number} was done {times} times"),
        )?;
    }
    world.require(client.queued() == 0, "something still waits")
}

#[test]
fn every_request_has_one_answer_or_a_reason() {
    check(seeds(SEEDS), scenario);
}
