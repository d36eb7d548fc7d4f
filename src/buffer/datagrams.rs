//! `DatagramQueue`: datagrams that wait to be sent, bounded in number and in bytes.
//!
//! Boundaries are kept, and what is copied lies together: neighbours of one length and one
//! destination are a single record, which leaves as a train without further copying. Knows neither
//! who fills nor who drains it, nor what a destination is.

use std::collections::VecDeque;

use bytes::Bytes;

/// The queue of one socket. `D`: where to.
#[derive(Debug)]
pub(crate) struct DatagramQueue<D> {
    records: VecDeque<Record<D>>,
    /// The bytes of the records that have none of their own, in order.
    ///
    /// ```text
    /// 0 ── sent ── head ── waiting ── flat.len()
    /// ```
    flat: Vec<u8>,
    /// First byte that was not sent. Invariant: `head <= flat.len()`.
    head: usize,
    /// Datagrams of all records. Invariant: `count <= bounds.max_count`.
    count: usize,
    /// Bytes of all records. Invariant: `len <= bounds.max_len`.
    len: usize,
    bounds: Bounds,
    /// More than half of a bound was taken, and it has not fallen to a quarter since.
    is_over: bool,
    /// Datagrams that were dropped, since that was last asked for.
    dropped: u64,
    /// The most records, and bytes of `flat`, that waited of late: what memory is kept for.
    recent_count: usize,
    recent_len: usize,
}

/// How much may wait, and what happens beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_count: usize,
    pub(crate) max_len: usize,
    /// Whether the oldest datagrams make room for a new one.
    pub(crate) drops_oldest: bool,
}

impl Bounds {
    /// Nothing waits.
    pub(crate) const NONE: Bounds = Bounds {
        max_count: 0,
        max_len: 0,
        drops_oldest: false,
    };
}

/// Datagrams that follow one another to one destination: `segment_len` bytes each, the last of
/// them maybe less.
#[derive(Debug)]
struct Record<D> {
    to: D,
    count: usize,
    segment_len: usize,
    /// Bytes of all of them.
    len: usize,
    /// Whether a further one may join them: none was shorter, and none is empty.
    is_open: bool,
    /// Shared with other records, or none: then the next `len` bytes of `flat`.
    shared: Option<Bytes>,
}

/// The datagrams that are to be sent next: one, or a train.
#[derive(Debug)]
pub(crate) struct Front<'a, D> {
    pub(crate) to: &'a D,
    pub(crate) bytes: &'a [u8],
    pub(crate) count: usize,
    /// The length of each of them; the last may be shorter.
    pub(crate) segment_len: usize,
}

impl<D> DatagramQueue<D> {
    pub(crate) fn new(bounds: Bounds) -> DatagramQueue<D> {
        DatagramQueue {
            records: VecDeque::new(),
            flat: Vec::new(),
            head: 0,
            count: 0,
            len: 0,
            bounds,
            is_over: false,
            dropped: 0,
            recent_count: 0,
            recent_len: 0,
        }
    }

    /// Queues a copy. `to` is made a destination only if it is another one than the last.
    ///
    /// # Errors
    /// There is no room, and older ones do not make any. Whom it was for is given back.
    #[inline]
    pub(crate) fn push<T>(&mut self, to: T, bytes: &[u8]) -> Result<(), T>
    where
        T: PartialEq<D> + Into<D>,
    {
        let len = bytes.len();
        if !self.make_room(len) {
            return Err(to);
        }
        self.flat.extend_from_slice(bytes);
        match self.records.back_mut() {
            Some(last) if last.is_open && len <= last.segment_len && len > 0 && to == last.to => {
                last.is_open = len == last.segment_len;
                last.count += 1;
                last.len += len;
            }
            _ => self.record(to, len, None),
        }
        self.grow(len);
        Ok(())
    }

    /// Queues a reference. Short ones are copied, which is cheaper.
    ///
    /// # Errors
    /// As [`DatagramQueue::push`].
    pub(crate) fn push_shared<T>(&mut self, to: T, bytes: Bytes) -> Result<(), T>
    where
        T: PartialEq<D> + Into<D>,
    {
        let len = bytes.len();
        if len < SHARED_MIN_LEN {
            return self.push(to, &bytes);
        }
        if !self.make_room(len) {
            return Err(to);
        }
        self.record(to, len, Some(bytes));
        self.grow(len);
        Ok(())
    }

