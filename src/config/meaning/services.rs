//! Services: everything about them but who may call and which requests are theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::Kind;
use super::Noted;
use super::Read;
use super::Reader;
use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::Deployment;
use crate::config::Dialect;
use crate::config::HostMatch;
use crate::config::IdentityHeaders;
use crate::config::KeyAuth;
use crate::config::KeySource;
use crate::config::PathAllowances;
use crate::config::Service;
use crate::config::Timeouts;
use crate::config::Traffic;
use crate::config::Upgrades;
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::units;
use crate::model::name::Name;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 64 MiB: a batch of images fits, and a caller without a key cannot fill a disk or a memory.
const USUAL_MAX_BODY_BYTES: u64 = 64 << 20;

impl Reader {
    pub(super) fn service(&mut self, name: &Name, written: &raw::Service, at: &Place) -> Read<Service> {
        let matches = self.matches(name, written, at);
        let traffic = self.traffic(written, at);
        let auth = self.auth(name, written, at);
        let managed = self.modes(name, written, auth.as_ref().ok(), &at.field("managed"));
        let features_at = at.field("features");
        let feature_rules = match &written.features {
            Some(features) => self.feature_rules(features, &features_at),
            None => Ok(Vec::new()),
        };
        let identity = self.identity(&written.identity.clone().unwrap_or_default(), &at.field("identity"));
        let max_body_bytes = self.max_body(written.max_body.as_deref(), &at.field("max_body"));
        let timeouts = self.timeouts(&written.timeouts.clone().unwrap_or_default(), &at.field("timeouts"));
        let limits = self.service_limits(&written.limits.clone().unwrap_or_default(), &at.field("limits"));
        let issues_limited_access_tokens = written.issues_limited_access_tokens.unwrap_or(false);
        if let Ok(auth) = &auth {
            if issues_limited_access_tokens && !admits_accounts(auth) {
                let what = "want `auth: {key: {accounts: …}}` with it: a token is issued to an account's key";
                self.problems.note(&at.field("issues_limited_access_tokens"), what);
            }
            if written.features.is_some() && matches!(auth, Auth::Public { .. }) {
                self.problems.note(&features_at, "want a key or a token with it: nobody can be granted a feature here");
            }
            if let (Ok(managed), Ok(identity)) = (&managed, &identity) {
                let either = managed.as_ref().map(|modes| &modes.key);
                let key = if let Auth::Key(key) = auth { Some(key) } else { either };
                self.refuse_key_as_identity(key, identity, &at.field("identity"));
            }
        }
        let platform = self.platform(written.platform, auth.as_ref().ok(), &at.field("platform"));
        let (matches, strip_prefix) = matches?;
        Ok(Service {
            name: name.clone(),
            matches,
            traffic: traffic?,
            strip_prefix,
            auth: auth?,
            managed: managed?,
            feature_rules: feature_rules?,
            platform: platform?,
            dialect: dialect(written),
            issues_limited_access_tokens,
            identity: identity?,
            upgrades: match written.upgrades {
                Some(raw::Upgrades::WebSocket) => Upgrades::WebSocket,
                None => Upgrades::Removed,
            },
            path_allows: path_allowances(written.path_allows.as_deref().unwrap_or_default()),
            max_body_bytes: max_body_bytes?,
            timeouts: timeouts?,
            limits: limits?,
        })
    }

    /// Holds that one host's `/sts/v1.0/issueLimitedAccessToken` is answered for one service only.
    pub(super) fn issuing_hosts(&mut self, services: &BTreeMap<Name, Service>) {
        let mut seen: BTreeMap<String, &Name> = BTreeMap::new();
        for service in services.values().filter(|service| service.issues_limited_access_tokens) {
            for matched in &service.matches {
                let host = match &matched.host {
                    HostMatch::Any => "every host".to_owned(),
                    HostMatch::Exact(host) => host.clone(),
                    HostMatch::Under(suffix) => format!("*.{suffix}"),
                };
                if let Some(other) = seen.get(&host).filter(|other| ***other != service.name) {
                    let at = Place::root().field("services").field(service.name.as_str());
                    let what = format!("the service {other:?} already issues LimitedAccessTokens at {host}");
                    self.problems.note(&at.field("issues_limited_access_tokens"), what);
                    break;
                }
                seen.insert(host, &service.name);
            }
        }
    }

