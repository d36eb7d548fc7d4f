//! Windlass: a single-threaded event-loop reactor for network servers.
//!
//! A server is a [`Protocol`] (or a ready-made one) over a framing, and one call to
//! [`Reactor::listen`]:
//!
//! ```no_run
//! use windlass::{Context, Lines, Protocol, Reactor};
//!
//! struct Shout;
//!
//! impl Protocol for Shout {
//!     type Decoder = Lines;
//!     type Encoder = Lines;
//!
//!     fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
//!         cx.send(line.to_ascii_uppercase());
//!     }
//! }
//!
//! let mut reactor = Reactor::new()?;
//! reactor.listen("127.0.0.1:7000", |_| Shout)?;
//! reactor.run()?;
//! # Ok::<(), windlass::Error>(())
//! ```
//!
//! - [`Reactor`]: listeners, connections, datagram sockets, custom sources, timers, a mailbox for
//!   other threads.
//! - [`framing`]: from bytes to frames and back; ready-made framings.
//! - [`protocol`]: what a server says, and the [`Context`] with which it says it.
//! - [`Limits`]: every bound of a connection. The defaults are safe for the open network.
//! - [`net`]: addresses, socket options, and the [`net::Network`] that a reactor runs on: the
//!   operating system's, or [`net::Memory`] in tests.
//! - `http`: a server with a router, and a client.
//! - `sim`: worlds from a seed, to test protocols in.
//!
//! | feature | default | what comes with it |
//! |---|---|---|
//! | `http` | on | the module `http`, and `sendfile` |
//! | `sendfile` | with `http` | on Linux, files leave without a copy ([`Outbox::put_file`]) |
//! | `udp-batch` | on | on Linux, trains of datagrams, and what control messages tell |
//! | `defer-accept` | on | on Linux, [`net::Listen::defer_accept`] |
//! | `digest` | off | `framing::{Checked, Sealed}`, `protocol::auth`, `http::digest` |
//! | `hub` | off | `protocol::Hub` |
//! | `sim` | off | the module `sim` |
//! | `tokio-codec` | off | `framing::tokio_codec` |
//!
//! Unix-like systems only. How it is built is told in ARCHITECTURE.md; this page knows nothing of
//! that.
#![forbid(unsafe_code)]

mod buffer;
mod close;
mod connection;
pub mod framing;
#[cfg(feature = "http")]
pub mod http;
mod limits;
pub mod net;
pub mod protocol;
mod rate;
pub mod reactor;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod token;

pub use buffer::Outbox;
pub use close::{CloseReason, OsError};
pub use framing::{
    Decoder, Delimited, Encoder, Fixed, LengthField, LengthPrefixed, Lines, Netstring, Raw, Step,
};
pub use limits::{
    Budgets, DatagramLimits, Limits, MinRate, Overflow, Oversize, Patience, StormGuard,
};
pub use protocol::{
    Context, Datagram, DatagramContext, DatagramProtocol, Discard, Echo, Intents, IntoDriver, Mail,
    Protocol, SendCause, SendError, Sent, TimerId,
};
pub use reactor::{Config, Error, Peer, Progress, Reactor, Remote, Source};
pub use token::{Gone, Token};

/// The examples of the README are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
