//! `Segment`: one stretch of an outbox, in the form in which it was queued.
//!
//! Knows neither what is queued beside it nor the limits of that.

use std::fs::File;
use std::sync::Arc;

use bytes::{Buf, Bytes};

#[derive(Debug)]
pub(super) enum Segment {
    /// The next so many bytes of the outbox's copied ones.
    Flat(usize),
    /// Somebody else's bytes, kept alive by us.
    Shared(Bytes),
    /// A range of the input that is being driven; settled before that input goes away.
    Input { start: usize, len: usize },
    /// Bytes of an open file.
    File(FileRange),
}

/// Bytes of an open file, which are not in memory.
#[derive(Debug)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) len: usize,
}

/// What is to be written next of a queue with files in it.
pub(crate) enum Front<'a> {
    File(&'a FileRange),
    /// One slice, behind which a file follows.
    BeforeFile(&'a [u8]),
    /// Slices: see [`Outbox::gather`](super::Outbox::gather).
    Slices,
}

impl Segment {
    /// Its first `len` bytes have left. Invariant: there are so many.
    pub(super) fn advance(&mut self, len: usize) {
        match self {
            Segment::Flat(left) => *left -= len,
            Segment::Shared(bytes) => bytes.advance(len),
            Segment::Input { start, len: left } => {
                *start += len;
                *left -= len;
            }
            Segment::File(range) => {
                range.start += len as u64;
                range.len -= len;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Segment::Flat(len) | Segment::Input { len, .. } => *len,
            Segment::Shared(bytes) => bytes.len(),
            Segment::File(range) => range.len,
        }
    }

    /// Its bytes in memory: those of a file are not. `flat` are the copied bytes from this segment
    /// on, and afterwards those behind it.
    #[inline(always)]
    pub(super) fn bytes<'a>(&'a self, flat: &mut &'a [u8], input: &'a [u8]) -> &'a [u8] {
        match self {
            Segment::Flat(len) => {
                let (bytes, rest) = flat.split_at(*len);
                *flat = rest;
                bytes
            }
            Segment::Shared(bytes) => bytes,
            &Segment::Input { start, len } => &input[start..start + len],
            Segment::File(_) => &[],
        }
    }
}
