//! `Sealed`: frames that prove who sent them, in which direction and in which place.
//!
//! Knows a key and a counter. Where the key comes from is the business of whoever makes it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::checked::{DIGEST_LEN, put_head};
use super::{Decoded, Decoder, EncodeError, Encoder, Envelope, Payload, SealedError, Step};
use crate::buffer::Outbox;

/// The frames of another framing, each with a tag that only holders of a key can make:
/// HMAC-SHA-256 (RFC 2104, FIPS 198-1) over the direction, the place in the stream, and the frame.
///
/// ```text
/// | head of F | kind |        payload        | tag | tail of F |
///             |<------------- frame of F ---------->|
///             |<----- authenticated ------->|
///   + direction and sequence number, which are not sent: both sides know them
/// ```
///
/// | offset in the frame | bytes | what |
/// |---|---|---|
/// | 0 | 1 | kind: 0 data, 1 end of the stream (without a payload) |
/// | 1 | n | payload |
/// | 1 + n | 32 | the tag |
///
/// | input of the tag, in order | bytes | what |
/// |---|---|---|
/// | direction | 1 | 0 from the client, 1 from the server |
/// | sequence number | 8, big endian | 0 for the first frame of the direction, then one more each |
/// | kind | 1 | as in the frame |
/// | payload | n | as in the frame |
///
/// The key of the tags of one direction is HMAC-SHA-256, with the key that is shared, of the text
/// `windlass sealed 1 client to server` or `windlass sealed 1 server to client`.
///
/// | attack on the path | is noticed, because |
/// |---|---|
/// | a bit flipped, a frame forged | the tag is that of other bytes |
/// | a frame repeated, left out, moved | the tag is that of another sequence number |
/// | a frame sent back to where it came from | the tag is made with the other direction's key |
/// | a frame of another connection | the tag is made with another key |
/// | the stream cut off, anywhere | no end of the stream came: [`SealedError::Truncated`] |
/// | bytes behind the end | [`SealedError::AfterEnd`] |
///
/// What was delivered is therefore always a prefix of what the peer sent, in order, and after the
/// first thing that is wrong nothing is delivered any more. `Protocol::on_eof` is called only if
/// the prefix is all of it: a sender says so with [`EndOfStream`], before it finishes. A reset, as
/// ever, shows in `Protocol::on_close`.
///
/// What it does **not** do:
///
/// - **Nothing is secret.** Payloads, their lengths and times are there for all to read. Who needs
///   secrecy uses TLS, and does not need this.
/// - It cannot keep somebody on the path from delaying or ending the connection; that is noticed.
/// - **One key, one connection.** Sequence numbers begin at 0: with the same key a second time, the
///   frames of the first connection are valid in the second. `protocol::auth` makes a fresh key for
///   each connection of a key that lives longer.
/// - There is no new key within a connection: after 2^64 - 1 frames, [`EncodeError::Exhausted`].
/// - A message that is encoded once for many (`Context::encoded`) has a place in one stream only.
/// - A protocol that knows nothing of it, such as `Echo`, does not seal the end of its stream: the
///   peer gets every message, and then takes the end for a cut ([`SealedError::Truncated`]).
///
/// Tags are compared in constant time. The limit of a payload is the framing's own, less 33 bytes.
/// `F` is as in [`Checked`](super::Checked), with what is sent being shared rather than copied; a
/// frame that the framing skips is an error here, because it is missing.
///
/// ```
/// use windlass::framing::{Decoder, Encoder, LengthPrefixed, Role, Sealed, SealedError, Step};
///
/// let key = [7; 32]; // Of 32 random bytes, and known to the two alone.
/// let (_, mut to_server) = Sealed::pair(LengthPrefixed::default(), &key, Role::Client);
/// let (mut from_client, _) = Sealed::pair(LengthPrefixed::default(), &key, Role::Server);
///
/// let bytes = to_server.encoded("pay 10")?;
/// let step = from_client.decode(&bytes)?;
/// assert_eq!(step, Step::Frame { frame: &b"pay 10"[..], consumed: 4 + 1 + 6 + 32 });
/// // The same once more is not the same.
/// assert_eq!(from_client.decode(&bytes), Err(SealedError::Forged));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Sealed<F> {
    framing: F,
    stream: Stream,
}

/// Which side of a connection this is: each direction has tags of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that connected.
    Client,
    /// The side that accepted.
    Server,
}

