//! The gateway's own key pairs: one signs, those before it verify until their last token has expired.
//!
//! The record `signer` says which one signs. Making and rotating are commits against it, so that of several
//! replicas that start at once one makes the key and the others find it.

use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Store;
use super::change::{self, ATTEMPTS, Attempt, ChangeError, Found, unreadable};
use super::engine::{Batch, Expectation, Revision};
use super::record_key::RecordKey;
use super::records::{self, SignerRecord, SigningKeyRecord};
use super::seal::Place;
use super::slots::Ensured;
use crate::config::SigningAlgorithm;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;

impl Store {
    /// Makes a signing key where none signs.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says.
    pub async fn ensure_signing_key(
        &self,
        algorithm: SigningAlgorithm,
        now: UnixSeconds,
    ) -> Result<Ensured, ChangeError> {
        if self.find::<SignerRecord>(&RecordKey::Signer).await?.is_some() {
            return Ok(Ensured::Found);
        }
        let new = self.new_signing_key(algorithm, now).await?;
        match self.attempt(sign_with(&new, Expectation::Absent)?).await? {
            Attempt::Made(revision) => Ok(Ensured::Made(revision)),
            // A `kid` is random, so it was the signer: somebody else made a key.
            Attempt::Beaten { .. } => Ok(Ensured::Found),
        }
    }

    /// Makes a new signing key, which signs from then on. The one before it verifies for `verify_for` more,
    /// whole seconds: the longest life of a token that it signed, and the leeway.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says.
    pub async fn rotate_signing_key(
        &self,
        algorithm: SigningAlgorithm,
        verify_for: Duration,
        now: UnixSeconds,
    ) -> Result<Revision, ChangeError> {
        let new = self.new_signing_key(algorithm, now).await?;
        for attempt in 0..ATTEMPTS {
            change::pause_before(attempt).await;
            let (signer, old) = self.find_signer().await?;
            let batch = succeed(&new, signer, old, now.plus(verify_for.as_secs()))?;
            if let Attempt::Made(revision) = self.attempt(batch).await? {
                return Ok(revision);
            }
        }
        Err(ChangeError::Contended { key: RecordKey::Signer.to_string() })
    }

    /// Rotates as [`Store::rotate_signing_key`] does where the key that signs is of this age or older; `None` where it is
    /// not. Of replicas that find the same old key, one makes the new one.
    ///
    /// A key that is gone or cannot be read has no age: replacing it is for a person to decide.
    ///
    /// # Errors
    /// [`ChangeError`], each variant as it says.
    pub async fn rotate_signing_key_of_age(
        &self,
        age: Duration,
        algorithm: SigningAlgorithm,
        verify_for: Duration,
        now: UnixSeconds,
    ) -> Result<Option<Revision>, ChangeError> {
        let (signer, old) = self.find_signer().await?;
        let Some(old) = old.filter(|old| old.record.created.plus(age.as_secs()) <= now) else { return Ok(None) };
        let new = self.new_signing_key(algorithm, now).await?;
        // Whoever has changed the signer since it was found has made a younger one.
        match self.attempt(succeed(&new, signer, Some(old), now.plus(verify_for.as_secs()))?).await? {
            Attempt::Made(revision) => Ok(Some(revision)),
            Attempt::Beaten { .. } => Ok(None),
        }
    }

    /// How the pointer to the signer stands, and the key that it points to, unless that is gone or cannot be read.
    async fn find_signer(&self) -> Result<(Expectation, Option<Found<SigningKeyRecord>>), ChangeError> {
        let Some(Found { record, at }) = self.find::<SignerRecord>(&RecordKey::Signer).await? else {
            return Ok((Expectation::Absent, None));
        };
        match self.find::<SigningKeyRecord>(&RecordKey::SigningKey(record.kid.into())).await {
            Ok(found) => Ok((Expectation::At(at), found)),
            // Rotating is also the way out when the old key is gone or can't be read.
            Err(ChangeError::Unreadable { .. }) => Ok((Expectation::At(at), None)),
            Err(error) => Err(error),
        }
    }

