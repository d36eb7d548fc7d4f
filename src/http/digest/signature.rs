//! Signatures of requests with a shared key: `hmac-sha256` of RFC 9421, strictly.
//!
//! Pure: a head in, what it was signed with and whether that holds out. Knows neither time nor what
//! was seen before.

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::structured::{Bare, Params, Value, dictionary};
use crate::http::head::Head;

/// A shared secret, made ready for signing. It is not shown.
///
/// At least 32 random bytes are a good key; a password is none.
#[derive(Clone)]
pub struct Key {
    mac: Hmac<Sha256>,
}

impl Key {
    /// That of these bytes.
    ///
    /// # Panics
    /// There are none: everybody could sign with that.
    pub fn new(secret: &[u8]) -> Key {
        assert!(!secret.is_empty(), "a key has at least one byte");
        let mac = Hmac::new_from_slice(secret).expect("a key of HMAC has any length");
        Key { mac }
    }

    pub(super) fn sign(&self, base: &[u8]) -> [u8; 32] {
        self.mac
            .clone()
            .chain_update(base)
            .finalize()
            .into_bytes()
            .into()
    }

    /// In a time that does not depend on where they differ.
    fn verifies(&self, base: &[u8], signature: &[u8]) -> bool {
        let mac = self.mac.clone().chain_update(base);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why a signature is refused. The peer is not told which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is none, or more than one.
    Missing,
    /// It is none, or not of the kind that we know.
    Malformed,
    /// It leaves something out that it has to cover.
    Uncovered,
    /// It covers a field that is not there.
    Absent,
    /// Its time is not now.
    Stale,
    /// It does not hold, or nobody knows the key.
    Wrong,
    /// It was seen before.
    Replayed,
    /// It holds, but no more nonces can be remembered just now.
    Full,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Missing => "there is not exactly one signature",
            Refused::Malformed => "the signature is malformed, or of an unknown kind",
            Refused::Uncovered => "the signature does not cover what it has to",
            Refused::Absent => "the signature covers a field that is not there",
            Refused::Stale => "the signature is too old, or from the future",
            Refused::Wrong => "the signature is wrong",
            Refused::Replayed => "the signature was seen before",
            Refused::Full => "too many nonces are remembered",
        })
    }
}

/// The one signature of a request, as it was sent.
#[derive(Debug)]
pub(super) struct Signature<'a> {
    covered: Vec<&'a str>,
    pub(super) created: u64,
    pub(super) expires: Option<u64>,
    pub(super) key_id: Cow<'a, str>,
    pub(super) nonce: Option<Cow<'a, str>>,
    /// The value of `@signature-params`.
    params: &'a str,
    signature: Vec<u8>,
}

