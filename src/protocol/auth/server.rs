//! `AuthServer`: the side that accepts, and challenges.
//!
//! Knows the order of the messages, but neither where keys are kept nor what follows.

use std::fmt;
use std::time::Duration;

use super::attempts::Attempts;
use super::course::Course;
use super::failure::AuthFailure;
use super::message::{AuthFraming, AuthMessage, AuthMessageError};
use super::proof::{Authenticated, Key, Nonce, Transcript};
use crate::close::CloseReason;
use crate::framing::Role;
use crate::net::Address;
use crate::protocol::{Context, Intents, IntoDriver, Protocol, TimerId};

/// Lets nobody through who does not know a key; then hands the connection over to the protocol
/// that `next` makes. See [the module](super) for the messages.
///
/// `keys` finds a key by its id. It is asked once, and not at all if there were too many attempts.
/// It should take as long for an id that it does not know; everything else here does.
///
/// ```no_run
/// use windlass::framing::LengthPrefixed;
/// use windlass::protocol::Echo;
/// use windlass::protocol::auth::{Attempts, AuthServer, Key, Nonce};
/// use windlass::{Error, Reactor};
///
/// # fn random() -> Nonce { [0; 32] }
/// # fn key_of(id: &[u8]) -> Option<Key> { None }
/// let mut reactor = Reactor::new()?;
/// let attempts = Attempts::default();
/// reactor.listen("0.0.0.0:7400", move |peer| {
///     let server = AuthServer::new(random(), key_of, |peer| {
///         let (decoder, encoder) = peer.seal(LengthPrefixed::default());
///         // `Echo` does not seal its end; a protocol of yours sends `EndOfStream`.
///         (decoder, encoder, Echo::default())
///     });
///     server.limited(&attempts, &peer.address)
/// })?;
/// reactor.run()?;
/// # Ok::<(), Error>(())
/// ```
pub struct AuthServer<K, N> {
    nonce: Nonce,
    keys: K,
    next: Option<N>,
    attempts: Option<(Attempts, Address)>,
    course: Course,
}

impl<K, N> AuthServer<K, N> {
    /// Counts the response of this peer, right or wrong, as an attempt of `address`. Beyond the
    /// limit it is refused unseen.
    #[must_use]
    pub fn limited(mut self, attempts: &Attempts, address: &Address) -> AuthServer<K, N> {
        self.attempts = Some((attempts.clone(), address.clone()));
        self
    }

    /// Sets how long the handshake may take. Default 10 s; then the connection is reset.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> AuthServer<K, N> {
        self.course.deadline = deadline;
        self
    }

    /// Is told, once, if the peer was not authenticated; for a log.
    #[must_use]
    pub fn on_failure(mut self, told: impl FnOnce(AuthFailure) + 'static) -> AuthServer<K, N> {
        self.course.on_failure = Some(Box::new(told));
        self
    }

    fn refuse(&mut self, why: AuthFailure, cx: &mut Context<'_, AuthFraming>) {
        self.course.failure = Some(why);
        cx.send(AuthMessage::Refused);
        cx.finish();
    }
}

impl<K, N, D> AuthServer<K, N>
where
    K: FnMut(&[u8]) -> Option<Key>,
    N: FnOnce(Authenticated) -> D,
    D: IntoDriver,
{
    /// A server for one connection; `nonce` is random and never used again.
    pub fn new(nonce: Nonce, keys: K, next: N) -> AuthServer<K, N> {
        AuthServer {
            nonce,
            keys,
            next: Some(next),
            attempts: None,
            course: Course::new(),
        }
    }

    fn respond(
        &mut self,
        nonce: &Nonce,
        proof: &[u8; 32],
        key_id: &[u8],
        cx: &mut Context<'_, AuthFraming>,
    ) {
        if let Some((attempts, address)) = &self.attempts
            && !attempts.admit(address, cx.now())
        {
            return self.refuse(AuthFailure::TooManyAttempts, cx);
        }
        let transcript = Transcript {
            server_nonce: &self.nonce,
            client_nonce: nonce,
            key_id,
        };
        // The same work for an unknown key, which no proof is right for.
        let known = (self.keys)(key_id);
        let key = known.unwrap_or_default();
        let is_right = transcript.is_proof(&key, Role::Client, proof);
        if !(is_right & known.is_some()) {
            return self.refuse(AuthFailure::Denied, cx);
        }
        let Some(next) = self.next.take() else {
            return self.refuse(AuthFailure::Unexpected, cx);
        };
        let proof = &transcript.proof(&key, Role::Server);
        cx.send(AuthMessage::Welcome { proof });
        self.course.on_success(cx);
        cx.switch(next(transcript.authenticated(&key, Role::Server)));
    }
}

impl<K, N, D> Protocol for AuthServer<K, N>
where
    K: FnMut(&[u8]) -> Option<Key>,
    N: FnOnce(Authenticated) -> D,
    D: IntoDriver,
{
    type Decoder = AuthFraming;
    type Encoder = AuthFraming;

    fn on_open(&mut self, cx: &mut Context<'_, AuthFraming>) {
        self.course.on_open(cx);
        let nonce = &self.nonce;
        cx.send(AuthMessage::Challenge { nonce });
    }

    fn on_frame(&mut self, message: AuthMessage<'_>, cx: &mut Context<'_, AuthFraming>) {
        match message {
            AuthMessage::Response {
                nonce,
                proof,
                key_id,
            } => self.respond(nonce, proof, key_id, cx),
            AuthMessage::Challenge { .. } | AuthMessage::Welcome { .. } | AuthMessage::Refused => {
                self.refuse(AuthFailure::Unexpected, cx);
            }
        }
    }

    fn on_malformed(&mut self, _: AuthMessageError, cx: &mut Context<'_, AuthFraming>) {
        self.refuse(AuthFailure::Unexpected, cx);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, AuthFraming>) {
        self.course.on_timer(cx);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.course.on_close(reason);
    }
}

impl<K, N> fmt::Debug for AuthServer<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthServer")
            .field("failure", &self.course.failure)
            .finish_non_exhaustive()
    }
}
