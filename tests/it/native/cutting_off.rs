//! LimitedAccessTokens that are out when something takes them back.

use base64::Engine as _;
use serde_json::Value;
use serde_json::json;

use super::Stage;
use crate::support::client;

/// A vendor that lends and a customer that uses, both made through the API.
struct Loan {
    stage: Stage,
    vendor: String,
    customer: String,
}

impl Loan {
    fn new() -> Self {
        let stage = Stage::new();
        let vendor = json!({ "name": "vendor", "resource": "/a/vendor", "mayIssue": ["Face.Identification"] });
        stage.done("POST", "accounts", &vendor);
        stage.done("POST", "accounts", &json!({ "name": "customer", "resource": "/a/customer" }));
        let (vendor, customer) = (stage.primary("accounts/vendor"), stage.primary("accounts/customer"));
        Self { stage, vendor, customer }
    }

    fn issue(&self) -> String {
        let headers = [("ocp-apim-subscription-key", &*self.vendor)];
        let body = r#"{"targetAzureResourceId": "/a/customer", "featureFlags": ["Face.Identification"]}"#;
        let issued = client::post(self.stage.gateway.traffic(), "/sts/v1.0/issueLimitedAccessToken", &headers, body);
        assert_eq!(issued.status, 200, "{}", issued.text());
        issued.text()
    }

    fn identify(&self, limited: &str) -> u16 {
        let limited = format!("Bearer {limited}");
        let headers = [("ocp-apim-subscription-key", &*self.customer), ("limitedaccesstoken", &*limited)];
        client::post(self.stage.gateway.traffic(), "/face/v1.0/identify", &headers, "{}").status
    }
}

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

#[test]
fn a_token_that_is_revoked_by_itself_by_resource_or_by_vendor_opens_nothing_from_the_answer_on() {
    for by in ["token", "resource", "isv"] {
        let loan = Loan::new();
        let (one, other) = (loan.issue(), loan.issue());
        assert_eq!((loan.identify(&one), loan.identify(&other)), (200, 200));
        let issued = &claims(&one);
        let what = match by {
            "token" => json!({ "issuer": issued["iss"], "jti": issued["jti"] }),
            "resource" => json!("/A/Customer"),
            _ => json!("vendor"),
        };
        let revoked = loan.stage.done("POST", "revocations", &json!({ by: what, "why": "a test" }));
        // Issued in this very second as well, most likely.
        assert_eq!(loan.identify(&one), 401, "by {by}");
        let spared = by == "token";
        assert_eq!(loan.identify(&other), if spared { 200 } else { 401 }, "by {by}");

        assert_eq!((&revoked[by], &revoked["why"]), (&what, &json!("a test")));
        let (before, expires) = (&revoked["issuedBefore"], &revoked["expires"]);
        assert!(issued["iat"].as_u64() <= before.as_u64());
        assert!(expires.as_u64().unwrap() >= before.as_u64().unwrap() + 86_400, "no token outlives it");
        let listed = loan.stage.done("GET", "revocations", &Value::Null);
        assert_eq!(listed, json!({ "value": [revoked] }));
    }
}

#[test]
fn what_is_issued_after_a_revocation_opens() {
    let loan = Loan::new();
    let old = loan.issue();
    assert_eq!(loan.identify(&old), 200);
    let issued = claims(&old)["iat"].as_u64().unwrap();
    loan.stage.done("POST", "revocations", &json!({ "isv": "vendor", "issuedBefore": issued }));
    assert_eq!(loan.identify(&old), 401);
    let new = crate::support::eventually("the next second begins", || {
        let new = loan.issue();
        (claims(&new)["iat"].as_u64() > Some(issued)).then_some(new)
    });
    assert_eq!(loan.identify(&new), 200);
}

#[test]
fn a_ceiling_that_shrinks_cuts_tokens_that_are_out() {
    let loan = Loan::new();
    let token = loan.issue();
    assert_eq!(loan.identify(&token), 200);
    loan.stage.done("PATCH", "accounts/vendor", &json!({ "mayIssue": ["Face.Verification"] }));
    assert_eq!(loan.identify(&token), 403);
    loan.stage.done("PATCH", "accounts/vendor", &json!({ "mayIssue": ["Face.Identification"] }));
    assert_eq!(loan.identify(&token), 200, "the ceiling is what it was");
    loan.stage.done("DELETE", "accounts/vendor", &Value::Null);
    assert_ne!(loan.identify(&token), 200, "an account that is gone lends nothing");
    assert_eq!(loan.stage.ask("GET", "accounts/vendor", &Value::Null).status, 404);
}

#[test]
fn a_revocation_that_names_nothing_or_too_much_is_refused() {
    let stage = Stage::new();
    let own = json!({ "issuer": "urn:scoregate", "jti": "x" });
    for (body, want) in [
        (json!({}), 400),
        (json!({ "resource": "/a", "isv": "written" }), 400),
        (json!({ "token": own, "resource": "/a", "isv": "written" }), 400),
        (json!({ "token": own, "resource": null }), 400),
        (json!({ "token": { "issuer": "urn:scoregate", "jti": "" } }), 400),
        (json!({ "token": { "issuer": "urn:scoregate", "jti": "eyJhbGciOiJFUzI1NiJ9.e30.c2ln" } }), 400),
        (json!({ "token": { "issuer": "urn:nobody", "jti": "x" } }), 400),
        (json!({ "resource": "a" }), 400),
        (json!({ "resource": "/a", "issuedBefore": 1_795_610_000_000_u64 }), 400),
        (json!({ "resource": "/a", "why": "x".repeat(1025) }), 400),
        (json!({ "resource": "/a", "unheard": 1 }), 400),
        (json!({ "isv": "nobody" }), 404),
        (json!({ "isv": "written" }), 201),
        (json!({ "token": own }), 201),
    ] {
        let answer = stage.ask("POST", "revocations", &body);
        assert_eq!(answer.status, want, "{body}: {}", answer.text());
        let kind = if want == 201 { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), Some(kind), "{body}");
    }
}
