//! `Flags`: small facts about a connection, a bit each.
//!
//! Knows nothing of what follows from them.

/// Small facts about a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// More than the high water was queued, and not yet less than the low water.
    pub(crate) const OVER: u8 = 1;
    /// The protocol paused.
    pub(crate) const PAUSED: u8 = 2;
    /// A connection that we forward to has no room.
    pub(crate) const HELD: u8 = 4;
    /// The carry-over has to be driven before anything is read.
    pub(crate) const UNDRIVEN: u8 = 8;
    /// The peer's FIN was read and is not yet delivered.
    pub(crate) const FIN: u8 = 16;
    /// A byte was received.
    pub(crate) const RECEIVED: u8 = 32;
    /// The token is in the reactor's run queue.
    pub(crate) const QUEUED: u8 = 64;
    /// Output was left over by the last event.
    pub(crate) const STALLING: u8 = 128;

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(crate) fn has_any(self, flags: u8) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: u8, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }
}
