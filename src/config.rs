//! What `gateway.yaml` means. A value of these types is valid: nothing here is checked again later.
//!
//! Three forms, one direction: [`raw`] (what was written) → [`Config`] (what it means) → `Snapshot` (what
//! a request reads). `config::raw` is the only place that names `serde_yaml`.

mod management;
mod meaning;
mod overlap;
mod positions;
mod problem;
pub mod raw;
mod reading;
pub mod report;
mod structure;
mod suggest;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::model::feature::{FeatureNames, FeatureSet};
use crate::model::name::Name;
use crate::model::path::PathTemplate;
use crate::model::resource::ResourceId;

pub use crate::model::path::PathAllowances;
pub use management::{ManagementIssuer, ManagementKey, Platform, Role};
pub use problem::Problem;
pub use raw::schema;

/// A whole gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who listens where.
    pub listeners: Listeners,
    /// Number of worker threads; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// Where what changes at run time is kept.
    pub store: Store,
    /// The workspace that the management API stands for, `/subscriptions/…/workspaces/<name>`.
    pub workspace: ResourceId,
    /// Where clients reach the traffic plane, without a slash at its end; `None` is the first listener's own address.
    pub public_url: Option<String>,
    /// Who may manage this gateway; empty is one key of its own, made on first start.
    pub management_keys: BTreeMap<Name, ManagementKey>,
    /// Foreign issuers whose tokens may manage it.
    pub management_issuers: BTreeMap<Name, ManagementIssuer>,
    /// Every feature flag that rules, approvals and tokens may name. Azure's three are always among them.
    pub features: FeatureNames,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The access log.
    pub access_log: AccessLog,
    /// How the process leaves.
    pub shutdown: Shutdown,
    /// How changes are noticed.
    pub reload: Reload,
    /// What the gateway's own tokens look like.
    pub tokens: OwnTokens,
    /// Foreign issuers.
    pub issuers: BTreeMap<Name, Issuer>,
    /// Where requests go.
    pub upstreams: BTreeMap<Name, Upstream>,
    /// Callers' resources that are written down here rather than kept in the store.
    pub accounts: BTreeMap<Name, Account>,
    /// What is exposed.
    pub services: BTreeMap<Name, Service>,
}

impl Config {
    /// Reads a `gateway.yaml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in file order. Only a text that is no YAML, or not one document of plain
    /// values, ends the reading early, with one [`Problem`].
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        reading::read(text)
    }
}

/// The three planes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// Clients' listeners; at least one.
    pub traffic: Vec<Listener>,
    /// Operators' listener; `None` where this gateway is not to be managed.
    pub management: Option<Listener>,
    /// The kubelet's and Prometheus' listener.
    pub health: Listener,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics: `traffic-0`, `management`, `health`, or as configured.
    pub name: Name,
    /// Where it listens.
    pub address: Address,
    /// TLS; `None` is plain text.
    pub tls: Option<ServerTls>,
}

/// Where a listener listens, or an endpoint lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port 0 lets the kernel choose; the port is logged.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A listener's TLS. Versions 1.2 and 1.3 only; certificates are read again on every reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
    /// CAs of client certificates, PEM; where given, a client without a valid certificate is refused.
    pub client_ca: Option<PathBuf>,
}

/// Where a secret comes from. Never the secret itself: none stands in `gateway.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretRef {
    /// `file:<path>`. Trailing line ends are not part of the secret.
    File(PathBuf),
    /// `env:<NAME>`, read once at start.
    Env(String),
    /// `credential:<name>`, a file in `$CREDENTIALS_DIRECTORY` (systemd).
    Credential(String),
}

/// The store's engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Directory of the embedded store's file and, unless `master_key` says otherwise, of the master key. Default `state`.
    pub directory: PathBuf,
    /// The key that seals listed keys: 32 bytes, base64. `None` is `master.key` in `directory`, made on first start.
    pub master_key: Option<SecretRef>,
}

/// The access log: one JSON line a request, on standard output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccessLog {
    /// No line for anyone.
    Off,
    /// A line for this share of the requests that succeeded, 0.0 to 1.0, and for every refusal.
    On {
        /// Share of successful requests that get a line.
        sample: f64,
    },
}

/// How SIGTERM is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are still accepted after readiness has fallen. Default 5 s.
    pub delay: Duration,
    /// Longest wait for what is in flight after that. Default 20 s: with `delay` below the 30 s of Kubernetes.
    pub deadline: Duration,
}

/// How changes of files are noticed besides SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// How often every file is read again, should the watch have missed a change. Default 30 s.
    pub poll: Duration,
}