impl<'a> Signature<'a> {
    /// Reads `Signature-Input` and `Signature` (RFC 9421, section 4).
    pub(super) fn of(head: &Head<'a>) -> Result<Signature<'a>, Refused> {
        let fields = head.fields();
        let inputs = dictionary(&fields, "signature-input").map_err(|_| Refused::Malformed)?;
        let signatures = dictionary(&fields, "signature").map_err(|_| Refused::Malformed)?;
        let ([input], [signature]) = (&inputs[..], &signatures[..]) else {
            return Err(Refused::Missing);
        };
        let (Value::List(items), Value::Item(bytes)) = (&input.value, &signature.value) else {
            return Err(Refused::Malformed);
        };
        if input.key != signature.key {
            return Err(Refused::Missing);
        }
        let mut covered: Vec<&str> = Vec::with_capacity(items.len());
        for (item, params) in items {
            match item {
                // With parameters it would mean something else.
                Bare::String(name) if params.is_empty() && !covered.contains(name) => {
                    covered.push(name);
                }
                _ => return Err(Refused::Malformed),
            }
        }
        let signature = bytes.as_bytes().ok_or(Refused::Malformed)?;
        let mut parsed = Signature {
            covered,
            created: 0,
            expires: None,
            key_id: Cow::Borrowed(""),
            nonce: None,
            params: input.text,
            signature,
        };
        parsed.read_params(&input.params)?;
        Ok(parsed)
    }

    /// RFC 9421, section 2.3. Which key it is has to be told, and when it was signed.
    fn read_params(&mut self, params: &Params<'a>) -> Result<(), Refused> {
        let (mut created, mut key_id) = (None, None);
        for (at, &(name, value)) in params.iter().enumerate() {
            if params[..at].iter().any(|(other, _)| *other == name) {
                return Err(Refused::Malformed);
            }
            match (name, value) {
                ("created", Bare::Integer(time)) => created = u64::try_from(time).ok(),
                ("expires", Bare::Integer(time)) => {
                    self.expires = Some(u64::try_from(time).map_err(|_| Refused::Malformed)?);
                }
                ("keyid", _) => key_id = value.as_text(),
                ("nonce", Bare::String(_)) => self.nonce = value.as_text(),
                ("alg", Bare::String("hmac-sha256")) | ("tag", Bare::String(_)) => {}
                _ => return Err(Refused::Malformed),
            }
        }
        self.created = created.ok_or(Refused::Malformed)?;
        self.key_id = key_id.ok_or(Refused::Malformed)?;
        Ok(())
    }

    pub(super) fn covers(&self, component: &str) -> bool {
        self.covered.contains(&component)
    }

    /// Whether it says which resource the request is for.
    pub(super) fn covers_target(&self) -> bool {
        let (path, query) = (self.covers("@path"), self.covers("@query"));
        self.covers("@target-uri") || self.covers("@request-target") || (path && query)
    }

    /// Whether this key has signed this head.
    pub(super) fn verify(&self, head: &Head<'_>, scheme: &str, key: &Key) -> Result<(), Refused> {
        let base = self.base(head, scheme)?;
        match key.verifies(&base, &self.signature) {
            true => Ok(()),
            false => Err(Refused::Wrong),
        }
    }

    /// What is signed (RFC 9421, section 2.5).
    pub(super) fn base(&self, head: &Head<'_>, scheme: &str) -> Result<Vec<u8>, Refused> {
        let mut base = Vec::with_capacity(head.as_bytes().len());
        for &component in &self.covered {
            put_name(component, &mut base);
            match component.strip_prefix('@') {
                Some(derived) => {
                    let value = derive(derived, head, scheme).ok_or(Refused::Malformed)?;
                    base.extend_from_slice(value.as_bytes());
                }
                None => put_field_value(component, head, &mut base)?,
            }
            base.push(b'\n');
        }
        put_name("@signature-params", &mut base);
        base.extend_from_slice(self.params.as_bytes());
        Ok(base)
    }
}

fn put_name(component: &str, base: &mut Vec<u8>) {
    base.push(b'"');
    base.extend_from_slice(component.as_bytes());
    base.extend_from_slice(b"\": ");
}

/// All values of a field as one (RFC 9421, section 2.1). Names are in lower case.
fn put_field_value(name: &str, head: &Head<'_>, base: &mut Vec<u8>) -> Result<(), Refused> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Refused::Malformed);
    }
    let mut is_first = true;
    for value in head.fields().get_all(name) {
        if !is_first {
            base.extend_from_slice(b", ");
        }
        is_first = false;
        base.extend_from_slice(value);
    }
    if is_first {
        Err(Refused::Absent)
    } else {
        Ok(())
    }
}

/// RFC 9421, section 2.2, as far as requests have them.
fn derive<'a>(name: &str, head: &Head<'a>, scheme: &'a str) -> Option<Cow<'a, str>> {
    Some(match name {
        "method" => head.method_name().into(),
        "authority" => authority(head.host(), scheme).into(),
        "scheme" => scheme.into(),
        "path" => head.path().into(),
        "query" => format!("?{}", head.query()).into(),
        "request-target" => head.target().into(),
        "target-uri" if !head.target().starts_with('/') => head.target().into(),
        "target-uri" => {
            let authority = authority(head.host(), scheme);
            format!("{scheme}://{authority}{}", head.target()).into()
        }
        _ => return None,
    })
}

