//! The management plane as its callers see it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use base64::Engine as _;
use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinHandle;

use super::Management;
use super::Observed;
use super::Traffic;
use super::routes::Access;
use super::routes::ROUTES;
use crate::config::IssuerKeys;
use crate::config::Role;
use crate::config::SigningAlgorithm;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Audit;
use crate::pipeline::issuer_keys::KeyRequests;
use crate::pipeline::issuer_keys::Standing;
use crate::snapshot::Snapshot;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::inputs::LoadedIssuer;
use crate::snapshot::live::Live;
use crate::snapshot::testing::Stage;
use crate::tokens::jwks::KeySet;
use crate::tokens::signing::SigningKey;

pub(super) const CONFIG: &str = "\
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
workspace: /subscriptions/S/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/W
management_keys:
  looks: {key: 'env:LOOKS', role: reader}
  works: {key: 'env:WORKS', role: operator}
  owns: {key: 'env:OWNS', role: owner}
tokens: {lifetime: 12h, refresh_after: 6h}
issuers: {corp: {issuer: 'https://corp', keys: {file: corp.jwks}, algorithms: [ES256]}}
management_issuers:
  corp: {audiences: [gateway], roles: {claim: groups, reader: [everybody], operator: [oncall], owner: [root]}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {caller: {resource: /a/caller}}
services:
  aci: {upstream: model, platform: aci, auth: {key: {}}}
  foreign: {upstream: model, auth: {token: {issuers: [corp]}}}
  iris: {upstream: model, auth: {key: {}}}
  mounted: {upstream: model, auth: {key: {keys: {directory: /run/keys}}}}
  open: {upstream: model, auth: {public: for a test}}
  shared: {upstream: model, auth: {key: {keys: none, accounts: [caller]}}}
  token: {upstream: model, auth: {token: {issuers: [own]}}}
";

const WORKSPACE: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w";
const OTHER: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/other";
const V1: &str =
    "/modelmanagement/v1.0/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w";

pub(super) const KEYS: [(Role, &str, &str); 3] = [
    (Role::Reader, "looks", "key-of-a-reader-0"),
    (Role::Operator, "works", "key-of-an-operator"),
    (Role::Owner, "owns", "key-of-an-owner-00"),
];
const READER: &str = "key-of-a-reader-0";
pub(super) const OPERATOR: &str = "key-of-an-operator";
pub(super) const OWNER: &str = "key-of-an-owner-00";

pub(super) struct Plane {
    manage: Arc<Management>,
    live: Live,
    follower: Option<JoinHandle<()>>,
    /// Keeps the store's directory where nobody follows.
    _stage: Option<Stage>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

pub(super) struct Got {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// The text at a path such as `error/code`.
    pub(super) fn at(&self, path: &str) -> String {
        let document = self.json();
        let found = document.pointer(&format!("/{path}"));
        found.and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {document}")).to_owned()
    }
}

impl Plane {
    pub(super) async fn new() -> Self {
        let plane = Self::that_nobody_follows().await;
        let Self { manage, live, .. } = &plane;
        let (manage, live) = (Arc::clone(manage), live.clone());
        let mut plane = plane;
        let stage = plane._stage.take().unwrap();
        Self { manage, live, follower: Some(stage.follow().await), _stage: None }
    }

    async fn that_nobody_follows() -> Self {
        let stage = Stage::new(CONFIG, &KEYS.map(|(_, name, key)| (name, key))).await;
        Self::over(stage)
    }

    pub(super) fn over(stage: Stage) -> Self {
        // Nobody fetches: an issuer whose keys are wanted is one that cannot be reached.
        let requests = KeyRequests::new(tokio::sync::mpsc::channel(1).0, Standing::default());
        let started = UnixSeconds(1_800_000_000);
        let manage = Management::new(
            stage.live.clone(),
            Arc::clone(&stage.store),
            requests,
            Audit::off(),
            Observed::default(),
            started,
        );
        Self { manage, live: stage.live.clone(), follower: None, _stage: Some(stage) }
    }

    pub(super) async fn call(&self, method: Method, path: &str, key: Option<&str>, body: impl Into<Bytes>) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("host", "gateway.test:8081");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let reply = self.manage.answer(request.body(Full::new(body.into())).unwrap()).await;
        let (head, body) = reply.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert_eq!(head.headers["x-scoregate-decision-id"].len(), 32);
        Got { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, Some(READER), "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Got {
        self.call(Method::POST, path, Some(OPERATOR), body.to_string()).await
    }

    async fn keys(&self, service: &str) -> (String, String) {
        let got = self.post(&format!("{V1}/services/{service}/listkeys"), &json!({})).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text);
        (got.at("primaryKey"), got.at("secondaryKey"))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load()
    }

    pub(super) fn opens(&self, key: &str) -> bool {
        self.live.load().keys.get(&Digest::of(key.as_bytes())).is_some()
    }
}

#[tokio::test]
async fn every_route_wants_a_key_whose_role_covers_it_and_the_gateways_own_workspace() {
    let plane = Plane::new().await;
    let callers = [(None, None), (Some("key-that-is-nobodys"), None)];
    let callers = callers.into_iter().chain(KEYS.map(|(role, _, key)| (Some(key), Some(role))));
    for (key, role) in callers {
        for route in ROUTES {
            for (workspace, is_own) in [(WORKSPACE, true), (OTHER, false)] {
                let path = route
                    .path
                    .replace("/{workspace}", workspace)
                    .replace("{name}", "iris")
                    .replace("{slot}", "primary");
                let body = r#"{"keyType":"Primary"}"#;
                let got = plane.call(route.method.clone(), &path, key, body).await;
                let case = format!("{} {path} by {role:?}: {} {}", route.method, got.status, got.text);
                let others = ["application/yaml", "text/html; charset=utf-8"];
                let is_other =
                    got.headers.get("content-type").is_some_and(|kind| others.iter().any(|other| kind == other));
                let is_json = got.text.is_empty() || serde_json::from_str::<Value>(&got.text).is_ok();
                assert!(is_json || is_other, "{case}");
                let want = match (route.access, role) {
                    (Access::Anyone, _) => None,
                    (Access::From(_), None) => Some(StatusCode::UNAUTHORIZED),
                    (Access::From(needed), Some(role)) if role < needed => Some(StatusCode::FORBIDDEN),
                    (Access::From(_), Some(_)) if !is_own && route.path.contains("{workspace}") => {
                        Some(StatusCode::NOT_FOUND)
                    }
                    (Access::From(_), Some(_)) => None,
                };
                match want {
                    Some(want) => assert_eq!(got.status, want, "{case}"),
                    None => {
                        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&got.status);
                        assert!(!denied && got.status != StatusCode::INTERNAL_SERVER_ERROR, "{case}");
                        assert!(!got.text.contains("another workspace"), "{case}");
                    }
                }
                let is_challenged = got.headers.contains_key("www-authenticate");
                assert_eq!(is_challenged, got.status == StatusCode::UNAUTHORIZED, "{case}");
                assert!(!got.headers.contains_key("retry-after"), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_of_another_kind_opens_nothing() {
    let plane = Plane::new().await;
    let (primary, _) = plane.keys("iris").await;
    let path = format!("{V1}/services");
    for lines in [
        vec![format!("Bearer {primary}")],
        vec![format!("Basic {OWNER}")],
        vec![OWNER.to_owned()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![format!("Bearer  {OWNER}")],
        vec![format!("Bearer {OWNER}, Bearer {OWNER}")],
        vec![format!("Bearer {OWNER}"), format!("Bearer {OWNER}")],
    ] {
        let mut request = Request::builder().uri(&path).header("host", "gateway.test");
        for line in &lines {
            request = request.header("authorization", line);
        }
        let reply = plane.manage.answer(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "{lines:?}");
    }
}

#[tokio::test]
async fn a_token_of_a_configured_issuer_brings_the_highest_role_that_its_claim_names() {
    crate::tokens::install_crypto_provider();
    let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let stranger = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let set = KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes()).unwrap();
    let mut inputs = Inputs::default();
    let from = IssuerKeys::File("corp.jwks".into());
    inputs.issuers.insert(Name::parse("corp").unwrap(), LoadedIssuer { from, keys: Arc::new(set) });
    let plane = Plane::over(Stage::with_inputs(CONFIG, inputs).await);
    let now = UnixSeconds::now().0;
    let claims = |changes: Value| {
        let mut claims = json!({ "iss": "https://corp", "sub": "ada", "aud": "gateway", "iat": now, "exp": now + 600 });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let (look, list, add) = (StatusCode::OK, StatusCode::OK, StatusCode::NOT_IMPLEMENTED);
    let (unknown, forbidden) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    for (signer, changes, want) in [
        (&key, json!({ "groups": ["everybody"] }), [look, forbidden, forbidden]),
        (&key, json!({ "groups": ["everybody", "oncall"] }), [look, list, forbidden]),
        (&key, json!({ "groups": "root" }), [look, list, add]),
        (&key, json!({ "groups": ["Root"] }), [forbidden; 3]),
        (&key, json!({ "groups": [] }), [forbidden; 3]),
        (&key, json!({}), [forbidden; 3]),
        (&key, json!({ "groups": "root", "aud": "another" }), [unknown; 3]),
        (&key, json!({ "groups": "root", "iss": "https://other" }), [unknown; 3]),
        (&key, json!({ "groups": "root", "iss": "urn:scoregate" }), [unknown; 3]),
        (&key, json!({ "groups": "root", "iat": now - 900, "exp": now - 300 }), [unknown; 3]),
        // Whether the issuer has a new key cannot be told while it cannot be asked.
        (&stranger, json!({ "groups": "root" }), [StatusCode::SERVICE_UNAVAILABLE; 3]),
    ] {
        let token = signer.sign("at+jwt", &claims(changes.clone())).unwrap();
        let services = format!("{V1}/services");
        let calls = [
            (Method::GET, services.clone()),
            (Method::POST, format!("{services}/iris/listkeys")),
            (Method::POST, services),
        ];
        for ((method, path), want) in calls.into_iter().zip(want) {
            let got = plane.call(method.clone(), &path, Some(token.expose()), "{}").await;
            assert_eq!(got.status, want, "{changes} {method} {path}: {}", got.text);
        }
    }
}

#[tokio::test]
async fn errors_have_the_form_that_each_apis_clients_read() {
    let plane = Plane::new().await;
    let v1 = plane.get(&format!("{V1}/services/nobody")).await;
    assert_eq!((v1.status, v1.at("code")), (StatusCode::NOT_FOUND, "NotFound".to_owned()));
    assert_eq!(v1.json()["statusCode"], 404);
    assert_eq!(v1.at("message"), v1.at("details/0/message"));
    assert_eq!(v1.at("correlation/RequestId"), v1.headers["x-scoregate-decision-id"].to_str().unwrap());
    let v2 = plane.get(&format!("{WORKSPACE}/onlineEndpoints/nobody?api-version=2022-02-01-preview")).await;
    assert_eq!((v2.status, v2.at("error/code")), (StatusCode::NOT_FOUND, "NotFound".to_owned()));
    let own = plane.call(Method::POST, "/discovery", None, "").await;
    assert_eq!((own.status, own.at("error/code")), (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed".to_owned()));
    assert_eq!((own.headers["allow"].to_str().unwrap(), own.json()["status"].as_u64()), ("GET", Some(405)));
    assert_eq!(own.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_v1_service_has_all_that_azureml_core_cannot_do_without() {
    let plane = Plane::new().await;
    plane.manage.traffic_at(Some(Traffic { address: "0.0.0.0:8080".parse().unwrap(), is_tls: false }));
    let listed = plane.get(&format!("{V1}/services?expand=true")).await.json();
    assert_eq!(listed["value"].as_array().unwrap().len(), 7);
    assert!(listed.get("nextLink").is_none(), "null would be followed");
    for (kind, want) in [("AKS", 6), ("aci", 1), ("IOT", 0)] {
        let listed = plane.get(&format!("{V1}/services?expand=true&computeType={kind}")).await.json();
        assert_eq!(listed["value"].as_array().unwrap().len(), want, "{kind}");
    }
    let common = "name description kvTags properties createdTime computeType appInsightsEnabled authEnabled scoringUri";
    let aks = "aadAuthEnabled computeName numReplicas maxConcurrentRequestsPerContainer maxQueueWaitMs scoringTimeoutMs \
               livenessProbeRequirements autoScaler containerResourceRequirements dataCollection";
    let aci = "cname location publicIp sslCertificate sslEnabled sslKey containerResourceRequirements";
    for (name, kind, of_kind, auth, aad) in [
        ("iris", "AKS", aks, true, Some(false)),
        ("token", "AKS", aks, false, Some(true)),
        ("open", "AKS", aks, false, Some(false)),
        ("aci", "ACI", aci, true, None),
    ] {
        let got = plane.get(&format!("{V1}/services/{name}?expand=true&includeHealth=true")).await;
        assert_eq!(got.status, StatusCode::OK);
        let service = got.json();
        for field in common.split(' ').chain(of_kind.split_whitespace()) {
            assert!(service.get(field).is_some(), "{name} has no {field}: {service}");
        }
        for field in ["createdTime", "computeType", "containerResourceRequirements"] {
            assert!(!service[field].is_null(), "{field}");
        }
        for field in ["imageDetails", "updatedTime"] {
            assert!(service.get(field).is_none(), "azureml-core reads on from {field}");
        }
        assert_eq!((&service["computeType"], &service["authEnabled"]), (&json!(kind), &json!(auth)), "{name}");
        assert_eq!(service.get("aadAuthEnabled").and_then(Value::as_bool), aad, "{name}");
        assert_eq!(service["scoringUri"], format!("http://gateway.test:8080/api/v1/service/{name}/score"));
        assert_eq!((&service["createdTime"], &service["state"]), (&json!("2027-01-15T08:00:00Z"), &json!("Healthy")));
    }
}

#[tokio::test]
async fn a_regeneration_is_in_force_when_it_is_answered_and_leaves_the_other_slot_alone() {
    let plane = Plane::new().await;
    let path = format!("{V1}/services/iris/regenerateKeys");
    let (old, other) = plane.keys("iris").await;
    let got = plane.post(&path, &json!({ "keyType": "Primary", "keyValue": null })).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::ACCEPTED, ""));
    assert!(!plane.opens(&old) && plane.opens(&other));
    let (new, same) = plane.keys("iris").await;
    assert!(new != old && same == other && plane.opens(&new));

    let location = got.headers["operation-location"].to_str().unwrap().to_owned();
    let id = location.rsplit('/').next().unwrap();
    let polled = plane.get(&format!("{V1}/operations/{id}")).await;
    assert_eq!((polled.status, polled.at("state")), (StatusCode::OK, "Succeeded".to_owned()));
    assert_eq!(plane.get(&format!("{V1}/operations/0")).await.status, StatusCode::NOT_FOUND);
    assert!(location.starts_with("http://gateway.test:8081/modelmanagement/v1.0/subscriptions/"), "{location}");

    let current = plane.post(&path, &json!({ "keyType": "Secondary", "keyValue": other })).await;
    assert_eq!(current.status, StatusCode::ACCEPTED);
    let (_, random) = plane.keys("iris").await;
    assert!(random != other && !plane.opens(&other), "the current key means a random one");
    let chosen = "a-key-that-was-chosen";
    plane.post(&path, &json!({ "keyType": "Secondary", "keyValue": chosen })).await;
    assert_eq!(plane.keys("iris").await.1, chosen);
    for (body, want) in [
        (json!({ "keyType": "Primary", "keyValue": "short" }), StatusCode::BAD_REQUEST),
        (json!({ "keyType": "Primary", "keyValue": chosen }), StatusCode::CONFLICT),
        (json!({ "keyType": "Both" }), StatusCode::BAD_REQUEST),
        (json!([]), StatusCode::BAD_REQUEST),
    ] {
        let got = plane.post(&path, &body).await;
        assert_eq!(got.status, want, "{body}: {}", got.text);
        assert!(!got.text.contains(chosen), "an error repeats a key: {}", got.text);
    }
    assert_eq!(plane.keys("iris").await, (new, chosen.to_owned()));
}

#[tokio::test]
async fn a_change_that_does_not_come_into_force_is_not_answered_as_if_it_had() {
    let plane = Plane::that_nobody_follows().await;
    let got = plane.post(&format!("{V1}/services/iris/regenerateKeys"), &json!({ "keyType": "Primary" })).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_token_opens_its_service_and_tells_its_times_in_whole_seconds() {
    let plane = Plane::new().await;
    let got = plane.call(Method::POST, &format!("{V1}/services/token/token"), Some(READER), "").await;
    assert_eq!((got.status, got.at("tokenType")), (StatusCode::CREATED, "Bearer".to_owned()));
    let (jwt, document) = (got.at("accessToken"), got.json());
    let claims = jwt.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!("token"), &json!("looks")));
    let issued = claims["iat"].as_u64().unwrap();
    assert_eq!(document["expiryOn"].as_u64(), Some(issued + 12 * 3600));
    assert_eq!(document["refreshAfter"].as_u64(), Some(issued + 6 * 3600));

    let got = plane.call(Method::POST, &format!("{WORKSPACE}/onlineEndpoints/token/token"), Some(READER), "").await;
    assert_eq!((got.status, got.at("tokenType")), (StatusCode::OK, "Bearer".to_owned()));
    let document = got.json();
    let (refresh, expiry) = (&document["refreshAfterTimeUtc"], &document["expiryTimeUtc"]);
    assert_eq!(expiry.as_u64().unwrap() - refresh.as_u64().unwrap(), 6 * 3600);
}

#[tokio::test]
async fn what_a_service_does_not_have_is_refused_with_who_does() {
    let plane = Plane::new().await;
    for (name, call, status, code, part) in [
        ("token", "listkeys", 400, "AuthModeMismatch", "called with tokens"),
        ("token", "regenerateKeys", 400, "AuthModeMismatch", "called with tokens"),
        ("open", "listkeys", 400, "AuthModeMismatch", "public"),
        ("open", "token", 400, "AuthModeMismatch", "public"),
        ("iris", "token", 400, "AuthModeMismatch", "called with keys"),
        ("mounted", "listkeys", 409, "Conflict", "/run/keys"),
        ("mounted", "regenerateKeys", 409, "Conflict", "/run/keys"),
        ("shared", "listkeys", 409, "Conflict", "accounts"),
        ("foreign", "token", 409, "Conflict", "other issuers"),
        ("nobody", "token", 404, "NotFound", "no such service"),
    ] {
        let body = json!({ "keyType": "Primary" });
        let v1 = plane.post(&format!("{V1}/services/{name}/{call}"), &body).await;
        assert_eq!((v1.status.as_u16(), v1.at("code")), (status, code.to_owned()), "{name} {call}");
        assert!(v1.at("message").contains(part), "{name} {call}: {}", v1.text);
        let v2 = plane.post(&format!("{WORKSPACE}/onlineEndpoints/{name}/{call}"), &body).await;
        assert_eq!((v2.status.as_u16(), v2.at("error/code")), (status, code.to_owned()), "{name} {call}");
    }
}

#[tokio::test]
async fn gateway_yaml_owns_what_a_service_is() {
    let plane = Plane::new().await;
    let set = |path: &str, value: bool| json!({ "op": "replace", "path": path, "value": value });
    let (key, token) = (|value| set("/authEnabled", value), |value| set("/aadAuthEnabled", value));
    let both = "Error, cannot set both token_auth_enabled and auth_enabled.";
    let beside = "Error, cannot set token_auth_enabled without disabling key auth (set auth_enabled to False).";
    for (name, patch, status, part) in [
        ("iris", json!([key(true), token(true)]), 400, both),
        ("token", json!([key(true), token(true)]), 400, both),
        ("iris", json!([token(true)]), 400, beside),
        ("token", json!([key(true)]), 400, "without disabling token auth"),
        ("aci", json!([key(false), token(true)]), 400, "ACI webservices do not support Token Authentication."),
        ("iris", json!([key(false), token(true)]), 409, "gateway.yaml owns"),
        ("iris", json!([key(false)]), 409, "gateway.yaml owns"),
        ("iris", json!([{ "op": "replace", "path": "/numReplicas", "value": 3 }]), 409, "gateway.yaml owns"),
        ("iris", json!([]), 409, "gateway.yaml owns"),
        ("iris", json!({ "authEnabled": false }), 400, "JSON Patch"),
        ("nobody", json!([key(true)]), 404, "no such service"),
    ] {
        let got = plane.call(Method::PATCH, &format!("{V1}/services/{name}"), Some(OPERATOR), patch.to_string()).await;
        assert_eq!(got.status.as_u16(), status, "{name} {patch}: {}", got.text);
        assert!(got.at("message").contains(part), "{name} {patch}: {}", got.text);
    }
    for (body, status, part) in [
        (r#"{"name":"new"}"#, 501, "deploys none"),
        (
            r#"{"name":"new","authEnabled":true,"aadAuthEnabled":true}"#,
            400,
            "auth_enabled and token_auth_enabled cannot both be true",
        ),
        ("no json", 400, "JSON object"),
    ] {
        let got = plane.call(Method::POST, &format!("{V1}/services"), Some(OWNER), body).await;
        assert_eq!(got.status.as_u16(), status, "{body}");
        assert!(got.at("message").contains(part), "{body}: {}", got.text);
    }
    for (name, want) in [("iris", StatusCode::CONFLICT), ("nobody", StatusCode::NO_CONTENT)] {
        let got = plane.call(Method::DELETE, &format!("{V1}/services/{name}"), Some(OWNER), "").await;
        assert_eq!(got.status, want, "{name}");
    }
    let validated = plane.post(&format!("{V1}/services/validate/name/new"), &json!({})).await;
    assert_eq!((validated.status, validated.json()), (StatusCode::OK, json!({})));
}

#[tokio::test]
async fn v2_endpoints_are_the_services_that_have_a_mode_there() {
    let plane = Plane::new().await;
    let path = format!("{WORKSPACE}/onlineEndpoints");
    let listed = plane.get(&format!("{path}?api-version=2099-01-01")).await.json();
    let names: Vec<&str> = listed["value"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["aci", "foreign", "iris", "mounted", "shared", "token"]);
    for (name, mode) in [("iris", "Key"), ("token", "AMLToken")] {
        let got = plane.get(&format!("{path}/{name}?api-version=2022-02-01-preview")).await.json();
        assert_eq!(got["properties"]["authMode"], mode, "{name}");
        assert_eq!(got["properties"]["provisioningState"], "Succeeded");
        let uri = |file: &str| format!("http://gateway.test:8081/api/v1/service/{name}/{file}");
        assert_eq!(got["properties"]["scoringUri"], uri("score"), "{name}");
        assert_eq!(got["properties"]["swaggerUri"], uri("swagger.json"), "{name}");
        assert!(got.get("systemData").is_none());
    }
    assert_eq!(plane.get(&format!("{path}/iris/deployments")).await.json(), json!({ "value": [] }));

    let listed = plane.post(&format!("{path}/iris/listKeys"), &json!({})).await;
    let old = listed.at("primaryKey");
    let got =
        plane.post(&format!("{path}/iris/regenerateKeys"), &json!({ "keyType": "Primary", "keyValue": old })).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::OK, ""));
    assert!(!plane.opens(&old));
}

#[tokio::test]
async fn everybody_may_find_the_gateway_and_its_public_keys() {
    let plane = Plane::new().await;
    let discovery = plane.call(Method::GET, "/discovery", None, "").await.json();
    for service in ["api", "experimentation", "history", "hyperdrive", "modelmanagement", "studio"] {
        assert_eq!(discovery[service], "http://gateway.test:8081", "{service}");
    }
    let configuration = plane.call(Method::GET, "/.well-known/openid-configuration", None, "").await;
    assert_eq!(configuration.at("issuer"), "urn:scoregate");
    assert_eq!(configuration.at("jwks_uri"), "http://gateway.test:8081/.well-known/jwks.json");
    let keys = plane.call(Method::GET, "/.well-known/jwks.json", None, "").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    for host in ["", "user@host", "a b", "host:port"] {
        let request = Request::builder().uri("/discovery").header("host", host);
        let reply = plane.manage.answer(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{host:?}");
    }
}

/// A body that never comes.
struct Silence;

impl http_body::Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_or_too_slow_is_refused() {
    let plane = Plane::that_nobody_follows().await;
    let path = format!("{V1}/services/validate");
    for (bytes, want) in [(64 * 1024, StatusCode::OK), (64 * 1024 + 1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let got = plane.call(Method::POST, &path, Some(OPERATOR), vec![b' '; bytes]).await;
        assert_eq!(got.status, want, "{bytes} bytes");
    }
    tokio::time::pause();
    let request = Request::builder().method(Method::POST).uri(&path).header("host", "gateway.test");
    let request = request.header("authorization", format!("Bearer {OPERATOR}")).body(Silence).unwrap();
    assert_eq!(plane.manage.answer(request).await.status(), StatusCode::REQUEST_TIMEOUT);
}
