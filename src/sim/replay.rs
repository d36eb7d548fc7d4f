//! Replaying a record: the same reactor is told the same things in the same order, and is held to
//! send the same bytes.
//!
//! Knows what a network is asked, and no protocol; the record is the tape's.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fabric::Flag;
use super::record::{
    ACCEPT, BITS, CLOSE, CLOSE_LISTENER, CONNECT, CONNECTED, FIN, LISTEN, POLL, READ, REGISTER,
    WRITE,
};
use super::tape::{Difference, Tape};
use crate::net::{Address, Connect, Listen, Network, Readiness, Ready, StreamOptions, Wake};
use crate::reactor::{Error, Reactor};
use crate::token::Token;

/// Replays a record under virtual time.
///
/// `set_up` does to the reactor what was done to the recorded one: it opens the same listeners and
/// connections in the same order, with the same protocols. Mail from other threads is not part of
/// a record.
///
/// # Errors
/// The record is damaged, or the reactor does or sends something else than what was recorded.
pub fn replay(
    record: &[u8],
    set_up: impl FnOnce(&mut Reactor<Replay>) -> Result<(), Error>,
) -> Result<Replayed, ReplayError> {
    let tape = Tape::of(record).ok_or(ReplayError::Damaged)?;
    let tape = Rc::new(RefCell::new(tape));
    let mut reactor = Reactor::with_network(Replay {
        origin: super::fabric::origin(),
        tape: Rc::clone(&tape),
        waker: Arc::default(),
        next_stream: 0,
        next_datagram: 0,
    });
    let is_set_up = set_up(&mut reactor);
    if !tape.borrow().has_differed() {
        is_set_up.map_err(ReplayError::SetUp)?;
        while reactor.turn(None).is_ok() {}
    }
    // What the reactor does when it is dropped is not part of the record.
    let ended = tape.borrow_mut().end();
    match ended {
        Ok((bytes, elapsed)) => Ok(Replayed { bytes, elapsed }),
        Err(difference) => Err(ReplayError::Differs(difference)),
    }
}

/// A replay in which everything was as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Bytes that were sent, all as recorded.
    pub bytes: u64,
    /// The time that passed.
    pub elapsed: Duration,
}

/// Why a replay failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is no record, or its digest does not fit.
    Damaged,
    /// The reactor could not be set up.
    SetUp(Error),
    /// Something else was done or sent than what was recorded.
    Differs(Difference),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Damaged => f.write_str("the record is damaged"),
            ReplayError::SetUp(error) => write!(f, "the reactor could not be set up: {error}"),
            ReplayError::Differs(difference) => write!(f, "{difference}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// The network of a reactor that is being replayed.
#[derive(Debug)]
pub struct Replay {
    tape: Rc<RefCell<Tape>>,
    origin: Instant,
    waker: Arc<Flag>,
    next_stream: u32,
    pub(super) next_datagram: u32,
}

/// A connection in a replay.
#[derive(Debug)]
pub struct ReplayStream(u32);

/// A listener in a replay.
#[derive(Debug)]
pub struct ReplayListener(u32, Address);

impl Replay {
    pub(super) fn tape(&self) -> RefMut<'_, Tape> {
        self.tape.borrow_mut()
    }

    fn new_stream(&mut self, peer: Option<Address>) -> ReplayStream {
        self.tape.borrow_mut().add_peer(peer);
        self.next_stream += 1;
        ReplayStream(self.next_stream - 1)
    }
}

impl Network for Replay {
    type Stream = ReplayStream;
    type Listener = ReplayListener;

    fn now(&mut self) -> Instant {
        self.origin + self.tape.borrow_mut().look_at_clock()
    }

    fn unix_time(&mut self) -> Option<Duration> {
        self.tape.borrow_mut().look_at_wall_clock()
    }

    /// Tells what was told in the record. At its end it fails, which ends the replay.
    fn poll(&mut self, _: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut tape = self.tape.borrow_mut();
        if tape.is_at_its_end() {
            return Err(ErrorKind::Interrupted.into());
        }
        let entry = tape.outcome(POLL, 0)?;
        for event in entry.bytes.chunks_exact(9) {
            let number = |at: usize| {
                event[at..]
                    .first_chunk()
                    .map_or(0, |n| u32::from_le_bytes(*n))
            };
            let bits = (0..BITS.len()).filter(|bit| event[8] & 1 << bit != 0);
            let none = Readiness::NONE;
            let readiness = bits.fold(none, |readiness, bit| readiness.or(BITS[bit]));
            let token = Token::from_parts(number(0), number(4));
            ready.push(Ready { token, readiness });
        }
        Ok(())
    }

