//! What a message costs: allocations and system calls, counted, so that neither comes back
//! unnoticed. Times are measured by the benches.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use windlass::framing::{LengthPrefixed, Lines, Raw};
use windlass::{Context, Echo, IntoDriver, Protocol, TimerId, Token};

#[path = "cost/counted.rs"]
mod counted;
#[path = "cost/rig.rs"]
mod rig;

use counted::Calls;
use rig::{Client, Cost, InMemory, Loopback, Place, Rig};

/// Exchanges in which tables and buffers reach their size.
const WARM_UP: usize = 64;
/// Exchanges that are counted.
const COUNTED: usize = 256;
const CLIENTS: usize = 8;
const MESSAGES: u64 = (COUNTED * CLIENTS) as u64;

// These may fall, and the numbers with them; they should not rise.

/// The line, its end behind it, both as bytes that can be shared, and what shares them.
const ALLOCATIONS_TO_ENCODE: u64 = 4;
/// The entry, and the lists of what was accepted and of what has ended.
const ALLOCATIONS_OF_A_CONNECTION: u64 = 3;

/// The cost of `COUNTED` times `exchange` in the steady state.
fn steady<P: Place>(rig: &mut Rig<P>, mut exchange: impl FnMut(&mut Rig<P>) -> Cost) -> Cost {
    for _ in 0..WARM_UP {
        exchange(rig);
    }
    let mut sum = Cost::default();
    for _ in 0..COUNTED {
        sum += exchange(rig);
    }
    sum
}

/// A line of `len` bytes, its end included.
fn line(len: usize) -> Vec<u8> {
    let mut line = vec![b'x'; len];
    line[len - 1] = b'\n';
    line
}

/// A frame of `len` bytes, its length included.
fn prefixed(len: usize) -> Vec<u8> {
    let mut frame = (len as u32 - 4).to_be_bytes().to_vec();
    frame.resize(len, b'x');
    frame
}

/// An echoed message costs one read, one write and no allocation; a turn costs one poll and one
/// reading of the clock.
#[track_caller]
fn check_echo<D: IntoDriver + 'static>(
    place: impl Place,
    driver: impl Fn() -> D + 'static,
    message: &[u8],
) {
    let mut rig = Rig::new(place, CLIENTS, move |_| driver());
    let cost = steady(&mut rig, |rig| rig.exchange(message, message.len()));
    assert_eq!(cost.allocations, 0, "{} bytes", cost.allocated_len);
    let expected = Calls {
        clock_readings: cost.turns,
        polls: cost.turns,
        reads: MESSAGES,
        writes: MESSAGES,
        ..Calls::default()
    };
    assert_eq!(cost.calls, expected);
}

/// Echoes by way of a copy.
struct Wasteful;

impl Protocol for Wasteful {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        cx.send(bytes.to_vec());
    }
}

#[test]
fn an_allocation_would_be_seen() {
    let mut rig = Rig::new(InMemory::new(), CLIENTS, |_| Wasteful);
    let cost = steady(&mut rig, |rig| rig.exchange(&[b'x'; 64], 64));
    assert_eq!(cost.allocations, MESSAGES);
    assert_eq!(cost.allocated_len, MESSAGES * 64);
}

#[test]
fn an_echo_costs_one_read_and_one_write_and_no_memory() {
    let small = [b'x'; 64];
    check_echo(InMemory::new(), Echo::<Raw>::default, &small);
    check_echo(Loopback, Echo::<Raw>::default, &small);
}

#[test]
fn an_echoed_line_costs_one_read_and_one_write_and_no_memory() {
    check_echo(InMemory::new(), Echo::<Lines>::default, &line(64));
    check_echo(Loopback, Echo::<Lines>::default, &line(64));
}

#[test]
fn an_echoed_frame_with_its_length_costs_one_read_and_one_write_and_no_memory() {
    check_echo(
        InMemory::new(),
        Echo::<LengthPrefixed>::default,
        &prefixed(64),
    );
    check_echo(Loopback, Echo::<LengthPrefixed>::default, &prefixed(64));
}

/// Large messages are queued as ranges of the input. (Not in memory, where a vectored write
/// costs the network itself an allocation.)
#[test]
fn a_large_echo_costs_one_read_and_one_write_and_no_memory() {
    check_echo(Loopback, Echo::<Raw>::default, &[b'x'; 16 * 1024]);
    check_echo(Loopback, Echo::<Lines>::default, &line(8 * 1024));
    check_echo(
        Loopback,
        Echo::<LengthPrefixed>::default,
        &prefixed(16 * 1024),
    );
}

#[test]
fn messages_that_arrive_together_share_one_read_and_one_write() {
    let lines = line(16).repeat(100);
    check_echo(InMemory::new(), Echo::<Lines>::default, &lines);
    check_echo(Loopback, Echo::<Lines>::default, &lines);
}

#[test]
fn a_message_in_two_pieces_costs_a_second_read_and_no_memory() {
    let whole = line(64);
    let (head, tail) = whole.split_at(40);
    let mut rig = Rig::new(InMemory::new(), CLIENTS, |_| Echo::<Lines>::default());
    let cost = steady(&mut rig, |rig| {
        let mut cost = rig.exchange(head, 0);
        cost += rig.exchange(tail, whole.len());
        cost
    });
    assert_eq!(cost.allocations, 0, "{} bytes", cost.allocated_len);
    assert_eq!(cost.calls.reads, 2 * MESSAGES);
    assert_eq!(cost.calls.writes, MESSAGES);
    assert_eq!(cost.calls.blocked, 0);
}

