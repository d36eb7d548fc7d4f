//! Ready-made things to wrap around handlers, with [`Router::wrap`] or [`Router::wrap_route`], and
//! guards to put before them, with [`Router::guard`] or [`Router::guard_route`].
//!
//! Each is a closure as you could write it; none knows connections.
//!
//! ```
//! use windlass::http::{Response, Router, wraps};
//!
//! let admin = Router::new()
//!     .get("/", |_| Response::text("welcome"))
//!     .guard(wraps::basic_auth("admin", |user, password| {
//!         user == "root" && is_password(password)
//!     }));
//! let router = Router::new()
//!     .get("/report", |_| Response::text("large"))
//!     .wrap_route(wraps::concurrency(4))
//!     .nest("/admin", admin)
//!     .wrap(wraps::Cors::origins(["https://example.org"]).wrap());
//! # fn is_password(_: &str) -> bool { true }
//! # drop(router);
//! ```
//!
//! How long a body may be is said per route with [`Router::max_body_len`]; what was asked and
//! answered is logged by the server itself, once an answer is complete.
//!
//! [`Router::guard`]: super::Router::guard
//! [`Router::guard_route`]: super::Router::guard_route
//! [`Router::wrap`]: super::Router::wrap
//! [`Router::wrap_route`]: super::Router::wrap_route
//! [`Router::max_body_len`]: super::Router::max_body_len

mod auth;
mod concurrency;
mod cors;

pub use self::auth::{basic_auth, basic_credentials, bearer_auth, bearer_token};
pub use self::concurrency::concurrency;
pub use self::cors::Cors;
