//! Auth modes that were chosen through the API, for services that `gateway.yaml` lets have one.

use super::Store;
use super::change::{Attempt, ChangeError, unreadable};
use super::engine::{Batch, Expectation, Revision};
use super::record_key::RecordKey;
use super::records::{self, AuthModeRecord};
use crate::config::AuthMode;
use crate::model::name::Name;
use crate::model::time::UnixSeconds;

impl Store {
    /// Chooses the mode of a service. The last of several choices stands, also over a record that cannot be read.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says.
    pub async fn set_auth_mode(
        &self,
        service: &Name,
        mode: AuthMode,
        now: UnixSeconds,
    ) -> Result<Revision, ChangeError> {
        let key = RecordKey::AuthMode(service.clone());
        let record = records::encode(&AuthModeRecord { mode, changed: now }).map_err(|why| unreadable(&key, why))?;
        match self.attempt(Batch::new().put(key.to_string(), record, Expectation::Any)).await? {
            Attempt::Made(revision) => Ok(revision),
            Attempt::Beaten { key } => Err(ChangeError::Contended { key }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::AuthMode;
    use crate::model::name::Name;
    use crate::model::time::UnixSeconds;
    use crate::store::engine::{Batch, Engine as _, Expectation};
    use crate::store::testing::TestStore;

    #[tokio::test]
    async fn the_last_choice_stands_also_over_a_record_that_cannot_be_read() {
        let store = TestStore::open().await;
        let iris = Name::parse("iris").unwrap();
        for mode in [AuthMode::Token, AuthMode::Key, AuthMode::Token] {
            store.set_auth_mode(&iris, mode, UnixSeconds(5)).await.unwrap();
            assert_eq!(store.read().await.unwrap().auth_modes, [(iris.clone(), mode)].into());
        }
        store.engine.commit(Batch::new().put("auth-mode/iris", b"{}".to_vec(), Expectation::Any)).await.unwrap();
        let state = store.read().await.unwrap();
        assert!(state.auth_modes.is_empty() && state.quarantined.contains_key("auth-mode/iris"));
        store.set_auth_mode(&iris, AuthMode::Key, UnixSeconds(6)).await.unwrap();
        assert_eq!(store.read().await.unwrap().auth_modes, [(iris, AuthMode::Key)].into());
    }
}
