//! The audit log as an operator and a vendor's customer read it.

use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::Ran;
use crate::support::gateway::run;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const KEYS: [(&str, &str); 4] = [
    ("vendor", "the-key-of-the-vendor-of-features"),
    ("client", "the-key-of-the-client-of-the-vendor"),
    ("owner", "the-key-of-the-one-who-owns-this"),
    ("reader", "the-key-of-the-one-who-only-looks"),
];
const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local";
const WRONG: &str = "a-key-that-nobody-was-ever-given";

fn start(upstream: &Upstream, audit: &str) -> Gateway {
    let directory = scratch();
    for (name, key) in KEYS {
        fs::write(directory.path().join(name), key).unwrap();
    }
    Gateway::start_in(
        directory,
        &format!(
            "
workspace: {WORKSPACE}
upstreams: {{a: {{endpoints: ['{}']}}}}
audit: {audit}
management_keys: {{ada: {{key: 'file:$DIR/owner', role: owner}}, eve: {{key: 'file:$DIR/reader', role: reader}}}}
accounts:
  vendor: {{resource: /a/vendor, keys: {{primary: {{key: 'file:$DIR/vendor'}}}}, may_issue: [Face.Identification]}}
  client: {{resource: /a/Client, keys: {{primary: {{key: 'file:$DIR/client'}}}}}}
services:
  face:
    match: [{{prefix: /face}}]
    upstream: a
    auth: {{key: {{accounts: every}}}}
    features: {{preset: face}}
    issues_limited_access_tokens: true
  iris: {{upstream: a, managed: true, auth: {{token: {{issuers: [own]}}}}}}
",
            upstream.url()
        ),
    )
}

fn issue(gateway: &Gateway) -> client::Answer {
    let body = r#"{"targetAzureResourceId": "/a/client", "featureFlags": ["Face.Identification"]}"#;
    let key = [("ocp-apim-subscription-key", KEYS[0].1)];
    client::post(gateway.traffic(), "/sts/v1.0/issueLimitedAccessToken", &key, body)
}

fn identify(gateway: &Gateway, key: &str, token: Option<&str>) -> client::Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("ocp-apim-subscription-key", key)];
    headers.extend(bearer.as_deref().map(|bearer| ("LimitedAccessToken", bearer)));
    client::post(gateway.traffic(), "/face/v1.0/identify", &headers, "{}")
}

fn regenerate(gateway: &Gateway) -> client::Answer {
    let bearer = format!("Bearer {}", KEYS[2].1);
    let path = "/api/v1/services/face/keys/primary/regenerate";
    client::post(gateway.management(), path, &[("authorization", &bearer)], "")
}

fn ask(gateway: &Gateway, arguments: &[&str]) -> Ran {
    let log = gateway.directory().join("store");
    let mut all = vec!["audit"];
    all.extend(arguments);
    all.extend(["--directory", log.to_str().unwrap()]);
    run(gateway.directory(), &all)
}

