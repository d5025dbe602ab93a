//! Marked secrets, right and wrong ones, pushed into every place that takes a credential and many that do not; then every
//! output is searched for them: plain, percent-encoded, in base64 and in hexadecimal.

mod places;
mod secrets;

use std::fs;
use std::path::Path;

use serde_json::json;

use self::places::INLINE;
use self::places::Places;
use self::places::broken;
use self::secrets::Outputs;
use self::secrets::Secret;
use crate::protocols::authority::Authority;
use crate::refusals::stage::corp_token;
use crate::refusals::stage::token;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;

const SHARED: &[u8] = b"Taint-shared/issuer+secret=of-32-bytes-0f2a";

const FILES: &[(&str, &str)] = &[
    ("primary", "Taint+primary/key=91c2"),
    ("secondary", "Taint+secondary/key=77d0"),
    ("account", "Taint+account/key=b1f3"),
    ("owner", "Taint+management/owner=c4e8"),
    ("reader", "Taint+management/reader=5a07"),
];

const WRONG: &[(&str, &str)] = &[
    ("a wrong key", "Taint+wrong/key=3be8"),
    ("a key with a wrong end", "Taint+primary/key=91c2x"),
    ("something with dots", "Taint.no/token+at.all=52fa"),
    ("something with odd bytes", "Taint odd \"key\" {91}; 2"),
];

const YAML: &str = "
workers: 1
listeners:
  traffic: [{address: $TRAFFIC, limits: {failed_authentications: 10000000}}, {address: '127.0.0.1:0', tls: {certificate: $DIR/tls.crt, private_key: $DIR/tls.key}}]
  management: {address: $MANAGEMENT, limits: {failed_authentications: 10000000}}
  health: {address: $HEALTH}
management_keys: {ada: {key: 'file:$DIR/owner', role: owner}, eve: {key: 'file:$DIR/reader', role: reader}}
issuers:
  corp: {issuer: 'https://corp.test/', keys: {secret: 'file:$DIR/shared'}, algorithms: [HS256], max_lifetime: 1h}
accounts:
  vendor: {resource: /a/vendor, keys: {primary: {key: 'file:$DIR/account'}}, may_issue: [Face.Identification]}
  client: {resource: /a/client}
upstreams: {a: {endpoints: ['@UPSTREAM']}}
services:
  keyed:
    match: [{prefix: /keyed}]
    upstream: a
    auth: {key: {from: [bearer, {header: Ocp-Apim-Subscription-Key}, {header: x-key}, {query: k}], keys: {primary: {key: 'file:$DIR/primary'}, secondary: {key: 'file:$DIR/secondary'}}}}
  stored: {match: [{prefix: /stored}], upstream: a, auth: {key: {}}}
  corp: {match: [{prefix: /corp}], upstream: a, auth: {token: {issuers: [corp], audiences: [corp]}}}
  own: {match: [{prefix: /own}], upstream: a, auth: {token: {issuers: [own]}}}
  face:
    match: [{prefix: /face}]
    upstream: a
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
";

/// A gateway that logs all it can, and what it must keep to itself.
struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    secrets: Vec<Secret>,
}

impl Stage {
    fn set() -> Self {
        let upstream = Upstream::ok();
        let directory = scratch();
        let at = directory.path().to_owned();
        let mut secrets: Vec<Secret> = FILES.iter().chain(WRONG).map(|(name, text)| Secret::new(name, text)).collect();
        for (file, text) in FILES {
            fs::write(at.join(file), text).unwrap();
        }
        fs::write(at.join("shared"), SHARED).unwrap();
        secrets.push(Secret::kept("the issuer's secret", std::str::from_utf8(SHARED).unwrap()));
        let identity = Authority::new().certify("localhost");
        identity.write(&at, "tls");
        secrets.push(Secret::kept("the private key of TLS", &inner_line(&identity.key)));
        let header = json!({"alg": "HS256", "typ": "JWT"});
        secrets.push(Secret::token("a token", corp_token(&json!({}))));
        secrets.push(Secret::token("an expired token", corp_token(&json!({"exp": 1, "jti": "old"}))));
        secrets.push(Secret::token(
            "a forged token",
            token(&header, &json!({"jti": "forged"}), b"of nobody at all, 32 bytes long."),
        ));
        let gateway = Gateway::start_under(
            &["env", "SCOREGATE_LOG=trace"],
            directory,
            &YAML.replace("@UPSTREAM", &upstream.url()),
        );
        let mut stage = Self { gateway, upstream, secrets };
        stage.issue();
        stage
    }

