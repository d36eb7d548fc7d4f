//! `Permit`: something that is under way, and counted until it is over.
//!
//! Knows nothing of what it is given for.

use std::cell::Cell;
use std::rc::Rc;

/// One of those that are counted, until it is dropped.
pub(crate) struct Permit {
    count: Rc<Cell<usize>>,
    /// What the same is counted by besides.
    other: Option<Box<Permit>>,
}

impl Permit {
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Box<Permit> {
        count.set(count.get() + 1);
        Box::new(Permit {
            count: Rc::clone(count),
            other: None,
        })
    }

    /// Both, to be dropped at once.
    pub(crate) fn join(mut self: Box<Permit>, other: Option<Box<Permit>>) -> Box<Permit> {
        self.other = match self.other.take() {
            Some(mine) => Some(mine.join(other)),
            None => other,
        };
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}
