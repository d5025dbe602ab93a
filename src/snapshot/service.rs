//! A service, ready for requests.

use std::sync::Arc;

use http::HeaderName;
use http::HeaderValue;

use crate::config;
use crate::config::AllowedAccounts;
use crate::config::CallerResource;
use crate::config::KeySource;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::ServiceMetrics;
use crate::snapshot::features::FeatureRules;
use crate::snapshot::places::Places;
use crate::snapshot::usage::OwnerUsage;
use crate::snapshot::way::Way;
use crate::tokens::verify::ServiceVerifier;

/// What is exposed.
#[derive(Debug)]
pub struct Service {
    /// Its number in the snapshot; keys name their owner by it.
    pub index: u32,
    /// What was configured.
    pub settings: config::Service,
    /// Who may call.
    pub auth: Auth,
    /// Calls that need features.
    pub features: FeatureRules,
    /// Where requests go.
    pub way: Way,
    /// Why nobody is answered at the moment, in words for an operator.
    pub quarantined: Option<String>,
    /// What a 401 says about the credential that is wanted.
    pub challenge: Challenge,
    /// Headers that a client may not set: those that tell who called.
    pub identity_headers: Box<[HeaderName]>,
    /// Headers that a key of any service may stand in.
    pub key_headers: Arc<[HeaderName]>,
    /// Its counters.
    pub metrics: Arc<ServiceMetrics>,
    /// The uses of its keys.
    pub usage: OwnerUsage,
    /// Its places for requests at once.
    pub places: Arc<Places>,
}

/// Who may call a service: exactly one mode, like its configuration.
#[derive(Debug)]
pub enum Auth {
    /// A key.
    Key {
        /// Where it may stand.
        sources: Box<[KeySource]>,
        /// Whose keys besides the service's own.
        accounts: Accounts,
    },
    /// A token.
    Token {
        /// Judges it.
        verifier: Arc<ServiceVerifier>,
        /// Which resource the caller stands for.
        resource: Option<CallerResource>,
    },
    /// Nothing.
    Public,
}

/// Accounts whose keys open a service, by their numbers in the snapshot.
#[derive(Debug)]
pub enum Accounts {
    /// These, in ascending order.
    Only(Box<[u32]>),
    /// Every one.
    Every,
}

impl Accounts {
    /// Numbers the accounts that `allowed` names, by `index_of`.
    pub fn new(allowed: &AllowedAccounts, index_of: impl Fn(&Name) -> Option<u32>) -> Self {
        match allowed {
            AllowedAccounts::Every => Self::Every,
            AllowedAccounts::Only(names) => {
                let mut numbers: Vec<u32> = names.iter().filter_map(index_of).collect();
                numbers.sort_unstable();
                Self::Only(numbers.into())
            }
        }
    }

    /// Whether this account is among them.
    #[must_use]
    pub fn hold(&self, account: u32) -> bool {
        match self {
            Self::Only(numbers) => numbers.binary_search(&account).is_ok(),
            Self::Every => true,
        }
    }
}

/// A caller's resource, ready for requests.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: Name,
    /// Its identifier.
    pub resource: ResourceId,
    /// Features that it holds in its own right.
    pub approvals: FeatureSet,
    /// Features that it may put into LimitedAccessTokens.
    pub may_issue: FeatureSet,
    /// Who says all that.
    pub origin: AccountOrigin,
    /// The uses of its keys.
    pub usage: OwnerUsage,
}

/// Who says what an account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOrigin {
    /// `gateway.yaml`.
    File {
        /// Where its keys come from.
        slots: Box<config::Slots>,
    },
    /// The store, which holds its keys as well.
    Store {
        /// When it was made.
        created: UnixSeconds,
    },
}

impl Account {
    /// Where its keys come from.
    #[must_use]
    pub const fn slots(&self) -> &config::Slots {
        match &self.origin {
            AccountOrigin::File { slots } => slots,
            AccountOrigin::Store { .. } => &config::Slots::Store,
        }
    }
}

/// The values of `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3), made once.
#[derive(Debug)]
pub struct Challenge {
    /// For a request without a credential.
    pub missing: Box<[HeaderValue]>,
    /// For one whose credential was not accepted.
    pub invalid: Box<[HeaderValue]>,
}

impl Challenge {
    /// Says what a service wants.
    #[must_use]
    pub fn new(name: &Name, auth: &config::Auth) -> Self {
        let bearer = |error: &str| text(format!("Bearer realm=\"{name}\"{error}"));
        match auth {
            config::Auth::Token(_) => Self {
                missing: [bearer("")].into_iter().flatten().collect(),
                invalid: [bearer(", error=\"invalid_token\"")].into_iter().flatten().collect(),
            },
            config::Auth::Key(key) => {
                let each = |source: &KeySource| match source {
                    KeySource::Bearer => bearer(""),
                    KeySource::Header(header) => text(format!("ApiKey realm=\"{name}\", header=\"{header}\"")),
                    KeySource::Query(parameter) => text(format!("ApiKey realm=\"{name}\", query=\"{parameter}\"")),
                };
                let wanted: Box<[HeaderValue]> = key.sources.iter().filter_map(each).collect();
                Self { missing: wanted.clone(), invalid: wanted }
            }
            config::Auth::Public { .. } => Self { missing: Box::default(), invalid: Box::default() },
        }
    }
}

/// Names are labels and header names are tokens, so this is a value; a query parameter with an odd name is left out.
fn text(challenge: String) -> Option<HeaderValue> {
    HeaderValue::try_from(challenge).ok()
}

/// The header that a key stands in, where that is one of its own.
#[must_use]
pub const fn header_of(source: &KeySource) -> Option<&HeaderName> {
    match source {
        KeySource::Header(name) => Some(name),
        KeySource::Bearer | KeySource::Query(_) => None,
    }
}
