//! The accounts, of the file and of the store.

use crate::config::Slots;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::snapshot::accounts::Accounts;
use crate::snapshot::compile::Sources;
use crate::snapshot::compile::keys;
use crate::snapshot::service::Account;
use crate::snapshot::service::AccountOrigin;
use crate::store::record_key::Owner;

/// Accounts of the file and of the store, by name. Where both have one, or two have the same resource, the
/// file's stands, since somebody reviewed it.
pub(super) fn accounts(sources: Sources<'_>, problems: &mut Vec<String>) -> Accounts {
    let Sources { config, state, previous, .. } = sources;
    let usage = |name: &Name| {
        let slots = config.accounts.get(name).map_or(&Slots::Store, |written| &written.slots);
        let before = previous.and_then(|previous| previous.account_named(name)).map(|account| &account.usage);
        keys::usage(sources, &Owner::Account(name.clone()), Some(slots), before)
    };
    let written = config.accounts.values().map(|account| Account {
        name: account.name.clone(),
        resource: account.resource.clone(),
        approvals: account.approvals,
        may_issue: account.may_issue,
        origin: AccountOrigin::File { slots: Box::new(account.slots.clone()) },
        usage: usage(&account.name),
    });
    let stored = state.accounts.iter().map(|(name, record)| Account {
        name: name.clone(),
        resource: record.resource.clone(),
        approvals: known_features(&config.features, &record.approvals),
        may_issue: known_features(&config.features, &record.may_issue),
        origin: AccountOrigin::Store { created: record.created },
        usage: usage(name),
    });
    Accounts::number(written.chain(stored), |name| {
        problems.push(format!("accounts.{name}: its name or resource is another account's already"));
    })
}

/// Flags that this gateway does not know grant nothing.
fn known_features(names: &FeatureNames, flags: &[String]) -> FeatureSet {
    flags.iter().filter_map(|flag| names.find(flag)).fold(FeatureSet::EMPTY, FeatureSet::union)
}
