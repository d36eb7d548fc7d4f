//! Digests of bodies (RFC 9530), and requests signed with a shared key (RFC 9421).
//!
//! Wraps and services on top of the others; nothing here knows connections. With the feature
//! `digest`.
//!
//! - [`digests`]: adds `Content-Digest` and `Repr-Digest` to answers, for those who want them.
//! - [`Files::digests`](super::Files::digests): those of files, and tags made of their content.
//! - [`Verify`]: lets no body through that is not what its digest says.
//! - [`Request::verify`](super::client::Request::verify): the same for the answers to a client, and
//!   [`Request::content_digest`](super::client::Request::content_digest) for what it sends.
//! - [`Signed`]: lets nobody through who does not sign, each request once. [`Signer`] signs those
//!   of a client.
//!
//! ```
//! use windlass::http::{Response, Router, Server, digest};
//!
//! let router = Router::new()
//!     .get("/", |_| Response::text("Ahoy"))
//!     .put("/notes", |request| Response::of(request.body().to_vec()))
//!     .wrap(digest::digests());
//! let server = Server::new(digest::Verify::new(router));
//! # drop(server);
//! ```
//!
//! SHA-256 and SHA-512 are made and verified; of others, the deprecated ones included, nothing is
//! believed. A digest detects damage. It does not say who made it: whoever can change the body can
//! change the digest as well, unless both are signed or the connection is.

mod answers;
mod expected;
mod integrity;
mod nonces;
mod signature;
mod signed;
mod signer;
mod structured;
mod verify;

pub use self::answers::digests;
pub(super) use self::answers::with_digest_behind;
pub(super) use self::expected::Expected;
pub use self::integrity::Algorithm;
pub(super) use self::integrity::{Hasher, Scope};
pub use self::signature::Key;
pub use self::signed::{Signed, key_id};
pub use self::signer::Signer;
pub use self::verify::Verify;

#[cfg(test)]
mod signed_tests;
#[cfg(test)]
mod tests;
