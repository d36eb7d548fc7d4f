//! HTTP: the table of requests of tests/http_conformance, in a world where things go wrong.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::http::{Limits, Server};
use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Protocol, Raw};

use crate::SEEDS;
use crate::client::{Cargo, Shared, is_quiet, patient};
use crate::site::site;
use crate::table::{Case, cases};
use crate::verdict::{End, judge};

/// Sends a request in pieces, and listens until the end.
struct Client {
    cargo: Cargo,
    notes: Shared,
}

impl Protocol for Client {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().opened = true;
        self.cargo.send(cx);
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Raw>) {
        self.cargo.send(cx);
    }

    fn on_frame(&mut self, bytes: &[u8], _: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().received.extend_from_slice(bytes);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

/// Any of the cases, also those whose peer does not keep its word.
pub(crate) fn scenario(world: &mut World) -> Outcome {
    play(world, &cases())
}

/// The cases of peers that keep their word: one that sends more after it has said that it sends no
/// more may lose the last answer (`Context::finish_both`), if none of that was there before.
fn faithful(world: &mut World) -> Outcome {
    let cases = cases().into_iter();
    let cases: Vec<Case> = cases.filter(|case| case.name != UNFAITHFUL).collect();
    play(world, &cases)
}

fn play(world: &mut World, cases: &[Case]) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let limits = Limits {
        header_timeout: LONG * 2,
        idle_timeout: LONG * 2,
        min_body_rate: None,
        ..Limits::default()
    };
    let http = Server::with_limits(site(), limits);
    let listen = Listen::new(world.address(server, 80)).limits(patient());
    world
        .reactor(server)
        .listen(listen, move |_| http.clone())
        .expect("the port is free");
    let mut asked: Vec<(&Case, Shared)> = Vec::new();
    for _ in 0..AT_ONCE {
        let case = &cases[world.random().below(cases.len())];
        let notes = Rc::<RefCell<_>>::default();
        let step = world.random().length(&(1..=case.request.len()));
        let pieces = case.request.chunks(step).map(<[u8]>::to_vec).collect();
        let cargo = Cargo::new(pieces);
        let protocol = world.watch().over(Client {
            cargo,
            notes: Rc::clone(&notes),
        });
        let connect = Connect::new(world.address(server, 80)).limits(patient());
        world
            .reactor(client)
            .connect(connect, protocol)
            .expect("an address");
        asked.push((case, notes));
    }
    // As long as the slowest of them takes; those that are kept say nothing more by then.
    world.run_for(LONG)?;
    for (case, notes) in &asked {
        let notes = notes.borrow();
        let end = match notes.closed {
            None => End::Kept,
            Some(reason) if reason.is_clean() => End::Closed,
            Some(_) => End::Broken,
        };
        world.require(
            end != End::Broken || !is_quiet(world),
            format_args!("nothing broke, and {} did: {:?}", case.name, notes.closed),
        )?;
        if let Err(problem) = judge(case, &notes.received, end) {
            let text = String::from_utf8_lossy(&notes.received).into_owned();
            world.require(false, format_args!("{}: {problem}: {text:?}", case.name))?;
        }
    }
    Ok(())
}

#[test]
fn every_case_is_answered_as_the_table_says_or_something_broke() {
    check(seeds(SEEDS), faithful);
}

/// Who says `Connection: close`, and then asks once more.
const UNFAITHFUL: &str = "nothing is answered behind a close";

/// Longer than anything that goes wrong takes.
const LONG: Duration = Duration::from_secs(3600);
/// Requests of one world.
const AT_ONCE: usize = 12;
