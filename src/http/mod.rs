//! HTTP/1.1 and 1.0 servers (RFC 9110, RFC 9112), and a client.
//!
//! An ordinary tenant of the reactor: a decoder and a protocol as anybody could write them. Knows
//! neither connections nor the reactor.
//!
//! ```no_run
//! use windlass::{Reactor, http::{Response, Router, Server}};
//!
//! let router = Router::new()
//!     .get("/", |_| Response::html("<h1>Ahoy</h1>"))
//!     .get("/hello/{name}", |request| {
//!         Response::text(format!("Hello, {}!", request.param("name")))
//!     })
//!     .post("/echo", |request| Response::of(request.body().to_vec()));
//!
//! let server = Server::new(router);
//! let mut reactor = Reactor::new()?;
//! reactor.listen("127.0.0.1:8080", move |_| server.clone())?;
//! reactor.run()?;
//! # Ok::<(), windlass::Error>(())
//! ```
//!
//! - [`Router`]: paths and methods to handlers. A handler is `Fn(&mut Request) -> Response`.
//! - [`Response`]: complete, streamed ([`Source`]), later ([`Reply`], [`Response::after`]), or the
//!   handing over of the connection ([`Response::upgrade`]).
//! - [`Receiver`]: a request's body, piece by piece.
//! - [`wraps`]: authentication, CORS and limits around handlers.
//! - [`Files`]: the files of a directory.
//! - [`Feed`]: server-sent events, to whoever has subscribed.
//! - [`AccessLog`]: a line for every request.
//! - [`Limits`]: every bound, and what happens at it.
//! - [`client`]: the other side: health checks, forwarders, load tests.

mod access;
mod answering;
mod base64;
mod body;
mod chunked;
pub mod client;
mod decoder;
#[cfg(feature = "digest")]
pub mod digest;
mod endpoint;
mod error;
mod events;
mod exchange;
mod fields;
mod file;
mod files;
mod head;
mod limits;
mod method;
mod normal;
mod paths;
mod permit;
mod prepared;
mod reply;
mod request;
mod response;
mod router;
mod routes;
mod scan;
mod server;
mod service;
mod session;
mod status;
mod summary;
mod target;
#[cfg(test)]
mod testing;
pub mod wraps;
mod writer;

pub use access::AccessLog;
pub use body::{Nudge, Pulled, Source};
pub use decoder::{Part, Requests};
pub use endpoint::Next;
pub use error::{RequestError, RouteError};
pub use events::{Event, Feed, FeedLimits, Slow};
pub use fields::{Fields, FieldsIter};
#[cfg(feature = "digest")]
pub use files::FileDigests;
pub use files::{FileCache, Files};
pub use head::Head;
pub use limits::Limits;
pub use method::{Method, Version};
pub use reply::{Answer, Reply};
pub use request::Request;
pub use response::{FieldError, IntoBody, Response};
pub use router::Router;
pub use server::Server;
pub use service::{Accept, Flow, Receiver, Service};
pub use session::Session;
pub use status::Status;
pub use summary::Length;