/// As a message to a [`Sealed`]: nothing follows. The peer is told the end of a stream only if it
/// gets this, and takes any other end for a cut. Usually followed by `finish` or `finish_writes`.
///
/// ```
/// use windlass::framing::{EncodeError, Encoder, EndOfStream, LengthPrefixed, Role, Sealed};
///
/// let (_, mut out) = Sealed::pair(LengthPrefixed::default(), &[7; 32], Role::Client);
/// assert_eq!(out.encoded(EndOfStream)?.len(), 4 + 1 + 32);
/// assert_eq!(out.encoded("more"), Err(EncodeError::Ended));
/// # Ok::<(), EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOfStream;

/// One direction of one connection.
#[derive(Clone)]
struct Stream {
    /// With the key of the direction and nothing else; cloned for every tag.
    mac: Hmac<Sha256>,
    /// Of the next frame.
    sequence: u64,
    direction: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end of the stream has passed.
    Ended,
    /// Something was wrong: nothing passes any more.
    Failed,
}

impl<F> Sealed<F> {
    /// The two directions of one connection: what opens frames of the peer, and what seals frames
    /// for it. They are the decoder and the encoder of a protocol.
    ///
    /// `key` is 32 random bytes, used for this connection and no other.
    pub fn pair(framing: F, key: &[u8; 32], role: Role) -> (Sealed<F>, Sealed<F>)
    where
        F: Clone,
    {
        let (from_peer, to_peer) = match role {
            Role::Client => (FROM_SERVER, FROM_CLIENT),
            Role::Server => (FROM_CLIENT, FROM_SERVER),
        };
        let inbound = Sealed {
            framing: framing.clone(),
            stream: Stream::new(key, from_peer),
        };
        let outbound = Sealed {
            framing,
            stream: Stream::new(key, to_peer),
        };
        (inbound, outbound)
    }

    fn seal<P: Payload>(&mut self, kind: u8, item: P, out: &mut Outbox) -> Result<(), EncodeError>
    where
        F: Envelope,
    {
        let following = self.stream.following()?;
        let payload = item.as_bytes();
        put_head(&mut self.framing, payload.len(), ADDED_LEN, out)?;
        let tag = self.stream.tag(kind, payload).finalize().into_bytes();
        self.stream.sequence = following;
        out.put(&[kind]);
        item.put_into(out);
        out.put(&tag);
        self.framing.put_tail(out);
        Ok(())
    }
}

impl Stream {
    fn new(key: &[u8; 32], direction: u8) -> Stream {
        let label = match direction {
            FROM_CLIENT => "windlass sealed 1 client to server",
            _ => "windlass sealed 1 server to client",
        };
        let derived = keyed(key).chain_update(label).finalize().into_bytes();
        Stream {
            mac: keyed(&derived.into()),
            sequence: 0,
            direction,
            state: State::Open,
        }
    }

    /// The number behind that of the frame which is about to be sent.
    fn following(&self) -> Result<u64, EncodeError> {
        if self.state == State::Ended {
            return Err(EncodeError::Ended);
        }
        self.sequence.checked_add(1).ok_or(EncodeError::Exhausted)
    }

    #[inline]
    fn tag(&self, kind: u8, payload: &[u8]) -> Hmac<Sha256> {
        let mut front = [0; 10];
        front[0] = self.direction;
        front[1..9].copy_from_slice(&self.sequence.to_be_bytes());
        front[9] = kind;
        let mut mac = self.mac.clone();
        mac.update(&front);
        mac.update(payload);
        mac
    }

    /// What the framing found, if it is what the peer sent in this place.
    #[inline]
    fn open<'a, E>(&mut self, step: Result<Step<&'a [u8], E>, E>) -> Opened<'a, E> {
        let opened = match step {
            Ok(Step::Frame { frame, consumed }) => self.open_frame(frame, consumed),
            Ok(Step::Skip {
                consumed,
                report: None,
            }) => Ok(Step::Skip {
                consumed,
                report: None,
            }),
            Ok(Step::Skip {
                report: Some(error),
                ..
            })
            | Err(error) => Err(SealedError::Framing(error)),
            Ok(Step::More { needed }) => Ok(Step::More { needed }),
        };
        if opened.is_err() {
            self.state = State::Failed;
        }
        opened
    }

    fn open_frame<'a, E>(&mut self, frame: &'a [u8], consumed: usize) -> Opened<'a, E> {
        match self.state {
            State::Open => {}
            State::Ended => return Err(SealedError::AfterEnd),
            State::Failed => return Err(SealedError::Forged),
        }
        let following = self.sequence.checked_add(1);
        let following = following.ok_or(SealedError::Exhausted)?;
        let (kind, payload, tag) = frame
            .split_last_chunk::<DIGEST_LEN>()
            .and_then(|(front, tag)| front.split_first().map(|(kind, rest)| (*kind, rest, tag)))
            .ok_or(SealedError::Forged)?;
        // Compared in constant time.
        let verified = self.tag(kind, payload).verify_slice(tag);
        verified.map_err(|_| SealedError::Forged)?;
        self.sequence = following;
        match kind {
            DATA => Ok(Step::Frame {
                frame: payload,
                consumed,
            }),
            END if payload.is_empty() => {
                self.state = State::Ended;
                Ok(Step::Skip {
                    consumed,
                    report: None,
                })
            }
            _ => Err(SealedError::UnknownKind(kind)),
        }
    }

    /// No byte follows `rest`, in which no frame was found.
    fn open_eof<'a, E>(&mut self, rest: &[u8]) -> Opened<'a, E> {
        let error = match self.state {
            State::Ended if rest.is_empty() => return Ok(Step::More { needed: 0 }),
            State::Ended => SealedError::AfterEnd,
            State::Open => SealedError::Truncated,
            State::Failed => SealedError::Forged,
        };
        self.state = State::Failed;
        Err(error)
    }
}

