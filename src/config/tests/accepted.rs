//! What is accepted, and what it means.

use std::time::Duration;

use super::{SMALL, small_with};
#[cfg(feature = "etcd")]
use crate::config;
use crate::config::{
    AccessLog, AllowedAccounts, AskingPeers, AskingProxy, Audit, Auth, AuthMode, CallerResource, Config, Dialect,
    EndpointAddress, ForwardAuth, HostHeader, HostMatch, IssuerKeys, KeySource, Needs, OnAuditFailure, PathMatch,
    Protocol, Question, Retries, RetriesOf, SecretRef, ServiceLimits, SlotRef, Slots, TokenAlgorithm, TokenIssuer,
    Traffic, Upgrades, WhenNoneIsHealthy, report, schema,
};
use crate::model::name::Name;
use crate::model::path::PathTemplate;
use crate::model::time::UnixSeconds;

const SHIPPED: &str = include_str!("../../../gateway.yaml");
const SHIPPED_SCHEMA: &str = include_str!("../../../gateway.schema.json");

fn read(text: &str) -> Config {
    Config::read(text).unwrap_or_else(|problems| panic!("{}\nin\n{text}", report::problems("gateway.yaml", &problems)))
}

fn template(text: &str) -> PathTemplate {
    PathTemplate::parse(text).unwrap()
}

#[test]
fn the_shipped_file_shows_each_auth_mode_and_listens_on_this_machine_only() {
    let config = read(SHIPPED);
    let modes: Vec<(&str, &str)> = config
        .services
        .values()
        .map(|service| match &service.auth {
            Auth::Key(_) => (service.name.as_str(), "key"),
            Auth::Token(_) => (service.name.as_str(), "token"),
            Auth::Public { .. } => (service.name.as_str(), "public"),
        })
        .collect();
    assert_eq!(modes, [("face", "key"), ("iris", "key"), ("iris-docs", "public"), ("iris-token", "token")]);
    let summary = report::summary(&config);
    for line in [
        "listener traffic-0: 127.0.0.1:8080\n",
        "listener management: 127.0.0.1:8081\n",
        "listener health: 127.0.0.1:8082\n",
        "service face: /face/** -> face, key: those of door-software, door-maker\n",
        "service iris: /api/v1/service/iris/** -> iris, key: its own keys from the store\n",
        "service iris-docs: GET /swagger.json -> iris, PUBLIC: the description",
        "service iris-token: /api/v1/service/iris-token/** -> iris, token: issued by own for iris-token\n",
    ] {
        assert!(summary.contains(line), "{line:?} is not in\n{summary}");
    }
}

#[test]
fn the_kustomizations_of_deploy_are_read() {
    for text in [
        include_str!("../../../deploy/kustomize/base/gateway.yaml"),
        include_str!("../../../deploy/kustomize/overlays/standalone/gateway.yaml"),
    ] {
        assert_eq!(read(text).services.len(), 1);
    }
}

/// `UPDATE=1 cargo test` writes the schema that stands beside the shipped file.
#[test]
fn the_shipped_schema_is_the_one_that_files_are_judged_by() {
    let current = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.schema.json"), &current).unwrap();
        return;
    }
    assert!(current == SHIPPED_SCHEMA, "gateway.schema.json is stale: run UPDATE=1 cargo test");
}

