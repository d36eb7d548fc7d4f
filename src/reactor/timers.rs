//! `Wheel`: the reactor's timers, a hierarchical timing wheel.
//!
//! Knows no clock and no owners: a tick is a number that the caller counts up, and a value is
//! given back as it came.

use std::num::NonZeroU32;

/// Values that wait for a tick.
///
/// ```text
/// level 0   64 slots of 1 tick each          the rest of the running 64 ticks
/// level 1   64 slots of 64 ticks each        the rest of the running 4,096 ticks
/// level 2   64 slots of 4,096 ticks each     the rest of the running 262,144 ticks
///   ⋮
/// level 10  16 slots of 2^60 ticks each      the rest of time
/// ```
///
/// A tick is read as a number of eleven digits to the base of 64. A timer lies at the level of
/// the highest digit in which its deadline differs from `elapsed`, in the slot of that digit.
/// From this follows everything else:
///
/// - Where a timer lies is computed, not stored: `elapsed` moves within a slot's past only, so
///   the answer does not change until the slot is reached and its timers move to lower levels.
/// - Whatever lies at a lower level is due before whatever lies at a higher one, and within a
///   level slots are due from left to right: two `trailing_zeros` find the earliest slot.
/// - When a slot is emptied into lower levels these are empty, so that lists which are appended
///   to keep timers of one tick in the order in which they were inserted.
/// - Eleven levels hold every `u64`: there is no overflow list, and no deadline is cut short. What
///   they cost beyond the usual six is 5 KiB, once per reactor.
///
/// The idea is scheme 6 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987).
///
/// Memory is that of the largest number of timers that ever were pending at once.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// The tick up to which everything was taken out. Invariant: no deadline lies before it.
    elapsed: u64,
    nodes: Vec<Node<T>>,
    /// First of the nodes that are free, linked through `next`.
    free: u32,
    /// Bit n: level n is not empty.
    levels: u32,
    /// Per level, bit n: slot n is not empty.
    occupied: [u64; LEVELS],
    /// All slots, level by level.
    slots: Box<[Slot]>,
}

/// Names a timer. It is of no use once the timer has fired or was cancelled, and then never names
/// another one. (The generation of a node comes round after 2^32 - 1 timers in it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    node: u32,
    generation: NonZeroU32,
}

#[derive(Debug)]
struct Node<T> {
    /// The deadline.
    at: u64,
    /// Neighbours in the list of a slot, or `NIL`.
    prev: u32,
    next: u32,
    /// Of the timer in this node, or of the next one if it is free.
    generation: NonZeroU32,
    /// `None`: the node is free. Costs no memory where `T` has a niche.
    value: Option<T>,
}