type Opened<'a, E> = Result<Step<&'a [u8], SealedError<E>>, SealedError<E>>;

/// What makes tags with `key`.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key is filled up with zeros to the length of a block (RFC 2104, section 2).
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

impl<F> Decoder for Sealed<F>
where
    F: for<'a> Decoder<Frame<'a> = &'a [u8]> + 'static,
{
    type Frame<'a> = &'a [u8];
    type Error = SealedError<<F as Decoder>::Error>;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        match self.stream.state {
            State::Open => self.stream.open(self.framing.decode(input)),
            State::Ended | State::Failed => self.stream.open_eof(input),
        }
    }

    /// The end counts only if the peer has sealed it.
    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if self.stream.state != State::Open || input.is_empty() {
            return self.stream.open_eof(input);
        }
        match self.stream.open(self.framing.decode_eof(input)) {
            Ok(Step::More { .. }) => self.stream.open_eof(input),
            step => step,
        }
    }

    fn max_pending(&self) -> Option<usize> {
        self.framing.max_pending()
    }
}

impl<F: Envelope, P: Payload> Encoder<P> for Sealed<F> {
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        self.seal(DATA, item, out)
    }
}

impl<F: Envelope> Encoder<EndOfStream> for Sealed<F> {
    fn encode(&mut self, _: EndOfStream, out: &mut Outbox) -> Result<(), EncodeError> {
        self.seal(END, "", out)?;
        self.stream.state = State::Ended;
        Ok(())
    }
}

impl<F: fmt::Debug> fmt::Debug for Sealed<F> {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("framing", &self.framing)
            .field("sequence", &self.stream.sequence)
            .field("state", &self.stream.state)
            .finish_non_exhaustive()
    }
}

const FROM_CLIENT: u8 = 0;
const FROM_SERVER: u8 = 1;

const DATA: u8 = 0;
const END: u8 = 1;

/// Bytes of a frame that are not its payload: the kind and the tag.
const ADDED_LEN: usize = 1 + DIGEST_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::LengthPrefixed;

    #[test]
    fn no_sequence_number_is_used_twice() {
        let pair = |role| Sealed::pair(LengthPrefixed::default(), &[7; 32], role);
        let ((_, mut to_server), (mut from_client, _)) = (pair(Role::Client), pair(Role::Server));
        to_server.stream.sequence = u64::MAX - 1;
        from_client.stream.sequence = u64::MAX - 1;
        let last = to_server.encoded("last").expect("one is left");
        assert!(matches!(
            from_client.decode(&last),
            Ok(Step::Frame { frame: b"last", .. })
        ));
        assert_eq!(to_server.encoded("more"), Err(EncodeError::Exhausted));
        let end = to_server.encoded(EndOfStream);
        assert_eq!(end, Err(EncodeError::Exhausted));
        assert_eq!(from_client.decode(&last), Err(SealedError::Exhausted));
    }

    #[test]
    fn a_kind_of_tomorrow_is_authentic_and_refused() {
        let pair = |role| Sealed::pair(LengthPrefixed::default(), &[7; 32], role);
        let ((_, mut to_server), (mut from_client, _)) = (pair(Role::Client), pair(Role::Server));
        let mut out = Outbox::new();
        to_server.seal(2, "news", &mut out).expect("it fits");
        let error = from_client.decode(&out.to_vec()).expect_err("unknown");
        assert_eq!(error, SealedError::UnknownKind(2));
    }

    #[test]
    fn a_key_is_not_shown() {
        let (sealed, _) = Sealed::pair(LengthPrefixed::default(), &[7; 32], Role::Client);
        assert!(format!("{sealed:?}").ends_with("state: Open, .. }"));
    }
}
