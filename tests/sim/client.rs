//! What the clients of all scenarios have in common: something to send, and notes of what became
//! of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use windlass::sim::{Failure, Fault, Random, World};
use windlass::{CloseReason, Context, Limits, Sent};

/// What a client has to tell afterwards.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) received: Vec<u8>,
    pub(crate) opened: bool,
    pub(crate) closed: Option<CloseReason>,
    /// What it found wrong.
    pub(crate) complaint: Option<String>,
}

pub(crate) type Shared = Rc<RefCell<Notes>>;

/// Bytes that are sent as fast as they are taken, in pieces of their own.
#[derive(Debug, Default)]
pub(crate) struct Cargo {
    pieces: Vec<Vec<u8>>,
    next: usize,
}

impl Cargo {
    pub(crate) fn new(pieces: Vec<Vec<u8>>) -> Cargo {
        Cargo { pieces, next: 0 }
    }

    /// Sends until the queue is full; answers whether everything is sent.
    pub(crate) fn send<E>(&mut self, cx: &mut Context<'_, E>) -> bool
    where
        for<'a> E: windlass::Encoder<&'a [u8]>,
    {
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            if cx.send(&piece[..]) != Sent::Queued {
                return self.next == self.pieces.len();
            }
        }
        true
    }
}

/// Random bytes, most of them letters, in pieces of any length up to `max_len`.
pub(crate) fn pieces(random: &mut Random, count: usize, max_len: usize) -> Vec<Vec<u8>> {
    let mut letter = || b'a' + random.below(26) as u8;
    let alphabet: Vec<u8> = (0..997).map(|_| letter()).collect();
    let piece = |random: &mut Random| {
        let len = random.length(&(1..=max_len));
        let start = random.below(alphabet.len());
        alphabet
            .iter()
            .cycle()
            .skip(start)
            .take(len)
            .copied()
            .collect()
    };
    (0..count).map(|_| piece(random)).collect()
}

/// Limits that only a peer that is gone reaches: a line of a few bytes per second is none.
pub(crate) fn patient() -> Limits {
    let long = Duration::from_secs(7200);
    Limits {
        stall_timeout: long,
        connect_timeout: long,
        idle_timeout: Some(long),
        drain_timeout: long,
        linger_timeout: long,
        ..Limits::default()
    }
}

/// Runs until every client was told of its end.
pub(crate) fn run_to_the_end(world: &mut World, notes: &[Shared]) -> Result<(), Failure> {
    let all_closed = |_: &mut World| notes.iter().all(|notes| notes.borrow().closed.is_some());
    world.run_until(all_closed, Duration::from_secs(36_000))?;
    for notes in notes {
        let notes = notes.borrow();
        let complaint = notes.complaint.as_deref();
        world.require(complaint.is_none(), complaint.unwrap_or_default())?;
        let reason = notes.closed.expect("it was told");
        let excused = !is_quiet(world) || reason.is_clean();
        world.require(
            excused,
            format_args!("nothing broke, and it ended: {reason}"),
        )?;
    }
    Ok(())
}

/// Whether nothing goes wrong in the world that could end a connection.
pub(crate) fn is_quiet(world: &World) -> bool {
    let deadly = [
        Fault::Reset,
        Fault::Refuse,
        Fault::LoseAttempt,
        Fault::Backlog,
        Fault::AbortAccept,
        Fault::Exhaust,
    ];
    let faults = world.faults();
    !deadly.iter().any(|fault| faults.has(*fault))
}
