//! Other proxies ask the gateway and forward themselves: four real ones, each by its example, and questions by hand.

mod proxy;

use scoregate::model::refusal::Denied;

use self::proxy::Decisions;
use self::proxy::KEY;
use self::proxy::Kind;
use self::proxy::MAKER_KEY;
use self::proxy::Proxy;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Received;
use crate::support::upstream::Upstream;

/// A proxy between a client and an upstream, and the gateway that it asks.
struct Stage {
    kind: Kind,
    proxy: Proxy,
    decisions: Decisions,
    upstream: Upstream,
}

impl Stage {
    fn set(kind: Kind) -> Self {
        let upstream = Upstream::ok();
        let decisions = Decisions::start(&upstream, "");
        let proxy = Proxy::start(kind, &decisions, &upstream);
        let stage = Self { kind, proxy, decisions, upstream };
        // Traefik accepts before it has read its routes.
        crate::support::eventually("the proxy forwards", || {
            (stage.get("/swagger.json", &[]).status == 200).then_some(())
        });
        stage
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        client::get(self.proxy.address(), target, headers)
    }

    fn post(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        client::post(self.proxy.address(), target, headers, b"{\"data\": 1}")
    }

    /// What reached the upstream meanwhile.
    fn reached<T>(&self, during: impl FnOnce() -> T) -> (T, Vec<Received>) {
        let before = self.upstream.received().len();
        let returned = during();
        (returned, self.upstream.received().split_off(before))
    }
}

/// What a client can say of itself to no avail.
const FORGED: &[(&str, &str)] = &[
    ("x-scoregate-principal", "service:iris:secondary"),
    ("x-scoregate-resource", "/subscriptions/mine"),
    ("x-scoregate-features", "Face.Identification"),
];

fn holds_all_claims(kind: Kind) {
    let stage = Stage::set(kind);
    a_right_key_reaches_the_upstream_with_the_gateways_word_on_who_calls(&stage);
    what_is_refused_is_refused_in_the_gateways_words(&stage);
    a_decision_is_on_record_as_one(&stage);
    let tricks = no_trick_gets_past(&stage);
    without_the_gateway_the_answer_is_no(stage);
    let cases = tricks + 7;
    summary::report("forward-auth", Counts { cases, passed: cases, refused: tricks + 5, ..Counts::default() });
}

#[test]
fn envoy_forwards_what_the_gateway_allows_and_nothing_else() {
    holds_all_claims(Kind::Envoy);
}

#[test]
fn traefik_forwards_what_the_gateway_allows_and_nothing_else() {
    holds_all_claims(Kind::Traefik);
}

#[test]
fn caddy_forwards_what_the_gateway_allows_and_nothing_else() {
    holds_all_claims(Kind::Caddy);
}

#[test]
fn nginx_forwards_what_the_gateway_allows_and_nothing_else() {
    holds_all_claims(Kind::Nginx);
}

fn a_right_key_reaches_the_upstream_with_the_gateways_word_on_who_calls(stage: &Stage) {
    let bearer = format!("Bearer {KEY}");
    for (what, credential, target, principal) in [
        ("a key", ("authorization", bearer.as_str()), "/score?a=b%2F", Some("service:iris:primary")),
        ("a subscription key", ("ocp-apim-subscription-key", KEY), "/score/", Some("service:iris:primary")),
        ("an account's", ("ocp-apim-subscription-key", MAKER_KEY), "/face/v1.0/persons", Some("account:door-maker")),
        ("none, of a public service", ("cookie", "a=b"), "/swagger.json", None),
    ] {
        let headers = [&[credential, ("limitedaccesstoken", "Bearer x")], FORGED].concat();
        let method = if principal.is_some() { "POST" } else { "GET" };
        let (answer, reached) = stage.reached(|| match method {
            "POST" => stage.post(target, &headers),
            _ => stage.get(target, &headers),
        });
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{what}: {}", stage.proxy.log());
        let [sent] = reached.as_slice() else { panic!("{what}: {reached:?}") };
        assert_eq!((sent.method.as_str(), sent.target.as_str()), (method, target), "{what}");
        assert_eq!(sent.body, if method == "POST" { &b"{\"data\": 1}"[..] } else { b"" }, "{what}");
        let told = |name: &str| sent.header(name).filter(|value| !value.is_empty());
        assert_eq!(told("x-scoregate-principal"), principal, "{what}: {sent:?}");
        assert_eq!(told("x-scoregate-features"), None, "{what}: {sent:?}");
        assert_eq!(told("x-scoregate-resource").is_some(), principal == Some("account:door-maker"), "{what}: {sent:?}");
        for credential in ["authorization", "ocp-apim-subscription-key", "limitedaccesstoken"] {
            assert_eq!(told(credential), None, "{what}: {sent:?}");
        }
    }
}

