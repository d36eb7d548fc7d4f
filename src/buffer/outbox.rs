//! `Outbox`: the queue of bytes on their way to one peer.
//!
//! Small pieces are copied together, large shared ones are queued by reference, and a large piece
//! of the input that is being driven is queued as a range of it and written from where it lies.
//! A stretch of a file is queued as what it is, and read by whoever sends it. Knows neither sockets
//! nor frames.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::pool::Reuse;
use super::segment::{FileRange, Front, Segment};

/// Bytes queued to a peer, in order, up to a limit.
///
/// An encoder writes its messages here; a callback reaches it as `cx.out()`. Writing never blocks
/// and never fails half-way: what would exceed the limit (`Limits::max_outbound`, bytes) is
/// dropped whole, and the connection then ends with `CloseReason::OutboundLimit`.
///
/// It implements [`std::io::Write`], so that `write!` and any serialiser can be used;
/// [`Outbox::with_buf`] lends a [`bytes::BufMut`].
///
/// ```
/// # use windlass::Outbox;
/// use std::io::Write;
///
/// let mut out = Outbox::new();
/// write!(out, "{} bottles", 99)?;
/// out.with_buf(|buf| bytes::BufMut::put_u16(buf, 7));
/// assert_eq!(out.to_vec(), b"99 bottles\0\x07");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Outbox {
    /// The copied bytes of all `Flat` segments, one after the other.
    flat: Vec<u8>,
    /// First byte of `flat` that is not yet written. Invariant: `flat_start <= flat.len()`.
    flat_start: usize,
    /// What is queued, in order; empty when all of it is flat, which is the common case.
    segments: VecDeque<Segment>,
    /// Bytes queued, of all kinds.
    len: usize,
    /// How many of them others forwarded, if what is our own leaves first. Invariant: at most
    /// `len`.
    forwarded: usize,
    /// How many of them are in files, and take no memory. Invariant: at most `len`.
    in_files: usize,
    /// Bytes that may be queued in memory.
    limit: usize,
    /// Something was dropped because of `limit`.
    overflowed: bool,
    /// Where the input that is being driven lies in memory; empty when there is none.
    input_addr: usize,
    input_len: usize,
}

