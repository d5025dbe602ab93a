//! The metric families, and handles to them that a request uses without looking anything up.
//!
//! [`Metrics`] is a value with a registry of its own; nothing here is static. Every label value comes from an
//! enum or from the configuration, and a series that can exist before the first request exists at 0, because
//! `rate()` over a series that is not there yet is nothing. `docs/metrics.md` lists every family.

mod exchange;
mod gateway;
mod group;
mod issuer;
mod labels;
mod listener;
mod service;
mod totals;
mod upstream;

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::Registry;
use prometheus::TextEncoder;
use tokio::time::Instant;

use crate::model::name::Name;

pub(in crate::observe) use self::exchange::Exchange;
pub(in crate::observe) use self::exchange::Finished;
pub use self::gateway::GatewayMetrics;
use self::group::Group;
use self::group::Registered;
pub use self::issuer::IssuerMetrics;
pub use self::labels::CacheAnswer;
pub use self::labels::CheckResult;
pub use self::labels::ConnectionEnd;
pub use self::labels::Decision;
pub use self::labels::FetchResult;
pub use self::labels::HandshakeFailure;
pub use self::labels::IssuedToken;
pub use self::labels::KeyHolder;
pub use self::labels::MethodLabel;
pub use self::labels::PoolState;
pub use self::labels::ReloadStage;
pub use self::labels::ReloadTrigger;
pub use self::labels::RetryReason;
pub use self::labels::Scheme;
pub use self::labels::Shed;
pub use self::labels::TlsVersion;
pub use self::listener::ListenerMetrics;
pub use self::listener::OpenConnection;
pub use self::service::InFlight;
pub use self::service::Queued;
pub use self::service::ServiceMetrics;
pub use self::totals::Totals;
pub use self::upstream::EndpointMetrics;
pub use self::upstream::UpstreamMetrics;

/// The label value of `service` while no service has been matched. Not a [`Name`], so no service can be called that.
const UNMATCHED: &str = "_none";

/// Every metric of one gateway.
#[derive(Debug)]
pub struct Metrics {
    /// What there is once a process.
    pub gateway: GatewayMetrics,
    registry: Registry,
    unmatched: Exchange,
    services: Handles<ServiceMetrics>,
    upstreams: Handles<UpstreamMetrics>,
    listeners: Handles<ListenerMetrics>,
    issuers: Handles<IssuerMetrics>,
}

impl Metrics {
    /// Makes a registry with everything in it that has no name from the configuration.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let mut process = Group::unlabelled();
        let gateway = GatewayMetrics::new(&mut process);
        process.register(&registry);
        let mut before_match = Group::labelled("service", UNMATCHED);
        let unmatched = Exchange::before_match(&mut before_match);
        before_match.register(&registry);
        Self {
            gateway,
            registry,
            unmatched,
            services: Handles::default(),
            upstreams: Handles::default(),
            listeners: Handles::default(),
            issuers: Handles::default(),
        }
    }

    /// The handles of a service: the same ones for the same name, across reloads.
    pub fn service(&self, name: &Name) -> Arc<ServiceMetrics> {
        self.services.find(&self.registry, "service", name, |group| ServiceMetrics::new(name.clone(), group))
    }

    /// The handles of an upstream: the same ones for the same name, across reloads.
    pub fn upstream(&self, name: &Name) -> Arc<UpstreamMetrics> {
        self.upstreams.find(&self.registry, "upstream", name, |group| UpstreamMetrics::new(name.clone(), group))
    }

    /// The handles of a listener: the same ones for the same name, across reloads.
    pub fn listener(&self, name: &Name) -> Arc<ListenerMetrics> {
        self.listeners.find(&self.registry, "listener", name, ListenerMetrics::new)
    }

    /// The handles of a foreign issuer: the same ones for the same name, across reloads.
    pub fn issuer(&self, name: &Name) -> Arc<IssuerMetrics> {
        self.issuers.find(&self.registry, "issuer", name, IssuerMetrics::new)
    }

    /// Removes the series of every service that is not in `keep`.
    ///
    /// Requests of an older snapshot that are still under way go on counting into handles that nobody scrapes.
    pub fn forget_services(&self, keep: &HashSet<Name>) {
        self.services.keep(&self.registry, keep);
    }

    /// Removes the series of every upstream that is not in `keep`.
    pub fn forget_upstreams(&self, keep: &HashSet<Name>) {
        self.upstreams.keep(&self.registry, keep);
    }

    /// Removes the series of every foreign issuer that is not in `keep`.
    pub fn forget_issuers(&self, keep: &HashSet<Name>) {
        self.issuers.keep(&self.registry, keep);
    }

    /// Everything in Prometheus' text format, version 0.0.4. Takes time proportional to the number of series: not for workers.
    #[must_use]
    pub fn exposition(&self) -> String {
        self.gateway.show_ages(Instant::now());
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written in full");
        }
        text
    }

    /// The `Content-Type` of [`Self::exposition`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Where requests are counted that have not matched a service.
    pub(in crate::observe) fn unmatched(&self) -> &Exchange {
        &self.unmatched
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Handles by name. Locked when a snapshot is compiled, never by a request.
#[derive(Debug)]
struct Handles<T>(Mutex<HashMap<Name, (Arc<T>, Registered)>>);

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Handles<T> {
    fn find(
        &self,
        registry: &Registry,
        label: &'static str,
        name: &Name,
        build: impl FnOnce(&mut Group) -> T,
    ) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (handles, _) = known.entry(name.clone()).or_insert_with(|| {
            let mut group = Group::labelled(label, name.as_str());
            let handles = Arc::new(build(&mut group));
            (handles, group.register(registry))
        });
        Arc::clone(handles)
    }

    fn keep(&self, registry: &Registry, keep: &HashSet<Name>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, (_, registered)| {
            let kept = keep.contains(name);
            if !kept {
                registered.unregister(registry);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests;
