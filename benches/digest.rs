//! What digests in frames cost on top of the digests: `Checked` beside SHA-256, `Sealed` beside
//! HMAC-SHA-256 of the same bytes, in both directions.
//!
//! `cargo bench --features digest --bench digest` for time; with `-- ratios [ROUNDS]` only for that
//! of each kind over that of its bare digest, a minute long: all kinds take turns within a round,
//! the least of some tries counts, so that nobody else's work does, and what is told is the median
//! of the rounds. To count instructions, run its binary as `BINARY count KIND ROUNDS`, KIND being
//! one of `KINDS`: so many rounds of 16 messages of 16 KiB. Knows no network.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench has a clock; the rule is for the library"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use windlass::framing::{Checked, Decoder, Encoder, LengthPrefixed, Role, Sealed, Step};
use windlass::{LengthField, Outbox};

const MESSAGES: usize = 16;
const LENS: [usize; 4] = [64, 1024, 16 * 1024, 256 * 1024];
/// How long one try of one kind takes, about: less than what a core is had for at a time. And how
/// many there are in a round.
const TRY: Duration = Duration::from_millis(1);
const TRIES: usize = 100;
const KEY: [u8; 32] = [7; 32];
/// Each behind the bare digest of the same bytes: of one message again and again, or of messages
/// that lie one behind the other, as what is decoded does.
const KINDS: [&str; 8] = [
    "sha256",
    "checked/encode",
    "sha256/stream",
    "checked/decode",
    "hmac",
    "sealed/encode",
    "hmac/stream",
    "sealed/decode",
];

fn framing() -> LengthPrefixed {
    LengthPrefixed::new(LengthField::U32)
}

/// `MESSAGES` messages of `len` bytes, each time it is called.
fn rounds(kind: &str, len: usize) -> Box<dyn FnMut()> {
    let message = Bytes::from(vec![b'x'; len]);
    match kind {
        "sha256" => each(vec![message; MESSAGES], |message| {
            black_box(Sha256::digest(message));
        }),
        "sha256/stream" => each(one_behind_the_other(&message), |message| {
            black_box(Sha256::digest(message));
        }),
        "hmac" => each(vec![message; MESSAGES], hmac()),
        "hmac/stream" => each(one_behind_the_other(&message), hmac()),
        "checked/encode" => encoding(Checked::new(framing()), message),
        "sealed/encode" => encoding(Sealed::pair(framing(), &KEY, Role::Client).1, message),
        "checked/decode" => {
            let frames = Checked::new(framing());
            decoding(move || (frames, frames), &message)
        }
        "sealed/decode" => {
            let pair = Sealed::pair(framing(), &KEY, Role::Client);
            let peer = Sealed::pair(framing(), &KEY, Role::Server);
            decoding(move || (peer.0.clone(), pair.1.clone()), &message)
        }
        _ => panic!("one of {KINDS:?}"),
    }
}

fn each(messages: Vec<Bytes>, hash: impl Fn(&[u8]) + 'static) -> Box<dyn FnMut()> {
    Box::new(move || {
        for message in &messages {
            hash(black_box(message));
        }
    })
}

fn hmac() -> impl Fn(&[u8]) {
    let mac = Hmac::<Sha256>::new_from_slice(&KEY).expect("any length will do");
    move |message| {
        black_box(mac.clone().chain_update(message).finalize());
    }
}

fn one_behind_the_other(message: &[u8]) -> Vec<Bytes> {
    let mut stream = Bytes::from(message.repeat(MESSAGES));
    (0..MESSAGES)
        .map(|_| stream.split_to(message.len()))
        .collect()
}

/// Messages that are queued in an outbox of their own, by reference.
fn encoding<E>(mut encoder: E, message: Bytes) -> Box<dyn FnMut()>
where
    E: Encoder<Bytes> + 'static,
{
    Box::new(move || {
        let mut out = Outbox::new();
        for _ in 0..MESSAGES {
            let message = black_box(message.clone());
            encoder.encode(message, &mut out).expect("it fits");
        }
        black_box(out);
    })
}

fn decoding<C>(fresh: impl Fn() -> (C, C) + 'static, message: &Bytes) -> Box<dyn FnMut()>
where
    C: Decoder + Encoder<Bytes> + 'static,
{
    let (_, mut encoder) = fresh();
    let mut stream = Vec::new();
    for _ in 0..MESSAGES {
        stream.extend(encoder.encoded(message.clone()).expect("it fits"));
    }
    Box::new(move || {
        let (mut decoder, _) = fresh();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let Ok(Step::Frame { frame, consumed }) = decoder.decode(rest) else {
                unreachable!("the stream consists of frames");
            };
            black_box(frame);
            rest = &rest[consumed..];
        }
    })
}

/// How long `count` rounds take.
fn time(round: &mut dyn FnMut(), count: u32) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        round();
    }
    began.elapsed()
}

/// The least time of each kind, of several tries that take turns.
fn least(kinds: &mut [Box<dyn FnMut()>], count: u32) -> Vec<Duration> {
    let mut least = vec![Duration::MAX; kinds.len()];
    for _ in 0..TRIES {
        for (least, round) in least.iter_mut().zip(&mut *kinds) {
            *least = time(round, count).min(*least);
        }
    }
    least
}

/// The time of each kind over that of its bare digest.
fn print_ratios(rounds_count: usize) {
    println!("times the bare digest: median of {rounds_count} rounds (least to most)");
    for len in LENS {
        let mut kinds = KINDS.map(|kind| rounds(kind, len));
        let once = least(&mut kinds, 1)[0].max(Duration::from_nanos(1));
        let count = (TRY.as_nanos() / once.as_nanos()).clamp(1, 1_000_000) as u32;
        let mut ratios = vec![Vec::new(); KINDS.len()];
        for _ in 0..rounds_count {
            let took = least(&mut kinds, count);
            for (at, ratios) in ratios.iter_mut().enumerate() {
                let bare = took[at / 2 * 2];
                ratios.push(took[at].as_secs_f64() / bare.as_secs_f64());
            }
        }
        for (kind, ratios) in KINDS.iter().zip(&mut ratios) {
            ratios.sort_unstable_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[rounds_count - 1]);
            let median = ratios[rounds_count / 2];
            println!("{len:7} bytes  {kind:15} {median:.3} ({least:.3} to {most:.3})");
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, command, kind, count] = &args[..]
        && command == "count"
    {
        let mut round = rounds(kind, 16 * 1024);
        for _ in 0..count.parse().expect("a number of rounds") {
            round();
        }
        return;
    }
    if let [_, command, rest @ ..] = &args[..]
        && command == "ratios"
    {
        let rounds = rest.first().and_then(|rounds| rounds.parse().ok());
        return print_ratios(rounds.unwrap_or(15).max(1));
    }
    let mut criterion = Criterion::default().configure_from_args();
    for len in LENS {
        let mut group = criterion.benchmark_group(format!("{len} bytes"));
        group.throughput(Throughput::Bytes((MESSAGES * len) as u64));
        for kind in KINDS {
            let mut round = rounds(kind, len);
            group.bench_function(kind, |bencher| bencher.iter(&mut round));
        }
        group.finish();
    }
    criterion.final_summary();
}
