//! What digests in frames cost on top of the digests: `Checked` beside SHA-256, `Sealed` beside
//! HMAC-SHA-256 of the same bytes, in both directions.
//!
//! `cargo bench --features digest --bench digest` for time. To count instructions, run its binary
//! as `BINARY count KIND ROUNDS`, KIND being one of `KINDS`: so many rounds of 16 messages of
//! 16 KiB. Knows no network.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use windlass::framing::{Checked, Decoder, Encoder, LengthPrefixed, Role, Sealed, Step};
use windlass::{LengthField, Outbox};

const MESSAGES: usize = 16;
const KEY: [u8; 32] = [7; 32];
const KINDS: [&str; 6] = [
    "sha256",
    "checked/encode",
    "checked/decode",
    "hmac",
    "sealed/encode",
    "sealed/decode",
];

fn framing() -> LengthPrefixed {
    LengthPrefixed::new(LengthField::U32)
}

/// `MESSAGES` messages of `len` bytes, each time it is called.
fn rounds(kind: &str, len: usize) -> Box<dyn FnMut()> {
    let message = Bytes::from(vec![b'x'; len]);
    match kind {
        "sha256" => Box::new(move || {
            for _ in 0..MESSAGES {
                black_box(Sha256::digest(black_box(&message)));
            }
        }),
        "hmac" => {
            let mac = Hmac::<Sha256>::new_from_slice(&KEY).expect("any length will do");
            Box::new(move || {
                for _ in 0..MESSAGES {
                    let mac = mac.clone().chain_update(black_box(&message));
                    black_box(mac.finalize());
                }
            })
        }
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
    let mut criterion = Criterion::default().configure_from_args();
    for len in [64, 1024, 16 * 1024, 256 * 1024] {
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
