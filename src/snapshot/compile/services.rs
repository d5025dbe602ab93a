//! The services, and the upstreams that they need.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use crate::config;
use crate::config::Config;
use crate::config::PathMatch;
use crate::config::Slots;
use crate::config::TokenIssuer;
use crate::config::Traffic;
use crate::model::name::Name;
use crate::model::path::PathTemplate;
use crate::observe::metrics::Scheme;
use crate::snapshot::Snapshot;
use crate::snapshot::accounts::Accounts;
use crate::snapshot::compile::ISSUE_PATH;
use crate::snapshot::compile::Sources;
use crate::snapshot::compile::keys;
use crate::snapshot::features::FeatureRules;
use crate::snapshot::service;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Challenge;
use crate::snapshot::service::Service;
use crate::snapshot::target::Target;
use crate::snapshot::usage::OwnerUsage;
use crate::snapshot::way;
use crate::snapshot::way::Split;
use crate::snapshot::way::Way;
use crate::store::record_key::Owner;
use crate::store::record_key::RecordKey;
use crate::store::state::Held;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::verify::ServiceVerifier;

pub(super) type Targets = BTreeMap<Name, Result<Arc<Target>, String>>;

pub(super) fn targets(sources: Sources<'_>, problems: &mut Vec<String>) -> Targets {
    let targets = sources.previous.into_iter().flat_map(Snapshot::targets);
    let running: BTreeMap<&Name, &Arc<Target>> = targets.map(|target| (&target.name, target)).collect();
    let each = sources.config.upstreams.values().map(|upstream| {
        let target =
            Target::compile(upstream, &sources.inputs.files, sources.metrics, running.get(&upstream.name).copied());
        let target = target.map_err(|why| {
            problems.push(format!("upstreams.{}: {why}", upstream.name));
            format!("its upstream {} cannot be used: {why}", upstream.name)
        });
        (upstream.name.clone(), target)
    });
    each.collect()
}

/// What the services of one compilation share.
pub(super) struct Parts<'a> {
    pub(super) sources: Sources<'a>,
    pub(super) accounts: &'a Accounts,
    pub(super) issuers: &'a BTreeMap<TokenIssuer, Arc<TrustedIssuer>>,
    pub(super) targets: &'a Targets,
    pub(super) key_headers: &'a Arc<[HeaderName]>,
    pub(super) before: &'a BTreeMap<&'a Name, &'a Service>,
}

/// The services of the snapshot in force.
pub(super) fn by_name(previous: Option<&Snapshot>) -> BTreeMap<&Name, &Service> {
    let services = previous.into_iter().flat_map(|snapshot| &snapshot.services);
    services.map(|service| (&service.settings.name, &**service)).collect()
}

/// The headers that a key of any service may stand in: clients send their keys to other services as well.
pub(super) fn key_headers(config: &Config) -> Arc<[HeaderName]> {
    let sources = config.services.values().flat_map(|service| match &service.auth {
        config::Auth::Key(key) => &*key.sources,
        config::Auth::Token(_) | config::Auth::Public { .. } => &[],
    });
    let mut headers: Vec<HeaderName> = Vec::new();
    for header in sources.filter_map(service::header_of) {
        if !headers.contains(header) {
            headers.push(header.clone());
        }
    }
    headers.into()
}

