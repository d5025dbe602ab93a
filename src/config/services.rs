//! What is exposed.

use std::time::Duration;

use http::HeaderName;
use http::Method;

use crate::config::Auth;
use crate::config::AuthMode;
use crate::config::FeatureRule;
use crate::config::KeyAuth;
use crate::config::Modes;
use crate::config::Platform;
use crate::config::ServiceLimits;
use crate::model::name::Name;
use crate::model::path::PathAllowances;
use crate::model::path::PathTemplate;

/// What is exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Which requests are for it; at least one.
    pub matches: Vec<Match>,
    /// Where they go.
    pub traffic: Traffic,
    /// A prefix of the matched path, whole segments, that the upstream does not see. No trailing slash.
    pub strip_prefix: Option<String>,
    /// Who may call: exactly one mode, by construction. As `gateway.yaml` says it, until [`Service::in_mode`] puts what
    /// the store says in its place.
    pub auth: Auth,
    /// Both modes, where the management API may change which one is in force; `None` where `gateway.yaml` owns that.
    pub managed: Option<Modes>,
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
    /// How much of it is used at once, and by one caller.
    pub limits: ServiceLimits,
}

impl Service {
    /// The service in this mode, where the mode may be changed; the service as it is otherwise.
    #[must_use]
    pub fn in_mode(&self, mode: AuthMode) -> Self {
        let auth = match (&self.managed, mode) {
            (Some(modes), AuthMode::Key) => Auth::Key(modes.key.clone()),
            (Some(modes), AuthMode::Token) => Auth::Token(modes.token.clone()),
            (None, AuthMode::Key | AuthMode::Token) => self.auth.clone(),
        };
        Self { auth, ..self.clone() }
    }

    /// How keys open it, now or in the mode that it could be put in.
    #[must_use]
    pub const fn key_auth(&self) -> Option<&KeyAuth> {
        match (&self.auth, &self.managed) {
            (Auth::Key(key), _) | (Auth::Token(_) | Auth::Public { .. }, Some(Modes { key, .. })) => Some(key),
            (Auth::Token(_) | Auth::Public { .. }, None) => None,
        }
    }
}

/// Where the requests of a service go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// To this upstream.
    One(Name),
    /// To the deployment that a request names, else to one by weight; at least one.
    Split(Vec<Deployment>),
}

impl Traffic {
    /// Every upstream that is named, one perhaps more than once.
    pub fn upstreams(&self) -> impl Iterator<Item = &Name> {
        let (one, split) = match self {
            Self::One(upstream) => (Some(upstream), &[][..]),
            Self::Split(deployments) => (None, deployments.as_slice()),
        };
        one.into_iter().chain(split.iter().map(|deployment| &deployment.upstream))
    }
}

/// One of several upstreams of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// What callers name it.
    pub name: Name,
    /// Its upstream.
    pub upstream: Name,
    /// Its share of the requests that name none, of the sum of all. Default 0.
    pub weight: u32,
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
