//! `Signed`: a service for those alone who sign their requests.
//!
//! Stands between the server and a service, as `Verify` does, which it does the work of, too. Knows
//! no routes, and no key but by asking.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::nonces::{Id, Nonces};
use super::signature::{Key, Refused, Signature};
use super::verify::{Check, check_has_digest, check_whole, is_partial, refusal};
use crate::http::head::Head;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::service::{Accept, Service};
use crate::http::status::Status;
use crate::http::summary::Length;
use crate::token::Token;

/// A service that answers only requests with a good signature: a strict part of RFC 9421, with
/// `hmac-sha256` and shared keys. [`Signer`](super::Signer) is the client's side.
///
/// What a signature has to be:
///
/// | part | rule |
/// |---|---|
/// | how many | one, in `Signature-Input` and `Signature`, in the form of RFC 9421, section 2.3 |
/// | covers | `@method` and `@authority` |
/// | covers | `@target-uri`, `@request-target`, or `@path` with `@query` |
/// | covers, if there is a body | `content-digest`, and that has to hold |
/// | covers, if it is there | every field that was named with [`Signed::covering`] |
/// | `created` | within the skew of our clock: 300 s, before or after |
/// | `expires` | if it is there, not over |
/// | `nonce` | 1 to 128 bytes, new for its key |
/// | `keyid` | one that `keys` knows |
/// | `alg` | `hmac-sha256`, or absent |
/// | other parameters | `tag`, no others; components have none |
///
/// Anything else is answered 401, always in the same words: which rule it was, only the log says
/// (`debug`). A body that is not what its digest says is answered 400.
///
/// **Timing.** Signatures are compared in a time that does not depend on where they differ, and for
/// a key that nobody knows the same HMAC is made (what `keys` itself takes is yours to see to). No
/// more than that is equal: a request whose fields are missing, malformed or cover too little, or
/// whose signature has not 32 bytes, is refused sooner, most of them before any key is asked for;
/// what is stale or was here before only after its signature held. The first tell a peer what it
/// has sent, the last only who has the key.
///
/// **Replays.** A nonce is remembered until its request would be too old, at most
/// [`Signed::max_nonces`] of them (65,536, some 150 bytes each). Beyond, good requests are answered
/// 503 with `Retry-After` until old ones are forgotten: forgetting earlier would let replays in.
/// One key can use up the table for all; bound what your clients may send. The table is this
/// process's: another process, or this one after a restart, accepts what is still fresh once more.
///
/// A body that is put together has to be here within twice the skew after its head. A nonce is used
/// up once the head was good and somebody wants the body.
///
/// A signature is no secrecy: whoever sees the request can read it.
///
/// ```
/// use windlass::http::{Response, Router, Server, digest::{Key, Signed, key_id}};
///
/// let router = Router::new().get("/", |request| {
///     Response::text(format!("hello, {}", key_id(request).unwrap_or_default()))
/// });
/// let key = Key::new(b"32 random bytes, known to both");
/// let signed = Signed::new(router, move |id| (id == "client-7").then(|| key.clone()));
/// let server = Server::new(signed);
/// # drop(server);
/// ```
pub struct Signed<S> {
    service: S,
    keys: Box<Keys>,
    /// Takes the place of a key that nobody knows.
    no_key: Key,
    scheme: &'static str,
    covering: Vec<String>,
    skew: Duration,
    nonces: RefCell<Nonces>,
}

/// The keys that we know, by their names.
type Keys = dyn Fn(&str) -> Option<Key>;

/// A signature that holds.
struct Proof {
    id: Id,
    /// The last second in which it is fresh.
    until: u64,
}

impl<S: Service> Signed<S> {
    /// Lets those through to `service` who sign with a key that `keys` answers for its name.
    pub fn new(service: S, keys: impl Fn(&str) -> Option<Key> + 'static) -> Signed<S> {
        Signed {
            service,
            keys: Box::new(keys),
            no_key: Key::new(b"nobody's"),
            scheme: "http",
            covering: Vec::new(),
            skew: DEFAULT_SKEW,
            nonces: RefCell::new(Nonces::new(DEFAULT_MAX_NONCES)),
        }
    }

    /// The clients' addresses begin with `https`: a proxy in front of us speaks TLS.
    #[must_use]
    pub fn https(mut self) -> Signed<S> {
        self.scheme = "https";
        self
    }

    /// Fields that must be covered where a request has them.
    #[must_use]
    pub fn covering(mut self, names: &[&str]) -> Signed<S> {
        self.covering = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        self
    }

    /// How far the peer's clock may be from ours, in whole seconds. Default: 300 s.
    #[must_use]
    pub fn skew(mut self, skew: Duration) -> Signed<S> {
        self.skew = skew;
        self
    }

    /// How many nonces are remembered. Default: 65,536.
    #[must_use]
    pub fn max_nonces(mut self, max: usize) -> Signed<S> {
        self.nonces = RefCell::new(Nonces::new(max));
        self
    }