fn what_is_refused_is_refused_in_the_gateways_words(stage: &Stage) {
    let wrong = [("authorization", "Bearer not-one-of-the-keys")];
    let maker = [("ocp-apim-subscription-key", MAKER_KEY)];
    for (what, target, headers, status, code) in [
        ("no key", "/score", &[][..], 401, "credential_missing"),
        ("a wrong key", "/score", &wrong, 401, "key_auth_access_denied"),
        ("another's key", "/score", &maker, 401, "key_auth_access_denied"),
        ("a feature that is not granted", "/face/v1.0/identify", &maker, 403, "feature_not_granted"),
        ("no service", "/nowhere", &[], 404, "no_service"),
    ] {
        let (answer, reached) = stage.reached(|| stage.post(target, headers));
        assert_eq!(reached.len(), 0, "{what}: {reached:?}");
        let is_nginx = stage.kind == Kind::Nginx;
        assert_eq!(answer.status, if is_nginx && status == 404 { 403 } else { status }, "{what}: {answer:?}");
        assert_eq!(answer.header("x-ms-error-code"), Some(code), "{what}: {answer:?}");
        assert!(answer.header("x-scoregate-decision-id").is_some(), "{what}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert_eq!(challenge.contains("realm=\"iris\""), status == 401, "{what}: {answer:?}");
        // What auth_request has no room for is the body.
        if !is_nginx {
            let shown = if code == "feature_not_granted" { "InvalidRequest" } else { code };
            assert_eq!(answer.json()["error"]["code"], shown, "{what}: {answer:?}");
        }
    }
}

fn a_decision_is_on_record_as_one(stage: &Stage) {
    let answer = stage.post("/score?secret", &[]);
    let line = stage.decisions.gateway.access_line(answer.header("x-scoregate-decision-id").unwrap());
    for (name, want) in [
        ("scoregate.forward_auth", stage.kind.word()),
        ("http.request.method", "POST"),
        ("url.path", "/score"),
        ("server.address", "gateway.test"),
        ("scoregate.service", "iris"),
        ("scoregate.reason", "credential_missing"),
    ] {
        assert_eq!(line[name], want, "{name}: {line}");
    }
    // Envoy tells this machine's own address in place of the loopback one.
    let client = line["client.address"].as_str().unwrap();
    assert!(client == "127.0.0.1" || stage.kind == Kind::Envoy, "{line}");
    let listener = format!("for-{}", stage.kind.word());
    let count = |decision: &str| {
        let labels = format!("decision=\"{decision}\",listener=\"{listener}\"");
        stage.decisions.gateway.metric(&format!("gateway_forward_auth_decisions_total{{{labels}}}"))
    };
    assert!(count("allowed") >= 4.0 && count("denied") >= 6.0, "{} {}", count("allowed"), count("denied"));
}

/// Without a credential nothing but `GET /swagger.json` is open, whatever is sent; with the maker's key nothing that
/// needs a feature is.
fn no_trick_gets_past(stage: &Stage) -> u64 {
    let mut tried = 0;
    let mut attempt = |what: &str, bytes: String, is_open: fn(&Received) -> bool| {
        tried += 1;
        let (_answer, reached) = stage.reached(|| {
            let mut client = Client::connect(stage.proxy.address());
            client.send(&bytes);
            client.answer()
        });
        assert!(reached.iter().all(is_open), "{what}: {bytes:?} reached the upstream as {reached:?}");
    };
    let is_public = |sent: &Received| sent.method == "GET" && sent.target.split('?').next() == Some("/swagger.json");
    for target in TARGETS {
        for method in ["GET", "POST"] {
            attempt(
                "a path",
                format!("{method} {target} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"),
                is_public,
            );
        }
    }
    for lines in CLAIMS {
        for (method, target) in [("POST", "/score"), ("POST", "/swagger.json"), ("GET", "/score/x")] {
            attempt(
                "a claim",
                format!("{method} {target} HTTP/1.1\r\n{lines}\r\ncontent-length: 0\r\n\r\n"),
                is_public,
            );
        }
    }
    let is_free = |sent: &Received| {
        let query = sent.target.split('?').nth(1).unwrap_or_default();
        query.split(['&', ';']).filter(|pair| pair.to_ascii_lowercase().starts_with("returnfaceid")).collect::<Vec<_>>()
            == ["returnFaceId=false"]
    };
    for query in QUERIES {
        let lines = format!("host: a.test\r\nocp-apim-subscription-key: {MAKER_KEY}\r\ncontent-length: 0\r\n");
        attempt("a query", format!("POST /face/v1.0/detect?{query} HTTP/1.1\r\n{lines}\r\n"), is_free);
    }
    tried
}

