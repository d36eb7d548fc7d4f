//! `Record`: a network that writes down what passes through it.
//!
//! Wraps any other network, so that neither the reactor nor the protocols know of it. The format
//! of what it writes is shared with `replay.rs`.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufWriter, ErrorKind, IoSlice, Write};
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::net::{Address, Connect, Listen, Network, Readiness, Ready, StreamOptions, Wake};
use crate::token::Token;

/// A network around another one, which records what the reactor is told and what it sends, to be
/// replayed with [`replay`](super::replay).
///
/// ```
/// use windlass::net::Memory;
/// use windlass::sim::{Record, replay};
/// use windlass::{Echo, Lines, Reactor};
///
/// let memory = Memory::new();
/// let (network, recorder) = Record::around(memory.clone(), 1_000_000);
/// let mut reactor = Reactor::with_network(network);
/// reactor.listen("10.0.0.1:7", |_| Echo::<Lines>::default())?;
/// let peer = memory.connect_peer(&"10.0.0.1:7".parse()?)?;
/// peer.send(b"ahoy\n");
/// for _ in 0..4 {
///     reactor.turn(Some(std::time::Duration::ZERO))?;
/// }
/// assert_eq!(peer.received(), b"ahoy\n");
///
/// let record = recorder.bytes();
/// let same = replay(&record, |reactor| {
///     reactor.listen("10.0.0.1:7", |_| Echo::<Lines>::default()).map(drop)
/// });
/// assert_eq!(same?.bytes, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Record<N: Network> {
    pub(super) network: N,
    log: Rc<RefCell<Log>>,
    began: Instant,
    next_stream: u32,
    next_listener: u32,
    pub(super) next_datagram: u32,
}

/// A connection of a [`Record`].
#[derive(Debug)]
pub struct RecordStream<S> {
    stream: S,
    number: u32,
}

/// A listener of a [`Record`].
#[derive(Debug)]
pub struct RecordListener<L> {
    listener: L,
    number: u32,
}

/// What a [`Record`] that is kept in memory has written down so far.
#[derive(Clone)]
pub struct Recorder {
    log: Rc<RefCell<Log>>,
}

/// What completes a [`Record`] that is written elsewhere.
///
/// A record without its end is not replayed. It is completed by [`RecordWriter::finish`], or else
/// when both this and the reactor are dropped.
pub struct RecordWriter {
    log: Rc<RefCell<Log>>,
}

/// Entries one after the other: a letter for what it is, then numbers of four or eight bytes, least
/// byte first, then bytes behind their length. A digest of all that stands at the end.
struct Log {
    sink: Sink,
    digest: Sha256,
    len: u64,
    max_len: u64,
    is_full: bool,
}

/// Where a record goes.
enum Sink {
    Memory(Vec<u8>),
    Writer(BufWriter<Box<dyn Write>>),
    /// Writing failed; nothing more is recorded.
    Failed(io::Error),
    Finished,
}

impl<N: Network> Record<N> {
    /// Records what passes through `network`, in memory, up to `max_len` bytes: what comes after
    /// that is not recorded. Answers the network for the reactor, and what reads the record.
    pub fn around(network: N, max_len: u64) -> (Record<N>, Recorder) {
        let record = Record::new(network, Sink::Memory(Vec::new()), max_len);
        let recorder = Recorder {
            log: Rc::clone(&record.log),
        };
        (record, recorder)
    }

    /// As [`Record::around`], but the record is written to `writer`, say a file, as it grows:
    /// memory holds no more than 64 KiB of it. Writing to a disk may block the loop for a moment.
    ///
    /// If the writer fails, nothing more is recorded, and [`RecordWriter::finish`] says why; the
    /// reactor goes on.
    pub fn write_to(
        network: N,
        writer: impl Write + 'static,
        max_len: u64,
    ) -> (Record<N>, RecordWriter) {
        let writer = BufWriter::with_capacity(WRITE_LEN, Box::new(writer) as Box<dyn Write>);
        let record = Record::new(network, Sink::Writer(writer), max_len);
        let writer = RecordWriter {
            log: Rc::clone(&record.log),
        };
        (record, writer)
    }

    fn new(mut network: N, sink: Sink, max_len: u64) -> Record<N> {
        let mut log = Log {
            sink,
            digest: Sha256::new(),
            len: 0,
            max_len,
            is_full: false,
        };
        log.put(&[HEADER]);
        Record {
            began: network.now(),
            network,
            log: Rc::new(RefCell::new(log)),
            next_stream: 0,
            next_listener: 0,
            next_datagram: 0,
        }
    }

