//! The accounts, of the file and of the store.

use crate::config::Config;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::snapshot::Accounts;
use crate::snapshot::service::Account;
use crate::snapshot::service::AccountOrigin;
use crate::store::state::State;

/// Accounts of the file and of the store, by name. Where both have one, or two have the same resource, the
/// file's stands, since somebody reviewed it.
pub(super) fn accounts(config: &Config, state: &State, problems: &mut Vec<String>) -> Accounts {
    let written = config.accounts.values().map(|account| Account {
        name: account.name.clone(),
        resource: account.resource.clone(),
        approvals: account.approvals,
        may_issue: account.may_issue,
        origin: AccountOrigin::File { slots: account.slots.clone() },
    });
    let stored = state.accounts.iter().map(|(name, record)| Account {
        name: name.clone(),
        resource: record.resource.clone(),
        approvals: known_features(&config.features, &record.approvals),
        may_issue: known_features(&config.features, &record.may_issue),
        origin: AccountOrigin::Store { created: record.created },
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