/// What the gateway's own tokens look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTokens {
    /// `iss`. Default `urn:scoregate`.
    pub issuer: String,
    /// How new signing keys sign. Default ES256.
    pub algorithm: SigningAlgorithm,
    /// Life of a service token. Default 12 h.
    pub lifetime: Duration,
    /// When a client should fetch a new one, after issue. Default half of `lifetime`.
    pub refresh_after: Duration,
}

/// How the gateway signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
}

/// A foreign issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What operators call it.
    pub name: Name,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// Algorithms that are accepted; never empty, and all HMAC for [`IssuerKeys::Secret`], none otherwise.
    pub algorithms: Vec<TokenAlgorithm>,
    /// `typ` values that are accepted, lower case, without `application/`. Default `jwt` and `at+jwt`; a missing `typ` counts as `jwt`.
    pub types: Vec<String>,
    /// How far clocks may differ, at most 5 min. Default 30 s.
    pub leeway: Duration,
    /// Longest life of a token, `exp` − `iat`, where `iat` is missing `exp` − now. Default 24 h.
    pub max_lifetime: Duration,
}

/// Where a foreign issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// A JWKS file.
    File(PathBuf),
    /// A JWKS that is fetched.
    Url(FetchUrl),
    /// `<issuer>/.well-known/openid-configuration` names the JWKS (OpenID Connect Discovery 1.0 §4).
    Discovery(FetchUrl),
    /// A shared secret of at least 32 bytes, for HS256 and its like.
    Secret(SecretRef),
}

/// What is fetched from a foreign issuer, and with which trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchUrl {
    /// `https`, or `http` to a loopback address.
    pub url: http::Uri,
    /// CAs to trust, PEM; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// How often it is fetched again. Default 15 min.
    pub refresh: Duration,
    /// Shortest time between two fetches that tokens with an unknown `kid` cause. Default 30 s.
    pub cooldown: Duration,
}

/// Algorithms that a token may be signed with.
#[expect(missing_docs, reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: Name,
    /// Its endpoints; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// TLS to them; `None` is plain text.
    pub tls: Option<ClientTls>,
    /// What `Host` says to them.
    pub host: HostHeader,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A host name or an IP address with a port, or a Unix socket.
    pub at: EndpointAddress,
}

/// Where an endpoint lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host name or an address, resolved at each connect, and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by prior knowledge over plain text (h2c), by ALPN over TLS. gRPC needs it.
    Http2,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// CAs to trust, PEM; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must carry, where it is not the endpoint's host.
    pub server_name: Option<String>,
    /// A certificate and its private key to show, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What `Host` says to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client sent. The default.
    Client,
    /// The endpoint's host and port.
    Endpoint,
    /// This text.
    Fixed(http::HeaderValue),
}

/// A caller's resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Name,
    /// Its identifier.
    pub resource: ResourceId,
    /// Its two keys.
    pub slots: Slots,
    /// Features that it holds in its own right.
    pub approvals: FeatureSet,
    /// Features that it may put into LimitedAccessTokens: its ceiling.
    pub may_issue: FeatureSet,
}

/// Where two slots get their keys from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slots {
    /// The store holds them: made at first start, listed and regenerated through the API.
    Store,
    /// Files `primary` and `secondary` in a mounted directory; one of the two may be missing.
    Directory(PathBuf),
    /// References, each with an optional expiry; at least one of the two.
    References {
        /// The first key.
        primary: Option<SlotRef>,
        /// The second key.
        secondary: Option<SlotRef>,
    },
}

/// One slot whose key is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRef {
    /// Where the key is.
    pub key: SecretRef,
    /// When it stops to open anything, seconds since 1970; `None` is never.
    pub expires: Option<crate::model::time::UnixSeconds>,
}

/// What is exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Which requests are for it; at least one.
    pub matches: Vec<Match>,
    /// Where they go.
    pub upstream: Name,
    /// A prefix of the matched path, whole segments, that the upstream does not see. No trailing slash.
    pub strip_prefix: Option<String>,
    /// Who may call: exactly one mode, by construction.
    pub auth: Auth,
    /// Calls that need features; of the rules that fit a call, every one must be satisfied.
    pub feature_rules: Vec<FeatureRule>,
    /// Where it runs, in the eyes of Azure's v1 SDK.
    pub platform: Platform,
    /// Whose error bodies the callers read.
    pub dialect: Dialect,
    /// Whether `POST /sts/v1.0/issueLimitedAccessToken` is answered at this service's hosts.
    pub issues_limited_access_tokens: bool,
    /// Headers that tell the upstream who called.
    pub identity: IdentityHeaders,
    /// Whether WebSocket and other upgrades pass after authentication. Default no.
    pub upgrades: Upgrades,
    /// Oddities of a path that this service takes in spite of what they can hide.
    pub path_allows: PathAllowances,
    /// Largest request body in bytes; `None` is no limit. Default 64 MiB.
    pub max_body_bytes: Option<u64>,
    /// How long the upstream and the client are waited for.
    pub timeouts: Timeouts,
}

