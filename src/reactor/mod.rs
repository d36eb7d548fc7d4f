//! The reactor: one thread, one poller, many entries.
//!
//! Knows listeners, connections, datagram sockets and custom sources, but no concrete protocol.
//! This file is the door; `turn.rs` is the loop.

mod acceptor;
mod binding;
mod commands;
mod config;
mod connecting;
mod core;
mod datagram;
mod error;
mod governor;
mod mailbox;
mod os;
mod service;
mod source;
mod stats;
mod stream;
mod timers;
mod transmit;
mod turn;
mod wishes;
mod writing;

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use acceptor::Peer;
pub use config::Config;
pub use error::Error;
pub use mailbox::{PostError, Remote};
pub use source::{Progress, Source};
pub use stats::{DatagramStats, ServiceStats, Stats};

use self::core::{Command, Core, Due, Entry};
use acceptor::Acceptor;
use governor::Governor;
use mailbox::Mailbox;
use service::Service;
use stream::StreamEntry;
use timers::Wheel;

use crate::buffer::Pool;
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::net::{Address, Connect, Listen, Network, Os, Ready, StreamOptions};
use crate::protocol::{Driver, Effects, Intent, Intents, IntoDriver, Mail};
use crate::token::{Gone, Token};

/// A single-threaded event loop with everything that lives on it.
///
/// ```no_run
/// use windlass::{Echo, Lines, Reactor};
///
/// let mut reactor = Reactor::new()?;
/// let echo = reactor.listen("127.0.0.1:7000", |_| Echo::<Lines>::default())?;
/// println!("listening on tcp://{}", reactor.local_addr(echo)?);
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
///
/// It runs on any [`Network`]: the operating system's, an in-memory one for tests, or a simulated
/// one; protocols cannot tell.
pub struct Reactor<N: Network = Os> {
    /// By slot of their tokens. `None`: free, reserved, or ended in this turn.
    entries: Vec<Option<Box<dyn Entry<N>>>>,
    core: Core<N>,
    mailbox: Option<Mailbox>,
    config: Config,
    services: Vec<Rc<Service>>,
    /// What has ended, and keeps its slot until the end of the turn, so that no event of this
    /// batch can meet a new tenant.
    dead: Vec<(Token, Rc<Service>)>,
    /// Buffers of the loop, kept from turn to turn.
    ready: Vec<Ready>,
    due: Vec<(u64, Due)>,
    intents: Vec<Intent>,
    on_undeliverable: Option<Undeliverable>,
    /// The mailbox was not emptied in the last turn.
    has_mail: bool,
}

/// Who is told of mail that nobody takes.
type Undeliverable = Box<dyn FnMut(Token, Mail)>;

impl<N: Network> Reactor<N> {
    /// A reactor on the given network, with defaults.
    pub fn with_network(network: N) -> Reactor<N> {
        Reactor::with_config(network, Config::default())
    }

    /// A reactor on the given network.
    pub fn with_config(mut network: N, config: Config) -> Reactor<N> {
        let origin = network.now();
        let mut core = Core {
            network,
            fx: Effects::new(origin),
            wheel: Wheel::new(),
            user_timers: Vec::new(),
            read_buffer: vec![0; config.read_buffer_len.max(1)].into(),
            loads: Pool::new(),
            budgets: config.budgets.clone(),
            stats: Stats::default(),
            run_queue: VecDeque::new(),
            adopted: Vec::new(),
            starved: Vec::new(),
            is_shutting_down: false,
            catch_panics: config.catch_panics,
            origin,
            tick: 0,
            mark: 0,
            unix_origin: Duration::ZERO,
            unix_due: Duration::ZERO,
        };
        core.read_clock();
        Reactor {
            entries: Vec::new(),
            core,
            mailbox: None,
            config,
            services: Vec::new(),
            dead: Vec::new(),
            ready: Vec::new(),
            due: Vec::new(),
            intents: Vec::new(),
            on_undeliverable: None,
            has_mail: false,
        }
    }

