//! The messages of a handshake, and their framing.
//!
//! Knows how they are laid out, and nothing of when they may come.

use std::fmt;

use super::proof::{MAX_KEY_ID_LEN, Nonce};
use crate::buffer::Outbox;
use crate::framing::{
    Decoded, Decoder, EncodeError, Encoder, LengthField, LengthPrefixed, LengthPrefixedError, Step,
};

/// A message of a handshake; the module has the table.
///
/// ```
/// use windlass::framing::{Decoder, Encoder, Step};
/// use windlass::protocol::auth::{AuthFraming, AuthMessage};
///
/// let mut frames = AuthFraming::default();
/// let bytes = frames.encoded(AuthMessage::Welcome { proof: &[9; 32] })?;
/// assert_eq!(bytes[..3], [33, 3, 9]);
/// let step = frames.decode(&bytes)?;
/// let frame = AuthMessage::Welcome { proof: &[9; 32] };
/// assert_eq!(step, Step::Frame { frame, consumed: 34 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMessage<'a> {
    /// The server's: something new to prove.
    Challenge {
        /// Random, and of this connection alone.
        nonce: &'a Nonce,
    },
    /// The client's: the proof.
    Response {
        /// Random, and of this connection alone.
        nonce: &'a Nonce,
        /// That the client knows the key.
        proof: &'a [u8; 32],
        /// Which key; up to [`MAX_KEY_ID_LEN`] bytes.
        key_id: &'a [u8],
    },
    /// The server's: the proof is right, and here is its own.
    Welcome {
        /// That the server knows the key.
        proof: &'a [u8; 32],
    },
    /// The server's: it is not, for whatever reason.
    Refused,
}

impl<'a> AuthMessage<'a> {
    fn parse(frame: &'a [u8]) -> Option<AuthMessage<'a>> {
        let (kind, rest) = frame.split_first()?;
        match kind {
            1 => {
                let nonce = rest.strip_prefix(&[VERSION])?.try_into().ok()?;
                Some(AuthMessage::Challenge { nonce })
            }
            2 => {
                let (nonce, rest) = rest.split_first_chunk()?;
                let (proof, key_id) = rest.split_first_chunk()?;
                (key_id.len() <= MAX_KEY_ID_LEN).then_some(AuthMessage::Response {
                    nonce,
                    proof,
                    key_id,
                })
            }
            3 => {
                let proof = rest.try_into().ok()?;
                Some(AuthMessage::Welcome { proof })
            }
            4 => rest.is_empty().then_some(AuthMessage::Refused),
            _ => None,
        }
    }
}

/// The framing of a handshake: each message behind its length, one byte.
#[derive(Clone, Copy, Debug)]
pub struct AuthFraming(LengthPrefixed);

impl Default for AuthFraming {
    fn default() -> AuthFraming {
        AuthFraming(LengthPrefixed::new(LengthField::U8).with_max_len(MAX_LEN))
    }
}

impl Decoder for AuthFraming {
    type Frame<'a> = AuthMessage<'a>;
    type Error = AuthMessageError;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        match self.0.decode(input).map_err(AuthMessageError::Framing)? {
            Step::Frame { frame, consumed } => {
                let frame = AuthMessage::parse(frame).ok_or(AuthMessageError::Unknown)?;
                Ok(Step::Frame { frame, consumed })
            }
            Step::Skip { .. } => unreachable!("what is too long is refused, not skipped"),
            Step::More { needed } => Ok(Step::More { needed }),
        }
    }

    fn max_pending(&self) -> Option<usize> {
        self.0.max_pending()
    }
}

impl Encoder<AuthMessage<'_>> for AuthFraming {
    fn encode(&mut self, item: AuthMessage<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
        let (kind, parts): (u8, [&[u8]; 3]) = match &item {
            AuthMessage::Challenge { nonce } => (1, [&[VERSION], &nonce[..], &[]]),
            AuthMessage::Response {
                nonce,
                proof,
                key_id,
            } => (2, [&nonce[..], &proof[..], key_id]),
            AuthMessage::Welcome { proof } => (3, [&proof[..], &[], &[]]),
            AuthMessage::Refused => (4, [&[], &[], &[]]),
        };
        let len = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        if len > MAX_LEN {
            let limit = MAX_KEY_ID_LEN;
            let len = len - (MAX_LEN - limit);
            return Err(EncodeError::TooLong { len, limit });
        }
        out.put(&[len as u8, kind]);
        for part in parts {
            out.put(part);
        }
        Ok(())
    }
}

/// What is no message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMessageError {
    /// It is too long.
    Framing(LengthPrefixedError),
    /// It is of an unknown type or version, or has not the length of its type.
    Unknown,
}

impl fmt::Display for AuthMessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthMessageError::Framing(error) => error.fmt(f),
            AuthMessageError::Unknown => f.write_str("no message of a handshake"),
        }
    }
}

impl std::error::Error for AuthMessageError {}

const VERSION: u8 = 1;

/// Bytes of the longest message.
const MAX_LEN: usize = 1 + 32 + 32 + MAX_KEY_ID_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [AuthMessage<'_>; 5] = [
        AuthMessage::Challenge { nonce: &[1; 32] },
        AuthMessage::Response {
            nonce: &[2; 32],
            proof: &[3; 32],
            key_id: b"anne",
        },
        AuthMessage::Response {
            nonce: &[2; 32],
            proof: &[3; 32],
            key_id: &[b'x'; MAX_KEY_ID_LEN],
        },
        AuthMessage::Welcome { proof: &[4; 32] },
        AuthMessage::Refused,
    ];

    #[test]
    fn every_message_is_read_as_it_was_written_and_no_shorter_one_is() {
        let mut frames = AuthFraming::default();
        for message in ALL {
            let bytes = frames.encoded(message).expect("it fits");
            let consumed = bytes.len();
            let expected = Step::Frame {
                frame: message,
                consumed,
            };
            assert_eq!(frames.decode(&bytes), Ok(expected));
            for len in 1..consumed {
                let step = frames.decode(&bytes[..len]);
                assert!(matches!(step, Ok(Step::More { .. })), "{message:?}, {len}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let mut frames = AuthFraming::default();
        let unknown = Err(AuthMessageError::Unknown);
        assert_eq!(frames.decode(&[0]), unknown, "nothing");
        assert_eq!(frames.decode(&[1, 9]), unknown, "type");
        assert_eq!(frames.decode(&[2, 4, 0]), unknown, "length");
        let mut challenge = frames.encoded(ALL[0]).expect("it fits").to_vec();
        challenge[2] = 2;
        assert_eq!(frames.decode(&challenge), unknown, "version");
        let too_long = frames.decode(&[MAX_LEN as u8 + 1]);
        assert!(matches!(too_long, Err(AuthMessageError::Framing(_))));
        let (nonce, proof, key_id) = (&[0; 32], &[0; 32], &[0; 65][..]);
        let response = AuthMessage::Response {
            nonce,
            proof,
            key_id,
        };
        let too_long = EncodeError::TooLong { len: 65, limit: 64 };
        assert_eq!(frames.encoded(response), Err(too_long));
    }
}
