//! Timers, as protocols use them: put off with every message, firing again and again, and the
//! idle time-outs that every connection has anyway.
#![expect(missing_docs, reason = "what criterion_group! makes is public")]

mod common;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windlass::{Context, Echo, Protocol, Raw, TimerId};

use common::Rig;

/// Puts off a timer with every message.
#[derive(Default)]
struct Watchdog {
    timer: Option<TimerId>,
}

impl Protocol for Watchdog {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
        self.timer = cx.set_timer(Duration::from_secs(100));
        cx.send(bytes);
    }
}

/// Does nothing, every ten milliseconds.
struct Metronome;

impl Protocol for Metronome {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        cx.set_interval(Duration::from_millis(10));
    }

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}
}

fn put_off(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo in memory, 64 connections");
    group.throughput(Throughput::Elements(64));
    let mut plain = Rig::new(64, Echo::<Raw>::default);
    group.bench_function("no timer", |b| b.iter(|| plain.exchange(&[b'x'; 64])));
    let mut watched = Rig::new(64, Watchdog::default);
    group.bench_function("a timer put off", |b| {
        b.iter(|| watched.exchange(&[b'x'; 64]));
    });
    group.finish();
}

fn fire(c: &mut Criterion) {
    let mut group = c.benchmark_group("intervals that fire");
    for count in [100, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        let mut rig = Rig::new(count, || Metronome);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                rig.memory.advance(Duration::from_millis(10));
                rig.turn();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, put_off, fire);
criterion_main!(benches);