#[test]
fn what_is_left_out_takes_the_stated_default() {
    let config = read(SMALL);
    assert_eq!(config.workers, None);
    assert_eq!(config.store.directory.to_str(), Some("state"));
    assert!(config.workspace.as_str().starts_with("/subscriptions/00000000-0000-0000-0000-000000000000/"));
    assert_eq!(config.features.iter().count(), 3);
    assert_eq!(config.access_log, AccessLog::On { sample: 1.0 });
    assert!(matches!(&config.audit, Audit::On(log) if log.on_failure == OnAuditFailure::Block));
    assert_eq!((config.shutdown.delay.as_secs(), config.shutdown.deadline.as_secs()), (5, 20));
    assert_eq!((config.tokens.lifetime.as_secs(), config.tokens.refresh_after.as_secs()), (43_200, 21_600));
    assert_eq!(config.listeners.management, None);
    let service = &config.services["iris"];
    assert_eq!(service.matches.len(), 1);
    assert_eq!(service.matches[0].host, HostMatch::Any);
    assert_eq!(service.matches[0].path, PathMatch::Prefix(template("/api/v1/service/iris")));
    assert_eq!(service.strip_prefix.as_deref(), Some("/api/v1/service/iris"));
    assert_eq!(service.max_body_bytes, Some(67_108_864));
    assert_eq!(service.timeouts.connect, Duration::from_secs(2));
    assert_eq!(service.timeouts.total, None);
    assert_eq!(service.dialect, Dialect::Scoring);
    assert_eq!(service.upgrades, Upgrades::Removed);
    assert_eq!(service.identity.principal.as_ref().unwrap(), "x-scoregate-principal");
    let Auth::Key(key) = &service.auth else { panic!("{:?}", service.auth) };
    assert_eq!(key.slots, Some(Slots::Store));
    assert_eq!(key.accounts, AllowedAccounts::Only(Vec::new()));
    let header = http::HeaderName::from_static("ocp-apim-subscription-key");
    assert_eq!(key.sources, [KeySource::Bearer, KeySource::Header(header)]);
}

#[test]
fn limits_of_a_service_are_off_unless_written_and_its_queue_is_as_long_as_azures() {
    let limits = |written: &str| {
        read(&small_with("upstream: model", &format!("upstream: model{written}"))).services["iris"].limits
    };
    assert_eq!(limits(""), ServiceLimits::default());
    let queue = |written: &str| {
        limits(written).concurrency.map(|at_once| (at_once.most.get(), at_once.queue, at_once.wait.as_millis()))
    };
    assert_eq!(queue("\n    limits: {concurrency: 8}"), Some((8, 8, 500)));
    assert_eq!(queue("\n    limits: {concurrency: 8, queue: 0, queue_wait: 2s}"), Some((8, 0, 2000)));
    let caller = limits("\n    limits: {per_caller: {concurrency: 2, requests: 600, per: 1m}}");
    assert_eq!(caller.caller_concurrency.map(std::num::NonZeroU16::get), Some(2));
    assert_eq!(caller.caller_rate.map(|rate| (rate.requests.get(), rate.per.as_secs())), Some((600, 60)));
}

#[test]
fn endpoints_are_watched_only_where_that_is_written_and_what_is_sent_again_has_a_budget() {
    let upstream = |written: &str| {
        let text = small_with("['http://127.0.0.1:5001']", &format!("['http://127.0.0.1:5001']{written}"));
        read(&text).upstreams["model"].clone()
    };
    let plain = upstream("");
    assert_eq!((&plain.health_check, plain.ejection), (&None, None));
    assert_eq!(plain.when_none_is_healthy, WhenNoneIsHealthy::Try);
    assert_eq!(plain.retries, Retries { of: RetriesOf::Unwritten, share: 0.2, per_second: 10 });
    let watched = upstream(", health_check: {}, ejection: {}");
    let check = watched.health_check.unwrap();
    assert_eq!(check.question, Question::Get("/".parse().unwrap()));
    assert_eq!((check.every.as_secs(), check.timeout.as_secs()), (10, 2));
    assert_eq!((check.healthy_after.get(), check.unhealthy_after.get()), (2, 3));
    let ejection = watched.ejection.unwrap();
    assert_eq!((ejection.failures.get(), ejection.first.as_secs(), ejection.at_most.as_secs()), (5, 30, 300));
    let longer = upstream(", ejection: {for: 1h}").ejection.unwrap();
    assert_eq!(longer.at_most.as_secs(), 3600, "never shorter than the first");
    let other = ", protocol: http2, health_check: {grpc: a.B}, when_none_is_healthy: refuse, retries: {of: idempotent}";
    let other = upstream(other);
    assert_eq!(other.health_check.unwrap().question, Question::Grpc("a.B".to_owned()));
    assert_eq!((other.when_none_is_healthy, other.retries.of), (WhenNoneIsHealthy::Refuse, RetriesOf::Idempotent));
}

#[test]
fn a_service_has_one_upstream_or_deployments_and_one_of_those_without_a_weight_has_to_be_named() {
    let traffic = |written: &str| read(&small_with("upstream: model", written)).services["iris"].traffic.clone();
    assert!(matches!(traffic("upstream: model"), Traffic::One(name) if name.as_str() == "model"));
    let split = traffic("deployments: {green: {upstream: model}, blue: {upstream: model, weight: 90}}");
    let Traffic::Split(deployments) = split else { panic!("two deployments are a split") };
    let each: Vec<_> = deployments.iter().map(|it| (it.name.as_str(), it.upstream.as_str(), it.weight)).collect();
    assert_eq!(each, [("blue", "model", 90), ("green", "model", 0)]);
}

