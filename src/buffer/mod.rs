//! Buffers: what has arrived but is not yet a frame, and what is queued but not yet written.
//!
//! Knows bytes only; not who fills a buffer, nor who drains it.

mod datagrams;
mod inbox;
mod outbox;
mod pool;
mod segment;

pub(crate) use datagrams::{Bounds, DatagramQueue};
pub(crate) use inbox::Inbox;
pub(crate) use outbox::MAX_SLICES;
pub use outbox::Outbox;
pub(crate) use pool::{Pool, Reuse};
pub(crate) use segment::{FileRange, Front};
