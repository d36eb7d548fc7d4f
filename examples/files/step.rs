//! What a transfer does after a step of work, so that long work is done in short steps.

use std::time::Duration;

use windlass::{Context, Intents};

use super::refusal::Refusal;
use super::wire::{Message, Wire};

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
    /// The turn has come.
    pub(crate) fn begin(&mut self) {
        self.is_due = false;
    }

    /// Does what follows a step; answers whether it was the last one. The peer is told why, if the
    /// transfer cannot be.
    pub(crate) fn conclude(
        &mut self,
        result: Result<Next, Refusal>,
        cx: &mut Context<'_, Wire>,
    ) -> bool {
        match result {
            Ok(Next::Wait) => return false,
            Ok(Next::Again) => {
                self.again(cx);
                return false;
            }
            Ok(Next::Over) => {}
            Err(refusal) => {
                cx.send(Message::Refused(refusal));
            }
        }
        cx.finish();
        true
    }

    /// Everybody else comes first.
    fn again(&mut self, cx: &mut Intents) {
        self.is_due = self.is_due || cx.set_timer(Duration::ZERO).is_some();
    }
}