impl Outbox {
    /// An empty queue without a limit: what an encoder's own tests need.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Queues a copy of `bytes`.
    ///
    /// A large piece of the frame that is being handled is not copied if the kernel takes it
    /// within this event.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if !self.admit(bytes.len()) {
            return;
        }
        if bytes.len() >= INPUT_MIN_LEN
            && let Some(start) = self.position_in_input(bytes)
        {
            return self.push(Segment::Input {
                start,
                len: bytes.len(),
            });
        }
        self.flat.extend_from_slice(bytes);
        self.added_flat(bytes.len());
    }

    /// Queues `bytes`: by reference if there are many, otherwise as a copy.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_MIN_LEN {
            return self.put(&bytes);
        }
        if self.admit(bytes.len()) {
            self.push(Segment::Shared(bytes));
        }
    }

    /// As [`Outbox::put_shared`], for bytes that another connection forwards: they are no reason
    /// not to read from this one, because the other one is held while there is no room.
    pub(crate) fn put_forwarded(&mut self, bytes: Bytes) {
        let before = self.len;
        self.put_shared(bytes);
        self.forwarded += self.len - before;
    }

    /// Queues `len` bytes of a regular file from `start` on. They are not read here, but sent from
    /// where they lie, on Linux without a copy (`sendfile(2)`): they count as queued
    /// ([`Outbox::len`]), but not towards the limit, because they take no memory.
    ///
    /// Nothing else may shorten the file meanwhile: if it turns out to be shorter, or cannot be
    /// read, the connection is reset, so that the peer does not take what it has for the whole. If
    /// it is written to, the peer may get old bytes or new ones. A short stretch is cheaper to read
    /// and put. From the first one of more than 64 KiB on, the socket takes no more than so much
    /// that it has not sent yet, unless `StreamOptions::not_sent_low_water` was set (Linux).
    ///
    /// ```
    /// # use windlass::Outbox;
    /// use std::fs::File;
    /// use std::sync::Arc;
    ///
    /// let file = Arc::new(File::open("Cargo.toml")?);
    /// let mut out = Outbox::new();
    /// out.put(b"the first 100 bytes: ");
    /// out.put_file(&file, 0, 100);
    /// assert_eq!(out.len(), 121);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn put_file(&mut self, file: &Arc<File>, start: u64, len: usize) {
        // What cannot even be counted (on a system of 32 bits) does not fit.
        self.overflowed |= self.len.checked_add(len).is_none();
        if self.overflowed || len == 0 {
            return;
        }
        self.in_files += len;
        if let Some(Segment::File(last)) = self.segments.back_mut()
            && Arc::ptr_eq(&last.file, file)
            && last.start.checked_add(last.len as u64) == Some(start)
        {
            last.len += len;
            self.len += len;
            return;
        }
        let file = Arc::clone(file);
        self.push(Segment::File(FileRange { file, start, len }));
    }

    /// Lends the queue's end as a [`bytes::BufMut`] to append to.
    ///
    /// The limit is applied when `write` returns: if what it appended is too much, all of that is
    /// dropped.
    pub fn with_buf(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.flat.len();
        write(&mut self.flat);
        assert!(self.flat.len() >= before, "the buffer is only appended to");
        let added = self.flat.len() - before;
        if self.admit(added) {
            self.added_flat(added);
        } else {
            self.flat.truncate(before);
        }
    }

    /// How many bytes are queued, those of files among them.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many of them are our own: not forwarded by others.
    #[inline]
    pub(crate) fn own_len(&self) -> usize {
        self.len - self.forwarded
    }

    /// Whether nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more bytes fit within the limit.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.limit - self.in_memory()
    }

    /// How many of the queued bytes are in files.
    #[inline]
    pub(crate) fn in_files(&self) -> usize {
        self.in_files
    }

    /// How many of the queued bytes are in memory.
    #[inline]
    fn in_memory(&self) -> usize {
        self.len - self.in_files
    }

    /// A copy of everything that is queued: for tests, and to encode a message once for many.
    ///
    /// # Panics
    /// While a callback runs the queue may refer to its input, which is not at hand here; nor are
    /// the bytes of files.
    pub fn to_vec(&self) -> Vec<u8> {
        assert_eq!(self.in_files, 0, "files are not copied");
        let mut flat = self.unwritten_flat();
        let mut all = Vec::with_capacity(self.len);
        for segment in &self.segments {
            all.extend_from_slice(segment.bytes(&mut flat, &[]));
        }
        if self.segments.is_empty() {
            all.extend_from_slice(flat);
        }
        all
    }

    /// Sets how many bytes may be queued.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(self.in_memory());
    }

    /// Whether something was dropped because of the limit.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// From here on, pieces of `input` may be queued as ranges of it.
    #[inline]
    pub(crate) fn begin_input(&mut self, input: &[u8]) {
        debug_assert_eq!(self.input_len, 0, "one input is driven at a time");
        self.input_addr = input.as_ptr().addr();
        self.input_len = input.len();
    }

    /// `input` is about to go away: copies what is still queued of it.
    #[inline(always)]
    pub(crate) fn end_input(&mut self, input: &[u8]) {
        self.input_len = 0;
        if !self.segments.is_empty() {
            self.settle_input(input);
        }
    }

    #[inline(never)]
    fn settle_input(&mut self, input: &[u8]) {
        for segment in &mut self.segments {
            if let Segment::Input { start, len } = *segment {
                *segment = Segment::Shared(Bytes::copy_from_slice(&input[start..start + len]));
            }
        }
    }

    /// The front of the queue as one slice, and whether that is all of it. While there are files in
    /// the queue, see [`Outbox::front_of_files`].
    #[inline(always)]
    pub(crate) fn front<'a>(&'a self, input: &'a [u8]) -> (&'a [u8], bool) {
        match self.segments.front() {
            None => (self.unwritten_flat(), true),
            Some(first) => {
                let bytes = first.bytes(&mut self.unwritten_flat(), input);
                (bytes, self.segments.len() == 1)
            }
        }
    }

    /// What is to be written next of a queue with files in it.
    pub(crate) fn front_of_files<'a>(&'a self, input: &'a [u8]) -> Front<'a> {
        match (self.segments.front(), self.segments.get(1)) {
            (Some(Segment::File(range)), _) => Front::File(range),
            (Some(first), Some(Segment::File(_))) => {
                Front::BeforeFile(first.bytes(&mut self.unwritten_flat(), input))
            }
            _ => Front::Slices,
        }
    }

    /// Fills `slices` with the front of the queue, up to a file, and says how many it filled.
    pub(crate) fn gather<'a>(&'a self, input: &'a [u8], slices: &mut [IoSlice<'a>]) -> usize {
        if self.segments.is_empty() {
            slices[0] = IoSlice::new(self.unwritten_flat());
            return usize::from(self.len > 0);
        }
        let mut flat = self.unwritten_flat();
        let in_memory = |segment: &&Segment| !matches!(segment, Segment::File(_));
        let segments = self.segments.iter().take_while(in_memory);
        let mut count = 0;
        for (slot, segment) in slices.iter_mut().zip(segments) {
            *slot = IoSlice::new(segment.bytes(&mut flat, input));
            count += 1;
        }
        count
    }

    /// Removes the first `len` bytes: the kernel has taken them.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) {
        assert!(len <= self.len, "no more is written than was queued");
        self.len -= len;
        self.forwarded = self.forwarded.min(self.len);
        if self.segments.is_empty() {
            self.flat_start += len;
        } else {
            self.consume_segments(len);
        }
        if self.len == 0 {
            self.flat.clear();
            self.flat_start = 0;
        }
    }

    fn consume_segments(&mut self, mut len: usize) {
        while len > 0 {
            let segment = self.segments.front_mut().expect("segments add up to `len`");
            let taken = len.min(segment.len());
            match segment {
                Segment::Flat(_) => self.flat_start += taken,
                Segment::File(_) => self.in_files -= taken,
                Segment::Shared(_) | Segment::Input { .. } => {}
            }
            segment.advance(taken);
            if segment.len() == 0 {
                self.segments.pop_front();
            }
            len -= taken;
        }
    }

    /// Whether `len` more bytes fit; if not, that is remembered.
    #[inline]
    fn admit(&mut self, len: usize) -> bool {
        // Once something was dropped, everything behind it is: the peer must never see a gap.
        if len > self.remaining() || self.overflowed {
            self.overflowed = true;
            return false;
        }
        true
    }

    #[inline]
    fn added_flat(&mut self, len: usize) {
        self.len += len;
        if !self.segments.is_empty() && len > 0 {
            if let Some(Segment::Flat(last)) = self.segments.back_mut() {
                *last += len;
            } else {
                self.segments.push_back(Segment::Flat(len));
            }
        }
        // What is written at the front is given up once it is the larger part, so that a queue
        // which never runs empty does not grow: linear for the reason given at `Inbox::extend`.
        if self.flat_start > COMPACT_MIN_LEN && self.flat_start > self.flat.len() / 2 {
            self.flat.copy_within(self.flat_start.., 0);
            self.flat.truncate(self.flat.len() - self.flat_start);
            self.flat_start = 0;
        }
    }

    fn push(&mut self, segment: Segment) {
        if self.segments.is_empty() && self.len > 0 {
            self.segments.push_back(Segment::Flat(self.len));
        }
        self.len += segment.len();
        self.segments.push_back(segment);
    }

    /// The copied bytes that are queued.
    #[inline(always)]
    fn unwritten_flat(&self) -> &[u8] {
        &self.flat[self.flat_start..]
    }

    /// Where `bytes` begins in the input that is being driven, if it is a part of it.
    ///
    /// Told by its address: a slice that lies within the input's memory while that is borrowed
    /// can be nothing else than a part of it.
    fn position_in_input(&self, bytes: &[u8]) -> Option<usize> {
        let start = bytes.as_ptr().addr().checked_sub(self.input_addr)?;
        let end = start.checked_add(bytes.len())?;
        (end <= self.input_len).then_some(start)
    }
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            flat: Vec::new(),
            flat_start: 0,
            segments: VecDeque::new(),
            len: 0,
            forwarded: 0,
            in_files: 0,
            limit: usize::MAX,
            overflowed: false,
            input_addr: 0,
            input_len: 0,
        }
    }
}

