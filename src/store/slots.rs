//! Slots: both keys of an owner, made, listed, regenerated one at a time, and taken away.
//!
//! No two slots hold the same key. A record `key-digest/<hex>` stands for every digest that a slot claims,
//! and is written, expected to be absent, in the commit that puts the key into the slot: that holds across
//! replicas without anybody reading all slots.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Store;
use super::change::{self, ATTEMPTS, Attempt, ChangeError, Found, unreadable};
use super::engine::{Batch, Expectation, Revision};
use super::record_key::{Owner, RecordKey};
use super::records::{self, KeyDigestRecord, Retiring, SlotRecord, SlotsRecord};
use super::seal::{Place, SealError};
use super::state::OwnerKeys;
use crate::model::digest::Digest;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// Random bytes in a key that the gateway makes.
const KEY_BYTES: usize = 32;

/// Both keys of an owner, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The first slot's.
    pub primary: Secret<String>,
    /// The second slot's.
    pub secondary: Secret<String>,
}

impl Keys {
    /// One of the two.
    #[must_use]
    pub const fn of(&self, slot: Slot) -> &Secret<String> {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }
}

/// How a slot is regenerated. The default is what Azure's APIs do: a random key, the old one refused at once.
#[derive(Debug, Clone, Default)]
pub struct Regeneration {
    /// The new key: 16 to 256 characters of `A-Za-z0-9._~+/=-`. `None`, or the key that the slot holds, is a
    /// new random one: Azure's v2 SDK sends the current key when it means that.
    pub value: Option<Secret<String>>,
    /// How long the old key still opens, in whole seconds. A key that was retiring already stops at once.
    pub grace: Option<Duration>,
    /// When the new key stops to open anything; `None` is never.
    pub expires: Option<UnixSeconds>,
}

/// Whether an owner had keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It had; nothing was changed.
    Found,
    /// It had none, and has two since this commit.
    Made(Revision),
}

impl Store {
    /// Makes both keys of an owner that has none.
    ///
    /// # Errors
    /// [`ChangeError`]; a record that cannot be read is an error, never replaced.
    pub async fn ensure(&self, owner: &Owner, now: UnixSeconds) -> Result<Ensured, ChangeError> {
        let key = RecordKey::Slots(owner.clone());
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            if self.find::<SlotsRecord>(&key).await?.is_some() {
                return Ok(Ensured::Found);
            }
            let made = self.new_slots(owner, now)?;
            if let Attempt::Made(revision) = self.attempt(replace(Batch::new(), owner, None, Some(&made))?).await? {
                return Ok(Ensured::Made(revision));
            }
        }
        Err(ChangeError::Contended { key: key.to_string() })
    }

    /// Shows both keys.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] when the owner has none, [`ChangeError::Unreadable`] when one does not open.
    pub async fn list(&self, owner: &Owner) -> Result<Keys, ChangeError> {
        let Found { record, .. } = self.slots_of(owner).await?;
        Ok(Keys {
            primary: self.open_slot(owner, &record, Slot::Primary)?,
            secondary: self.open_slot(owner, &record, Slot::Secondary)?,
        })
    }

    /// Says since when and until when both keys open, without them.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] when the owner has none, and the others as they say.
    pub async fn times(&self, owner: &Owner) -> Result<OwnerKeys, ChangeError> {
        Ok(OwnerKeys::from(&self.slots_of(owner).await?.record))
    }

    /// Puts a new key into one slot. The other one is not touched.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] when the owner has no keys, [`ChangeError::NotAKey`] and
    /// [`ChangeError::KeyInUse`] for a value that cannot be taken, and the others as they say.
    pub async fn regenerate(
        &self,
        owner: &Owner,
        slot: Slot,
        how: &Regeneration,
        now: UnixSeconds,
    ) -> Result<Revision, ChangeError> {
        if how.value.as_ref().is_some_and(|value| !is_key(value.expose())) {
            return Err(ChangeError::NotAKey);
        }
        let key = RecordKey::Slots(owner.clone()).to_string();
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let before = self.slots_of(owner).await?;
            let old = before.record.slot(slot);
            let chosen = how.value.as_ref().filter(|value| Digest::of(value.expose().as_bytes()) != old.digest);
            let mut new = self.seal_slot(owner, slot, chosen, now)?;
            if before.record.slot(slot.other()).digests().any(|taken| taken == new.digest) {
                return Err(ChangeError::KeyInUse);
            }
            new.expires = how.expires;
            new.retiring = how.grace.and_then(|grace| retire(old, grace, now));
            let mut after = before.record.clone();
            *after.slot_mut(slot) = new;
            drop_retired(&mut after, now);
            match self.attempt(replace(Batch::new(), owner, Some(&before), Some(&after))?).await? {
                Attempt::Made(revision) => return Ok(revision),
                Attempt::Beaten { key: beaten } if beaten == key || chosen.is_none() => {}
                Attempt::Beaten { .. } => return Err(ChangeError::KeyInUse),
            }
        }
        Err(ChangeError::Contended { key })
    }

    /// Gives up the digests of keys that have retired, so that they can be chosen again.
    ///
    /// # Errors
    /// [`ChangeError`]. Losing against another change is none: that one did the same.
    pub(super) async fn drop_retired(&self, owner: &Owner, now: UnixSeconds) -> Result<(), ChangeError> {
        let Some(before) = self.find::<SlotsRecord>(&RecordKey::Slots(owner.clone())).await? else { return Ok(()) };
        let mut after = before.record.clone();
        drop_retired(&mut after, now);
        if after != before.record {
            self.attempt(replace(Batch::new(), owner, Some(&before), Some(&after))?).await?;
        }
        Ok(())
    }

    /// Both slots with new random keys.
    pub(super) fn new_slots(&self, owner: &Owner, now: UnixSeconds) -> Result<SlotsRecord, ChangeError> {
        Ok(SlotsRecord {
            primary: self.seal_slot(owner, Slot::Primary, None, now)?,
            secondary: self.seal_slot(owner, Slot::Secondary, None, now)?,
        })
    }

    async fn slots_of(&self, owner: &Owner) -> Result<Found<SlotsRecord>, ChangeError> {
        let key = RecordKey::Slots(owner.clone());
        self.find(&key).await?.ok_or_else(|| ChangeError::NotFound { key: key.to_string() })
    }

    fn seal_slot(
        &self,
        owner: &Owner,
        slot: Slot,
        chosen: Option<&Secret<String>>,
        now: UnixSeconds,
    ) -> Result<SlotRecord, ChangeError> {
        let key = match chosen {
            Some(chosen) => chosen.clone(),
            None => random_key()?,
        };
        let record = RecordKey::Slots(owner.clone()).to_string();
        let sealed = self.sealer.seal(Place { record: &record, field: slot.as_str() }, key.expose().as_bytes())?;
        let digest = Digest::of(key.expose().as_bytes());
        Ok(SlotRecord { digest, sealed, created: now, expires: None, retiring: None })
    }

    fn open_slot(&self, owner: &Owner, slots: &SlotsRecord, slot: Slot) -> Result<Secret<String>, ChangeError> {
        let key = RecordKey::Slots(owner.clone());
        let found = slots.slot(slot);
        let place = Place { record: &key.to_string(), field: slot.as_str() };
        let bytes = self.sealer.open(place, &found.sealed).map_err(|error| unreadable(&key, error))?;
        // An older sealed value of the same slot opens as well; what is shown must be what opens doors.
        if Digest::of(bytes.expose()) != found.digest {
            return Err(unreadable(&key, SealError::Forged));
        }
        let text = std::str::from_utf8(bytes.expose()).map_err(|_quotes_bytes| unreadable(&key, SealError::Forged))?;
        Ok(Secret::new(text.to_owned()))
    }
}

