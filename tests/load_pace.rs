//! The load tester's own parts: in virtual time, a known stall is measured as it is; stretches of a
//! run are told apart; names become addresses.
//!
//! The tests stand beside the code, such as `examples/load/engine.rs`, which is compiled here once
//! more: an example that is a test itself would not be built by `cargo test`. Knows no command
//! line.

#![allow(dead_code, reason = "what the example's other parts use")]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/load/alarm.rs"]
mod alarm;
#[path = "../examples/load/asking.rs"]
mod asking;
#[path = "../examples/load/engine.rs"]
mod engine;
#[path = "../examples/load/lane.rs"]
mod lane;
#[path = "../examples/load/pace.rs"]
mod pace;
#[path = "../examples/load/stats.rs"]
mod stats;
#[path = "../examples/load/surplus.rs"]
mod surplus;
#[path = "../examples/load/tcp.rs"]
mod tcp;
#[path = "../examples/common/url.rs"]
mod url;
