//! From what was written, read and stored to what a request reads.
//!
//! What cannot be had quarantines whoever needs it and nobody else. Parts that have not changed are taken over
//! from the snapshot before, so that connections, verified tokens and counters go on.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config;
use crate::config::Config;
use crate::config::PathMatch;
use crate::config::Role;
use crate::config::Slots;
use crate::config::TokenIssuer;
use crate::model::digest::Digest;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::path::PathAllowances;
use crate::model::path::PathTemplate;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::Scheme;
use crate::snapshot::Accounts;
use crate::snapshot::Snapshot;
use crate::snapshot::features::FeatureRules;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::keys::DuplicateKey;
use crate::snapshot::keys::KeyOwner;
use crate::snapshot::keys::KeyRecord;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::listen;
use crate::snapshot::management::Door;
use crate::snapshot::management::Management;
use crate::snapshot::management::Operator;
use crate::snapshot::routes::RouteTable;
use crate::snapshot::routes::SameMatch;
use crate::snapshot::service;
use crate::snapshot::service::Account;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Challenge;
use crate::snapshot::service::Service;
use crate::snapshot::target::Target;
use crate::store::record_key::Owner;
use crate::store::records::Revoked;
use crate::store::state::Held;
use crate::store::state::State;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::limited::LimitedVerifier;
use crate::tokens::own_keys::BadOwnKeys;
use crate::tokens::own_keys::OwnKey;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::revocation::Revocation;
use crate::tokens::revocation::Revocations;
use crate::tokens::revocation::TokenId;
use crate::tokens::signing::BadSigningKey;
use crate::tokens::signing::SigningKey;
use crate::tokens::verify::ServiceVerifier;

/// Where LimitedAccessTokens are issued.
pub const ISSUE_PATH: &str = "/sts/v1.0/issueLimitedAccessToken";

