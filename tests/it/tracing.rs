//! Spans arrive at a collector: one a request, the upstream's as its child, of the traces that are asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::upstream::Received;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

const KEY: &str = "primary-key-that-no-span-may-hold-0001";
const CALLERS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn yaml(upstream: &Upstream, tracing: &str) -> String {
    format!(
        "
tracing: {tracing}
upstreams: {{models: {{endpoints: [\"{}\"]}}}}
services:
  iris: {{match: [{{prefix: /iris}}], upstream: models, auth: {{key: {{keys: {{directory: $DIR/keys}}}}}}}}
",
        upstream.url()
    )
}

fn start(upstream: &Upstream, tracing: &str) -> Gateway {
    let directory = scratch();
    std::fs::create_dir(directory.path().join("keys")).unwrap();
    std::fs::write(directory.path().join("keys/primary"), KEY).unwrap();
    std::fs::write(directory.path().join("collector-key"), "key-of-the-collector\n").unwrap();
    Gateway::start_in(directory, &yaml(upstream, tracing))
}

fn exports(collector: &Upstream) -> Vec<ExportTraceServiceRequest> {
    let decode = |received: &Received| ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
    collector.received().iter().map(decode).collect()
}

fn spans(collector: &Upstream) -> Vec<Span> {
    let of_resources = exports(collector).into_iter().flat_map(|export| export.resource_spans);
    of_resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
}

/// Waits for this many spans, and for no more than these to have come once another export was due.
fn exactly(count: usize, collector: &Upstream) -> Vec<Span> {
    eventually("the spans have come", || (spans(collector).len() >= count).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let spans = spans(collector);
    assert_eq!(spans.len(), count, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    spans
}

fn attribute(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    let value = found.value.clone()?.value?;
    if let Value::StringValue(text) = value {
        return Some(text);
    }
    if let Value::IntValue(number) = value {
        return Some(number.to_string());
    }
    assert!(matches!(value, Value::DoubleValue(_)), "{name} is {value:?}");
    Some(String::new())
}

fn says(span: &Span, name: &str) -> Option<String> {
    attribute(&span.attributes, name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn collector() -> Upstream {
    Upstream::start(|_, stream| respond(stream, 200, &[("content-type", "application/x-protobuf")], b""))
}

fn score(gateway: &Gateway, key: &str, traceparent: &str) -> u16 {
    let authorization = format!("Bearer {key}");
    let mut headers = vec![("authorization", authorization.as_str())];
    if !traceparent.is_empty() {
        headers.push(("traceparent", traceparent));
    }
    client::post(gateway.traffic(), "/iris/score?secret=in-the-query", &headers, "{}").status
}

#[test]
fn a_request_is_one_span_between_its_caller_and_its_upstream() {
    let (upstream, collector) = (Upstream::ok(), collector());
    let endpoint = collector.url();
    let tracing = format!(
        "{{endpoint: \"{endpoint}/\", service_name: edge, headers: {{x-api-key: \"file:$DIR/collector-key\"}}}}"
    );
    let gateway = start(&upstream, &tracing);
    assert_eq!(score(&gateway, KEY, &format!("00-{CALLERS_TRACE}-b7ad6b7169203331-01")), 200);
    let span = exactly(1, &collector).remove(0);

    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (CALLERS_TRACE.into(), "b7ad6b7169203331".into()));
    let child = upstream.last().header("traceparent").unwrap().to_owned();
    assert_eq!(child, format!("00-{CALLERS_TRACE}-{}-01", hex(&span.span_id)), "the upstream's parent is this span");
    assert_eq!((span.name.as_str(), span.kind()), ("POST iris", SpanKind::Server));
    assert_eq!(span.flags & 0x300, 0x300, "the parent is known to be remote");
    assert_eq!(span.status, None);
    let took = span.end_time_unix_nano - span.start_time_unix_nano;
    assert!(took > 0 && took < 10_000_000_000, "{took} ns");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.scheme", "http"),
        ("url.path", "/iris/score"),
        ("server.address", "gateway.test"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
        ("scoregate.service", "iris"),
        ("scoregate.auth.scheme", "key"),
        ("scoregate.auth.key_slot", "primary"),
        ("scoregate.upstream.name", "models"),
    ] {
        assert_eq!(says(&span, name).as_deref(), Some(value), "{name}");
    }
    let Resource { attributes, .. } = exports(&collector)[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(attribute(&attributes, "service.name").as_deref(), Some("edge"));
    assert!(attribute(&attributes, "service.instance.id").is_some_and(|id| id.len() == 32));
    let sent = collector.last();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/v1/traces"));
    assert_eq!(sent.header("x-api-key"), Some("key-of-the-collector"));
    assert_eq!(sent.header("content-type"), Some("application/x-protobuf"));
    assert!((gateway.metric("gateway_spans_exported_total") - 1.0).abs() < 0.5);
}

#[test]
fn a_refusal_says_why_and_no_span_has_a_secret() {
    let (upstream, collector) = (Upstream::start(|_, stream| respond(stream, 503, &[], b"")), collector());
    let gateway = start(&upstream, &format!("{{endpoint: \"{}\"}}", collector.url()));
    assert_eq!(score(&gateway, "a-wrong-key-that-no-span-may-hold-0001", ""), 401);
    assert_eq!(score(&gateway, KEY, ""), 503);
    client::request(gateway.traffic(), "PURGE", "/iris/x", &[], b"");
    let spans = exactly(3, &collector);
    let of = |status: &str, method: &str| {
        let is_it = |span: &&Span| {
            says(span, "http.response.status_code").as_deref() == Some(status)
                && says(span, "http.request.method").as_deref() == Some(method)
        };
        spans.iter().find(is_it).unwrap_or_else(|| panic!("no span of {method} {status} in {spans:?}"))
    };
    let refused = of("401", "POST");
    assert_eq!(says(refused, "error.type").as_deref(), Some("key_unknown"));
    assert_eq!(refused.status, None, "what the client did wrong is no error of the server");
    let broken = of("503", "POST");
    assert_eq!(broken.status.clone().map(|status| status.code()), Some(StatusCode::Error));
    assert_eq!(says(broken, "error.type").as_deref(), Some("503"));
    let unusual = spans.iter().find(|span| span.name == "HTTP iris").expect("an unknown method names no span");
    assert_eq!(says(unusual, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(says(unusual, "http.request.method_original").as_deref(), Some("PURGE"));
    for received in collector.received() {
        for secret in [KEY, "a-wrong-key", "in-the-query"] {
            assert!(!received.body.windows(secret.len()).any(|piece| piece == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn what_is_recorded_is_the_callers_choice_or_a_share_and_changes_while_it_runs() {
    let (upstream, collector) = (Upstream::ok(), collector());
    let endpoint = collector.url();
    let gateway = start(&upstream, &format!("{{endpoint: \"{endpoint}\", sample: 0.0}}"));
    assert_eq!(score(&gateway, KEY, ""), 200);
    let begun = upstream.last().header("traceparent").unwrap().to_owned();
    assert!(begun.ends_with("-02"), "{begun}: the upstream is told that the trace is not recorded");
    assert_eq!(score(&gateway, KEY, &format!("00-{CALLERS_TRACE}-b7ad6b7169203331-00")), 200);
    assert_eq!(score(&gateway, KEY, &format!("00-{CALLERS_TRACE}-b7ad6b7169203331-01")), 200);
    exactly(1, &collector);

    let generation = gateway.generation();
    gateway.configure(&yaml(&upstream, &format!("{{endpoint: \"{endpoint}\"}}")));
    eventually("the change is in force", || (gateway.generation() > generation).then_some(()));
    eventually("traces that begin here are recorded", || {
        assert_eq!(score(&gateway, KEY, ""), 200);
        upstream.last().header("traceparent").is_some_and(|sent| sent.ends_with("-03")).then_some(())
    });
    exactly(2, &collector);
}

#[test]
fn a_collector_that_is_away_costs_no_request_and_gets_the_spans_when_it_is_back() {
    let upstream = Upstream::ok();
    let address = free_address();
    let mut gateway = start(&upstream, &format!("{{endpoint: \"http://{address}\"}}"));
    for _ in 0..20 {
        assert_eq!(score(&gateway, KEY, ""), 200);
    }
    eventually("the failure is told once", || {
        let told = gateway
            .log()
            .iter()
            .filter(|line| line["message"].as_str().is_some_and(|text| text.contains("spans could not be sent")))
            .count();
        assert!(told <= 1, "{told} lines");
        (told == 1).then_some(())
    });
    let status = Arc::new(AtomicU16::new(503));
    let answered = Arc::clone(&status);
    let collector =
        Upstream::start_at(address, move |_, stream| respond(stream, answered.load(Ordering::Relaxed), &[], b""));
    eventually("a busy collector is asked again", || (collector.received().len() >= 2).then_some(()));
    assert!((gateway.metric("gateway_spans_exported_total")).abs() < 0.5);
    status.store(200, Ordering::Relaxed);
    eventually("it has them all", || (gateway.metric("gateway_spans_exported_total") > 19.5).then_some(()));
    assert!(gateway.metric("gateway_spans_dropped_total").abs() < 0.5);

    // One that refuses is not asked again.
    status.store(400, Ordering::Relaxed);
    assert_eq!(score(&gateway, KEY, ""), 200);
    eventually("the refused span is counted", || (gateway.metric("gateway_spans_dropped_total") > 0.5).then_some(()));
    status.store(200, Ordering::Relaxed);

    let before = spans(&collector).len();
    assert_eq!(score(&gateway, KEY, ""), 200);
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(spans(&collector).len(), before + 1, "what had ended is sent before the process leaves");
}
