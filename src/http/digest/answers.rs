//! Digests in answers (RFC 9530, sections 2 to 4).
//!
//! Knows answers whose bytes are there, and sources; not how either is sent.

use super::integrity::{Algorithm, Hasher, Scope};
use crate::http::body::{Body, Pulled, Source};
use crate::http::endpoint::Next;
use crate::http::fields::{Fields, elements};
use crate::http::method::{Method, Version};
use crate::http::request::Request;
use crate::http::response::{Response, put_field};
use crate::http::status::Status;

/// Adds digests to the answers of what it is wrapped around, where the request wants them:
/// `Content-Digest` for `Want-Content-Digest`, `Repr-Digest` for `Want-Repr-Digest`.
///
/// | answer | digests |
/// |---|---|
/// | its body is there | of the body, as fields |
/// | the same, to HEAD | `Repr-Digest` alone: there is no content |
/// | a stream in chunks | behind it, as trailers, if the request says `TE: trailers` |
/// | 206 | no `Repr-Digest`: what the whole is cannot be seen from a part |
/// | a file, unless it is kept in memory | none, unless the handler adds them |
/// | a stream of known length, one that comes later | the same |
/// | 204, 304 | none |
///
/// What the handler has added already stays; files have digests of their own
/// ([`Files::digests`](crate::http::Files::digests)). What a body costs to hash (about a
/// millisecond per megabyte) is paid at once, only when it is wanted; a stream is hashed as it
/// goes.
pub fn digests() -> impl Fn(&mut Request<'_>, Next<'_>) -> Response + 'static {
    |request, next| {
        let wanted = Wanted::of(&request.head().fields());
        let response = next.run(request);
        if wanted.is_nothing() {
            return response;
        }
        wanted.add_to(response, request)
    }
}

/// The digests that a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) content: Option<Algorithm>,
    pub(crate) repr: Option<Algorithm>,
}

impl Wanted {
    pub(crate) fn of(fields: &Fields<'_>) -> Wanted {
        Wanted {
            content: Scope::Content.wanted(fields),
            repr: Scope::Repr.wanted(fields),
        }
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.content.is_none() && self.repr.is_none()
    }

    fn add_to(mut self, mut response: Response, request: &Request<'_>) -> Response {
        if !response.status.has_body() {
            return response;
        }
        let own = Fields::new(&response.fields);
        let is_missing = |scope: Scope| own.get_all(scope.field()).next().is_none();
        let is_head = request.method() == Method::Head;
        let is_partial = response.status == Status::PARTIAL_CONTENT;
        self.content = self
            .content
            .filter(|_| !is_head && is_missing(Scope::Content));
        self.repr = self.repr.filter(|_| !is_partial && is_missing(Scope::Repr));
        match response.body {
            Body::Source(source, None) if takes_trailers(request) => {
                let source = self.behind(source, &mut response.fields);
                response.body = Body::Source(Box::new(source), None);
                response
            }
            // A handler of HEAD alone has no body to tell the digest from.
            _ if is_head && response.body().is_none_or(<[u8]>::is_empty) => response,
            _ => self.of_bytes(response),
        }
    }

    /// As fields, if the body is there.
    fn of_bytes(self, mut response: Response) -> Response {
        if let Some(body) = response.body.as_bytes() {
            for (scope, algorithm) in self.scopes() {
                let value = algorithm.value_of(body);
                put_field(&mut response.fields, scope.field(), &value);
            }
        }
        response
    }

    /// As trailers.
    fn behind(self, source: Box<dyn Source>, fields: &mut Vec<u8>) -> Hashed {
        let mut hasher = Hasher::default();
        for (scope, algorithm) in self.scopes() {
            hasher.begin(algorithm);
            put_field(fields, "Trailer", scope.field());
        }
        Hashed {
            source,
            hasher,
            wanted: self,
        }
    }

    fn scopes(self) -> impl Iterator<Item = (Scope, Algorithm)> {
        let content = self.content.map(|algorithm| (Scope::Content, algorithm));
        let repr = self.repr.map(|algorithm| (Scope::Repr, algorithm));
        content.into_iter().chain(repr)
    }
}

/// A source whose `Content-Digest` follows it, which `fields` announce.
pub(in crate::http) fn with_digest_behind(
    source: Box<dyn Source>,
    algorithm: Algorithm,
    fields: &mut Vec<u8>,
) -> impl Source + use<> {
    let wanted = Wanted {
        content: Some(algorithm),
        repr: None,
    };
    wanted.behind(source, fields)
}

/// Whether fields behind the body arrive (RFC 9110, section 6.5.1).
fn takes_trailers(request: &Request<'_>) -> bool {
    let mut codings = request.head().fields().get_all("te").flat_map(elements);
    request.method() != Method::Head
        && request.head().version() == Version::Http11
        && codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// A source whose digests follow it.
struct Hashed {
    source: Box<dyn Source>,
    hasher: Hasher,
    wanted: Wanted,
}

impl Source for Hashed {
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
        let start = out.len();
        let pulled = self.source.pull(out);
        self.hasher.update(out.get(start..).unwrap_or_default());
        pulled
    }

    fn trailers(&mut self) -> Vec<(String, String)> {
        let mut trailers = self.source.trailers();
        for (scope, algorithm) in self.wanted.scopes() {
            let value = self.hasher.value_of(algorithm);
            trailers.push((scope.field().to_owned(), value));
        }
        trailers
    }

    fn on_shutdown(&mut self) {
        self.source.on_shutdown();
    }
}