/// Adds to a batch what turns one record of slots into another, the claims on digests with it.
pub(super) fn replace(
    mut batch: Batch,
    owner: &Owner,
    before: Option<&Found<SlotsRecord>>,
    after: Option<&SlotsRecord>,
) -> Result<Batch, ChangeError> {
    let key = RecordKey::Slots(owner.clone());
    let expected = before.map_or(Expectation::Absent, |found| Expectation::At(found.at));
    batch = match after {
        Some(record) => batch.put(key.to_string(), encode(&key, record)?, expected),
        None => batch.delete(key.to_string(), expected),
    };
    let claimed = before.map(|found| claims(&found.record)).unwrap_or_default();
    let claims = after.map(claims).unwrap_or_default();
    for digest in claimed.iter().filter(|digest| !claims.contains(digest)) {
        batch = batch.delete(RecordKey::KeyDigest(*digest).to_string(), Expectation::Any);
    }
    for digest in claims.iter().filter(|digest| !claimed.contains(digest)) {
        let key = RecordKey::KeyDigest(*digest);
        batch = batch.put(key.to_string(), encode(&key, &KeyDigestRecord::of(owner))?, Expectation::Absent);
    }
    Ok(batch)
}

fn claims(slots: &SlotsRecord) -> Vec<Digest> {
    slots.primary.digests().chain(slots.secondary.digests()).collect()
}

fn encode<T: serde::Serialize>(key: &RecordKey, record: &T) -> Result<Vec<u8>, ChangeError> {
    records::encode(record).map_err(|source| unreadable(key, source))
}

/// What is left of a key that is replaced: nothing without a grace, and never more than it had.
fn retire(old: &SlotRecord, grace: Duration, now: UnixSeconds) -> Option<Retiring> {
    let until = now.plus(grace.as_secs());
    let until = old.expires.map_or(until, |expires| expires.min(until));
    (until > now).then_some(Retiring { digest: old.digest, until })
}

fn drop_retired(slots: &mut SlotsRecord, now: UnixSeconds) {
    for slot in Slot::ALL {
        slots.slot_mut(slot).retiring.take_if(|retiring| retiring.until <= now);
    }
}

/// Whether text may be a key: what needs no escaping in a header, and is long enough not to be guessed.
fn is_key(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte);
    (16..=256).contains(&text.len()) && text.bytes().all(fits)
}

fn random_key() -> Result<Secret<String>, ChangeError> {
    let mut bytes = Secret::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.expose_mut()).map_err(|Unspecified| ChangeError::Crypto)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes.expose())))
}

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;
