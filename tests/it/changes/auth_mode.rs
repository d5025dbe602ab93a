//! A service is put in another auth mode through the API, while it is called.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 6;
const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/scoregate\
                         /providers/Microsoft.MachineLearningServices/workspaces/scoregate";

/// A gateway whose store is elsewhere, so that another can come after it.
struct Managed {
    gateway: Gateway,
    key: String,
}

fn configuration(upstream: &Upstream, store: &TempDir, managed: &str) -> String {
    let store = store.path().join("store");
    format!(
        "
access_log: off
store: {{directory: '{}'}}
upstreams: {{a: {{endpoints: ['{}']}}}}
services:
  a: {{match: [{{prefix: /a}}], upstream: a, auth: {{key: {{}}}}{managed}}}
",
        store.display(),
        upstream.url()
    )
}

impl Managed {
    fn start(upstream: &Upstream, store: &TempDir, managed: &str) -> Self {
        let gateway = Gateway::start(&configuration(upstream, store, managed));
        let key = std::fs::read_to_string(store.path().join("store/management.key")).unwrap();
        Self { gateway, key: key.trim_end().to_owned() }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("/modelmanagement/v1.0{WORKSPACE}/services/a{path}");
        let key = format!("Bearer {}", self.key);
        client::request(
            self.gateway.management(),
            method,
            &path,
            &[("authorization", &key)],
            body.to_string().as_bytes(),
        )
    }

    /// What azureml-core's `update(auth_enabled=…, token_auth_enabled=…)` sends.
    fn update(&self, key: bool, token: bool) -> Answer {
        let set = |path: &str, value: bool| json!({ "op": "replace", "path": path, "value": value });
        self.call("PATCH", "", &json!([set("/authEnabled", key), set("/aadAuthEnabled", token)]))
    }

    /// What opens the service in the mode that it is in.
    fn credential(&self) -> String {
        let keys = self.call("POST", "/listkeys", &json!({}));
        if keys.status == 200 {
            return keys.json()["primaryKey"].as_str().unwrap().to_owned();
        }
        let token = self.call("POST", "/token", &json!({}));
        assert_eq!(token.status, 201, "{}", token.text());
        token.json()["accessToken"].as_str().unwrap().to_owned()
    }

    fn status(&self, credential: &str) -> u16 {
        score(&mut Client::connect(self.gateway.traffic()), credential)
    }

    fn v2_mode(&self) -> Value {
        let key = format!("Bearer {}", self.key);
        let path = format!("{WORKSPACE}/onlineEndpoints/a");
        client::get(self.gateway.management(), &path, &[("authorization", &key)]).json()["properties"]["authMode"]
            .clone()
    }
}

fn score(connection: &mut Client, credential: &str) -> u16 {
    connection.request("GET", "/a", &[("authorization", &format!("Bearer {credential}"))], b"").status
}

/// What opens the service, and a number that is odd while that changes.
#[derive(Default)]
struct Shared {
    credential: Mutex<String>,
    epoch: AtomicU64,
    done: AtomicBool,
    answered: AtomicU64,
}

fn call_until_done(shared: &Shared, address: SocketAddr) {
    let mut connection = Client::connect(address);
    while !shared.done.load(Ordering::SeqCst) {
        let before = shared.epoch.load(Ordering::SeqCst);
        let credential = shared.credential.lock().unwrap().clone();
        let status = score(&mut connection, &credential);
        let after = shared.epoch.load(Ordering::SeqCst);
        if before == after && before.is_multiple_of(2) {
            assert_eq!(status, 200, "with the credential of the mode in force");
        }
        assert!(matches!(status, 200 | 401), "{status}");
        shared.answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_credential_of_the_mode_in_force_opens_and_the_other_does_not_from_the_moment_of_the_answer() {
    let (upstream, store) = (Upstream::ok(), scratch());
    let managed = Managed::start(&upstream, &store, ", managed: true");
    let first = managed.credential();
    let shared = Arc::new(Shared::default());
    shared.credential.lock().unwrap().clone_from(&first);
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (shared, address) = (Arc::clone(&shared), managed.gateway.traffic());
            thread::spawn(move || call_until_done(&shared, address))
        })
        .collect();

    for round in 0..ROUNDS {
        let to_token = round % 2 == 0;
        let old = shared.credential.lock().unwrap().clone();
        assert_eq!(managed.status(&old), 200, "round {round}");
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        let updated = managed.update(!to_token, to_token);
        assert_eq!(managed.status(&old), 401, "round {round}: what opened before");
        let flags = ["authEnabled", "aadAuthEnabled"].map(|flag| updated.json()[flag].as_bool().unwrap());
        assert_eq!((updated.status, flags), (200, [!to_token, to_token]), "round {round}");
        assert_eq!(managed.v2_mode(), if to_token { "AMLToken" } else { "Key" }, "round {round}");
        let new = managed.credential();
        assert_eq!(managed.status(&new), 200, "round {round}");
        assert_eq!(new == first, !to_token, "round {round}: a change back finds the keys from before");
        *shared.credential.lock().unwrap() = new;
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        let before = shared.answered.load(Ordering::SeqCst);
        eventually("callers go on", || (shared.answered.load(Ordering::SeqCst) > before + 50).then_some(()));
    }
    shared.done.store(true, Ordering::SeqCst);
    let failed = callers.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count();
    assert_eq!(failed, 0, "connections on which a request failed");
    assert!(managed.gateway.log().iter().any(|line| line.to_string().contains("services.auth_mode")), "it is audited");
}

#[test]
fn a_mode_outlives_a_restart_and_counts_for_nothing_where_the_file_takes_it_back() {
    let (upstream, store) = (Upstream::ok(), scratch());
    let mut managed = Managed::start(&upstream, &store, ", managed: true");
    let key = managed.credential();
    assert_eq!(managed.update(false, true).status, 200);
    let token = managed.credential();
    managed.gateway.terminate();
    managed.gateway.wait();

    let managed = Managed::start(&upstream, &store, ", managed: true");
    assert_eq!((managed.status(&token), managed.status(&key)), (200, 401));
    managed.gateway.configure(&configuration(&upstream, &store, ""));
    eventually("the file's mode is in force", || (managed.status(&key) == 200).then_some(()));
    assert_eq!(managed.status(&token), 401);
    eventually("the log tells it", || {
        managed.gateway.everything_written().contains("counts for nothing").then_some(())
    });
    let refused = managed.update(false, true);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("gateway.yaml owns"), "{}", refused.text());
    assert_eq!((managed.status(&token), managed.status(&key)), (401, 200));

    managed.gateway.configure(&configuration(&upstream, &store, ", managed: true"));
    eventually("the choice is in force again", || (managed.status(&token) == 200).then_some(()));
    assert_eq!(managed.status(&key), 401);
}
