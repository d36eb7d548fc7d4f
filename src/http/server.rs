//! `Server`: a service and its limits, shared by all connections of a listener.
//!
//! Knows neither the listener nor the connections.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::access::{self, AccessLog, Record};
use super::decoder::Requests;
use super::head::Head;
use super::limits::Limits;
use super::prepared::Prepared;
use super::service::Service;
use super::session::Session;
use super::writer::Writer;
use crate::limits::Patience;
use crate::net::Address;
use crate::protocol::{Intents, IntoDriver, Stack};

/// An HTTP server: what answers, and within which limits. A clone is another handle on the same.
///
/// ```no_run
/// use windlass::{Reactor, http::{Request, Response, Server}};
///
/// let server = Server::new(|request: &mut Request<'_>| Response::text(request.path().to_owned()));
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:8080", move |_| server.clone())?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
#[derive(Clone)]
pub struct Server {
    shared: Rc<Shared>,
}

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) service: Box<dyn Service>,
    pub(crate) limits: Rc<Limits>,
    pub(crate) writer: Writer,
    pub(crate) prepared: Prepared,
    /// How long the peer is waited for between requests, and while it sends a head.
    pub(crate) waiting: Patience,
    /// While it sends a body.
    pub(crate) receiving: Patience,
    /// While it waits for us.
    pub(crate) answering: Patience,
    /// Requests that are being received or answered.
    pub(crate) active: Cell<usize>,
    /// Whether accesses are logged, and the second (since 1970) in which the logger said so.
    pub(crate) logging: Cell<(u64, bool)>,
    pub(crate) access_log: Cell<AccessLog>,
    /// Of connections that began while accesses were logged: who is at the other end.
    pub(crate) peers: RefCell<Slab<Address>>,
    /// Memory for the pieces of streamed bodies, lent to whoever is at it.
    pub(crate) scratch: Cell<Vec<u8>>,
}

impl Server {
    /// A server with the default limits.
    pub fn new(service: impl Service + 'static) -> Server {
        Server::with_limits(service, Limits::default())
    }

    /// A server with these limits.
    pub fn with_limits(service: impl Service + 'static, limits: Limits) -> Server {
        let waiting = Patience {
            idle: Some(limits.idle_timeout),
            first_byte: Some(limits.header_timeout),
            frame: Some(limits.header_timeout),
            is_passing: false,
        };
        let receiving = Patience {
            idle: Some(limits.header_timeout),
            first_byte: None,
            is_passing: true,
            ..waiting.clone()
        };
        let answering = Patience {
            is_passing: true,
            ..Patience::default()
        };
        let shared = Shared {
            service: Box::new(service),
            limits: Rc::new(limits),
            writer: Writer::new(),
            prepared: Prepared::default(),
            waiting,
            receiving,
            answering,
            active: Cell::new(0),
            logging: Cell::new((u64::MAX, false)),
            access_log: Cell::default(),
            peers: RefCell::default(),
            scratch: Cell::default(),
        };
        Server {
            shared: Rc::new(shared),
        }
    }

    /// Chooses how accesses are logged, by all clones of the server: by default
    /// [`AccessLog::Common`]. Whether they are is the logger's decision.
    ///
    /// ```
    /// use windlass::http::{AccessLog, Response, Router, Server};
    ///
    /// let router = Router::new().get("/", |_| Response::text("ahoy"));
    /// let server = Server::new(router).access_log(AccessLog::Json);
    /// # drop(server);
    /// ```
    pub fn access_log(self, format: AccessLog) -> Server {
        self.shared.access_log.set(format);
        self
    }

    /// The protocol of one connection, for a listener's closure; a clone of the server does the
    /// same, and knows besides who the peer is, for the access log.
    pub fn session(&self) -> Stack<Session> {
        self.stack(Session::new(Rc::clone(&self.shared)))
    }

    fn stack(&self, session: Session) -> Stack<Session> {
        Stack::new(Requests::new(Rc::clone(&self.shared.limits)), (), session)
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Requests that are being received or answered just now. One that is answered at once is not
    /// among them.
    pub fn active(&self) -> usize {
        self.shared.active.get()
    }
}

impl Shared {
    /// Whether no further request is to be begun.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let max = self.limits.max_concurrent;
        max.is_some_and(|max| self.active.get() >= max)
    }

    /// Whether accesses are logged. The logger is asked once per second: it looks for the target
    /// among its rules, which costs as much as writing a small answer.
    #[inline]
    pub(crate) fn logs_accesses(&self, second: u64) -> bool {
        let (asked_in, is_logging) = self.logging.get();
        if asked_in == second {
            return is_logging;
        }
        self.ask_logger(second)
    }

    #[cold]
    fn ask_logger(&self, second: u64) -> bool {
        let is_logging = Shared::is_logging();
        self.logging.set((second, is_logging));
        is_logging
    }

    fn is_logging() -> bool {
        log::log_enabled!(target: access::TARGET, log::Level::Info)
    }

    /// Begins a line of the access log; `head` is `None` if it could not be read.
    #[cold]
    pub(crate) fn record(
        &self,
        peer: u32,
        head: Option<&Head<'_>>,
        intents: &Intents,
    ) -> Box<Record> {
        let peers = self.peers.borrow();
        let date = self.writer.date(intents.unix_time());
        Box::new(Record::new(
            self.access_log.get(),
            peers.get(peer as usize),
            head,
            (&date, intents.now()),
        ))
    }

    /// How long a peer is told to wait when the server is full.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
}

impl IntoDriver for Server {
    type Driver = Stack<Session>;

    fn into_driver(self) -> Stack<Session> {
        self.session()
    }

    fn into_accepted(self, peer: &Address) -> Stack<Session> {
        let session = Session::new(Rc::clone(&self.shared));
        let session = if Shared::is_logging() {
            session.of(peer)
        } else {
            session
        };
        self.stack(session)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.shared.limits)
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}
