//! Tokens that a worker remembers to have verified: what a change takes from them, and what it does not.

use serde_json::json;

use super::case::Case;
use super::stage::Stage;
use crate::support::client::Client;
use crate::support::client::post;
use crate::support::gateway::Gateway;

/// Connections enough that each of two workers has some.
const CONNECTIONS: usize = 12;

/// The statuses of one request, each over a connection of its own.
fn statuses(gateway: &Gateway, request: &[u8]) -> Vec<u16> {
    let ask = |_| {
        let mut client = Client::connect(gateway.traffic());
        client.send(request);
        client.answer().status
    };
    (0..CONNECTIONS).map(ask).collect()
}

fn all(status: u16) -> Vec<u16> {
    vec![status; CONNECTIONS]
}

/// A case with these claims.
fn with(stage: &Stage, from: &str, claims: &[(&str, &str)]) -> Case {
    let mut case = stage.good[from].clone();
    from.clone_into(&mut case.from);
    case.claims = claims.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    case.header.clear();
    case
}

#[test]
fn a_remembered_token_is_refused_from_the_answer_to_its_revocation_on() {
    let stage = Stage::set();
    let owner = format!("Bearer {}", String::from_utf8(stage.word("key owner").unwrap()).unwrap());
    let of_corp = json!({ "token": { "issuer": "https://corp.test/", "jti": "remembered" } });
    let of_own = json!({ "token": { "issuer": "urn:scoregate", "jti": "remembered" } });
    let of_loan = json!({ "token": { "issuer": "urn:scoregate", "jti": "lent" } });
    for (from, jti, what) in [
        ("corp", "\"remembered\"", of_corp),
        ("own", "\"remembered\"", of_own),
        ("limited", "\"lent\"", of_loan),
        ("limited", "\"another\"", json!({ "isv": "vendor" })),
        ("strict", "\"another\"", json!({ "resource": "/A/Maker" })),
    ] {
        let request = stage.request(&with(&stage, from, &[("jti", jti)]), "remembered");
        let before = hits(&stage.gateway);
        assert_eq!(statuses(&stage.gateway, &request), all(200), "{from} before {what}");
        assert!(hits(&stage.gateway) >= before + 10.0, "{from}: it was remembered by both workers");
        let headers = [("authorization", &*owner)];
        let revoked = post(stage.gateway.management(), "/api/v1/revocations", &headers, what.to_string());
        assert_eq!(revoked.status, 201, "{what}: {}", revoked.text());
        assert_eq!(statuses(&stage.gateway, &request), all(401), "{from} after {what}");
    }
    let untouched = stage.request(&with(&stage, "corp", &[("jti", "\"untouched\"")]), "untouched");
    assert_eq!(statuses(&stage.gateway, &untouched), all(200));
}

#[test]
fn a_token_is_remembered_whole() {
    let stage = Stage::set();
    for from in ["corp", "rs256", "eddsa", "own", "limited"] {
        let case = with(&stage, from, &[]);
        let token = String::from_utf8(stage.token(&case)).unwrap();
        let ask = |token: &str| {
            let text = Some(token.to_owned());
            statuses(&stage.gateway, &stage.request(&Case { text, ..case.clone() }, "whole"))
        };
        assert_eq!((ask(&token), ask(&token)), (all(200), all(200)), "{from}");
        for (at, _) in token.match_indices(|_: char| true).step_by(token.len() / 20) {
            let (before, rest) = token.split_at(at);
            let (one, after) = rest.split_at(1);
            let other = if one == "A" { "B" } else { "A" };
            assert_eq!(ask(&format!("{before}{other}{after}")), all(401), "{from}: changed at {at}");
        }
        assert_eq!(ask(token.split_at(token.len() - 1).0), all(401), "{from}: cut");
        assert_eq!(ask(&format!("{token}A")), all(401), "{from}: longer");
        assert_eq!(ask(&token), all(200), "{from}: as it was");
    }
}

/// Look-ups that found a token.
fn hits(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_token_cache_requests_total{result=\"hit\"}")
}