#[test]
fn a_service_without_match_may_keep_its_prefix_and_one_with_match_keeps_it_unless_told() {
    for (field, kept) in [
        ("strip_prefix: none", None),
        ("strip_prefix: /api/v1", Some("/api/v1")),
        ("match: [{prefix: /a}]", None),
        ("match: [{prefix: /a/b}, {path: '/a/{x}'}]\n    strip_prefix: /a", Some("/a")),
    ] {
        let config = read(&small_with("upstream: model", &format!("upstream: model\n    {field}")));
        assert_eq!(config.services["iris"].strip_prefix.as_deref(), kept, "{field}");
    }
}

#[test]
fn the_face_preset_is_the_table_of_gates() {
    let config = read(SHIPPED);
    let identify = config.features.find("Face.Identification").unwrap();
    let verify = config.features.find("Face.Verification").unwrap();
    let rules = &config.services["face"].feature_rules;
    let either = identify.union(verify);
    for (operation, needs) in
        [("identify", identify), ("verify", verify), ("detect", either), ("findsimilars", either), ("group", either)]
    {
        let path = template(&format!("/face/{{version}}/{operation}"));
        let rule = rules.iter().find(|rule| rule.path == path).unwrap();
        assert_eq!(rule.needs, Needs::AnyOf(needs), "{operation}");
        assert!(rule.methods.is_empty(), "{operation} is gated whatever the method");
        assert_eq!(rule.free_when.is_some(), operation == "detect", "{operation}");
    }
    assert_eq!(rules.len(), 5);
    assert_eq!(config.services["face"].dialect, Dialect::Face);
}

const EVERY_FIELD: &str = r#"
listeners:
  traffic:
    - {address: "[::1]:0", name: edge, tls: {certificate: c.pem, private_key: k.pem, client_ca: ca.pem}}
    - {address: "unix:/run/scoregate.sock"}
    - {address: "[::1]:9000", forward_auth: {proxy: caddy, peers: [10.0.0.0/8, "::1"]}}
    - {address: "unix:/run/authz.sock", forward_auth: {proxy: nginx}}
  health: {address: 127.0.0.1:0}
workers: 2
store: {directory: /var/lib/scoregate, master_key: "credential:master"}
workspace: /subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w
features: [Custom.Flag]
trusted_proxies: [10.0.0.0/8, "::1"]
access_log: off
audit: off
shutdown: {delay: 0s, deadline: 1m30s}
reload: {poll: 5s}
tokens: {issuer: "urn:x", algorithm: EdDSA, lifetime: 1h, rotate_every: none}
issuers:
  corp: {issuer: "https://corp", keys: {discovery: "https://corp/t/"}, algorithms: [RS256, ES256], types: [application/AT+JWT], leeway: 0s, max_lifetime: 1h, refresh: 1m, cooldown: 5s, ca: ca.pem}
  lab: {issuer: lab, keys: {secret: "env:LAB_SECRET"}, algorithms: [HS256]}
  near: {issuer: near, keys: {url: "http://127.0.0.1:9/jwks"}, algorithms: [EdDSA]}
upstreams:
  tls: {endpoints: ["https://Model.example.com"], tls: {ca: ca.pem, server_name: m.internal, client_certificate: c.pem, client_key: k.pem}, host: model.internal:8443, protocol: http2}
  grpc: {endpoints: ["h2c://127.0.0.1:8001", "h2c://[::1]:8001/"], host: endpoint}
  socket: {endpoints: ["unix:/run/x.sock"]}
accounts:
  a: {resource: /subscriptions/a/accounts/a, keys: {primary: {key: "file:/k/a", expires: "2027-01-31T00:00:00Z"}}, approvals: [Custom.Flag]}