    /// Opens a listener. `on` is an address (`"127.0.0.1:7000"`, `"unix:/run/x.sock"`, a
    /// `SocketAddr`) or a [`Listen`] with options and limits; the closure is called with each
    /// [`Peer`] and answers with what serves it: a protocol, or anything that is [`IntoDriver`].
    ///
    /// # Errors
    /// The address is not one, or the OS refuses it.
    pub fn listen<L, F, P>(&mut self, on: L, factory: F) -> Result<Token, Error>
    where
        L: TryInto<Listen>,
        Error: From<L::Error>,
        F: FnMut(&Peer) -> P + 'static,
        P: IntoDriver + 'static,
    {
        let listen: Listen = on.try_into()?;
        self.core.read_clock();
        let token = self.core.fx.intents.tokens.reserve();
        let listener = match self.core.network.listen(token, &listen) {
            Ok(listener) => listener,
            Err(source) => {
                self.core.fx.intents.tokens.release(token);
                return Err(Error::Listen {
                    address: listen.address.to_string(),
                    source,
                });
            }
        };
        let mut service = Service::new(listen.name, listen.limits);
        service.skip_when_slow = listen.skip_when_slow;
        service.listener = Some(token);
        let max = listen.admission.max_connections;
        service.resume_at = max - (max / 16).max(1).min(max);
        let service = self.remember(service);
        let governor = Governor::new(listen.admission);
        let entry = Acceptor::new(listener, factory, governor, service);
        self.attach(token, Box::new(entry));
        self.apply();
        Ok(token)
    }

    /// Opens a connection, served by `protocol`. The outcome is an event: `on_open`, or
    /// `on_close` with the reason. What is sent to the token before that is queued.
    ///
    /// # Errors
    /// The address is not one.
    pub fn connect<C, P>(&mut self, to: C, protocol: P) -> Result<Token, Error>
    where
        C: TryInto<Connect>,
        Error: From<C::Error>,
        P: IntoDriver,
    {
        let connect = to.try_into()?;
        self.core.read_clock();
        let token = self.core.fx.intents.tokens.reserve();
        self.open(token, connect, protocol.into_driver());
        self.apply();
        Ok(token)
    }

    /// Lends what callbacks act with, for use from outside of them: to send, to connect, to use
    /// what is made to be called from callbacks, such as an HTTP client. It is nobody's, so that
    /// no timer can be set; what has timers and mail but no peer is an entry of its own, see
    /// [`DatagramProtocol`]. What `act` asks for happens when it has returned.
    ///
    /// [`DatagramProtocol`]: crate::DatagramProtocol
    pub fn with_intents<T>(&mut self, act: impl FnOnce(&mut Intents) -> T) -> T {
        self.core.read_clock();
        self.core.fx.intents.leave();
        let answer = act(&mut self.core.fx.intents);
        self.apply();
        answer
    }

    /// Takes turns until no entry is left: no listener, connection, datagram socket or source.
    ///
    /// # Errors
    /// The poller failed.
    pub fn run(&mut self) -> Result<(), Error> {
        while !self.is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Takes turns until `is_done` says so (it is asked before each turn), or nothing is left.
    ///
    /// # Errors
    /// The poller failed.
    pub fn run_until(
        &mut self,
        mut is_done: impl FnMut(&mut Reactor<N>) -> bool,
    ) -> Result<(), Error> {
        while !self.is_empty() && !is_done(self) {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Shuts down: listeners close, what has arrived is served, connections finish, and what is
    /// left after `grace` is reset. [`Reactor::run`] then returns. Asked again, it can only become
    /// shorter.
    pub fn shutdown(&mut self, grace: Duration) {
        self.core.read_clock();
        self.begin_shutdown(grace);
        self.apply();
    }

    /// Sends bytes, already encoded, over a connection, or by a datagram socket to its peer; see
    /// [`Intents::send_to`].
    ///
    /// # Errors
    /// The entry has ended.
    pub fn send(&mut self, to: Token, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.command(to, Command::Send(bytes.into(), None))
    }

    /// Sends a value to the `on_mail` of an entry. A listener takes none: it is undeliverable.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn mail<M: Send + 'static>(&mut self, to: Token, mail: M) -> Result<(), Gone> {
        self.entry(to)?;
        self.core.read_clock();
        self.deliver(to, Box::new(mail));
        self.apply();
        Ok(())
    }

    /// Finishes a connection or a datagram socket: what is queued is sent first. Closes a listener
    /// or a source.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn finish(&mut self, token: Token) -> Result<(), Gone> {
        self.command(token, Command::Finish(CloseReason::Finished))
    }

    /// Ends our half of a connection once what is queued is sent.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn finish_writes(&mut self, token: Token) -> Result<(), Gone> {
        self.command(token, Command::FinishWrites)
    }