/// What a snapshot is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// `gateway.yaml`.
    pub config: &'a Config,
    /// What it refers to.
    pub inputs: &'a Inputs,
    /// What the store holds.
    pub state: &'a State,
    /// The snapshot in force; `None` at start.
    pub previous: Option<&'a Snapshot>,
    /// Where counters are found.
    pub metrics: &'a Metrics,
    /// When it is made.
    pub now: UnixSeconds,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Two slots hold the same key.
    #[error("{one} and {other} hold the same key")]
    DuplicateKey {
        /// One of the two.
        one: String,
        /// The other.
        other: String,
    },
    /// Two services match the same requests. `config` finds that first; this is the backstop.
    #[error("two services match the same requests")]
    SameMatch(#[from] SameMatch),
    /// The gateway has no signing key.
    #[error("the store has no usable signing key")]
    OwnKeys(#[from] BadOwnKeys),
    /// A signing key of the store is none.
    #[error("a signing key of the store cannot be used")]
    SigningKey(#[from] BadSigningKey),
}

/// A snapshot, and what of it does not work.
#[derive(Debug)]
pub struct Compiled {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// One line for each thing that is quarantined or left out: `services.iris: …`.
    pub problems: Vec<String>,
}

/// Compiles a snapshot.
///
/// # Errors
/// [`CompileError`] where a part that everything depends on is missing; the snapshot in force stays.
pub fn compile(sources: Sources<'_>) -> Result<Compiled, CompileError> {
    let Sources { config, inputs, state, previous, now, .. } = sources;
    let mut problems = Vec::new();
    let accounts = accounts(config, state, &mut problems);
    let own_keys = Arc::new(own_keys(state, now)?);
    let issuers = issuers(config, inputs, &own_keys);
    let targets = targets(sources, &mut problems);
    let mut services = Vec::with_capacity(config.services.len());
    for (index, settings) in (0_u32..).zip(config.services.values()) {
        let parts = Parts { sources, accounts: &accounts, issuers: &issuers, targets: &targets };
        let service = parts.service(index, settings);
        if let Some(why) = &service.quarantined {
            problems.push(format!("services.{}: {why}", settings.name));
        }
        services.push(Arc::new(service));
    }
    let issuing = issuing_matches(config);
    let matches = services
        .iter()
        .enumerate()
        .flat_map(|(index, service)| service.settings.matches.iter().map(move |entry| (entry, index)));
    let keys = keys(config, sources, &accounts)?;
    let snapshot = Snapshot {
        store_revision: state.revision,
        generation: previous.map_or(1, |previous| previous.generation + 1),
        routes: Arc::new(RouteTable::build(matches.chain(issuing.iter().map(|(entry, index)| (entry, *index))))?),
        path_allowances: union(config.services.values().map(|service| service.path_allows)),
        features: config.features.clone(),
        limited: limited(config, &own_keys, previous),
        own_keys,
        management: management(sources, &keys, &issuers, &mut problems),
        keys,
        revocations: revocations(state, now),
        access_log: config.access_log,
        trusted_proxies: config.trusted_proxies.clone(),
        tls: tls(sources, &mut problems),
        services,
        accounts,
    };
    Ok(Compiled { snapshot, problems })
}

/// Accounts of the file and of the store, by name. Where both have one, or two have the same resource, the
/// file's stands, since somebody reviewed it.
fn accounts(config: &Config, state: &State, problems: &mut Vec<String>) -> Accounts {
    let written = config.accounts.values().map(|account| Account {
        name: account.name.clone(),
        resource: account.resource.clone(),
        approvals: account.approvals,
        may_issue: account.may_issue,
    });
    let stored = state.accounts.iter().map(|(name, record)| Account {
        name: name.clone(),
        resource: record.resource.clone(),
        approvals: known_features(&config.features, &record.approvals),
        may_issue: known_features(&config.features, &record.may_issue),
    });
    let mut accounts = Accounts::default();
    for account in written.chain(stored) {
        if accounts.by_name.contains_key(&account.name) || accounts.by_resource.contains_key(&account.resource) {
            problems.push(format!("accounts.{}: its name or resource is another account's already", account.name));
            continue;
        }
        let index = u32::try_from(accounts.all.len()).unwrap_or(u32::MAX);
        accounts.by_name.insert(account.name.clone(), index);
        accounts.by_resource.insert(account.resource.clone(), index);
        accounts.all.push(account);
    }
    accounts
}

/// Flags that this gateway does not know grant nothing.
fn known_features(names: &FeatureNames, flags: &[String]) -> FeatureSet {
    flags.iter().filter_map(|flag| names.find(flag)).fold(FeatureSet::EMPTY, FeatureSet::union)
}

fn own_keys(state: &State, now: UnixSeconds) -> Result<OwnKeys, CompileError> {
    let own = |key: &crate::store::state::SigningKey| {
        let pair = SigningKey::from_pkcs8(key.algorithm, key.pkcs8.clone())?;
        Ok(OwnKey { key: Arc::new(pair), created: key.created, retires: key.verify_until })
    };
    let keys = state.signing_keys().map(own).collect::<Result<Vec<_>, BadSigningKey>>()?;
    Ok(OwnKeys::new(&keys, now)?)
}

fn issuers(config: &Config, inputs: &Inputs, own: &OwnKeys) -> BTreeMap<TokenIssuer, Arc<TrustedIssuer>> {
    let foreign = config.issuers.values().map(|issuer| {
        let keys = inputs.issuers.get(&issuer.name).map(|loaded| Arc::clone(&loaded.keys));
        (TokenIssuer::Foreign(issuer.name.clone()), Arc::new(TrustedIssuer::foreign(issuer, keys)))
    });
    let own = (TokenIssuer::Own, Arc::new(own.service_issuer(&config.tokens)));
    foreign.chain([own]).collect()
}

type Targets = BTreeMap<Name, Result<Arc<Target>, String>>;

fn targets(sources: Sources<'_>, problems: &mut Vec<String>) -> Targets {
    let running = |name: &Name| {
        let services = sources.previous.into_iter().flat_map(|snapshot| &snapshot.services);
        services.filter_map(|service| service.target.as_ref()).find(|target| target.name == *name)
    };
    let each = sources.config.upstreams.values().map(|upstream| {
        let target = Target::compile(upstream, &sources.inputs.files, sources.metrics, running(&upstream.name));
        let target = target.map_err(|why| {
            problems.push(format!("upstreams.{}: {why}", upstream.name));
            format!("its upstream {} cannot be used: {why}", upstream.name)
        });
        (upstream.name.clone(), target)
    });
    each.collect()
}

/// What the services of one compilation share.
struct Parts<'a> {
    sources: Sources<'a>,
    accounts: &'a Accounts,
    issuers: &'a BTreeMap<TokenIssuer, Arc<TrustedIssuer>>,
    targets: &'a Targets,
}

impl Parts<'_> {
    fn service(&self, index: u32, settings: &config::Service) -> Service {
        let metrics = self.sources.metrics.service(&settings.name);
        let (auth, scheme) = match &settings.auth {
            config::Auth::Key(key) => {
                let accounts = service::Accounts::new(&key.accounts, |name| self.accounts.by_name.get(name).copied());
                (Auth::Key { sources: key.sources.clone().into(), accounts }, Scheme::Key)
            }
            config::Auth::Token(token) => {
                let verifier = self.verifier(&settings.name, token);
                (Auth::Token { verifier, resource: token.resource.clone() }, Scheme::Token)
            }
            config::Auth::Public { .. } => (Auth::Public, Scheme::Public),
        };
        metrics.prepare(scheme);
        let target = self.targets.get(&settings.upstream);
        let quarantined = self.missing_keys(settings).or_else(|| target?.as_ref().err().cloned());
        match &quarantined {
            Some(_) => metrics.quarantine(),
            None => metrics.serve(),
        }
        let identity = &settings.identity;
        let key_headers = match &auth {
            Auth::Key { sources, .. } => sources.iter().filter_map(service::header_of).cloned().collect(),
            Auth::Token { .. } | Auth::Public => Box::default(),
        };
        Service {
            index,
            auth,
            features: FeatureRules::compile(&settings.feature_rules),
            target: target.and_then(|target| target.as_ref().ok()).map(Arc::clone),
            quarantined,
            challenge: Challenge::new(&settings.name, &settings.auth),
            identity_headers: [&identity.principal, &identity.resource, &identity.features]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            key_headers,
            settings: settings.clone(),
            metrics,
        }
    }

    /// The verifier of the snapshot in force where it says the same: what was verified by it stays so.
    fn verifier(&self, name: &Name, auth: &config::TokenAuth) -> Arc<ServiceVerifier> {
        let issuers = auth.issuers.iter().filter_map(|issuer| self.issuers.get(issuer)).map(Arc::clone).collect();
        let made = ServiceVerifier::new(issuers, auth);
        let services = self.sources.previous.into_iter().flat_map(|snapshot| &snapshot.services);
        let before =
            services.filter(|service| service.settings.name == *name).find_map(|service| match &service.auth {
                Auth::Token { verifier, .. } => Some(verifier),
                Auth::Key { .. } | Auth::Public => None,
            });
        match before {
            Some(before) if **before == made => Arc::clone(before),
            Some(_) | None => Arc::new(made),
        }
    }

    /// Why the service's own keys are not there, if they should be.
    fn missing_keys(&self, settings: &config::Service) -> Option<String> {
        let config::Auth::Key(config::KeyAuth { slots: Some(slots), .. }) = &settings.auth else { return None };
        let owner = Owner::Service(settings.name.clone());
        match slots {
            Slots::Store => match self.sources.state.slots(&owner) {
                Held::Keys(_) => None,
                Held::Quarantined(why) => Some(format!("its keys in the store cannot be read: {why}")),
                Held::Nothing => Some("the store has no keys for it yet".to_owned()),
            },
            Slots::Directory(_) | Slots::References { .. } => {
                let read = self.sources.inputs.slots.contains_key(&owner);
                (!read).then(|| "its keys could not be read".to_owned())
            }
        }
    }
}

