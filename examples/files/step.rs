//! What a transfer does after a step of work, so that long work is done in short steps.

use std::time::Duration;

use windlass::Intents;

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next step, in the next turn.
    Again,
    /// Nothing, until the peer says something or takes what was sent.
    Wait,
    /// All is done.
    Over,
}

/// Whether the next step is due in the next turn: a timer without delay, of which there is one.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    is_due: bool,
}

impl Turns {
    /// Everybody else comes first.
    pub(crate) fn again(&mut self, cx: &mut Intents) {
        self.is_due = self.is_due || cx.set_timer(Duration::ZERO).is_some();
    }

    /// The turn has come.
    pub(crate) fn begin(&mut self) {
        self.is_due = false;
    }
}
