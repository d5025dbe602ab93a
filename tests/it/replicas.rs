//! Many gateways over one etcd: separate processes that share nothing else.

mod agreement;
mod load;
mod moving;
mod outage;
mod partition;
mod rotation;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::client;
use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

/// Services of each gateway, `s0`, `s1` and so on.
const SERVICES: usize = 4;

const SLOTS: [&str; 2] = ["Primary", "Secondary"];

const WORKSPACE: &str = "/modelmanagement/v1.0/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups\
                         /scoregate/providers/Microsoft.MachineLearningServices/workspaces/scoregate";

/// A directory with the master key in it that all gateways share.
fn with_master_key() -> TempDir {
    let directory = scratch();
    let path = directory.path().join("master");
    fs::write(&path, "c2NvcmVnYXRlLXNjb3JlZ2F0ZS1zY29yZWdhdGUhISE=\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    directory
}

fn configuration(etcd: SocketAddr, upstream: &Upstream) -> String {
    configuration_with(&format!("{{endpoints: ['http://{etcd}']}}"), upstream)
}

fn configuration_with(etcd: &str, upstream: &Upstream) -> String {
    let service =
        |number| format!("  s{number}: {{match: [{{prefix: /s{number}}}], upstream: a, auth: {{key: {{}}}}}}\n");
    let services: String = (0..SERVICES).map(service).collect();
    format!(
        "
access_log: off
store: {{directory: $DIR/own, master_key: 'file:$DIR/master', etcd: {etcd}}}
upstreams: {{a: {{endpoints: ['{}']}}}}
services:
{services}",
        upstream.url()
    )
}

fn replica(etcd: SocketAddr, upstream: &Upstream) -> Gateway {
    Gateway::start_in(with_master_key(), &configuration(etcd, upstream))
}

/// A call of the management plane, with the key that the gateway made for itself.
fn manage(gateway: &Gateway, method: &str, path: &str, body: &str) -> Answer {
    let key = fs::read_to_string(gateway.directory().join("own/management.key")).unwrap();
    let headers =
        [("authorization", format!("Bearer {}", key.trim())), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    client::request(gateway.management(), method, &format!("{WORKSPACE}{path}"), &headers, body.as_bytes())
}

/// Both keys of a service, as this gateway lists them.
fn keys(gateway: &Gateway, service: usize) -> [String; 2] {
    let answer = manage(gateway, "POST", &format!("/services/s{service}/listkeys"), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let listed = answer.json();
    ["primaryKey", "secondaryKey"].map(|name| listed[name].as_str().unwrap().to_owned())
}

fn regenerate(gateway: &Gateway, service: usize, slot: usize, key: &str) -> Answer {
    let body: Value = json!({ "keyType": SLOTS[slot], "keyValue": key });
    manage(gateway, "POST", &format!("/services/s{service}/regenerateKeys"), &body.to_string())
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// What a caller with this key is told.
fn status(gateway: &Gateway, service: usize, key: &str) -> u16 {
    client::get(gateway.traffic(), &format!("/s{service}"), &[("authorization", &bearer(key))]).status
}