services:
  one:
    match: [{host: "API.example.com", methods: [GET, POST]}, {host: "*.Models.example.com", path: "/v1/{model}"}]
    upstream: tls
    auth: {key: {from: [{header: X-Api-Key}, {query: k}], keys: {directory: /keys}, accounts: every}}
    features: {rules: [{path: /v1/x, all_of: [Custom.Flag], free_when: {parameter: p, value: "no"}}]}
    dialect: face
    identity: {principal: X-Who, resource: none}
    upgrades: websocket
    path_allows: [semicolons, encoded_separators]
    max_body: none
    timeouts: {connect: 500ms, response: 5m, idle: 1h, total: 10m}
  two:
    match: [{host: two.example.com}]
    upstream: grpc
    auth: {token: {issuers: [corp, own], audiences: [x], required_claims: {tid: "7"}, resource: {claim: res}}}
"#;

#[test]
fn every_field_has_its_meaning() {
    let config = read(EVERY_FIELD);
    let edge = &config.listeners.traffic[0];
    assert_eq!((edge.name.as_str(), config.listeners.traffic[1].name.as_str()), ("edge", "traffic-1"));
    assert_eq!(edge.tls.as_ref().unwrap().client_ca.as_ref().unwrap().to_str(), Some("ca.pem"));
    let asking = |listener: usize| config.listeners.traffic[listener].forward_auth.clone();
    let peers = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).to_vec();
    assert_eq!(asking(1), None);
    assert_eq!(asking(2), Some(ForwardAuth { proxy: AskingProxy::Caddy, peers: AskingPeers::In(peers) }));
    assert_eq!(asking(3), Some(ForwardAuth { proxy: AskingProxy::Nginx, peers: AskingPeers::OnSocket }));
    assert!(report::summary(&config).contains("listener traffic-2: [::1]:9000, decides for caddy\n"));
    assert_eq!(config.store.master_key, Some(SecretRef::Credential("master".to_owned())));
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.access_log, AccessLog::Off);
    assert_eq!(config.audit, Audit::Off);
    assert_eq!(config.shutdown.deadline, Duration::from_secs(90));
    assert_eq!(config.tokens.refresh_after, Duration::from_secs(1800));
    assert_eq!(config.tokens.rotate_every, None);
    let corp = &config.issuers["corp"];
    let IssuerKeys::Discovery(fetch) = &corp.keys else { panic!("{:?}", corp.keys) };
    assert_eq!(fetch.url.to_string(), "https://corp/t/.well-known/openid-configuration");
    assert_eq!(corp.types, ["at+jwt"]);
    assert_eq!(corp.algorithms, [TokenAlgorithm::Rs256, TokenAlgorithm::Es256]);
    assert_eq!(config.issuers["lab"].keys, IssuerKeys::Secret(SecretRef::Env("LAB_SECRET".to_owned())));
    let tls = &config.upstreams["tls"];
    let at = EndpointAddress::Tcp { host: "model.example.com".to_owned(), port: 443 };
    assert_eq!((&tls.endpoints[0].at, tls.protocol), (&at, Protocol::Http2));
    assert_eq!(tls.host, HostHeader::Fixed(http::HeaderValue::from_static("model.internal:8443")));
    let grpc = &config.upstreams["grpc"];
    assert_eq!(grpc.endpoints[1].at, EndpointAddress::Tcp { host: "::1".to_owned(), port: 8001 });
    assert_eq!((grpc.protocol, &grpc.tls), (Protocol::Http2, &None));
    let key = SecretRef::File("/k/a".into());
    let primary = Some(SlotRef { key, expires: Some(UnixSeconds(1_801_353_600)) });
    assert_eq!(config.accounts["a"].slots, Slots::References { primary, secondary: None });
    let one = &config.services["one"];
    assert_eq!(one.matches[0].host, HostMatch::Exact("api.example.com".to_owned()));
    assert_eq!(one.matches[0].path, PathMatch::Prefix(template("/")));
    assert_eq!(one.matches[1].host, HostMatch::Under("models.example.com".to_owned()));
    let Auth::Key(key) = &one.auth else { panic!("{:?}", one.auth) };
    assert_eq!(key.accounts, AllowedAccounts::Every);
    assert_eq!(key.slots, Some(Slots::Directory("/keys".into())));
    assert_eq!(one.identity.resource, None);
    assert!(one.path_allows.semicolons && one.path_allows.encoded_separators && !one.path_allows.empty_segments);
    assert_eq!((one.max_body_bytes, one.upgrades, one.dialect), (None, Upgrades::WebSocket, Dialect::Face));
    let Auth::Token(token) = &config.services["two"].auth else { panic!() };
    assert_eq!(token.issuers, [TokenIssuer::Foreign(Name::parse("corp").unwrap()), TokenIssuer::Own]);
    assert_eq!(token.resource, Some(CallerResource::Claim("res".to_owned())));
}