    #[inline]
    fn record(&mut self, to: impl Into<D>, len: usize, shared: Option<Bytes>) {
        self.records.push_back(Record {
            to: to.into(),
            count: 1,
            segment_len: len,
            len,
            is_open: len > 0 && shared.is_none(),
            shared,
        });
    }

    #[inline]
    fn grow(&mut self, len: usize) {
        self.count += 1;
        self.len += len;
        let is_over = self.count > self.bounds.max_count / 2;
        self.is_over |= is_over || self.len > self.bounds.max_len / 2;
    }

    #[inline]
    fn make_room(&mut self, len: usize) -> bool {
        let has_room = self.count < self.bounds.max_count && len <= self.bounds.max_len - self.len;
        has_room || self.make_room_slowly(len)
    }

    #[cold]
    fn make_room_slowly(&mut self, len: usize) -> bool {
        let may_fit = self.bounds.max_count > 0 && len <= self.bounds.max_len;
        if !(self.bounds.drops_oldest && may_fit) {
            self.dropped += 1;
            return false;
        }
        while self.count >= self.bounds.max_count || self.len + len > self.bounds.max_len {
            self.pop(1);
            self.dropped += 1;
        }
        true
    }

    /// What is to be sent next: one datagram, or as many of one length to one destination as came
    /// one after the other, at most `max_train`.
    #[inline]
    pub(crate) fn front(&self, max_train: usize) -> Option<Front<'_, D>> {
        let first = self.records.front()?;
        let mut front = Front {
            to: &first.to,
            bytes: &[],
            count: 1,
            segment_len: first.segment_len.min(first.len),
        };
        if let Some(bytes) = &first.shared {
            front.bytes = bytes;
            return Some(front);
        }
        if first.count > 1 {
            // What is empty stands alone.
            let max_train = max_train.min(MAX_TRAIN_LEN / first.segment_len);
            front.count = first.count.min(max_train).max(1);
        }
        let len = first.len.min(front.count * first.segment_len);
        front.bytes = &self.flat[self.head..self.head + len];
        Some(front)
    }

    /// Forgets the next `count` datagrams.
    #[inline]
    pub(crate) fn pop(&mut self, count: usize) {
        self.recent_count = self.recent_count.max(self.records.len());
        self.recent_len = self.recent_len.max(self.flat.len());
        let mut left = count;
        while left > 0
            && let Some(first) = self.records.front_mut()
        {
            let is_whole = left >= first.count;
            let popped = if is_whole { first.count } else { left };
            let len = if is_whole {
                first.len
            } else {
                popped * first.segment_len
            };
            left -= popped;
            self.count -= popped;
            self.len -= len;
            if first.shared.is_none() {
                self.head += len;
            }
            if is_whole {
                self.records.pop_front();
            } else {
                first.count -= popped;
                first.len -= len;
            }
        }
        if self.records.is_empty() {
            self.flat.clear();
            self.head = 0;
        } else if self.head >= COMPACT_MIN_LEN && self.head * 2 >= self.flat.len() {
            self.flat.drain(..self.head);
            self.head = 0;
        }
    }

    /// Forgets everything; it counts as dropped.
    pub(crate) fn clear(&mut self) {
        self.dropped += self.count as u64;
        self.pop(self.count);
        self.is_over = false;
    }

    /// Whether it has run low after it was over: once for each time.
    pub(crate) fn take_drained(&mut self) -> bool {
        let is_low = self.count <= self.bounds.max_count / 4;
        let is_drained = self.is_over && is_low && self.len <= self.bounds.max_len / 4;
        if is_drained {
            self.is_over = false;
        }
        is_drained
    }

    /// Whether more than half of what may wait does.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether hardly anything waits: no more than a sixty-fourth of what may.
    #[inline]
    pub(crate) fn is_low(&self) -> bool {
        self.count <= self.bounds.max_count / 64 && self.len <= self.bounds.max_len / 64
    }

    /// Datagrams that were dropped since the last call.
    #[inline]
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Datagrams that wait.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives memory back after a peak. Call it when the queue is empty, now and then: a peak is
    /// forgotten by and by, so that one that comes again and again costs no memory each time.
    pub(crate) fn shrink(&mut self) {
        let (kept_len, kept_count) = (
            self.recent_len.max(KEPT_LEN),
            self.recent_count.max(KEPT_COUNT),
        );
        // What grows by doubling may have twice what it needed.
        if self.flat.capacity() > 2 * kept_len {
            self.flat.shrink_to(kept_len);
        }
        if self.records.capacity() > 2 * kept_count {
            self.records.shrink_to(kept_count);
        }
        self.recent_len -= self.recent_len / FORGETTING;
        self.recent_count -= self.recent_count / FORGETTING;
    }
}