const TARGETS: &[&str] = &[
    "/score",
    "/swagger.json/../score",
    "/swagger.json/..%2fscore",
    "/swagger.json/..%2Fscore",
    "/swagger.json/%2e%2e/score",
    "/swagger.json/%2e%2e%2fscore",
    "/swagger.json/%252e%252e/score",
    "/swagger.json/..;/score",
    "/swagger.json;/../score",
    "/swagger.json/..\\score",
    "/swagger.json%00/score",
    "/swagger.json%23/../score",
    "/swagger.json%3f/../score",
    "/swagger.json?/../score",
    "/swagger.json#/../score",
    "/score?/../swagger.json",
    "/score#/swagger.json",
    "//score",
    "//swagger.json/score",
    "//a.test/swagger.json",
    "/./score",
    "/%2e/score",
    "/%73core",
    "/%2fscore",
    "/scor%65",
    "/SCORE",
    "/score/",
    "/score%2f",
    "/score%20",
    "/score.",
    "/score;a=b",
    "/x/../swagger.json/../score",
    "/authz/score",
    "/authz/swagger.json",
    "/authz",
    "/_scoregate",
    "http://a.test/score",
    "http://a.test/swagger.json/../score",
    "http://swagger.json/score",
    "http://a.test?/score",
    "swagger.json",
    "*",
];

const CLAIMS: &[&str] = &[
    "host: a.test\r\nx-forwarded-uri: /swagger.json\r\nx-forwarded-method: GET\r\nx-forwarded-host: a.test",
    "host: a.test\r\nx-original-url: http://a.test/swagger.json\r\nx-original-method: GET",
    "host: a.test\r\nx-original-uri: /swagger.json\r\nx-rewrite-url: /swagger.json",
    "host: a.test\r\nx-envoy-original-path: /swagger.json\r\nx-envoy-original-method: GET\r\nx-envoy-decorator-operation: a",
    "host: a.test\r\nx-http-method-override: GET\r\nx-method-override: GET\r\nx-http-method: GET",
    "host: a.test\r\nx-forwarded-uri: /score\r\nx-forwarded-uri: /swagger.json",
    "host: a.test\r\nx_forwarded_uri: /swagger.json\r\nx_forwarded_method: GET",
    "host: a.test\r\nx_original_url: http://a.test/swagger.json\r\nx_original_method: GET",
    "host: a.test\r\nconnection: x-forwarded-uri, x-forwarded-method, x-original-url, x-original-method",
    "host: a.test\r\nconnection: x-scoregate-principal, authorization",
    "host: a.test\r\ncontent-type: application/grpc\r\nte: trailers",
    "host: a.test\r\nx-forwarded-for: 127.0.0.1\r\nforwarded: for=127.0.0.1;host=a.test",
    "host: a.test/swagger.json?",
    "host: a.test/swagger.json#",
    "host: a.test?",
    "host: a.test#",
    "host: a@swagger.json",
    "host: a.test\\",
    "host: a.test\r\nhost: b.test",
    "host:",
];

const QUERIES: &[&str] = &[
    "",
    "returnFaceId=false",
    "returnFaceId=true",
    "x=1;returnFaceId=true&returnFaceId=false",
    "returnFaceId=false;returnFaceId=true",
    "returnFaceId=false&returnFaceId=true",
    "returnFaceId=false&return%46aceId=true",
    "returnFaceId=false#&returnFaceId=true",
    "returnFaceId=false%26returnFaceId=true",
];

fn without_the_gateway_the_answer_is_no(stage: Stage) {
    let Stage { kind, proxy, mut decisions, upstream } = stage;
    decisions.gateway.kill();
    let before = upstream.received().len();
    for target in ["/score", "/swagger.json"] {
        let answer = client::get(proxy.address(), target, &[("authorization", &format!("Bearer {KEY}"))]);
        assert!((500..600).contains(&answer.status), "{kind:?} {target}: {answer:?}");
    }
    assert_eq!(upstream.received().len(), before, "{kind:?}");
}

const MORE: &str = "
  asking:
    match: [{prefix: /query}]
    upstream: model
    auth: {key: {from: [bearer, {query: k}], keys: none, accounts: [door-maker]}}
    issues_limited_access_tokens: true
";

/// What is asked by hand, as Envoy would.
fn ask(decisions: &Decisions, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    client::request(decisions.listener(Kind::Envoy), method, &format!("/authz{target}"), headers, b"")
}

