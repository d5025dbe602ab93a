//! Checks what a record leaves behind: a line, and the counters.

use std::io;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::Request;
use http::StatusCode;
use http::Version;
use http::request::Parts;
use http::uri::Scheme as UrlScheme;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use super::Observer;
use super::Peer;
use super::Principal;
use super::Record;
use crate::config;
use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::access_log::AccessLogWriter;
use crate::observe::access_log::LastLines;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Scheme;
use crate::observe::usage::KeyAge;
use crate::observe::usage::KeyUsage;
use crate::observe::usage::UsedKey;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets records be made, and returns the lines that they left.
fn lines_of(metrics: &Arc<Metrics>, which: config::AccessLog, requests: impl FnOnce(&Rc<Observer>)) -> Vec<String> {
    let sink = Kept::default();
    let writer = AccessLogWriter::start(Box::new(sink.clone()), Arc::clone(metrics)).unwrap();
    let now = Duration::from_millis(1_795_253_400_125);
    let observer = Observer::new(Arc::clone(metrics), writer.log(), Arc::default(), which, Instant::now(), now);
    requests(&observer);
    drop(observer);
    assert_eq!(writer.finish(Duration::from_secs(10)), LastLines::Written);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.split_terminator('\n').map(str::to_owned).collect()
}

