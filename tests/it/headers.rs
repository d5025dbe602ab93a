//! What an upstream is told, and what it is never told.

use std::fs;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Received;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

// Secrets that could be nothing else wherever they turn up.
const PRIMARY: &str = "tainted-primary-key-91c2";
const SECONDARY: &str = "tainted-secondary-key-77d0";
const WRONG: &str = "tainted-wrong-key-3be8";
const LIMITED: &str = "tainted.limited.token-52fa";

/// A gateway that reads keys from everywhere, and an upstream that remembers.
fn stage(more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_, stream| {
        let headers = [
            ("connection", "x-internal"),
            ("x-internal", "for the gateway only"),
            ("keep-alive", "timeout=5"),
            ("x-model", "iris"),
        ];
        respond(stream, 200, &headers, b"ok")
    });
    let directory = scratch();
    fs::write(directory.path().join("primary"), PRIMARY).unwrap();
    fs::write(directory.path().join("secondary"), SECONDARY).unwrap();
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
{more}
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services:
  open: {{match: [{{prefix: /open}}], upstream: a, auth: {{public: a test}}}}
  stripped: {{match: [{{prefix: /outer/inner}}], strip_prefix: /outer, upstream: a, auth: {{public: a test}}}}
  odd: {{match: [{{prefix: /odd}}], upstream: a, auth: {{public: a test}}, path_allows: [encoded_separators, semicolons]}}
  keyed:
    match: [{{prefix: /keyed}}]
    upstream: a
    auth: {{key: {{from: [bearer, {{header: Ocp-Apim-Subscription-Key}}, {{header: x-key}}, {{query: k}}], keys: {{primary: {{key: 'file:$DIR/primary'}}, secondary: {{key: 'file:$DIR/secondary'}}}}}}}}
",
            upstream.url()
        ),
    );
    (upstream, gateway)
}