/// A doubly linked list of nodes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    /// No deadline in the list is earlier. It is exact unless the earliest timer was cancelled;
    /// thanks to it an idle reactor sleeps until a timer is due, not until a slot is reached.
    earliest: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel at tick 0.
    pub(crate) fn new() -> Wheel<T> {
        Wheel {
            elapsed: 0,
            nodes: Vec::new(),
            free: NIL,
            levels: 0,
            occupied: [0; LEVELS],
            slots: vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
        }
    }

    /// Adds a timer for tick `at`. A tick that is past already counts as the current one, so the
    /// timer fires with the next [`Wheel::advance`].
    pub(crate) fn insert(&mut self, at: u64, value: T) -> TimerKey {
        let at = at.max(self.elapsed);
        let node = self.take_node(at, value);
        self.link(node, at);
        TimerKey {
            node,
            generation: self.nodes[node as usize].generation,
        }
    }

    /// Removes a timer that has not been moved out by [`Wheel::advance`], even if it is due.
    /// `None` if it has been, or was cancelled before.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let node = self.nodes.get(key.node as usize)?;
        // A free node has the generation of its next tenant, which nobody holds a key of yet; the
        // test of `value` is for keys that outlived a whole round of generations.
        if node.generation != key.generation || node.value.is_none() {
            return None;
        }
        self.unlink(key.node);
        self.release_node(key.node)
    }

    /// Moves every timer with a deadline up to `now` to `due`, with that deadline, ordered by it
    /// and then by insertion. Never early. A `now` in the past counts as the current tick.
    ///
    /// Costs what fires and what moves to a lower level (a timer does so ten times at most, and
    /// three or four times if it is ten minutes away), not the ticks in between.
    pub(crate) fn advance(&mut self, now: u64, due: &mut Vec<(u64, T)>) {
        let now = now.max(self.elapsed);
        while let Some((level, digit)) = self.first_slot() {
            let start = self.start_of(level, digit);
            if start > now {
                break;
            }
            let mut next = self.take_slot(level, digit);
            debug_assert!(start >= self.elapsed, "slots of the past are empty");
            self.elapsed = start;
            while next != NIL {
                let node = next;
                next = self.nodes[node as usize].next;
                if level == 0 {
                    self.fire(node, due);
                } else {
                    let at = self.nodes[node as usize].at;
                    debug_assert!(place(self.elapsed, at).0 < level, "timers only move down");
                    self.link(node, at);
                }
            }
        }
        self.elapsed = now;
    }

    /// The tick at which [`Wheel::advance`] should be called next; `None`: there are no timers.
    ///
    /// Never later than the earliest deadline. Earlier only where the earliest timer of a slot was
    /// cancelled and others remain: `advance` then moves these down, and the next answer is exact.
    /// However many timers of a slot were cancelled, that is one early call.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        let (level, digit) = self.first_slot()?;
        Some(self.slots[level * SLOTS + digit].earliest)
    }

    /// The deadline of a timer, if it is pending.
    #[inline]
    pub(crate) fn deadline(&self, key: TimerKey) -> Option<u64> {
        let node = self.nodes.get(key.node as usize)?;
        (node.generation == key.generation && node.value.is_some()).then_some(node.at)
    }

    /// The level and digit of the slot that is due first.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot that is not empty.
    #[inline]
    fn start_of(&self, level: usize, digit: usize) -> u64 {
        let shift = level as u32 * DIGIT_BITS;
        let higher_digits = (self.elapsed >> shift) & !DIGIT_MASK;
        (higher_digits | digit as u64) << shift
    }

    /// Appends a node to the list of the slot where `at` belongs.
    fn link(&mut self, node: u32, at: u64) {
        let (level, digit) = place(self.elapsed, at);
        let slot = &mut self.slots[level * SLOTS + digit];
        let tail = slot.tail;
        slot.tail = node;
        if tail == NIL {
            slot.head = node;
            slot.earliest = at;
            self.occupied[level] |= 1 << digit;
            self.levels |= 1 << level;
        } else {
            slot.earliest = slot.earliest.min(at);
            self.nodes[tail as usize].next = node;
        }
        let node = &mut self.nodes[node as usize];
        node.prev = tail;
        node.next = NIL;
    }

    /// Takes a node out of its slot's list.
    fn unlink(&mut self, node: u32) {
        let Node { at, prev, next, .. } = self.nodes[node as usize];
        let (level, digit) = place(self.elapsed, at);
        let slot = &mut self.slots[level * SLOTS + digit];
        match prev {
            NIL => slot.head = next,
            _ => self.nodes[prev as usize].next = next,
        }
        match next {
            NIL => slot.tail = prev,
            _ => self.nodes[next as usize].prev = prev,
        }
        if slot.head == NIL {
            self.take_slot(level, digit);
        }
    }

    /// Empties a slot and returns the head of what was its list.
    fn take_slot(&mut self, level: usize, digit: usize) -> u32 {
        self.occupied[level] &= !(1 << digit);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
        std::mem::replace(&mut self.slots[level * SLOTS + digit], Slot::EMPTY).head
    }

    /// Moves the value of a node, which is in no list any more, to `due`.
    fn fire(&mut self, node: u32, due: &mut Vec<(u64, T)>) {
        let at = self.nodes[node as usize].at;
        let value = self.release_node(node);
        due.push((at, value.expect("a node in a list has a value")));
    }

    fn take_node(&mut self, at: u64, value: T) -> u32 {
        let value = Some(value);
        if self.free != NIL {
            let index = self.free;
            let node = &mut self.nodes[index as usize];
            self.free = node.next;
            node.at = at;
            node.value = value;
            return index;
        }
        let index = u32::try_from(self.nodes.len()).unwrap_or(NIL);
        assert!(index != NIL, "fewer than 2^32 - 1 timers fit into memory");
        self.nodes.push(Node {
            at,
            prev: NIL,
            next: NIL,
            generation: NonZeroU32::MIN,
            value,
        });
        index
    }

    fn release_node(&mut self, index: u32) -> Option<T> {
        let node = &mut self.nodes[index as usize];
        let wrapped = NonZeroU32::MIN;
        node.generation = node.generation.checked_add(1).unwrap_or(wrapped);
        node.next = self.free;
        self.free = index;
        node.value.take()
    }
}

