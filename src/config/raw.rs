//! `gateway.yaml` as it was written: the shape of the file, nothing about whether it makes sense.
//!
//! These types are the JSON Schema that `scoregate schema` prints, so their documentation is what an
//! editor shows beside a field. This is the only place that names `serde_yaml`.

mod accounts;
mod issuers;
mod listeners;
mod management;
mod process;
mod resilience;
mod service_limits;
mod services;
mod upstreams;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde::Deserialize;
use serde_json::Value;

pub use accounts::{Account, NoneWord, ServiceSlots, SlotRef, Slots};
pub use issuers::{Algorithm, Issuer, IssuerKeys};
pub use listeners::{
    AskingProxy, ForwardAuth, HealthListener, Limits, Listener, ListenerTimeouts, Listeners, ServerTls,
};
pub use management::{ManagementIssuer, ManagementKey, Platform, Role, Roles};
pub use process::{
    AccessLog, AccessLogOptions, Audit, AuditLog, Etcd, EtcdUser, OffWord, OnAuditFailure, OwnTokens, Reload, Shutdown,
    SigningAlgorithm, Store, Tracing,
};
pub use resilience::{Ejection, HealthCheck, Retries, RetriesOf, WhenNoneIsHealthy};
pub use service_limits::{CallerLimits, ServiceLimits};
pub use services::{
    AllowedAccounts, Auth, BearerWord, CallPreset, CallerResource, Deployment, Dialect, EveryWord, FeatureRule,
    Features, FreeWhen, Identity, KeyAuth, KeySource, Match, NamedSource, PathAllowance, Preset, Service, Timeouts,
    TokenAuth, Upgrades,
};
pub use upstreams::{ClientTls, Protocol, Upstream};

/// The configuration of a scoregate gateway.
///
/// Durations are written with their units (`500ms`, `30s`, `5m`, `12h`, `7d`, `1h30m`), sizes too (`512KiB`, `64MiB`).
/// Secrets never stand in this file: they are referred to by `file:<path>`, `env:<NAME>` or `credential:<name>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "gateway.yaml")]
pub struct File {
    /// Who listens where.
    pub listeners: Listeners,
    /// Number of worker threads. Default: one per core.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u16>,
    /// Where what changes at run time is kept.
    pub store: Option<Store>,
    /// The workspace that the management API stands for, `/subscriptions/…/workspaces/<name>`. Default: workspace
    /// `scoregate` in resource group `scoregate` of the subscription that is all zeros.
    pub workspace: Option<String>,
    /// Where clients reach the traffic plane, such as `https://models.example.com`: scoring URIs begin with it.
    /// Default: the address of the first traffic listener.
    pub public_url: Option<String>,
    /// Keys that open the management API, by name. Default: one key with the role `owner`, made on first start in the
    /// file `management.key` of the store's directory.
    pub management_keys: Option<BTreeMap<String, ManagementKey>>,
    /// Foreign issuers whose tokens open the management API, by their names under `issuers`. Default: none.
    pub management_issuers: Option<BTreeMap<String, ManagementIssuer>>,
    /// Feature flags besides Azure's `Face.Identification`, `Face.Verification` and `LimitedAccess.HighRisk`, which are
    /// always known. At most 64 in all. Default: none.
    pub features: Option<Vec<String>>,
    /// Addresses and networks of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Default: none.
    pub trusted_proxies: Option<Vec<String>>,
    /// The access log, `off` or how much of it. Default: a line for every request.
    pub access_log: Option<AccessLog>,
    /// Traces by OpenTelemetry. Default: no spans are recorded; `traceparent` is passed on all the same.
    pub tracing: Option<Tracing>,
    /// The audit log, `off` or where it is. Default: `audit.jsonl` in the store's directory.
    pub audit: Option<Audit>,
    /// How the process leaves.
    pub shutdown: Option<Shutdown>,
    /// How changes of files are noticed besides SIGHUP.
    pub reload: Option<Reload>,
    /// What the gateway's own tokens look like.
    pub tokens: Option<OwnTokens>,
    /// Foreign issuers of tokens, by name. The name `own` is the gateway itself. Default: none.
    pub issuers: Option<BTreeMap<String, Issuer>>,
    /// Where requests go, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Callers' resources that are written down here rather than kept in the store, by name. Default: none.
    pub accounts: Option<BTreeMap<String, Account>>,
    /// What is exposed, by name.
    pub services: BTreeMap<String, Service>,
}

/// Where a text stops being YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYaml {
    /// Line, from 1, where the parser knows it.
    pub line: Option<usize>,
    /// Column, from 1, where the parser knows it.
    pub column: Option<usize>,
}

/// Reads YAML into plain values, numbers and text told apart.
///
/// # Errors
/// [`NotYaml`]. The parser's own message is left out on purpose: it quotes the file, and with it perhaps a secret.
pub fn values(text: &str) -> Result<Value, NotYaml> {
    serde_yaml::from_str(text).map_err(|error| {
        let place = error.location();
        NotYaml { line: place.as_ref().map(|at| at.line()), column: place.as_ref().map(|at| at.column()) }
    })
}

/// The JSON Schema (2020-12) of the file.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(refuse_null)).into_generator();
    generator.root_schema_for::<File>().to_value()
}

/// An optional field is left out, not set to nothing: `key:` with its value commented out is a mistake to report.
fn refuse_null(schema: &mut Schema) {
    let null = Value::from("null");
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| *kind != null);
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = schema.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type") != Some(&null));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (keyword, value) in only {
                schema.insert(keyword, value);
            }
        }
    }
}
