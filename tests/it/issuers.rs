//! Foreign issuers: where their keys come from, how they change, and what is said while they cannot be had.

mod changes;
mod hostile;
mod sidecar;
pub(crate) mod signer;
mod sources;
mod trouble;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::issuers::signer::Signer;
use crate::issuers::signer::now;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

/// `iss` of the tokens here.
const ISSUER: &str = "https://issuer.test/";

/// A configuration with a service that wants tokens of the issuer `corp` and one that wants nothing.
fn configuration(upstream: &Upstream, corp: &str) -> String {
    format!(
        "
listeners:
  traffic: [{{address: $TRAFFIC, limits: {{failed_authentications: 10000000}}}}]
  management: {{address: $MANAGEMENT, limits: {{failed_authentications: 10000000}}}}
  health: {{address: $HEALTH}}
workers: 1
upstreams: {{a: {{endpoints: ['{}']}}}}
issuers:
  corp: {{issuer: '{ISSUER}', {corp}}}
services:
  guarded: {{match: [{{prefix: /guarded}}], upstream: a, auth: {{token: {{issuers: [corp]}}}}}}
  open: {{match: [{{prefix: /open}}], upstream: a, auth: {{public: nothing here is secret}}}}
",
        upstream.url()
    )
}

/// What `issuers.corp` says beside its `iss`, for keys that are fetched.
fn fetched(from: &str, url: &str, cooldown: &str) -> String {
    format!("keys: {{{from}: '{url}'}}, algorithms: [ES256], cooldown: {cooldown}")
}

/// The claims of a token that is good for a minute.
fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "guarded", "sub": "robot", "iat": now(), "exp": now() + 60 })
}

/// The status of a call with this token, and the reason that the gateway gives itself.
fn call(gateway: &Gateway, token: &str) -> (u16, String) {
    let answer = client::get(gateway.traffic(), "/guarded", &[("authorization", &format!("Bearer {token}"))]);
    let reason = answer.header("x-scoregate-decision-id").map(|decision| gateway.access_line(decision));
    let reason = reason.and_then(|line| line["scoregate.reason"].as_str().map(str::to_owned));
    (answer.status, reason.unwrap_or_default())
}

fn accepted() -> (u16, String) {
    (200, String::new())
}

fn refused(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}

fn unavailable() -> (u16, String) {
    (503, "issuer_unavailable".to_owned())
}

/// An issuer's web server, whose answer can be changed, and which remembers who asked.
struct Published {
    server: Upstream,
    served: Arc<Mutex<Served>>,
}

#[derive(Debug, Clone)]
struct Served {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    after: Duration,
}

impl Served {
    fn document(body: String) -> Self {
        Self { status: 200, headers: Vec::new(), body, after: Duration::ZERO }
    }

    fn keys(of: &[&Signer]) -> Self {
        Self::document(signer::jwks(of))
    }
}

impl Published {
    fn start(served: Served) -> Self {
        let served = Arc::new(Mutex::new(served));
        let read = Arc::clone(&served);
        let server = Upstream::start(move |_, stream| {
            let Served { status, headers, body, after } = read.lock().unwrap().clone();
            std::thread::sleep(after);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            respond(stream, status, &headers, body.as_bytes())
        });
        Self { server, served }
    }

    fn serve(&self, served: Served) {
        *self.served.lock().unwrap() = served;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    fn fetches(&self) -> usize {
        self.server.received().len()
    }
}
