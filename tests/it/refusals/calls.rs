//! The calls, a row each: what is refused, as what, what the caller reads, and the bytes that provoke it.

use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use scoregate::model::refusal::Refusal;
use scoregate::model::time::UnixSeconds;
use serde_json::Value;
use serde_json::json;

use super::stage;
use super::stage::Stage;
use super::stage::corp_token;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;

/// A call that is refused.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) refusal: Refusal,
    /// `error.code` of the body.
    pub(super) shown: &'static str,
    pub(super) make: fn(&Stage) -> Answer,
}

const fn denied(name: &'static str, why: Denied, shown: &'static str, make: fn(&Stage) -> Answer) -> Call {
    Call { name, refusal: Refusal::Denied { why, retry_after: None }, shown, make }
}

const fn failed(name: &'static str, why: Failed, make: fn(&Stage) -> Answer) -> Call {
    Call { name, refusal: Refusal::Failed(why), shown: why.row().code, make }
}

/// A denial whose code the caller reads as it is.
pub(super) const fn plain(name: &'static str, why: Denied, make: fn(&Stage) -> Answer) -> Call {
    denied(name, why, why.row().code, make)
}

const fn key(name: &'static str, why: Denied, make: fn(&Stage) -> Answer) -> Call {
    denied(name, why, "key_auth_access_denied", make)
}

const fn bad_token(name: &'static str, why: Denied, make: fn(&Stage) -> Answer) -> Call {
    denied(name, why, "token_auth_access_denied", make)
}

