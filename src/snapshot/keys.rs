//! Which slot a presented key sits in: every live key of the gateway, by digest.
//!
//! The table is a tree of two levels and 65,536 leaves. A digest is evenly spread, so its first 16 bits
//! choose the leaf, and a leaf of a million keys holds about 15. A changed table shares every leaf that it
//! did not touch with the one before: replacing a key copies two rows of 256 pointers and one leaf.
//!
//! Leaves are sorted slices, not hash tables: those grow in steps of two, which at a million keys costs
//! between 70 and 140 bytes a key; a slice costs its 64 bytes and a share of the tree.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::model::digest::Digest;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// Who a key belongs to, by the number that the snapshot gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyOwner {
    /// A service.
    Service(u32),
    /// An account.
    Account(u32),
}

/// What is known about a live key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRecord {
    /// Who it belongs to.
    pub owner: KeyOwner,
    /// The slot that it sits in.
    pub slot: Slot,
    /// When it stops to open anything; `None` is never.
    pub expires: Option<UnixSeconds>,
}

/// Two slots hold the same key, so that nobody could say who calls. Says which slots, never the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a key of its own in each slot, got two slots that hold the same key")]
pub struct DuplicateKey {
    /// One of the two.
    pub one: KeyRecord,
    /// The other.
    pub other: KeyRecord,
}

/// Every live key. Cloning is one atomic increment.
#[derive(Clone)]
pub struct KeyTable {
    branches: Arc<[Branch]>,
    len: usize,
}

type Branch = Arc<[Leaf]>;

/// Sorted by [`in_order`].
type Leaf = Arc<[(Digest, KeyRecord)]>;

const FAN_OUT: usize = 256;

impl Default for KeyTable {
    fn default() -> Self {
        let leaf = Leaf::from([]);
        let branch: Branch = std::iter::repeat_n(leaf, FAN_OUT).collect();
        Self { branches: std::iter::repeat_n(branch, FAN_OUT).collect(), len: 0 }
    }
}

