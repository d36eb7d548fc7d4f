//! `Checked`: frames with a SHA-256 of their payload, so that damage is noticed.
//!
//! Knows how a frame is laid out, and nothing of keys: whoever can write a frame can write its
//! digest.

use std::error::Error;
use std::fmt;

use sha2::{Digest, Sha256};

use super::{Decoded, Decoder, EncodeError, Encoder, Envelope, Payload, Step};
use crate::buffer::Outbox;

/// The frames of another framing, each with the SHA-256 (FIPS 180-4) of its payload behind it.
///
/// ```text
/// | head of F |        payload         | SHA-256 of it | tail of F |
///             |<--------------- frame of F ----------->|
/// ```
///
/// | offset in the frame | bytes | what |
/// |---|---|---|
/// | 0 | n, may be 0 | payload |
/// | n | 32 | SHA-256 of the payload |
///
/// It finds damage by memory, disks, proxies and programs, which TCP's checksum of 16 bits does not
/// see, and it finds it per frame. It is **no protection against people**: whoever can change a
/// frame can make its digest anew, drop frames, repeat them, or end the stream early.
/// [`Sealed`](super::Sealed) is. Nothing is secret.
///
/// A frame that is wrong is the last one: [`CheckedError::Corrupt`]. The limit of a payload is the
/// framing's own, less the 32 bytes. `F` is any [`Decoder`] that lends bytes; to send, it is an
/// [`Envelope`]: [`LengthPrefixed`](super::LengthPrefixed), [`Netstring`](super::Netstring), or
/// yours. Nothing is allocated or copied for a digest: a large shared message stays shared.
///
/// ```
/// use windlass::framing::{Checked, CheckedError, Decoder, Encoder, LengthPrefixed, Step};
///
/// let mut frames = Checked::<LengthPrefixed>::default();
/// let mut bytes = frames.encoded("hello")?.to_vec();
/// assert_eq!(bytes.len(), 4 + 5 + 32);
/// assert_eq!(frames.decode(&bytes), Ok(Step::Frame { frame: &b"hello"[..], consumed: 41 }));
/// bytes[4] ^= 1;
/// assert_eq!(frames.decode(&bytes), Err(CheckedError::Corrupt));
/// # Ok::<(), windlass::framing::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked<F> {
    framing: F,
}

impl<F> Checked<F> {
    /// Puts digests into the frames of `framing`.
    pub const fn new(framing: F) -> Checked<F> {
        Checked { framing }
    }
}

/// The payload of what the framing found.
#[inline]
fn checked<E>(
    step: Result<Step<&[u8], E>, E>,
) -> Result<Step<&[u8], CheckedError<E>>, CheckedError<E>> {
    match step.map_err(CheckedError::Framing)? {
        Step::Frame { frame, consumed } => {
            let Some((payload, digest)) = frame.split_last_chunk::<DIGEST_LEN>() else {
                return Err(CheckedError::TooShort { len: frame.len() });
            };
            if Sha256::digest(payload)[..] != digest[..] {
                return Err(CheckedError::Corrupt);
            }
            let frame = payload;
            Ok(Step::Frame { frame, consumed })
        }
        Step::Skip { consumed, report } => Ok(Step::Skip {
            consumed,
            report: report.map(CheckedError::Framing),
        }),
        Step::More { needed } => Ok(Step::More { needed }),
    }
}

impl<F> Decoder for Checked<F>
where
    F: for<'a> Decoder<Frame<'a> = &'a [u8]> + 'static,
{
    type Frame<'a> = &'a [u8];
    type Error = CheckedError<<F as Decoder>::Error>;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        checked(self.framing.decode(input))
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        checked(self.framing.decode_eof(input))
    }

    fn max_pending(&self) -> Option<usize> {
        self.framing.max_pending()
    }
}

impl<F: Envelope, P: Payload> Encoder<P> for Checked<F> {
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        let payload = item.as_bytes();
        put_head(&mut self.framing, payload.len(), DIGEST_LEN, out)?;
        let digest = Sha256::digest(payload);
        item.put_into(out);
        out.put(&digest);
        self.framing.put_tail(out);
        Ok(())
    }
}

