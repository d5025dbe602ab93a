//! A gateway that only verifies what another one issues: all that it needs is the other's key set.

use serde_json::json;

use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/scoregate\
                         /providers/Microsoft.MachineLearningServices/workspaces/scoregate";

#[test]
fn a_sidecar_takes_the_service_tokens_of_a_gateway_that_is_gone() {
    let upstream = Upstream::ok();
    let upstreams = format!("upstreams: {{a: {{endpoints: ['{}']}}}}", upstream.url());
    let mut issuing = Gateway::start(&format!(
        "
{upstreams}
services: {{model: {{match: [{{prefix: /model}}], upstream: a, auth: {{token: {{}}}}}}}}
"
    ));
    let key = std::fs::read_to_string(issuing.directory().join("store/management.key")).unwrap();
    let path = format!("/modelmanagement/v1.0{WORKSPACE}/services/model/token");
    let key = format!("Bearer {}", key.trim_end());
    let issued = client::post(issuing.management(), &path, &[("authorization", &key)], json!({}).to_string());
    assert_eq!(issued.status, 201, "{}", issued.text());
    let token = issued.json()["accessToken"].as_str().unwrap().to_owned();

    let sidecar = Gateway::start(&format!(
        "
{upstreams}
tokens: {{issuer: 'urn:sidecar'}}
issuers:
  gateway: {{issuer: 'urn:scoregate', keys: {{url: 'http://{}/.well-known/jwks.json'}}, algorithms: [ES256]}}
services:
  model: {{match: [{{prefix: /model}}], upstream: a, auth: {{token: {{issuers: [gateway]}}}}}}
  other: {{match: [{{prefix: /other}}], upstream: a, auth: {{token: {{issuers: [gateway]}}}}}}
",
        issuing.management()
    ));
    let status =
        |path: &str| client::get(sidecar.traffic(), path, &[("authorization", &format!("Bearer {token}"))]).status;
    assert_eq!((status("/model"), status("/other")), (200, 401), "the token is for one service");

    issuing.terminate();
    issuing.wait();
    assert!(client::Client::try_connect(issuing.management()).is_none(), "the issuing gateway is gone");
    assert_eq!((status("/model"), status("/other")), (200, 401));
    let generation = sidecar.generation();
    let config = std::fs::read_to_string(sidecar.config()).unwrap();
    sidecar.write(
        "gateway.yaml",
        format!("{config}  open: {{match: [{{prefix: /open}}], upstream: a, auth: {{public: x}}}}\n"),
    );
    eventually("a change is in force", || (sidecar.generation() > generation).then_some(()));
    assert_eq!((status("/model"), status("/other")), (200, 401), "after a change of its own configuration");
}
