//! Frames with digests: published vectors, what a stream survives, and every attack on it by name.
//!
//! The attacker knows the framing and everything that was sent, but no key.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use proptest::collection::vec;
use proptest::prelude::*;
use windlass::framing::testing::{Event, check_every_split, events};
use windlass::framing::{
    Checked, EndOfStream, LengthPrefixed, LengthPrefixedError, Netstring, Role, Sealed, SealedError,
};
use windlass::{Decoder, Encoder, LengthField, Outbox, Step};

#[path = "digest/vectors.rs"]
mod vectors;

type Frames = Sealed<LengthPrefixed>;
type Heard = Event<Vec<u8>, SealedError<LengthPrefixedError>>;

const KEY: [u8; 32] = [7; 32];
const MESSAGES: [&[u8]; 4] = [b"open the door", b"", b"wait", b"close the door"];

fn framing() -> LengthPrefixed {
    LengthPrefixed::new(LengthField::U16)
}

fn pair(key: &[u8; 32], role: Role) -> (Frames, Frames) {
    Sealed::pair(framing(), key, role)
}

/// What the server trusts a client with.
fn server() -> Frames {
    pair(&KEY, Role::Server).0
}

/// Each frame that a client of this key sends for `MESSAGES`, and the end of the stream.
fn sent(key: &[u8; 32], role: Role) -> Vec<Vec<u8>> {
    let (_, mut sealing) = pair(key, role);
    let mut frames: Vec<_> = MESSAGES
        .iter()
        .map(|message| sealing.encoded(*message).unwrap().to_vec())
        .collect();
    frames.push(sealing.encoded(EndOfStream).unwrap().to_vec());
    frames
}

fn delivered(count: usize) -> Vec<Heard> {
    let frames = MESSAGES[..count].iter();
    frames.map(|frame| Event::Frame(frame.to_vec())).collect()
}

/// What the server hears is the first `count` messages, and then that something is wrong.
#[track_caller]
fn check_stops(stream: &[u8], count: usize, error: SealedError<LengthPrefixedError>) {
    let mut expected = delivered(count);
    expected.push(Event::Malformed(error));
    let heard: Vec<Heard> = events(server(), stream, &[]);
    assert_eq!(heard, expected);
    let every_byte: Vec<usize> = (1..stream.len()).collect();
    let heard: Vec<Heard> = events(server(), stream, &every_byte);
    assert_eq!(heard, expected, "byte by byte");
}

/// Whether the messages that were heard are the first ones, in order, and the end is not: the
/// stream is known not to be what was sent.
#[track_caller]
fn check_is_noticed(stream: &[u8], what: impl std::fmt::Debug) {
    let heard: Vec<Heard> = events(server(), stream, &[]);
    let (last, frames) = heard.split_last().expect("the end is always told");
    assert!(matches!(last, Event::Malformed(_)), "{what:?}: {heard:?}");
    assert_eq!(frames, &delivered(frames.len())[..], "{what:?}");
}

#[test]
fn an_untouched_stream_arrives_whole_however_it_is_cut() {
    let mut frames = sent(&KEY, Role::Client);
    let stream = frames.concat();
    let every_byte: Vec<usize> = (1..stream.len()).collect();
    let heard: Vec<Heard> = events(server(), &stream, &every_byte);
    assert_eq!(heard, delivered(4));
    // All pairs of cuts: the cost is the cube of the length.
    let end = frames.pop().unwrap();
    let (_, mut sealing) = pair(&KEY, Role::Client);
    let mut short = sealing.encoded(MESSAGES[0]).unwrap().to_vec();
    short.extend(sealing.encoded(EndOfStream).unwrap());
    assert_eq!(end.len(), 2 + 1 + 32);
    check_every_split(server, &short, &delivered(1));
}