fn sent(upstream: &Upstream, gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Received {
    let answer = client::get(gateway.traffic(), target, headers);
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    upstream.last()
}

#[test]
fn the_path_that_was_matched_is_the_path_that_is_sent() {
    let (upstream, gateway) = stage("");
    for (asked, told) in [
        ("/open", "/open"),
        ("/open/b?c=d", "/open/b?c=d"),
        ("/open/b?", "/open/b?"),
        ("/open/%7Euser", "/open/~user"),
        ("/open/a%20b", "/open/a%20b"),
        ("/open/%c3%a9", "/open/%C3%A9"),
        ("/open/b?x=%2F..%2f&y=%zz", "/open/b?x=%2F..%2f&y=%zz"),
        ("/outer/inner", "/inner"),
        ("/outer/inner/x?y", "/inner/x?y"),
        ("/odd/a%2Fb;c", "/odd/a%2Fb;c"),
    ] {
        assert_eq!(sent(&upstream, &gateway, asked, &[]).target, told, "{asked}");
    }
}

#[test]
fn method_and_body_arrive_as_they_were_sent_on_one_connection() {
    let (upstream, gateway) = stage("");
    let mut connection = client::Client::connect(gateway.traffic());
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for (method, body) in [("POST", &bytes[..]), ("PUT", b"{}"), ("DELETE", b""), ("PATCH", b"a"), ("OPTIONS", b"")] {
        assert_eq!(connection.request(method, "/open", &[], body).status, 200, "{method}");
        let got = upstream.last();
        assert_eq!(got.method, method);
        assert!(got.body == body, "{method}: {} bytes of {}", got.body.len(), body.len());
        assert_eq!(got.connection, 0, "{method}: the connection to the upstream is used again");
    }
}

#[test]
fn headers_of_one_hop_stay_on_their_hop() {
    let (upstream, gateway) = stage("");
    let got = sent(
        &upstream,
        &gateway,
        "/open",
        &[
            ("connection", "x-hop, keep-alive"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=9"),
            ("proxy-authorization", "Basic dTpw"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("x-end", "2"),
        ],
    );
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert_eq!(got.header("x-end"), Some("2"));

    let answer = client::get(gateway.traffic(), "/open", &[]);
    assert_eq!(answer.header("x-model"), Some("iris"));
    for gone in ["x-internal", "keep-alive"] {
        assert_eq!(answer.header(gone), None, "{gone} of the answer");
    }
}

#[test]
fn a_strangers_forwarding_claims_are_replaced() {
    let (upstream, gateway) = stage("");
    let claims = [
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "bank.test"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=8.8.8.8"),
        ("x_forwarded_for", "8.8.8.8"),
        ("x-real-ip", "8.8.8.8"),
        ("via", "1.0 before"),
        ("host", "scoring.test:8080"),
    ];
    let got = sent(&upstream, &gateway, "/open", &claims);
    assert_eq!(got.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.all("x-forwarded-proto"), ["http"]);
    assert_eq!(got.all("x-forwarded-host"), ["scoring.test:8080"]);
    assert_eq!(got.header("host"), Some("scoring.test:8080"));
    assert_eq!(got.all("via").join(", "), "1.0 before, 1.1 scoregate");
    for gone in ["x-forwarded-port", "forwarded", "x_forwarded_for", "x-real-ip"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
}

#[test]
fn a_trusted_proxys_claims_are_continued() {
    let (upstream, gateway) = stage("trusted_proxies: [127.0.0.0/8]");
    let claims = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-proto", "https"), ("forwarded", "for=8.8.8.8")];
    let got = sent(&upstream, &gateway, "/open", &claims);
    assert_eq!(got.all("x-forwarded-for"), ["8.8.8.8, 127.0.0.1"]);
    assert_eq!(got.all("x-forwarded-proto"), ["https"]);
    assert_eq!(got.all("forwarded"), ["for=8.8.8.8, for=127.0.0.1;proto=http"]);
}

#[test]
fn a_request_keeps_its_names() {
    let (upstream, gateway) = stage("");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let named = [
        ("x-request-id", "order-66"),
        ("x-ms-client-request-id", "c-1"),
        ("traceparent", trace),
        ("tracestate", "a=b"),
    ];
    let answer = client::get(gateway.traffic(), "/open", &named);
    assert_eq!(answer.header("x-request-id"), Some("order-66"));
    let got = upstream.last();
    assert_eq!(got.all("x-request-id"), ["order-66"]);
    assert_eq!(got.all("x-ms-client-request-id"), ["c-1"]);
    assert_eq!(got.header("tracestate"), Some("a=b"));
    let told = got.header("traceparent").unwrap();
    assert_eq!(told.split('-').nth(1), trace.split('-').nth(1), "the same trace: {told}");

    let answer = client::get(gateway.traffic(), "/open", &[("traceparent", "00-nonsense")]);
    let got = upstream.last();
    let made = got.header("x-request-id").unwrap();
    assert!(made.len() >= 16 && answer.header("x-request-id") == Some(made), "one is made where none came: {made}");
    let told = got.header("traceparent").unwrap();
    assert!(told.len() == 55 && told.starts_with("00-"), "a trace begins here: {told}");
}

#[test]
fn only_the_gateway_says_who_calls() {
    let (upstream, gateway) = stage("");
    let claims = [
        ("x-scoregate-principal", "service:keyed:root"),
        ("x-scoregate-resource", "/subscriptions/all"),
        ("x-scoregate-features", "Face.Identification"),
        ("x_scoregate_principal", "service:keyed:root"),
        ("x-scoregate_features", "Face.Identification"),
    ];
    let mut keyed = claims.to_vec();
    keyed.push(("ocp-apim-subscription-key", SECONDARY));
    let got = sent(&upstream, &gateway, "/keyed", &keyed);
    assert_eq!(got.all("x-scoregate-principal"), ["service:keyed:secondary"]);
    for gone in ["x-scoregate-resource", "x-scoregate-features", "x_scoregate_principal", "x-scoregate_features"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    let got = sent(&upstream, &gateway, "/open", &claims);
    assert!(got.headers.iter().all(|(name, _)| !name.contains("scoregate")), "{got:?}");
}

#[test]
fn no_credential_goes_on_to_an_upstream_a_log_or_the_metrics() {
    let (upstream, gateway) = stage("");
    let bearer = |key: &str| format!("Bearer {key}");
    let (right, wrong, limited) = (bearer(PRIMARY), bearer(WRONG), bearer(LIMITED));
    let twins = [
        ("ocp_apim_subscription_key", PRIMARY),
        ("x_key", PRIMARY),
        ("limitedaccesstoken", limited.as_str()),
        ("proxy-authorization", wrong.as_str()),
    ];
    let with = |more: (&'static str, &str)| -> Vec<(String, String)> {
        twins.iter().copied().chain([more]).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let mut last = String::new();
    for (what, target, headers, status) in [
        ("bearer", "/keyed/x".to_owned(), with(("authorization", &right)), 200),
        ("header", "/keyed/x".to_owned(), with(("x-key", SECONDARY)), 200),
        ("query", format!("/keyed/x?a=1&k={PRIMARY}&b=2"), with(("x-other", "1")), 200),
        ("escaped query", format!("/keyed/x?%6B={}", PRIMARY.replace('-', "%2D")), with(("x-other", "1")), 200),
        ("a public service", "/open".to_owned(), vec![("authorization".to_owned(), right.clone())], 200),
        ("a wrong key", "/keyed/x".to_owned(), with(("authorization", &wrong)), 401),
        ("a wrong key in the query", format!("/keyed/x?k={WRONG}"), with(("x-other", "1")), 401),
        ("two keys", "/keyed/x".to_owned(), [with(("authorization", &right)), with(("x-key", WRONG))].concat(), 401),
        ("no service", format!("/nowhere?k={PRIMARY}"), with(("authorization", &right)), 404),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client::get(gateway.traffic(), &target, &headers);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let told = format!("{:?} {}", answer.headers, answer.text());
        assert!(!told.contains("tainted"), "{what}: the answer repeats a credential: {told}");
        if let Some(decision) = answer.header("x-scoregate-decision-id") {
            last = decision.to_owned();
        }
    }
    gateway.access_line(&last);
    let received = upstream.received();
    assert_eq!(received.len(), 5);
    assert_eq!(received[2].target, "/keyed/x?a=1&b=2", "the other parameters stay as they are");
    assert_eq!(received[3].target, "/keyed/x");
    for (what, text) in [
        ("a request to the upstream", format!("{received:?}").replace("%2D", "-")),
        ("a log", gateway.everything_written().replace("%2D", "-")),
        ("the metrics", gateway.metrics()),
    ] {
        assert!(!text.contains("tainted"), "{what} holds a credential: {text}");
    }
}