    async fn new_signing_key(
        &self,
        algorithm: SigningAlgorithm,
        now: UnixSeconds,
    ) -> Result<SigningKeyRecord, ChangeError> {
        // An RSA key takes some hundred milliseconds to find.
        let pair = tokio::task::spawn_blocking(move || generate(algorithm)).await;
        let pkcs8 = pair.map_err(|_panicked| ChangeError::Crypto)?.map_err(|Unspecified| ChangeError::Crypto)?;
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|Unspecified| ChangeError::Crypto)?;
        let kid = URL_SAFE_NO_PAD.encode(random);
        let record = RecordKey::SigningKey(kid.as_str().into()).to_string();
        let sealed = self.sealer.seal(Place { record: &record, field: "pkcs8" }, pkcs8.expose())?;
        Ok(SigningKeyRecord { kid, algorithm, sealed, created: now, verify_until: None })
    }
}

/// Puts a key in the place of another, which verifies until a moment and no longer.
fn succeed(
    new: &SigningKeyRecord,
    signer: Expectation,
    old: Option<Found<SigningKeyRecord>>,
    until: UnixSeconds,
) -> Result<Batch, ChangeError> {
    let batch = sign_with(new, signer)?;
    let Some(Found { mut record, at }) = old else { return Ok(batch) };
    record.verify_until = Some(until);
    let key = RecordKey::SigningKey(record.kid.as_str().into());
    Ok(batch.put(key.to_string(), encode(&key, &record)?, Expectation::At(at)))
}

/// Adds a key and makes it the one that signs.
fn sign_with(new: &SigningKeyRecord, signer: Expectation) -> Result<Batch, ChangeError> {
    let key = RecordKey::SigningKey(new.kid.as_str().into());
    let pointer = SignerRecord { kid: new.kid.clone() };
    Ok(Batch::new().put(key.to_string(), encode(&key, new)?, Expectation::Absent).put(
        RecordKey::Signer.to_string(),
        encode(&RecordKey::Signer, &pointer)?,
        signer,
    ))
}

fn encode<T: serde::Serialize>(key: &RecordKey, record: &T) -> Result<Vec<u8>, ChangeError> {
    records::encode(record).map_err(|source| unreadable(key, source))
}

