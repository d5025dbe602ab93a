//! A model of two owners' slots, for tests: what opens at every moment, without records, sealing or digests.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::Regeneration;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::store::Store;
use crate::store::change::ChangeError;
use crate::store::record_key::Owner;

/// One step of a random sequence. Numbers choose among few owners and keys, so that they meet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Regenerate { owner: usize, slot: Slot, value: Value, grace: Option<u64>, expires: Option<u64> },
    Wait(u64),
    Sweep,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Random,
    Current,
    Chosen(usize),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![Just(Value::Random), Just(Value::Current), (0..3_usize).prop_map(Value::Chosen)];
    let slot = prop_oneof![Just(Slot::Primary), Just(Slot::Secondary)];
    let grace = proptest::option::of(0..20_u64);
    let expires = proptest::option::weighted(0.2, 1..20_u64);
    prop_oneof![
        6 => (0..2_usize, slot, value, grace, expires).prop_map(|(owner, slot, value, grace, expires)| {
            Step::Regenerate { owner, slot, value, grace, expires }
        }),
        2 => (1..15_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

/// Two owners with two slots each, and a clock.
pub(crate) struct Rotation {
    pub(crate) now: UnixSeconds,
    /// Every key that was in a slot at some time.
    pub(crate) seen: BTreeSet<String>,
    owners: [Owner; 2],
    slots: [ModelSlot; 4],
}

/// What a slot should be.
#[derive(Debug, Clone)]
struct ModelSlot {
    key: String,
    expires: Option<UnixSeconds>,
    retiring: Option<(String, UnixSeconds)>,
}

impl ModelSlot {
    fn live(&self, now: UnixSeconds) -> impl Iterator<Item = &str> {
        let current = self.expires.is_none_or(|until| now < until).then_some(&*self.key);
        let retiring = self.retiring.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| &**key);
        current.into_iter().chain(retiring)
    }

    fn holds(&self, key: &str) -> bool {
        self.key == key || self.retiring.as_ref().is_some_and(|(retiring, _)| retiring == key)
    }

    fn drop_retired(&mut self, now: UnixSeconds) {
        self.retiring.take_if(|(_, until)| *until <= now);
    }
}

fn place(owner: usize, slot: Slot) -> usize {
    owner * 2 + usize::from(slot == Slot::Secondary)
}

impl Rotation {
    /// Makes both owners' keys where they have none, and knows them.
    pub(crate) async fn begin(store: &Store, owners: [Owner; 2], now: UnixSeconds) -> Self {
        let mut slots = Vec::new();
        for owner in &owners {
            store.ensure(owner, now).await.unwrap();
            let keys = store.list(owner).await.unwrap();
            let slot = |slot| ModelSlot { key: keys.of(slot).expose().clone(), expires: None, retiring: None };
            slots.extend(Slot::ALL.map(slot));
        }
        let seen = slots.iter().map(|slot| slot.key.clone()).collect();
        Self { now, seen, owners, slots: slots.try_into().unwrap() }
    }

    /// Takes a step in the store and in the model; the two must agree on whether it can be taken.
    pub(crate) async fn take(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Wait(seconds) => self.now = self.now.plus(*seconds),
            Step::Sweep => {
                store.sweep(&store.read().await.unwrap(), self.now).await.unwrap();
                self.slots.iter_mut().for_each(|slot| slot.drop_retired(self.now));
            }
            Step::Regenerate { owner, slot, value, grace, expires } => {
                let value = match value {
                    Value::Random => None,
                    Value::Current => Some(self.current(*owner, *slot).to_owned()),
                    Value::Chosen(number) => Some(format!("chosen-key-number-{number}")),
                };
                let how = Regeneration {
                    value: value.clone().map(Secret::new),
                    grace: grace.map(Duration::from_secs),
                    expires: expires.map(|after| self.now.plus(after)),
                };
                let outcome = store.regenerate(&self.owners[*owner], *slot, &how, self.now).await;
                let fits = value.as_ref().is_none_or(|key| self.is_free(key, place(*owner, *slot)));
                match outcome {
                    Ok(_) => assert!(fits, "{step:?} was taken"),
                    Err(ChangeError::KeyInUse) => assert!(!fits, "{step:?} was refused"),
                    Err(other) => panic!("{step:?}: {other}"),
                }
                if fits {
                    let keys = store.list(&self.owners[*owner]).await.unwrap();
                    self.regenerated(*owner, *slot, value, keys.of(*slot).expose(), &how);
                }
            }
        }
    }

    /// Whether no other slot holds a key.
    fn is_free(&self, key: &str, at: usize) -> bool {
        self.slots.iter().enumerate().all(|(other, slot)| other == at || !slot.holds(key))
    }

    fn regenerated(&mut self, owner: usize, slot: Slot, value: Option<String>, made: &str, how: &Regeneration) {
        let now = self.now;
        let old = self.slots[place(owner, slot)].clone();
        let key = value.filter(|key| *key != old.key).unwrap_or_else(|| {
            assert!(!self.seen.contains(made), "a random key came twice");
            made.to_owned()
        });
        self.seen.insert(key.clone());
        let until = how.grace.map(|grace| now.plus(grace.as_secs()));
        let until = until.map(|until| old.expires.map_or(until, |expires| expires.min(until)));
        let retiring = until.filter(|until| *until > now).map(|until| (old.key, until));
        self.slots[place(owner, slot)] = ModelSlot { key, expires: how.expires, retiring };
        Slot::ALL.into_iter().for_each(|slot| self.slots[place(owner, slot)].drop_retired(now));
    }

    /// The key that a slot holds, expired or not.
    pub(crate) fn current(&self, owner: usize, slot: Slot) -> &str {
        &self.slots[place(owner, slot)].key
    }

    /// The keys of an owner that open at this moment.
    pub(crate) fn live(&self, owner: usize) -> impl Iterator<Item = (Slot, &str)> {
        let of_slot = move |slot| self.slots[place(owner, slot)].live(self.now).map(move |key| (slot, key));
        Slot::ALL.into_iter().flat_map(of_slot)
    }

    /// How many keys no other slot may take.
    pub(crate) fn claimed(&self) -> usize {
        self.slots.iter().map(|slot| 1 + usize::from(slot.retiring.is_some())).sum()
    }
}
