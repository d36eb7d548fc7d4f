//! `Course`: what both sides of a handshake have in common. It ends in time, and whoever asked is
//! told why it came to nothing.
//!
//! Knows no messages and no keys.

use std::time::Duration;

use super::failure::AuthFailure;
use crate::close::CloseReason;
use crate::protocol::{Context, Intents, TimerId};

/// The course of one handshake.
pub(super) struct Course {
    /// How long it may take.
    pub(super) deadline: Duration,
    timer: Option<TimerId>,
    pub(super) failure: Option<AuthFailure>,
    pub(super) on_failure: Option<Box<dyn FnOnce(AuthFailure)>>,
}

impl Course {
    pub(super) fn new() -> Course {
        Course {
            deadline: Duration::from_secs(10),
            timer: None,
            failure: None,
            on_failure: None,
        }
    }

    pub(super) fn on_open(&mut self, cx: &mut Intents) {
        self.timer = cx.set_timer(self.deadline);
    }

    /// Another protocol takes over, which has timers of its own.
    pub(super) fn on_success(&mut self, cx: &mut Intents) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    pub(super) fn on_timer<E>(&mut self, cx: &mut Context<'_, E>) {
        self.failure.get_or_insert(AuthFailure::Deadline);
        cx.abort();
    }

    /// Says how it ended, unless it ended well.
    pub(super) fn on_close(&mut self, reason: CloseReason) {
        if reason != CloseReason::Switched
            && let Some(told) = self.on_failure.take()
        {
            told(self.failure.unwrap_or(AuthFailure::Ended(reason)));
        }
    }
}