    /// Whether the head is signed by somebody we know, whenever that was.
    fn prove<'a>(&self, head: &Head<'a>) -> Result<(Signature<'a>, Proof), Refused> {
        let signature = Signature::of(head)?;
        let nonce = signature.nonce.as_deref().ok_or(Refused::Malformed)?;
        if !(1..=MAX_NONCE_LEN).contains(&nonce.len()) {
            return Err(Refused::Malformed);
        }
        let is_there = |name: &&String| head.fields().get_all(name).next().is_some();
        let mut own = self.covering.iter().filter(is_there);
        let is_covered = signature.covers("@method")
            && signature.covers("@authority")
            && signature.covers_target()
            && (!has_body(head) || signature.covers("content-digest"))
            && own.all(|name| signature.covers(name));
        if !is_covered {
            return Err(Refused::Uncovered);
        }
        let known = (self.keys)(&signature.key_id);
        let key = known.as_ref().unwrap_or(&self.no_key);
        signature.verify(head, self.scheme, key)?;
        if known.is_none() {
            return Err(Refused::Wrong);
        }
        let proof = Proof {
            id: id(&signature.key_id, nonce),
            until: signature.created.saturating_add(self.skew.as_secs()),
        };
        Ok((signature, proof))
    }

    /// Whether that was now, and for the first time.
    fn check_fresh(
        &self,
        signature: &Signature<'_>,
        proof: &Proof,
        now: u64,
    ) -> Result<(), Refused> {
        let is_over = signature.expires.is_some_and(|expires| expires < now);
        if signature.created.abs_diff(now) > self.skew.as_secs() || is_over {
            return Err(Refused::Stale);
        }
        self.nonces.borrow_mut().check(&proof.id, now)
    }

    fn admit(&self, request: &Request<'_>) -> Result<(), Refused> {
        let (signature, proof) = self.prove(request.head())?;
        let has_body = has_body(request.head());
        if has_body && self.nonces.borrow_mut().claim(&proof.id, request.token()) {
            // Its head was found fresh when it came.
            return Ok(());
        }
        let now = request.unix_time().as_secs();
        self.check_fresh(&signature, &proof, now)?;
        self.nonces.borrow_mut().insert(proof.id, proof.until, None);
        Ok(())
    }

    fn refuse(&self, refused: Refused, token: Token) -> Response {
        log::debug!("{token}: {refused}");
        if refused == Refused::Full {
            return Response::error(Status::SERVICE_UNAVAILABLE).header("Retry-After", "1");
        }
        Response::error(Status::UNAUTHORIZED)
            .header("WWW-Authenticate", "Signature")
            .header("Accept-Signature", ACCEPTED)
    }
}

impl<S: Service> Service for Signed<S> {
    fn call<'a>(&'a self, request: &mut Request<'a>) -> Response {
        if let Err(refused) = self.admit(request) {
            return self.refuse(refused, request.token());
        }
        let has_digest = match has_body(request.head()) {
            true => check_has_digest(&request.head().fields()),
            false => Ok(()),
        };
        // Whatever the head says of its length: a digest that was signed has to hold.
        let check = |()| check_whole(request, !request.body().is_empty());
        match has_digest.and_then(check) {
            Ok(()) => self.service.call(request),
            Err(wrong) => refusal(wrong),
        }
    }

    fn accept<'a>(&'a self, request: &mut Request<'a>) -> Accept {
        let (head, token) = (request.head(), request.token());
        let now = request.unix_time().as_secs();
        let proof = self.prove(head).and_then(|(signature, proof)| {
            self.check_fresh(&signature, &proof, now)?;
            Ok(proof)
        });
        let proof = match proof {
            Ok(proof) => proof,
            Err(refused) => return Accept::Refuse(self.refuse(refused, token)),
        };
        let fields = head.fields();
        let begin = |()| Check::begin(&fields, is_partial(&fields), true);
        let check = check_has_digest(&fields).and_then(begin);
        let check = match check {
            Ok(check) => check,
            Err(wrong) => return Accept::Refuse(refusal(wrong)),
        };
        let accept = self.service.accept(request);
        let mut nonces = self.nonces.borrow_mut();
        match accept {
            Accept::Refuse(_) => {}
            Accept::Stream(_) => nonces.insert(proof.id, proof.until, None),
            Accept::Buffer(_) => {
                let until = proof
                    .until
                    .max(now.saturating_add(self.skew.as_secs().saturating_mul(2)));
                nonces.insert(proof.id, until, Some(token));
            }
        }
        check.around(accept)
    }
}

impl<S: fmt::Debug> fmt::Debug for Signed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("service", &self.service)
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}

/// The name of the key that a request was signed with. It says so itself: behind [`Signed`] that is
/// true, elsewhere anybody can say it.
pub fn key_id(request: &Request<'_>) -> Option<String> {
    let signature = Signature::of(request.head()).ok()?;
    Some(signature.key_id.into_owned())
}

fn has_body(head: &Head<'_>) -> bool {
    head.length() != Length::Fixed(0)
}

/// Nonces of different keys are different ones.
fn id(key_id: &str, nonce: &str) -> Id {
    let digest = Sha256::new()
        .chain_update((key_id.len() as u64).to_be_bytes())
        .chain_update(key_id)
        .chain_update(nonce)
        .finalize();
    let mut id = Id::default();
    id.copy_from_slice(&digest[..16]);
    id
}

/// Bytes of a nonce.
const MAX_NONCE_LEN: usize = 128;
const DEFAULT_SKEW: Duration = Duration::from_secs(300);
const DEFAULT_MAX_NONCES: usize = 65_536;
/// What we would like (RFC 9421, section 5.1).
const ACCEPTED: &str = "sig1=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")\
     ;created;keyid;nonce;alg=\"hmac-sha256\"";
