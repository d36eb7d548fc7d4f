//! Digests of bodies as fields: what is announced, what is wanted, what holds (RFC 9530).
//!
//! Pure: fields and bytes in, verdicts and fields out. Knows neither requests nor responses.

use sha2::{Digest, Sha256, Sha512};

use super::structured::{Bare, Malformed, Value, dictionary};
use crate::http::base64;
use crate::http::fields::{Fields, elements};

/// How a digest is made. Those that are deprecated (RFC 9530, section 5: `md5`, `sha`, and the
/// checksums) are as unknown as those that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha-256`.
    Sha256,
    /// `sha-512`.
    Sha512,
}

impl Algorithm {
    /// Its name in the fields.
    pub fn key(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha-256",
            Algorithm::Sha512 => "sha-512",
        }
    }

    /// The value of `Content-Digest` or `Repr-Digest` for these bytes.
    ///
    /// ```
    /// use windlass::http::digest::Algorithm;
    ///
    /// // RFC 9530, appendix B.1.
    /// let value = Algorithm::Sha256.value_of(b"{\"hello\": \"world\"}\n");
    /// assert_eq!(value, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
    /// ```
    pub fn value_of(self, bytes: &[u8]) -> String {
        let mut hasher = Hasher::default();
        hasher.begin(self);
        hasher.update(bytes);
        hasher.value_of(self)
    }

    fn of(key: &str) -> Option<Algorithm> {
        let all = [Algorithm::Sha256, Algorithm::Sha512];
        all.into_iter().find(|algorithm| algorithm.key() == key)
    }
}

/// What a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The bytes of this message, as they are behind its transfer coding.
    Content,
    /// The whole representation, of which the message may carry a part or nothing.
    Repr,
}

impl Scope {
    pub(crate) fn field(self) -> &'static str {
        match self {
            Scope::Content => "Content-Digest",
            Scope::Repr => "Repr-Digest",
        }
    }

    fn want_field(self) -> &'static str {
        match self {
            Scope::Content => "Want-Content-Digest",
            Scope::Repr => "Want-Repr-Digest",
        }
    }

    /// Whether the peer says which it wants, and be it none.
    pub(crate) fn is_asked_about(self, fields: &Fields<'_>) -> bool {
        fields.get_all(self.want_field()).next().is_some()
    }

    /// The algorithm that the peer likes best among ours (RFC 9530, section 4). A field that is
    /// malformed asks for nothing, and so does a member that is no number from 1 to 10.
    pub(crate) fn wanted(self, fields: &Fields<'_>) -> Option<Algorithm> {
        let mut best: Option<(i64, Algorithm)> = None;
        for member in dictionary(fields, self.want_field()).unwrap_or_default() {
            if let Some(algorithm) = Algorithm::of(member.key)
                && let Value::Item(Bare::Integer(weight @ 1..=10)) = member.value
            {
                let is_better = match best {
                    None => true,
                    Some((other, _)) if weight == other => algorithm == Algorithm::Sha256,
                    Some((other, _)) => weight > other,
                };
                if is_better {
                    best = Some((weight, algorithm));
                }
            }
        }
        best.map(|(_, algorithm)| algorithm)
    }
}

/// Digests of one stretch of bytes, as a peer has announced them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    sha256: Option<Vec<u8>>,
    sha512: Option<Vec<u8>>,
}

/// Why digests were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A field is no dictionary, or a digest has not the length of its algorithm.
    Malformed,
    /// The bytes are others than was announced.
    Mismatch,
    /// There is no digest that we can make, and one is required.
    Unverified,
}

impl From<Malformed> for Wrong {
    fn from(Malformed: Malformed) -> Wrong {
        Wrong::Malformed
    }
}

impl Announced {
    /// Adds what these fields announce. Two digests of the same bytes that differ cannot both hold.
    pub(super) fn add(&mut self, scope: Scope, fields: &Fields<'_>) -> Result<(), Wrong> {
        for member in dictionary(fields, scope.field())? {
            let Some(algorithm) = Algorithm::of(member.key) else {
                continue;
            };
            let Value::Item(item) = member.value else {
                return Err(Wrong::Malformed);
            };
            let digest = item.as_bytes().ok_or(Wrong::Malformed)?;
            let (own, len) = match algorithm {
                Algorithm::Sha256 => (&mut self.sha256, 32),
                Algorithm::Sha512 => (&mut self.sha512, 64),
            };
            if digest.len() != len {
                return Err(Wrong::Malformed);
            }
            if own.get_or_insert_with(|| digest.clone()) != &digest {
                return Err(Wrong::Mismatch);
            }
        }
        Ok(())
    }

    /// Adds what these fields announce of a body, which may be a part of its representation: then
    /// a `Repr-Digest` is that of a whole which is not here.
    pub(super) fn add_all(&mut self, fields: &Fields<'_>, is_partial: bool) -> Result<(), Wrong> {
        self.add(Scope::Content, fields)?;
        match is_partial {
            true => Ok(()),
            false => self.add(Scope::Repr, fields),
        }
    }

    /// Whether there is a digest that we can make.
    pub(super) fn is_verifiable(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }
}