pub(super) const CALLS: &[Call] = &[
    // The request's own form.
    plain("no HTTP", Denied::RequestMalformed, |on| client::raw(on.gateway.traffic(), "HELO gateway\r\n\r\n")),
    plain("too many headers", Denied::HeadersTooLarge, |on| get(on, "/open", &[("x-a", "1"); 200])),
    plain("TRACE", Denied::MethodRefused, |on| client::request(on.gateway.traffic(), "TRACE", "/open", &[], b"")),
    plain("no Host", Denied::HostInvalid, |on| client::raw(on.gateway.traffic(), "GET /open HTTP/1.1\r\n\r\n")),
    plain("two Hosts", Denied::HostInvalid, |on| {
        client::raw(on.gateway.traffic(), "GET /open HTTP/1.1\r\nhost: a.test\r\nhost: b.test\r\n\r\n")
    }),
    plain("a Host that is none", Denied::HostInvalid, |on| get(on, "/open", &[("host", "a b")])),
    plain("a target for another host", Denied::HostInvalid, |on| {
        client::raw(on.gateway.traffic(), "GET http://b.test/open HTTP/1.1\r\nhost: a.test\r\n\r\n")
    }),
    plain("dot segments", Denied::PathAmbiguous, |on| get(on, "/open/../keyed", &[])),
    plain("an encoded slash", Denied::PathAmbiguous, |on| get(on, "/open%2Fx", &[])),
    plain("an empty segment", Denied::PathAmbiguous, |on| get(on, "/open//x", &[])),
    plain("a long target", Denied::TargetTooLong, |on| get(on, &format!("/open?{}", "a".repeat(17 * 1024)), &[])),
    plain("no service", Denied::NoService, |on| get(on, "/nowhere", &[])),
    plain("another method", Denied::MethodNotAllowed, |on| client::post(on.gateway.traffic(), "/reading", &[], b"")),
    // The body.
    plain("a body that says it is too large", Denied::BodyTooLarge, |on| {
        client::post(on.gateway.traffic(), "/open", &[], vec![b'a'; 1025])
    }),
    plain("a body that turns out too large", Denied::BodyTooLarge, |on| {
        let chunk = format!("400\r\n{}\r\n", "a".repeat(0x400));
        let body = format!("{chunk}{chunk}0\r\n\r\n");
        client::post(on.gateway.traffic(), "/open", &[("transfer-encoding", "chunked")], body)
    }),
    plain("a body that stops", Denied::BodyTimeout, |on| {
        client::post(on.gateway.traffic(), "/open", &[("content-length", "10")], b"abc")
    }),
    plain("a body with broken chunks", Denied::BodyMalformed, |on| {
        client::post(on.gateway.traffic(), "/open", &[("transfer-encoding", "chunked")], b"5\r\nabcdefgh\r\n0\r\n\r\n")
    }),
    // Keys.
    plain("no key", Denied::CredentialMissing, |on| get(on, "/keyed", &[])),
    plain("no token", Denied::CredentialMissing, |on| get(on, "/corp", &[])),
    plain("two keys", Denied::CredentialAmbiguous, |on| {
        get(on, "/keyed", &[("authorization", &format!("Bearer {}", stage::KEY)), ("x-key", stage::OTHER_KEY)])
    }),
    plain("a key in the header and another in the query", Denied::CredentialAmbiguous, |on| {
        get(on, &format!("/keyed?k={}", stage::OTHER_KEY), &[("x-key", stage::KEY)])
    }),
    plain("one header twice", Denied::CredentialAmbiguous, |on| {
        get(on, "/keyed", &[("x-key", stage::KEY), ("x-key", stage::KEY)])
    }),
    plain("a token and a subscription key", Denied::CredentialAmbiguous, |on| {
        let bearer = format!("Bearer {}", corp_token(&json!({})));
        get(on, "/corp", &[("authorization", &bearer), ("ocp-apim-subscription-key", stage::KEY)])
    }),
    denied("another scheme", Denied::CredentialMalformed, "key_auth_bad_header_forbidden", |on| {
        get(on, "/keyed", &[("authorization", "Basic dTpw")])
    }),
    plain("another scheme for a token", Denied::CredentialMalformed, |on| {
        get(on, "/corp", &[("authorization", "Basic dTpw")])
    }),
    key("a key of nobody's", Denied::KeyUnknown, |on| bearer(on, "/keyed", "a-key-of-nobody-at-all")),
    key("another service's key", Denied::KeyUnknown, |on| bearer(on, "/keyed", stage::MAKER_KEY)),
    key("a token in place of a key", Denied::KeyUnknown, |on| bearer(on, "/keyed", &corp_token(&json!({})))),
    key("a key that has expired", Denied::KeyExpired, |on| bearer(on, "/expired", stage::OLD_KEY)),
    // Tokens.
    bad_token("a key in place of a token", Denied::TokenMalformed, |on| bearer(on, "/corp", stage::KEY)),
    bad_token("a token of another type", Denied::TokenMalformed, |on| {
        bearer(on, "/corp", &stage::token(&json!({"alg": "HS256", "typ": "secevent+jwt"}), &json!({}), stage::SHARED))
    }),
    bad_token("an algorithm that is not accepted", Denied::TokenAlgorithm, |on| {
        bearer(on, "/corp", &stage::token(&json!({"alg": "HS384", "typ": "JWT"}), &json!({}), stage::SHARED))
    }),
    bad_token("no algorithm at all", Denied::TokenAlgorithm, |on| {
        bearer(on, "/corp", &stage::token(&json!({"alg": "none", "typ": "JWT"}), &json!({}), stage::SHARED))
    }),
    bad_token("a key that the issuer does not have", Denied::TokenKeyUnknown, |on| {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "nobodys"});
        bearer(on, "/own", &stage::token(&header, &json!({"iss": "urn:scoregate", "aud": "own"}), stage::SHARED))
    }),
    bad_token("a signature by another key", Denied::TokenSignature, |on| {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        bearer(on, "/corp", &stage::token(&header, &json!({}), b"another-secret-of-thirty-two-bytes!!"))
    }),
    bad_token("an expired token", Denied::TokenExpired, |on| corp(on, &json!({"exp": now() - 31}))),
    bad_token("a token of the future", Denied::TokenNotYetValid, |on| corp(on, &json!({"nbf": now() + 120}))),
    bad_token("another issuer's token", Denied::TokenIssuer, |on| corp(on, &json!({"iss": "https://evil.test/"}))),
    bad_token("a token for another service", Denied::TokenAudience, |on| corp(on, &json!({"aud": "iris"}))),
    bad_token("a token that lives too long", Denied::TokenLifetime, |on| corp(on, &json!({"exp": now() + 7200}))),
    bad_token("a claim of another value", Denied::TokenClaim, |on| corp(on, &json!({"role": "reader"}))),
    bad_token("a claim that is missing", Denied::TokenClaim, |on| corp(on, &json!({"role": null}))),
    bad_token("a revoked token", Denied::TokenRevoked, |on| corp(on, &json!({"jti": stage::REVOKED_ID}))),
    // Features.
    denied("a gated call without a token", Denied::FeatureNotGranted, "InvalidRequest", |on| identify(on, None)),
    plain("a LimitedAccessToken that is none", Denied::LimitedTokenInvalid, |on| identify(on, Some("a.b.c"))),
    plain("an expired LimitedAccessToken", Denied::LimitedTokenExpired, |on| identify(on, Some(&on.limited.expired))),
    plain("a LimitedAccessToken for another resource", Denied::LimitedTokenResource, |on| {
        identify(on, Some(&on.limited.for_another))
    }),
    denied("a LimitedAccessToken asked for without a resource", Denied::IssueArgument, "BadArgument", |on| {
        issue(on, r#"{"featureFlags": ["Face.Identification"]}"#)
    }),
    plain("a LimitedAccessToken asked for above the ceiling", Denied::IssueNotAllowed, |on| {
        issue(
            on,
            &format!(r#"{{"featureFlags": ["Face.Identification"], "targetAzureResourceId": "{}"}}"#, stage::VENDOR),
        )
    }),
    plain("a deployment that is none", Denied::NoDeployment, |on| {
        get(on, "/split", &[("azureml-model-deployment", "red")])
    }),
    // Limits.
    plain("a second request where one may be made", Denied::RateLimited, |on| {
        let _the_one = get(on, "/seldom", &[]);
        get(on, "/seldom", &[])
    }),
    // What broke.
    failed("nobody listens", Failed::UpstreamUnreachable, |on| get(on, "/refusing", &[])),
    failed("a handshake that never ends", Failed::UpstreamConnectTimeout, |on| get(on, "/silent", &[])),
    failed("plain text where TLS is wanted", Failed::UpstreamTls, |on| get(on, "/plain", &[])),
    failed("a connection that is closed", Failed::UpstreamClosed, |on| {
        // Not to be repeated: a POST that was sent may have been processed.
        client::post(on.gateway.traffic(), "/closing", &[], b"{}")
    }),
    failed("an answer in another protocol", Failed::UpstreamProtocol, |on| get(on, "/garbling", &[])),
    failed("an answer that does not come", Failed::UpstreamTimeout, |on| get(on, "/dawdling", &[])),
    failed("an exchange that takes too long", Failed::TotalTimeout, |on| get(on, "/late", &[])),
    failed("keys that cannot be loaded", Failed::ServiceQuarantined, |on| bearer(on, "/lacking", stage::KEY)),
    failed("an issuer that is down", Failed::IssuerUnavailable, |on| {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": "one"});
        bearer(on, "/away", &stage::token(&header, &json!({"iss": "https://away.test/", "aud": "away"}), stage::SHARED))
    }),
];

fn get(on: &Stage, target: &str, headers: &[(&str, &str)]) -> Answer {
    client::get(on.gateway.traffic(), target, headers)
}

fn bearer(on: &Stage, target: &str, credential: &str) -> Answer {
    get(on, target, &[("authorization", &format!("Bearer {credential}"))])
}

fn corp(on: &Stage, changes: &Value) -> Answer {
    bearer(on, "/corp", &corp_token(changes))
}

fn issue(on: &Stage, body: &str) -> Answer {
    let headers = [("ocp-apim-subscription-key", stage::MAKER_KEY)];
    let path = "/sts/v1.0/issueLimitedAccessToken";
    Client::connect(on.gateway.traffic()).request("POST", path, &headers, body.as_bytes())
}

fn identify(on: &Stage, limited: Option<&str>) -> Answer {
    let limited = limited.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("ocp-apim-subscription-key", stage::MAKER_KEY)];
    headers.extend(limited.as_deref().map(|limited| ("limitedaccesstoken", limited)));
    Client::connect(on.gateway.traffic()).request("POST", "/face/v1.0/identify", &headers, b"{}")
}

fn now() -> u64 {
    UnixSeconds::now().0
}
