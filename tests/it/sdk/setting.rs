//! A gateway that speaks TLS on both planes, in front of the demonstration's two upstream servers.

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use scoregate::cli::demo::face;
use scoregate::cli::demo::scoring;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;

use crate::protocols::authority::Authority;
use crate::protocols::authority::connect_to;
use crate::protocols::wire::Message;
use crate::refusals::stage::LimitedTokens;
use crate::refusals::stage::MAKER;
use crate::refusals::stage::VENDOR;
use crate::refusals::stage::prepare_store;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::python::drive;

const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local";
const HOST: &str = "127.0.0.1";
const MANAGEMENT_KEY: &str = "the-key-of-the-owner-of-the-gateway";
/// Of the vendor, which holds both features and may lend them.
pub(super) const VENDOR_KEY: &str = "the-key-of-the-vendor-of-doors";
/// Of the maker, which holds none.
pub(super) const MAKER_KEY: &str = "the-key-of-the-maker-of-doors";

/// Everything that a client of the gateway meets.
pub(super) struct Setting {
    pub(super) gateway: Gateway,
    pub(super) limited: LimitedTokens,
    authority: Authority,
    yaml: String,
}

impl Setting {
    pub(super) fn set() -> Self {
        let directory = scratch();
        let at = directory.path();
        for (name, text) in [("owner", MANAGEMENT_KEY), ("vendor", VENDOR_KEY), ("maker", MAKER_KEY)] {
            fs::write(at.join(name), text).unwrap();
        }
        let authority = Authority::new();
        authority.certify(HOST).write(at, "server");
        fs::write(at.join("ca.crt"), &authority.pem).unwrap();
        let limited = prepare_store(&at.join("store"));
        let [scoring, face] = upstreams();
        let yaml = YAML
            .replace("@SCORING", &scoring.to_string())
            .replace("@FACE", &face.to_string())
            .replace("@WORKSPACE", WORKSPACE)
            .replace("@VENDOR", VENDOR)
            .replace("@MAKER", MAKER);
        let gateway = Gateway::start_in(directory, &yaml.replace("@CEILING", "Face.Identification, Face.Verification"));
        Self { gateway, limited, authority, yaml }
    }

    /// Lets the vendor lend these features from here on, and no others.
    pub(super) fn lower_ceiling(&self, features: &str) {
        let before = self.gateway.generation();
        self.gateway.configure(&self.yaml.replace("@CEILING", features));
        self.gateway.hangup();
        eventually("the new ceiling is in force", || (self.gateway.generation() > before).then_some(()));
    }

    /// A token that the vendor lends to the maker.
    pub(super) fn lend(&self, features: &[&str]) -> String {
        self.lend_by(VENDOR_KEY, features)
    }

    /// The same by the account with this key.
    pub(super) fn lend_by(&self, key: &str, features: &[&str]) -> String {
        let body = json!({ "targetAzureResourceId": MAKER, "featureFlags": features });
        let key = format!("ocp-apim-subscription-key: {key}\r\n");
        let issued = self.call(self.gateway.traffic(), "POST", "/sts/v1.0/issueLimitedAccessToken", &key, &body);
        assert_eq!(issued.status(), 200, "{}", issued.text());
        issued.text()
    }

    /// A call of the project's own API that has to succeed, and its answer.
    pub(super) fn manage(&self, method: &str, path: &str, body: &Value) -> Value {
        let key = format!("authorization: Bearer {MANAGEMENT_KEY}\r\n");
        let answer = self.call(self.gateway.management(), method, &format!("/api/v1{path}"), &key, body);
        assert!(matches!(answer.status(), 200 | 201), "{method} {path}: {}", answer.text());
        serde_json::from_str(&answer.text()).unwrap()
    }

    fn call(&self, at: SocketAddr, method: &str, path: &str, headers: &str, body: &Value) -> Message {
        let (mut wire, _) = connect_to(HOST, at, self.authority.client(&[], None)).unwrap();
        let headers = format!("content-type: application/json\r\n{headers}");
        wire.call(method, path, &headers, Some(body.to_string().as_bytes()))
    }

    /// Plays a scenario of a driver, to its end; `more` is what it is told besides where the gateway is.
    pub(super) fn play(&self, driver: &str, scenario: &str, more: Value) {
        let mut told = json!({
            "ca": self.gateway.directory().join("ca.crt"),
            "traffic": format!("https://{}", self.gateway.traffic()),
            "management": format!("https://{}", self.gateway.management()),
            "management_key": MANAGEMENT_KEY,
            "workspace": WORKSPACE,
        });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        let printed = drive(driver, scenario, &told).unwrap();
        assert!(printed.contains("holds: "), "{driver} {scenario} claims something: {printed}");
    }
}

/// The demonstration's scoring and Face-like servers, until the process ends.
fn upstreams() -> [SocketAddr; 2] {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scoring = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let face = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send([&scoring, &face].map(|listener| listener.local_addr().unwrap())).unwrap();
            drop(tokio::join!(scoring::serve(scoring), face::serve(face)));
        });
    });
    receiver.recv().unwrap()
}

const YAML: &str = "
listeners:
  traffic: [{address: $TRAFFIC, tls: {certificate: $DIR/server.crt, private_key: $DIR/server.key}}]
  management: {address: $MANAGEMENT, tls: {certificate: $DIR/server.crt, private_key: $DIR/server.key}}
  health: {address: $HEALTH}
workspace: @WORKSPACE
management_keys:
  owner: {key: 'file:$DIR/owner', role: owner}
upstreams:
  scoring: {endpoints: ['http://@SCORING']}
  face: {endpoints: ['http://@FACE']}
accounts:
  vendor:
    resource: @VENDOR
    keys: {primary: {key: 'file:$DIR/vendor'}}
    approvals: [Face.Identification, Face.Verification]
    may_issue: [@CEILING]
  maker: {resource: @MAKER, keys: {primary: {key: 'file:$DIR/maker'}}}
services:
  iris: {upstream: scoring, auth: {key: {}}}
  iris-token: {upstream: scoring, auth: {token: {issuers: [own]}}}
  iris-managed: {upstream: scoring, auth: {key: {}}, managed: true}
  iris-container: {upstream: scoring, platform: aci, auth: {key: {}}}
  face:
    match: [{prefix: /face}]
    upstream: face
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
";
