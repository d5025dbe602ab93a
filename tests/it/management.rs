//! Requests to the management plane that nobody should send: the corpus of `tests/management`, route by route.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::client::get;
use crate::support::client::request;
use crate::support::corpus;
use crate::support::corpus::OneOf;
use crate::support::gateway::Gateway;
use crate::support::seeds;
use crate::support::summary::Counts;
use crate::support::summary::report;
use crate::support::template::expand;
use crate::support::upstream::Upstream;

const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/scoregate\
                         /providers/Microsoft.MachineLearningServices/workspaces/scoregate";

/// One request, or the same to several routes. Texts may hold `@{…}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    why: String,
    source: String,
    /// Method and path of each route.
    to: Vec<String>,
    query: Option<String>,
    /// Header lines beside the owner's key.
    #[serde(default)]
    send: Vec<String>,
    /// Whether the owner's key is left out.
    #[serde(default)]
    without_key: bool,
    body: Option<String>,
    status: OneOf<u16>,
}

struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    key: String,
}

impl Stage {
    fn set() -> Self {
        let upstream = Upstream::ok();
        let gateway = Gateway::start(&format!(
            "
listeners:
  traffic: [{{address: $TRAFFIC, limits: {{failed_authentications: 10000000}}}}]
  management: {{address: $MANAGEMENT, limits: {{failed_authentications: 10000000}}}}
  health: {{address: $HEALTH}}
upstreams: {{a: {{endpoints: ['{}']}}}}
accounts: {{written: {{resource: /a/written}}}}
services:
  iris: {{upstream: a, auth: {{key: {{}}}}, managed: true}}
  fixed: {{upstream: a, auth: {{key: {{}}}}}}
  token: {{upstream: a, auth: {{token: {{}}}}}}
",
            upstream.url()
        ));
        let key = fs::read_to_string(gateway.directory().join("store/management.key")).unwrap();
        let stage = Self { gateway, upstream, key: key.trim_end().to_owned() };
        let contoso = json!({ "name": "contoso", "resource": "/a/contoso", "mayIssue": ["Face.Identification"] });
        let made = stage.ask("POST", "/api/v1/accounts", &contoso.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
        stage
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {}", self.key);
        request(self.gateway.management(), method, path, &[("authorization", &key)], body.as_bytes())
    }

    /// All that a call could have changed.
    fn state(&self) -> Vec<Value> {
        let services = format!("/modelmanagement/v1.0{WORKSPACE}/services");
        let shown = ["/api/v1/accounts", "/api/v1/revocations", "/api/v1/signing-keys", &services];
        let mut state: Vec<Value> = shown.iter().map(|path| self.ask("GET", path, "").json()).collect();
        for owner in ["services/iris", "services/fixed", "accounts/written", "accounts/contoso"] {
            state.push(self.ask("POST", &format!("/api/v1/{owner}/keys/list"), "").json());
            let mut times = self.ask("GET", &format!("/api/v1/{owner}/keys"), "").json();
            for slot in ["primary", "secondary"] {
                // Uses come from the canary.
                state.push(json!([times[slot]["created"].take(), times[slot]["expires"].take()]));
            }
        }
        state
    }

    fn send(&self, case: &Case, to: &str) -> Answer {
        let say = |text: &str| expand(text, &|word| self.word(word));
        let (method, path) = to.split_once(' ').expect("a method and a path");
        let mut bytes = [method.as_bytes(), b" ", &say(path)].concat();
        if let Some(query) = &case.query {
            bytes.push(b'?');
            bytes.extend(say(query));
        }
        let body = case.body.as_deref().map(say).unwrap_or_default();
        seeds::keep("manage", &[b"owns ", &bytes[..], b"\n", &body].concat());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let says = |name: &str| case.send.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
        if !says("host:") {
            bytes.extend_from_slice(b"host: gateway.test\r\n");
        }
        if !case.without_key {
            bytes.extend(say("authorization: Bearer @{key}\r\n"));
        }
        for line in case.send.iter().filter(|line| !line.is_empty()) {
            bytes.extend(say(line));
            bytes.extend_from_slice(b"\r\n");
        }
        if !body.is_empty() && !says("content-length:") && !says("transfer-encoding:") {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(body);
        let mut client = Client::connect(self.gateway.management());
        client.send(bytes);
        client.answer_to(method)
    }

    fn word(&self, word: &str) -> Option<Vec<u8>> {
        match word {
            "v1" => Some(format!("/modelmanagement/v1.0{WORKSPACE}/services").into_bytes()),
            "v2" => Some(format!("{WORKSPACE}/onlineEndpoints").into_bytes()),
            "own" => Some(b"/api/v1".to_vec()),
            "key" => Some(self.key.clone().into_bytes()),
            _ => None,
        }
    }

    /// What is good still is, on both planes.
    fn canary(&self) {
        let keys = self.ask("POST", "/api/v1/services/iris/keys/list", "").json();
        let bearer = format!("Bearer {}", keys["primaryKey"].as_str().unwrap());
        let scored = get(self.gateway.traffic(), "/api/v1/service/iris/score", &[("authorization", &bearer)]);
        assert_eq!((scored.status, scored.text()), (200, "ok".to_owned()));
    }
}

/// What is wrong with an answer, whatever was asked.
fn fault(case: &Case, method: &str, answer: &Answer) -> Option<String> {
    if !case.status.all().contains(&answer.status) {
        return Some(format!("got {}, want {:?}: {}", answer.status, case.status.all(), answer.text()));
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let is_json = kind.starts_with("application/json") || kind.starts_with("application/problem+json");
    let is_bodiless = answer.body.is_empty() && (method == "HEAD" || answer.status < 400);
    if is_bodiless {
        return None;
    }
    let Some(document) = serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| is_json) else {
        return Some(format!("{} with {kind}: {}", answer.status, answer.text()));
    };
    let code = document["error"]["code"].as_str().or(document["code"].as_str());
    (answer.status >= 400 && code.is_none()).then(|| format!("{} without a code: {document}", answer.status))
}

/// An answer but for what names it and the moment.
fn shown(answer: &Answer) -> String {
    let decision = answer.header("x-scoregate-decision-id").unwrap_or("none");
    let named = ["x-scoregate-decision-id", "date"];
    let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| !named.contains(&name.as_str())).collect();
    format!("{} {headers:?} {}", answer.status, answer.text().replace(decision, "…"))
}

#[test]
fn every_hostile_call_is_refused_in_json_and_changes_nothing() {
    let stage = Stage::set();
    let before = stage.state();
    let (mut wrong, mut counts) = (Vec::new(), Counts::default());
    let mut unauthorized: BTreeMap<String, String> = BTreeMap::new();
    let groups = corpus::groups::<Case>("management", &[]);
    for group in &groups {
        for case in &group.cases {
            for to in &case.to {
                let answer = stage.send(case, to);
                counts.cases += 1;
                counts.refused += u64::from(answer.status >= 400);
                let seen = shown(&answer);
                if answer.status == 401 && *unauthorized.entry(to.clone()).or_insert_with(|| seen.clone()) != seen {
                    wrong.push(format!("{}: {}: {to}: tells more than others: {seen}", group.name, case.name));
                }
                let fault = fault(case, to.split(' ').next().unwrap_or_default(), &answer);
                let Case { name, why, source, .. } = case;
                wrong.extend(fault.map(|fault| format!("{}: {name}: {to}: {fault}\n  {why} ({source})", group.name)));
            }
        }
        assert_eq!(stage.state(), before, "{}: something has changed\n{}", group.name, wrong.join("\n"));
        stage.canary();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), counts.cases, wrong.join("\n"));
    assert!(counts.cases >= 500, "{counts:?}");
    assert!(!stage.gateway.everything_written().contains("\"level\":\"ERROR\""));
    assert_eq!(stage.upstream.received().len(), groups.len(), "only the canaries have reached the upstream");
    counts.passed = counts.cases;
    report("management/corpus", counts);
}
