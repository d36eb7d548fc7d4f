//! `Agenda`: what is going to happen in a simulated world, in order of time.
//!
//! Knows the names of happenings, not their meaning.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::datagrams::DatagramId;

/// Something that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// So many bytes reach an end.
    Arrive { end: EndId, len: usize },
    /// The other end's FIN reaches an end.
    ArriveFin { end: EndId },
    /// A reset reaches an end. `blame`: whoever closed over unread input, if that was a mistake.
    ArriveReset { end: EndId, blame: Option<u32> },
    /// A connection attempt reaches its listener's host.
    Attempt { end: EndId, tries: u32 },
    /// The outcome of an attempt reaches who began it: 0, or an error number.
    Outcome { end: EndId, error: i32 },
    /// A fault breaks the connection.
    Break { end: EndId },
    /// An event that was promised with a `WouldBlock`: readable or writable.
    Promise { end: EndId, readable: bool },
    /// An event that was withheld is told.
    Tell { end: EndId },
    /// The event of a listener, promised or withheld.
    TellListener { port: usize, serial: u32 },
    /// Something between datagram sockets has got through a stretch of its way.
    Pass { flight: usize },
    /// As `Promise`, to a datagram socket.
    DatagramPromise { socket: DatagramId, readable: bool },
    /// The event of a datagram socket that was withheld is told.
    TellDatagram { socket: DatagramId },
    /// A paused host goes on.
    Resume { host: usize },
}

/// Names one end of a connection for the whole of its life, and nothing else afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndId {
    pub(super) key: u32,
    pub(super) serial: u32,
}

/// A queue by time; what is due at the same time happens in the order in which it was added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Entry>,
    next: u64,
    next_first: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Duration,
    order: u64,
    happening: Happening,
}

impl Agenda {
    pub(super) fn push(&mut self, at: Duration, happening: Happening) {
        self.next += 1;
        self.heap.push(Entry {
            at,
            order: LATER + self.next,
            happening,
        });
    }

    /// Adds something that happens before everything else of that time, but after what was added
    /// in this way before.
    pub(super) fn push_first(&mut self, at: Duration, happening: Happening) {
        self.next_first += 1;
        self.heap.push(Entry {
            at,
            order: self.next_first,
            happening,
        });
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<Happening> {
        self.heap.pop().map(|entry| entry.happening)
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, because that is what a heap answers first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where the order of what is not first begins.
const LATER: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_then_of_addition() {
        let resume = |host| Happening::Resume { host };
        let mut agenda = Agenda::default();
        let (soon, late) = (Duration::from_millis(1), Duration::from_millis(2));
        agenda.push(late, resume(4));
        agenda.push(soon, resume(2));
        agenda.push(soon, resume(3));
        agenda.push_first(soon, resume(0));
        agenda.push_first(soon, resume(1));
        assert_eq!(agenda.next_at(), Some(soon));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(order, [0, 1, 2, 3, 4].map(resume));
    }
}