/// Digests of bytes that come piece by piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hasher {
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Hasher {
    /// What it takes to verify these. If more is to come behind the body, that may be any.
    pub(super) fn for_announced(announced: &Announced, trailers: bool) -> Hasher {
        Hasher {
            sha256: (trailers || announced.sha256.is_some()).then(Sha256::new),
            sha512: (trailers || announced.sha512.is_some()).then(Sha512::new),
        }
    }

    /// Whether it makes any digest.
    pub(super) fn is_active(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }

    /// Makes this one too, of what comes from now on.
    pub(crate) fn begin(&mut self, algorithm: Algorithm) {
        match algorithm {
            Algorithm::Sha256 => _ = self.sha256.get_or_insert_default(),
            Algorithm::Sha512 => _ = self.sha512.get_or_insert_default(),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The value of a field, of what has come so far.
    pub(crate) fn value_of(&self, algorithm: Algorithm) -> String {
        let mut value = format!("{}=:", algorithm.key());
        match algorithm {
            Algorithm::Sha256 => {
                let digest = self.sha256.clone().unwrap_or_default().finalize();
                base64::encode(&digest, &mut value);
            }
            Algorithm::Sha512 => {
                let digest = self.sha512.clone().unwrap_or_default().finalize();
                base64::encode(&digest, &mut value);
            }
        }
        value.push(':');
        value
    }

    /// Whether what was announced is what came; whether anything of it could be told.
    pub(super) fn verify(self, announced: &Announced) -> Result<bool, Wrong> {
        let mut is_verified = false;
        if let (Some(sha256), Some(digest)) = (self.sha256, &announced.sha256) {
            is_verified = true;
            if sha256.finalize()[..] != digest[..] {
                return Err(Wrong::Mismatch);
            }
        }
        if let (Some(sha512), Some(digest)) = (self.sha512, &announced.sha512) {
            is_verified = true;
            if sha512.finalize()[..] != digest[..] {
                return Err(Wrong::Mismatch);
            }
        }
        Ok(is_verified)
    }
}

/// Whether digests are announced for behind the body (RFC 9110, section 6.6.2).
pub(super) fn come_in_trailers(fields: &Fields<'_>) -> bool {
    fields.get_all("trailer").flat_map(elements).any(|name| {
        let is = |scope: Scope| name.eq_ignore_ascii_case(scope.field().as_bytes());
        is(Scope::Content) || is(Scope::Repr)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wanted(value: &str, expected: Option<Algorithm>) {
        let line = format!("Want-Repr-Digest: {value}\r\n");
        let wanted = Scope::Repr.wanted(&Fields::new(line.as_bytes()));
        assert_eq!(wanted, expected, "{value}");
    }

    #[test]
    fn the_peer_gets_what_it_likes_best_of_what_there_is_rfc_9530_4() {
        let (sha256, sha512) = (Some(Algorithm::Sha256), Some(Algorithm::Sha512));
        check_wanted("sha-256=1", sha256);
        check_wanted("sha-256=3, sha-512=10", sha512);
        check_wanted("sha-512=3, sha-256=10, unixsum=0", sha256);
        check_wanted("sha-512=5, sha-256=5", sha256);
        check_wanted("sha-256=5;x, sha-512=4", sha256);
        check_wanted("md5=10, sha=9, sha-512=1", sha512);
        for nothing in [
            "",
            "md5=10",
            "sha-256=0",
            "sha-256=11",
            "sha-256=-1",
            "sha-256=1.0",
            "sha-256",
            "SHA-256=1",
            "sha-256=1,,",
            "sha-256=\"1\"",
        ] {
            check_wanted(nothing, None);
        }
    }

    #[track_caller]
    fn verdict(value: &str, body: &[u8]) -> Result<bool, Wrong> {
        let line = format!("Content-Digest: {value}\r\n");
        let mut announced = Announced::default();
        announced.add(Scope::Content, &Fields::new(line.as_bytes()))?;
        let mut hasher = Hasher::for_announced(&announced, false);
        hasher.update(body);
        hasher.verify(&announced)
    }

    #[test]
    fn all_digests_that_can_be_made_have_to_hold() {
        let good = [Algorithm::Sha256, Algorithm::Sha512].map(|own| own.value_of(b"hi"));
        let bad = [Algorithm::Sha256, Algorithm::Sha512].map(|own| own.value_of(b"ho"));
        assert_eq!(verdict(&good[0], b"hi"), Ok(true));
        assert_eq!(verdict(&good[1], b"hi"), Ok(true));
        assert_eq!(verdict(&good.join(", "), b"hi"), Ok(true));
        assert_eq!(verdict("md5=:Zm9v:", b"hi"), Ok(false));
        for (first, second) in [(&good[0], &bad[1]), (&bad[0], &good[1]), (&bad[0], &bad[1])] {
            assert_eq!(
                verdict(&format!("{first}, {second}"), b"hi"),
                Err(Wrong::Mismatch)
            );
        }
        for malformed in [
            "sha-256",
            "sha-256=1",
            "sha-256=:Zm9v:",
            "sha-256=()",
            "sha-256=:Zm9v",
        ] {
            assert_eq!(
                verdict(malformed, b"hi"),
                Err(Wrong::Malformed),
                "{malformed}"
            );
        }
    }
}