/// In lower case, without the port that goes without saying (RFC 9421, section 2.2.3).
pub(super) fn authority(host: &str, scheme: &str) -> String {
    let port = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Limits, base64};

    /// RFC 9421, appendix B.2, with the signature of B.2.5.
    const MESSAGE: &str = "POST /foo?param=Value&Pet=dog HTTP/1.1\r\n\
        Host: example.com\r\n\
        Date: Tue, 20 Apr 2021 02:07:55 GMT\r\n\
        Content-Type: application/json\r\n\
        Content-Digest: sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7\
        BNNyealdVLvRwEmTHWXvJwew==:\r\n\
        Content-Length: 18\r\n\
        Signature-Input: sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473\
        ;keyid=\"test-shared-secret\"\r\n\
        Signature: sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:\r\n\r\n";
    const SECRET: &str = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi\
        6pcl8jsasjlTMtDQ==";

    fn verify(message: &str) -> Result<(), Refused> {
        let limits = Limits::default();
        let head = Head::parse(message.as_bytes(), &limits).unwrap().unwrap();
        let key = Key::new(&base64::decode(SECRET).unwrap());
        Signature::of(&head)?.verify(&head, "http", &key)
    }

    #[test]
    fn the_example_of_the_standard_holds_rfc_9421_b_2_5() {
        let limits = Limits::default();
        let head = Head::parse(MESSAGE.as_bytes(), &limits).unwrap().unwrap();
        let signature = Signature::of(&head).unwrap();
        let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\
            \"content-type\": application/json\n\"@signature-params\": \
            (\"date\" \"@authority\" \"content-type\");created=1618884473\
            ;keyid=\"test-shared-secret\"";
        let own = signature.base(&head, "http").unwrap();
        assert_eq!(String::from_utf8(own).unwrap(), base);
        assert_eq!(
            (signature.created, &*signature.key_id),
            (1_618_884_473, "test-shared-secret")
        );
        assert_eq!(verify(MESSAGE), Ok(()));
    }

    #[test]
    fn what_is_covered_cannot_be_changed_and_what_is_not_can() {
        for (from, to) in [
            ("20 Apr", "21 Apr"),
            ("Host: example.com", "Host: example.org"),
            ("/json\r\n", "/json\r\nContent-Type: x\r\n"),
            ("1618884473", "1618884474"),
            (";keyid", ";tag=\"x\";keyid"),
            ("pxcQ", "pxcR"),
        ] {
            assert_eq!(
                verify(&MESSAGE.replacen(from, to, 1)),
                Err(Refused::Wrong),
                "{from}"
            );
        }
        for (from, to) in [("/foo", "/bar"), ("example.com", "EXAMPLE.com:80")] {
            assert_eq!(verify(&MESSAGE.replacen(from, to, 1)), Ok(()), "{from}");
        }
    }

    #[test]
    fn what_is_not_of_our_kind_is_refused() {
        for (from, to, refused) in [
            ("Signature: ", "X: ", Refused::Missing),
            ("Signature: sig-b25", "Signature: other", Refused::Missing),
            ("Signature: ", "Signature: b=:eA==:, ", Refused::Missing),
            (
                "sig-b25=(\"date\"",
                "sig-b25=(\"date\" \"date\"",
                Refused::Malformed,
            ),
            ("(\"date\"", "(\"date\";sf", Refused::Malformed),
            ("(\"date\"", "(\"Date\"", Refused::Malformed),
            ("(\"date\"", "(\"@status\"", Refused::Malformed),
            ("(\"date\"", "(\"x\"", Refused::Absent),
            ("(\"date\"", "(date", Refused::Malformed),
            ("created=1618884473", "created=-1", Refused::Malformed),
            (";created=1618884473", "", Refused::Malformed),
            (";keyid=\"test-shared-secret\"", "", Refused::Malformed),
            (";keyid", ";alg=\"ed25519\";keyid", Refused::Malformed),
            (";keyid", ";new=1;keyid", Refused::Malformed),
            (
                ";keyid",
                ";nonce=\"a\";nonce=\"b\";keyid",
                Refused::Malformed,
            ),
            (
                "Signature: sig-b25=:pxcQ",
                "Signature: sig-b25=:px",
                Refused::Malformed,
            ),
        ] {
            assert_eq!(
                verify(&MESSAGE.replacen(from, to, 1)),
                Err(refused),
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn everything_about_the_target_can_be_covered_rfc_9421_2_2() {
        let head = "GET /a%20b?c=d HTTP/1.1\r\nHost: Example.com:443\r\n\r\n";
        let limits = Limits::default();
        let head = Head::parse(head.as_bytes(), &limits).unwrap().unwrap();
        for (name, expected) in [
            ("method", "GET"),
            ("authority", "example.com"),
            ("scheme", "https"),
            ("path", "/a%20b"),
            ("query", "?c=d"),
            ("request-target", "/a%20b?c=d"),
            ("target-uri", "https://example.com/a%20b?c=d"),
        ] {
            let derived = derive(name, &head, "https");
            assert_eq!(derived.as_deref(), Some(expected), "{name}");
        }
        assert_eq!(derive("query-param", &head, "https"), None);
    }
}
