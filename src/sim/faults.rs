//! `Faults`: everything that may go wrong on a simulated network, and how often.
//!
//! Plain numbers; knows nothing of who draws from them.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::datagrams::CAPACITY;
use super::random::Random;

/// What goes wrong, as probabilities (0: never, 1: always) and ranges.
///
/// None of it breaks the contract of [`Network`](crate::net::Network): bytes of a stream arrive in
/// order or not at all, datagrams arrive whole or not at all, and an operation that answered
/// `WouldBlock` is followed by an event.
///
/// ```
/// use windlass::sim::{Fault, Faults};
///
/// let faults = Faults { reset: 0.5, ..Faults::none() };
/// assert!(faults.has(Fault::Reset) && !faults.has(Fault::Cut));
/// assert!(!faults.without(Fault::Reset).has(Fault::Reset));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// A write is cut into segments of any size, which arrive one after the other. Segments that
    /// arrive before they are read are merged, always.
    pub cut: f64,
    /// A read returns less than there is (only where a short read is no proof of an empty socket).
    pub partial_read: f64,
    /// A write takes less than there is room for.
    pub partial_write: f64,
    /// A read, a write or an accept answers `WouldBlock` although it could have succeeded; the
    /// event follows, as it has to.
    pub would_block: f64,
    /// Bytes that a connection holds in each direction.
    pub buffer_len: RangeInclusive<usize>,
    /// A connection's buffer changes its size when it is read.
    pub buffer_varies: f64,
    /// How long a segment is under way: the difference is jitter. At least a microsecond.
    pub latency: RangeInclusive<Duration>,
    /// Bytes per second in each direction of a connection, and out of a datagram socket. `None`:
    /// as many as you like.
    pub bandwidth: Option<u64>,
    /// A connection breaks at some moment of its life.
    pub reset: f64,
    /// When, after it was made.
    pub reset_after: RangeInclusive<Duration>,
    /// With a write, the path to the peer is blocked for a time, as if the peer did not read.
    pub deaf: f64,
    /// For how long.
    pub deaf_for: RangeInclusive<Duration>,
    /// A connection attempt is refused.
    pub refuse: f64,
    /// A connection attempt is lost on its way, and repeated after one, two, four … seconds.
    pub lose_attempt: f64,
    /// At most so many connections wait to be accepted, whatever the listener wants. `None`: as
    /// many as it wants.
    pub max_backlog: Option<usize>,
    /// An accept fails for want of descriptors (`EMFILE`).
    pub exhaust: f64,
    /// An accept finds that the peer has left (`ECONNABORTED`).
    pub abort_accept: f64,
    /// An event is told late.
    pub delay_event: f64,
    /// How late.
    pub event_delay: RangeInclusive<Duration>,
    /// The events of one poll come in another order.
    pub reorder_events: f64,
    /// A poll returns some of its events only with the next one.
    pub withhold_events: f64,
    /// An event comes twice, or the readable and the writable half of it come apart.
    pub repeat_event: f64,
    /// Whoever is registered is told of a readiness that there is not, and so is whoever was
    /// registered until lately.
    pub spurious_event: f64,
    /// A close or an error is told without the readable and the writable bit that usually come
    /// with it.
    pub bare_hang_up: f64,
    /// A datagram is lost on its way.
    pub lose_datagram: f64,
    /// A datagram arrives twice.
    pub repeat_datagram: f64,
    /// A datagram takes a longer way, on which others overtake it.
    pub delay_datagram: f64,
    /// How much longer.
    pub datagram_delay: RangeInclusive<Duration>,
    /// Datagrams that wait are received as a train, if they are of one sender and one length.
    pub merge_datagrams: f64,
    /// The longest datagram that a path takes; a longer one is refused (`EMSGSIZE`). `None`: as
    /// long as UDP allows.
    pub max_datagram: Option<usize>,
    /// Bytes that a datagram socket holds until they have left, drawn for each. `None`: as many as
    /// its options say, or 212,992. What finds no room answers `WouldBlock`; a datagram that is
    /// longer is taken when there is no other.
    pub send_buffer_len: Option<RangeInclusive<usize>>,
    /// A datagram is refused because the network card's queue is full (`ENOBUFS`), which no event
    /// follows.
    pub congest: f64,
    /// Whether a short read proves that the socket is empty. `None`: drawn for each world.
    pub short_read_drains: Option<bool>,
}

