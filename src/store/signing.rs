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
            let signer = self.find::<SignerRecord>(&RecordKey::Signer).await?;
            let expected = signer.as_ref().map_or(Expectation::Absent, |found| Expectation::At(found.at));
            let mut batch = sign_with(&new, expected)?;
            if let Some(Found { record, .. }) = signer {
                let key = RecordKey::SigningKey(record.kid.into());
                match self.find::<SigningKeyRecord>(&key).await {
                    Ok(Some(Found { mut record, at })) => {
                        record.verify_until = Some(now.plus(verify_for.as_secs()));
                        batch = batch.put(key.to_string(), encode(&key, &record)?, Expectation::At(at));
                    }
                    // Rotating is also the way out when the old key is gone or can't be read.
                    Ok(None) | Err(ChangeError::Unreadable { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Attempt::Made(revision) = self.attempt(batch).await? {
                return Ok(revision);
            }
        }
        Err(ChangeError::Contended { key: RecordKey::Signer.to_string() })
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

/// A new key pair, PKCS#8 DER (RFC 5208; Ed25519 in the two-part form of RFC 8410).
fn generate(algorithm: SigningAlgorithm) -> Result<Secret<Vec<u8>>, Unspecified> {
    let random = SystemRandom::new();
    let der = match algorithm {
        SigningAlgorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?.as_ref().to_vec()
        }
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random)?.as_ref().to_vec(),
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
