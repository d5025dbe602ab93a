//! What does a request's record cost, with and without its line in the access log?

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use http::Request;
use http::StatusCode;
use http::request::Parts;
use http::uri::Scheme;
use scoregate::config::AccessLog;
use scoregate::model::name::Name;
use scoregate::model::slot::Slot;
use scoregate::model::time::UnixSeconds;
use scoregate::observe::access_log::AccessLogWriter;
use scoregate::observe::ids::Ids;
use scoregate::observe::metrics::Metrics;
use scoregate::observe::metrics::ServiceMetrics;
use scoregate::observe::metrics::UpstreamMetrics;
use scoregate::observe::record::Observer;
use scoregate::observe::record::Peer;
use scoregate::observe::record::Principal;
use scoregate::observe::record::Record;
use scoregate::observe::usage::KeyAge;
use scoregate::observe::usage::KeyUsage;
use scoregate::observe::usage::UsedKey;
use tokio::time::Instant;

struct Fixture {
    observer: Rc<Observer>,
    head: Parts,
    peer: Peer,
    service: Arc<ServiceMetrics>,
    upstream: Arc<UpstreamMetrics>,
    endpoint: Arc<str>,
    usage: KeyUsage,
    name: Name,
}

impl Fixture {
    fn serve(&self) {
        let now = Instant::now();
        let mut record = Record::begin(&self.observer, black_box(&self.head), &self.peer, now);
        record.generation(1);
        record.service(&self.service);
        let key = UsedKey { usage: &self.usage, slot: Slot::Primary, age: KeyAge::Current };
        let principal = Principal::Service { service: self.name.clone(), slot: Slot::Primary };
        record.principal(principal, Some(key), UnixSeconds(1_800_000_000));
        record.request_bytes().add(512);
        record.forwarding(&self.upstream, now + Duration::from_micros(30));
        record.upstream_head(StatusCode::OK, &self.endpoint, now + Duration::from_micros(900));
        record.response_bytes(2048);
        record.complete();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let metrics = Arc::new(Metrics::new());
    let name = Name::parse("iris").expect("a name");
    for (what, which) in [
        ("record/without a line", AccessLog::On { sample: 0.0 }),
        ("record/with a line", AccessLog::On { sample: 1.0 }),
    ] {
        let writer = AccessLogWriter::start(Box::new(std::io::sink()), Arc::clone(&metrics)).expect("a thread");
        let request = Request::post("/score?verbose=1")
            .header("host", "iris.example:8443")
            .header("user-agent", "python-requests/2.32.3")
            .header("content-type", "application/json")
            .header("authorization", "Bearer 0123456789abcdef0123456789abcdef");
        let fixture = Fixture {
            observer: Observer::new(
                Arc::clone(&metrics),
                writer.log(),
                Arc::default(),
                which,
                Instant::now(),
                Duration::from_secs(1_795_253_400),
            ),
            head: request.body(()).expect("a request").into_parts().0,
            peer: Peer { address: Some(([127, 0, 0, 1], 4711).into()), scheme: Scheme::HTTPS },
            service: metrics.service(&name),
            upstream: metrics.upstream(&name),
            endpoint: Arc::from("127.0.0.1:5001"),
            usage: KeyUsage::new(UnixSeconds(1_700_000_000)),
            name: name.clone(),
        };
        criterion.bench_function(what, |bencher| bencher.iter(|| fixture.serve()));
    }
    let ids = Ids::new();
    criterion.bench_function("record/an identifier", |bencher| bencher.iter(|| ids.next()));
    criterion.bench_function("record/an exposition", |bencher| bencher.iter(|| metrics.exposition()));
    criterion.final_summary();
}