    fn waker(&mut self) -> io::Result<Arc<dyn Wake>> {
        Ok(self.waker.clone())
    }

    fn listen(&mut self, _: Token, _: &Listen) -> io::Result<ReplayListener> {
        let mut tape = self.tape.borrow_mut();
        let number = tape.next_number();
        let entry = tape.outcome(LISTEN, number)?;
        let address = String::from_utf8_lossy(&entry.bytes).parse();
        Ok(ReplayListener(number, address.unwrap_or(Address::Unnamed)))
    }

    fn accept(&mut self, listener: &mut ReplayListener) -> io::Result<(ReplayStream, Address)> {
        let mut tape = self.tape.borrow_mut();
        let entry = tape.outcome(ACCEPT, listener.0)?;
        let address = String::from_utf8_lossy(&entry.bytes).parse();
        let address = address.unwrap_or(Address::Unnamed);
        drop(tape);
        Ok((self.new_stream(Some(address.clone())), address))
    }

    fn register(&mut self, _: Token, stream: &mut ReplayStream) -> io::Result<()> {
        self.tape.borrow_mut().outcome(REGISTER, stream.0).map(drop)
    }

    fn connect(&mut self, _: Token, connect: &Connect) -> io::Result<ReplayStream> {
        let number = self.next_stream;
        self.tape.borrow_mut().outcome(CONNECT, number)?;
        Ok(self.new_stream(Some(connect.address.clone())))
    }

    fn connected(&mut self, stream: &mut ReplayStream) -> io::Result<bool> {
        let mut tape = self.tape.borrow_mut();
        let entry = tape.outcome(CONNECTED, stream.0)?;
        Ok(entry.bytes == [1])
    }

