//! The reactor and its ready-made protocols in simulated worlds: each scenario under many seeds,
//! with all faults.
//!
//! Clients are protocols like the servers. `WINDLASS_SEEDS=2000` runs more seeds of each,
//! `WINDLASS_SEED=7` that one alone.

#[path = "sim/chat.rs"]
mod chat;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/echo.rs"]
mod echo;
#[path = "sim/forward.rs"]
mod forward;
#[path = "sim/found.rs"]
mod found;
#[cfg(feature = "http")]
#[path = "sim/http.rs"]
mod http;
#[path = "sim/lines.rs"]
mod lines;
#[path = "sim/outages.rs"]
mod outages;
#[path = "sim/slow.rs"]
mod slow;
#[path = "sim/switch.rs"]
mod switch;
#[path = "sim/timers.rs"]
mod timers;

/// Seeds of each scenario, unless the environment says otherwise.
const SEEDS: u64 = 150;
