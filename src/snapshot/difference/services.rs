//! Services that are in both configurations: who may call them, and what a call may do.

use super::Changes;
use super::Effect;
use super::or_none;
use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::CallerResource;
use crate::config::Concurrency;
use crate::config::Config;
use crate::config::FeatureRule;
use crate::config::KeyAuth;
use crate::config::KeySource;
use crate::config::Match;
use crate::config::Needs;
use crate::config::PathAllowances;
use crate::config::Rate;
use crate::config::Service;
use crate::config::ServiceLimits;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::config::Upgrades;
use crate::config::report::show_auth;
use crate::config::report::show_match;
use crate::config::report::show_path;
use crate::config::report::show_traffic;
use crate::config::show_duration;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;

/// Notes what changes in services.
pub(super) fn compare(changes: &mut Changes, old: &Config, new: &Config) {
    let show = |service: &Service| {
        let matches: Vec<String> = service.matches.iter().map(show_match).collect();
        format!("{}, {}", matches.join(" | "), show_auth(&service.auth))
    };
    let known = (&old.features, &new.features);
    changes.named(Effect::Widens, "services", (&old.services, &new.services), show, |changes, at, old, new| {
        service(changes, at, old, new, known);
    });
}

fn service(changes: &mut Changes, at: &str, old: &Service, new: &Service, known: (&FeatureNames, &FeatureNames)) {
    let Service {
        name: _,
        matches: _, // Where requests go is asked of the route tables.
        traffic,
        strip_prefix,
        auth,
        managed,
        feature_rules,
        platform,
        dialect,
        issues_limited_access_tokens,
        identity,
        upgrades,
        path_allows,
        max_body_bytes,
        timeouts,
        limits,
    } = old;
    let field = |name: &str| format!("{at}.{name}");
    self::auth(changes, &field("auth"), auth, &new.auth);
    features(changes, &field("features"), feature_rules, &new.feature_rules, known);
    let issues = "issues LimitedAccessTokens";
    let at_issuing = field("issues_limited_access_tokens");
    changes.switch(
        Effect::Widens,
        &at_issuing,
        *issues_limited_access_tokens,
        new.issues_limited_access_tokens,
        issues,
    );
    let passes = |upgrades: Upgrades| upgrades == Upgrades::WebSocket;
    changes.switch(Effect::Widens, &field("upgrades"), passes(*upgrades), passes(new.upgrades), "WebSocket passes");
    let odd = |allows: &PathAllowances| {
        [
            (allows.encoded_separators, "encoded_separators"),
            (allows.empty_segments, "empty_segments"),
            (allows.semicolons, "semicolons"),
            (allows.encoded_percent, "encoded_percent"),
        ]
    };
    for ((before, name), (after, _)) in odd(path_allows).into_iter().zip(odd(&new.path_allows)) {
        changes.switch(Effect::Widens, &field("path_allows"), before, after, name);
    }
    let bytes = |limit: &u64| if *limit == u64::MAX { "none".to_owned() } else { format!("{limit} bytes") };
    let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    changes.amount(&field("max_body"), &most(*max_body_bytes), &most(new.max_body_bytes), bytes);
    changes.value(&field("upstream"), traffic, &new.traffic, show_traffic);
    changes.value(&field("strip_prefix"), strip_prefix, &new.strip_prefix, |prefix| or_none(prefix.as_ref()));
    let mode = |managed: &bool| if *managed { "the management API chooses" } else { "gateway.yaml says" }.to_owned();
    changes.value(&field("managed"), &managed.is_some(), &new.managed.is_some(), mode);
    changes.differs(&field("platform"), platform, &new.platform);
    changes.differs(&field("dialect"), dialect, &new.dialect);
    changes.differs(&field("identity"), identity, &new.identity);
    self::limits(changes, &field("limits"), limits, &new.limits);
    let total = |total: Option<std::time::Duration>| total.map_or_else(|| "none".to_owned(), show_duration);
    for (name, before, after) in [
        ("connect", show_duration(timeouts.connect), show_duration(new.timeouts.connect)),
        ("response", show_duration(timeouts.response), show_duration(new.timeouts.response)),
        ("idle", show_duration(timeouts.idle), show_duration(new.timeouts.idle)),
        ("total", total(timeouts.total), total(new.timeouts.total)),
    ] {
        changes.value(&field(&format!("timeouts.{name}")), &before, &after, String::clone);
    }
}

fn limits(changes: &mut Changes, at: &str, old: &ServiceLimits, new: &ServiceLimits) {
    let ServiceLimits { concurrency, caller_concurrency, caller_rate } = old;
    let number = |most: &u64| if *most == u64::MAX { "no limit".to_owned() } else { most.to_string() };
    let at_once = |concurrency: &Option<Concurrency>| concurrency.map_or(u64::MAX, |limit| u64::from(limit.most.get()));
    changes.amount(&format!("{at}.concurrency"), &at_once(concurrency), &at_once(&new.concurrency), number);
    let of_caller = |most: Option<std::num::NonZeroU16>| most.map_or(u64::MAX, |most| u64::from(most.get()));
    let (before, after) = (of_caller(*caller_concurrency), of_caller(new.caller_concurrency));
    changes.amount(&format!("{at}.per_caller.concurrency"), &before, &after, number);
    let rate = |rate: &Option<Rate>| {
        rate.map_or_else(|| "no limit".to_owned(), |rate| format!("{} in {}", rate.requests, show_duration(rate.per)))
    };
    changes.value(&format!("{at}.per_caller.rate"), caller_rate, &new.caller_rate, rate);
    if let (Some(old), Some(new)) = (concurrency, &new.concurrency) {
        changes.value(&format!("{at}.queue"), &old.queue, &new.queue, ToString::to_string);
        changes.value(&format!("{at}.queue_wait"), &old.wait, &new.wait, |wait| show_duration(*wait));
    }
}

