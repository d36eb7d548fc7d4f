//! What a frame costs: every framing decodes and encodes frames of 64 bytes.
//!
//! One iteration is 1,000 frames out of one buffer, or into one outbox. Knows no network.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use windlass::Outbox;
use windlass::framing::{
    Decoder, Delimited, Encoder, Fixed, LengthField, LengthPrefixed, Lines, Netstring, Step,
};

const FRAME: &[u8; 64] = &[b'x'; 64];
const FRAME_COUNT: u64 = 1000;

/// Measures one framing: `name/decode` and `name/encode`.
fn measure<C>(criterion: &mut Criterion, name: &str, mut codec: C)
where
    C: Decoder + for<'a> Encoder<&'a [u8]>,
{
    let mut encoded = Outbox::new();
    for _ in 0..FRAME_COUNT {
        encode(&mut codec, &mut encoded);
    }
    let stream = encoded.to_vec();

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(FRAME_COUNT));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_all(&mut codec, black_box(&stream)));
    });
    group.bench_function("encode", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut out = Outbox::new();
                out.with_buf(|buf| buf.reserve(stream.len()));
                out
            },
            |out| {
                for _ in 0..FRAME_COUNT {
                    encode(&mut codec, out);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn encode<C>(codec: &mut C, out: &mut Outbox)
where
    C: for<'a> Encoder<&'a [u8]>,
{
    let message: &[u8] = black_box(FRAME);
    codec
        .encode(message, out)
        .expect("the framing takes the message");
}

fn decode_all<D: Decoder>(decoder: &mut D, stream: &[u8]) {
    let mut rest = stream;
    while !rest.is_empty() {
        let Ok(Step::Frame { frame, consumed }) = decoder.decode(rest) else {
            unreachable!("the stream consists of frames");
        };
        black_box(frame);
        rest = &rest[consumed..];
    }
}

fn framings(criterion: &mut Criterion) {
    measure(criterion, "fixed", Fixed::<64>);
    measure(criterion, "lines", Lines::new());
    measure(criterion, "lines strict", Lines::strict());
    measure(criterion, "delimited by NUL", Delimited::by_byte(0));
    let two_bytes = Delimited::by("\r\n").expect("not empty");
    measure(criterion, "delimited by CR LF", two_bytes);
    let several = Delimited::by_any(["\r", "\n", "\r\n"]).expect("not empty");
    measure(criterion, "delimited by three", several);
    measure(criterion, "length U32", LengthPrefixed::default());
    let varint = LengthPrefixed::new(LengthField::Varint);
    measure(criterion, "length varint", varint);
    measure(criterion, "netstring", Netstring::new());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    framings(&mut criterion);
    criterion.final_summary();
}
