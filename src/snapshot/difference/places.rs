//! Where the gateway listens, whom it believes, where requests go, and what it keeps on record.

use std::collections::BTreeMap;

use super::Changes;
use super::Effect;
use super::or_none;
use crate::config::AskingPeers;
use crate::config::Audit;
use crate::config::Config;
use crate::config::Endpoint;
use crate::config::EndpointAddress;
use crate::config::ForwardAuth;
use crate::config::Limits;
use crate::config::Listener;
use crate::config::OnAuditFailure;
use crate::config::Upstream;
use crate::config::report::show_address;
use crate::model::name::Name;

/// Notes what changes besides services and callers.
pub(super) fn compare(changes: &mut Changes, old: &Config, new: &Config) {
    let Config {
        listeners: _,
        workers,
        store,
        workspace,
        public_url,
        management_keys: _,
        management_issuers: _,
        features: _,
        trusted_proxies,
        access_log,
        tracing,
        audit,
        shutdown,
        reload,
        tokens: _,
        issuers: _,
        upstreams,
        accounts: _,
        services: _,
    } = old;
    let show = |at: &Listener| format!("listens at {}", show_address(&at.address));
    changes.named(Effect::Widens, "listeners", (&listeners(old), &listeners(new)), show, listener);
    let believed = |network: &ipnet::IpNet| format!("{network} is believed about whom it speaks for");
    changes.members(Effect::Widens, "trusted_proxies", trusted_proxies, &new.trusted_proxies, believed);
    let show = |upstream: &Upstream| upstream.endpoints.iter().map(show_endpoint).collect::<Vec<_>>().join(", ");
    changes.named(Effect::Changes, "upstreams", (upstreams, &new.upstreams), show, upstream);
    let goes_unrecorded = |audit: &Audit| match audit {
        Audit::Off => true,
        Audit::On(log) => log.on_failure == OnAuditFailure::Count,
    };
    let unrecorded = "what cannot be put on record is done nevertheless";
    changes.switch(Effect::Widens, "audit", goes_unrecorded(audit), goes_unrecorded(&new.audit), unrecorded);
    changes.differs("audit", audit, &new.audit);
    changes.differs("tracing", tracing, &new.tracing);
    let count = |workers: &Option<std::num::NonZeroUsize>| or_none(workers.as_ref());
    changes.value("workers", workers, &new.workers, count);
    changes.differs("store", store, &new.store);
    changes.value("workspace", workspace, &new.workspace, |workspace| workspace.as_str().to_owned());
    changes.value("public_url", public_url, &new.public_url, |url| or_none(url.as_ref()));
    changes.differs("access_log", access_log, &new.access_log);
    changes.differs("shutdown", shutdown, &new.shutdown);
    changes.differs("reload", reload, &new.reload);
}

fn listeners(config: &Config) -> BTreeMap<Name, Listener> {
    let listeners = &config.listeners;
    let all = listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]);
    all.map(|listener| (listener.name.clone(), listener.clone())).collect()
}

fn listener(changes: &mut Changes, at: &str, old: &Listener, new: &Listener) {
    let Listener { name: _, address, tls, limits, forward_auth } = old;
    changes.value(&format!("{at}.address"), address, &new.address, show_address);
    changes.switch(Effect::Narrows, &format!("{at}.tls"), tls.is_some(), new.tls.is_some(), "TLS");
    if let (Some(old), Some(new)) = (tls, &new.tls) {
        let wanted = "clients need a certificate";
        changes.switch(
            Effect::Narrows,
            &format!("{at}.tls.client_ca"),
            old.client_ca.is_some(),
            new.client_ca.is_some(),
            wanted,
        );
        changes.differs(&format!("{at}.tls"), old, new);
    }
    self::limits(changes, &format!("{at}.limits"), limits, &new.limits);
    let at = format!("{at}.forward_auth");
    match (forward_auth, &new.forward_auth) {
        (
            Some(ForwardAuth { proxy: was, peers: AskingPeers::In(old) }),
            Some(ForwardAuth { proxy: is, peers: AskingPeers::In(new) }),
        ) => {
            changes.value(&format!("{at}.proxy"), was, is, |proxy| proxy.as_str().to_owned());
            changes.members(Effect::Widens, &format!("{at}.peers"), old, new, |network| format!("{network} may ask"));
        }
        (old, new) => changes.differs(&at, old, new),
    }
}

fn limits(changes: &mut Changes, at: &str, old: &Limits, new: &Limits) {
    let Limits {
        connections,
        connections_per_address,
        failed_authentications,
        shared_addresses,
        target_bytes,
        header_bytes,
        headers_bytes,
        header_count,
        patience,
    } = old;
    let number = |limit: &u64| limit.to_string();
    for (field, before, after) in [
        ("connections", u64::from(*connections), u64::from(new.connections)),
        ("connections_per_address", u64::from(*connections_per_address), u64::from(new.connections_per_address)),
        (
            "failed_authentications",
            u64::from(failed_authentications.get()),
            u64::from(new.failed_authentications.get()),
        ),
        ("max_target", *target_bytes as u64, new.target_bytes as u64),
        ("max_header", *header_bytes as u64, new.header_bytes as u64),
        ("max_headers", *headers_bytes as u64, new.headers_bytes as u64),
        ("max_header_count", *header_count as u64, new.header_count as u64),
    ] {
        changes.amount(&format!("{at}.{field}"), &before, &after, number);
    }
    let unlimited = |network: &ipnet::IpNet| format!("no limit per address for {network}");
    changes.members(
        Effect::Widens,
        &format!("{at}.shared_addresses"),
        shared_addresses,
        &new.shared_addresses,
        unlimited,
    );
    changes.differs(&format!("{at} timeouts"), patience, &new.patience);
}

fn upstream(changes: &mut Changes, at: &str, old: &Upstream, new: &Upstream) {
    let Upstream { name: _, endpoints, protocol, tls, host, health_check, ejection, when_none_is_healthy, retries } =
        old;
    changes.members(Effect::Changes, &format!("{at}.endpoints"), endpoints, &new.endpoints, show_endpoint);
    changes.differs(&format!("{at}.protocol"), protocol, &new.protocol);
    changes.switch(Effect::Narrows, &format!("{at}.tls"), tls.is_some(), new.tls.is_some(), "TLS to the upstream");
    if tls.is_some() && new.tls.is_some() {
        changes.differs(&format!("{at}.tls"), tls, &new.tls);
    }
    changes.differs(&format!("{at}.host"), host, &new.host);
    changes.differs(&format!("{at}.health_check"), health_check, &new.health_check);
    changes.differs(&format!("{at}.ejection"), ejection, &new.ejection);
    changes.differs(&format!("{at}.when_none_is_healthy"), when_none_is_healthy, &new.when_none_is_healthy);
    changes.differs(&format!("{at}.retries"), retries, &new.retries);
}

fn show_endpoint(endpoint: &Endpoint) -> String {
    match &endpoint.at {
        EndpointAddress::Tcp { host, port } => format!("{host}:{port}"),
        EndpointAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}
