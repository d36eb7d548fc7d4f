//! The simulation: the same reactor, with the same protocols, on a network from a seed.
//!
//! Knows everything below it; nothing below knows it.
//!
//! A [`World`] has hosts, each with a reactor of its own, a network between them on which things go
//! wrong, and a clock that jumps from one event to the next: an hour takes milliseconds. All chance
//! comes from one seed. What fails once fails again, at the same line.
//!
//! # Testing a protocol
//!
//! Write the client as a protocol too, let both talk in a world, and say what must hold at the
//! end. [`explore`] does so under many seeds, each with a mixture of [`Faults`] of its own, and
//! stops at the first that fails. ([`check`] does the same in a `#[test]`, and panics.) Here is a
//! server that makes the oldest mistake of all: it takes what one read returns for one message.
//!
//! ```
//! use std::cell::RefCell;
//! use std::rc::Rc;
//! use std::time::Duration;
//! use windlass::sim::{self, Fault, Faults, Outcome, World};
//! use windlass::{Context, Protocol, Raw};
//!
//! /// Answers each message (a byte that says how long it is, and so many bytes) with itself.
//! struct Naive;
//!
//! impl Protocol for Naive {
//!     type Decoder = Raw;
//!     type Encoder = Raw;
//!
//!     fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
//!         let len = usize::from(bytes[0]);
//!         if let Some(message) = bytes.get(..=len) {
//!             cx.send(message);
//!         }
//!     }
//! }
//!
//! /// Sends one message, and waits for it to come back.
//! struct Client(Rc<RefCell<Vec<u8>>>);
//!
//! const MESSAGE: &[u8] = b"\x0bheave away!";
//!
//! impl Protocol for Client {
//!     type Decoder = Raw;
//!     type Encoder = Raw;
//!
//!     fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
//!         cx.send(MESSAGE);
//!     }
//!
//!     fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
//!         self.0.borrow_mut().extend_from_slice(bytes);
//!         if self.0.borrow().len() >= MESSAGE.len() {
//!             cx.finish();
//!         }
//!     }
//! }
//!
//! fn scenario(world: &mut World) -> Outcome {
//!     // What goes wrong here: nothing but how the stream is cut.
//!     world.set_faults(Faults { cut: 0.3, ..Faults::none() });
//!     let (server, client) = (world.host("server"), world.host("client"));
//!     let address = world.address(server, 7);
//!     world.reactor(server).listen(address, |_| Naive).expect("the port is free");
//!     let answer = Rc::default();
//!     let protocol = world.watch().over(Client(Rc::clone(&answer)));
//!     world.reactor(client).connect(address, protocol).expect("an address");
//!     let is_answered = |_: &mut World| answer.borrow().as_slice() == MESSAGE;
//!     world.run_until(is_answered, Duration::from_secs(60))
//! }
//!
//! let failure = sim::explore(0..100, scenario).expect_err("it is found within 100 seeds");
//! println!("{failure}"); // the last lines of the trace, the mistake, and WINDLASS_SEED=…
//! assert_eq!(failure.problem, sim::Problem::Timeout);
//! ```
//!
//! The same message cut in two is answered never. `LengthPrefixed` as the decoder mends it.
//!
//! # What is checked in every run
//!
//! - **No stall**: a reactor that sleeps has read every socket until it would have blocked, and
//!   written or sent whatever could be, unless back-pressure explains why not.
//! - **No spin**: no thousand turns in a row of which nothing comes.
//! - **No lost bytes**: nobody closes while its peer talks on, so that the reset which answers
//!   destroys what it had sent itself, but for the limits of lingering. Of every datagram it is
//!   known whether it was received, or why not ([`World::fates`]).
//! - **Deadlines**: timers within a tick, and time-outs of connecting and stalling.
//! - **Ends**: what [`World::watch`] watches is told of its end exactly once, and nothing after;
//!   its queue stays within its limits.
//! - **Leaks**: after [`World::end`] no entry and no socket is left.
//!
//! A failure says which seed it was. `WINDLASS_SEED=7 cargo test …` runs that one alone, and
//! [`shrink`] says which faults it takes.
//!
//! # Recording real traffic
//!
//! [`Record`] wraps any network, the operating system's above all, and writes down what the reactor
//! is told and what it sends; [`replay`] tells the same to another reactor, under virtual time, and
//! points out the first byte that differs. The example `replay` shows it.
//!
//! # What is not simulated
//!
//! Custom sources and threads: a `Remote` works, but what another thread does with it is not from
//! the seed. Time does not pass while a callback runs.

mod agenda;
mod datagram_net;
mod datagrams;
mod end;
mod errno;
mod explore;
mod fabric;
mod failure;
mod fates;
mod faults;
mod flight;
mod network;
mod outages;
mod ports;
mod random;
mod readiness;
mod record;
mod record_datagrams;
mod replay;
mod rules;
mod sending;
mod streams;
mod stuck;
mod tape;
mod trace;
mod watch;
mod world;

pub use datagram_net::SimDatagram;
pub use explore::{Outcome, check, explore, run, seeds, shrink};
pub use failure::{Failure, Problem};
pub use fates::Fates;
pub use faults::{Fault, Faults};
pub use network::{SimListener, SimNet, SimStream};
pub use random::Random;
pub use record::{Record, RecordListener, RecordStream, RecordWriter, Recorder};
pub use record_datagrams::{RecordDatagram, ReplayDatagram};
pub use replay::{Replay, ReplayError, ReplayListener, ReplayStream, Replayed, replay};
pub use tape::Difference;
pub use trace::Hash;
pub use watch::{Watch, Watched};
pub use world::{Host, World};
