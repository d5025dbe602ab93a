//! Who calls and who manages: accounts, issuers, the gateway's own tokens, management keys.

use super::Changes;
use super::Effect;
use super::or_none;
use super::services::names_of;
use crate::config::Account;
use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::Config;
use crate::config::Issuer;
use crate::config::KeyAuth;
use crate::config::ManagementIssuer;
use crate::config::ManagementKey;
use crate::config::OwnTokens;
use crate::config::Role;
use crate::config::show_duration;
use crate::model::name::Name;

/// Notes what changes for callers and operators.
pub(super) fn compare(changes: &mut Changes, old: &Config, new: &Config) {
    accounts(changes, old, new);
    issuers(changes, old, new);
    own_tokens(changes, &old.tokens, &new.tokens);
    management(changes, old, new);
    let names = |config: &Config| config.features.iter().map(str::to_owned).collect::<Vec<_>>();
    changes
        .members(Effect::Changes, "features", &names(old), &names(new), |name| format!("the feature {name} is known"));
}

fn accounts(changes: &mut Changes, old: &Config, new: &Config) {
    for (name, after) in &new.accounts {
        let at = format!("accounts.{name}");
        match old.accounts.get(name) {
            None => changes.note(Effect::Widens, &at, format!("added: {}", reach(new, after))),
            Some(before) => account(changes, &at, (before, old), (after, new)),
        }
    }
    for (name, before) in old.accounts.iter().filter(|(name, _)| !new.accounts.contains_key(*name)) {
        changes.note(Effect::Narrows, &format!("accounts.{name}"), format!("removed: {}", reach(old, before)));
    }
}

fn account(changes: &mut Changes, at: &str, (old, before): (&Account, &Config), (new, after): (&Account, &Config)) {
    let Account { name: _, resource, slots, approvals, may_issue } = old;
    changes.value(&format!("{at}.resource"), resource, &new.resource, |resource| resource.as_str().to_owned());
    changes.differs(&format!("{at}.keys"), slots, &new.slots);
    for (field, old, new, verb) in
        [("approvals", *approvals, new.approvals, "may use"), ("may_issue", *may_issue, new.may_issue, "may lend")]
    {
        let (old, new) = (names_of(&before.features, old), names_of(&after.features, new));
        changes.members(Effect::Widens, &format!("{at}.{field}"), &old, &new, |name| format!("{verb} {name}"));
    }
}

/// What an account may do.
fn reach(config: &Config, account: &Account) -> String {
    let admits = |auth: &Auth, name: &Name| match auth {
        Auth::Key(KeyAuth { accounts: AllowedAccounts::Every, .. }) => true,
        Auth::Key(KeyAuth { accounts: AllowedAccounts::Only(names), .. }) => names.contains(name),
        Auth::Token(_) | Auth::Public { .. } => false,
    };
    let called = config.services.values().filter(|service| admits(&service.auth, &account.name));
    let called: Vec<String> = called.map(|service| service.name.to_string()).collect();
    let called = list(&called);
    let held = list(&names_of(&config.features, account.approvals));
    let lent = list(&names_of(&config.features, account.may_issue));
    format!("may call {called}; may use {held}; may lend {lent}")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn issuers(changes: &mut Changes, old: &Config, new: &Config) {
    let show = |issuer: &Issuer| format!("iss {:?}", issuer.issuer);
    changes.named(Effect::Changes, "issuers", (&old.issuers, &new.issuers), show, |changes, at, old, new| {
        let Issuer { name: _, issuer, keys, algorithms, types, leeway, max_lifetime } = old;
        changes.value(&format!("{at}.issuer"), issuer, &new.issuer, |text| format!("{text:?}"));
        changes.differs(&format!("{at}.keys"), keys, &new.keys);
        let algorithm = |algorithm: &crate::config::TokenAlgorithm| format!("tokens signed by {algorithm:?}");
        changes.members(Effect::Widens, &format!("{at}.algorithms"), algorithms, &new.algorithms, algorithm);
        changes.members(Effect::Widens, &format!("{at}.types"), types, &new.types, |kind| {
            format!("tokens of type {kind}")
        });
        changes.amount(&format!("{at}.leeway"), leeway, &new.leeway, |span| show_duration(*span));
        changes.amount(&format!("{at}.max_lifetime"), max_lifetime, &new.max_lifetime, |span| show_duration(*span));
    });
}

fn own_tokens(changes: &mut Changes, old: &OwnTokens, new: &OwnTokens) {
    let OwnTokens { issuer, algorithm, lifetime, refresh_after, rotate_every } = old;
    changes.value("tokens.issuer", issuer, &new.issuer, String::clone);
    changes.value("tokens.algorithm", algorithm, &new.algorithm, |algorithm| algorithm.as_str().to_owned());
    changes.amount("tokens.lifetime", lifetime, &new.lifetime, |span| show_duration(*span));
    changes.value("tokens.refresh_after", refresh_after, &new.refresh_after, |span| show_duration(*span));
    let age = |age: &Option<std::time::Duration>| or_none(age.map(show_duration).as_ref());
    changes.value("tokens.rotate_every", rotate_every, &new.rotate_every, age);
}

fn management(changes: &mut Changes, old: &Config, new: &Config) {
    let (before, after) = (&old.management_keys, &new.management_keys);
    let show = |key: &ManagementKey| format!("opens the management API as {}", key.role.as_str());
    changes.named(Effect::Widens, "management_keys", (before, after), show, |changes, at, old, new| {
        let ManagementKey { name: _, key, role } = old;
        changes.differs(&format!("{at}.key"), key, &new.key);
        changes.amount(&format!("{at}.role"), role, &new.role, |role| role.as_str().to_owned());
    });
    let own = "its own key opens the management API as owner";
    changes.switch(Effect::Widens, "management_keys", before.is_empty(), after.is_empty(), own);
    let show = |issuer: &ManagementIssuer| format!("tokens of {} open the management API", issuer.issuer);
    let issuers = (&old.management_issuers, &new.management_issuers);
    changes.named(Effect::Widens, "management_issuers", issuers, show, |changes, at, old, new| {
        let ManagementIssuer { issuer, audiences, claim, roles } = old;
        changes.value(&format!("{at}.issuer"), issuer, &new.issuer, ToString::to_string);
        changes.members(Effect::Widens, &format!("{at}.audiences"), audiences, &new.audiences, |aud| {
            format!("tokens for {aud:?}")
        });
        changes.value(&format!("{at}.claim"), claim, &new.claim, String::clone);
        let role = |(role, value): &(Role, String)| format!("{value:?} is {}", role.as_str());
        changes.members(Effect::Widens, &format!("{at}.roles"), roles, &new.roles, role);
    });
}