    /// Credentials that the gateway makes itself.
    fn issue(&mut self) {
        let owner = format!("Bearer {}", text_of("owner"));
        let ask = |path: &str| client::post(self.gateway.management(), path, &[("authorization", &owner)], "").json();
        let listed = ask("/api/v1/services/stored/keys/list");
        let client = ask("/api/v1/accounts/client/keys/list");
        let limited = client::post(
            self.gateway.traffic(),
            "/sts/v1.0/issueLimitedAccessToken",
            &[("ocp-apim-subscription-key", text_of("account"))],
            r#"{"targetAzureResourceId": "/a/client", "featureFlags": ["Face.Identification"]}"#,
        );
        let own = ask("/api/v1/services/own/token");
        let regenerated = ask("/api/v1/services/stored/keys/secondary/regenerate");
        let words = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        self.secrets.extend([
            Secret::new("a key from the store", &words(&listed["primaryKey"])),
            Secret::new("a key that was replaced", &words(&listed["secondaryKey"])),
            Secret::new("a key that replaced it", &words(&regenerated["key"])),
            Secret::new("an account's key from the store", &words(&client["primaryKey"])),
            Secret::token("a LimitedAccessToken", limited.text()),
            Secret::token("an own token", words(&own["accessToken"])),
        ]);
        let master = fs::read_to_string(self.gateway.directory().join("store/master.key")).unwrap();
        self.secrets.push(Secret::kept("the master key", master.trim()));
    }
}

fn text_of(file: &str) -> &'static str {
    FILES.iter().find(|(name, _)| *name == file).unwrap().1
}

/// A line of a PEM file that no other file has.
fn inner_line(pem: &str) -> String {
    pem.lines().nth(2).unwrap().to_owned()
}

#[test]
fn no_secret_is_in_any_output_whatever_it_was_sent_as() {
    let stage = Stage::set();
    let mut outputs = Outputs::default();
    let places = Places { gateway: &stage.gateway };
    let mut sent = 0;
    for secret in stage.secrets.iter().filter(|secret| secret.is_sent) {
        sent += places.traffic(&secret.text, &mut outputs);
        sent += places.management(&secret.text, &mut outputs);
    }
    let texts: Vec<&str> = stage.secrets.iter().filter(|secret| secret.is_sent).map(|secret| &*secret.text).collect();
    sent += places.http2(&texts, &mut outputs);
    sent += places.reading(text_of("owner"), &mut outputs);
    sent += places.command_line(text_of("owner"), &texts, &mut outputs);
    sent += reload(&stage, &texts);
    // The access log is written now and then; its last line comes with this request's.
    let last = client::get(stage.gateway.traffic(), "/keyed", &[("authorization", "Bearer Taint-last-of-all")]);
    stage.gateway.access_line(last.header("x-scoregate-decision-id").unwrap());
    outputs.add("a request to the upstream", format!("{:?}", stage.upstream.received()));
    outputs.add("a log", stage.gateway.everything_written());
    outputs.add("the metrics", stage.gateway.metrics());
    for file in files(&stage.gateway.directory().join("store")) {
        if file.file_name().is_some_and(|name| name != "master.key") {
            let bytes = fs::read(&file).unwrap();
            outputs.add(&format!("{}", file.display()), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    assert!(!stage.upstream.received().is_empty(), "no request has reached the upstream");
    let found = outputs.search(&stage.secrets);
    let counts = Counts { cases: sent, passed: sent.saturating_sub(found.len() as u64), ..Counts::default() };
    summary::report("taint", counts);
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// Changes of the configuration that have a secret where none belongs, while the gateway runs.
fn reload(stage: &Stage, texts: &[&str]) -> u64 {
    let good = fs::read_to_string(stage.gateway.config()).unwrap();
    let failed = || {
        let metrics = stage.gateway.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with("gateway_config_reload_failures_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let mut count = 0;
    for text in [texts[0], texts[texts.len() - 1]] {
        for (whole, place) in INLINE {
            let before = failed();
            stage.gateway.write("gateway.yaml", broken(&good, &stage.gateway, whole, place, text));
            stage.gateway.hangup();
            eventually("the change is refused", || (failed() > before).then_some(()));
            count += 1;
        }
    }
    stage.gateway.write("gateway.yaml", good);
    count
}

/// All files in a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}
