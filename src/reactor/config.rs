//! `Config`: what can be set about a reactor as a whole.
//!
//! Plain values; knows nothing of their use.

use crate::limits::Budgets;

/// Settings of a reactor. The defaults suit a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// How much one entry may do before the others are served.
    pub budgets: Budgets,
    /// Bytes of the one buffer that everything is read into. Default 64 KiB.
    pub read_buffer_len: usize,
    /// Mails that the mailbox holds; more are refused with `PostError::Full`. Default 1,024.
    pub mailbox_len: usize,
    /// Whether a panic in a callback ends only its connection (with `CloseReason::Panicked`).
    /// Otherwise it leaves `turn`. Default: on. Of no use with `panic = "abort"`.
    pub catch_panics: bool,
    /// Whether to measure how long each entry keeps the loop, at the price of two clock reads per
    /// event. Default: off.
    pub time_callbacks: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            budgets: Budgets::default(),
            read_buffer_len: 64 * 1024,
            mailbox_len: 1024,
            catch_panics: true,
            time_callbacks: false,
        }
    }
}