    fn identity(&mut self, written: &raw::Identity, at: &Place) -> Read<IdentityHeaders> {
        let mut seen: Vec<HeaderName> = Vec::new();
        let mut read = |field: &str, text: Option<&str>, usual: &'static str| {
            let at = at.field(field);
            let name = match text {
                Some("none") => return Ok(None),
                Some(text) => self.header_name(text, &at)?,
                None => HeaderName::from_static(usual),
            };
            if seen.contains(&name) {
                return self.refuse(&at, "want a header of its own");
            }
            seen.push(name.clone());
            Ok(Some(name))
        };
        let principal = read("principal", written.principal.as_deref(), "x-scoregate-principal");
        let resource = read("resource", written.resource.as_deref(), "x-scoregate-resource");
        let features = read("features", written.features.as_deref(), "x-scoregate-features");
        Ok(IdentityHeaders { principal: principal?, resource: resource?, features: features? })
    }

    /// A client's copies of identity headers are removed, so a key in one would never arrive.
    fn refuse_key_as_identity(&mut self, key: Option<&KeyAuth>, identity: &IdentityHeaders, at: &Place) {
        let Some(KeyAuth { sources, .. }) = key else { return };
        for (field, name) in
            [("principal", &identity.principal), ("resource", &identity.resource), ("features", &identity.features)]
        {
            let carries_key =
                |source: &KeySource| matches!(source, KeySource::Header(key) if Some(key) == name.as_ref());
            if sources.iter().any(carries_key) {
                self.problems.note(&at.field(field), "want another header than the one that carries the key");
            }
        }
    }

    fn traffic(&mut self, written: &raw::Service, at: &Place) -> Read<Traffic> {
        let deployments_at = at.field("deployments");
        match (written.upstream.as_deref(), &written.deployments) {
            (Some(upstream), None) => self.reference(upstream, Kind::Upstream, &at.field("upstream")).map(Traffic::One),
            (None, Some(deployments)) if deployments.is_empty() => {
                self.refuse(&deployments_at, "want at least one deployment")
            }
            (None, Some(deployments)) => {
                let known = self.named(Some(deployments), &deployments_at, |reader, name, written, at| {
                    let upstream = reader.reference(&written.upstream, Kind::Upstream, &at.field("upstream"))?;
                    Ok(Deployment { name: name.clone(), upstream, weight: written.weight.unwrap_or(0) })
                });
                // What is left out has been noted.
                if known.len() == deployments.len() {
                    Ok(Traffic::Split(known.into_values().collect()))
                } else {
                    Err(Noted)
                }
            }
            (None, None) => self.refuse(
                &at.field("upstream"),
                "this field is missing: the name of the upstream where they go, or `deployments`",
            ),
            (Some(_), Some(_)) => self.refuse(&deployments_at, "want it or `upstream`, found both"),
        }
    }

    fn max_body(&mut self, written: Option<&str>, at: &Place) -> Read<Option<u64>> {
        match written {
            None => Ok(Some(USUAL_MAX_BODY_BYTES)),
            Some("none") => Ok(None),
            Some(text) => match units::size(text) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => self.refuse(at, format!("{error}, or none for no limit")),
            },
        }
    }

    fn timeouts(&mut self, written: &raw::Timeouts, at: &Place) -> Read<Timeouts> {
        let mut read = |field: &str, text: Option<&str>, usual: u64| {
            self.duration(text, &at.field(field), Duration::from_secs(usual), MILLISECOND, DAY)
        };
        let connect = read("connect", written.connect.as_deref(), 2);
        let response = read("response", written.response.as_deref(), 60);
        let idle = read("idle", written.idle.as_deref(), 5 * 60);
        let total = match written.total.as_deref() {
            None | Some("none") => Ok(None),
            limit => read("total", limit, 0).map(Some),
        };
        Ok(Timeouts { connect: connect?, response: response?, idle: idle?, total: total? })
    }
}

fn admits_accounts(auth: &Auth) -> bool {
    match auth {
        Auth::Key(KeyAuth { accounts: AllowedAccounts::Every, .. }) => true,
        Auth::Key(KeyAuth { accounts: AllowedAccounts::Only(names), .. }) => !names.is_empty(),
        Auth::Token(_) | Auth::Public { .. } => false,
    }
}

fn dialect(written: &raw::Service) -> Dialect {
    let has_face_preset = matches!(&written.features, Some(raw::Features { preset: Some(raw::Preset::Face), .. }));
    match written.dialect {
        Some(raw::Dialect::Face) => Dialect::Face,
        Some(raw::Dialect::Scoring) => Dialect::Scoring,
        None if has_face_preset => Dialect::Face,
        None => Dialect::Scoring,
    }
}

fn path_allowances(written: &[raw::PathAllowance]) -> PathAllowances {
    let mut allowances = PathAllowances::default();
    for allowance in written {
        match allowance {
            raw::PathAllowance::EncodedSeparators => allowances.encoded_separators = true,
            raw::PathAllowance::EmptySegments => allowances.empty_segments = true,
            raw::PathAllowance::Semicolons => allowances.semicolons = true,
            raw::PathAllowance::EncodedPercent => allowances.encoded_percent = true,
        }
    }
    allowances
}