fn keys(config: &Config, sources: Sources<'_>, accounts: &Accounts) -> Result<KeyTable, CompileError> {
    let mut live: Vec<(Digest, KeyRecord)> = Vec::new();
    let mut add = |owner: &Owner, number: KeyOwner, slots: Option<&Slots>| {
        if let Some(Slots::Directory(_) | Slots::References { .. }) = slots {
            let read = sources.inputs.slots.get(owner).into_iter().flat_map(|loaded| &loaded.keys);
            live.extend(
                read.map(|key| (key.digest, KeyRecord { owner: number, slot: key.slot, expires: key.expires })),
            );
        } else if let (Some(Slots::Store), Held::Keys(keys)) = (slots, sources.state.slots(owner)) {
            let record = |(slot, digest, expires)| (digest, KeyRecord { owner: number, slot, expires });
            live.extend(keys.digests().map(record));
        }
    };
    for (index, service) in (0_u32..).zip(config.services.values()) {
        if let config::Auth::Key(key) = &service.auth {
            add(&Owner::Service(service.name.clone()), KeyOwner::Service(index), key.slots.as_ref());
        }
    }
    for (index, account) in (0_u32..).zip(&accounts.all) {
        let slots = config.accounts.get(&account.name).map_or(&Slots::Store, |written| &written.slots);
        add(&Owner::Account(account.name.clone()), KeyOwner::Account(index), Some(slots));
    }
    KeyTable::default().with_changes(&[], &live).map_err(|DuplicateKey { one, other }| {
        let told = |record: KeyRecord| match record.owner {
            KeyOwner::Service(index) => {
                named(config.services.values().nth(place(index)).map(|it| &it.name), "services", record)
            }
            KeyOwner::Account(index) => named(accounts.all.get(place(index)).map(|it| &it.name), "accounts", record),
        };
        CompileError::DuplicateKey { one: told(one), other: told(other) }
    })
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn named(name: Option<&Name>, kind: &str, record: KeyRecord) -> String {
    format!("{kind}.{} ({})", name.map_or("?", Name::as_str), record.slot)
}

/// What the management plane reads. A key of it that opens a service as well would be one secret with two meanings.
fn management(
    sources: Sources<'_>,
    keys: &KeyTable,
    issuers: &BTreeMap<TokenIssuer, Arc<TrustedIssuer>>,
    problems: &mut Vec<String>,
) -> Management {
    let Sources { config, inputs, .. } = sources;
    let mut operators: Vec<Operator> = Vec::with_capacity(inputs.management_keys.len());
    for (name, digest) in &inputs.management_keys {
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

/// Where LimitedAccessTokens are issued: at every host of the services that say so.
fn issuing_matches(config: &Config) -> Vec<(config::Match, usize)> {
    let Ok(path) = PathTemplate::parse(ISSUE_PATH) else { return Vec::new() };
    let mut matches: Vec<(config::Match, usize)> = Vec::new();
    for (index, service) in config.services.values().enumerate().filter(|(_, it)| it.issues_limited_access_tokens) {
        for written in &service.matches {
            let path = PathMatch::Template(path.clone());
            let entry = config::Match { host: written.host.clone(), path, methods: vec![http::Method::POST] };
            if !matches.iter().any(|(other, _)| *other == entry) && !service.matches.contains(&entry) {
                matches.push((entry, index));
            }
        }
    }
    matches
}

fn limited(config: &Config, own: &OwnKeys, previous: Option<&Snapshot>) -> Arc<LimitedVerifier> {
    let made = LimitedVerifier::new(&config.tokens.issuer, own, config.features.clone());
    match previous {
        Some(previous) if *previous.limited == made => Arc::clone(&previous.limited),
        Some(_) | None => Arc::new(made),
    }
}

fn revocations(state: &State, now: UnixSeconds) -> Revocations {
    let mut revocations = Revocations::default();
    for entry in state.revocations.values() {
        let (issued_up_to, until) = (entry.issued_before, entry.expires);
        revocations.add(match &entry.revoked {
            Revoked::Jti { iss, jti } => Revocation::Token { token: TokenId::of(iss, jti), until },
            Revoked::Resource(resource) => Revocation::Resource { resource: resource.clone(), issued_up_to, until },
            Revoked::Isv(isv) => Revocation::Isv { isv: isv.clone(), issued_up_to, until },
        });
    }
    revocations.forget_expired(now);
    revocations
}

/// A listener whose certificate cannot be used keeps the one that is in force.
fn tls(sources: Sources<'_>, problems: &mut Vec<String>) -> HashMap<Name, Arc<rustls::ServerConfig>> {
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

fn union(allowances: impl Iterator<Item = PathAllowances>) -> PathAllowances {
    allowances.fold(PathAllowances::default(), |all, one| PathAllowances {
        encoded_separators: all.encoded_separators || one.encoded_separators,
        empty_segments: all.empty_segments || one.empty_segments,
        semicolons: all.semicolons || one.semicolons,
        encoded_percent: all.encoded_percent || one.encoded_percent,
    })
}
