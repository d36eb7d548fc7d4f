//! The simulation: the same reactor, with the same protocols, on a network from a seed.
//!
//! Knows everything below it; nothing below knows it.

mod agenda;
mod end;
mod errno;
mod explore;
mod fabric;
mod failure;
mod faults;
mod network;
mod outages;
mod ports;
mod random;
mod readiness;
mod rules;
mod streams;
mod trace;
mod watch;
mod world;

pub use explore::{Outcome, check, explore, run, seeds, shrink};
pub use failure::{Failure, Problem};
pub use faults::{Fault, Faults};
pub use network::{SimListener, SimNet, SimStream};
pub use random::Random;
pub use trace::Hash;
pub use watch::{Watch, Watched};
pub use world::{Host, World};
