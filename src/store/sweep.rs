//! Sweeping: what has expired goes, so that the store holds no more than what is in force.

use super::Store;
use super::change::ChangeError;
use super::engine::{Batch, Expectation};
use super::record_key::RecordKey;
use super::records::{RevocationRecord, SigningKeyRecord};
use super::state::State;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// Most records that one commit takes away. etcd refuses a transaction of more than 128 operations.
const PER_COMMIT: usize = 64;

impl Store {
    /// Takes away what has expired according to a state: revocations, signing keys that no longer verify, and
    /// the claims of keys that have retired. What was changed meanwhile is left for the next time.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says; what was taken away until then stays away.
    pub async fn sweep(&self, state: &State, now: UnixSeconds) -> Result<(), ChangeError> {
        let signing_keys = state.signing_keys().filter(|key| key.verify_until.is_some_and(|until| until <= now));
        let signing_keys = signing_keys.map(|key| RecordKey::SigningKey(key.kid.clone()));
        let revocations = state.revocations.expired(now).map(RecordKey::Revocation);
        let expired: Vec<RecordKey> = signing_keys.chain(revocations).collect();
        for some in expired.chunks(PER_COMMIT) {
            self.delete_expired(some, now).await?;
        }
        for (owner, keys) in state.owners() {
            let retired = |slot| keys.slot(slot).retiring.is_some_and(|retiring| retiring.until <= now);
            if Slot::ALL.into_iter().any(retired) {
                self.drop_retired(owner, now).await?;
            }
        }
        Ok(())
    }

    /// Reads each record again: it may have been extended since the state was read.
    async fn delete_expired(&self, keys: &[RecordKey], now: UnixSeconds) -> Result<(), ChangeError> {
        let mut batch = Batch::new();
        for key in keys {
            let at = match key {
                RecordKey::Revocation(_) => {
                    let found = self.find::<RevocationRecord>(key).await?;
                    found.filter(|found| found.record.expires <= now).map(|found| found.at)
                }
                RecordKey::SigningKey(_) => {
                    let found = self.find::<SigningKeyRecord>(key).await?;
                    found.filter(|it| it.record.verify_until.is_some_and(|until| until <= now)).map(|found| found.at)
                }
                RecordKey::Slots(_)
                | RecordKey::KeyDigest(_)
                | RecordKey::Account(_)
                | RecordKey::Signer
                | RecordKey::AuthMode(_) => None,
            };
            if let Some(at) = at {
                batch = batch.delete(key.to_string(), Expectation::At(at));
            }
        }
        if batch.iter().next().is_some() {
            self.attempt(batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::name::Name;
    use crate::model::time::UnixSeconds;
    use crate::store::records::{RevocationRecord, Revoked};
    use crate::store::testing::TestStore;

    #[tokio::test]
    async fn what_has_expired_goes_unless_it_was_extended_meanwhile() {
        let store = TestStore::open().await;
        let revoke = async |number: u64, expires: u64| {
            let revocation = RevocationRecord {
                revoked: Revoked::Isv(Name::parse(&format!("isv-{number}")).unwrap()),
                issued_before: UnixSeconds(1),
                expires: UnixSeconds(expires),
                why: String::new(),
            };
            store.revoke(&revocation).await.unwrap();
        };
        // More than one commit takes away.
        for number in 0..70 {
            revoke(number, 10 + number).await;
        }
        let state = store.read().await.unwrap();
        revoke(0, 1000).await;
        for (now, want) in [(9, 70), (10, 70), (78, 70 - 68), (79, 1), (999, 1)] {
            // The record that was extended makes none of the others stay.
            store.sweep(&state, UnixSeconds(now)).await.unwrap();
            assert_eq!(store.read().await.unwrap().revocations.len(), want, "at {now}");
        }
    }
}
