//! Peers that prove who they are before anything else is said: a challenge and a response, and a
//! fresh key for [`Sealed`](crate::framing::Sealed).
//!
//! Three messages, as the three-pass mutual authentication of ISO/IEC 9798-4: both sides show that
//! they know a key of 32 bytes, without sending it, over nonces that both have chosen.
//!
//! ```text
//! server                                                        client
//!    |  Challenge: server nonce                                    |
//!    | ----------------------------------------------------------> |
//!    |             Response: client nonce, client's proof, key id  |
//!    | <---------------------------------------------------------- |
//!    |  Welcome: server's proof          (or Refused, and the end) |
//!    | ----------------------------------------------------------> |
//!    |                                                             |
//!    |  your protocol, over Sealed with the session key, both ways |
//!    | <=========================================================> |
//! ```
//!
//! Each message is preceded by its length, one byte:
//!
//! | message | type | then | bytes of it |
//! |---|---|---|---|
//! | Challenge | 1 | version, which is 1; server nonce | 1 + 32 |
//! | Response | 2 | client nonce; client's proof; key id | 32 + 32 + 0 to 64 |
//! | Welcome | 3 | server's proof | 32 |
//! | Refused | 4 | | 0 |
//!
//! Proofs and the session key are HMAC-SHA-256, with the key, of a label, a zero byte, the server
//! nonce, the client nonce and the key id. The labels are `windlass auth 1 client`,
//! `windlass auth 1 server` and `windlass auth 1 session`: no proof can serve as another one, and
//! none that was sent in another connection is worth anything in this one.
//!
//! Who sees to what:
//!
//! - You: nonces are random, and each is used once. This module has no randomness of its own, so
//!   that a simulated run can be repeated.
//! - You: keys are 32 random bytes. No password is one, because whoever listens can try passwords
//!   at leisure.
//! - [`AuthServer`]: an unknown key id costs what a wrong proof costs, and is told in the same way.
//!   Your lookup should take as long either way.
//! - [`Attempts`]: guessing is slow, for each address.
//! - A deadline, 10 s by default: a handshake ends.
//!
//! Passwords are another matter. A good hash of one (Argon2id) takes tens of milliseconds, so it is
//! never computed in a callback, which would hold up everybody. The pattern, as in the example
//! `login`:
//!
//! 1. [`Attempts`] is asked first: guessing is slow, for each address.
//! 2. The question, with the connection's token, goes to a thread of your own by `try_send` on a
//!    bounded `sync_channel`. If that is full, the client is told so at once: a flood is refused,
//!    not queued.
//! 3. The connection is paused ([`Context::pause`](crate::Context::pause)), so that what its client
//!    says too early stays where it is. A timer ends the wait, come what may.
//! 4. The thread answers by [`Remote::post`](crate::Remote::post). The verdict arrives in
//!    `on_mail`, which resumes and switches to the next protocol; if the connection is gone, it is
//!    undeliverable, and nothing else happens.
//!
//! For a name that nobody has, compute as much and refuse: otherwise the time tells who is a user.
//!
//! Key ids are sent in the clear, nothing is secret afterwards either, and who learns a key later
//! can make the session keys of recorded connections: where that matters, this is done within TLS.

mod attempts;
mod client;
mod course;
mod failure;
mod message;
mod proof;
mod server;

pub use attempts::{AttemptLimits, Attempts};
pub use client::AuthClient;
pub use failure::AuthFailure;
pub use message::{AuthFraming, AuthMessage, AuthMessageError};
pub use proof::{Authenticated, Key, MAX_KEY_ID_LEN, Nonce};
pub use server::AuthServer;