/// Which requests are for a service. What is not said matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The host.
    pub host: HostMatch,
    /// The path.
    pub path: PathMatch,
    /// Methods; empty is every method. `HEAD` is matched as `GET` where `GET` is listed.
    pub methods: Vec<Method>,
}

/// The host that a match wants, without port, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Any host.
    Any,
    /// This host.
    Exact(String),
    /// `*.example.com`: any host with one label or more before this suffix (kept as `example.com`).
    Under(String),
}

/// The path that a match wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The whole path, with `{name}` for any one segment.
    Template(PathTemplate),
    /// These leading segments, on a segment boundary: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`. `/` matches every path.
    Prefix(PathTemplate),
}

/// Who may call a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// One of the service's own two keys, or one of an allowed account's two.
    Key(KeyAuth),
    /// A JWT.
    Token(TokenAuth),
    /// Everybody.
    Public {
        /// Why, in the words of whoever wrote it.
        reason: String,
    },
}

/// Authentication by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAuth {
    /// Where a key may stand; never empty. Default `Authorization: Bearer` and `Ocp-Apim-Subscription-Key`.
    pub sources: Vec<KeySource>,
    /// The service's own two slots; `None` where only accounts call it.
    pub slots: Option<Slots>,
    /// Accounts whose keys open this service.
    pub accounts: AllowedAccounts,
}

/// Where a key may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// A header that holds nothing but the key.
    Header(HeaderName),
    /// A query parameter. It lands in other people's logs: opt-in only.
    Query(String),
}

/// Accounts whose keys open a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedAccounts {
    /// These, possibly none.
    Only(Vec<Name>),
    /// Every account that exists, also those of the store.
    Every,
}

/// Authentication by token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAuth {
    /// Issuers that are accepted; never empty.
    pub issuers: Vec<TokenIssuer>,
    /// Audiences of which the token's `aud` must name one; never empty. Default the service's name.
    pub audiences: Vec<String>,
    /// Claims that must have exactly this text, or hold it in a list.
    pub required_claims: BTreeMap<String, String>,
    /// Which account's resource a caller stands for, where LimitedAccessTokens are used.
    pub resource: Option<CallerResource>,
}

/// An issuer that a service accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenIssuer {
    /// This gateway.
    Own,
    /// A foreign one.
    Foreign(Name),
}

/// Which resource the caller of a token service stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerResource {
    /// Always this one.
    Fixed(ResourceId),
    /// The one that this claim names.
    Claim(String),
}

/// Calls that need features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureRule {
    /// Methods; empty is every method.
    pub methods: Vec<Method>,
    /// The path as the client sent it, compared without regard to case and to a trailing slash: a wider gate is the safe one.
    pub path: PathTemplate,
    /// The call is free where this query parameter stands exactly once and has exactly this value.
    pub free_when: Option<QueryParameter>,
    /// What the call needs.
    pub needs: Needs,
}

/// A query parameter and its value, both compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryParameter {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// What a gated call needs; the set is never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// One of these.
    AnyOf(FeatureSet),
    /// All of these.
    AllOf(FeatureSet),
}

/// Whose error bodies the callers read. Every body is `application/problem+json` with `error: {code, message}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Azure ML scoring.
    Scoring,
    /// Azure Face.
    Face,
}

/// Headers that tell the upstream who called. A client's own copies are always removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The principal: `service:<name>:primary`, `account:<name>`, `token:<subject>`. Default `x-scoregate-principal`.
    pub principal: Option<HeaderName>,
    /// The account's resource identifier. Default `x-scoregate-resource`.
    pub resource: Option<HeaderName>,
    /// The features that the request may use, comma-separated. Default `x-scoregate-features`.
    pub features: Option<HeaderName>,
}

/// Whether upgrades pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrades {
    /// `Upgrade` is removed and the request goes on as plain HTTP.
    Removed,
    /// `websocket` passes after authentication.
    WebSocket,
}

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to the upstream, TLS included. Default 2 s.
    pub connect: Duration,
    /// For the head of the answer, from the end of the request. Default 60 s.
    pub response: Duration,
    /// For the next piece of a body in either direction. Default 5 min.
    pub idle: Duration,
    /// For the whole exchange; `None` is no limit, so that streams can last. Default none.
    pub total: Option<Duration>,
}