    /// Resets a connection. Closes anything else, and what is queued is lost.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn abort(&mut self, token: Token) -> Result<(), Gone> {
        self.command(token, Command::Abort(CloseReason::Aborted))
    }

    /// Lets a connection go on that its protocol paused.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn resume(&mut self, token: Token) -> Result<(), Gone> {
        self.command(token, Command::Resume)
    }

    /// A handle for other threads. All handles share one mailbox of `Config::mailbox_len` mails.
    ///
    /// # Errors
    /// The OS refused to make a waker.
    pub fn remote(&mut self) -> Result<Remote, Error> {
        if let Some(mailbox) = &self.mailbox {
            return Ok(mailbox.remote());
        }
        let waker = self.core.network.waker()?;
        let mailbox = self
            .mailbox
            .insert(Mailbox::new(self.config.mailbox_len, waker));
        Ok(mailbox.remote())
    }

    /// Is told of mail whose receiver is gone, or takes none. Such mail is counted and logged in
    /// any case.
    pub fn on_undeliverable(&mut self, callback: impl FnMut(Token, Mail) + 'static) {
        self.on_undeliverable = Some(Box::new(callback));
    }

    /// Our address: that of a listener or a datagram socket, or our end of a connection.
    ///
    /// # Errors
    /// The entry has ended, or the OS does not tell.
    pub fn local_addr(&self, token: Token) -> Result<Address, Error> {
        Ok(self.entry(token)?.local_addr(&self.core)?)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// The connection has ended, or the OS does not tell.
    pub fn peer_addr(&self, token: Token) -> Result<Address, Error> {
        Ok(self.entry(token)?.peer_addr(&self.core)?)
    }

    /// The socket options of a connection, as the OS has them.
    ///
    /// # Errors
    /// The connection has ended, or the OS does not tell.
    pub fn options(&self, token: Token) -> Result<StreamOptions, Error> {
        Ok(self.entry(token)?.options(&self.core)?)
    }

    /// Changes the socket options of a connection.
    ///
    /// # Errors
    /// The connection has ended, or the OS refused an option.
    pub fn set_options(&mut self, token: Token, options: &StreamOptions) -> Result<(), Error> {
        self.entry(token)?;
        let entry = self.entries[token.index()].as_mut().ok_or(Gone)?;
        Ok(entry.set_options(options, &mut self.core)?)
    }

    /// Whether the token names an entry that has not ended.
    pub fn is_alive(&self, token: Token) -> bool {
        self.entry(token).is_ok()
    }

    /// Whether a connection is not read because its protocol paused it.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn is_paused(&self, token: Token) -> Result<bool, Gone> {
        Ok(self.entry(token)?.is_paused())
    }

    /// Whether a connection is not read because one that it forwards to has no room.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn is_held(&self, token: Token) -> Result<bool, Gone> {
        Ok(self.entry(token)?.is_held())
    }

    /// Whether nothing is left to wait for.
    pub fn is_empty(&self) -> bool {
        self.core.stats.entries == 0 && self.core.adopted.is_empty() && self.dead.is_empty()
    }

    /// What the reactor has done so far.
    pub fn stats(&self) -> Stats {
        self.core.stats.clone()
    }

    /// Whether a shutdown has begun.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.core.is_shutting_down
    }

    /// How much has been done that shows on no socket: a number that grows with it.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn work_done(&self) -> u64 {
        let frames = self.services.iter().map(|s| s.counters.frames.get());
        self.core.stats.timers_fired + self.core.stats.mails + frames.sum::<u64>()
    }

    /// What the service of an entry has done so far.
    ///
    /// # Errors
    /// The entry has ended.
    pub fn service_stats(&self, token: Token) -> Result<ServiceStats, Gone> {
        Ok(self.entry(token)?.service().stats())
    }

    /// What every service has done so far, in the order in which they began.
    pub fn services(&self) -> impl Iterator<Item = ServiceStats> + '_ {
        self.services.iter().map(|service| service.stats())
    }

    /// The time of the current turn, or of the last one.
    pub fn now(&self) -> Instant {
        self.core.fx.intents.now
    }

    /// The network that the reactor runs on.
    pub fn network(&self) -> &N {
        &self.core.network
    }

    /// The same, to act on it: a [`Memory`](crate::net::Memory), say.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.core.network
    }

    fn entry(&self, token: Token) -> Result<&dyn Entry<N>, Gone> {
        if !self.core.fx.intents.tokens.is_alive(token) {
            return Err(Gone);
        }
        self.entries
            .get(token.index())
            .and_then(Option::as_deref)
            .ok_or(Gone)
    }

    /// Commands an entry from outside of a turn. The last turn may be long ago: what is timed
    /// from now on must not be early.
    fn command(&mut self, token: Token, command: Command) -> Result<(), Gone> {
        self.core.read_clock();
        let was_there = self.call(token, |entry, core| entry.on_command(token, command, core));
        self.apply();
        if was_there { Ok(()) } else { Err(Gone) }
    }

    /// Opens a connection under a token that was reserved for it.
    fn open<D: Driver + 'static>(&mut self, token: Token, connect: Connect, mut driver: D) {
        if self.core.is_shutting_down {
            return self.not_opened(token, |cx| driver.on_close(CloseReason::Shutdown, cx));
        }
        let service = self.service(&connect.name, &connect.limits, connect.skip_when_slow);
        let entry = StreamEntry::connecting(connect, driver, service, &mut self.core);
        self.attach(token, Box::new(entry));
    }

    /// The service of that name and with these limits; a new one if there is none.
    fn service(&mut self, name: &str, limits: &Limits, skip_when_slow: bool) -> Rc<Service> {
        let known = self.services.iter().find(|service| {
            service.listener.is_none()
                && service.name == name
                && service.limits == *limits
                && service.skip_when_slow == skip_when_slow
        });
        if let Some(service) = known {
            return Rc::clone(service);
        }
        let mut service = Service::new(name.to_owned(), limits.clone());
        service.skip_when_slow = skip_when_slow;
        self.remember(service)
    }

    /// Keeps a service for its counters. Once there are many, those that nobody uses any more make
    /// room, and their counters go with them.
    fn remember(&mut self, service: Service) -> Rc<Service> {
        if self.services.len() >= MAX_SERVICES {
            self.services
                .retain(|service| Rc::strong_count(service) > 1);
        }
        let service = Rc::new(service);
        self.services.push(Rc::clone(&service));
        service
    }
}

impl<N: Network> Drop for Reactor<N> {
    /// Resets what is still open, and tells its protocols.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What the last callbacks ask for is answered: nothing more is opened.
            self.core.is_shutting_down = true;
            self.abort_all(CloseReason::Shutdown);
            self.apply();
            self.release_dead();
        }
    }
}

impl<N: Network + fmt::Debug> fmt::Debug for Reactor<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("network", &self.core.network)
            .field("stats", &self.core.stats)
            .finish_non_exhaustive()
    }
}

/// Services that are remembered although nothing uses them.
const MAX_SERVICES: usize = 256;
