//! The accounts of a snapshot, by number, name and resource.
//!
//! Snapshots share what did not change: where an account only got another key, that is every other account but those of
//! its chunk, and both indexes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::snapshot::service::Account;
use crate::snapshot::usage::OwnerUsage;

/// Accounts that are copied where one of them changes.
const CHUNK: usize = 256;

/// Every account, in the order in which they were numbered.
#[derive(Debug, Clone, Default)]
pub(in crate::snapshot) struct Accounts {
    chunks: Vec<Arc<[Account]>>,
    numbers: Arc<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    by_name: HashMap<Name, u32>,
    by_resource: HashMap<ResourceId, u32>,
}

impl Accounts {
    /// Numbers the accounts. One whose name or resource an earlier one has is left out, and its name told.
    pub(in crate::snapshot) fn number(
        accounts: impl Iterator<Item = Account>,
        mut left_out: impl FnMut(&Name),
    ) -> Self {
        let mut numbers = Numbers::default();
        let mut kept = accounts.filter(|account| {
            let taken =
                numbers.by_name.contains_key(&account.name) || numbers.by_resource.contains_key(&account.resource);
            if taken {
                left_out(&account.name);
            } else {
                let number = u32::try_from(numbers.by_name.len()).unwrap_or(u32::MAX);
                numbers.by_name.insert(account.name.clone(), number);
                numbers.by_resource.insert(account.resource.clone(), number);
            }
            !taken
        });
        let mut chunks = Vec::new();
        loop {
            let chunk: Arc<[Account]> = kept.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        drop(kept);
        numbers.by_name.shrink_to_fit();
        numbers.by_resource.shrink_to_fit();
        Self { chunks, numbers: Arc::new(numbers) }
    }

    pub(in crate::snapshot) fn get(&self, number: u32) -> Option<&Account> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    pub(in crate::snapshot) fn number_of(&self, name: &Name) -> Option<u32> {
        self.numbers.by_name.get(name).copied()
    }

    pub(in crate::snapshot) fn with_resource(&self, resource: &ResourceId) -> Option<&Account> {
        self.get(*self.numbers.by_resource.get(resource)?)
    }

    pub(in crate::snapshot) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Puts other uses of keys in the place of an account's.
    pub(in crate::snapshot) fn set_usage(&mut self, number: u32, usage: OwnerUsage) {
        let Ok(number) = usize::try_from(number) else { return };
        let account =
            self.chunks.get_mut(number / CHUNK).and_then(|chunk| Arc::make_mut(chunk).get_mut(number % CHUNK));
        if let Some(account) = account {
            account.usage = usage;
        }
    }
}
