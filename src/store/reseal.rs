//! Sealing anew: after it, nothing in the store needs a master key from before.

use std::collections::BTreeMap;

use super::change::{self, ATTEMPTS, Attempt, ChangeError};
use super::engine::{Batch, Engine as _, Expectation, Record};
use super::master_key::{self, Next};
use super::record_key::RecordKey;
use super::records::{self, RecordError, SigningKeyRecord, SlotsRecord};
use super::seal::{Place, SealError, Sealed, Sealer};
use super::{OpenError, Store};
use crate::config;
use crate::model::slot::Slot;

/// What became of the sealed records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Records that were sealed anew.
    pub anew: usize,
    /// Records that were sealed under the current key already.
    pub current: usize,
    /// Records that could not be opened, by their keys; they are as they were.
    pub unreadable: BTreeMap<String, RecordError>,
}

/// Why the store was not sealed anew, or not all of it. Trying again goes on where this one stopped.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The store or a master key could not be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record could not be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Other gateways share the store, and do not know the new key.
    #[error(
        "want the new key in store.master_key and the old one in store.previous_master_keys of every gateway that shares \
         this store, and no --new-master-key"
    )]
    Shared,
}

/// Seals a store anew that no gateway has open, or one that gateways share which know both keys.
///
/// Under `new` where that is given; under the configured master key where one is; else under a new one of our own,
/// which takes the place of the old one when nothing needs that any more.
///
/// # Errors
/// [`ResealError`], each variant as it says.
pub async fn reseal(config: &config::Store, new: Option<&config::SecretRef>) -> Result<Resealed, ResealError> {
    let next = match (new, &config.master_key) {
        (Some(new), _) => Next::Given(new.clone()),
        (None, Some(_)) => Next::Configured,
        (None, None) => Next::Own,
    };
    let store = Store::open_to_reseal(config, &next).await?;
    if store.engine.is_shared() && matches!(next, Next::Given(_)) {
        store.close().await;
        return Err(ResealError::Shared);
    }
    let mut outcome = store.reseal().await.map_err(ResealError::from);
    match &next {
        // While the store is open: a gateway that starts now would go on sealing under the key that goes.
        Next::Own if outcome.is_ok() => {
            if let Err(error) = master_key::replace_own(&config.directory) {
                outcome = Err(OpenError::MasterKey(error).into());
            }
        }
        Next::Own | Next::Given(_) | Next::Configured => {}
    }
    store.close().await;
    outcome
}

impl Store {
    /// Seals anew what previous keys sealed, record by record. Others may change records meanwhile.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says; what was sealed anew until then stays so.
    pub async fn reseal(&self) -> Result<Resealed, ChangeError> {
        let mut resealed = Resealed::default();
        for record in self.engine.read_all().await?.records {
            self.reseal_record(record, &mut resealed).await?;
        }
        Ok(resealed)
    }

    pub(super) async fn reseal_record(&self, record: Record, resealed: &mut Resealed) -> Result<(), ChangeError> {
        let key = record.key.clone();
        let mut found = Some(record);
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let Some(record) = found else { return Ok(()) };
            let content = match sealed_anew(&self.sealer, &record) {
                Ok(Sealing::Anew(content)) => content,
                Ok(Sealing::Current) => {
                    resealed.current += 1;
                    return Ok(());
                }
                Ok(Sealing::None) => return Ok(()),
                Err(why) => {
                    resealed.unreadable.insert(key, why);
                    return Ok(());
                }
            };
            let batch = Batch::new().put(key.clone(), content, Expectation::At(record.revision));
            match self.attempt(batch).await? {
                Attempt::Made(_) => {
                    resealed.anew += 1;
                    return Ok(());
                }
                Attempt::Beaten { .. } => found = self.engine.read(&key).await?,
            }
        }
        Err(ChangeError::Contended { key })
    }
}

/// What is sealed in a record.
enum Sealing {
    /// Something that a previous key sealed; this is the content with all of it under the current one.
    Anew(Vec<u8>),
    /// Only what the current key sealed.
    Current,
    /// Nothing.
    None,
}

fn sealed_anew(sealer: &Sealer, record: &Record) -> Result<Sealing, RecordError> {
    let again = |field: &str, sealed: &mut Sealed| -> Result<(), SealError> {
        let place = Place { record: &record.key, field };
        let plain = sealer.open(place, sealed)?;
        *sealed = sealer.seal(place, plain.expose())?;
        Ok(())
    };
    if !sealed_in(record)?.iter().any(|(_, sealed)| sealer.is_outdated(sealed)) {
        return Ok(if sealed_in(record)?.is_empty() { Sealing::None } else { Sealing::Current });
    }
    let content = match RecordKey::parse(&record.key) {
        Some(RecordKey::Slots(_)) => {
            let mut slots: SlotsRecord = records::decode(record)?;
            for slot in Slot::ALL {
                again(slot.as_str(), &mut slots.slot_mut(slot).sealed)?;
            }
            records::encode(&slots)?
        }
        Some(RecordKey::SigningKey(_)) => {
            let mut key: SigningKeyRecord = records::decode(record)?;
            again("pkcs8", &mut key.sealed)?;
            records::encode(&key)?
        }
        Some(
            RecordKey::KeyDigest(_)
            | RecordKey::Account(_)
            | RecordKey::Signer
            | RecordKey::Revocation(_)
            | RecordKey::AuthMode(_),
        )
        | None => {
            return Ok(Sealing::None);
        }
    };
    Ok(Sealing::Anew(content))
}

/// Everything that is sealed in a record, by its field.
///
/// # Errors
/// [`RecordError`], also for a kind of record that this version does not know: what may be sealed in it is not known.
pub(super) fn sealed_in(record: &Record) -> Result<Vec<(&'static str, Sealed)>, RecordError> {
    match RecordKey::parse(&record.key).ok_or(RecordError::UnknownKind)? {
        RecordKey::Slots(_) => {
            let SlotsRecord { primary, secondary } = records::decode(record)?;
            Ok(vec![(Slot::Primary.as_str(), primary.sealed), (Slot::Secondary.as_str(), secondary.sealed)])
        }
        RecordKey::SigningKey(_) => {
            let key: SigningKeyRecord = records::decode(record)?;
            Ok(vec![("pkcs8", key.sealed)])
        }
        RecordKey::KeyDigest(_)
        | RecordKey::Account(_)
        | RecordKey::Signer
        | RecordKey::Revocation(_)
        | RecordKey::AuthMode(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