/// The cost of two messages of `len` bytes, the reply to the second of which finds no room
/// before the first is taken.
fn stalled(len: usize) -> Cost {
    let message = vec![b'x'; len];
    let mut rig = Rig::new(InMemory::new(), CLIENTS, |_| Echo::<Raw>::default());
    for client in &rig.clients {
        client.set_capacity(len);
    }
    let cost = steady(&mut rig, |rig| {
        rig.send(&message);
        let mut cost = rig.turn();
        rig.send(&message);
        cost += rig.replies(2 * len);
        cost
    });
    assert_eq!(cost.calls.blocked, MESSAGES);
    cost
}

#[test]
fn a_reply_that_has_to_wait_is_kept_in_memory_from_the_pool() {
    let cost = stalled(64);
    assert_eq!(cost.allocations, 0, "{} bytes", cost.allocated_len);
}

#[test]
fn a_large_reply_that_has_to_wait_is_copied_once() {
    let cost = stalled(2048);
    assert_eq!(cost.allocations, MESSAGES);
    assert_eq!(cost.allocated_len, MESSAGES * 2048);
}

/// Who is in the room.
type Roster = Rc<RefCell<Vec<Token>>>;

/// Sends every line to everybody.
struct Chat {
    roster: Roster,
    news: News,
}

/// What is sent.
#[derive(Clone, Copy)]
enum News {
    /// The same as always.
    Standing,
    /// The line, encoded once for all.
    Line,
}

impl Protocol for Chat {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let news = match self.news {
            News::Standing => Bytes::from_static(NEWS),
            News::Line => cx.encoded(line).expect("a line can be sent as one"),
        };
        for &to in self.roster.borrow().iter() {
            cx.send_to(to, news.clone());
        }
    }
}

const NEWS: &[u8] = b"land ahoy\n";

/// The cost of `COUNTED` messages to `count` clients each.
fn fan_out(place: impl Place, count: usize, news: News, len: usize) -> Cost {
    let roster = Roster::default();
    let mut rig = Rig::new(place, count, move |token| {
        roster.borrow_mut().push(token);
        let roster = roster.clone();
        Chat { roster, news }
    });
    let message = line(len);
    let reply_len = match news {
        News::Standing => NEWS.len(),
        News::Line => len,
    };
    steady(&mut rig, |rig| {
        rig.clients[0].send(&message);
        rig.replies(reply_len)
    })
}

#[test]
fn a_message_to_many_costs_one_write_each_and_no_memory() {
    for cost in [
        fan_out(InMemory::new(), 50, News::Standing, 10),
        fan_out(Loopback, 50, News::Standing, 10),
    ] {
        assert_eq!(cost.allocations, 0, "{} bytes", cost.allocated_len);
        assert_eq!(cost.calls.reads, COUNTED as u64);
        assert_eq!(cost.calls.writes, 50 * COUNTED as u64);
        assert_eq!(cost.calls.blocked, 0);
    }
}

#[test]
fn encoding_for_many_costs_memory_once_and_not_for_each() {
    for len in [64, 4096] {
        let two = fan_out(Loopback, 2, News::Line, len);
        let fifty = fan_out(Loopback, 50, News::Line, len);
        assert_eq!(two.allocations, fifty.allocations);
        assert!(two.allocations <= ALLOCATIONS_TO_ENCODE * COUNTED as u64);
    }
}

/// Puts off a timer with every message.
#[derive(Default)]
struct Watchdog {
    timer: Option<TimerId>,
}

impl Protocol for Watchdog {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
        self.timer = cx.set_timer(Duration::from_secs(100));
        cx.send(bytes);
    }
}

#[test]
fn a_timer_that_is_put_off_costs_no_memory() {
    let mut rig = Rig::new(InMemory::new(), CLIENTS, |_| Watchdog::default());
    let cost = steady(&mut rig, |rig| rig.exchange(&[b'x'; 64], 64));
    assert_eq!(cost.allocations, 0, "{} bytes", cost.allocated_len);
}

/// A connection that comes and goes.
#[track_caller]
fn check_connection(place: impl Place) {
    let mut rig = Rig::new(place, 1, |_| Echo::<Raw>::default());
    let cost = steady(&mut rig, |rig| {
        let mut cost = rig.connect();
        cost += rig.disconnect();
        cost
    });
    let count = COUNTED as u64;
    // The second one finds that nobody else has come.
    assert_eq!(cost.calls.accepts, 2 * count);
    assert_eq!(cost.calls.registers, count);
    assert_eq!(cost.calls.closes, count);
    assert_eq!(cost.calls.reads, count, "of the peer's FIN alone");
    assert_eq!(cost.calls.writes, 0);
    assert_eq!(cost.calls.others, 0);
    assert!(cost.allocations <= ALLOCATIONS_OF_A_CONNECTION * count);
}

#[test]
fn a_connection_is_accepted_and_registered_and_closed_and_nothing_else() {
    check_connection(InMemory::new());
    check_connection(Loopback);
}
