//! Output: encoding into the queue, and the whole way of a message through a reactor that runs on
//! the network in memory, whose own cost is in all of these figures alike.
#![expect(missing_docs, reason = "what criterion_group! makes is public")]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windlass::framing::{LengthPrefixed, Lines, Netstring, Raw};
use windlass::{Decoder, Echo, Encoder, Outbox};

use common::Rig;

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode 100 messages of 64 bytes");
    group.throughput(Throughput::Elements(100));
    group.bench_function("raw", |b| b.iter(|| encoded(&mut Raw)));
    group.bench_function("lines", |b| b.iter(|| encoded(&mut Lines::new())));
    let mut prefixed = LengthPrefixed::default();
    group.bench_function("length-prefixed", |b| b.iter(|| encoded(&mut prefixed)));
    let mut netstrings = Netstring::default();
    group.bench_function("netstrings", |b| b.iter(|| encoded(&mut netstrings)));
    group.finish();
}

fn encoded<E>(encoder: &mut E) -> usize
where
    E: for<'a> Encoder<&'a [u8]>,
{
    let mut out = Outbox::new();
    for _ in 0..100 {
        let encoded = encoder.encode(black_box(&[b'x'; 64][..]), &mut out);
        encoded.expect("it fits every framing");
    }
    out.len()
}

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo in memory, 64 connections");
    for len in [64, 4096] {
        group.throughput(Throughput::Elements(64));
        let mut line = vec![b'x'; len];
        line[len - 1] = b'\n';
        let mut prefixed = (len as u32 - 4).to_be_bytes().to_vec();
        prefixed.resize(len, b'x');
        let mut bench = |name: &str, mut rig: Rig, message: &[u8]| {
            let id = BenchmarkId::new(name, len);
            group.bench_function(id, |b| b.iter(|| rig.exchange(message)));
        };
        bench("raw", rig::<Raw>(), &line);
        bench("lines", rig::<Lines>(), &line);
        bench("length-prefixed", rig::<LengthPrefixed>(), &prefixed);
    }
    group.finish();
}

fn rig<C>() -> Rig
where
    C: Decoder + Default + 'static,
    for<'f> C: Encoder<C::Frame<'f>>,
{
    Rig::new(64, Echo::<C>::default)
}

criterion_group!(benches, encode, echo);
criterion_main!(benches);
