//! Windlass: a single-threaded event-loop reactor for network servers.
//!
//! How it is built is told in ARCHITECTURE.md.
#![forbid(unsafe_code)]

mod buffer;
mod close;
mod connection;
pub mod framing;
mod limits;
pub mod net;
pub mod protocol;
pub mod reactor;
mod token;

pub use buffer::Outbox;
pub use close::{CloseReason, OsError};
pub use framing::{Decoder, Encoder, Lines, Raw, Step};
pub use limits::{Budgets, Limits, MinRate};
pub use protocol::{Context, Discard, Echo, Intents, IntoDriver, Mail, Protocol, Sent, TimerId};
pub use reactor::{Config, Error, Peer, Progress, Reactor, Remote, Source};
pub use token::{Gone, Token};
