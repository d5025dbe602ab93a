//! What the faults happen to: a gateway in front of a model of every protocol, and callers of each.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::client;
use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::load::Caller;
use crate::support::load::Held;
use crate::support::load::Kind;
use crate::support::load::Load;
use crate::support::model::Model;

/// Services with two keys each in the store: `s` is called over HTTP/1.1, `g` over HTTP/2.
pub(super) const SERVICES: [&str; 2] = ["s", "g"];

/// A running gateway, and the keys that callers show.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) gateway: Gateway,
    pub(super) model: Model,
    /// The primary keys, which stay.
    pub(super) steady: [String; 2],
    /// What callers of a service show who move to its new secondary key.
    pub(super) moving: [Held; 2],
}

/// The configuration; `more` is added to it.
pub(super) fn yaml(model: Model, more: &str) -> String {
    format!(
        "
upstreams:
  http1: {{endpoints: ['{}']}}
  http2: {{endpoints: ['{}']}}
services:
  s: {{match: [{{prefix: /s}}], upstream: http1, upgrades: websocket, auth: {{key: {{}}}}}}
  g: {{match: [{{prefix: /g}}], upstream: http2, auth: {{key: {{}}}}}}
{more}",
        model.url(),
        model.http2_url()
    )
}

impl Stage {
    /// Starts it with the access log off.
    pub(super) fn start(more: &str) -> Self {
        Self::start_under(&[], scratch(), &format!("{more}\naccess_log: off\n"))
    }

    /// Starts it as a child of a program that takes a command line after its own arguments, and becomes it.
    pub(super) fn start_under(program: &[&str], directory: TempDir, more: &str) -> Self {
        let model = Model::start();
        let gateway = Gateway::start_under(program, directory, &yaml(model, more));
        let steady = SERVICES.map(|service| keys(&gateway, service)[0].clone());
        let moving = steady.each_ref().map(Held::new);
        Self { gateway, model, steady, moving }
    }

    /// Callers of every kind, some with the key that stays and some with the one that moves.
    pub(super) fn load(&self) -> Load {
        self.load_at(self.gateway.traffic())
    }

    /// The same at another listener.
    pub(super) fn load_at(&self, at: SocketAddr) -> Load {
        let steady = self.steady.each_ref().map(Held::new);
        let callers = [
            (3, Kind::Http1, "/s/score", &steady[0]),
            (3, Kind::Http1, "/s/score", &self.moving[0]),
            (1, Kind::Http1, "/s/slow", &steady[0]),
            (1, Kind::Http2, "/g/score", &steady[1]),
            (1, Kind::Http2, "/g/slow", &self.moving[1]),
            (1, Kind::Grpc, "/g/grpc", &steady[1]),
            (1, Kind::Grpc, "/g/grpc", &self.moving[1]),
            (2, Kind::Events, "/s/events", &steady[0]),
            (2, Kind::WebSocket, "/s/socket", &steady[0]),
        ];
        let caller = |(times, kind, path, key): (usize, Kind, &str, &Held)| {
            (times, Caller { kind, at, path: path.to_owned(), key: key.clone() })
        };
        Load::start(callers.map(caller))
    }

    /// Puts a new key into a service's secondary slot, which callers leave before and take up after; returns the one
    /// before. The change has to be answered.
    pub(super) fn rotate(&self, service: usize) -> String {
        let before = keys(&self.gateway, SERVICES[service])[1].clone();
        self.moving[service].switch(&self.steady[service]);
        let answer = regenerate(&self.gateway, SERVICES[service]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.moving[service].switch(key_of(&answer).as_str());
        before
    }

    /// What a caller with this key is told.
    pub(super) fn status(&self, service: usize, key: &str) -> u16 {
        status(&self.gateway, SERVICES[service], key)
    }
}

/// What a caller of a service with this key is told.
pub(super) fn status(gateway: &Gateway, service: &str, key: &str) -> u16 {
    let headers = [("authorization", &*format!("Bearer {key}"))];
    client::get(gateway.traffic(), &format!("/{service}/one"), &headers).status
}

/// Whether that refuses the key: too many such calls from one address are answered with 429.
pub(super) fn refuses(status: u16) -> bool {
    matches!(status, 401 | 429)
}

/// A call of the management plane, with the key that the gateway made for itself.
pub(super) fn manage(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let key = fs::read_to_string(gateway.seen_by("store/management.key")).unwrap();
    let headers = [("authorization", &*format!("Bearer {}", key.trim()))];
    client::post(gateway.management(), &format!("/api/v1/{path}"), &headers, body.to_string())
}

/// Puts a new key into the secondary slot.
pub(super) fn regenerate(gateway: &Gateway, service: &str) -> Answer {
    manage(gateway, &format!("services/{service}/keys/secondary/regenerate"), &json!({}))
}

/// The new key in the answer to that.
pub(super) fn key_of(answer: &Answer) -> String {
    answer.json()["key"].as_str().unwrap().to_owned()
}

/// Both keys of a service.
pub(super) fn keys(gateway: &Gateway, service: &str) -> [String; 2] {
    let answer = manage(gateway, &format!("services/{service}/keys/list"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let listed = answer.json();
    ["primaryKey", "secondaryKey"].map(|name| listed[name].as_str().unwrap().to_owned())
}
