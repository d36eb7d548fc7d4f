//! Server-sent events: a response that goes on, and tells as it happens (WHATWG HTML, section 9.2).
//!
//! A source like any other. Knows neither connections nor how bodies are sent.

mod event;
mod feed;

pub use self::event::Event;
pub use self::feed::{Feed, FeedLimits, Slow};