#[test]
fn both_directions_are_sealed_over_any_framing_with_lengths() {
    let of = |role| Sealed::pair(Netstring::new(), &KEY, role);
    let ((mut from_server, mut to_server), (mut from_client, mut to_client)) =
        (of(Role::Client), of(Role::Server));
    for round in 0..3_u8 {
        let question = to_server.encoded(&[round, 0]).unwrap();
        let answer = to_client.encoded(&[round, 1]).unwrap();
        let heard = from_client.decode(&question).unwrap();
        assert!(matches!(heard, Step::Frame { frame, .. } if frame == [round, 0]));
        let heard = from_server.decode(&answer).unwrap();
        assert!(matches!(heard, Step::Frame { frame, .. } if frame == [round, 1]));
    }
}

#[test]
fn attack_flip_of_any_bit() {
    let stream = sent(&KEY, Role::Client).concat();
    for bit in 0..8 * stream.len() {
        let mut forged = stream.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        check_is_noticed(&forged, bit);
    }
}

#[test]
fn attack_cut_at_every_byte() {
    let frames = sent(&KEY, Role::Client);
    let stream = frames.concat();
    for cut in 0..stream.len() {
        let mut whole = 0;
        let mut len = 0;
        while len + frames[whole].len() <= cut {
            len += frames[whole].len();
            whole += 1;
        }
        check_stops(&stream[..cut], whole, SealedError::Truncated);
    }
}

#[test]
fn attack_replay() {
    let frames = sent(&KEY, Role::Client);
    for at in 0..MESSAGES.len() {
        for again in 0..=at {
            let mut stream = frames[..=at].concat();
            stream.extend_from_slice(&frames[again]);
            check_stops(&stream, at + 1, SealedError::Forged);
        }
    }
}

#[test]
fn attack_reorder() {
    let frames = sent(&KEY, Role::Client);
    for first in 0..frames.len() {
        for second in first + 1..frames.len() {
            let mut swapped = frames.clone();
            swapped.swap(first, second);
            check_stops(&swapped.concat(), first, SealedError::Forged);
        }
    }
}

#[test]
fn attack_drop() {
    let frames = sent(&KEY, Role::Client);
    for dropped in 0..MESSAGES.len() {
        let mut left = frames.clone();
        left.remove(dropped);
        check_stops(&left.concat(), dropped, SealedError::Forged);
    }
}

#[test]
fn attack_reflection() {
    // The server's own frames, sent back to it.
    let reflected = sent(&KEY, Role::Server);
    for (count, frame) in reflected.iter().enumerate() {
        let mut stream = sent(&KEY, Role::Client)[..count].concat();
        stream.extend_from_slice(frame);
        check_stops(&stream, count, SealedError::Forged);
    }
}

#[test]
fn attack_splice() {
    // The same messages, in the same places of another connection, with a key of its own.
    let other = sent(&[8; 32], Role::Client);
    let frames = sent(&KEY, Role::Client);
    for at in 0..frames.len() {
        let stream = [frames[..at].concat(), other[at..].concat()].concat();
        check_stops(&stream, at, SealedError::Forged);
    }
    // One frame's front with another one's back.
    for at in 1..frames[0].len() {
        let stream = [&frames[0][..at], &frames[3][frames[3].len() - at..]].concat();
        check_is_noticed(&stream, at);
    }
}

#[test]
fn attack_bytes_behind_the_end() {
    let frames = sent(&KEY, Role::Client);
    for more in [&frames[0][..], &frames[4][..], b"\0"] {
        let stream = [&frames.concat()[..], more].concat();
        check_stops(&stream, 4, SealedError::AfterEnd);
    }
}

#[test]
fn attack_an_end_in_another_place() {
    let frames = sent(&KEY, Role::Client);
    for at in 0..MESSAGES.len() {
        let stream = [frames[..at].concat(), frames[4].clone()].concat();
        check_stops(&stream, at, SealedError::Forged);
    }
    // And a message that is turned into an end: its kind is authenticated.
    let mut turned = frames[1].clone();
    turned[2] = 1;
    let stream = [&frames[0][..], &turned].concat();
    check_stops(&stream, 1, SealedError::Forged);
}

