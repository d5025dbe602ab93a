//! What the listeners and the management plane read.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config;
use crate::config::AskingPeers;
use crate::config::Config;
use crate::config::ForwardAuth;
use crate::config::Limits;
use crate::config::Role;
use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::snapshot::compile::Sources;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::listen;
use crate::snapshot::management::Door;
use crate::snapshot::management::Management;
use crate::snapshot::management::Operator;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::verify::ServiceVerifier;

/// What the management plane reads. A key of it that opens a service as well would be one secret with two meanings.
pub(super) fn management(
    sources: Sources<'_>,
    keys: &KeyTable,
    issuers: &BTreeMap<TokenIssuer, Arc<TrustedIssuer>>,
    problems: &mut Vec<String>,
) -> Management {
    let Sources { config, inputs, .. } = sources;
    let mut operators: Vec<Operator> = Vec::with_capacity(inputs.management_keys.len());
    for (name, (_, digest)) in &inputs.management_keys {
        let role = config.management_keys.get(name).map_or(Role::Owner, |key| key.role);
        if keys.get(digest).is_some() || operators.iter().any(|other| other.digest == *digest) {
            problems.push(format!("management_keys.{name}: the same key opens something else already"));
        } else {
            operators.push(Operator { name: name.clone(), role, digest: *digest });
        }
    }
    Management {
        operators,
        doors: doors(config, issuers),
        workspace: config.workspace.clone(),
        public_url: config.public_url.clone(),
        issuers: issuers.values().map(Arc::clone).collect(),
        tokens: config.tokens.clone(),
        is_tls: config.listeners.management.as_ref().is_some_and(|listener| listener.tls.is_some()),
    }
}

/// A verifier for each value of a claim that brings a role: the rules are those of a service's tokens.
fn doors(config: &Config, issuers: &BTreeMap<TokenIssuer, Arc<TrustedIssuer>>) -> Vec<Door> {
    let mut doors = Vec::new();
    for written in config.management_issuers.values() {
        let who = TokenIssuer::Foreign(written.issuer.clone());
        let Some(issuer) = issuers.get(&who) else { continue };
        for (role, value) in &written.roles {
            let auth = config::TokenAuth {
                issuers: vec![who.clone()],
                audiences: written.audiences.clone(),
                required_claims: BTreeMap::from([(written.claim.clone(), value.clone())]),
                resource: None,
            };
            doors.push(Door { role: *role, verifier: Arc::new(ServiceVerifier::new(vec![Arc::clone(issuer)], &auth)) });
        }
    }
    doors.sort_by_key(|door| std::cmp::Reverse(door.role));
    doors
}

/// What each listener bears. Whoever is believed about whom it stands for stands for many.
pub(super) fn limits(config: &Config) -> HashMap<Name, Arc<Limits>> {
    let listeners = &config.listeners;
    let all = listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]);
    all.map(|listener| {
        let mut limits = listener.limits.clone();
        limits.shared_addresses.extend(&config.trusted_proxies);
        if let Some(ForwardAuth { peers: AskingPeers::In(networks), .. }) = &listener.forward_auth {
            limits.shared_addresses.extend(networks);
        }
        (listener.name.clone(), Arc::new(limits))
    })
    .collect()
}

/// A listener whose certificate cannot be used keeps the one that is in force.
pub(super) fn tls(sources: Sources<'_>, problems: &mut Vec<String>) -> HashMap<Name, Arc<rustls::ServerConfig>> {
    let listeners = &sources.config.listeners;
    let all = listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]);
    let mut by_name = HashMap::new();
    for listener in all {
        let Some(tls) = &listener.tls else { continue };
        let running = sources.previous.and_then(|previous| previous.tls.get(&listener.name));
        match listen::server_config(tls, &sources.inputs.files) {
            Ok((config, not_after)) => {
                if let Some(not_after) = not_after {
                    sources.metrics.listener(&listener.name).certificate(not_after);
                }
                by_name.insert(listener.name.clone(), config);
            }
            Err(why) => {
                problems.push(format!("listeners.{}: {why}", listener.name));
                by_name.extend(running.map(|config| (listener.name.clone(), Arc::clone(config))));
            }
        }
    }
    by_name
}
