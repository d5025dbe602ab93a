//! What `gateway.yaml` means. A value of these types is valid: nothing here is checked again later.
//!
//! Three forms, one direction: [`raw`] (what was written) → [`Config`] (what it means) → `Snapshot` (what
//! a request reads). `config::raw` is the only place that names `serde_yaml`.

mod accounts;
mod auth;
mod features;
mod issuers;
mod limits;
mod listeners;
mod management;
mod meaning;
mod overlap;
mod positions;
mod problem;
mod process;
pub mod raw;
mod reading;
pub mod report;
mod resilience;
mod service_limits;
mod services;
mod structure;
mod suggest;
#[cfg(test)]
mod tests;
mod units;
mod upstreams;
mod written;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::feature::FeatureNames;
use crate::model::name::Name;
use crate::model::resource::ResourceId;

pub use crate::model::path::PathAllowances;
pub use accounts::{Account, SlotRef, Slots};
pub use auth::{AllowedAccounts, Auth, AuthMode, CallerResource, KeyAuth, KeySource, Modes, TokenAuth, TokenIssuer};
pub use features::{FeatureRule, Needs, QueryParameter};
pub use issuers::{FetchUrl, Issuer, IssuerKeys, OwnTokens, SigningAlgorithm, TokenAlgorithm};
pub use limits::{Limits, Patience};
pub use listeners::{Address, AskingPeers, AskingProxy, ForwardAuth, Listener, Listeners, ServerTls};
pub use management::{ManagementIssuer, ManagementKey, Platform, Role};
pub use meaning::secret_ref;
pub use problem::Problem;
pub use process::{AccessLog, Audit, AuditLog, Etcd, OnAuditFailure, Reload, SecretRef, Shutdown, Store, Tracing};
pub use raw::schema;
pub use resilience::{Ejection, HealthCheck, Question, Retries, RetriesOf, WhenNoneIsHealthy};
pub use service_limits::{Concurrency, Rate, ServiceLimits};
pub use services::{
    Deployment, Dialect, HostMatch, IdentityHeaders, Match, PathMatch, Service, Timeouts, Traffic, Upgrades,
};
pub use units::{NotADuration, duration as read_duration, show as show_duration};
pub use upstreams::{ClientTls, Endpoint, EndpointAddress, HostHeader, Protocol, Upstream};
pub use written::Written;

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
    /// Traces; `None` records none.
    pub tracing: Option<Arc<Tracing>>,
    /// The audit log.
    pub audit: Audit,
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
