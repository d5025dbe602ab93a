//! Does finding a service cost more when there are more of them?

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

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

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    for count in [10, 1_000, 10_000] {
        let services = services(count);
        let table = RouteTable::build(services.iter().zip(0..)).expect("no two services match alike");
        let path = format!("/api/v1/service/model-{}/score", count / 2);
        group.bench_with_input(BenchmarkId::new("plain path", count), &path, |b, path| {
            b.iter(|| {
                let host = Host::read(black_box("scoring.example.com:8080")).expect("a host");
                let path = NormalPath::read(black_box(path)).expect("a path");
                table.find(&host, &path, &Method::POST)
            });
        });
        let odd = format!("/api/v1/service/model-{}/a%2Fb", count / 2);
        group.bench_with_input(BenchmarkId::new("odd path", count), &odd, |b, path| {
            b.iter(|| {
                let host = Host::read(black_box("scoring.example.com:8080")).expect("a host");
                let path = NormalPath::read(black_box(path)).expect("a path");
                table.find(&host, &path, &Method::POST)
            });
        });
        group.bench_with_input(BenchmarkId::new("build", count), &services, |b, services| {
            b.iter(|| RouteTable::build(services.iter().zip(0..)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = matching
}
criterion_main!(benches);
