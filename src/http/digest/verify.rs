//! `Verify`: bodies of requests that are what their digests say (RFC 9530).
//!
//! Stands between the server and a service. Knows no routes, and what a body is for is its
//! receiver's to know.

use super::integrity::{Announced, Hasher, Scope, Wrong, come_in_trailers};
use crate::http::fields::Fields;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::service::{Accept, Flow, Receiver, Service};
use crate::http::status::Status;
use crate::protocol::Intents;

/// A service that is given no body whose digest is wrong.
///
/// | request | what happens |
/// |---|---|
/// | no digest, or only such as we cannot make | it passes; see [`Verify::required`] |
/// | `Content-Digest` or `Repr-Digest` holds | it passes |
/// | one of them does not, or is malformed | 400, and no handler is called |
/// | the same, of a body that is received piece by piece | 400 instead of `Receiver::on_end` |
///
/// So a receiver may do what it likes with the pieces, as long as nothing counts before `on_end`;
/// without it, the receiver is dropped. Digests behind a chunked body count like those before it;
/// for a body that is received piece by piece, only if its head announces them (`Trailer`).
/// All digests that can be made have to hold, not only the best one. `Repr-Digest` is that of the
/// content, unless there is a `Content-Range`: then it is that of a whole which is not here, and is
/// passed over.
///
/// The refusals are problem details (RFC 9457).
///
/// ```
/// use windlass::http::{Response, Router, Server, digest::Verify};
///
/// let router = Router::new().put("/safe", |request| Response::of(request.body().to_vec()));
/// let server = Server::new(Verify::new(router).required());
/// # drop(server);
/// ```
#[derive(Debug)]
pub struct Verify<S> {
    service: S,
    is_required: bool,
}

impl<S: Service> Verify<S> {
    /// Verifies what `service` is given.
    pub fn new(service: S) -> Verify<S> {
        Verify {
            service,
            is_required: false,
        }
    }

    /// Refuses bodies without a digest that can be verified: 400. Of PUT, POST and PATCH also those
    /// that are empty, because whoever damages a length makes a body empty.
    #[must_use]
    pub fn required(self) -> Verify<S> {
        Verify {
            is_required: true,
            ..self
        }
    }
}

impl<S: Service> Service for Verify<S> {
    fn call<'a>(&'a self, request: &mut Request<'a>) -> Response {
        let has_body = request.method().expects_body() || !request.body().is_empty();
        match check_whole(request, self.is_required && has_body) {
            Ok(()) => self.service.call(request),
            Err(wrong) => refusal(wrong),
        }
    }

    fn accept<'a>(&'a self, request: &mut Request<'a>) -> Accept {
        let fields = request.head().fields();
        let check = match Check::begin(&fields, is_partial(&fields), self.is_required) {
            Ok(check) => check,
            Err(wrong) => return Accept::Refuse(refusal(wrong)),
        };
        check.around(self.service.accept(request))
    }
}

/// Whether the body of a request that is here as a whole is what its digests say.
pub(super) fn check_whole(request: &Request<'_>, is_required: bool) -> Result<(), Wrong> {
    let (fields, trailers) = (request.head().fields(), request.trailers());
    let mut announced = Announced::default();
    let is_partial = is_partial(&fields);
    announced.add_all(&fields, is_partial)?;
    announced.add_all(&trailers, is_partial)?;
    let mut hasher = Hasher::for_announced(&announced, false);
    hasher.update(request.body());
    end(hasher, &announced, is_required)
}

/// Whether the head itself has a `Content-Digest` that can be verified.
pub(super) fn check_has_digest(head: &Fields<'_>) -> Result<(), Wrong> {
    let mut announced = Announced::default();
    announced.add(Scope::Content, head)?;
    match announced.is_verifiable() {
        true => Ok(()),
        false => Err(Wrong::Unverified),
    }
}

/// A body that is yet to come, and what is known of it.
pub(super) struct Check {
    announced: Announced,
    hasher: Hasher,
    is_partial: bool,
    is_required: bool,
}

impl Check {
    /// A body that is a part of its representation if it `is_partial`.
    pub(super) fn begin(
        fields: &Fields<'_>,
        is_partial: bool,
        is_required: bool,
    ) -> Result<Check, Wrong> {
        let mut announced = Announced::default();
        announced.add_all(fields, is_partial)?;
        Ok(Check {
            hasher: Hasher::for_announced(&announced, come_in_trailers(fields)),
            announced,
            is_partial,
            is_required,
        })
    }

    /// Looks at the body on its way to a receiver, if there is anything to look for. One that is
    /// put together is looked at later, with what stands behind it.
    pub(super) fn around(self, accept: Accept) -> Accept {
        let is_needed = self.is_required || self.is_active();
        match accept {
            Accept::Stream(receiver) if is_needed => Accept::Stream(Box::new(Checked {
                receiver,
                check: self,
            })),
            accept @ (Accept::Stream(_) | Accept::Buffer(_) | Accept::Refuse(_)) => accept,
        }
    }

    /// Whether there is a digest to be made, or could be one behind the body.
    pub(super) fn is_active(&self) -> bool {
        self.hasher.is_active()
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn end(&mut self, trailers: &Fields<'_>) -> Result<(), Wrong> {
        self.announced.add_all(trailers, self.is_partial)?;
        let hasher = std::mem::take(&mut self.hasher);
        end(hasher, &self.announced, self.is_required)
    }
}

/// Whether a request carries a part (RFC 9110, section 14.5).
pub(super) fn is_partial(head: &Fields<'_>) -> bool {
    head.get_all("content-range").next().is_some()
}

fn end(hasher: Hasher, announced: &Announced, is_required: bool) -> Result<(), Wrong> {
    match hasher.verify(announced)? {
        false if is_required => Err(Wrong::Unverified),
        _ => Ok(()),
    }
}

/// A receiver that is not told of the end of a body that is wrong.
struct Checked {
    receiver: Box<dyn Receiver>,
    check: Check,
}

impl Receiver for Checked {
    fn on_bytes(&mut self, bytes: &[u8], intents: &mut Intents) -> Flow {
        self.check.update(bytes);
        self.receiver.on_bytes(bytes, intents)
    }

    fn on_end(&mut self, trailers: Fields<'_>, intents: &mut Intents) -> Response {
        match self.check.end(&trailers) {
            Ok(()) => self.receiver.on_end(trailers, intents),
            Err(wrong) => refusal(wrong),
        }
    }
}

/// Problem details (RFC 9457), with what would have been welcome (RFC 9530, section 4).
pub(super) fn refusal(wrong: Wrong) -> Response {
    let body = match wrong {
        Wrong::Malformed => {
            "{\"title\":\"Malformed digest\",\"status\":400,\
             \"detail\":\"Content-Digest or Repr-Digest is no dictionary of digests (RFC 9530)\"}"
        }
        Wrong::Mismatch => {
            "{\"title\":\"Wrong digest\",\"status\":400,\
             \"detail\":\"the body is not what Content-Digest or Repr-Digest says (RFC 9530)\"}"
        }
        Wrong::Unverified => {
            "{\"title\":\"Missing digest\",\"status\":400,\
             \"detail\":\"a Content-Digest with sha-256 or sha-512 is required (RFC 9530)\"}"
        }
    };
    let response = Response::of(body)
        .status(Status::BAD_REQUEST)
        .content_type("application/problem+json");
    match wrong {
        Wrong::Unverified => response.header("Want-Content-Digest", "sha-256=10, sha-512=9"),
        Wrong::Malformed | Wrong::Mismatch => response,
    }
}
