//! Any `tokio_util::codec` decoder and encoder as a framing: feature `tokio-codec`.
//!
//! Knows the traits of that crate, none of its codecs, and nothing of an async runtime.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use tokio_util::codec;

use super::{Decoded, Decoder, EncodeError, Encoder, Step};
use crate::buffer::Outbox;

/// A codec written for `tokio_util`, as a [`Decoder`] and an [`Encoder`].
///
/// For what exists already. It costs a copy of all input, because such a codec wants to own it,
/// and a buffer for every message; a framing of this crate borrows instead.
///
/// ```text
/// what the connection shows | owed | mirrored        | new           |
/// what the codec was given  |      | left by it      |               |
///                              ^ taken by it, but not yet a frame
/// ```
///
/// Bytes that the codec takes become `consumed` when it returns a frame, so that a switch of
/// protocol in that frame's callback finds all bytes behind it. What it takes without returning a
/// frame (a header, or what it discards) is skipped but for one byte, which stays owed until
/// the frame comes: an unfinished frame at the end of the stream is partial because of it.
///
/// Some things that a codec may do elsewhere are different here:
///
/// - A frame needs at least one byte taken since the last frame; otherwise the connection ends as
///   with any decoder that consumes nothing. Only at the end of the stream one may be without.
/// - Every error is the last thing that the codec is asked. One that could go on, such as
///   `LinesCodec` behind a line that is too long, does not get to.
/// - The `decode_eof` that a codec has by default calls an unfinished frame an error, so that it is
///   told to `Protocol::on_malformed`, not to `Protocol::on_eof`.
/// - The limit of a frame is the codec's own, or `Limits::max_inbound` if that is less; and the
///   bytes are kept twice meanwhile.
/// - Why a message could not be encoded is logged; the caller gets [`EncodeError::Refused`].
///
/// ```
/// use tokio_util::codec::LengthDelimitedCodec;
/// use windlass::framing::{Decoder, Step, tokio_codec::Codec};
///
/// let mut frames = Codec::new(LengthDelimitedCodec::new());
/// let Step::Frame { frame, consumed } = frames.decode(b"\0\0\0\x02abcd")? else { panic!() };
/// assert_eq!((&frame[..], consumed), (&b"ab"[..], 6));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Codec<C> {
    codec: C,
    /// The input that the codec has left, as far as it was shown to us.
    mirrored: BytesMut,
    /// Bytes in front of it that the codec has taken, but that we have not reported as consumed.
    owed: usize,
}

impl<C> Codec<C> {
    /// Makes a framing of `codec`. It serves one direction of one connection.
    pub fn new(codec: C) -> Codec<C> {
        Codec {
            codec,
            mirrored: BytesMut::new(),
            owed: 0,
        }
    }

    /// Shows the codec what is new in `input`, lets it `decode`, and settles what it took.
    fn decode_with<'a, F, E>(
        &'a mut self,
        input: &'a [u8],
        decode: impl FnOnce(&mut C, &mut BytesMut) -> Result<Option<F>, E>,
    ) -> Result<Step<F, E>, E> {
        let new = &input[self.owed + self.mirrored.len()..];
        self.mirrored.extend_from_slice(new);
        let frame = decode(&mut self.codec, &mut self.mirrored)?;
        // Counted from what is left, because a codec may take bytes in any way it likes.
        let taken = input.len().checked_sub(self.mirrored.len());
        let taken = taken.expect("a codec takes bytes from its buffer and adds none");
        if self.mirrored.is_empty() {
            // An idle connection owns no buffer.
            self.mirrored = BytesMut::new();
        }
        Ok(match frame {
            Some(frame) => {
                self.owed = 0;
                Step::Frame {
                    frame,
                    consumed: taken,
                }
            }
            None if taken > 1 => {
                self.owed = 1;
                Step::Skip {
                    consumed: taken - 1,
                    report: None,
                }
            }
            None => {
                self.owed = taken;
                Step::More { needed: 0 }
            }
        })
    }
}

impl<C> Decoder for Codec<C>
where
    C: codec::Decoder,
    C::Error: Error + 'static,
{
    type Frame<'a>
        = C::Item
    where
        Self: 'a;
    type Error = C::Error;

    /// # Panics
    /// The codec adds bytes to its input.
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        self.decode_with(input, C::decode)
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        self.decode_with(input, C::decode_eof)
    }
}

