//! A health checker: asks each URL once, all at the same time, and prints what it was told.
//!
//! The other side of the story: a client, of which callbacks are all there is. One client per
//! server, as many as there are, on one thread. Try it, beside `http`:
//!
//! ```text
//! cargo run --release --example probe -- http://127.0.0.1:8080/ http://127.0.0.1:8080/plaintext
//! ```
//!
//! It ends with 0 if every answer was a good one (2xx or 3xx), with 1 if one was not.

mod common;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;

use windlass::http::client::{Client, Failure, InvalidRequest, Limits, Request, Response};
use windlass::net::Connect;
use windlass::{Intents, Reactor};

use common::url::Url;

/// Asks web servers how they are.
#[derive(Parser)]
struct Args {
    /// What to ask: http://HOST[:PORT][/PATH] or http://unix:/SOCKET:/PATH.
    #[arg(required = true)]
    urls: Vec<Url>,
    /// How long an answer may take.
    #[arg(long, value_name = "SECS", default_value_t = 5, value_parser = seconds())]
    timeout: u64,
}

/// A number of seconds, at least one.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// What became of one URL.
#[derive(Clone)]
struct Outcome {
    text: String,
    is_good: bool,
}

/// In the order of the URLs.
type Outcomes = Rc<RefCell<Vec<Outcome>>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut is_good = false;
    let status = common::run(|| -> Result<(), windlass::Error> {
        let outcomes = probe(&args)?;
        is_good = outcomes.iter().all(|outcome| outcome.is_good);
        print(&args.urls, &outcomes)?;
        Ok(())
    });
    if is_good { status } else { ExitCode::FAILURE }
}

/// Step one: a client for each server. Step two: all requests. Step three: wait until nothing is
/// left to wait for.
fn probe(args: &Args) -> Result<Vec<Outcome>, windlass::Error> {
    let mut reactor = Reactor::new()?;
    let timeout = Duration::from_secs(args.timeout);
    let mut clients = HashMap::new();
    let outcomes: Outcomes = Rc::new(RefCell::new(vec![bad("no answer"); args.urls.len()]));
    for (index, url) in args.urls.iter().enumerate() {
        let client = clients
            .entry((url.address.clone(), url.host.clone()))
            .or_insert_with(|| client_of(url, timeout));
        let request = Request::get(&url.target)
            .header("User-Agent", "windlass-probe")
            .timeout(timeout)
            .close();
        let note = note(index, reactor.now(), Rc::clone(&outcomes));
        let sent = match client {
            Ok(client) => reactor
                .with_intents(|cx| client.send(request, note, cx))
                .map_err(bad),
            Err(error) => Err(bad(error)),
        };
        if let Err(outcome) = sent {
            outcomes.borrow_mut()[index] = outcome;
        }
    }
    reactor.run()?;
    Ok(outcomes.take())
}

/// What is done with an answer.
fn note(
    index: usize,
    sent_at: Instant,
    outcomes: Outcomes,
) -> impl FnOnce(Result<Response<'_>, Failure>, &mut Intents) {
    move |answer, cx| {
        let took = cx.now().saturating_duration_since(sent_at).as_millis();
        outcomes.borrow_mut()[index] = match answer {
            Ok(answer) => Outcome {
                text: format!(
                    "{} in {took} ms, {} bytes",
                    answer.status(),
                    answer.body().len()
                ),
                is_good: answer.status().code() < 400,
            },
            Err(failure) => bad(failure),
        };
    }
}

fn client_of(url: &Url, timeout: Duration) -> Result<Client, InvalidRequest> {
    let limits = windlass::Limits {
        connect_timeout: timeout,
        // A server that does not end a connection which is over does not hold us up.
        linger_timeout: Duration::from_millis(100),
        ..windlass::Limits::default()
    };
    let connect = Connect::new(url.address.clone()).limits(limits);
    Client::with(connect, &url.host, Limits::default())
}

fn bad(text: impl fmt::Display) -> Outcome {
    Outcome {
        text: text.to_string(),
        is_good: false,
    }
}

fn print(urls: &[Url], outcomes: &[Outcome]) -> io::Result<()> {
    let width = urls.iter().map(|url| url.text.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for (url, outcome) in urls.iter().zip(outcomes) {
        let mark = if outcome.is_good { "good" } else { "BAD " };
        writeln!(out, "{mark}  {:width$}  {}", url.text, outcome.text)?;
    }
    out.flush()
}