#[test]
fn attack_frames_without_a_tag() {
    for len in 0..33_u8 {
        let stream = [&[0, len][..], &vec![0; usize::from(len)]].concat();
        check_stops(&stream, 0, SealedError::Forged);
    }
}

#[test]
fn after_an_error_nothing_is_delivered_whatever_comes() {
    let mut frames = sent(&KEY, Role::Client);
    frames[0][4] ^= 1;
    let mut opening = server();
    assert_eq!(opening.decode(&frames[0]), Err(SealedError::Forged));
    frames[0][4] ^= 1;
    for frame in &frames {
        assert_eq!(opening.decode(frame), Err(SealedError::Forged));
    }
    assert_eq!(opening.decode_eof(b""), Err(SealedError::Forged));
}

#[test]
fn a_frame_that_the_framing_would_skip_is_missed() {
    let skipping = framing().with_max_len(40).skip_oversized();
    let (mut opening, _) = Sealed::pair(skipping, &KEY, Role::Server);
    let error = opening.decode(&sent(&KEY, Role::Client)[0]).unwrap_err();
    let expected = LengthPrefixedError::TooLong { len: 46, limit: 40 };
    assert_eq!(error, SealedError::Framing(expected));
}

#[test]
fn a_sealed_frame_costs_no_allocation_but_the_queue() {
    let (mut opening, _) = pair(&KEY, Role::Server);
    let (_, mut sealing) = pair(&KEY, Role::Client);
    let mut checking = Checked::new(framing());
    let message = [1; 1000];
    let mut out = Outbox::new();
    out.with_buf(|buf| buf.reserve(100_000));
    let measured = allocation_counter::measure(|| {
        for _ in 0..10 {
            sealing.encode(&message, &mut out).unwrap();
            checking.encode(&message, &mut out).unwrap();
        }
    });
    assert_eq!(measured.count_total, 0);
    let stream = out.to_vec();
    let measured = allocation_counter::measure(|| {
        let mut rest = &stream[..];
        while !rest.is_empty() {
            for _ in 0..10 {
                let Ok(Step::Frame { consumed, .. }) = opening.decode(rest) else {
                    panic!("it is authentic");
                };
                rest = &rest[consumed..];
                let Ok(Step::Frame { consumed, .. }) = checking.decode(rest) else {
                    panic!("it is whole");
                };
                rest = &rest[consumed..];
            }
        }
    });
    assert_eq!(measured.count_total, 0);
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_in_order(
        messages in vec(vec(any::<u8>(), 0..300), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        key in any::<[u8; 32]>(),
    ) {
        let (_, mut sealing) = pair(&key, Role::Server);
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend(sealing.encoded(message).unwrap());
        }
        stream.extend(sealing.encoded(EndOfStream).unwrap());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        let heard: Vec<Heard> = events(pair(&key, Role::Client).0, &stream, &cuts);
        let expected: Vec<Heard> = messages.into_iter().map(Event::Frame).collect();
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn no_stream_put_together_of_what_was_sent_is_taken_for_another(
        parts in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
        other in any::<bool>(),
    ) {
        let whole = sent(&KEY, Role::Client).concat();
        let foreign = sent(if other { &[8; 32] } else { &KEY }, Role::Server).concat();
        let source = [&whole[..], &foreign].concat();
        let mut stream = Vec::new();
        for (from, to) in parts {
            let (from, to) = (from.index(source.len()), to.index(source.len()));
            stream.extend_from_slice(&source[from.min(to)..from.max(to)]);
        }
        if stream != whole {
            check_is_noticed(&stream, ());
        }
    }

    #[test]
    fn what_is_no_stream_at_all_is_refused(stream in vec(any::<u8>(), 0..400)) {
        let heard: Vec<Heard> = events(server(), &stream, &[]);
        prop_assert!(matches!(heard[..], [Event::Malformed(_)]));
    }
}
