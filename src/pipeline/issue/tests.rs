//! What is issued, and what is not.

use http::StatusCode;

use super::issue;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::time::UnixSeconds;
use crate::snapshot::testing::Stage;

const CONFIG: &str = "\
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {face: {endpoints: ['http://127.0.0.1:9']}}
accounts:
  vendor: {resource: /a/vendor, approvals: [Face.Verification], may_issue: [Face.Identification]}
  client: {resource: /a/Client}
services:
  face:
    match: [{prefix: /face}]
    upstream: face
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
";

const NOW: UnixSeconds = UnixSeconds(2_000_000_000);

fn body(target: &str, flags: &str) -> String {
    format!(r#"{{"targetAzureResourceId":"{target}","featureFlags":[{flags}]}}"#)
}

#[tokio::test]
async fn a_token_is_lent_to_a_known_resource_within_the_vendors_ceiling_and_no_further() {
    let stage = Stage::new(CONFIG, &[]).await;
    let snapshot = stage.live.load();
    let identification = r#""Face.Identification""#;
    for (vendor, query, body, want) in [
        ("vendor", None, body("/a/client", identification), None),
        ("vendor", Some("expiredTime=60"), body("/A/CLIENT/", identification), None),
        ("vendor", None, body("/a/vendor", identification), None),
        ("vendor", Some("expiredTime=59"), body("/a/client", identification), Some(Denied::IssueArgument)),
        ("vendor", None, body("/a/nobody", identification), Some(Denied::IssueArgument)),
        ("vendor", None, body("/a/client", r#""Face.Everything""#), Some(Denied::IssueArgument)),
        ("vendor", None, body("/a/client", ""), Some(Denied::IssueArgument)),
        ("vendor", None, "no json".to_owned(), Some(Denied::IssueArgument)),
        // What the vendor holds itself is not what it may lend.
        ("vendor", None, body("/a/client", r#""Face.Verification""#), Some(Denied::IssueNotAllowed)),
        (
            "vendor",
            None,
            body("/a/client", r#""Face.Identification","Face.Verification""#),
            Some(Denied::IssueNotAllowed),
        ),
        ("client", None, body("/a/client", identification), Some(Denied::IssueNotAllowed)),
        ("gone", None, body("/a/client", identification), Some(Denied::IssueNotAllowed)),
    ] {
        let vendor = Name::parse(vendor).unwrap();
        let got = issue(&snapshot, &vendor, query, body.as_bytes(), &"decision", NOW);
        assert_eq!(got.err().map(|why| why.refusal), want.map(Into::into), "{vendor} {query:?} {body}");
    }
}

#[tokio::test]
async fn what_is_issued_verifies_and_says_what_was_lent_to_whom() {
    let stage = Stage::new(CONFIG, &[]).await;
    let snapshot = stage.live.load();
    let vendor = Name::parse("vendor").unwrap();
    let body = body("/a/CLIENT", r#""Face.Identification""#);
    let (issued, event) = issue(&snapshot, &vendor, Some("expiredTime=60"), body.as_bytes(), &"decision", NOW).unwrap();
    let token = snapshot.limited.verify(issued.jwt.expose(), NOW).unwrap();
    assert_eq!(token.target.as_str(), "/a/Client", "as the account's resource is written, not as it was asked for");
    assert_eq!(token.isv, vendor);
    assert_eq!(Some(token.flags), snapshot.features.find("Face.Identification"));
    assert_eq!(token.expires, NOW.plus(60));
    assert!(snapshot.limited.verify(issued.jwt.expose(), NOW.plus(60 * 60)).is_err());
    assert_eq!((event.resource.as_str(), event.rule.as_str()), ("/a/Client", "accounts.vendor.may_issue"));
    assert_eq!(event.detail["jti"], *issued.id);
}

#[test]
fn the_statuses_are_those_of_the_contract() {
    for (why, want) in
        [(Denied::IssueArgument, StatusCode::BAD_REQUEST), (Denied::IssueNotAllowed, StatusCode::FORBIDDEN)]
    {
        assert_eq!(why.row().status, want, "{why:?}");
    }
}
