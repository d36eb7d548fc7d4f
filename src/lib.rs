//! Windlass: a single-threaded event-loop reactor for network servers.
//!
//! How it is built is told in ARCHITECTURE.md.
#![forbid(unsafe_code)]

mod buffer;
mod close;
pub mod framing;
mod limits;
pub mod net;
pub mod protocol;
mod reactor;
mod token;

pub use buffer::Outbox;
pub use close::{CloseReason, OsError};
pub use framing::{Decoder, Encoder, Raw, Step};
pub use limits::{Budgets, Limits, MinRate};
pub use protocol::{Context, Intents, IntoDriver, Mail, Protocol, Sent, TimerId};
pub use token::{Gone, Token};
