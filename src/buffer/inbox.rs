//! `Inbox`: the carry-over of a connection, that is, the beginning of a frame whose rest has not
//! arrived.
//!
//! Knows nothing of frames. A connection between two frames has no inbox at all.

use super::pool::Reuse;

/// ```text
/// 0 ── consumed ── start ── carried over ── bytes.len()
/// ```
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// First byte not yet consumed. Invariant: `start <= bytes.len()`.
    start: usize,
}

impl Inbox {
    /// Appends what has arrived. Memory grows with what was received, never with what a peer
    /// claims will come.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        // Move the rest to the front once it is the smaller part: each byte is moved at most once
        // for every byte consumed, so the cost stays linear.
        if self.start > 0 && self.start >= self.bytes.len() - self.start {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(self.bytes.len() - self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Marks the first `len` bytes as consumed.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        assert!(
            self.start <= self.bytes.len(),
            "no more is consumed than there is"
        );
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Reuse for Inbox {
    fn reset(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    fn kept_len(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_gone_and_the_rest_keeps_its_order() {
        let mut inbox = Inbox::default();
        let mut expected = Vec::new();
        for round in 0..100_u8 {
            inbox.extend(&[round; 7]);
            expected.extend([round; 7]);
            let len = usize::from(round % 9).min(inbox.len());
            inbox.consume(len);
            expected.drain(..len);
            assert_eq!(inbox.as_slice(), expected);
        }
    }
}