impl Faults {
    /// Nothing goes wrong: 64 KiB of buffer, 20 microseconds of latency.
    pub fn none() -> Faults {
        Faults {
            cut: 0.0,
            partial_read: 0.0,
            partial_write: 0.0,
            would_block: 0.0,
            buffer_len: PLAIN_BUFFER_LEN..=PLAIN_BUFFER_LEN,
            buffer_varies: 0.0,
            latency: PLAIN_LATENCY..=PLAIN_LATENCY,
            bandwidth: None,
            reset: 0.0,
            reset_after: Duration::ZERO..=Duration::from_millis(200),
            deaf: 0.0,
            deaf_for: Duration::from_millis(1)..=Duration::from_secs(2),
            refuse: 0.0,
            lose_attempt: 0.0,
            max_backlog: None,
            exhaust: 0.0,
            abort_accept: 0.0,
            delay_event: 0.0,
            event_delay: Duration::ZERO..=Duration::from_millis(5),
            reorder_events: 0.0,
            withhold_events: 0.0,
            repeat_event: 0.0,
            spurious_event: 0.0,
            bare_hang_up: 0.0,
            lose_datagram: 0.0,
            repeat_datagram: 0.0,
            delay_datagram: 0.0,
            datagram_delay: Duration::ZERO..=Duration::from_millis(50),
            merge_datagrams: 0.0,
            max_datagram: None,
            send_buffer_len: None,
            congest: 0.0,
            short_read_drains: None,
        }
    }

    /// A mixture of its own for each seed: each fault is absent, mild or heavy.
    pub fn from_seed(seed: u64) -> Faults {
        let mut random = Random::new(seed ^ 0x6661_756c_7473);
        let mut faults = Faults::default();
        // Those of datagrams come last, and of these those of sending, so that seeds mean for all
        // others what they always meant.
        let (of_streams, of_datagrams) = Fault::ALL.split_at(STREAM_FAULTS);
        let (of_datagrams, of_sending) = of_datagrams.split_at(DATAGRAM_FAULTS);
        faults.mix(of_streams, &mut random);
        if faults.has(Fault::Buffer) {
            let lens = [1..=64, 1..=4096, 512..=16_384, 4096..=262_144];
            faults.buffer_len = lens[random.below(lens.len())].clone();
        }
        if faults.has(Fault::Bandwidth) {
            faults.bandwidth = Some(10_000 << random.below(12));
        }
        if faults.has(Fault::Backlog) {
            faults.max_backlog = Some(1 + random.below(4));
        }
        faults.mix(of_datagrams, &mut random);
        if faults.has(Fault::PathLen) {
            faults.max_datagram = Some([548, 1472, 9000][random.below(3)]);
        }
        faults.mix(of_sending, &mut random);
        if faults.has(Fault::SendBuffer) {
            let lens = [1..=64, 1..=4096, 512..=16_384, 4096..=CAPACITY];
            faults.send_buffer_len = Some(lens[random.below(lens.len())].clone());
        }
        faults
    }

    /// Leaves each of some faults out, as it is, or makes it worse.
    fn mix(&mut self, some: &[Fault], random: &mut Random) {
        for fault in some {
            match random.below(4) {
                0 | 1 => *self = self.clone().without(*fault),
                2 => {}
                _ => self.worsen(*fault),
            }
        }
    }

    /// The same without one of them.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Faults {
        let none = Faults::none();
        if let Some(probability) = self.probability(fault) {
            *probability = 0.0;
            return self;
        }
        match fault {
            Fault::Buffer => self.buffer_len = none.buffer_len,
            Fault::Latency => self.latency = none.latency,
            Fault::Bandwidth => self.bandwidth = None,
            Fault::PathLen => self.max_datagram = None,
            Fault::SendBuffer => self.send_buffer_len = None,
            _ => self.max_backlog = None,
        }
        self
    }

    /// Whether a fault may happen.
    pub fn has(&self, fault: Fault) -> bool {
        *self != self.clone().without(fault)
    }

    /// Which faults may happen.
    pub fn present(&self) -> Vec<Fault> {
        let all = Fault::ALL.into_iter();
        all.filter(|fault| self.has(*fault)).collect()
    }

    fn worsen(&mut self, fault: Fault) {
        if let Some(probability) = self.probability(fault) {
            *probability = (*probability * 5.0).min(0.6);
        } else if fault == Fault::Latency {
            self.latency = Duration::from_micros(1)..=Duration::from_millis(300);
        }
    }

    /// The probability of a fault that has one.
    fn probability(&mut self, fault: Fault) -> Option<&mut f64> {
        Some(match fault {
            Fault::Cut => &mut self.cut,
            Fault::PartialRead => &mut self.partial_read,
            Fault::PartialWrite => &mut self.partial_write,
            Fault::WouldBlock => &mut self.would_block,
            Fault::BufferVaries => &mut self.buffer_varies,
            Fault::Reset => &mut self.reset,
            Fault::Deaf => &mut self.deaf,
            Fault::Refuse => &mut self.refuse,
            Fault::LoseAttempt => &mut self.lose_attempt,
            Fault::Exhaust => &mut self.exhaust,
            Fault::AbortAccept => &mut self.abort_accept,
            Fault::DelayEvent => &mut self.delay_event,
            Fault::ReorderEvents => &mut self.reorder_events,
            Fault::WithholdEvents => &mut self.withhold_events,
            Fault::RepeatEvent => &mut self.repeat_event,
            Fault::SpuriousEvent => &mut self.spurious_event,
            Fault::BareHangUp => &mut self.bare_hang_up,
            Fault::LoseDatagram => &mut self.lose_datagram,
            Fault::RepeatDatagram => &mut self.repeat_datagram,
            Fault::DelayDatagram => &mut self.delay_datagram,
            Fault::MergeDatagrams => &mut self.merge_datagrams,
            Fault::Congest => &mut self.congest,
            Fault::Buffer
            | Fault::Latency
            | Fault::Bandwidth
            | Fault::Backlog
            | Fault::PathLen
            | Fault::SendBuffer => return None,
        })
    }
}

