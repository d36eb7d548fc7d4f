//! What the loopback tests share: a server in a thread of its own, a protocol made of closures,
//! and clients on the plain socket interface of the standard library.
//!
//! Waits for events, never for a time: every wait has a bound, and reaching it is a failure.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "each test uses its own part of this; the rules are for the library"
)]

use std::io::{self, ErrorKind, Read};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use windlass::framing::{Decoder, Encoder};
use windlass::reactor::{ServiceStats, Stats};
use windlass::{
    CloseReason, Config, Context, Intents, Mail, Protocol, Reactor, Remote, TimerId, Token,
};

/// A failure, not a measure: no test gets here unless something was lost.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(30);

/// What a reactor has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    pub(crate) services: Vec<ServiceStats>,
}

/// A reactor in a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) listener: Token,
    pub(crate) remote: Remote,
    thread: JoinHandle<Snapshot>,
    shared: Arc<(Mutex<Snapshot>, Condvar)>,
}

impl Server {
    /// Starts a reactor. The closure opens a listener on a TCP address and answers with its token.
    pub(crate) fn start(configure: impl FnOnce(&mut Reactor) -> Token + Send + 'static) -> Server {
        Server::with_config(Config::default(), configure)
    }

    pub(crate) fn with_config(
        config: Config,
        configure: impl FnOnce(&mut Reactor) -> Token + Send + 'static,
    ) -> Server {
        let (started, start) = channel();
        let shared = Arc::new((Mutex::new(Snapshot::default()), Condvar::new()));
        let publisher = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut reactor = Reactor::configured(config).unwrap();
            let listener = configure(&mut reactor);
            let address = reactor.local_addr(listener).unwrap();
            let remote = reactor.remote().unwrap();
            let publish = |reactor: &Reactor| {
                let snapshot = Snapshot {
                    stats: reactor.stats(),
                    services: reactor.services().collect(),
                };
                *publisher.0.lock().unwrap() = snapshot.clone();
                publisher.1.notify_all();
                snapshot
            };
            publish(&reactor);
            started.send((address, listener, remote)).unwrap();
            reactor
                .run_until(|reactor| {
                    publish(reactor);
                    false
                })
                .unwrap();
            publish(&reactor)
        });
        let (address, listener, remote) = start.recv_timeout(TOO_LONG).unwrap();
        // Of no meaning for a Unix listener, whose path the test knows.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = address.as_ip().unwrap_or(nowhere);
        Server {
            address,
            listener,
            remote,
            thread,
            shared,
        }
    }

    /// Connects to it.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Waits until the reactor has got there.
    #[track_caller]
    pub(crate) fn wait_until(&self, is_there: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let guard = self.shared.0.lock().unwrap();
        let (snapshot, timeout) = self
            .shared
            .1
            .wait_timeout_while(guard, TOO_LONG, |snapshot| !is_there(snapshot))
            .unwrap();
        assert!(!timeout.timed_out(), "never got there: {snapshot:#?}");
        snapshot.clone()
    }

    /// Waits until so many entries are alive.
    #[track_caller]
    pub(crate) fn wait_for_entries(&self, count: usize) {
        self.wait_until(|snapshot| snapshot.stats.entries == count);
    }

    /// Shuts down, and waits for the end.
    pub(crate) fn stop(self) -> Snapshot {
        self.remote.shutdown(TOO_LONG);
        self.join()
    }

    /// Waits for the end of a reactor that was shut down.
    pub(crate) fn join(self) -> Snapshot {
        self.thread.join().unwrap()
    }
}

/// A client with generous time-outs.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    with_timeouts(&stream);
    stream
}

/// A client that takes little before it is read.
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    // Before connecting: TCP settles the window scale then (tcp(7)).
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    with_timeouts(&stream);
    stream
}

fn with_timeouts(stream: &TcpStream) {
    stream.set_read_timeout(Some(TOO_LONG)).unwrap();
    stream.set_write_timeout(Some(TOO_LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// Reads so many bytes.
#[track_caller]
pub(crate) fn read_exactly(stream: &mut impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// How a stream ended for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// Reads to the end.
#[track_caller]
pub(crate) fn read_to_end(stream: &mut impl Read) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, End::Fin),
        Err(error) if is_reset(&error) => (bytes, End::Reset),
        Err(error) => panic!("after {} bytes: {error}", bytes.len()),
    }
}

pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// What a [`Script`] has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Open(Token),
    Frame(Token, Vec<u8>),
    Drain(Token),
    Eof(Token, usize),
    Shutdown(Token),
    Close(Token, CloseReason),
}

/// Waits for what comes next.
#[track_caller]
pub(crate) fn next<T>(seen: &Receiver<T>) -> T {
    seen.recv_timeout(TOO_LONG).expect("something happens")
}

/// Waits for the next end of a connection, whatever comes before.
#[track_caller]
pub(crate) fn next_close(seen: &Receiver<Seen>) -> (Token, CloseReason) {
    loop {
        if let Seen::Close(token, reason) = next(seen) {
            return (token, reason);
        }
    }
}

/// Waits for the next beginning of a connection, whatever comes before.
#[track_caller]
pub(crate) fn next_open(seen: &Receiver<Seen>) -> Token {
    loop {
        if let Seen::Open(token) = next(seen) {
            return token;
        }
    }
}

/// A framing whose frames are bytes.
pub(crate) trait Framing:
    for<'a> Decoder<Frame<'a> = &'a [u8]> + for<'a> Encoder<&'a [u8]> + Default + 'static
{
}