impl KeyTable {
    /// Finds the slot that holds a key. Whether it has expired is the caller's to ask.
    ///
    /// The first eight bytes of the digest are compared as a table compares them, the whole in constant
    /// time. Who learns something from the time that takes learns bytes of a SHA-256, which lead to no key.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&KeyRecord> {
        let (branch, leaf) = place_of(digest.prefix());
        let leaf = self.branches.get(branch)?.get(leaf)?;
        let first = leaf.partition_point(|(known, _)| known.prefix() < digest.prefix());
        let mut near = leaf.iter().skip(first).take_while(|(known, _)| known.prefix() == digest.prefix());
        near.find(|(known, _)| known == digest).map(|(_, record)| record)
    }

    /// The table without the keys of `removed` and with those of `added`, in this order, so that a key may
    /// move from one slot to another. Removing what is not there is no error. Costs work for the leaves
    /// that change, and shares the others.
    ///
    /// # Errors
    /// [`DuplicateKey`] when two slots would hold the same key.
    pub fn with_changes(&self, removed: &[Digest], added: &[(Digest, KeyRecord)]) -> Result<Self, DuplicateKey> {
        let removals = removed.iter().map(|digest| (digest.prefix(), Change::Remove(digest)));
        let additions = added.iter().map(|entry| (entry.0.prefix(), Change::Add(entry)));
        let mut changes: Vec<(u64, Change<'_>)> = removals.chain(additions).collect();
        changes.sort_by_key(|(prefix, _)| *prefix);

        let mut changed = self.clone();
        let branches = Arc::make_mut(&mut changed.branches);
        for together in changes.chunk_by(|(one, _), (next, _)| place_of(*one) == place_of(*next)) {
            let Some((branch, at)) = together.first().map(|(prefix, _)| place_of(*prefix)) else { continue };
            let Some(leaf) = branches.get_mut(branch).and_then(|branch| Arc::make_mut(branch).get_mut(at)) else {
                continue;
            };
            let next = changed_leaf(leaf, together)?;
            changed.len = changed.len - leaf.len() + next.len();
            *leaf = next;
        }
        Ok(changed)
    }

    /// What is known about every key, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyRecord> {
        let leaves = self.branches.iter().flat_map(|branch| branch.iter());
        leaves.flat_map(|leaf| leaf.iter().map(|(_, record)| record))
    }

    /// Number of keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("len", &self.len).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Change<'c> {
    Remove(&'c Digest),
    Add(&'c (Digest, KeyRecord)),
}

/// The branch, and the leaf in it: both below [`FAN_OUT`], being a byte each.
fn place_of(prefix: u64) -> (usize, usize) {
    let [branch, leaf, ..] = prefix.to_be_bytes();
    (usize::from(branch), usize::from(leaf))
}

fn changed_leaf(leaf: &Leaf, changes: &[(u64, Change<'_>)]) -> Result<Leaf, DuplicateKey> {
    let is_removed =
        |known: &Digest| changes.iter().any(|(_, change)| matches!(change, Change::Remove(gone) if *gone == known));
    let kept = leaf.iter().filter(|(known, _)| !is_removed(known)).copied();
    let added = changes.iter().filter_map(|(_, change)| match change {
        Change::Add(entry) => Some(**entry),
        Change::Remove(_) => None,
    });
    let mut entries: Vec<(Digest, KeyRecord)> = kept.chain(added).collect();
    entries.sort_by(in_order);
    let mut neighbours = entries.iter().zip(entries.iter().skip(1));
    match neighbours.find(|(one, next)| one.0 == next.0) {
        Some((one, next)) => Err(DuplicateKey { one: one.1, other: next.1 }),
        None => Ok(entries.into()),
    }
}

/// By the number that [`KeyTable::get`] searches; the bytes after that only bring equal digests together.
fn in_order(one: &(Digest, KeyRecord), other: &(Digest, KeyRecord)) -> Ordering {
    one.0.prefix().cmp(&other.0.prefix()).then_with(|| one.0.as_bytes().cmp(other.0.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::collections::HashSet;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Branch, DuplicateKey, FAN_OUT, KeyOwner, KeyRecord, KeyTable, Leaf};
    use crate::model::digest::Digest;
    use crate::model::slot::Slot;
    use crate::model::summary::Counts;
    use crate::model::summary::report;
    use crate::model::time::UnixSeconds;

    fn key(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn record(owner: u32) -> KeyRecord {
        KeyRecord { owner: KeyOwner::Service(owner), slot: Slot::Primary, expires: None }
    }

    fn table_of(keys: u32) -> KeyTable {
        let added: Vec<_> = (0..keys).map(|number| (key(number), record(number))).collect();
        KeyTable::default().with_changes(&[], &added).unwrap()
    }

    #[test]
    fn a_key_is_found_as_it_was_added_and_no_other_is() {
        let expiring = KeyRecord { expires: Some(UnixSeconds(7)), slot: Slot::Secondary, ..record(2) };
        let account = KeyRecord { owner: KeyOwner::Account(1), ..record(0) };
        let added = [(key(1), account), (key(2), expiring)];
        let table = KeyTable::default().with_changes(&[], &added).unwrap();
        for (number, want) in [(0, None), (1, Some(&account)), (2, Some(&expiring)), (3, None)] {
            assert_eq!(table.get(&key(number)), want, "key {number}");
        }
        assert_eq!((table.len(), table.is_empty()), (2, false));
        assert!(KeyTable::default().is_empty());
    }

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let alike = |last: u8| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            Digest::from_bytes(bytes)
        };
        let added = [(alike(3), record(3)), (alike(1), record(1)), (alike(2), record(2))];
        let table = KeyTable::default().with_changes(&[], &added).unwrap();
        for (last, want) in [(0, None), (1, Some(1)), (2, Some(2)), (3, Some(3)), (4, None)] {
            assert_eq!(table.get(&alike(last)).copied(), want.map(record), "{last}");
        }
    }

    #[test]
    fn a_change_replaces_what_it_names_and_leaves_the_old_table_alone() {
        let before = table_of(1000);
        let after = before.with_changes(&[key(10), key(5000)], &[(key(2000), record(10))]).unwrap();
        assert_eq!((before.len(), after.len()), (1000, 1000));
        assert_eq!((before.get(&key(10)), before.get(&key(2000))), (Some(&record(10)), None));
        assert_eq!((after.get(&key(10)), after.get(&key(2000))), (None, Some(&record(10))));
        assert!(
            (0..1000).filter(|number| *number != 10).all(|number| after.get(&key(number)) == Some(&record(number)))
        );
    }

    #[test]
    fn no_two_slots_hold_the_same_key() {
        let secondary = KeyRecord { slot: Slot::Secondary, ..record(1) };
        let table = table_of(2);
        for (removed, added, want) in [
            (&[][..], &[(key(1), record(9))][..], Some((record(1), record(9)))),
            (&[], &[(key(1), secondary)], Some((record(1), secondary))),
            (&[], &[(key(7), record(7)), (key(7), record(8))], Some((record(7), record(8)))),
            (&[key(1)], &[(key(1), record(7)), (key(1), record(8))], Some((record(7), record(8)))),
            (&[key(1)], &[(key(1), record(9))], None),
            (&[key(1), key(1)], &[(key(1), secondary)], None),
        ] {
            let refused = table.with_changes(removed, added).err();
            assert_eq!(refused, want.map(|(one, other)| DuplicateKey { one, other }), "{added:?}");
        }
    }

    #[test]
    fn replacing_one_key_shares_every_other_leaf() {
        let before = table_of(20_000);
        let after = before.with_changes(&[key(3)], &[(key(99_999), record(3))]).unwrap();
        let leaves =
            |table: &KeyTable| table.branches.iter().flat_map(|branch| branch.iter().cloned()).collect::<Vec<_>>();
        let (old, new) = (leaves(&before), leaves(&after));
        assert_eq!(old.len(), FAN_OUT * FAN_OUT);
        let copied = old.iter().zip(&new).filter(|(old, new)| !Arc::ptr_eq(old, new)).count();
        assert!((1..=2).contains(&copied), "{copied} leaves were copied");
    }

    /// Digests of which some begin alike, so that they share leaves, and some are told apart by their last byte only.
    fn near(number: u8) -> Digest {
        let mut bytes = [number % 3; 32];
        bytes[7] = number % 2;
        bytes[31] = number;
        Digest::from_bytes(bytes)
    }

    type Changes = (Vec<u8>, Vec<(u8, u32)>);

    fn changes() -> impl Strategy<Value = Changes> {
        let number = || 0..24_u8;
        (vec(number(), 0..6), vec((number(), any::<u32>()), 0..4))
    }

    proptest! {
        #[test]
        fn a_table_says_what_a_map_says_and_so_does_every_table_before_it(steps in vec(changes(), 1..20)) {
            let mut versions = vec![(KeyTable::default(), HashMap::new())];
            for (removed, added) in steps {
                let (table, map) = versions.last().unwrap();
                let gone: Vec<_> = removed.into_iter().map(near).collect();
                let added: Vec<_> = added.into_iter().map(|(number, owner)| (near(number), record(owner))).collect();
                let mut map: HashMap<Digest, KeyRecord> = map.clone();
                map.retain(|digest, _| !gone.contains(digest));
                let twice = added.iter().any(|(digest, record)| map.insert(*digest, *record).is_some());
                let changed = table.with_changes(&gone, &added);
                prop_assert_eq!(changed.is_err(), twice);
                if let Ok(changed) = changed {
                    versions.push((changed, map));
                }
            }
            for (table, map) in &versions {
                for number in 0..24 {
                    prop_assert_eq!(table.get(&near(number)), map.get(&near(number)));
                }
                let listed: HashSet<_> = table.iter().collect();
                prop_assert_eq!(listed, map.values().collect());
                prop_assert_eq!((table.len(), table.is_empty()), (map.len(), map.is_empty()));
            }
            report("properties/key table", Counts { cases: 1, passed: 1, ..Counts::default() });
        }
    }

    /// What the allocator is asked for, with 16 bytes for each allocation's own needs and 16 for its counts.
    fn bytes_of(table: &KeyTable) -> usize {
        let branches = size_of::<Branch>() * FAN_OUT;
        let leaves = (size_of::<Leaf>() + 32) * FAN_OUT * FAN_OUT;
        let entries = table.branches.iter().flat_map(|branch| branch.iter());
        branches + leaves + entries.map(|leaf| size_of_val::<[_]>(leaf)).sum::<usize>()
    }

    #[test]
    fn a_million_keys_fit_into_100_mb() {
        let keys = 200_000;
        let fixed = bytes_of(&KeyTable::default());
        let per_key = (bytes_of(&table_of(keys)) - fixed) / keys as usize;
        assert!(fixed + per_key * 1_000_000 < 70_000_000, "{fixed} bytes and {per_key} a key");
    }

    #[test]
    fn neither_a_table_nor_an_error_shows_a_key() {
        assert_eq!(format!("{:?}", table_of(1)), "KeyTable { len: 1, .. }");
        let refused = table_of(1).with_changes(&[], &[(key(0), record(5))]).unwrap_err();
        assert_eq!(refused.to_string(), "want a key of its own in each slot, got two slots that hold the same key");
    }
}
