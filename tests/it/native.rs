//! The project's own API under `/api/v1/`, and what its changes do to traffic.

mod cutting_off;
mod fuzz;
mod keys;

use std::fs;

use serde_json::Value;

use crate::support::client;
use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// A gateway with a service that is called with keys, one with tokens, and one whose features are gated.
struct Stage {
    gateway: Gateway,
    key: String,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::ok();
        let gateway = Gateway::start(&format!(
            "
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
accounts: {{written: {{resource: /a/written}}}}
services:
  iris: {{upstream: a, auth: {{key: {{}}}}}}
  token: {{upstream: a, auth: {{token: {{}}}}}}
  face:
    match: [{{prefix: /face}}]
    upstream: a
    auth: {{key: {{keys: none, accounts: every}}}}
    features: {{preset: face}}
    issues_limited_access_tokens: true
",
            upstream.url()
        ));
        let key = fs::read_to_string(gateway.directory().join("store/management.key")).unwrap();
        Self { gateway, key: key.trim_end().to_owned(), _upstream: upstream }
    }

    /// Asks as an owner; `Null` is no body.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let key = format!("Bearer {}", self.key);
        let target = format!("/api/v1/{path}");
        client::request(self.gateway.management(), method, &target, &[("authorization", &key)], body.as_bytes())
    }

    /// Does what has to succeed.
    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path} {body}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// The primary key of an owner such as `accounts/contoso`.
    fn primary(&self, owner: &str) -> String {
        let keys = self.done("POST", &format!("{owner}/keys/list"), &Value::Null);
        keys["primaryKey"].as_str().unwrap().to_owned()
    }

    /// Calls a service.
    fn score(&self, service: &str, credential: &str) -> u16 {
        let target = format!("/api/v1/service/{service}/score");
        let headers = [("authorization", &*format!("Bearer {credential}"))];
        client::post(self.gateway.traffic(), &target, &headers, "{}").status
    }
}
