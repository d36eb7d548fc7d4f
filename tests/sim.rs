//! The reactor and its ready-made protocols in simulated worlds: each scenario under many seeds,
//! with all faults.
//!
//! Clients are protocols like the servers. `WINDLASS_SEEDS=2000` runs more seeds of each,
//! `WINDLASS_SEED=7` that one alone.

#[cfg(feature = "http")]
#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "sim/chat.rs"]
mod chat;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/datagrams.rs"]
mod datagrams;
#[path = "sim/echo.rs"]
mod echo;
#[path = "sim/exploring.rs"]
mod exploring;
#[path = "sim/floods.rs"]
mod floods;
#[path = "sim/forward.rs"]
mod forward;
#[path = "sim/found.rs"]
mod found;
#[path = "sim/groups.rs"]
mod groups;
#[path = "sim/hosts.rs"]
mod hosts;
#[cfg(feature = "http")]
#[path = "sim/http.rs"]
mod http;
#[cfg(feature = "http")]
#[path = "sim/http_table.rs"]
mod http_table;
#[cfg(feature = "hub")]
#[path = "sim/hub.rs"]
mod hub;
#[cfg(feature = "hub")]
#[path = "sim/hub_client.rs"]
mod hub_client;
#[cfg(feature = "digest")]
#[path = "sim/integrity.rs"]
mod integrity;
#[path = "sim/lines.rs"]
mod lines;
#[path = "sim/outages.rs"]
mod outages;
#[cfg(feature = "digest")]
#[path = "sim/sealed.rs"]
mod sealed;
#[path = "sim/sessions.rs"]
mod sessions;
#[cfg(feature = "http")]
#[path = "http_conformance/site.rs"]
mod site;
#[path = "sim/slow.rs"]
mod slow;
#[path = "sim/switch.rs"]
mod switch;
#[cfg(feature = "http")]
#[path = "http_conformance/table.rs"]
mod table;
#[path = "sim/timers.rs"]
mod timers;
#[cfg(feature = "http")]
#[path = "http_conformance/verdict.rs"]
mod verdict;
#[path = "sim/witness.rs"]
mod witness;

/// Seeds of each scenario, unless the environment says otherwise.
const SEEDS: u64 = 150;
