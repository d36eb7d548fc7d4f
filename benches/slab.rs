//! Connections that come and go: slots, tokens, deadlines, the table of entries.
#![expect(missing_docs, reason = "what criterion_group! makes is public")]

mod common;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use windlass::{Echo, Raw};

use common::Rig;

/// One connection comes and goes beside many that stay.
fn churn(c: &mut Criterion) {
    let mut group = c.benchmark_group("connect and close");
    for staying in [0, 100, 10_000] {
        let mut rig = Rig::new(staying, Echo::<Raw>::default);
        group.bench_function(BenchmarkId::new("beside", staying), |b| {
            b.iter(|| {
                drop(rig.connect());
                rig.turn();
            });
        });
    }
    group.finish();
}

/// Many connections come and go at once.
fn burst(c: &mut Criterion) {
    c.bench_function("connect 1,000, then close them", |b| {
        let mut rig = Rig::new(0, Echo::<Raw>::default);
        b.iter(|| {
            let peers: Vec<_> = (0..1000).map(|_| rig.connect()).collect();
            drop(peers);
            rig.turn();
        });
    });
}

criterion_group!(benches, churn, burst);
criterion_main!(benches);
