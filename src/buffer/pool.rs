//! `Pool`: a bounded stock of boxed buffers, so that taking one costs no allocation as a rule.
//!
//! Knows only that a buffer can be made empty and says how much memory it keeps.

/// A buffer that can be used again.
pub(crate) trait Reuse: Default {
    /// Empties the buffer and keeps its memory.
    fn reset(&mut self);
    /// How many bytes of memory the buffer keeps while it is empty.
    fn kept_len(&self) -> usize;
}

/// Spare buffers. Keeps at most `MAX_SPARE`, none of them larger than `MAX_KEPT_LEN`: a burst of
/// large messages does not hold memory for ever.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    /// Boxed because they are handed out boxed: an idle connection pays for one pointer.
    spare: Vec<Box<T>>,
}

impl<T: Reuse> Pool<T> {
    pub(crate) fn new() -> Pool<T> {
        Pool { spare: Vec::new() }
    }

    pub(crate) fn take(&mut self) -> Box<T> {
        self.spare.pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut buffer: Box<T>) {
        buffer.reset();
        if self.spare.len() < MAX_SPARE && buffer.kept_len() <= MAX_KEPT_LEN {
            self.spare.push(buffer);
        }
    }
}

/// Spare buffers kept at most.
const MAX_SPARE: usize = 64;
/// Bytes that a spare buffer may keep.
const MAX_KEPT_LEN: usize = 64 * 1024;
