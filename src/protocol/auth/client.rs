//! `AuthClient`: the side that connects, and is challenged.
//!
//! Knows the order of the messages, but not what follows.

use std::fmt;
use std::time::Duration;

use super::course::Course;
use super::failure::AuthFailure;
use super::message::{AuthFraming, AuthMessage, AuthMessageError};
use super::proof::{Authenticated, Key, Nonce, Transcript};
use crate::close::CloseReason;
use crate::framing::Role;
use crate::protocol::{Context, Intents, IntoDriver, Protocol, TimerId};

/// Proves to a server that it knows a key, and lets the server prove the same; then hands the
/// connection over to the protocol that `next` makes. See [the module](super) for the messages.
///
/// ```no_run
/// use windlass::framing::LengthPrefixed;
/// use windlass::protocol::Echo;
/// use windlass::protocol::auth::{AuthClient, Key, Nonce};
/// use windlass::{Error, Reactor};
///
/// # fn random() -> Nonce { [0; 32] }
/// # fn run(key: Key) -> Result<(), Error> {
/// let client = AuthClient::new(random(), "anne", key, |server| {
///     let (decoder, encoder) = server.seal(LengthPrefixed::default());
///     (decoder, encoder, Echo::default())
/// });
/// let client = client.on_failure(|why| eprintln!("not authenticated: {why}"));
/// let mut reactor = Reactor::new()?;
/// reactor.connect("192.0.2.1:7400", client)?;
/// reactor.run()
/// # }
/// ```
pub struct AuthClient<N> {
    nonce: Nonce,
    /// Once challenged.
    server_nonce: Option<Nonce>,
    key_id: Box<[u8]>,
    key: Key,
    next: Option<N>,
    course: Course,
}

impl<N> AuthClient<N> {
    /// Sets how long the handshake may take. Default 10 s; then the connection is reset.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> AuthClient<N> {
        self.course.deadline = deadline;
        self
    }

    /// Is told, once, if it came to nothing.
    #[must_use]
    pub fn on_failure(mut self, told: impl FnOnce(AuthFailure) + 'static) -> AuthClient<N> {
        self.course.on_failure = Some(Box::new(told));
        self
    }

    fn fail(&mut self, why: AuthFailure, cx: &mut Context<'_, AuthFraming>) {
        self.course.failure = Some(why);
        cx.finish();
    }
}

impl<N, D> AuthClient<N>
where
    N: FnOnce(Authenticated) -> D,
    D: IntoDriver,
{
    /// A client for one connection; `nonce` is random and never used again. A `key_id` of more
    /// than [`MAX_KEY_ID_LEN`](super::MAX_KEY_ID_LEN) bytes ends the connection with
    /// [`CloseReason::Unencodable`].
    pub fn new(nonce: Nonce, key_id: impl AsRef<[u8]>, key: Key, next: N) -> AuthClient<N> {
        AuthClient {
            nonce,
            server_nonce: None,
            key_id: key_id.as_ref().into(),
            key,
            next: Some(next),
            course: Course::new(),
        }
    }

    fn respond(&mut self, server_nonce: &Nonce, cx: &mut Context<'_, AuthFraming>) {
        self.server_nonce = Some(*server_nonce);
        let transcript = Transcript {
            server_nonce,
            client_nonce: &self.nonce,
            key_id: &self.key_id,
        };
        cx.send(AuthMessage::Response {
            nonce: &self.nonce,
            proof: &transcript.proof(&self.key, Role::Client),
            key_id: &self.key_id,
        });
    }

    fn welcome(
        &mut self,
        server_nonce: &Nonce,
        proof: &[u8; 32],
        cx: &mut Context<'_, AuthFraming>,
    ) {
        let transcript = Transcript {
            server_nonce,
            client_nonce: &self.nonce,
            key_id: &self.key_id,
        };
        if !transcript.is_proof(&self.key, Role::Server, proof) {
            return self.fail(AuthFailure::Impostor, cx);
        }
        let Some(next) = self.next.take() else {
            return self.fail(AuthFailure::Unexpected, cx);
        };
        self.course.on_success(cx);
        cx.switch(next(transcript.authenticated(&self.key, Role::Client)));
    }
}

impl<N, D> Protocol for AuthClient<N>
where
    N: FnOnce(Authenticated) -> D,
    D: IntoDriver,
{
    type Decoder = AuthFraming;
    type Encoder = AuthFraming;

    fn on_open(&mut self, cx: &mut Context<'_, AuthFraming>) {
        self.course.on_open(cx);
    }

    fn on_frame(&mut self, message: AuthMessage<'_>, cx: &mut Context<'_, AuthFraming>) {
        match (message, self.server_nonce) {
            (AuthMessage::Challenge { nonce }, None) => self.respond(nonce, cx),
            (AuthMessage::Welcome { proof }, Some(nonce)) => self.welcome(&nonce, proof, cx),
            (AuthMessage::Refused, _) => self.fail(AuthFailure::Refused, cx),
            (
                AuthMessage::Challenge { .. }
                | AuthMessage::Welcome { .. }
                | AuthMessage::Response { .. },
                _,
            ) => self.fail(AuthFailure::Unexpected, cx),
        }
    }

    fn on_malformed(&mut self, _: AuthMessageError, cx: &mut Context<'_, AuthFraming>) {
        self.fail(AuthFailure::Unexpected, cx);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, AuthFraming>) {
        self.course.on_timer(cx);
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.course.on_close(reason);
    }
}

impl<N> fmt::Debug for AuthClient<N> {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthClient")
            .field("failure", &self.course.failure)
            .finish_non_exhaustive()
    }
}
