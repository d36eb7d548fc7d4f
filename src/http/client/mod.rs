//! An HTTP/1.1 client: for health checks, forwarders and load tests.
//!
//! A [`Client`] speaks to one server, over as many connections as its [`Limits`] allow, which it
//! opens when they are needed, keeps, and uses again. It sends from within any callback of the
//! reactor, and what comes back is a callback too. Knows neither the reactor nor its connections.
//!
//! ```
//! use std::time::Duration;
//! use windlass::Reactor;
//! use windlass::http::client::{Client, Request};
//! use windlass::http::{Response, Router, Server};
//! use windlass::net::Memory;
//!
//! let mut reactor = Reactor::with_network(Memory::new());
//! let server = Server::new(Router::new().get("/health", |_| Response::text("fine")));
//! reactor.listen("127.0.0.1:8080", move |_| server.clone())?;
//!
//! let client = Client::to("127.0.0.1:8080")?;
//! reactor.with_intents(|cx| {
//!     client.send(Request::get("/health"), |answer, cx| {
//!         let answer = answer.expect("the server is there");
//!         assert_eq!((answer.status().code(), answer.body()), (200, &b"fine"[..]));
//!         cx.shutdown(Duration::from_secs(1));
//!     }, cx)
//! })?;
//! reactor.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Request`]: what to ask. It cannot be made to end early and begin another one.
//! - [`Client::send`] puts the answer together, up to a limit; [`Client::receive`] hands it to a
//!   [`Receiver`] piece by piece, with back-pressure.
//! - [`Failure`]: why there is no answer, and whether asking again does no harm. What was sent over
//!   a connection that the server has just closed is sent again by itself, if that does none.
//! - `Request::verify` (feature `digest`): no body counts that is not what its digest says.
//! - [`Responses`]: the decoder alone.
//!
//! While more of a request's body is queued than the connection's high water allows, nothing is
//! read: a server that answers early has to go on reading (RFC 9112, section 9.6).
//!
//! Not here: names (addresses are numbers and paths), TLS, redirects, cookies, CONNECT, upgrades.

mod check;
mod decoder;
mod error;
mod head;
mod limits;
mod pool;
mod receiver;
mod request;
mod session;

use std::fmt;
use std::rc::Rc;

pub use decoder::{Part, Responses};
pub use error::{Cause, DigestError, Failure, InvalidRequest, ResponseError, SendError};
pub use head::{Head, Length};
pub use limits::Limits;
pub use receiver::{Flow, Receiver, Response};
pub use request::Request;
#[cfg(feature = "digest")]
pub(in crate::http) use request::Verifying;

use decoder::Bounds;
use pool::{Call, Pool};
use receiver::Whole;

use super::target;
use crate::net::{Address, AddressError, Connect};
use crate::protocol::Intents;

/// A client of one server. A clone is another handle on the same.
///
/// A forwarder is a server whose handlers ask another one, and answer when they are answered:
///
/// ```
/// use windlass::Reactor;
/// use windlass::http::client::{Client, Request};
/// use windlass::http::{Response, Router, Server};
/// use windlass::net::Memory;
///
/// let memory = Memory::new();
/// let mut reactor = Reactor::with_network(memory.clone());
/// let behind = Server::new(Router::new().get("/tide", |_| Response::text("high")));
/// reactor.listen("127.0.0.1:8081", move |_| behind.clone())?;
///
/// let client = Client::to("127.0.0.1:8081")?;
/// let front = Server::new(Router::new().get("/{*path}", move |request| {
///     let (reply, response) = request.defer();
///     let asked = Request::get(request.path());
///     let sent = client.send(asked, |answer, cx| {
///         let response = match answer {
///             Ok(answer) => Response::of(answer.body().to_vec()).status(answer.status()),
///             Err(_) => Response::error(502),
///         };
///         // Nothing is to be done if whoever asked has left.
///         let _ = reply.send(cx, response);
///     }, request.intents());
///     sent.map_or_else(|_| Response::error(503), |()| response)
/// }));
/// reactor.listen("127.0.0.1:8080", move |_| front.clone())?;
///
/// let peer = memory.connect_peer(&"127.0.0.1:8080".parse()?)?;
/// peer.send(b"GET /tide HTTP/1.1\r\nHost: h\r\n\r\n");
/// for _ in 0..10 {
///     reactor.turn(Some(std::time::Duration::ZERO))?;
/// }
/// assert!(peer.received().ends_with(b"high"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pool: Rc<Pool>,
}

impl Client {
    /// A client of the server at `connect`, with the default limits. What it tells the server as
    /// `Host` is that address; `localhost` if it is a path.
    pub fn new(connect: impl Into<Connect>) -> Client {
        let connect = connect.into();
        let host = match connect.address() {
            Address::Ip(address) => address.to_string(),
            _ => "localhost".to_owned(),
        };
        Client::make(connect, host, Limits::default())
    }

    /// As [`Client::new`], from text; see [`Address`].
    ///
    /// # Errors
    /// The text is not an address.
    pub fn to(address: &str) -> Result<Client, AddressError> {
        Ok(Client::new(Connect::to(address)?))
    }

    /// A client with these limits which tells the server this `Host`, with or without a port.
    ///
    /// # Errors
    /// `host` is none.
    pub fn with(
        connect: impl Into<Connect>,
        host: &str,
        limits: Limits,
    ) -> Result<Client, InvalidRequest> {
        if !target::is_authority(host.as_bytes()) {
            return Err(InvalidRequest::Host);
        }
        Ok(Client::make(connect.into(), host.to_owned(), limits))
    }

    fn make(connect: Connect, host: String, limits: Limits) -> Client {
        let pool = Pool::new(connect, host, Bounds::new(limits));
        Client {
            pool: Rc::new(pool),
        }
    }

    /// Sends a request. The callback is called once, later, with the whole answer or with the
    /// reason why there is none.
    ///
    /// # Errors
    /// The request was not taken; the callback is dropped.
    pub fn send(
        &self,
        request: impl Into<Rc<Request>>,
        callback: impl FnOnce(Result<Response<'_>, Failure>, &mut Intents) + 'static,
        cx: &mut Intents,
    ) -> Result<(), SendError> {
        let whole = Whole::new(callback, Rc::clone(&self.pool.bounds));
        self.receive(request, Box::new(whole), cx)
    }

    /// Sends a request, whose answer `receiver` takes piece by piece.
    ///
    /// # Errors
    /// The request was not taken; the receiver is dropped.
    pub fn receive(
        &self,
        request: impl Into<Rc<Request>>,
        receiver: Box<dyn Receiver>,
        cx: &mut Intents,
    ) -> Result<(), SendError> {
        let request = request.into();
        request.check()?;
        if self.pool.is_closed() {
            return Err(SendError::Closed);
        }
        let limits = self.limits();
        let call = Call {
            request,
            receiver,
            retries_left: limits.max_retries,
        };
        if !self.pool.push(call) {
            return Err(SendError::Full {
                limit: limits.max_queued,
            });
        }
        self.pool.dispatch(cx);
        Ok(())
    }

    /// Takes no further requests. What was taken is answered; then its connections end.
    pub fn close(&self, cx: &mut Intents) {
        self.pool.close(cx);
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.pool.bounds.limits
    }

    /// Requests that wait for a connection.
    pub fn queued(&self) -> usize {
        self.pool.queued()
    }

    /// Connections that are open or being made.
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.pool.host)
            .field("queued", &self.queued())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
