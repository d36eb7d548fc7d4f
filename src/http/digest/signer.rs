//! `Signer`: the client's side of `Signed`.
//!
//! Writes the fields of a signature (RFC 9421, section 4). Knows no connection and no time.

use std::time::Duration;

use super::integrity::{Algorithm, Scope};
use super::signature::{Key, authority};
use crate::http::base64;
use crate::http::client::Request;

/// Signs requests, so that a [`Signed`](super::Signed) lets them through.
///
/// ```
/// use std::time::Duration;
/// use windlass::http::{client::Request, digest::{Key, Signer}};
///
/// let signer = Signer::new("client-7", Key::new(b"32 random bytes, known to both"));
/// let order = Request::post("/orders").body("{}");
/// let now = Duration::from_secs(1_700_000_000); // `Intents::unix_time`
/// let signed = signer.sign(order, "example.org", now, "1700000000-1");
/// # drop(signed);
/// ```
#[derive(Clone, Debug)]
pub struct Signer {
    key_id: String,
    key: Key,
    scheme: &'static str,
}

impl Signer {
    /// Signs with `key`, which the server knows by the name `key_id`.
    ///
    /// # Panics
    /// The name has characters other than those of ASCII that are visible, or a space, a quotation
    /// mark or a backslash.
    pub fn new(key_id: &str, key: Key) -> Signer {
        assert!(is_plain(key_id), "the name of a key is plain text");
        Signer {
            key_id: key_id.to_owned(),
            key,
            scheme: "http",
        }
    }

    /// The server's addresses begin with `https`.
    #[must_use]
    pub fn https(mut self) -> Signer {
        self.scheme = "https";
        self
    }

    /// Adds the fields of a signature: `Signature-Input`, `Signature`, and before them
    /// `Content-Digest` if there is a body.
    ///
    /// `host` is what is sent as `Host`, unless the request has one of its own; `now` is the time
    /// since 1970; `nonce` must be new for each request: random, or a counter behind the time at
    /// which the program started. It is 1 to 128 plain characters, as the name of a key.
    ///
    /// Sending the request again, which the client does by itself where a kept connection ends, is
    /// a replay for a server that saw the first: sign it again, or close behind it.
    ///
    /// # Panics
    /// The nonce is no such text, or the body is a stream, whose digest nobody knows yet.
    #[must_use]
    pub fn sign(&self, request: Request, host: &str, now: Duration, nonce: &str) -> Request {
        let is_nonce = (1..=128).contains(&nonce.len()) && is_plain(nonce);
        assert!(is_nonce, "a nonce is plain text of 1 to 128 bytes");
        let (method, target, own_host, body) = request.signable();
        let body = body.expect("a stream cannot be signed before it is read");
        let digest = (!body.is_empty()).then(|| Algorithm::Sha256.value_of(body));
        let host = authority(own_host.unwrap_or(host), self.scheme);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));

        let mut names = String::from("\"@method\" \"@authority\" \"@path\" \"@query\"");
        let mut base = format!(
            "\"@method\": {method}\n\"@authority\": {host}\n\
             \"@path\": {path}\n\"@query\": ?{query}\n"
        );
        if let Some(digest) = &digest {
            names.push_str(" \"content-digest\"");
            base.push_str(&format!("\"content-digest\": {digest}\n"));
        }
        let (created, key_id) = (now.as_secs(), &self.key_id);
        let params = format!("({names});created={created};nonce=\"{nonce}\";keyid=\"{key_id}\"");
        base.push_str(&format!("\"@signature-params\": {params}"));
        let mut signature = String::from("sig1=:");
        base64::encode(&self.key.sign(base.as_bytes()), &mut signature);
        signature.push(':');

        let request = match digest {
            Some(digest) => request.header(Scope::Content.field(), &digest),
            None => request,
        };
        request
            .header("Signature-Input", &format!("sig1={params}"))
            .header("Signature", &signature)
    }
}

/// What needs no escape in a string of structured fields.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    text.bytes().all(is_plain)
}