/// The head of a frame of a payload and what is `added` to it; an error speaks of the payload.
#[inline]
pub(super) fn put_head<F: Envelope>(
    framing: &mut F,
    payload_len: usize,
    added: usize,
    out: &mut Outbox,
) -> Result<(), EncodeError> {
    // No slice is so long that this overflows.
    let result = framing.put_head(payload_len + added, out);
    result.map_err(|error| match error {
        EncodeError::TooLong { len, limit } => EncodeError::TooLong {
            len: len.saturating_sub(added),
            limit: limit.saturating_sub(added),
        },
        other => other,
    })
}

/// How the peer broke [`Checked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckedError<E> {
    /// The framing inside is broken.
    Framing(E),
    /// A frame of `len` bytes, which has no room for a digest.
    TooShort {
        /// Bytes of the frame.
        len: usize,
    },
    /// The payload is not what the digest was made of.
    Corrupt,
}

impl<E: fmt::Display> fmt::Display for CheckedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckedError::Framing(error) => error.fmt(f),
            CheckedError::TooShort { len } => {
                write!(f, "a frame of {len} bytes, without a digest")
            }
            CheckedError::Corrupt => f.write_str("a frame does not match its digest"),
        }
    }
}

impl<E: Error> Error for CheckedError<E> {}

/// Bytes of a SHA-256.
pub(super) const DIGEST_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, check_every_split, events};
    use crate::framing::{LengthField, LengthPrefixed, Netstring};
    use CheckedError::{Framing, TooShort};

    fn short() -> Checked<LengthPrefixed> {
        Checked::new(LengthPrefixed::new(LengthField::U8))
    }

    fn encoded<F: Envelope>(mut frames: Checked<F>, payloads: &[&[u8]]) -> Vec<u8> {
        let each = payloads.iter().map(|payload| frames.encoded(*payload));
        each.flat_map(|frame| frame.expect("it fits").to_vec())
            .collect()
    }

    fn payloads<E>() -> [Event<Vec<u8>, CheckedError<E>>; 3] {
        [&b"one"[..], b"", b"two"].map(|frame| Event::Frame(frame.to_vec()))
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let stream = encoded(short(), &[b"one", b"", b"two"]);
        check_every_split(short, &stream, &payloads());
        let netstring = || Checked::<Netstring>::default();
        let stream = encoded(netstring(), &[b"one", b"", b"two"]);
        check_every_split(netstring, &stream, &payloads());
    }

    #[test]
    fn the_digest_is_the_published_one_and_stands_behind_the_payload() {
        // FIPS 180-2, B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let frame = encoded(short(), &[b"abc"]);
        assert_eq!(frame[..4], *b"\x23abc");
        let hex: String = frame[4..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, digest);
    }

    #[test]
    fn a_flip_of_any_bit_is_noticed_and_nothing_is_delivered_behind_it() {
        let stream = encoded(short(), &[b"one", b"two"]);
        let frame_len = stream.len() / 2;
        for bit in 0..8 * frame_len {
            let mut damaged = stream.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let events = events::<_, Vec<u8>>(short(), &damaged, &[]);
            assert!(
                !matches!(events[0], Event::Frame(_)),
                "bit {bit}: {events:?}"
            );
        }
    }

    #[test]
    fn a_frame_without_room_for_a_digest_and_what_the_framing_refuses_are_errors() {
        let too_short = Event::Malformed(TooShort { len: 3 });
        check_every_split::<_, Vec<u8>>(short, b"\x03abc", &[too_short]);
        let small = || Checked::new(LengthPrefixed::default().with_max_len(40));
        let error = small().decode(&[0, 0, 0, 41]).expect_err("too long");
        assert!(matches!(error, Framing(_)));
        let limit = EncodeError::TooLong { len: 9, limit: 8 };
        assert_eq!(small().encoded("123456789"), Err(limit));
        assert_eq!(small().encoded("12345678").map(|b| b.len()), Ok(44));
    }
}
