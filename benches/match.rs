//! What does it cost to find a request's service, and more when there are more of them?

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use scoregate::config::{HostMatch, Match, PathMatch};
use scoregate::model::host::Host;
use scoregate::model::path::{NormalPath, PathTemplate};
use scoregate::snapshot::routes::RouteTable;

fn template(text: &str) -> PathTemplate {
    PathTemplate::parse(text).expect("a template")
}

/// Services as Azure ML names them, and one behind everything else.
fn services(count: usize) -> Vec<Match> {
    let any = |path| Match { host: HostMatch::Any, path, methods: Vec::new() };
    let one = |number| any(PathMatch::Prefix(template(&format!("/api/v1/service/model-{number}"))));
    (0..count).map(one).chain([any(PathMatch::Prefix(template("/")))]).collect()
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    for text in ["scoring.example.com:8080", "Scoring.Example.com", "10.0.0.1:8080"] {
        group.bench_function(BenchmarkId::new("host", text), |b| b.iter(|| Host::read(black_box(text))));
    }
    for text in ["/score", "/api/v1/service/model-5000/score", "/files/a%20b", "/files/%61", "/files/a%2Fb"] {
        group.bench_function(BenchmarkId::new("path", text), |b| b.iter(|| NormalPath::read(black_box(text))));
    }
    group.finish();
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    let host = Host::read("scoring.example.com:8080").expect("a host");
    for count in [10, 1_000, 10_000] {
        let services = services(count);
        let table = RouteTable::build(services.iter().zip(0..)).expect("no two services match alike");
        for (name, tail) in [("plain path", "score"), ("odd path", "a%2Fb")] {
            let path = format!("/api/v1/service/model-{}/{tail}", count / 2);
            let path = NormalPath::read(&path).expect("a path");
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| table.find(black_box(&host), black_box(&path), &Method::POST));
            });
        }
        group.bench_with_input(BenchmarkId::new("build", count), &services, |b, services| {
            b.iter(|| RouteTable::build(services.iter().zip(0..)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = reading, matching
}
criterion_main!(benches);