/// From this length on, shared bytes are queued by reference.
const SHARED_MIN_LEN: usize = 512;
/// Sent bytes at the front that are not worth moving for.
const COMPACT_MIN_LEN: usize = 16 * 1024;
/// Bytes of a train: it leaves as one IP packet as far as the kernel is concerned, and is cut by
/// the network card (udp(7), `UDP_SEGMENT`).
const MAX_TRAIN_LEN: usize = 65_507;
/// What an idle queue keeps in any case.
const KEPT_LEN: usize = 128 * 1024;
const KEPT_COUNT: usize = 256;
/// Of a peak, this part is forgotten each time.
const FORGETTING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max_count: usize, max_len: usize, drops_oldest: bool) -> DatagramQueue<u8> {
        DatagramQueue::new(Bounds {
            max_count,
            max_len,
            drops_oldest,
        })
    }

    /// Takes everything out, in trains of at most `max_train`, as (destination, datagrams).
    fn drain(queue: &mut DatagramQueue<u8>, max_train: usize) -> Vec<(u8, Vec<Vec<u8>>)> {
        let mut all = Vec::new();
        while let Some(front) = queue.front(max_train) {
            let mut train: Vec<_> = front
                .bytes
                .chunks(front.segment_len.max(1))
                .map(Vec::from)
                .collect();
            if front.bytes.is_empty() {
                train.push(Vec::new());
            }
            assert_eq!(train.len(), front.count);
            all.push((*front.to, train));
            let count = front.count;
            queue.pop(count);
        }
        assert_eq!((queue.len(), queue.count()), (0, 0));
        all
    }

    #[test]
    fn memory_for_a_peak_is_kept_while_it_comes_again_and_is_given_back_once_it_does_not() {
        let mut queue = queue(2000, 1_000_000, false);
        let peak = |queue: &mut DatagramQueue<u8>, count| {
            for at in 0..count {
                // No neighbours are alike: each has a record of its own.
                queue.push((at % 2) as u8, &[7; 300]).unwrap();
            }
            queue.pop(count);
            let full = (queue.records.capacity(), queue.flat.capacity());
            queue.shrink();
            (full, (queue.records.capacity(), queue.flat.capacity()))
        };
        let (first, kept) = peak(&mut queue, 1000);
        assert_eq!(first, kept);
        for _ in 0..5 {
            peak(&mut queue, 1);
        }
        assert_eq!(peak(&mut queue, 1000), (first, first));
        for _ in 0..100 {
            peak(&mut queue, 1);
        }
        assert!(queue.records.capacity() <= 2 * KEPT_COUNT);
        assert!(queue.flat.capacity() <= 2 * KEPT_LEN);
    }

    #[test]
    fn datagrams_leave_one_by_one_in_the_order_they_came() {
        let mut queue = queue(100, 100_000, false);
        let sent: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; usize::from(n) * 30]).collect();
        for (at, bytes) in sent.iter().enumerate() {
            if at % 3 == 0 {
                queue.push_shared(1, Bytes::copy_from_slice(bytes)).unwrap();
            } else {
                queue.push(1, bytes).unwrap();
            }
        }
        let got: Vec<_> = drain(&mut queue, 1)
            .into_iter()
            .flat_map(|(_, all)| all)
            .collect();
        assert!(got == sent);
    }

    #[test]
    fn neighbours_of_one_length_and_destination_are_a_train_whose_last_may_be_shorter() {
        let mut queue = queue(100, 100_000, false);
        for (to, len) in [
            (1, 5),
            (1, 5),
            (1, 3),
            (1, 5),
            (2, 5),
            (2, 6),
            (2, 0),
            (2, 6),
        ] {
            queue.push(to, &vec![to; len]).unwrap();
        }
        let trains: Vec<(u8, Vec<usize>)> = drain(&mut queue, 64)
            .into_iter()
            .map(|(to, all)| (to, all.iter().map(Vec::len).collect()))
            .collect();
        let expected = [
            (1, vec![5, 5, 3]),
            (1, vec![5]),
            (2, vec![5]),
            (2, vec![6]),
            (2, vec![0]),
            (2, vec![6]),
        ];
        assert_eq!(trains, expected);
    }

    #[test]
    fn a_train_of_which_some_have_left_goes_on_with_the_others_and_the_shorter_one_ends_it() {
        let mut queue = queue(100, 100_000, true);
        for len in [5, 5, 5, 3, 5] {
            queue.push(1, &vec![len as u8; len]).unwrap();
        }
        queue.pop(2);
        assert_eq!((queue.count(), queue.len()), (3, 13));
        let front = queue.front(64).unwrap();
        assert_eq!((front.count, front.segment_len), (2, 5));
        assert_eq!(front.bytes, [5, 5, 5, 5, 5, 3, 3, 3]);
        queue.pop(1);
        let front = queue.front(64).unwrap();
        assert_eq!(
            (front.count, front.segment_len, front.bytes.len()),
            (1, 3, 3)
        );
        queue.push(1, &[5; 5]).unwrap();
        let left: Vec<usize> = drain(&mut queue, 64)
            .iter()
            .map(|(_, all)| all.len())
            .collect();
        assert_eq!(left, [1, 2]);
    }

    #[test]
    fn like_neighbours_are_one_record_and_the_bounds_count_each_of_them() {
        let mut queue = queue(64, 1000, true);
        for n in 0..100 {
            queue.push(1, &[n; 10]).unwrap();
        }
        assert_eq!(
            (queue.records.len(), queue.count(), queue.len()),
            (1, 64, 640)
        );
        assert_eq!(queue.take_dropped(), 36);
        assert_eq!(
            queue.front(1).map(|front| front.bytes.to_vec()),
            Some(vec![36; 10])
        );
    }

    #[test]
    fn a_train_is_no_longer_than_one_packet_nor_than_was_asked_for() {
        let mut queue = queue(1000, 1 << 20, false);
        for _ in 0..300 {
            queue.push(1, &[0; 1400]).unwrap();
        }
        assert_eq!(queue.front(1000).map(|front| front.count), Some(46));
        assert_eq!(queue.front(7).map(|front| front.count), Some(7));
    }

    #[test]
    fn the_newest_or_the_oldest_is_dropped_and_counted() {
        for (drops_oldest, left) in [(false, [0, 1, 2]), (true, [2, 3, 4])] {
            let mut queue = queue(3, 1000, drops_oldest);
            let pushed: Vec<bool> = (0..5).map(|n| queue.push(n, &[n]).is_ok()).collect();
            assert_eq!(pushed, [true, true, true, drops_oldest, drops_oldest]);
            assert_eq!(queue.take_dropped(), 2);
            let got: Vec<u8> = drain(&mut queue, 1).iter().map(|(to, _)| *to).collect();
            assert_eq!(got, left);
        }
    }

    #[test]
    fn bytes_are_bounded_too_and_what_never_fits_throws_nothing_out() {
        let mut queue = queue(100, 10, true);
        queue.push(1, &[0; 6]).unwrap();
        assert_eq!(queue.push(2, &[0; 11]), Err(2));
        assert_eq!(queue.count(), 1);
        queue.push(3, &[0; 5]).unwrap();
        assert_eq!(drain(&mut queue, 1), [(3, vec![vec![0; 5]])]);
        assert_eq!(queue.take_dropped(), 2);
    }

    #[test]
    fn it_has_drained_once_after_it_was_over() {
        let mut queue = queue(8, 1000, false);
        for n in 0..5 {
            assert!(!queue.is_over());
            queue.push(n, &[n]).unwrap();
        }
        assert!(queue.is_over());
        queue.pop(2);
        assert!(!queue.take_drained());
        queue.pop(1);
        assert!(queue.take_drained());
        assert!(!queue.take_drained());
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let mut queue = queue(100, 1 << 20, false);
        queue.push(1, &[1; 1000]).unwrap();
        for _ in 0..10_000 {
            queue.push(1, &[2; 1000]).unwrap();
            queue.pop(1);
        }
        assert!(
            queue.flat.capacity() < 64 * 1024,
            "{}",
            queue.flat.capacity()
        );
    }
}