#[test]
fn an_answer_names_every_header_that_tells_who_calls() {
    let upstream = Upstream::ok();
    let decisions = Decisions::start(&upstream, "");
    let bearer = format!("Bearer {KEY}");
    for (target, principal) in [("/score", "service:iris:primary"), ("/swagger.json", "")] {
        let answer = ask(&decisions, "GET", target, &[("authorization", &bearer)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{target}");
        assert_eq!(answer.header("x-scoregate-principal"), Some(principal), "{target}");
        assert_eq!(answer.header("x-scoregate-resource"), Some(""), "{target}");
        assert_eq!(answer.header("x-scoregate-features"), Some(""), "{target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    }
    assert!(upstream.received().is_empty(), "whoever asks forwards itself");
}

#[test]
fn no_refusal_is_an_answer_of_200() {
    let decisions = Decisions::start(&Upstream::ok(), MORE);
    let query = format!("/query?k={MAKER_KEY}");
    for (what, method, target, headers, status, code) in [
        (
            "a gRPC call",
            "POST",
            "/score",
            &[("content-type", "application/grpc"), ("te", "trailers")][..],
            401,
            "credential_missing",
        ),
        ("HEAD", "HEAD", "/score", &[], 401, "credential_missing"),
        ("TRACE", "TRACE", "/swagger.json", &[], 405, Denied::MethodRefused.row().code),
        ("another method", "POST", "/swagger.json", &[], 405, Denied::MethodNotAllowed.row().code),
        (
            "a key in the query, which the proxy would pass on",
            "GET",
            &query,
            &[],
            400,
            Denied::ForwardAuthInvalid.row().code,
        ),
        ("what only the gateway issues", "POST", "/sts/v1.0/issueLimitedAccessToken", &[], 401, "credential_missing"),
    ] {
        let answer = ask(&decisions, method, target, headers);
        assert_eq!((answer.status, answer.header("x-ms-error-code")), (status, Some(code)), "{what}");
        let line = decisions.gateway.access_line(answer.header("x-scoregate-decision-id").unwrap());
        assert_eq!(line["scoregate.forward_auth"], "envoy", "{what}: {line}");
    }
    let bearer = format!("Bearer {MAKER_KEY}");
    let issuing = ask(&decisions, "POST", "/sts/v1.0/issueLimitedAccessToken", &[("authorization", &bearer)]);
    assert_eq!((issuing.status, issuing.header("x-ms-error-code")), (404, Some("no_service")));
}

#[test]
fn a_listener_for_questions_reaches_no_service() {
    let upstream = Upstream::ok();
    let decisions = Decisions::start(&upstream, "");
    let bearer = format!("Bearer {KEY}");
    for kind in Kind::ALL {
        for target in ["/score", "/swagger.json", "/", "/authz/../score", "/livez"] {
            let answer = client::get(decisions.listener(kind), target, &[("authorization", &bearer)]);
            assert!((400..500).contains(&answer.status), "{kind:?} {target}: {answer:?}");
        }
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_peer_that_is_not_listed_is_told_nothing() {
    let upstream = Upstream::ok();
    let decisions = Decisions::start(&upstream, "");
    let config = std::fs::read_to_string(decisions.gateway.config()).unwrap();
    let bearer = format!("Bearer {KEY}");
    let mut asked_before = Client::connect(decisions.listener(Kind::Envoy));
    assert_eq!(asked_before.request("GET", "/authz/score", &[("authorization", &bearer)], b"").status, 200);
    decisions.gateway.write("gateway.yaml", config.replace("peers: [127.0.0.1]", "peers: [192.0.2.0/24]"));
    decisions.gateway.hangup();
    crate::support::eventually("the peers have changed", || (decisions.gateway.generation() >= 2.0).then_some(()));
    // Connections that were there before are peers as well.
    for answer in [
        asked_before.request("GET", "/authz/score", &[("authorization", &bearer)], b""),
        ask(&decisions, "GET", "/score", &[("authorization", &bearer)]),
        ask(&decisions, "GET", "/swagger.json", &[("x-forwarded-for", "192.0.2.1")]),
        client::get(decisions.listener(Kind::Nginx), "/authz", &[]),
    ] {
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (403, Some("forward_auth_peer")));
        assert_eq!(answer.header("x-scoregate-principal"), None);
        let line = decisions.gateway.access_line(answer.header("x-scoregate-decision-id").unwrap());
        assert_eq!(line["scoregate.reason"], Denied::ForwardAuthPeer.row().code, "{line}");
        assert_eq!(line["client.address"], "127.0.0.1", "a stranger's word is not believed: {line}");
    }
}