impl Default for Faults {
    /// Everything goes wrong, but mildly.
    fn default() -> Faults {
        Faults {
            cut: 0.3,
            partial_read: 0.2,
            partial_write: 0.2,
            would_block: 0.05,
            buffer_len: 1024..=65_536,
            buffer_varies: 0.05,
            latency: Duration::from_micros(1)..=Duration::from_millis(3),
            bandwidth: Some(10_000_000),
            reset: 0.05,
            deaf: 0.01,
            refuse: 0.03,
            lose_attempt: 0.03,
            max_backlog: Some(16),
            exhaust: 0.05,
            abort_accept: 0.03,
            delay_event: 0.1,
            reorder_events: 0.3,
            withhold_events: 0.1,
            repeat_event: 0.1,
            spurious_event: 0.05,
            bare_hang_up: 0.2,
            lose_datagram: 0.05,
            repeat_datagram: 0.03,
            delay_datagram: 0.1,
            merge_datagrams: 0.3,
            max_datagram: Some(1472),
            send_buffer_len: Some(1024..=65_536),
            congest: 0.03,
            ..Faults::none()
        }
    }
}

/// One kind of fault, so that it can be switched off: see [`Faults::without`] and
/// [`shrink`](super::shrink).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each is described with the field of `Faults` of that name"
)]
pub enum Fault {
    Cut,
    PartialRead,
    PartialWrite,
    WouldBlock,
    Buffer,
    BufferVaries,
    Latency,
    Bandwidth,
    Reset,
    Deaf,
    Refuse,
    LoseAttempt,
    Backlog,
    Exhaust,
    AbortAccept,
    DelayEvent,
    ReorderEvents,
    WithholdEvents,
    RepeatEvent,
    SpuriousEvent,
    BareHangUp,
    LoseDatagram,
    RepeatDatagram,
    DelayDatagram,
    MergeDatagrams,
    /// As `max_datagram`.
    PathLen,
    /// As `send_buffer_len`.
    SendBuffer,
    Congest,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 28] = [
        Fault::Cut,
        Fault::PartialRead,
        Fault::PartialWrite,
        Fault::WouldBlock,
        Fault::Buffer,
        Fault::BufferVaries,
        Fault::Latency,
        Fault::Bandwidth,
        Fault::Reset,
        Fault::Deaf,
        Fault::Refuse,
        Fault::LoseAttempt,
        Fault::Backlog,
        Fault::Exhaust,
        Fault::AbortAccept,
        Fault::DelayEvent,
        Fault::ReorderEvents,
        Fault::WithholdEvents,
        Fault::RepeatEvent,
        Fault::SpuriousEvent,
        Fault::BareHangUp,
        Fault::LoseDatagram,
        Fault::RepeatDatagram,
        Fault::DelayDatagram,
        Fault::MergeDatagrams,
        Fault::PathLen,
        Fault::SendBuffer,
        Fault::Congest,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How many of `Fault::ALL` are not about datagrams alone.
const STREAM_FAULTS: usize = 21;
/// How many of the others are not about sending.
const DATAGRAM_FAULTS: usize = 5;
const PLAIN_BUFFER_LEN: usize = 64 * 1024;
const PLAIN_LATENCY: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_every_fault_and_none_has_none() {
        assert_eq!(Faults::default().present(), Fault::ALL);
        assert_eq!(Faults::none().present(), []);
    }

    #[test]
    fn a_fault_can_be_switched_off_alone() {
        for fault in Fault::ALL {
            let left = Faults::default().without(fault).present();
            let expected = Fault::ALL.into_iter().filter(|other| *other != fault);
            assert_eq!(left, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_seed_has_one_mixture_and_seeds_differ() {
        assert_eq!(Faults::from_seed(1), Faults::from_seed(1));
        assert_ne!(Faults::from_seed(1), Faults::from_seed(2));
    }
}
