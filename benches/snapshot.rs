//! What does a change cost to put in force, and does reading the snapshot cost more when there is more in it?

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::fmt::Write as _;
use std::fs::Permissions;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use scoregate::config::Config;
use scoregate::model::path::NormalPath;
use scoregate::model::time::UnixSeconds;
use scoregate::observe::metrics::Metrics;
use scoregate::snapshot::Snapshot;
use scoregate::snapshot::compile::{Sources, compile};
use scoregate::snapshot::inputs::Inputs;
use scoregate::snapshot::live;
use scoregate::store::Store;
use scoregate::store::state::State;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// As many services that Face's rules gate, each with a path of its own.
fn config(services: usize) -> Config {
    let mut text = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {contoso: {resource: /accounts/contoso}}
services:
"
    .to_owned();
    for number in 0..services {
        writeln!(
            text,
            "  s{number}: {{match: [{{prefix: /s{number}}}], upstream: model, features: {{preset: face}}, auth: {{key: {{accounts: [contoso]}}}}}}"
        )
        .expect("a string takes everything");
    }
    Config::read(&text).map_err(|problems| format!("{problems:?}")).expect("a configuration")
}

/// What an empty store holds once it has a signing key.
fn state(config: &Config) -> State {
    let mut private = tempfile::Builder::new();
    private.permissions(Permissions::from_mode(0o700));
    let directory = private.tempdir().expect("a directory");
    let mut store = config.store.clone();
    store.directory = directory.path().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&store).await.expect("a store");
        store.ensure_signing_key(config.tokens.algorithm, NOW).await.expect("a signing key");
        store.read().await.expect("what it holds")
    })
}

fn snapshots(c: &mut Criterion) {
    scoregate::tokens::install_crypto_provider();
    let mut group = c.benchmark_group("snapshot");
    for services in [10, 100, 1_000] {
        let config = config(services);
        let (state, inputs, metrics) = (state(&config), Inputs::default(), Metrics::new());
        let make = |previous: Option<&Snapshot>| {
            let sources =
                Sources { config: &config, inputs: &inputs, state: &state, previous, metrics: &metrics, now: NOW };
            Arc::new(compile(sources).expect("a snapshot").snapshot)
        };
        let first = make(None);
        group.bench_function(BenchmarkId::new("compile", services), |b| b.iter(|| make(None)));
        group.bench_function(BenchmarkId::new("compile again, nothing changed", services), |b| {
            b.iter(|| make(Some(black_box(&first))));
        });
        let (live, mut publisher) = live::publish_first(Arc::clone(&first));
        group.bench_function(BenchmarkId::new("swap", services), |b| {
            b.iter_batched(|| Arc::clone(&first), |next| publisher.publish(next), BatchSize::SmallInput);
        });
        let mut reader = live.reader();
        group.bench_function(BenchmarkId::new("read", services), |b| b.iter(|| reader.load().generation));
    }
    group.finish();
}

fn features(c: &mut Criterion) {
    let config = config(1);
    let rules = &config.services.values().next().expect("a service").feature_rules;
    let rules = scoregate::snapshot::features::FeatureRules::compile(rules);
    let mut group = c.benchmark_group("features");
    for (path, query) in [("/s0/score", ""), ("/face/v1.0/detect", "returnFaceId=true"), ("/face/v1.0/identify", "")] {
        let path = NormalPath::read(path).expect("a path");
        group.bench_function(BenchmarkId::new("needs", path.as_str()), |b| {
            b.iter(|| rules.needs(&Method::POST, black_box(&path), Some(query)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = snapshots, features
}
criterion_main!(benches);
