//! Every framing against a naive reading of the whole stream, on pseudo-random streams, limits
//! and splits; and back: what was encoded is decoded again.
//!
//! The naive readers know the whole stream and nothing of splits. They are written to be obvious,
//! from the tables in the documentation, not from the code.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use windlass::Outbox;
use windlass::framing::testing::{Event, events};
use windlass::framing::{
    Decoder, Delimited, DelimitedError, EncodeError, Encoder, Fixed, LengthField, LengthPrefixed,
    LengthPrefixedError, Lines, LinesError, Netstring, NetstringError,
};

type Events<E> = Vec<Event<Vec<u8>, E>>;

/// What a naive reader finds at the beginning of what is left of the stream.
enum Naive<E> {
    Frame(Vec<u8>, usize),
    /// An oversized frame of so many bytes, or of more than there are.
    Oversized(E, usize),
    Malformed(E),
    Unfinished,
}

/// Reads the whole stream, frame by frame.
fn read_naively<E>(mut rest: &[u8], skips: bool, read: impl Fn(&[u8]) -> Naive<E>) -> Events<E> {
    let mut events = Vec::new();
    while !rest.is_empty() {
        let len = match read(rest) {
            Naive::Frame(frame, len) => {
                events.push(Event::Frame(frame));
                len
            }
            Naive::Oversized(error, len) if skips => {
                events.push(Event::Skipped(error));
                len
            }
            Naive::Oversized(error, _) | Naive::Malformed(error) => {
                events.push(Event::Malformed(error));
                return events;
            }
            Naive::Unfinished => {
                events.push(Event::Partial(rest.len()));
                return events;
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    events
}

fn read_line(rest: &[u8], limit: usize) -> Naive<LinesError> {
    let too_long = LinesError::TooLong { limit };
    match rest.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = &rest[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > limit {
                Naive::Oversized(too_long, end + 1)
            } else {
                Naive::Frame(line.to_vec(), end + 1)
            }
        }
        // Beyond the limit, a CR may still be the beginning of the line's end.
        None if rest.len() > limit + 1 || (rest.len() > limit && !rest.ends_with(b"\r")) => {
            Naive::Oversized(too_long, rest.len())
        }
        None => Naive::Unfinished,
    }
}

fn read_strict_line(rest: &[u8], limit: usize) -> Naive<LinesError> {
    let Some(end) = rest.iter().position(|byte| b"\r\n".contains(byte)) else {
        return if rest.len() > limit {
            Naive::Oversized(LinesError::TooLong { limit }, rest.len())
        } else {
            Naive::Unfinished
        };
    };
    if end > limit {
        return Naive::Oversized(LinesError::TooLong { limit }, end + 2);
    }
    match (rest[end], rest.get(end + 1)) {
        (b'\n', _) => Naive::Malformed(LinesError::BareLineFeed),
        (_, Some(b'\n')) => Naive::Frame(rest[..end].to_vec(), end + 2),
        (_, Some(_)) => Naive::Malformed(LinesError::BareCarriageReturn),
        (_, None) => Naive::Unfinished,
    }
}

fn read_delimited(rest: &[u8], delimiters: &[&[u8]], limit: usize) -> Naive<DelimitedError> {
    for start in 0..rest.len() {
        let here = delimiters.iter().filter(|d| rest[start..].starts_with(d));
        if let Some(longest) = here.map(|delimiter| delimiter.len()).max() {
            let len = start + longest;
            return if start > limit {
                Naive::Oversized(DelimitedError::TooLong { limit }, len)
            } else {
                Naive::Frame(rest[..start].to_vec(), len)
            };
        }
    }
    if rest.len() > limit {
        Naive::Oversized(DelimitedError::TooLong { limit }, rest.len())
    } else {
        Naive::Unfinished
    }
}

fn read_netstring(rest: &[u8], skips: bool, limit: usize) -> Naive<NetstringError> {
    let too_long = NetstringError::TooLong { limit };
    let digits_len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = std::str::from_utf8(&rest[..digits_len]).expect("digits are text");
    if digits_len > 1 && digits.starts_with('0') {
        return Naive::Malformed(NetstringError::LeadingZero);
    }
    let len: u64 = match digits {
        "" => 0,
        digits => digits.parse().unwrap_or(u64::MAX),
    };
    if digits_len > 19 || (len > limit as u64 && !skips) {
        return Naive::Malformed(too_long);
    }
    match rest.get(digits_len) {
        None => Naive::Unfinished,
        Some(b':') if digits_len > 0 => {
            let start = digits_len + 1;
            let end = start + usize::try_from(len).expect("64 bits");
            match rest.get(end) {
                _ if len > limit as u64 => Naive::Oversized(too_long, end),
                None => Naive::Unfinished,
                Some(b',') => Naive::Frame(rest[start..end].to_vec(), end + 1),
                Some(_) => Naive::Malformed(NetstringError::MissingComma),
            }
        }
        Some(_) => Naive::Malformed(NetstringError::InvalidLength),
    }
}

/// How the bytes of a length-prefixed frame are arranged.
#[derive(Clone, Copy, Debug)]
struct Layout {
    field: LengthField,
    is_little_endian: bool,
    offset: u16,
    adjustment: i64,
    keeps_header: bool,
}

fn read_length_prefixed(rest: &[u8], layout: Layout, limit: usize) -> Naive<LengthPrefixedError> {
    let offset = usize::from(layout.offset);
    let field = rest.get(offset..).unwrap_or_default();
    let width = match layout.field {
        LengthField::U8 => 1,
        LengthField::U16 => 2,
        LengthField::U24 => 3,
        LengthField::U32 => 4,
        LengthField::U64 => 8,
        _ => match field.iter().position(|byte| byte & 0x80 == 0) {
            Some(last) => last + 1,
            None => return Naive::Unfinished,
        },
    };
    let Some(field) = field.get(..width) else {
        return Naive::Unfinished;
    };
    let is_varint = layout.field == LengthField::Varint;
    if is_varint && width > 1 && field[width - 1] == 0 {
        return Naive::Malformed(LengthPrefixedError::VarintOverlong);
    }
    let base = if is_varint { 128 } else { 256 };
    let mut bytes: Vec<u8> = field.to_vec();
    if layout.is_little_endian || is_varint {
        bytes.reverse();
    }
    let value = bytes
        .iter()
        .fold(0, |sum: i128, &byte| sum * base + i128::from(byte) % base);
    let adjusted = value + i128::from(layout.adjustment);
    let Ok(len) = u64::try_from(adjusted) else {
        return Naive::Malformed(LengthPrefixedError::Impossible {
            value: value as u64,
            adjustment: layout.adjustment,
        });
    };
    let start = offset + width;
    if len > limit as u64 {
        let end = u64::try_from(start).expect("64 bits").saturating_add(len);
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        return Naive::Oversized(LengthPrefixedError::TooLong { len, limit }, end);
    }
    let end = start + usize::try_from(len).expect("within the limit");
    let from = if layout.keeps_header { 0 } else { start };
    match rest.get(from..end) {
        Some(frame) => Naive::Frame(frame.to_vec(), end),
        None => Naive::Unfinished,
    }
}

/// A stream made of words, so that delimiters, and halves of them, are frequent.
fn stream_of(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    vec(select(words), 0..40).prop_map(|words| words.concat().into_bytes())
}

/// Positions at which a stream of up to `len` bytes is cut.
fn cuts(len: usize) -> impl Strategy<Value = Vec<usize>> {
    (0..len).prop_flat_map(move |count| subsequence((0..=len).collect::<Vec<_>>(), count))
}

fn layouts() -> impl Strategy<Value = Layout> {
    use LengthField::{U8, U16, U24, U32, U64, Varint};
    let fields = select(vec![U8, U16, U24, U32, U64, Varint]);
    (fields, any::<bool>(), 0..4_u16, -5..6_i64, any::<bool>()).prop_map(
        |(field, is_little_endian, offset, adjustment, keeps_header)| Layout {
            field,
            is_little_endian,
            offset,
            adjustment,
            keeps_header,
        },
    )
}

fn length_prefixed(layout: Layout, limit: usize) -> LengthPrefixed {
    let mut frames = LengthPrefixed::new(layout.field)
        .with_offset(layout.offset)
        .with_adjustment(layout.adjustment)
        .with_max_len(limit);
    if layout.is_little_endian {
        frames = frames.little_endian();
    }
    if layout.keeps_header {
        frames = frames.keep_header();
    }
    frames
}

/// What comes out of `decoder`, whatever of `cuts` lies within `input`.
fn decode<D>(decoder: D, input: &[u8], cuts: &[usize]) -> Events<D::Error>
where
    D: Decoder + 'static,
    for<'a> D::Frame<'a>: Into<Vec<u8>>,
{
    let cuts: Vec<usize> = cuts
        .iter()
        .copied()
        .filter(|&cut| cut <= input.len())
        .collect();
    events(decoder, input, &cuts)
}

/// Encodes the messages that the framing takes, and decodes them again.
#[track_caller]
fn check_round_trip<C>(mut encoder: C, decoder: C, messages: &[Vec<u8>], cuts: &[usize])
where
    C: Decoder<Error: PartialEq> + for<'a> Encoder<&'a [u8]> + 'static,
    for<'a> C::Frame<'a>: Into<Vec<u8>>,
{
    let mut out = Outbox::new();
    let mut expected = Vec::new();
    for message in messages {
        let before_len = out.len();
        match encoder.encode(message, &mut out) {
            Ok(()) => expected.push(Event::Frame(message.clone())),
            Err(_) => assert_eq!(out.len(), before_len, "nothing is appended"),
        }
    }
    assert_eq!(decode(decoder, &out.to_vec(), cuts), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_what_a_naive_reader_finds(
        input in stream_of(&["a", "bc", "\r", "\n", "\r\n", "defgh"]),
        cuts in cuts(80),
        limit in 0..9_usize,
        skips: bool,
    ) {
        let mut lines = Lines::new().with_max_len(limit);
        if skips {
            lines = lines.skip_oversized();
        }
        let expected = read_naively(&input, skips, |rest| read_line(rest, limit));
        prop_assert_eq!(decode(lines, &input, &cuts), expected);
    }

    #[test]
    fn strict_lines_are_what_a_naive_reader_finds(
        input in stream_of(&["a", "bc", "\r\n", "\r\n", "\r\n", "defgh", "\r", "\n"]),
        cuts in cuts(80),
        limit in 0..9_usize,
    ) {
        let lines = Lines::strict().with_max_len(limit);
        let expected = read_naively(&input, false, |rest| read_strict_line(rest, limit));
        prop_assert_eq!(decode(lines, &input, &cuts), expected);
    }

    #[test]
    fn strict_lines_skip_what_a_naive_reader_skips(
        input in stream_of(&["a", "bc", "\r\n", "defgh"]),
        cuts in cuts(80),
        limit in 0..9_usize,
    ) {
        let lines = Lines::strict().with_max_len(limit).skip_oversized();
        let expected = read_naively(&input, true, |rest| read_strict_line(rest, limit));
        prop_assert_eq!(decode(lines, &input, &cuts), expected);
    }

    #[test]
    fn delimited_frames_are_what_a_naive_reader_finds(
        input in stream_of(&["a", "b", "c", "ab", "abc", "x", "yy"]),
        delimiters in vec(select(&["a", "ab", "abc", "bc", "cab", "b", "xx", "yx", "c"][..]), 1..5),
        cuts in cuts(80),
        limit in 0..9_usize,
        skips: bool,
    ) {
        let mut frames = Delimited::by_any(&delimiters).expect("not empty").with_max_len(limit);
        if skips {
            frames = frames.skip_oversized();
        }
        let delimiters: Vec<&[u8]> = delimiters.iter().map(|text| text.as_bytes()).collect();
        let expected = read_naively(&input, skips, |rest| read_delimited(rest, &delimiters, limit));
        prop_assert_eq!(decode(frames, &input, &cuts), expected);
    }

    #[test]
    fn netstrings_are_what_a_naive_reader_finds(
        input in stream_of(&["0:,", "1:a,", "3:abc,", "2:,,,", "5:abcde,", "11:abcdefghijk,"]),
        garbage in stream_of(&["0", "1", "3", ":", ",", "a"]),
        cuts in cuts(120),
        limit in 0..20_usize,
    ) {
        let frames = Netstring::new().with_max_len(limit);
        let input = [input, garbage].concat();
        let expected = read_naively(&input, false, |rest| read_netstring(rest, false, limit));
        prop_assert_eq!(decode(frames, &input, &cuts), expected);
    }

    #[test]
    fn netstrings_skip_what_a_naive_reader_skips(
        input in stream_of(&["0:,", "1:a,", "3:abc,", "2:,,,", "5:abcde,", "11:abcdefghijk,"]),
        cuts in cuts(120),
        limit in 0..20_usize,
    ) {
        let frames = Netstring::new().with_max_len(limit).skip_oversized();
        let read = |rest: &[u8]| match read_netstring(rest, true, limit) {
            // All commas of this stream stand where they are due.
            Naive::Oversized(error, end) => Naive::Oversized(error, end + 1),
            other => other,
        };
        prop_assert_eq!(decode(frames, &input, &cuts), read_naively(&input, true, read));
    }

    #[test]
    fn length_prefixed_frames_are_what_a_naive_reader_finds(
        input in vec(prop_oneof![5 => 0..4_u8, 1 => any::<u8>()], 0..80),
        layout in layouts(),
        cuts in cuts(80),
        limit in 0..300_usize,
        skips: bool,
    ) {
        let mut frames = length_prefixed(layout, limit);
        if skips {
            frames = frames.skip_oversized();
        }
        let read = |rest: &[u8]| read_length_prefixed(rest, layout, limit);
        prop_assert_eq!(decode(frames, &input, &cuts), read_naively(&input, skips, read));
    }

    #[test]
    fn fixed_frames_are_chunks(input in vec(any::<u8>(), 0..80), cuts in cuts(80)) {
        let mut chunks = input.chunks_exact(7);
        let mut expected: Events<_> = chunks.by_ref().map(|c| Event::Frame(c.to_vec())).collect();
        if !chunks.remainder().is_empty() {
            expected.push(Event::Partial(chunks.remainder().len()));
        }
        prop_assert_eq!(decode(Fixed::<7>, &input, &cuts), expected);
    }

    #[test]
    fn every_message_that_lines_and_netstrings_take_arrives_as_it_was_sent(
        messages in vec(stream_of(&["a", "bcd", "\r", "\n", ",", ":"]), 0..6),
        cuts in cuts(80),
    ) {
        for lines in [Lines::new(), Lines::new().with_crlf(), Lines::strict()] {
            let lines = lines.with_max_len(30);
            check_round_trip(lines, lines, &messages, &cuts);
        }
        let netstrings = Netstring::new().with_max_len(30);
        check_round_trip(netstrings, netstrings, &messages, &cuts);
    }

    #[test]
    fn every_message_that_delimited_takes_arrives_as_it_was_sent(
        messages in vec(vec(select(&b"abcx"[..]), 0..4), 0..9),
        delimiters in vec(select(&["a", "ab", "abc", "bc", "cab", "bb", "xx", "bxa"][..]), 1..5),
        cuts in cuts(80),
    ) {
        let frames = Delimited::by_any(delimiters).expect("not empty");
        check_round_trip(frames.clone(), frames, &messages, &cuts);
    }

    #[test]
    fn every_message_that_length_prefixed_takes_arrives_as_it_was_sent(
        messages in vec(vec(any::<u8>(), 0..300), 0..6),
        layout in layouts(),
        cuts in cuts(400),
    ) {
        // Bytes in front of the length are stripped if the header is, so without them only.
        let offset = if layout.keeps_header { layout.offset } else { 0 };
        let frames = length_prefixed(Layout { offset, ..layout }, 290);
        check_round_trip(frames, frames, &messages, &cuts);
    }

    #[test]
    fn a_frame_can_be_sent_again_as_it_came(
        input in vec(0..4_u8, 0..80),
        layout in layouts(),
    ) {
        let offset = if layout.keeps_header { layout.offset } else { 0 };
        let frames = length_prefixed(Layout { offset, ..layout }, 100);
        let mut out = Outbox::new();
        let mut partial_len = 0;
        for event in decode(frames, &input, &[]) {
            match event {
                Event::Frame(frame) => {
                    let sent: Result<(), EncodeError> = frames.clone().encode(frame, &mut out);
                    prop_assert_eq!(sent, Ok(()));
                }
                Event::Partial(len) => partial_len = len,
                Event::Skipped(_) | Event::Malformed(_) => return Ok(()),
            }
        }
        prop_assert_eq!(&out.to_vec()[..], &input[..input.len() - partial_len]);
    }
}
