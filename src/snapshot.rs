//! What a request reads: compiled from configuration and store, immutable, swapped as one.

mod accounts;
pub mod certificate;
pub mod compile;
pub mod difference;
pub mod endpoint_health;
pub mod features;
pub mod forward_auth;
pub mod inputs;
pub mod keys;
pub mod listen;
pub mod live;
pub mod management;
pub mod methods;
pub mod modes;
pub mod places;
pub mod routes;
pub mod service;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod usage;
pub mod way;

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::AccessLog;
use crate::config::Limits;
use crate::model::feature::FeatureNames;
use crate::model::name::Name;
use crate::model::path::PathAllowances;
use crate::model::resource::ResourceId;
use crate::observe::trace_context::Recording;
use crate::snapshot::accounts::Accounts;
use crate::snapshot::forward_auth::ForwardAuth;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::management::Management;
use crate::snapshot::routes::RouteTable;
use crate::snapshot::service::Account;
use crate::snapshot::service::Service;
use crate::snapshot::target::Target;
use crate::store::engine::Revision;
use crate::store::revoked::Revocations;
use crate::tokens::limited::LimitedVerifier;
use crate::tokens::own_keys::OwnKeys;

/// Everything that a request reads.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number: one more than that of the snapshot before.
    pub generation: u64,
    /// The revision of the store that it was made from.
    pub store_revision: Revision,
    /// From host, path and method to a service's number.
    pub routes: Arc<RouteTable>,
    /// The services, by number.
    pub services: Vec<Arc<Service>>,
    /// Every live key.
    pub keys: KeyTable,
    /// What any service at all takes of odd paths.
    pub path_allowances: PathAllowances,
    /// The flags that are known.
    pub features: FeatureNames,
    /// Judges LimitedAccessTokens.
    pub limited: Arc<LimitedVerifier>,
    /// The gateway's own signing keys.
    pub own_keys: Arc<OwnKeys>,
    /// What the management plane reads besides.
    pub management: Management,
    /// What has been cut off.
    pub revocations: Arc<Revocations>,
    /// Which requests the access log has a line for.
    pub access_log: AccessLog,
    /// Which traces are recorded.
    pub recording: Recording,
    /// Peers that are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// TLS by listener; a listener that is missing here speaks plain text, or could not load its certificate.
    pub tls: HashMap<Name, Arc<rustls::ServerConfig>>,
    /// What each listener bears of its clients.
    pub limits: HashMap<Name, Arc<Limits>>,
    /// Listeners that answer another proxy's questions, and nothing else.
    pub forward_auth: HashMap<Name, Arc<ForwardAuth>>,
    accounts: Accounts,
}

impl Snapshot {
    /// What a listener bears of its clients; the usual for one that is not configured any longer.
    #[must_use]
    pub fn limits(&self, listener: &Name) -> Arc<Limits> {
        self.limits.get(listener).map_or_else(|| Arc::new(Limits::usual()), Arc::clone)
    }

    /// The account with this number.
    #[must_use]
    pub fn account(&self, index: u32) -> Option<&Account> {
        self.accounts.get(index)
    }

    /// The account with this name.
    #[must_use]
    pub fn account_named(&self, name: &Name) -> Option<&Account> {
        self.accounts.get(self.accounts.number_of(name)?)
    }

    /// The account with this resource.
    #[must_use]
    pub fn account_of(&self, resource: &ResourceId) -> Option<&Account> {
        self.accounts.with_resource(resource)
    }

    /// Every upstream that a service uses, some of them more than once.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.services.iter().flat_map(|service| service.way.targets())
    }

    /// Every account, in the order of their names.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }
}
