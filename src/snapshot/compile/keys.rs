//! Every key that opens something, of services and accounts.

use crate::config;
use crate::config::Config;
use crate::config::Slots;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::snapshot::accounts::Accounts;
use crate::snapshot::compile::CompileError;
use crate::snapshot::compile::Sources;
use crate::snapshot::inputs::SlotKey;
use crate::snapshot::keys::DuplicateKey;
use crate::snapshot::keys::KeyOwner;
use crate::snapshot::keys::KeyRecord;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::usage::OwnerUsage;
use crate::store::record_key::Owner;
use crate::store::state::Held;

pub(super) fn keys(
    config: &Config,
    sources: Sources<'_>,
    accounts: &Accounts,
    problems: &mut Vec<String>,
) -> Result<KeyTable, CompileError> {
    let mut all: Vec<(Digest, KeyRecord)> = Vec::new();
    let mut add = |owner: &Owner, number: KeyOwner, slots: Option<&Slots>| {
        if let (Some(Slots::Store), Held::Quarantined(why), Owner::Account(name)) =
            (slots, sources.state.slots(owner), owner)
        {
            // A service in this position is quarantined; an account has no answer of its own to give.
            problems.push(format!("accounts.{name}: its keys in the store cannot be read: {why}"));
        }
        all.extend(live(sources, owner, number, slots));
    };
    for (index, service) in (0_u32..).zip(config.services.values()) {
        if let config::Auth::Key(key) = &service.auth {
            add(&Owner::Service(service.name.clone()), KeyOwner::Service(index), key.slots.as_ref());
        }
    }
    for (index, account) in (0_u32..).zip(accounts.iter()) {
        add(&Owner::Account(account.name.clone()), KeyOwner::Account(index), Some(account.slots()));
    }
    KeyTable::default().with_changes(&[], &all).map_err(|duplicate| told(duplicate, config, accounts))
}

/// The keys of an owner, as the table has them.
pub(super) fn live(
    sources: Sources<'_>,
    owner: &Owner,
    number: KeyOwner,
    slots: Option<&Slots>,
) -> impl Iterator<Item = (Digest, KeyRecord)> {
    let record = move |key: SlotKey| (key.digest, KeyRecord { owner: number, slot: key.slot, expires: key.expires });
    found(sources, owner, slots).into_iter().map(record)
}

/// Names the two slots.
pub(super) fn told(duplicate: DuplicateKey, config: &Config, accounts: &Accounts) -> CompileError {
    let DuplicateKey { one, other } = duplicate;
    let told = |record: KeyRecord| match record.owner {
        KeyOwner::Service(index) => {
            named(config.services.values().nth(place(index)).map(|it| &it.name), "services", record)
        }
        KeyOwner::Account(index) => named(accounts.get(index).map(|it| &it.name), "accounts", record),
    };
    CompileError::DuplicateKey { one: told(one), other: told(other) }
}

/// The keys that are there for an owner; of each slot, the current one first.
fn found(sources: Sources<'_>, owner: &Owner, slots: Option<&Slots>) -> Vec<SlotKey> {
    match slots {
        Some(Slots::Directory(_) | Slots::References { .. }) => {
            sources.inputs.slots.get(owner).map(|loaded| loaded.keys.clone()).unwrap_or_default()
        }
        Some(Slots::Store) => match sources.state.slots(owner) {
            Held::Keys(keys) => {
                keys.digests().map(|(slot, digest, expires)| SlotKey { slot, digest, expires }).collect()
            }
            Held::Quarantined(_) | Held::Nothing => Vec::new(),
        },
        None => Vec::new(),
    }
}

/// The uses of an owner's keys, with what the snapshot in force knows of them.
pub(super) fn usage(
    sources: Sources<'_>,
    owner: &Owner,
    slots: Option<&Slots>,
    previous: Option<&OwnerUsage>,
) -> OwnerUsage {
    let keys: Vec<(Slot, Digest)> =
        found(sources, owner, slots).into_iter().map(|key| (key.slot, key.digest)).collect();
    OwnerUsage::follow(previous, &keys, sources.now)
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn named(name: Option<&Name>, kind: &str, record: KeyRecord) -> String {
    format!("{kind}.{} ({})", name.map_or("?", Name::as_str), record.slot)
}