fn auth(changes: &mut Changes, at: &str, old: &Auth, new: &Auth) {
    match (old, new) {
        (Auth::Key(old), Auth::Key(new)) => key(changes, &format!("{at}.key"), old, new),
        (Auth::Token(old), Auth::Token(new)) => token(changes, &format!("{at}.token"), old, new),
        (Auth::Public { reason: old }, Auth::Public { reason: new }) => {
            changes.value(&format!("{at}.public"), old, new, String::clone);
        }
        (_, Auth::Public { .. }) => {
            changes.note(
                Effect::Widens,
                at,
                format!("{} -> {}: everybody may call it", show_auth(old), show_auth(new)),
            );
        }
        (Auth::Public { .. }, Auth::Key(_) | Auth::Token(_)) => {
            changes.note(
                Effect::Narrows,
                at,
                format!("{} -> {}: not everybody any longer", show_auth(old), show_auth(new)),
            );
        }
        (Auth::Key(_), Auth::Token(_)) | (Auth::Token(_), Auth::Key(_)) => {
            let what = "whoever called it cannot, until they have the other credential";
            changes.note(Effect::Changes, at, format!("{} -> {}: {what}", show_auth(old), show_auth(new)));
        }
    }
}

fn key(changes: &mut Changes, at: &str, old: &KeyAuth, new: &KeyAuth) {
    let KeyAuth { sources, slots, accounts } = old;
    let source = |source: &KeySource| match source {
        KeySource::Bearer => "Authorization: Bearer".to_owned(),
        KeySource::Header(name) => format!("the header {name}"),
        KeySource::Query(name) => format!("the query parameter {name}"),
    };
    changes.members(Effect::Widens, &format!("{at}.from"), sources, &new.sources, source);
    let own = "the service's own keys open it";
    changes.switch(Effect::Widens, &format!("{at}.keys"), slots.is_some(), new.slots.is_some(), own);
    if slots.is_some() && new.slots.is_some() {
        changes.differs(&format!("{at}.keys"), slots, &new.slots);
    }
    let at = format!("{at}.accounts");
    match (accounts, &new.accounts) {
        (AllowedAccounts::Every, AllowedAccounts::Every) => {}
        (AllowedAccounts::Only(old), AllowedAccounts::Only(new)) => {
            changes.members(Effect::Widens, &at, old, new, |account| format!("the account {account} may call it"));
        }
        (AllowedAccounts::Only(_), AllowedAccounts::Every) => {
            changes.note(Effect::Widens, &at, "every account may call it, also those of the store");
        }
        (AllowedAccounts::Every, AllowedAccounts::Only(new)) => {
            let left = if new.is_empty() { "no account".to_owned() } else { join(new.iter().map(ToString::to_string)) };
            changes.note(Effect::Narrows, &at, format!("every account could call it, and now {left}"));
        }
    }
}

fn token(changes: &mut Changes, at: &str, old: &TokenAuth, new: &TokenAuth) {
    let TokenAuth { issuers, audiences, required_claims, resource } = old;
    let issuer = |issuer: &TokenIssuer| match issuer {
        TokenIssuer::Own => "tokens of this gateway's own".to_owned(),
        TokenIssuer::Foreign(name) => format!("tokens of {name}"),
    };
    changes.members(Effect::Widens, &format!("{at}.issuers"), issuers, &new.issuers, issuer);
    changes.members(Effect::Widens, &format!("{at}.audiences"), audiences, &new.audiences, |audience| {
        format!("tokens for {audience:?}")
    });
    let (before, after): (Vec<_>, Vec<_>) = (required_claims.iter().collect(), new.required_claims.iter().collect());
    let claim = |(name, value): &(&String, &String)| format!("{name} has to be {value:?}");
    changes.members(Effect::Narrows, &format!("{at}.required_claims"), &before, &after, claim);
    let stands_for = |resource: &Option<CallerResource>| match resource {
        None => "no resource".to_owned(),
        Some(CallerResource::Fixed(resource)) => resource.as_str().to_owned(),
        Some(CallerResource::Claim(claim)) => format!("the one in the claim {claim}"),
    };
    changes.value(&format!("{at}.resource"), resource, &new.resource, stands_for);
}

/// Rules by what they are about. One more rule gates more calls.
fn features(
    changes: &mut Changes,
    at: &str,
    old: &[FeatureRule],
    new: &[FeatureRule],
    known: (&FeatureNames, &FeatureNames),
) {
    let written = |rules: &[FeatureRule], names: &FeatureNames| -> Vec<String> {
        rules.iter().map(|rule| show_rule(rule, names)).collect()
    };
    changes.members(Effect::Narrows, at, &written(old, known.0), &written(new, known.1), String::clone);
}

fn show_rule(rule: &FeatureRule, known: &FeatureNames) -> String {
    let FeatureRule { methods, path, free_when, needs } = rule;
    let entry = Match {
        host: crate::config::HostMatch::Any,
        path: crate::config::PathMatch::Template(path.clone()),
        methods: methods.clone(),
    };
    let (word, set) = match needs {
        Needs::AnyOf(set) => (" or ", *set),
        Needs::AllOf(set) => (" and ", *set),
    };
    let call = if methods.is_empty() { show_path(path) } else { show_match(&entry) };
    let free = free_when.as_ref().map(|when| format!(", free with {}={}", when.name, when.value)).unwrap_or_default();
    format!("{call} needs {}{free}", names_of(known, set).join(word))
}

/// The names of features; sets of two configurations have different bits.
pub(super) fn names_of(known: &FeatureNames, set: FeatureSet) -> Vec<String> {
    known.names_of(set).map(str::to_owned).collect()
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
