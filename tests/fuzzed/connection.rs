//! A server, or a client, and a peer that sends whatever it is given: over the network in memory,
//! within a bounded number of turns.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::http::client::{self, Client};
use windlass::http::{Limits, Pulled, Request, Response, Server};
use windlass::net::{Connect, Memory};
use windlass::{Limits as ConnectionLimits, Reactor};

/// What came of what a peer has sent.
#[derive(Debug)]
pub(crate) struct Tried {
    /// Everything that it was answered, but for `100 Continue`.
    pub(crate) answers: Vec<u8>,
    /// What the handlers were asked, in order: method, target and body.
    pub(crate) requests: Vec<String>,
}

thread_local! {
    /// What handlers were asked.
    static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A server that notes what it is asked, and answers in all ways that there are.
pub(crate) fn site() -> Server {
    let limits = Limits {
        max_head_len: 2000,
        max_target_len: 1000,
        max_trailers_len: 500,
        max_body_len: 100,
        max_discard_len: 200,
        ..Limits::default()
    };
    Server::with_limits(answer as fn(&mut Request<'_>) -> Response, limits)
}

fn answer(request: &mut Request<'_>) -> Response {
    let method = request.head().method_name();
    let body = String::from_utf8_lossy(request.body()).into_owned();
    let asked = format!("{method} {} {body}", request.head().target());
    ASKED.with_borrow_mut(|all| all.push(asked));
    match request.path().len() % 4 {
        0 => Response::of(request.body().to_vec()),
        1 => Response::empty(204),
        2 => {
            let mut left = 3;
            Response::stream(move |out: &mut Vec<u8>| {
                out.push(b'x');
                left -= 1;
                if left == 0 { Pulled::End } else { Pulled::More }
            })
        }
        _ => Response::text("here"),
    }
}

/// Sends `data` to `server`, cut at these positions, each piece when the one before was handled.
pub(crate) fn try_server(server: &Server, data: &[u8], cuts: &[usize]) -> Tried {
    ASKED.take();
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let server = server.clone();
    reactor.listen(ADDRESS, move |_| server.clone()).unwrap();
    let peer = memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
    turn(&mut reactor, 3);
    let mut answers = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&data.len()]) {
        peer.send(&data[start..end]);
        start = end;
        turn(&mut reactor, 2);
        answers.extend(peer.received());
        if reactor.stats().entries == 1 {
            // The listener is alone: the peer has said that it sends no more, and what it sends
            // all the same would be answered by a reset.
            break;
        }
    }
    turn(&mut reactor, 10);
    answers.extend(peer.received());
    peer.finish();
    for _ in 0..MAX_TURNS {
        turn(&mut reactor, 1);
        answers.extend(peer.received());
        if peer.is_finished() {
            break;
        }
    }
    assert!(peer.is_finished(), "a peer that has finished is let go");
    assert!(!peer.is_reset(), "nobody is cut off");
    Tried {
        answers: without_continue(&answers),
        requests: ASKED.take(),
    }
}

/// What each of some requests came to, when a server answers `data`, on each connection anew.
pub(crate) fn try_client(data: &[u8], cuts: &[usize]) -> Vec<String> {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let address: windlass::net::Address = ADDRESS.parse().unwrap();
    let listener = memory.listen_peer(address.clone()).unwrap();
    let limits = client::Limits {
        max_connections: 1,
        max_pipelined: 3,
        max_body_len: 200,
        max_head_len: 2000,
        ..client::Limits::default()
    };
    let connect = Connect::new(address).limits(ConnectionLimits::default());
    let client = Client::with(connect, "h", limits).unwrap();
    let outcomes: Rc<RefCell<Vec<Vec<String>>>> = Rc::new(RefCell::new(vec![Vec::new(); 4]));
    reactor.with_intents(|cx| {
        for (index, method) in ["GET", "HEAD", "POST", "GET"].into_iter().enumerate() {
            let outcomes = Rc::clone(&outcomes);
            let note = move |answer: Result<client::Response<'_>, client::Failure>, _: &mut _| {
                let outcome = match answer {
                    Ok(answer) => format!("{:?}", (answer.status(), answer.body())),
                    Err(failure) => format!("{failure:?}"),
                };
                outcomes.borrow_mut()[index].push(outcome);
            };
            client
                .send(client::Request::new(method, "/"), note, cx)
                .unwrap();
        }
    });
    let is_done = || outcomes.borrow().iter().all(|told| !told.is_empty());
    // Each connection answers at least one request, or costs one of its retries.
    for _ in 0..20 {
        turn(&mut reactor, 3);
        let Some(peer) = listener.accept() else { break };
        let mut start = 0;
        for &end in cuts.iter().chain([&data.len()]) {
            peer.send(&data[start..end]);
            start = end;
            turn(&mut reactor, 2);
        }
        peer.finish();
        turn(&mut reactor, 3);
    }
    assert!(is_done(), "every request has an outcome: {outcomes:?}");
    let outcomes = outcomes.take().into_iter();
    outcomes
        .map(|mut told| {
            assert_eq!(told.len(), 1, "{told:?}");
            told.remove(0)
        })
        .collect()
}

fn turn(reactor: &mut Reactor<Memory>, count: usize) {
    for _ in 0..count {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

/// The answers without the interim ones, which depend on how requests are cut.
fn without_continue(answers: &[u8]) -> Vec<u8> {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut rest = answers;
    let mut all = Vec::new();
    while let Some(at) = rest
        .windows(interim.len())
        .position(|window| window == interim)
    {
        all.extend_from_slice(&rest[..at]);
        rest = &rest[at + interim.len()..];
    }
    all.extend_from_slice(rest);
    all
}

/// After which a connection that has nothing to do is stuck.
const MAX_TURNS: usize = 50;
const ADDRESS: &str = "127.0.0.1:80";
