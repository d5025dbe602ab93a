//! What concerns the process as a whole: store, access log, shutdown, reload, its own tokens.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ClientTls;

/// Where what changes at run time is kept: keys, accounts, revocations, signing keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Directory of the store's file and of the keys that are made on first start. Default: `state`.
    pub directory: Option<String>,
    /// The key that seals stored keys, 32 bytes in base64: `file:<path>`, `env:<NAME>` or `credential:<name>`.
    /// Default: `master.key` in the directory, made on first start; with `etcd` there is none.
    pub master_key: Option<String>,
    /// Keys that only open what they sealed, written like `master_key`: those before it until `scoregate store reseal`
    /// has run, and the one after it while several gateways take it up. Default: none.
    #[serde(default)]
    pub previous_master_keys: Vec<String>,
    /// An etcd that keeps everything in place of a file, for many gateways that share it. Default: none.
    pub etcd: Option<Etcd>,
}

/// An etcd that many gateways share. A change made through one of them is in force on all.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// Its members, `https://<host>:<port>`, or `http` to a loopback address.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<String>,
    /// What every key in it begins with. Gateways with different prefixes share nothing. Default: `/scoregate/`.
    pub prefix: Option<String>,
    /// User and password, where it asks for them. Default: none.
    pub user: Option<EtcdUser>,
    /// How its members are trusted, and what they are shown. Default: the system's CAs, and nothing.
    pub tls: Option<ClientTls>,
}

/// A user of an etcd.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password: `file:<path>`, `env:<NAME>` or `credential:<name>`.
    pub password: String,
}

/// The access log: `off`, or how much of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessLog {
    /// No line for anyone.
    Off(OffWord),
    /// One JSON line a request on standard output.
    On(AccessLogOptions),
}

/// The word `off`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OffWord {
    /// No line for anyone.
    Off,
}

/// How much of the access log is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLogOptions {
    /// Share of successful requests that get a line, 0.0 to 1.0; refusals always get one. Default: 1.0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: Option<f64>,
}

/// Spans, one for each request, to a collector that speaks OTLP over HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// The collector, such as `http://127.0.0.1:4318`; spans go to `/v1/traces` beneath it.
    pub endpoint: String,
    /// Share of the traces that begin at the gateway and are recorded, 0.0 to 1.0. A trace that the caller began is recorded
    /// if the caller has it recorded. Default: 1.0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: Option<f64>,
    /// `service.name` of the spans. Default: `scoregate`.
    pub service_name: Option<String>,
    /// Headers for the collector, such as its API key; each value is a reference to a secret. Default: none.
    pub headers: Option<BTreeMap<String, String>>,
    /// PEM file of the CAs that vouch for an `https` collector. Default: those of the system.
    pub ca: Option<String>,
}

/// The audit log: `off`, or where it is and what happens when it cannot be written. Read when the gateway starts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Audit {
    /// No audit log; what operators do is in the process log only.
    Off(OffWord),
    /// One JSON line an event.
    On(AuditLog),
}

/// Where the audit log is and what happens when it cannot be written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditLog {
    /// Directory of its files and of its key, of this gateway alone. Default: the store's directory.
    pub directory: Option<String>,
    /// What happens when an event cannot be written. Default: `block`.
    pub on_failure: Option<OnAuditFailure>,
    /// Size at which a file is closed and the next begun, `4KiB` to `1GiB`. Files are never removed. Default: `64MiB`.
    pub max_file: Option<String>,
}

/// What happens when an event cannot be written to the audit log.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnAuditFailure {
    /// What is not on record is not done: 503.
    Block,
    /// It is done, and counted as missing.
    Count,
}

/// How SIGTERM is answered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long connections are still accepted after readiness has fallen. Default: `5s`.
    pub delay: Option<String>,
    /// Longest wait for what is in flight after that. Default: `20s`; with the delay it should stay below the 30 s
    /// after which Kubernetes kills.
    pub deadline: Option<String>,
}

/// How changes of files are noticed besides SIGHUP.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// How often every file is read again, should the watch have missed a change; at least `1s`. Default: `30s`.
    pub poll: Option<String>,
}

/// What the gateway's own tokens look like.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnTokens {
    /// The `iss` claim. Default: `urn:scoregate`.
    pub issuer: Option<String>,
    /// How new signing keys sign. A change of it waits for the next rotation. Default: `ES256`.
    pub algorithm: Option<SigningAlgorithm>,
    /// Life of a service token, `1m` to `30d`. Default: `12h`.
    pub lifetime: Option<String>,
    /// How long after issue a client should fetch a new one; not longer than the lifetime. Default: half the lifetime.
    pub refresh_after: Option<String>,
    /// How old a signing key gets before another takes its place, `1d` to `3650d`, or `none` for rotation by call only. The
    /// old one verifies until its last token has expired. Default: `90d`.
    pub rotate_every: Option<String>,
}

/// Algorithms that the gateway signs with.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    #[serde(rename = "RS256")]
    Rs256,
}