const EVERY: config::AccessLog = config::AccessLog::On { sample: 1.0 };
const NO_SUCCESS: config::AccessLog = config::AccessLog::On { sample: 0.0 };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn head(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

fn post() -> http::request::Builder {
    Request::post("/score?subscription-key=k-marked").header("host", "iris.example:8443")
}

fn peer() -> Peer {
    Peer { address: Some(([192, 0, 2, 7], 4711).into()), scheme: UrlScheme::HTTPS }
}

fn begin(observer: &Rc<Observer>, request: http::request::Builder) -> Record {
    Record::begin(observer, &head(request), &peer(), Instant::now())
}

fn parsed(lines: &[String]) -> Value {
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

fn count(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.exposition();
    let line = text.lines().find(|line| line.split(' ').next() == Some(series));
    line.and_then(|line| line.rsplit_once(' ')).map_or(-1.0, |(_, value)| value.parse().unwrap())
}

#[test]
fn a_request_that_went_through_leaves_everything_that_is_known_of_it() {
    let metrics = Arc::new(Metrics::new());
    let (service, upstream) = (metrics.service(&name("iris")), metrics.upstream(&name("models")));
    service.prepare(Scheme::Key);
    let lines = lines_of(&metrics, EVERY, |observer| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = post().version(Version::HTTP_2).header("user-agent", "client/1.0");
        let started = Instant::now();
        let head = head(request.header("traceparent", trace).header("x-request-id", "r-1"));
        let mut record = Record::begin(observer, &head, &peer(), started);
        assert_eq!(record.request_id(), "r-1");
        record.generation(3);
        record.client(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)));
        record.service(&service);
        assert_eq!(count(&metrics, r#"gateway_http_requests_in_flight{service="iris"}"#), 1.0);
        let key = UsedKey { usage: &KeyUsage::new(UnixSeconds(1)), slot: Slot::Secondary, age: KeyAge::Current };
        let principal = Principal::Service { service: name("iris"), slot: Slot::Secondary };
        record.principal(principal, Some(key), UnixSeconds(1000));
        record.limited_token(Arc::from("jti-1"), Arc::from("vendor"));
        record.request_bytes().add(10);
        record.request_bytes().add(5);
        record.forwarding(&upstream, started + Duration::from_micros(40));
        record.upstream_head(StatusCode::OK, &Arc::from("127.0.0.1:5001"), started + Duration::from_micros(1540));
        record.response_bytes(100);
        record.response_bytes(20);
        record.complete();
    });
    let mut line = parsed(&lines);
    for changing in ["timestamp", "scoregate.decision_id", "span_id", "scoregate.duration_ms"] {
        assert!(line.as_object_mut().unwrap().remove(changing).is_some(), "{changing}");
    }
    assert_eq!(
        line,
        json!({
            "severity": "INFO",
            "request_id": "r-1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "http.request.method": "POST",
            "url.scheme": "https",
            "url.path": "/score",
            "server.address": "iris.example",
            "network.protocol.version": "2",
            "client.address": "198.51.100.9",
            "network.peer.address": "192.0.2.7",
            "user_agent.original": "client/1.0",
            "http.response.status_code": 200,
            "http.request.body.size": 15,
            "http.response.body.size": 120,
            "scoregate.generation": 3,
            "scoregate.service": "iris",
            "scoregate.overhead_ms": 0.04,
            "scoregate.auth.scheme": "key",
            "scoregate.auth.principal": "service:iris:secondary",
            "scoregate.auth.key_slot": "secondary",
            "scoregate.limited_token.id": "jti-1",
            "scoregate.limited_token.vendor": "vendor",
            "scoregate.upstream.name": "models",
            "scoregate.upstream.address": "127.0.0.1:5001",
            "scoregate.upstream.duration_ms": 1.5,
        })
    );
    for (series, value) in [
        (r#"gateway_http_requests_total{code="200",method="POST",service="iris"}"#, 1.0),
        (r#"gateway_http_request_duration_seconds_count{code_class="2xx",service="iris"}"#, 1.0),
        (r#"gateway_http_request_body_bytes_total{service="iris"}"#, 15.0),
        (r#"gateway_http_response_body_bytes_total{service="iris"}"#, 120.0),
        (r#"gateway_http_requests_in_flight{service="iris"}"#, 0.0),
        (r#"gateway_http_requests_aborted_total{service="iris"}"#, 0.0),
        (r#"gateway_http_overhead_seconds_bucket{service="iris",le="0.00005"}"#, 1.0),
        (r#"gateway_auth_allowed_total{scheme="key",service="iris"}"#, 1.0),
        (r#"gateway_key_uses_total{service="iris",slot="secondary"}"#, 1.0),
        (r#"gateway_key_uses_total{service="iris",slot="primary"}"#, 0.0),
        (r#"gateway_upstream_responses_total{code_class="2xx",upstream="models"}"#, 1.0),
        (r#"gateway_upstream_response_seconds_count{upstream="models"}"#, 1.0),
    ] {
        assert_eq!(count(&metrics, series), value, "{series}");
    }
}

#[test]
fn a_request_that_is_judged_again_is_one_use_of_its_key() {
    let metrics = Arc::new(Metrics::new());
    let service = metrics.service(&name("iris"));
    let usage = KeyUsage::new(UnixSeconds(1));
    lines_of(&metrics, EVERY, |observer| {
        let mut record = begin(observer, post());
        record.service(&service);
        for now in [1000, 1001] {
            let key = UsedKey { usage: &usage, slot: Slot::Secondary, age: KeyAge::Retiring };
            let principal = Principal::Service { service: name("iris"), slot: Slot::Secondary };
            record.principal(principal, Some(key), UnixSeconds(now));
        }
    });
    assert_eq!((usage.uses(), usage.last_seen(), usage.callers()), (1, Some(UnixSeconds(1000)), 1));
    for (series, value) in [
        (r#"gateway_auth_allowed_total{scheme="key",service="iris"}"#, 1.0),
        (r#"gateway_key_uses_total{service="iris",slot="secondary"}"#, 1.0),
        (r#"gateway_key_last_seen_timestamp_seconds{service="iris",slot="secondary"}"#, 1000.0),
        (r#"gateway_retiring_key_last_seen_timestamp_seconds{service="iris",slot="secondary"}"#, 1000.0),
    ] {
        assert_eq!(count(&metrics, series), value, "{series}");
    }
}

/// What happens to a record before it is dropped.
type Story = fn(&mut Record);

#[test]
fn however_a_request_ends_there_is_one_line_with_the_reason_and_one_count() {
    let head_200: Story = |record| record.upstream_head(StatusCode::OK, &Arc::from("e"), Instant::now());
    let rows: [(&str, Story, Value, Value, &str); 7] = [
        (
            "the client leaves before an answer",
            |_| {},
            json!("client_gone"),
            json!(null),
            "http_requests_aborted_total{service=\"iris\"}",
        ),
        (
            "the client leaves in the middle",
            head_200,
            json!("client_gone"),
            json!(200),
            "http_requests_aborted_total{service=\"iris\"}",
        ),
        (
            "refused",
            |record| record.refused(Denied::KeyUnknown.into()),
            json!("key_unknown"),
            json!(401),
            "denials_total{reason=\"key_unknown\",service=\"iris\"}",
        ),
        (
            "failed, and then refused again",
            |record| {
                record.refused(Failed::UpstreamTimeout.into());
                record.refused(Failed::Internal.into());
            },
            json!("upstream_timeout"),
            json!(504),
            "failures_total{reason=\"upstream_timeout\",service=\"iris\"}",
        ),
        (
            "the upstream fails",
            |record| record.refused(Refusal::Failed(Failed::UpstreamClosed)),
            json!("upstream_closed"),
            json!(502),
            "upstream_errors_total{reason=\"upstream_closed\",upstream=\"models\"}",
        ),
        (
            "the upstream stops in the middle",
            |record| {
                record.upstream_head(StatusCode::OK, &Arc::from("e"), Instant::now());
                record.broke_off(Failed::UpstreamClosed);
            },
            json!("upstream_closed"),
            json!(200),
            "failures_total{reason=\"upstream_closed\",service=\"iris\"}",
        ),
        (
            "the gateway fails",
            |record| record.refused(Failed::Internal.into()),
            json!("internal"),
            json!(500),
            "http_requests_total{code=\"500\",method=\"POST\",service=\"iris\"}",
        ),
    ];
    for (what, story, error, status, series) in rows {
        let metrics = Arc::new(Metrics::new());
        let (service, upstream) = (metrics.service(&name("iris")), metrics.upstream(&name("models")));
        let lines = lines_of(&metrics, NO_SUCCESS, |observer| {
            let mut record = begin(observer, post());
            record.service(&service);
            record.forwarding(&upstream, Instant::now());
            story(&mut record);
        });
        let line = parsed(&lines);
        assert_eq!((&line["error.type"], &line["http.response.status_code"]), (&error, &status), "{what}: {line}");
        assert_eq!(count(&metrics, &format!("gateway_{series}")), 1.0, "{what}");
        assert_eq!(count(&metrics, r#"gateway_http_requests_in_flight{service="iris"}"#), 0.0, "{what}");
    }
}

#[test]
fn a_request_that_matches_nothing_is_counted_all_the_same() {
    let metrics = Arc::new(Metrics::new());
    let lines = lines_of(&metrics, NO_SUCCESS, |observer| {
        let mut record = begin(observer, post());
        record.refused(Denied::NoService.into());
        record.complete();
    });
    let line = parsed(&lines);
    assert_eq!((&line["scoregate.reason"], &line["severity"]), (&json!("no_service"), &json!("INFO")));
    assert_eq!(line.get("scoregate.service"), None);
    assert_eq!(count(&metrics, r#"gateway_denials_total{reason="no_service",service="_none"}"#), 1.0);
    assert_eq!(count(&metrics, r#"gateway_http_requests_total{code="404",method="POST",service="_none"}"#), 1.0);
}

#[test]
fn a_panic_is_our_failure_and_not_the_clients() {
    let metrics = Arc::new(Metrics::new());
    let service = metrics.service(&name("iris"));
    let lines = lines_of(&metrics, NO_SUCCESS, |observer| {
        let mut record = begin(observer, post());
        record.service(&service);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _record = record;
            // Unlike `panic!`, this calls no hook, so that the test prints nothing.
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(unwound.is_err());
    });
    assert_eq!(parsed(&lines)["error.type"], "internal");
    assert_eq!(count(&metrics, r#"gateway_failures_total{reason="internal",service="iris"}"#), 1.0);
}

#[test]
fn successes_are_sampled_and_counted_all_the_same() {
    let metrics = Arc::new(Metrics::new());
    for (which, lines) in
        [(EVERY, 100), (config::AccessLog::On { sample: 0.1 }, 10), (NO_SUCCESS, 0), (config::AccessLog::Off, 0)]
    {
        let written = lines_of(&metrics, which, |observer| {
            for _ in 0..100 {
                let mut record = begin(observer, post());
                record.answered(StatusCode::OK);
                record.complete();
            }
        });
        assert_eq!(written.len(), lines, "{which:?}");
    }
    assert_eq!(count(&metrics, r#"gateway_http_requests_total{code="200",method="POST",service="_none"}"#), 400.0);
}

#[test]
fn nothing_that_a_client_sends_breaks_a_line_or_leaks_into_it() {
    let agent = |bytes: &[u8]| http::HeaderValue::from_bytes(bytes).unwrap();
    let long_path = format!("/{}", "p".repeat(5000));
    let rows = [
        ("/a\u{202e}b\u{2028}c\u{85}d\u{9b}31m?x=marked", agent(b"\"},{\"a\":\"\\"), "iris.example"),
        ("/%0a%0d%1b[2J?marked", agent(b"\xff\xfe\x80 tab\there"), "user:marked@iris.example:80"),
        ("/{\"a\":1}\\?api_key=marked#marked", agent("ü\u{9b}".as_bytes()), "a\"b\\c"),
        (&long_path, agent(&[b'u'; 5000]), "h"),
        ("https://user:marked@iris.example/x?marked", agent(b""), ""),
    ];
    for (target, agent, host) in rows {
        let lines = lines_of(&Arc::new(Metrics::new()), EVERY, |observer| {
            let request = Request::get(target).header("host", host).header("user-agent", agent.clone());
            let request = request.header("authorization", "Bearer marked").header("cookie", "marked");
            drop(begin(observer, request.header("x-request-id", "marked \" id")));
        });
        let line = &lines[0];
        let value = parsed(&lines);
        assert!(line.chars().all(|c| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c)), "{line}");
        assert!(!line.contains("marked"), "{line}");
        assert!(line.len() < 1500, "{} bytes", line.len());
        assert!(value["user_agent.original"].as_str().unwrap().chars().count() <= 70);
        let path = target.strip_prefix("https://user:marked@iris.example").unwrap_or(target);
        let path: String = path.split(['?', '#']).next().unwrap().chars().take(512).collect();
        assert_eq!(value["url.path"], path.as_str());
    }
}

#[test]
fn a_caller_is_named_and_never_what_it_showed() {
    let token = |issuer| Principal::Token { issuer, subject: Arc::from("sub-1") };
    let account = Principal::Account { account: name("contoso"), slot: Slot::Primary };
    for (principal, scheme, text, slot, issuer) in [
        (account, "key", "account:contoso", json!("primary"), json!(null)),
        (token(TokenIssuer::Own), "token", "token:sub-1", json!(null), json!("self")),
        (token(TokenIssuer::Foreign(name("entra"))), "token", "token:sub-1", json!(null), json!("entra")),
        (
            Principal::Token { issuer: TokenIssuer::Own, subject: Arc::from("s\u{9b}".repeat(9000)) },
            "token",
            &format!("token:{}", "s\u{9b}".repeat(256)),
            json!(null),
            json!("self"),
        ),
        (Principal::Anonymous, "public", "anonymous", json!(null), json!(null)),
    ] {
        let metrics = Arc::new(Metrics::new());
        let service = metrics.service(&name("iris"));
        let line = parsed(&lines_of(&metrics, EVERY, |observer| {
            let mut record = begin(observer, post());
            record.service(&service);
            record.principal(principal, None, UnixSeconds(1000));
        }));
        assert_eq!(line["scoregate.auth.scheme"], scheme);
        assert_eq!(line["scoregate.auth.principal"], text);
        assert_eq!(line["scoregate.auth.key_slot"], slot, "{text}");
        assert_eq!(line["scoregate.auth.issuer"], issuer, "{text}");
        assert_eq!(count(&metrics, r#"gateway_key_uses_total{service="iris",slot="primary"}"#), 0.0, "{text}");
    }
}

#[test]
fn a_second_attempt_counts_the_gateways_own_time_once() {
    let metrics = Arc::new(Metrics::new());
    let (service, upstream) = (metrics.service(&name("iris")), metrics.upstream(&name("models")));
    let line = parsed(&lines_of(&metrics, EVERY, |observer| {
        let started = Instant::now();
        let mut record = Record::begin(observer, &head(post()), &peer(), started);
        record.service(&service);
        record.forwarding(&upstream, started + Duration::from_millis(1));
        record.forwarding(&upstream, started + Duration::from_millis(20));
        record.upstream_head(StatusCode::OK, &Arc::from("second:1"), started + Duration::from_millis(25));
        record.complete();
    }));
    assert_eq!(line["scoregate.overhead_ms"], 1.0);
    assert_eq!(line["scoregate.upstream.duration_ms"], 5.0);
    assert_eq!(count(&metrics, r#"gateway_http_overhead_seconds_count{service="iris"}"#), 1.0);
}