impl io::Write for Outbox {
    /// Always takes all of `bytes`; see [`Outbox`] for what happens beyond the limit.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: the queue is written at the end of the event.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reuse for Outbox {
    fn reset(&mut self) {
        let mut flat = mem::take(&mut self.flat);
        let mut segments = mem::take(&mut self.segments);
        flat.clear();
        segments.clear();
        *self = Outbox {
            flat,
            segments,
            ..Outbox::default()
        };
    }

    fn kept_len(&self) -> usize {
        self.flat.capacity() + self.segments.capacity() * size_of::<Segment>()
    }
}

/// Slices that one vectored write takes at most.
pub(crate) const MAX_SLICES: usize = 64;
/// From this length on, shared bytes are queued by reference: below it, copying is cheaper than a
/// slice of its own in a vectored write.
const SHARED_MIN_LEN: usize = 2048;
/// From this length on, a piece of the input is queued as a range of it.
const INPUT_MIN_LEN: usize = 512;
/// Written bytes at the front that are not worth moving for.
const COMPACT_MIN_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Drains `out` by writes of at most `step` bytes, as a kernel would.
    fn drain(out: &mut Outbox, input: &[u8], step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let slice = match out.front_of_files(input) {
                Front::BeforeFile(slice) => Some(slice.to_vec()),
                Front::File(_) | Front::Slices => None,
            };
            if let Front::File(range) = out.front_of_files(input) {
                let mut piece = vec![0; range.len.min(step)];
                range.file.read_exact_at(&mut piece, range.start).unwrap();
                all.extend_from_slice(&piece);
                out.consume(piece.len());
                continue;
            }
            let mut slices = [IoSlice::new(&[]); 3];
            let count = out.gather(input, &mut slices);
            assert!(slices[0].starts_with(out.front(input).0));
            assert!(slice.is_none_or(|slice| count == 1 && slices[0][..] == slice));
            let mut taken = 0;
            for slice in &slices[..count] {
                let part = slice.len().min(step - taken);
                all.extend_from_slice(&slice[..part]);
                taken += part;
            }
            out.consume(taken);
        }
        all
    }

    #[test]
    fn a_copy_has_all_of_a_long_queue() {
        let mut out = Outbox::new();
        let piece = Bytes::from(vec![7; SHARED_MIN_LEN]);
        for _ in 0..2 * MAX_SLICES {
            out.put(b"-");
            out.put_shared(piece.clone());
        }
        let expected = [&b"-"[..], &piece].concat().repeat(2 * MAX_SLICES);
        assert!(out.to_vec() == expected);
    }

    #[test]
    fn pieces_of_every_kind_leave_in_the_order_they_came() {
        let input: Vec<u8> = (0..4000_u32).map(|n| n as u8).collect();
        for step in [1, 7, 511, 512, 513, 2048, 100_000] {
            let mut out = Outbox::new();
            let mut expected = Vec::new();
            out.begin_input(&input);
            for round in 0..20_usize {
                let small = [round as u8; 30];
                out.put(&small);
                expected.extend(small);
                let piece = &input[round * 10..round * 10 + 100 * round];
                out.put(piece);
                expected.extend(piece);
                let shared = Bytes::from(vec![round as u8; 300 * round]);
                expected.extend(&shared);
                out.put_shared(shared);
            }
            assert_eq!(out.len(), expected.len());
            let mut head = Vec::new();
            if step > 100 {
                // A part leaves from the input itself, the rest after it was settled.
                let mut slices = [IoSlice::new(&[])];
                out.gather(&input, &mut slices);
                head = slices[0].to_vec();
                out.consume(head.len());
            }
            out.end_input(&input);
            head.extend(drain(&mut out, &[], step));
            assert!(head == expected, "step {step}");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_whole_and_everything_behind_it() {
        let mut out = Outbox::new();
        out.set_limit(10);
        out.put(b"12345678");
        out.put(b"abc");
        assert!(out.has_overflowed());
        out.put(b"x");
        out.with_buf(|buf| buf.extend(b"y"));
        assert_eq!(out.to_vec(), b"12345678");
    }

    #[test]
    fn exactly_the_limit_fits() {
        let mut out = Outbox::new();
        out.set_limit(10);
        out.put(&[0; 10]);
        assert!(!out.has_overflowed());
        assert_eq!(out.remaining(), 0);
    }

    /// A file without a name.
    fn file(bytes: &[u8]) -> Arc<File> {
        let path = std::env::temp_dir().join(format!("windlass-outbox-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Arc::new(file)
    }

    #[test]
    fn files_leave_in_their_place_and_are_closed_when_they_have_left() {
        let bytes: Vec<u8> = (0..9000_u32).map(|n| (n * 7) as u8).collect();
        let file = file(&bytes);
        for step in [1, 7, 511, 4096, 100_000] {
            let mut out = Outbox::new();
            let mut expected = Vec::new();
            for round in 0..5_usize {
                out.put(b"before");
                out.put_shared(Bytes::from(vec![round as u8; 1500 * round]));
                expected.extend(b"before");
                expected.extend(vec![round as u8; 1500 * round]);
                // Neighbours are one stretch.
                out.put_file(&file, 1000, 1000 * round);
                out.put_file(&file, 1000 + 1000 * round as u64, 10);
                expected.extend(&bytes[1000..1010 + 1000 * round]);
                out.put(b"behind");
                expected.extend(b"behind");
            }
            assert_eq!(Arc::strong_count(&file), 1 + 5);
            assert_eq!(out.len(), expected.len());
            assert!(drain(&mut out, &[], step) == expected, "step {step}");
            assert_eq!(Arc::strong_count(&file), 1);
            assert_eq!((out.len(), out.in_files), (0, 0));
        }
    }

    #[test]
    fn bytes_in_files_count_as_queued_and_not_towards_the_limit() {
        let mut out = Outbox::new();
        out.set_limit(10);
        let file = file(&[]);
        out.put(b"12345678");
        out.put_file(&file, 0, 1000);
        out.put(b"90");
        assert_eq!((out.len(), out.remaining()), (1010, 0));
        assert!(!out.has_overflowed());
        out.put(b"a");
        assert!(out.has_overflowed());
        out.put_file(&file, 1000, 1000);
        assert_eq!(out.len(), 1010, "nothing follows what was dropped");
    }

    #[test]
    fn a_queue_that_never_runs_empty_does_not_grow() {
        let mut out = Outbox::new();
        out.put(&[1; 1000]);
        for _ in 0..10_000 {
            out.put(&[2; 1000]);
            out.consume(1000);
        }
        assert!(out.kept_len() < 64 * 1024, "{}", out.kept_len());
    }

    #[test]
    fn bytes_elsewhere_are_not_taken_for_the_input() {
        let input = vec![1; 1000];
        let other = vec![2; 1000];
        let mut out = Outbox::new();
        out.begin_input(&input);
        out.put(&other);
        out.end_input(&input);
        assert_eq!(out.to_vec(), other);
    }
}