/// A new key pair, PKCS#8 version 1, DER (RFC 5208): the form that `tokens` reads.
fn generate(algorithm: SigningAlgorithm) -> Result<Secret<Vec<u8>>, Unspecified> {
    let random = SystemRandom::new();
    let der = match algorithm {
        SigningAlgorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?.as_ref().to_vec()
        }
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
        SigningAlgorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)?.as_der()?.as_ref().to_vec(),
    };
    Ok(Secret::new(der))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

    use crate::config::SigningAlgorithm;
    use crate::model::time::UnixSeconds;
    use crate::store::change::ChangeError;
    use crate::store::engine::{Batch, Engine as _, Expectation};
    use crate::store::slots::Ensured;
    use crate::store::testing::TestStore;

    #[tokio::test]
    async fn of_those_that_start_at_once_one_makes_the_key() {
        let store = TestStore::open().await;
        let ensure = || store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(1));
        let (a, b, c) = tokio::join!(ensure(), ensure(), ensure());
        let made = [a, b, c].into_iter().filter(|outcome| matches!(outcome, Ok(Ensured::Made(_)))).count();
        assert_eq!(made, 1);
        assert_eq!(ensure().await.unwrap(), Ensured::Found);
        assert_eq!(store.read().await.unwrap().signing_keys().count(), 1);
    }

    #[tokio::test]
    async fn the_new_key_signs_and_the_old_one_verifies_until_its_last_token_has_expired() {
        let store = TestStore::open().await;
        store.ensure_signing_key(SigningAlgorithm::Rs256, UnixSeconds(0)).await.unwrap();
        let first = store.read().await.unwrap().signer().unwrap().clone();
        assert!(RsaKeyPair::from_pkcs8(first.pkcs8.expose()).is_ok());

        store.rotate_signing_key(SigningAlgorithm::EdDsa, Duration::from_secs(60), UnixSeconds(10)).await.unwrap();
        let state = store.read().await.unwrap();
        let second = state.signer().unwrap();
        assert!(Ed25519KeyPair::from_pkcs8(second.pkcs8.expose()).is_ok());
        assert_eq!((second.algorithm, second.verify_until), (SigningAlgorithm::EdDsa, None));
        for (now, want) in [(10, 2), (69, 2), (70, 1), (1_000_000, 1)] {
            assert_eq!(state.verifiers(UnixSeconds(now)).count(), want, "at {now}");
        }

        store.rotate_signing_key(SigningAlgorithm::Es256, Duration::from_secs(60), UnixSeconds(20)).await.unwrap();
        let state = store.read().await.unwrap();
        let third = state.signer().unwrap();
        assert!(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, third.pkcs8.expose()).is_ok());
        for (now, want) in [(69, 3), (70, 2), (80, 1)] {
            assert_eq!(state.verifiers(UnixSeconds(now)).count(), want, "at {now}");
            store.sweep(&store.read().await.unwrap(), UnixSeconds(now)).await.unwrap();
            assert_eq!(store.read().await.unwrap().signing_keys().count(), want, "swept at {now}");
        }
        assert!(store.read().await.unwrap().signer().is_some());
    }

    #[tokio::test]
    async fn of_replicas_that_find_the_same_old_key_one_makes_a_new_one() {
        let store = TestStore::open().await;
        store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(100)).await.unwrap();
        let (age, verify_for) = (Duration::from_secs(50), Duration::from_secs(60));
        let rotate = |now| store.rotate_signing_key_of_age(age, SigningAlgorithm::EdDsa, verify_for, UnixSeconds(now));
        for (now, keys, algorithm) in [
            (149, 1, SigningAlgorithm::Es256),
            (150, 2, SigningAlgorithm::EdDsa),
            (199, 2, SigningAlgorithm::EdDsa),
            (200, 3, SigningAlgorithm::EdDsa),
        ] {
            let (a, b, c) = tokio::join!(rotate(now), rotate(now), rotate(now));
            let made = [a, b, c].into_iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
            let state = store.read().await.unwrap();
            assert_eq!(state.signing_keys().count(), keys, "at {now}");
            assert_eq!(state.signer().unwrap().algorithm, algorithm, "at {now}");
            assert_eq!(made, usize::from(now % 50 == 0), "at {now}");
        }
        let record = format!("signing-key/{}", store.read().await.unwrap().signer().unwrap().kid);
        store.engine.commit(Batch::new().put(&record, b"{}".to_vec(), Expectation::Any)).await.unwrap();
        assert_eq!(rotate(9999).await.unwrap(), None, "a person decides what becomes of a key that cannot be read");
    }

    #[tokio::test]
    async fn rotating_is_the_way_out_of_a_key_that_cannot_be_read() {
        let store = TestStore::open().await;
        store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(0)).await.unwrap();
        let record = format!("signing-key/{}", store.read().await.unwrap().signer().unwrap().kid);
        store.engine.commit(Batch::new().put(&record, b"{}".to_vec(), Expectation::Any)).await.unwrap();
        assert!(store.read().await.unwrap().signer().is_none());
        assert_eq!(store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(1)).await.unwrap(), Ensured::Found);
        store.rotate_signing_key(SigningAlgorithm::Es256, Duration::from_secs(60), UnixSeconds(1)).await.unwrap();
        let state = store.read().await.unwrap();
        assert!(state.signer().is_some());
        assert!(state.quarantined.contains_key(&record));

        store.engine.commit(Batch::new().put("signer", b"{}".to_vec(), Expectation::Any)).await.unwrap();
        let refused = store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(2)).await;
        assert!(matches!(refused, Err(ChangeError::Unreadable { .. })), "{refused:?}");
    }
}