    pub(super) fn log(&self, kind: u8, number: u32, status: i32, bytes: &[u8]) {
        let mut head = [kind; 13];
        head[1..5].copy_from_slice(&number.to_le_bytes());
        head[5..9].copy_from_slice(&status.to_le_bytes());
        head[9..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.log.borrow_mut().put(&[&head, bytes]);
    }

    fn new_stream(&mut self, stream: N::Stream) -> RecordStream<N::Stream> {
        let number = self.next_stream;
        self.next_stream += 1;
        RecordStream { stream, number }
    }
}

impl Recorder {
    /// The record so far: what [`replay`](super::replay) takes.
    pub fn bytes(&self) -> Vec<u8> {
        let log = self.log.borrow();
        let Sink::Memory(bytes) = &log.sink else {
            return Vec::new();
        };
        [bytes, log.digest.clone().finalize().as_slice()].concat()
    }

    /// Whether the record has reached its limit: what came after that is missing.
    pub fn is_full(&self) -> bool {
        self.log.borrow().is_full
    }
}

impl RecordWriter {
    /// Completes the record: nothing that passes from now on is part of it.
    ///
    /// # Errors
    /// The writer's, now or before.
    pub fn finish(self) -> io::Result<()> {
        self.log.borrow_mut().finish()
    }

    /// Whether the record has reached its limit: what came after that is missing.
    pub fn is_full(&self) -> bool {
        self.log.borrow().is_full
    }
}

impl Log {
    /// Appends the parts of an entry, all or nothing.
    fn put(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.is_full |= self.len + len as u64 > self.max_len;
        if self.is_full {
            return;
        }
        self.len += len as u64;
        for part in parts {
            self.digest.update(part);
            let result = match &mut self.sink {
                Sink::Memory(bytes) => bytes.write_all(part),
                Sink::Writer(writer) => writer.write_all(part),
                Sink::Failed(_) | Sink::Finished => return,
            };
            if let Err(error) = result {
                log::warn!("recording ends: {error}");
                self.sink = Sink::Failed(error);
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.sink, Sink::Finished) {
            Sink::Writer(mut writer) => {
                writer.write_all(&self.digest.clone().finalize())?;
                writer.flush()
            }
            Sink::Failed(error) => Err(error),
            Sink::Memory(_) | Sink::Finished => Ok(()),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            log::warn!("a record is not complete: {error}");
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("len", &self.len)
            .field("max_len", &self.max_len)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.log.borrow()).finish()
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordWriter")
            .field(&self.log.borrow())
            .finish()
    }
}

/// The number that stands for the outcome of an operation.
pub(super) fn status<T>(result: &io::Result<T>) -> i32 {
    match result {
        Ok(_) => OK,
        Err(error) if error.kind() == ErrorKind::WouldBlock => WOULD_BLOCK,
        Err(error) => error.raw_os_error().unwrap_or(UNKNOWN),
    }
}

impl<N: Network> Network for Record<N> {
    type Stream = RecordStream<N::Stream>;
    type Listener = RecordListener<N::Listener>;

    fn now(&mut self) -> Instant {
        let now = self.network.now();
        let nanos = now.saturating_duration_since(self.began).as_nanos() as u64;
        self.log(NOW, 0, OK, &nanos.to_le_bytes());
        now
    }

    fn unix_time(&mut self) -> Option<Duration> {
        let time = self.network.unix_time();
        let nanos = time.map(|time| time.as_nanos() as u64);
        let bytes = nanos.map(u64::to_le_bytes);
        self.log(UNIX_TIME, 0, OK, bytes.as_ref().map_or(&[], |bytes| bytes));
        time
    }

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.network.poll(timeout, ready)?;
        let mut bytes = Vec::with_capacity(9 * ready.len());
        for event in &*ready {
            bytes.extend_from_slice(&event.token.slot().to_le_bytes());
            bytes.extend_from_slice(&event.token.generation().to_le_bytes());
            let set = (0..BITS.len()).filter(|bit| event.readiness.has(BITS[*bit]));
            bytes.push(set.fold(0, |bits, bit| bits | 1 << bit));
        }
        self.log(POLL, 0, OK, &bytes);
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        self.network.waker()
    }

    fn listen(&mut self, token: Token, listen: &Listen) -> io::Result<Self::Listener> {
        let listener = self.network.listen(token, listen)?;
        let number = self.next_listener;
        self.next_listener += 1;
        let address = self.network.listener_addr(&listener)?;
        self.log(LISTEN, number, OK, address.to_string().as_bytes());
        Ok(RecordListener { listener, number })
    }

    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Address)> {
        let result = self.network.accept(&mut listener.listener);
        let status = status(&result);
        let address = result.as_ref().map(|(_, address)| address.to_string());
        let address = address.unwrap_or_default();
        self.log(ACCEPT, listener.number, status, address.as_bytes());
        let (stream, address) = result?;
        Ok((self.new_stream(stream), address))
    }

