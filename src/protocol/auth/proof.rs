//! Proofs, and the key of a session: what is made of a key and what both sides have said.
//!
//! Knows no messages and no order of them.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::framing::{Role, Sealed, keyed};

/// A key that both sides know: 32 random bytes.
pub type Key = [u8; 32];

/// 32 random bytes, used once. From `/dev/urandom`, say, or a crate for randomness; in a
/// simulation from its seed.
pub type Nonce = [u8; 32];

/// Bytes that the name of a key may have.
pub const MAX_KEY_ID_LEN: usize = 64;

/// What everything is made of: it differs in every connection.
#[derive(Clone, Copy)]
pub(super) struct Transcript<'a> {
    pub(super) server_nonce: &'a Nonce,
    pub(super) client_nonce: &'a Nonce,
    pub(super) key_id: &'a [u8],
}

impl Transcript<'_> {
    fn mac(&self, key: &Key, label: &str) -> Hmac<Sha256> {
        keyed(key)
            .chain_update(label)
            .chain_update([0])
            .chain_update(self.server_nonce)
            .chain_update(self.client_nonce)
            .chain_update(self.key_id)
    }

    /// What shows that `role` knows the key.
    pub(super) fn proof(&self, key: &Key, role: Role) -> [u8; 32] {
        self.mac(key, label(role)).finalize().into_bytes().into()
    }

    /// Whether `proof` is the one of `role`; compared in constant time.
    pub(super) fn is_proof(&self, key: &Key, role: Role, proof: &[u8; 32]) -> bool {
        self.mac(key, label(role)).verify_slice(proof).is_ok()
    }

    /// What the side of `role` has after the handshake.
    pub(super) fn authenticated(&self, key: &Key, role: Role) -> Authenticated {
        let session = self.mac(key, "windlass auth 1 session");
        Authenticated {
            key: session.finalize().into_bytes().into(),
            role,
            key_id: self.key_id.into(),
        }
    }
}

fn label(role: Role) -> &'static str {
    match role {
        Role::Client => "windlass auth 1 client",
        Role::Server => "windlass auth 1 server",
    }
}

/// A connection both of whose sides have proven that they know the key: its name, and what seals
/// the frames from here on.
pub struct Authenticated {
    key: Key,
    role: Role,
    key_id: Box<[u8]>,
}

impl Authenticated {
    /// The name of the key that both sides know.
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// The decoder and the encoder of the protocol that follows. Only once, because a key seals one
    /// connection.
    pub fn seal<F: Clone>(self, framing: F) -> (Sealed<F>, Sealed<F>) {
        Sealed::pair(framing, &self.key, self.role)
    }
}

impl fmt::Debug for Authenticated {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated")
            .field("role", &self.role)
            .field("key_id", &self.key_id.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript() -> Transcript<'static> {
        Transcript {
            server_nonce: &[1; 32],
            client_nonce: &[2; 32],
            key_id: b"anne",
        }
    }

    #[test]
    fn a_proof_is_of_one_key_one_role_and_one_transcript() {
        let (key, role) = ([7; 32], Role::Client);
        let proof = transcript().proof(&key, role);
        assert!(transcript().is_proof(&key, role, &proof));
        assert!(!transcript().is_proof(&[8; 32], role, &proof));
        assert!(!transcript().is_proof(&key, Role::Server, &proof));
        let others = [
            Transcript {
                server_nonce: &[3; 32],
                ..transcript()
            },
            Transcript {
                client_nonce: &[3; 32],
                ..transcript()
            },
            Transcript {
                server_nonce: &[2; 32],
                client_nonce: &[1; 32],
                ..transcript()
            },
            Transcript {
                key_id: b"bert",
                ..transcript()
            },
            Transcript {
                key_id: b"",
                ..transcript()
            },
        ];
        for other in others {
            assert!(!other.is_proof(&key, role, &proof));
        }
        for bit in 0..256 {
            let mut forged = proof;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!transcript().is_proof(&key, role, &forged), "bit {bit}");
        }
    }

    #[test]
    fn a_session_key_is_no_proof_and_is_not_shown() {
        let key = [7; 32];
        let session = transcript().authenticated(&key, Role::Client);
        for role in [Role::Client, Role::Server] {
            assert_ne!(session.key, transcript().proof(&key, role));
        }
        let shown = format!("{session:?}");
        assert_eq!(
            shown,
            r#"Authenticated { role: Client, key_id: "anne", .. }"#
        );
    }
}
