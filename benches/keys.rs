//! Do finding and replacing a key cost more when there are more of them?

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use scoregate::model::digest::Digest;
use scoregate::model::slot::Slot;
use scoregate::snapshot::keys::{KeyOwner, KeyRecord, KeyTable};

fn keys(count: u32) -> Vec<(Digest, KeyRecord)> {
    let record = |owner| KeyRecord { owner: KeyOwner::Service(owner), slot: Slot::Primary, expires: None };
    (0..count).map(|number| (Digest::of(&number.to_le_bytes()), record(number))).collect()
}

fn lookup_and_rotation(c: &mut Criterion) {
    let mut group = c.benchmark_group("keys");
    for count in [1_000, 100_000, 1_000_000] {
        let keys = keys(count);
        let table = KeyTable::default().with_changes(&[], &keys).expect("no key twice");
        let mut presented = keys.iter().step_by(7).cycle();
        group.bench_function(BenchmarkId::new("lookup", count), |b| {
            b.iter_batched_ref(
                || presented.next().expect("a cycle has no end").0,
                |digest| table.get(black_box(digest)).copied(),
                BatchSize::SmallInput,
            );
        });
        let unknown = Digest::of(b"unknown");
        group
            .bench_function(BenchmarkId::new("unknown", count), |b| b.iter(|| table.get(black_box(&unknown)).copied()));
        let next = Digest::of(b"the next key");
        group.bench_function(BenchmarkId::new("rotate one", count), |b| {
            b.iter(|| table.with_changes(&[keys[17].0], &[(next, keys[17].1)]));
        });
        group.bench_function(BenchmarkId::new("build", count), |b| {
            b.iter(|| KeyTable::default().with_changes(&[], black_box(&keys)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = lookup_and_rotation
}
criterion_main!(benches);