fn lines(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let ran = ask(gateway, &[&["query", "--json"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn everything_about_a_resource_is_found_no_secret_is_and_a_changed_byte_is() {
    let upstream = Upstream::ok();
    let mut gateway = start(&upstream, "{on_failure: block}");
    let issued = issue(&gateway);
    assert_eq!(issued.status, 200);
    let token = issued.text();
    let used = identify(&gateway, KEYS[1].1, Some(&token));
    let without = identify(&gateway, KEYS[1].1, None);
    let wrong = identify(&gateway, WRONG, None);
    let regenerated = regenerate(&gateway);
    assert_eq!((used.status, without.status, wrong.status, regenerated.status), (200, 403, 401, 200));

    let client = eventually("three lines about the client's resource", || {
        Some(lines(&gateway, &["--resource", "/A/client"])).filter(|lines| lines.len() == 3)
    });
    let told =
        |line: &Value| [&line["act"], &line["who"], &line["rule"]].map(|field| field.as_str().unwrap().to_owned());
    for ((line, answer), want) in client.iter().zip([&issued, &used, &without]).zip([
        ["limited_access_token.issue", "account:vendor", "accounts.vendor.may_issue"],
        ["limited_access_token.use", "account:client", "accounts.vendor.may_issue"],
        ["request.denied", "account:client", "feature_not_granted"],
    ]) {
        assert_eq!(told(line), want);
        // What an upstream answered has none.
        if let Some(decision) = answer.header("x-scoregate-decision-id") {
            assert_eq!(line["decision_id"], decision);
        }
    }
    assert_eq!(client[0]["detail"]["jti"], client[1]["detail"]["jti"]);
    let bearer = format!("Bearer {}", KEYS[2].1);
    let path = "/api/v1/audit?resource=/A/client&act=limited_access_token.issue";
    let over_http = client::request(gateway.management(), "GET", path, &[("authorization", &bearer)], b"");
    let told_over_http: Value = serde_json::from_str(&over_http.text()).unwrap();
    assert_eq!(told_over_http["value"], json!([client[0]]), "the API tells the same");
    assert_eq!(client[0]["detail"]["flags"], json!(["Face.Identification"]));
    let service = eventually("two lines about the service", || {
        Some(lines(&gateway, &["--resource", "services/face"])).filter(|lines| lines.len() == 2)
    });
    assert_eq!(told(&service[0]), ["request.denied", "unknown", "key_unknown"]);
    assert_eq!(told(&service[1]), ["keys.regenerate", "management:ada", "role:owner"]);

    gateway.terminate();
    assert!(gateway.wait().success());
    let verified = ask(&gateway, &["verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let path = gateway.directory().join("store/audit.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let new_key = regenerated.json()["key"].as_str().unwrap().to_owned();
    for secret in KEYS.map(|(_, key)| key).into_iter().chain([WRONG, token.as_str(), new_key.as_str()]) {
        assert!(!text.contains(secret), "{secret}");
    }
    fs::write(&path, text.replacen("account:vendor", "account:vandor", 1)).unwrap();
    let verified = ask(&gateway, &["verify"]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.stdout.contains("was changed or exchanged"), "{}", verified.stdout);
}

#[test]
fn each_act_of_an_operator_is_a_line_that_names_the_operator() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream, "{}");
    let (ada, eve) = (KEYS[2].1, KEYS[3].1);
    let auth_mode = r#"[{"op":"replace","path":"/authEnabled","value":true},{"op":"replace","path":"/aadAuthEnabled","value":false}]"#;
    let account = r#"{"name":"new","resource":"/a/new","approvals":[],"mayIssue":[]}"#;
    let iris = format!("/modelmanagement/v1.0{WORKSPACE}/services/iris");
    let calls = [
        (ada, "POST", "/api/v1/services/iris/token", "", "token.issue", "services/iris"),
        (ada, "PATCH", &iris, auth_mode, "services.auth_mode", "services/iris"),
        (ada, "POST", "/api/v1/services/iris/keys/list", "", "keys.list", "services/iris"),
        (eve, "POST", "/api/v1/services/iris/keys/list", "", "management.forbidden", "/api/v1/services/iris/keys/list"),
        (WRONG, "GET", "/api/v1/keys", "", "request.denied", "/api/v1/keys"),
        (ada, "POST", "/api/v1/accounts", account, "account.create", "/a/new"),
        (ada, "PATCH", "/api/v1/accounts/new", r#"{"mayIssue":["Face.Verification"]}"#, "account.change", "/a/new"),
        (ada, "POST", "/api/v1/revocations", r#"{"isv":"new"}"#, "token.revoke", "/a/new"),
        (ada, "DELETE", "/api/v1/accounts/new", "", "account.remove", "/a/new"),
        (ada, "POST", "/api/v1/signing-keys/rotate", "", "signing_key.rotate", "signing-keys"),
    ];
    for (key, method, path, body, act, resource) in calls {
        let bearer = format!("Bearer {key}");
        let answer =
            client::request(gateway.management(), method, path, &[("authorization", &bearer)], body.as_bytes());
        let decision = answer.header("x-scoregate-decision-id").expect("every answer has a decision id");
        let line = eventually("its line", || lines(&gateway, &[]).into_iter().find(|it| it["decision_id"] == decision));
        let who = match key {
            WRONG => "unknown",
            key => {
                if key == ada {
                    "management:ada"
                } else {
                    "management:eve"
                }
            }
        };
        let told = [&line["act"], &line["who"], &line["resource"]].map(|field| field.as_str().unwrap());
        assert_eq!(told, [act, who, resource], "{method} {path}: {} {}", answer.status, answer.text());
    }
    assert!(
        lines(&gateway, &["--act", "config.reload"]).len() > 1,
        "each change of what is in force is a line as well"
    );
}

#[test]
fn a_log_that_cannot_be_written_stops_what_has_to_be_recorded_or_is_counted() {
    let upstream = Upstream::ok();
    for (on_failure, want) in [("block", 503), ("count", 200)] {
        let gateway = start(&upstream, &format!("{{directory: $DIR/log, on_failure: {on_failure}}}"));
        let token = issue(&gateway).text();
        assert_eq!(identify(&gateway, KEYS[1].1, Some(&token)).status, 200);
        let log = gateway.directory().join("log");
        fs::rename(&log, gateway.directory().join("away")).unwrap();
        let refused = issue(&gateway);
        assert_eq!(refused.status, want, "{on_failure}: {}", refused.text());
        eventually("the failure shows", || (gateway.metric("gateway_audit_failing") > 0.5).then_some(()));
        assert_eq!(identify(&gateway, KEYS[1].1, Some(&token)).status, want, "{on_failure}");
        assert_eq!(regenerate(&gateway).status, want, "{on_failure}");
        assert!(gateway.metric("gateway_audit_events_dropped_total") > 0.5);
        fs::rename(gateway.directory().join("away"), &log).unwrap();
        eventually("it works again", || (gateway.metric("gateway_audit_failing") < 0.5).then_some(()));
        assert_eq!(issue(&gateway).status, 200);
    }
}
