//! The reactor: the one loop that owns everything else.
//!
//! Knows no concrete protocol.

mod timers;
