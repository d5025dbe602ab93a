//! Revocations.

use super::Store;
use super::change::{self, ATTEMPTS, Attempt, ChangeError, Found, unreadable};
use super::engine::{Batch, Engine as _, Expectation, Revision, Unavailable};
use super::record_key::RecordKey;
use super::records::{self, RevocationRecord};

impl Store {
    /// Revokes. Where the same was revoked before, the wider of both holds: the later `issued_before`, the
    /// later `expires`; that is returned.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says.
    pub async fn revoke(&self, revocation: &RevocationRecord) -> Result<(Revision, RevocationRecord), ChangeError> {
        let key = RecordKey::Revocation(revocation.revoked.digest());
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let mut record = revocation.clone();
            let mut expected = Expectation::Absent;
            if let Some(Found { record: found, at }) = self.find::<RevocationRecord>(&key).await? {
                record.issued_before = record.issued_before.max(found.issued_before);
                record.expires = record.expires.max(found.expires);
                expected = Expectation::At(at);
            }
            let content = records::encode(&record).map_err(|source| unreadable(&key, source))?;
            if let Attempt::Made(revision) = self.attempt(Batch::new().put(key.to_string(), content, expected)).await? {
                return Ok((revision, record));
            }
        }
        Err(ChangeError::Contended { key: key.to_string() })
    }

    /// Every revocation that can be read, in no order; expired ones too until they are swept. One that cannot be read
    /// is quarantined in the [`State`](super::state::State).
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revocations(&self) -> Result<Vec<RevocationRecord>, Unavailable> {
        let contents = self.engine.read_all().await?;
        let is_revocation = |key: &str| matches!(RecordKey::parse(key), Some(RecordKey::Revocation(_)));
        let found = contents.records.iter().filter(|record| is_revocation(&record.key));
        Ok(found.filter_map(|record| records::decode(record).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::name::Name;
    use crate::model::resource::ResourceId;
    use crate::model::time::UnixSeconds;
    use crate::store::records::{RevocationRecord, Revoked};
    use crate::store::testing::TestStore;

    fn resource(id: &str) -> Revoked {
        Revoked::Resource(ResourceId::parse(id).unwrap())
    }

    #[test]
    fn what_is_revoked_is_told_apart_exactly() {
        let jti = |iss: &str, jti: &str| Revoked::Jti { iss: iss.to_owned(), jti: jti.to_owned() };
        let isv = |name| Revoked::Isv(Name::parse(name).unwrap());
        for (one, other, same) in [
            (jti("a", "b"), jti("a", "b"), true),
            (jti("a", "b"), jti("ab", ""), false),
            (jti("a", "b"), jti("b", "a"), false),
            (resource("/a/b"), resource("/A/b/"), true),
            (resource("/a/b"), resource("/a/c"), false),
            (isv("a"), isv("a"), true),
            (isv("a"), jti("a", ""), false),
        ] {
            assert_eq!(one.digest() == other.digest(), same, "{one:?} {other:?}");
        }
    }

    #[tokio::test]
    async fn revoking_again_never_narrows() {
        let store = TestStore::open().await;
        for (issued_before, expires, want) in [(10, 100, (10, 100)), (20, 50, (20, 100)), (5, 200, (20, 200))] {
            let revocation = RevocationRecord {
                revoked: resource("/a/b"),
                issued_before: UnixSeconds(issued_before),
                expires: UnixSeconds(expires),
                why: String::new(),
            };
            store.revoke(&revocation).await.unwrap();
            let held = store.revocations().await.unwrap();
            let held: Vec<_> = held.iter().map(|it| (it.issued_before.0, it.expires.0)).collect();
            assert_eq!(held, [want]);
        }
    }
}