impl Parts<'_> {
    pub(super) fn service(&self, index: u32, settings: &config::Service) -> Service {
        let metrics = self.sources.metrics.service(&settings.name);
        let (auth, scheme) = match &settings.auth {
            config::Auth::Key(key) => {
                let accounts = service::Accounts::new(&key.accounts, |name| self.accounts.number_of(name));
                (Auth::Key { sources: key.sources.clone().into(), accounts }, Scheme::Key)
            }
            config::Auth::Token(token) => {
                let verifier = self.verifier(&settings.name, token);
                (Auth::Token { verifier, resource: token.resource.clone() }, Scheme::Token)
            }
            config::Auth::Public { .. } => (Auth::Public, Scheme::Public),
        };
        metrics.prepare(scheme);
        let quarantined = self.unknown_mode(settings).or_else(|| self.missing_keys(settings));
        let way = self.way(settings);
        let quarantined = quarantined.or_else(|| self.no_way(settings, &way));
        match &quarantined {
            Some(_) => metrics.quarantine(),
            None => metrics.serve(),
        }
        let identity = &settings.identity;
        Service {
            index,
            auth,
            features: FeatureRules::compile(&settings.feature_rules),
            way,
            quarantined,
            challenge: Challenge::new(&settings.name, &settings.auth),
            identity_headers: [&identity.principal, &identity.resource, &identity.features]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            key_headers: Arc::clone(self.key_headers),
            settings: settings.clone(),
            metrics,
            usage: self.usage(settings),
            places: self.before(settings).map(|before| Arc::clone(&before.places)).unwrap_or_default(),
        }
    }

    fn way(&self, settings: &config::Service) -> Way {
        let route = |upstream: &Name| self.targets.get(upstream)?.as_ref().ok().map(Arc::clone);
        match &settings.traffic {
            Traffic::One(upstream) => Way::One(route(upstream)),
            Traffic::Split(deployments) => {
                let each = deployments.iter().map(|written| way::Deployment {
                    name: written.name.clone(),
                    weight: written.weight,
                    route: route(&written.upstream),
                });
                Way::Split(Split::new(each.collect()))
            }
        }
    }

    /// Why no request can go anywhere. Of several deployments one is enough: requests for the others are refused one by one.
    fn no_way(&self, settings: &config::Service, way: &Way) -> Option<String> {
        if way.targets().next().is_some() {
            return None;
        }
        let upstream = match &settings.traffic {
            Traffic::One(upstream) => Some(upstream),
            Traffic::Split(deployments) => deployments.first().map(|deployment| &deployment.upstream),
        };
        self.targets.get(upstream?)?.as_ref().err().cloned()
    }

    fn usage(&self, settings: &config::Service) -> OwnerUsage {
        let slots = match &settings.auth {
            config::Auth::Key(key) => key.slots.as_ref(),
            config::Auth::Token(_) | config::Auth::Public { .. } => None,
        };
        let before = self.before(settings).map(|before| &before.usage);
        keys::usage(self.sources, &Owner::Service(settings.name.clone()), slots, before)
    }

    /// The service in the snapshot in force.
    fn before(&self, settings: &config::Service) -> Option<&Service> {
        self.before.get(&settings.name).copied()
    }

    /// The verifier of the snapshot in force where it says the same: what was verified by it stays so.
    fn verifier(&self, name: &Name, auth: &config::TokenAuth) -> Arc<ServiceVerifier> {
        let issuers = auth.issuers.iter().filter_map(|issuer| self.issuers.get(issuer)).map(Arc::clone).collect();
        let made = ServiceVerifier::new(issuers, auth);
        let before = self.before.get(name).and_then(|service| match &service.auth {
            Auth::Token { verifier, .. } => Some(verifier),
            Auth::Key { .. } | Auth::Public => None,
        });
        match before {
            Some(before) if **before == made => Arc::clone(before),
            Some(_) | None => Arc::new(made),
        }
    }

    /// Why nobody knows how the service is called: the file's mode may be the one that somebody turned off.
    fn unknown_mode(&self, settings: &config::Service) -> Option<String> {
        settings.managed.as_ref()?;
        let record = RecordKey::AuthMode(settings.name.clone()).to_string();
        let why = self.sources.state.quarantined.get(&record)?;
        Some(format!("its auth mode in the store cannot be read: {why}"))
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

/// Where LimitedAccessTokens are issued: at every host of the services that say so.
pub(super) fn issuing_matches(config: &Config) -> Vec<(config::Match, usize)> {
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