    fn register(&mut self, token: Token, stream: &mut Self::Stream) -> io::Result<()> {
        let result = self.network.register(token, &mut stream.stream);
        self.log(REGISTER, stream.number, status(&result), &[]);
        result
    }

    fn connect(&mut self, token: Token, connect: &Connect) -> io::Result<Self::Stream> {
        let result = self.network.connect(token, connect);
        self.log(CONNECT, self.next_stream, status(&result), &[]);
        Ok(self.new_stream(result?))
    }

    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<bool> {
        let result = self.network.connected(&mut stream.stream);
        let is_made = matches!(result, Ok(true));
        let made = [u8::from(is_made)];
        self.log(CONNECTED, stream.number, status(&result), &made);
        result
    }

    fn read(&mut self, stream: &mut Self::Stream, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.network.read(&mut stream.stream, buf);
        let len = *result.as_ref().unwrap_or(&0);
        self.log(READ, stream.number, status(&result), &buf[..len]);
        result
    }

    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize> {
        let result = self.network.write(&mut stream.stream, bytes);
        let len = *result.as_ref().unwrap_or(&0);
        self.log(WRITE, stream.number, status(&result), &bytes[..len]);
        result
    }

    fn write_vectored(
        &mut self,
        stream: &mut Self::Stream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let result = self.network.write_vectored(&mut stream.stream, slices);
        let len = *result.as_ref().unwrap_or(&0);
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let bytes: Vec<u8> = bytes.take(len).collect();
        self.log(WRITE, stream.number, status(&result), &bytes);
        result
    }

    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        let result = self.network.shutdown_write(&mut stream.stream);
        self.log(FIN, stream.number, status(&result), &[]);
        result
    }

    fn close(&mut self, stream: Self::Stream, reset: bool) {
        self.log(CLOSE, stream.number, OK, &[u8::from(reset)]);
        self.network.close(stream.stream, reset);
    }

    fn close_listener(&mut self, listener: Self::Listener) {
        self.log(CLOSE_LISTENER, listener.number, OK, &[]);
        self.network.close_listener(listener.listener);
    }

    fn local_addr(&self, stream: &Self::Stream) -> io::Result<Address> {
        self.network.local_addr(&stream.stream)
    }

    fn peer_addr(&self, stream: &Self::Stream) -> io::Result<Address> {
        self.network.peer_addr(&stream.stream)
    }

    fn listener_addr(&self, listener: &Self::Listener) -> io::Result<Address> {
        self.network.listener_addr(&listener.listener)
    }

    fn set_options(
        &mut self,
        stream: &mut Self::Stream,
        options: &StreamOptions,
    ) -> io::Result<()> {
        self.network.set_options(&mut stream.stream, options)
    }

    fn options(&self, stream: &Self::Stream) -> io::Result<StreamOptions> {
        self.network.options(&stream.stream)
    }

    /// A record has to mean the same on every system, so a short read proves nothing here.
    fn short_read_drains(&self) -> bool {
        false
    }
}

/// How a record begins.
pub(super) const HEADER: &[u8] = b"windlass record 2\n";
/// Bytes that are written at once.
const WRITE_LEN: usize = 64 * 1024;
/// Bytes of the digest at its end.
pub(super) const DIGEST_LEN: usize = 32;

pub(super) const OK: i32 = 0;
pub(super) const WOULD_BLOCK: i32 = -1;
/// An error without a number.
pub(super) const UNKNOWN: i32 = -2;

pub(super) const NOW: u8 = b'N';
pub(super) const UNIX_TIME: u8 = b'U';
pub(super) const POLL: u8 = b'P';
pub(super) const LISTEN: u8 = b'L';
pub(super) const ACCEPT: u8 = b'A';
pub(super) const REGISTER: u8 = b'G';
pub(super) const CONNECT: u8 = b'C';
pub(super) const CONNECTED: u8 = b'D';
pub(super) const READ: u8 = b'R';
pub(super) const WRITE: u8 = b'W';
pub(super) const FIN: u8 = b'F';
pub(super) const CLOSE: u8 = b'X';
pub(super) const CLOSE_LISTENER: u8 = b'Y';
pub(super) const BIND: u8 = b'B';
pub(super) const RECEIVE: u8 = b'I';
pub(super) const TRANSMIT: u8 = b'T';
pub(super) const REPORT: u8 = b'E';
pub(super) const TRAIN: u8 = b'M';
pub(super) const JOIN: u8 = b'J';
pub(super) const LEAVE: u8 = b'V';
pub(super) const CLOSE_DATAGRAM: u8 = b'Z';

pub(super) const BITS: [Readiness; 5] = [
    Readiness::READABLE,
    Readiness::WRITABLE,
    Readiness::READ_CLOSED,
    Readiness::WRITE_CLOSED,
    Readiness::ERROR,
];