#[test]
fn aliases_save_writing() {
    let text = small_with("auth: {key: {}}", "auth: &keys {key: {}}\n  other: {upstream: model, auth: *keys}");
    assert_eq!(read(&text).services["other"].auth, read(SMALL).services["iris"].auth);
}

#[test]
fn a_mode_that_may_be_changed_has_the_settings_of_both_and_one_in_force() {
    let written = "auth: {key: {accounts: every}}\n    managed: true\n    platform: aks";
    let key = &read(&small_with("auth: {key: {}}", written)).services["iris"];
    let token = key.in_mode(AuthMode::Token);
    let Auth::Token(defaults) = &token.auth else { panic!("{token:?}") };
    assert_eq!((&*defaults.issuers, &*defaults.audiences), (&[TokenIssuer::Own][..], &["iris".to_owned()][..]));
    assert_eq!(&token.in_mode(AuthMode::Key), key, "as it was");
    assert_eq!(token.key_auth(), key.key_auth());
    let own = &read(SMALL).services["iris"];
    assert_eq!(&own.in_mode(AuthMode::Token), own, "gateway.yaml owns it");
}

#[test]
fn auth_left_out_on_aks_is_a_key() {
    let left_out = read(&small_with("auth: {key: {}}", "platform: aks"));
    assert_eq!(left_out.services["iris"], read(SMALL).services["iris"]);
}

#[cfg(feature = "otel")]
#[test]
fn a_collector_of_traces_is_named_by_its_address_alone() {
    let tracing =
        |text: &str| read(&small_with("upstreams:\n", &format!("tracing: {text}\nupstreams:\n"))).tracing.unwrap();
    let plain = tracing("{endpoint: 'http://otel-agent:4318/'}");
    assert_eq!(plain.url, "http://otel-agent:4318/v1/traces");
    assert_eq!((plain.sample, plain.service_name.as_str(), plain.headers.len()), (1.0, "scoregate", 0));
    let whole = tracing(
        "{endpoint: 'https://t/otlp/v1/traces', sample: 0.1, service_name: edge, headers: {api-key: 'env:K'}, ca: c.pem}",
    );
    assert_eq!(whole.url, "https://t/otlp/v1/traces");
    assert_eq!(whole.headers, [("api-key".parse().unwrap(), SecretRef::Env("K".to_owned()))]);
    assert_eq!((whole.sample, whole.ca.as_deref().and_then(|path| path.to_str())), (0.1, Some("c.pem")));
}

#[cfg(feature = "etcd")]
#[test]
fn an_etcd_is_named_with_trust_and_user() {
    let store = read(&small_with(
        "upstreams:\n",
        "store:
  master_key: env:MASTER
  etcd:
    endpoints: ['https://etcd-0.etcd:2379', 'https://[2001:db8::1]:2379/']
    user: {name: scoregate, password: 'file:/etc/scoregate/etcd'}
    tls: {ca: ca.pem, client_certificate: c.pem, client_key: k.pem}
upstreams:
",
    ))
    .store;
    let tls = config::ClientTls {
        ca: Some("ca.pem".into()),
        server_name: None,
        client: Some(("c.pem".into(), "k.pem".into())),
    };
    let user = ("scoregate".to_owned(), SecretRef::File("/etc/scoregate/etcd".into()));
    let endpoints = ["https://etcd-0.etcd:2379", "https://[2001:db8::1]:2379"].map(str::to_owned).to_vec();
    let want = config::Etcd { endpoints, prefix: "/scoregate/".to_owned(), user: Some(user), tls: Some(tls) };
    assert_eq!(store.etcd, Some(want));
    let plain = read(&small_with(
        "upstreams:\n",
        "store: {master_key: 'env:M', etcd: {endpoints: ['http://localhost:1'], prefix: /a/b/}}\nupstreams:\n",
    ));
    let etcd = plain.store.etcd.unwrap();
    assert_eq!((etcd.prefix.as_str(), etcd.tls), ("/a/b/", None));
}
