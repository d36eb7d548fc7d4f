//! A decoder that knows what came together, so that what follows an answer is not taken for the
//! answer to a request that had not left when it came.
//!
//! Whoever has an answer sends the next request at once, while the bytes behind the answer are
//! still to be decoded: without this they would be a very fast answer to it. Knows no framing and
//! no request, only how many bytes are shown.

use std::cell::Cell;
use std::rc::Rc;

use windlass::framing::{Decoded, Decoder, Step};

/// What is known of the bytes that are being decoded.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// How many of them are not decoded yet.
    left: Cell<usize>,
    /// Nothing has been made of them so far.
    is_new: Cell<bool>,
}

impl Arrived {
    /// Whether this is the first frame since something came. True once.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.is_new.replace(false)
    }

    /// Whether more came with what was decoded last.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.left.get() > 0
    }

    /// The decoder is shown that many bytes: what it was shown before and has left, or that and
    /// more.
    #[inline]
    fn show(&self, len: usize) {
        let left = self.left.replace(len);
        if left == 0 || left != len {
            self.is_new.set(true);
        }
    }

    /// It has made that of them.
    #[inline]
    fn take<F, R>(&self, step: &Step<F, R>) {
        if let Step::Frame { consumed, .. } | Step::Skip { consumed, .. } = step {
            self.left.set(self.left.get().saturating_sub(*consumed));
        }
    }
}

/// Another decoder, watched.
#[derive(Debug)]
pub(crate) struct Watched<D> {
    inner: D,
    arrived: Rc<Arrived>,
}

impl<D> Watched<D> {
    pub(crate) fn new(inner: D) -> (Watched<D>, Rc<Arrived>) {
        let arrived = Rc::new(Arrived::default());
        let watched = Watched {
            inner,
            arrived: Rc::clone(&arrived),
        };
        (watched, arrived)
    }
}

impl<D: Decoder> Decoder for Watched<D> {
    type Frame<'a>
        = D::Frame<'a>
    where
        Self: 'a;
    type Error = D::Error;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Watched<D>> {
        self.arrived.show(input.len());
        let step = self.inner.decode(input)?;
        self.arrived.take(&step);
        Ok(step)
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Watched<D>> {
        self.arrived.show(input.len());
        let step = self.inner.decode_eof(input)?;
        self.arrived.take(&step);
        Ok(step)
    }

    fn max_pending(&self) -> Option<usize> {
        self.inner.max_pending()
    }
}
