//! Every answer that is the gateway's own: a row at least for each way to say no, provoked from outside.

mod advised;
mod calls;
mod explained;
pub(crate) mod stage;

use std::io::Write as _;
use std::time::Duration;

use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use scoregate::model::refusal::Refusal;

use self::calls::CALLS;
use self::calls::Call;
use self::stage::Stage;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;

/// Rows that nothing outside can provoke, and why not.
const BEYOND_REACH: &[(Refusal, &str)] = &[
    (Refusal::Failed(Failed::NoEndpoint), "the tests of resilience take every endpoint away"),
    (Refusal::Failed(Failed::AuditUnavailable), "the tests of the audit log take it away"),
    (Refusal::Denied { why: Denied::HeadTimeout, retry_after: None }, "the tests of the deadlines wait for it"),
    (
        Refusal::Denied { why: Denied::ForwardAuthPeer, retry_after: None },
        "the tests of forward-auth ask as a stranger",
    ),
    (
        Refusal::Denied { why: Denied::ForwardAuthInvalid, retry_after: None },
        "the tests of forward-auth ask what they like",
    ),
    (Refusal::Denied { why: Denied::AuthThrottled, retry_after: None }, "the tests of the throttle fail often enough"),
    (Refusal::Denied { why: Denied::CallerBusy, retry_after: None }, "the tests of resilience keep callers busy"),
    (Refusal::Denied { why: Denied::ServiceBusy, retry_after: None }, "the tests of resilience keep a service busy"),
    (Refusal::Failed(Failed::QueueTimeout), "the tests of resilience keep a service busy"),
    (Refusal::Failed(Failed::Internal), "provoking it would take a bug"),
];

#[test]
fn every_row_is_provoked_or_is_known_to_be_beyond_reach() {
    let denied = Denied::ALL.iter().map(|why| Refusal::from(*why));
    for row in denied.chain(Failed::ALL.iter().map(|failed| Refusal::from(*failed))) {
        let provoked = CALLS.iter().any(|call| call.refusal == row);
        let beyond = BEYOND_REACH.iter().any(|(refusal, _)| *refusal == row);
        assert!(provoked != beyond, "{}: want either a call that provokes it or a reason", row.row().code);
    }
}

#[test]
fn each_call_is_refused_as_its_row_says() {
    let stage = Stage::set();
    // The lines of the access log are written now and then, so all of them are asked for at the end.
    let answers: Vec<Answer> = CALLS.iter().map(|call| (call.make)(&stage)).collect();
    for (call, answer) in CALLS.iter().zip(&answers) {
        check(call, answer);
        let decision = answer.header("x-scoregate-decision-id").unwrap_or_default();
        let line = stage.gateway.access_line(decision);
        assert_eq!(line["scoregate.reason"], call.refusal.row().code, "{}: {line}", call.name);
        assert_eq!(line["http.response.status_code"], answer.status, "{}: {line}", call.name);
    }
    let panics = stage.gateway.metric("gateway_panics_total");
    assert!(panics == 0.0, "{panics} panics");
    let cases = CALLS.len() as u64;
    summary::report("refusals", Counts { cases, passed: cases, refused: cases, ..Counts::default() });
}