impl<C, Item> Encoder<Item> for Codec<C>
where
    C: codec::Encoder<Item>,
    C::Error: fmt::Display,
{
    fn encode(&mut self, item: Item, out: &mut Outbox) -> Result<(), EncodeError> {
        // Not kept: a buffer of this kind never shrinks.
        let mut encoded = BytesMut::new();
        match self.codec.encode(item, &mut encoded) {
            Ok(()) => {
                out.put_shared(encoded.freeze());
                Ok(())
            }
            Err(error) => {
                log::debug!("a codec refused a message: {error}");
                Err(EncodeError::Refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio_util::codec::{BytesCodec, LengthDelimitedCodec, LinesCodec};

    use super::*;
    use crate::framing::testing::{Event, check_every_split, events};

    /// A codec that takes every byte on its own, remembers what it needs, and refuses `!`.
    #[derive(Default)]
    struct Words(Vec<u8>);

    #[derive(Debug, PartialEq, Eq)]
    struct Refused;

    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("refused")
        }
    }

    impl Error for Refused {}

    impl From<io::Error> for Refused {
        fn from(_: io::Error) -> Refused {
            Refused
        }
    }

    impl codec::Decoder for Words {
        type Item = Vec<u8>;
        type Error = Refused;

        fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Vec<u8>>, Refused> {
            while let Some(&byte) = input.first() {
                let _ = input.split_to(1);
                match byte {
                    b'!' => return Err(Refused),
                    b' ' => return Ok(Some(std::mem::take(&mut self.0))),
                    _ => self.0.push(byte),
                }
            }
            Ok(None)
        }
    }

    fn frame<E>(frame: &str) -> Event<Vec<u8>, E> {
        Event::Frame(frame.into())
    }

    #[test]
    fn a_codec_that_keeps_bytes_to_itself_gives_the_same_frames_however_the_input_is_cut() {
        let words = || Codec::new(Words::default());
        check_every_split(
            words,
            b"some words  ",
            &[frame("some"), frame("words"), frame("")],
        );
        check_every_split(words, b"a b!c", &[frame("a"), Event::Malformed(Refused)]);
        // One byte of what it has taken is owed.
        check_every_split(words, b"a bcd", &[frame("a"), Event::Partial(1)]);
    }

    #[test]
    fn what_is_taken_without_a_frame_is_skipped_but_for_one_byte() {
        let mut words = Codec::new(Words::default());
        let report = None;
        let consumed = 3;
        assert_eq!(words.decode(b"abcd"), Ok(Step::Skip { consumed, report }));
        assert_eq!(words.decode(b"d"), Ok(Step::More { needed: 0 }));
        let frame = b"abcdef".to_vec();
        let consumed = 4;
        assert_eq!(words.decode(b"def gh"), Ok(Step::Frame { frame, consumed }));
        let frame = b"gh".to_vec();
        let consumed = 3;
        assert_eq!(words.decode(b"gh "), Ok(Step::Frame { frame, consumed }));
    }

    #[test]
    fn bytes_behind_a_frame_are_not_consumed_with_it() {
        let mut lines = Codec::new(LinesCodec::new());
        let step = lines.decode(b"one\ntwo\nthree").expect("lines");
        let Step::Frame { frame, consumed } = step else {
            panic!("{step:?}")
        };
        assert_eq!((frame.as_str(), consumed), ("one", 4));
    }

    #[test]
    fn the_codecs_of_tokio_util_give_the_same_frames_however_the_input_is_cut() {
        let lines = b"one\r\ntwo\n\nlast";
        let lengths = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c";
        for cut in 0..lines.len().max(lengths.len()) {
            let codec = Codec::new(LinesCodec::new());
            let told: Vec<Event<String, _>> = events(codec, lines, &[cut.min(lines.len())]);
            let expected = r#"[Frame("one"), Frame("two"), Frame(""), Frame("last")]"#;
            assert_eq!(format!("{told:?}"), expected, "cut at {cut}");

            let codec = Codec::new(LengthDelimitedCodec::new());
            let told: Vec<Event<BytesMut, _>> = events(codec, lengths, &[cut.min(lengths.len())]);
            let expected = r#"[Frame(b"ab"), Frame(b""), Frame(b"c")]"#;
            assert_eq!(format!("{told:?}"), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_header_without_its_body_is_not_swallowed_at_the_end() {
        let codec = Codec::new(LengthDelimitedCodec::new());
        let told: Vec<Event<BytesMut, _>> = events(codec, b"\0\0\0\x05", &[]);
        assert!(matches!(told[..], [Event::Partial(1)]), "{told:?}");
    }

    #[test]
    fn a_decoder_with_nothing_left_owns_no_buffer() {
        let mut codec = Codec::new(BytesCodec::new());
        assert!(matches!(codec.decode(&[0; 10_000]), Ok(Step::Frame { .. })));
        assert_eq!(codec.mirrored.capacity(), 0);
    }

    #[test]
    fn a_message_is_encoded_by_the_codec_or_refused_by_it() {
        let mut out = Outbox::new();
        let mut codec = Codec::new(
            LengthDelimitedCodec::builder()
                .max_frame_length(3)
                .new_codec(),
        );
        let message = bytes::Bytes::from_static;
        assert_eq!(codec.encode(message(b"abc"), &mut out), Ok(()));
        let refused = Err(EncodeError::Refused);
        assert_eq!(codec.encode(message(b"abcd"), &mut out), refused);
        assert_eq!(out.to_vec(), b"\0\0\0\x03abc");
    }
}