impl Slot {
    const EMPTY: Slot = Slot {
        head: NIL,
        tail: NIL,
        earliest: u64::MAX,
    };
}

/// The level and digit at which `at` lies while `elapsed` is the current tick.
#[inline]
fn place(elapsed: u64, at: u64) -> (usize, usize) {
    debug_assert!(at >= elapsed, "no deadline lies before the current tick");
    // The lowest bit is set so that a deadline equal to `elapsed` has a highest bit too: level 0.
    let level = ((elapsed ^ at) | 1).ilog2() / DIGIT_BITS;
    let digit = (at >> (level * DIGIT_BITS)) & DIGIT_MASK;
    (level as usize, digit as usize)
}

const DIGIT_BITS: u32 = 6;
const DIGIT_MASK: u64 = SLOTS as u64 - 1;
/// Slots of a level; the bits of its map.
const SLOTS: usize = 1 << DIGIT_BITS;
/// Digits of a `u64`.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
/// No node.
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// How many timers are pending.
    fn pending<T>(wheel: &Wheel<T>) -> usize {
        wheel
            .nodes
            .iter()
            .filter(|node| node.value.is_some())
            .count()
    }

    /// A wheel beside a sorted list that does the same without any cleverness. Every value is
    /// unique and remembers the order of insertion.
    struct Twin {
        wheel: Wheel<u32>,
        sorted: BTreeMap<(u64, u32), TimerKey>,
        /// Every timer ever inserted.
        deadlines: Vec<(u64, TimerKey)>,
        now: u64,
        /// Calls of `advance`, as a reactor would make them: see `sleep_until`.
        wake_ups: usize,
    }

    impl Twin {
        fn new() -> Twin {
            Twin {
                wheel: Wheel::new(),
                sorted: BTreeMap::new(),
                deadlines: Vec::new(),
                now: 0,
                wake_ups: 0,
            }
        }

        fn insert(&mut self, at: u64) -> TimerKey {
            let value = self.deadlines.len() as u32;
            let key = self.wheel.insert(at, value);
            let at = at.max(self.now);
            self.sorted.insert((at, value), key);
            self.deadlines.push((at, key));
            self.check();
            key
        }

        /// Cancels the timer that was inserted as number `value`, which may be long gone.
        #[track_caller]
        fn cancel(&mut self, value: usize) {
            let (at, key) = self.deadlines[value];
            let expected = self.sorted.remove(&(at, value as u32));
            let answer = self.wheel.cancel(key);
            assert_eq!(answer, expected.map(|_| value as u32));
            assert_eq!(
                self.wheel.cancel(key),
                None,
                "a second cancel finds nothing"
            );
            self.check();
        }

        /// Advances both and compares what fires; answers the deadlines that did.
        #[track_caller]
        fn advance(&mut self, now: u64) -> Vec<u64> {
            let mut due = Vec::new();
            self.wheel.advance(now, &mut due);
            self.now = self.now.max(now);
            let mut fired = Vec::new();
            let mut expected = Vec::new();
            while let Some(entry) = self.sorted.first_entry()
                && entry.key().0 <= self.now
            {
                let ((at, value), _) = entry.remove_entry();
                fired.push(at);
                expected.push((at, value));
            }
            assert_eq!(due, expected, "at tick {now}");
            self.check();
            fired
        }

        /// Advances only when the wheel asks for it, as a reactor without events does.
        #[track_caller]
        fn sleep_until(&mut self, end: u64) -> Vec<u64> {
            let mut fired = Vec::new();
            while let Some(next) = self.wheel.next_expiry()
                && next <= end
            {
                self.wake_ups += 1;
                fired.extend(self.advance(next));
            }
            fired.extend(self.advance(end));
            fired
        }

        #[track_caller]
        fn check(&self) {
            let earliest = self.sorted.first_key_value().map(|(&(at, _), _)| at);
            let next = self.wheel.next_expiry();
            assert_eq!(next.is_some(), earliest.is_some());
            assert!(next <= earliest, "{next:?} is later than {earliest:?}");
            assert!(next.is_none_or(|next| next >= self.now));
        }
    }

    /// Deadlines and starting ticks on both sides of every boundary between two slots or levels.
    fn boundaries() -> BTreeSet<u64> {
        let powers = (0..=10).map(|level| 1_u64 << (6 * level));
        let edges = powers.flat_map(|power| [power, power.wrapping_mul(63), power << 1]);
        let around =
            edges.flat_map(|edge| [-1, 0, 1].map(|offset: i64| edge.saturating_add_signed(offset)));
        around.chain([0, 1 << 63, u64::MAX - 1, u64::MAX]).collect()
    }

    #[test]
    fn a_timer_fires_at_its_tick_and_not_one_before_on_every_boundary() {
        for start in boundaries() {
            for delay in boundaries() {
                let Some(at) = start.checked_add(delay) else {
                    continue;
                };
                let mut twin = Twin::new();
                twin.advance(start);
                twin.insert(at);
                if delay > 0 {
                    assert_eq!(twin.advance(at - 1), [], "early: {start} + {delay}");
                }
                assert_eq!(twin.advance(at), [at], "late: {start} + {delay}");
            }
        }
    }

    #[test]
    fn one_jump_fires_all_boundaries_in_the_order_of_their_deadlines() {
        let mut twin = Twin::new();
        for &at in boundaries().iter().rev() {
            twin.insert(at);
        }
        let all: Vec<u64> = boundaries().into_iter().collect();
        assert_eq!(twin.advance(u64::MAX), all);
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_in_which_they_were_inserted() {
        // The first of them moves down level by level, the last one is inserted at the lowest.
        let at = 5 * 4096 + 3 * 64 + 7;
        let mut twin = Twin::new();
        for now in [0, 4096, 5 * 4096, at - 7, at - 1, at - 1, at - 1] {
            twin.advance(now);
            twin.insert(at);
        }
        assert_eq!(twin.advance(at), [at; 7]);
    }

    #[test]
    fn a_timer_without_delay_fires_with_the_next_advance_of_the_same_tick() {
        let mut twin = Twin::new();
        twin.advance(1000);
        assert_eq!(twin.advance(1000), []);
        twin.insert(1000);
        assert_eq!(twin.wheel.next_expiry(), Some(1000));
        assert_eq!(twin.advance(1000), [1000]);
    }

    #[test]
    fn a_deadline_in_the_past_counts_as_the_current_tick() {
        let mut twin = Twin::new();
        twin.advance(1000);
        twin.insert(5);
        twin.insert(999);
        twin.insert(3);
        assert_eq!(twin.wheel.next_expiry(), Some(1000));
        assert_eq!(twin.advance(1000), [1000; 3]);
    }

    #[test]
    fn a_clock_that_steps_back_fires_nothing_early() {
        let mut twin = Twin::new();
        twin.advance(1000);
        twin.insert(1001);
        assert_eq!(twin.advance(10), []);
        twin.insert(20);
        assert_eq!(twin.advance(10), [1000]);
        assert_eq!(twin.advance(1001), [1001]);
    }

    #[test]
    fn a_timer_that_is_due_can_still_be_cancelled_until_it_is_moved_out() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        let [first, second] = ["first", "second"].map(|name| wheel.insert(100, name));
        wheel.advance(99, &mut due);
        assert_eq!(wheel.cancel(first), Some("first"));
        wheel.advance(200, &mut due);
        assert_eq!(due, [(100, "second")]);
        assert_eq!(wheel.cancel(second), None, "it belongs to the caller now");
    }

    #[test]
    fn a_key_cannot_cancel_the_next_timer_in_the_same_node() {
        let mut wheel = Wheel::new();
        let cancelled = wheel.insert(10, 'a');
        wheel.cancel(cancelled);
        let fired = wheel.insert(10, 'b');
        wheel.advance(10, &mut Vec::new());
        let pending = wheel.insert(20, 'c');
        assert_eq!([cancelled.node, fired.node], [pending.node; 2]);
        assert_eq!(wheel.cancel(cancelled), None);
        assert_eq!(wheel.cancel(fired), None);
        assert_eq!(wheel.cancel(pending), Some('c'));
    }

    #[test]
    fn generations_come_round_without_a_panic_and_skip_zero() {
        let mut wheel = Wheel::new();
        let key = wheel.insert(10, ());
        wheel.cancel(key);
        wheel.nodes[0].generation = NonZeroU32::MAX;
        let last = wheel.insert(10, ());
        assert_eq!(last.generation, NonZeroU32::MAX);
        wheel.cancel(last);
        assert_eq!(wheel.cancel(key), None, "a free node holds nothing");
        assert_eq!(wheel.insert(10, ()).generation, NonZeroU32::MIN);
    }

    #[test]
    fn the_last_tick_of_all_is_a_deadline_like_any_other() {
        let mut twin = Twin::new();
        twin.insert(u64::MAX);
        assert_eq!(twin.advance(u64::MAX - 1), []);
        twin.insert(u64::MAX);
        assert_eq!(twin.advance(u64::MAX), [u64::MAX; 2]);
        twin.insert(u64::MAX);
        assert_eq!(twin.advance(u64::MAX), [u64::MAX]);
    }

    #[test]
    fn jumping_a_year_ahead_does_not_count_the_ticks() {
        let mut twin = Twin::new();
        let year = 365 * 24 * 3600 * 1000;
        for years in 0..1000 {
            twin.insert((years + 1) * year);
            twin.insert(years * year + 1);
            assert_eq!(twin.advance((years + 1) * year).len(), 2);
        }
    }

    #[test]
    fn an_idle_reactor_is_not_woken_before_its_timer_is_due() {
        let ten_minutes = 600_000;
        for start in [0, 1, 64, 4095, 262_143, (1 << 24) - 1, (1 << 36) - 600] {
            let mut twin = Twin::new();
            twin.advance(start);
            twin.insert(start + ten_minutes);
            assert_eq!(twin.sleep_until(start + ten_minutes).len(), 1);
            assert_eq!(twin.wake_ups, 1, "started at {start}");
        }
    }

    #[test]
    fn any_number_of_cancelled_timers_wakes_an_idle_reactor_once() {
        let mut twin = Twin::new();
        for at in 597_000..=600_000 {
            twin.insert(at);
        }
        for value in 0..3000 {
            twin.cancel(value);
        }
        assert_eq!(twin.wheel.next_expiry(), Some(597_000));
        assert_eq!(twin.sleep_until(600_000), [600_000]);
        assert_eq!(twin.wake_ups, 2);
    }

    #[test]
    fn an_idle_connection_pays_32_bytes_for_its_timer() {
        #[expect(dead_code, reason = "only its size matters")]
        enum Owner {
            Connection {
                slot: u32,
                generation: u32,
                stage: u8,
            },
            Reactor,
        }
        assert_eq!(size_of::<Owner>(), 12);
        assert!(size_of::<Node<Owner>>() <= 32);
        assert_eq!(size_of::<Option<TimerKey>>(), 8);
    }

    #[test]
    fn nodes_are_used_again() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        for now in 0..10_000 {
            wheel.insert(now + 1, now);
            let key = wheel.insert(now + 100_000, now);
            wheel.cancel(key);
            wheel.advance(now + 1, &mut due);
        }
        assert_eq!(due.len(), 10_000);
        assert!(wheel.nodes.len() <= 2, "{} nodes", wheel.nodes.len());
    }

    /// Xorshift64: enough to vary the operations, and the same everywhere.
    struct Xorshift(u64);

    impl Xorshift {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        /// Of any magnitude below 2^`bits`: short delays are as likely as long ones.
        fn magnitude(&mut self, bits: u64) -> u64 {
            let shift = 64 - self.next() % bits.clamp(1, 64);
            self.next().checked_shr(shift as u32).unwrap_or(0)
        }
    }

    #[test]
    fn a_million_operations_agree_with_a_sorted_list() {
        for (seed, bits) in [8, 13, 19, 20, 26, 32, 40, 50, 60, 64]
            .into_iter()
            .enumerate()
        {
            let mut random = Xorshift(0x9e37_79b9_7f4a_7c15 ^ seed as u64);
            let mut twin = Twin::new();
            for _ in 0..100_000 {
                let now = twin.now;
                match random.next() % 8 {
                    0..=3 => {
                        twin.insert(now.saturating_add(random.magnitude(bits)));
                    }
                    4 => {
                        // Often one of the last, which are more likely to be pending.
                        let count = twin.deadlines.len() as u64;
                        if let Some(back) = random.magnitude(20).checked_rem(count) {
                            twin.cancel((count - 1 - back) as usize);
                        }
                    }
                    5 => {
                        twin.advance(now.saturating_add(random.magnitude(bits - 2)));
                    }
                    6 => {
                        let step = twin.wheel.next_expiry().unwrap_or(now);
                        twin.advance(step);
                    }
                    _ => {
                        let at = twin.deadlines.last().map_or(0, |&(at, _)| at);
                        twin.insert(at);
                    }
                }
            }
            twin.advance(u64::MAX);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Operation {
        Insert { delay: u64 },
        Cancel { value: usize },
        Advance { by: u64 },
        AdvanceToNext,
    }

    fn magnitudes() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(bits, shift)| bits >> shift)
    }

    fn operations() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => magnitudes().prop_map(|delay| Operation::Insert { delay }),
            1 => any::<usize>().prop_map(|value| Operation::Cancel { value }),
            1 => magnitudes().prop_map(|by| Operation::Advance { by }),
            2 => Just(Operation::AdvanceToNext),
        ]
    }

    proptest! {
        // A failing case is printed in its smallest form, and then kept as a test with a name.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn a_few_operations_agree_with_a_sorted_list(
            operations in prop::collection::vec(operations(), 1..60),
        ) {
            let mut twin = Twin::new();
            for operation in operations {
                let now = twin.now;
                match operation {
                    Operation::Insert { delay } => {
                        twin.insert(now.saturating_add(delay));
                    }
                    Operation::Cancel { value } => {
                        if let Some(value) = value.checked_rem(twin.deadlines.len()) {
                            twin.cancel(value);
                        }
                    }
                    Operation::Advance { by } => {
                        twin.advance(now.saturating_add(by));
                    }
                    Operation::AdvanceToNext => {
                        let next = twin.wheel.next_expiry().unwrap_or(now);
                        twin.advance(next);
                    }
                }
            }
            twin.advance(u64::MAX);
            prop_assert_eq!(pending(&twin.wheel), 0);
        }
    }
}