impl<C> Framing for C where
    C: for<'a> Decoder<Frame<'a> = &'a [u8]> + for<'a> Encoder<&'a [u8]> + Default + 'static
{
}

type OnFrame<C> = Box<dyn FnMut(&[u8], &mut Context<'_, C>)>;
type OnEvent<C> = Box<dyn FnMut(&mut Context<'_, C>)>;
type OnMail<C> = Box<dyn FnMut(Mail, &mut Context<'_, C>)>;
type OnTimer<C> = Box<dyn FnMut(TimerId, &mut Context<'_, C>)>;
type OnEof<C> = Box<dyn FnMut(usize, &mut Context<'_, C>)>;
type OnClose = Box<dyn FnMut(CloseReason, &mut Intents)>;

/// A protocol made of closures, which tells a channel what it has seen.
pub(crate) struct Script<C> {
    seen: Option<Sender<Seen>>,
    open: Option<OnEvent<C>>,
    frame: Option<OnFrame<C>>,
    drain: Option<OnEvent<C>>,
    mail: Option<OnMail<C>>,
    timer: Option<OnTimer<C>>,
    eof: Option<OnEof<C>>,
    shutdown: Option<OnEvent<C>>,
    close: Option<OnClose>,
    framing: PhantomData<C>,
}

impl<C: Framing> Script<C> {
    /// Echoes what it receives, until told otherwise.
    pub(crate) fn new() -> Script<C> {
        Script {
            seen: None,
            open: None,
            frame: None,
            drain: None,
            mail: None,
            timer: None,
            eof: None,
            shutdown: None,
            close: None,
            framing: PhantomData,
        }
    }

    pub(crate) fn seen(mut self, seen: &Sender<Seen>) -> Script<C> {
        self.seen = Some(seen.clone());
        self
    }

    pub(crate) fn on_open(mut self, f: impl FnMut(&mut Context<'_, C>) + 'static) -> Script<C> {
        self.open = Some(Box::new(f));
        self
    }

    pub(crate) fn on_frame(
        mut self,
        f: impl FnMut(&[u8], &mut Context<'_, C>) + 'static,
    ) -> Script<C> {
        self.frame = Some(Box::new(f));
        self
    }

    pub(crate) fn on_drain(mut self, f: impl FnMut(&mut Context<'_, C>) + 'static) -> Script<C> {
        self.drain = Some(Box::new(f));
        self
    }

    pub(crate) fn on_mail(
        mut self,
        f: impl FnMut(Mail, &mut Context<'_, C>) + 'static,
    ) -> Script<C> {
        self.mail = Some(Box::new(f));
        self
    }

    pub(crate) fn on_timer(
        mut self,
        f: impl FnMut(TimerId, &mut Context<'_, C>) + 'static,
    ) -> Script<C> {
        self.timer = Some(Box::new(f));
        self
    }

    pub(crate) fn on_eof(
        mut self,
        f: impl FnMut(usize, &mut Context<'_, C>) + 'static,
    ) -> Script<C> {
        self.eof = Some(Box::new(f));
        self
    }

    pub(crate) fn on_shutdown(mut self, f: impl FnMut(&mut Context<'_, C>) + 'static) -> Script<C> {
        self.shutdown = Some(Box::new(f));
        self
    }

    pub(crate) fn on_close(
        mut self,
        f: impl FnMut(CloseReason, &mut Intents) + 'static,
    ) -> Script<C> {
        self.close = Some(Box::new(f));
        self
    }

    fn tell(&self, what: Seen) {
        if let Some(seen) = &self.seen {
            // The test may have seen enough.
            let _ = seen.send(what);
        }
    }
}

impl<C: Framing> Protocol for Script<C> {
    type Decoder = C;
    type Encoder = C;

    fn on_open(&mut self, cx: &mut Context<'_, C>) {
        self.tell(Seen::Open(cx.token()));
        if let Some(f) = &mut self.open {
            f(cx);
        }
    }

    fn on_frame(&mut self, frame: &[u8], cx: &mut Context<'_, C>) {
        self.tell(Seen::Frame(cx.token(), frame.to_vec()));
        match &mut self.frame {
            Some(f) => f(frame, cx),
            None => {
                cx.send(frame);
            }
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_, C>) {
        self.tell(Seen::Drain(cx.token()));
        if let Some(f) = &mut self.drain {
            f(cx);
        }
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, C>) {
        if let Some(f) = &mut self.mail {
            f(mail, cx);
        }
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut Context<'_, C>) {
        if let Some(f) = &mut self.timer {
            f(timer, cx);
        }
    }

    fn on_eof(&mut self, partial_len: usize, cx: &mut Context<'_, C>) {
        self.tell(Seen::Eof(cx.token(), partial_len));
        match &mut self.eof {
            Some(f) => f(partial_len, cx),
            None => cx.finish(),
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_, C>) {
        self.tell(Seen::Shutdown(cx.token()));
        match &mut self.shutdown {
            Some(f) => f(cx),
            None => cx.finish(),
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.tell(Seen::Close(cx.token(), reason));
        if let Some(f) = &mut self.close {
            f(reason, cx);
        }
    }
}

/// The server has no connection left, and has told each protocol of its end.
#[track_caller]
pub(crate) fn assert_all_closed(server: &Server, expected: u64) {
    server.wait_until(|snapshot| {
        snapshot.stats.entries == 1 && snapshot.services[0].closed_total() == expected
    });
}

/// Time that has to pass, because it is what is tested. Whoever is tested runs meanwhile.
pub(crate) fn let_pass(duration: Duration) {
    let until = Instant::now() + duration;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