fn check(call: &Call, answer: &Answer) {
    let (name, row) = (call.name, call.refusal.row());
    let body = answer.json();
    assert_eq!(answer.status, row.status.as_u16(), "{name}: {body}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
    assert_eq!(body["error"]["code"], call.shown, "{name}: {body}");
    assert_eq!(body["status"], row.status.as_u16(), "{name}: {body}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
    assert!(answer.header("x-request-id").is_some(), "{name}: a request id");
    let proxy_status = answer.header("proxy-status").unwrap_or_default();
    let error = match call.refusal {
        Refusal::Denied { .. } if answer.status == 400 => "http_request_error",
        Refusal::Denied { .. } => "http_request_denied",
        Refusal::Failed(failed) => failed.proxy_status(),
    };
    assert_eq!(proxy_status, format!("scoregate; error={error}"), "{name}");
    let challenges = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").count();
    assert_eq!(challenges > 0, answer.status == 401, "{name}: a challenge exactly with 401");
    assert_eq!(answer.header("allow").is_some(), answer.status == 405, "{name}: Allow exactly with 405");
    if matches!(answer.status, 401 | 403) {
        assert_eq!(answer.header("retry-after"), None, "{name}: clients would send it again");
    }
}

#[test]
fn a_grpc_caller_gets_the_same_refusals_as_grpc_status() {
    let stage = Stage::set();
    for (what, target, key, status, named) in [
        ("no key", "/keyed", None, "16", Some(Denied::CredentialMissing.row().message)),
        ("an unknown key", "/keyed", Some("not-one-of-the-keys"), "16", None),
        ("no service", "/nowhere", None, "12", None),
        ("a broken upstream", "/refusing", None, "14", None),
        ("no time left", "/late", None, "4", None),
    ] {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/grpc+proto"), ("te", "trailers")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let answer = client::post(stage.gateway.traffic(), target, &headers, b"\0\0\0\0\0");
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"), "{what}");
        assert_eq!(answer.header("grpc-status"), Some(status), "{what}");
        assert!(answer.header("grpc-message").is_some_and(|message| !message.is_empty()), "{what}: a message");
        if let Some(named) = named {
            assert_eq!(answer.header("grpc-message"), Some(named), "{what}");
        }
        assert!(answer.body.is_empty(), "{what}");
    }
}

#[test]
fn a_405_lists_the_methods_that_are_taken() {
    let stage = Stage::set();
    for (method, target, allow) in [
        ("DELETE", "/reading", "GET, HEAD"),
        ("TRACE", "/reading", "GET, HEAD"),
        ("TRACE", "/open", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ] {
        let answer = client::request(stage.gateway.traffic(), method, target, &[], b"");
        assert_eq!(answer.status, 405, "{method} {target}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {target}");
    }
}

#[test]
fn a_caller_cannot_tell_unknown_expired_and_revoked_credentials_apart() {
    let stage = Stage::set();
    let hidden = CALLS.iter().filter(|call| call.refusal.row().message.is_empty());
    let mut seen: Vec<(&str, String, Option<String>)> = Vec::new();
    for call in hidden {
        let answer = (call.make)(&stage);
        // The realm is the service's name, which the caller knows.
        let challenge = answer.header("www-authenticate").map(|challenge| {
            challenge.replace("realm=\"expired\"", "realm=\"keyed\"").replace("realm=\"own\"", "realm=\"corp\"")
        });
        let text = answer.json()["error"].to_string();
        if let Some((first, message, header)) = seen.iter().find(|(_, message, _)| *message == text) {
            assert_eq!((&challenge, &text), (header, message), "{} and {first}", call.name);
        } else {
            seen.push((call.name, text, challenge));
        }
    }
    assert_eq!(seen.len(), 2, "one wording for keys and one for tokens: {seen:?}");
}

/// What never becomes a request: the HTTP library gives it up before anybody is asked.
#[test]
fn what_is_no_request_is_refused_in_the_same_words_and_the_connection_ends() {
    let stage = Stage::set();
    let many: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(200 * 1024));
    let head = |lines: &str| format!("GET /open HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n");
    let target = format!("GET /{} HTTP/1.1\r\nhost: a.test\r\n\r\n", "a".repeat(70 * 1024));
    let after_another = format!("{}{}", head(""), head("x y: 1\r\n"));
    let before = |why: Denied| {
        let series = format!("gateway_denials_total{{reason=\"{}\",service=\"_none\"}}", why.row().code);
        stage.gateway.metric(&series)
    };
    for (what, bytes, why) in [
        ("too many headers", head(&many), Denied::HeadersTooLarge),
        ("a header that is too large", head(&large), Denied::HeadersTooLarge),
        ("a target beyond measure", target, Denied::TargetTooLong),
        ("no HTTP", "hello, is this a printer?\r\n\r\n".to_owned(), Denied::RequestMalformed),
        ("a space in a header's name", head("x y: 1\r\n"), Denied::RequestMalformed),
        ("two lengths that differ", head("content-length: 1\r\ncontent-length: 2\r\n"), Denied::RequestMalformed),
        ("a length that is none", head("content-length: +1\r\n"), Denied::RequestMalformed),
        ("a good request and a bad one after it", after_another, Denied::RequestMalformed),
    ] {
        let counted = before(why);
        let mut client = client::Client::connect(stage.gateway.traffic());
        client.send(&bytes);
        if what.starts_with("a good request") {
            assert_eq!(client.answer().status, 200, "{what}");
        }
        let answer = client.answer();
        check(&calls::plain(what, why, |on| client::get(on.gateway.traffic(), "/", &[])), &answer);
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{what}");
        assert!(client.is_closed(), "{what}");
        let line = stage.gateway.access_line(answer.header("x-scoregate-decision-id").unwrap_or_default());
        assert_eq!(line["scoregate.reason"], why.row().code, "{what}: {line}");
        assert_eq!(before(why), counted + 1.0, "{what}: counted once");
    }
    assert_eq!(stage.open.received().len(), 1, "nothing of it has reached an upstream but the good one");
    let protocol = "gateway_connections_closed_total{listener=\"traffic-0\",reason=\"protocol\"}";
    eventually("all of them are counted", || (stage.gateway.metric(protocol) >= 8.0).then_some(()));
    assert_eq!(stage.gateway.metric(protocol), 8.0);
}

/// The bytes of an answer are the upstream's, also where they look like an answer of the HTTP library.
#[test]
fn a_body_that_reads_like_an_answer_of_the_library_arrives_whole() {
    let canned = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::start(move |_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 2 * canned.len())?;
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(canned.as_bytes())?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&format!(
        "
upstreams: {{a: {{endpoints: [\"http://{}\"]}}}}
services: {{a: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}}}}}
",
        upstream.address()
    ));
    let mut client = client::Client::connect(gateway.traffic());
    for _ in 0..3 {
        let answer = client.request("GET", "/", &[], b"");
        assert_eq!((answer.status, answer.text()), (200, canned.repeat(2)));
    }
}