    fn read(&mut self, stream: &mut ReplayStream, buf: &mut [u8]) -> io::Result<usize> {
        let mut tape = self.tape.borrow_mut();
        let bytes = &tape.outcome(READ, stream.0)?.bytes;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write(&mut self, stream: &mut ReplayStream, bytes: &[u8]) -> io::Result<usize> {
        self.tape.borrow_mut().compare(WRITE, stream.0, bytes)
    }

    fn write_vectored(
        &mut self,
        stream: &mut ReplayStream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let bytes: Vec<u8> = bytes.collect();
        self.tape.borrow_mut().compare(WRITE, stream.0, &bytes)
    }

    fn shutdown_write(&mut self, stream: &mut ReplayStream) -> io::Result<()> {
        self.tape.borrow_mut().outcome(FIN, stream.0).map(drop)
    }

    fn close(&mut self, stream: ReplayStream, _: bool) {
        // A difference is noted; there is nobody to answer.
        let _ = self.tape.borrow_mut().outcome(CLOSE, stream.0);
    }

    fn close_listener(&mut self, listener: ReplayListener) {
        let _ = self.tape.borrow_mut().outcome(CLOSE_LISTENER, listener.0);
    }

    fn local_addr(&self, _: &ReplayStream) -> io::Result<Address> {
        Ok(Address::Unnamed)
    }

    fn peer_addr(&self, stream: &ReplayStream) -> io::Result<Address> {
        let peer = self.tape.borrow().peer(stream.0);
        Ok(peer.unwrap_or(Address::Unnamed))
    }

    fn listener_addr(&self, listener: &ReplayListener) -> io::Result<Address> {
        Ok(listener.1.clone())
    }

    fn set_options(&mut self, _: &mut ReplayStream, _: &StreamOptions) -> io::Result<()> {
        Ok(())
    }

    fn options(&self, _: &ReplayStream) -> io::Result<StreamOptions> {
        Ok(StreamOptions::default())
    }

    fn short_read_drains(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Lines;
    use crate::net::Memory;
    use crate::protocol::{Context, Protocol};
    use crate::sim::{Record, RecordWriter};

    /// Sends lines back in capitals, all but one.
    struct Shout(&'static [u8]);

    impl Protocol for Shout {
        type Decoder = Lines;
        type Encoder = Lines;

        fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
            if line == self.0 {
                cx.send("what?");
            } else {
                cx.send(line.to_ascii_uppercase());
            }
        }
    }

    fn record() -> Vec<u8> {
        let memory = Memory::new();
        let (network, recorder) = Record::around(memory.clone(), 1 << 20);
        let mut reactor = Reactor::with_network(network);
        reactor.listen("10.0.0.1:7", |_| Shout(b"")).unwrap();
        let peer = memory.connect_peer(&"10.0.0.1:7".parse().unwrap()).unwrap();
        for line in ["one\n", "two\nth", "ree\n"] {
            peer.send(line.as_bytes());
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        peer.finish();
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(peer.received(), b"ONE\nTWO\nTHREE\n");
        assert!(!recorder.is_full());
        recorder.bytes()
    }

    /// Says what time it is to whoever asks.
    struct Time;

    impl Protocol for Time {
        type Decoder = Lines;
        type Encoder = Lines;

        fn on_frame(&mut self, _: &[u8], cx: &mut Context<'_, Lines>) {
            let time = format!("{:?}", cx.unix_time());
            cx.send(time.as_str());
        }
    }

    /// A writer whose bytes are looked at from elsewhere, and which takes no more than so many.
    #[derive(Clone)]
    struct Paper(Rc<RefCell<Vec<u8>>>, usize);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.borrow().len() + bytes.len() > self.1 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Asks a server over a real socket so often what time it is, recording on `paper`.
    fn record_time(paper: &Paper, rounds: usize) -> RecordWriter {
        record_time_within(paper, rounds, 1 << 20)
    }

    fn record_time_within(paper: &Paper, rounds: usize, max_len: u64) -> RecordWriter {
        let network = crate::net::Os::new().unwrap();
        let (network, writer) = Record::write_to(network, paper.clone(), max_len);
        let mut reactor = Reactor::with_network(network);
        let listener = reactor.listen("127.0.0.1:0", |_| Time).unwrap();
        let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let frames = |reactor: &Reactor<_>| reactor.service_stats(listener).unwrap().frames;
        for round in 0..rounds {
            io::Write::write_all(&mut client, b"?\n").unwrap();
            while frames(&reactor) <= round as u64 {
                reactor.turn(None).unwrap();
            }
        }
        writer
    }

    #[test]
    fn a_record_is_written_as_it_grows_and_remembers_the_wall_clock() {
        let paper = Paper(Rc::default(), usize::MAX);
        record_time(&paper, 2000).finish().unwrap();
        let set_up =
            |reactor: &mut Reactor<Replay>| reactor.listen("127.0.0.1:0", |_| Time).map(drop);
        let record = paper.0.borrow();
        assert!(replay(&record, set_up).unwrap().bytes > 2000 * 10);
    }

    #[test]
    fn a_record_that_nobody_finishes_ends_with_its_reactor() {
        let paper = Paper(Rc::default(), usize::MAX);
        drop(record_time(&paper, 1));
        let set_up =
            |reactor: &mut Reactor<Replay>| reactor.listen("127.0.0.1:0", |_| Time).map(drop);
        replay(&paper.0.borrow(), set_up).unwrap();
    }

    #[test]
    fn a_record_is_no_longer_than_it_may_be_and_its_beginning_is_replayed() {
        let paper = Paper(Rc::default(), usize::MAX);
        let whole = record_time(&paper, 200);
        whole.finish().unwrap();
        let max_len = paper.0.borrow().len() / 2;
        paper.0.borrow_mut().clear();
        let half = record_time_within(&paper, 200, max_len as u64);
        assert!(half.is_full());
        half.finish().unwrap();
        let record = paper.0.borrow();
        assert!(record.len() <= max_len + super::super::record::DIGEST_LEN);
        let set_up =
            |reactor: &mut Reactor<Replay>| reactor.listen("127.0.0.1:0", |_| Time).map(drop);
        assert!(replay(&record, set_up).unwrap().bytes > 0);
    }

    #[test]
    fn a_full_disk_ends_the_record_and_not_the_reactor() {
        let paper = Paper(Rc::default(), 70_000);
        let error = record_time(&paper, 2000).finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn replay_with(odd: &'static [u8], record: &[u8]) -> Result<Replayed, ReplayError> {
        replay(record, |reactor| {
            reactor.listen("10.0.0.1:7", move |_| Shout(odd)).map(drop)
        })
    }

    #[test]
    fn the_same_protocol_sends_the_same() {
        assert_eq!(replay_with(b"", &record()).unwrap().bytes, 14);
    }

    #[test]
    fn another_protocol_is_found_out_at_the_first_byte_that_differs() {
        let Err(ReplayError::Differs(difference)) = replay_with(b"three", &record()) else {
            panic!("it differs");
        };
        assert!(difference.recorded.contains("THREE"), "{difference}");
        assert!(difference.replayed.contains("what?"), "{difference}");
    }

    #[test]
    fn a_damaged_record_is_not_replayed() {
        let mut damaged = record();
        damaged[40] ^= 1;
        for record in [&damaged[..], &[], &record()[..60]] {
            let result = replay_with(b"", record);
            assert!(matches!(result, Err(ReplayError::Damaged)));
        }
    }
}
