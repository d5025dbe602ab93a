//! Accounts that are made through the API, with their two slots.

use super::Store;
use super::change::{self, ATTEMPTS, Attempt, ChangeError, Found, unreadable};
use super::engine::{Batch, Expectation, Revision};
use super::record_key::{Owner, RecordKey};
use super::records::{self, AccountRecord, SlotsRecord};
use super::slots;
use crate::model::name::Name;

impl Store {
    /// Makes an account and both its keys, in one commit.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when there is such an account, or keys under its name: those of an account
    /// that the configuration declares, or once did. They go with [`Store::remove_account`].
    pub async fn create_account(&self, name: &Name, account: &AccountRecord) -> Result<Revision, ChangeError> {
        let key = RecordKey::Account(name.clone());
        let owner = Owner::Account(name.clone());
        let made = self.new_slots(&owner, account.created)?;
        let batch = Batch::new().put(key.to_string(), encode(&key, account)?, Expectation::Absent);
        match self.attempt(slots::replace(batch, &owner, None, Some(&made))?).await? {
            Attempt::Made(revision) => Ok(revision),
            Attempt::Beaten { key } => Err(ChangeError::Exists { key }),
        }
    }

    /// Sets what an account holds and may issue, each as it is where nothing is given; its identifier, its keys and when
    /// it was made stay.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`], and the others as they say.
    pub async fn set_features(
        &self,
        name: &Name,
        approvals: Option<&[String]>,
        may_issue: Option<&[String]>,
    ) -> Result<Revision, ChangeError> {
        let key = RecordKey::Account(name.clone());
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let Found { mut record, at } = self.account(&key).await?;
            if let Some(approvals) = approvals {
                approvals.clone_into(&mut record.approvals);
            }
            if let Some(may_issue) = may_issue {
                may_issue.clone_into(&mut record.may_issue);
            }
            let batch = Batch::new().put(key.to_string(), encode(&key, &record)?, Expectation::At(at));
            if let Attempt::Made(revision) = self.attempt(batch).await? {
                return Ok(revision);
            }
        }
        Err(ChangeError::Contended { key: key.to_string() })
    }

    /// Takes away an account, or what is left of one, and both its keys.
    ///
    /// # Errors
    /// [`ChangeError::NotFound`] when there is neither, and the others as they say.
    pub async fn remove_account(&self, name: &Name) -> Result<Revision, ChangeError> {
        let key = RecordKey::Account(name.clone());
        let owner = Owner::Account(name.clone());
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let account = self.find::<AccountRecord>(&key).await?;
            let keys = self.find::<SlotsRecord>(&RecordKey::Slots(owner.clone())).await?;
            if account.is_none() && keys.is_none() {
                return Err(ChangeError::NotFound { key: key.to_string() });
            }
            let expected = account.map_or(Expectation::Absent, |found| Expectation::At(found.at));
            let batch = Batch::new().delete(key.to_string(), expected);
            if let Attempt::Made(revision) = self.attempt(slots::replace(batch, &owner, keys.as_ref(), None)?).await? {
                return Ok(revision);
            }
        }
        Err(ChangeError::Contended { key: key.to_string() })
    }

    async fn account(&self, key: &RecordKey) -> Result<Found<AccountRecord>, ChangeError> {
        self.find(key).await?.ok_or_else(|| ChangeError::NotFound { key: key.to_string() })
    }
}

fn encode(key: &RecordKey, account: &AccountRecord) -> Result<Vec<u8>, ChangeError> {
    records::encode(account).map_err(|source| unreadable(key, source))
}

#[cfg(test)]
mod tests {
    use crate::model::name::Name;
    use crate::model::resource::ResourceId;
    use crate::model::time::UnixSeconds;
    use crate::store::change::ChangeError;
    use crate::store::record_key::Owner;
    use crate::store::records::AccountRecord;
    use crate::store::testing::TestStore;

    #[tokio::test]
    async fn an_account_comes_and_goes_with_its_keys() {
        let store = TestStore::open().await;
        let name = Name::parse("contoso").unwrap();
        let owner = Owner::Account(name.clone());
        let account = AccountRecord {
            resource: ResourceId::parse("/subscriptions/a/accounts/contoso").unwrap(),
            approvals: Vec::new(),
            may_issue: Vec::new(),
            created: UnixSeconds(5),
        };
        store.create_account(&name, &account).await.unwrap();
        let first = store.list(&owner).await.unwrap();
        assert!(first.primary != first.secondary);
        assert!(matches!(store.create_account(&name, &account).await, Err(ChangeError::Exists { .. })));

        let verification = ["Face.Verification".to_owned()];
        store.set_features(&name, None, Some(&verification)).await.unwrap();
        store.set_features(&name, Some(&verification), None).await.unwrap();
        let state = store.read().await.unwrap();
        let features = verification.to_vec();
        let want = AccountRecord { approvals: features.clone(), may_issue: features, ..account.clone() };
        assert_eq!(state.accounts.get(&name), Some(&want));

        store.remove_account(&name).await.unwrap();
        assert_eq!(store.records().await, [""; 0], "nothing is left");
        assert!(matches!(store.remove_account(&name).await, Err(ChangeError::NotFound { .. })));
        assert!(matches!(store.set_features(&name, None, None).await, Err(ChangeError::NotFound { .. })));
        store.create_account(&name, &account).await.unwrap();
        assert!(store.list(&owner).await.unwrap() != first, "the keys of a removed account stay dead");
    }

    #[tokio::test]
    async fn keys_under_the_name_are_not_taken_over() {
        let store = TestStore::open().await;
        let name = Name::parse("contoso").unwrap();
        store.ensure(&Owner::Account(name.clone()), UnixSeconds(1)).await.unwrap();
        let account = AccountRecord {
            resource: ResourceId::parse("/subscriptions/a/accounts/contoso").unwrap(),
            approvals: Vec::new(),
            may_issue: Vec::new(),
            created: UnixSeconds(5),
        };
        let refused = store.create_account(&name, &account).await.unwrap_err();
        assert!(matches!(&refused, ChangeError::Exists { key } if key == "slots/account/contoso"), "{refused}");
        store.remove_account(&name).await.unwrap();
        store.create_account(&name, &account).await.unwrap();
    }
}
