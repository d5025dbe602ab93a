//! The gateway's own key pairs: made, kept, named and signed with.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::PublicKeyUse;
use jsonwebtoken::jwk::ThumbprintHash;
use serde::Serialize;
use serde_json::Value;

use crate::config::SigningAlgorithm;
use crate::model::secret::Secret;
use crate::tokens::algorithm;

/// One key pair. Its `kid` is the thumbprint of its public half (RFC 7638), so that the same key has the same name
/// on every replica and no two keys share one.
#[derive(Debug)]
pub struct SigningKey {
    algorithm: SigningAlgorithm,
    kid: String,
    pkcs8: Secret<Vec<u8>>,
    encoding: EncodingKey,
    public: Value,
}

/// Why there is no signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSigningKey {
    /// The system's randomness or the library failed.
    #[error("a key pair could not be made")]
    NotMade,
    /// What was kept is no private key of the algorithm.
    #[error("want an unencrypted PKCS#8 private key for the algorithm")]
    NotAKey,
}

/// A token could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SigningFailed;

impl SigningKey {
    /// Makes a key pair. For RS256 that takes some hundred milliseconds.
    ///
    /// # Errors
    /// [`BadSigningKey::NotMade`].
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Self, BadSigningKey> {
        Self::from_pkcs8(algorithm, new_pkcs8(algorithm).map_err(|_unspecified| BadSigningKey::NotMade)?)
    }

    /// Reads a key pair that was kept: PKCS#8 version 1, DER, unencrypted.
    ///
    /// # Errors
    /// [`BadSigningKey::NotAKey`].
    pub fn from_pkcs8(algorithm: SigningAlgorithm, pkcs8: Secret<Vec<u8>>) -> Result<Self, BadSigningKey> {
        let encoding = encoding_key(algorithm, &pkcs8)?;
        let library = algorithm::library(algorithm::of_signing(algorithm));
        let mut jwk = Jwk::from_encoding_key(&encoding, library).map_err(|_why| BadSigningKey::NotAKey)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_why| BadSigningKey::NotAKey)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let public = serde_json::to_value(&jwk).map_err(|_why| BadSigningKey::NotAKey)?;
        Ok(Self { algorithm, kid, pkcs8, encoding, public })
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Its name in tokens and in the published set.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private key, to keep it: PKCS#8 version 1, DER.
    #[must_use]
    pub fn pkcs8(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }

    /// The public half, to publish it (RFC 7517 §4).
    #[must_use]
    pub fn public_jwk(&self) -> &Value {
        &self.public
    }

    /// Signs claims into a compact JWT with this `typ`.
    ///
    /// # Errors
    /// [`SigningFailed`] when the library cannot.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<Secret<String>, SigningFailed> {
        let mut header = Header::new(algorithm::library(algorithm::of_signing(self.algorithm)));
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map(Secret::new).map_err(|_why| SigningFailed)
    }

    /// For tests that sign what [`Self::sign`] never would.
    #[cfg(test)]
    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

fn new_pkcs8(algorithm: SigningAlgorithm) -> Result<Secret<Vec<u8>>, aws_lc_rs::error::Unspecified> {
    let der = match algorithm {
        SigningAlgorithm::Es256 => {
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec()
        }
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
        SigningAlgorithm::Rs256 => {
            AsDer::<Pkcs8V1Der<'_>>::as_der(&RsaKeyPair::generate(KeySize::Rsa2048)?)?.as_ref().to_vec()
        }
    };
    Ok(Secret::new(der))
}

/// The library takes elliptic keys as PKCS#8, and RSA keys as PKCS#8 in PEM only.
fn encoding_key(algorithm: SigningAlgorithm, pkcs8: &Secret<Vec<u8>>) -> Result<EncodingKey, BadSigningKey> {
    let der = pkcs8.expose();
    match algorithm {
        SigningAlgorithm::Es256 => Ok(EncodingKey::from_ec_der(der)),
        SigningAlgorithm::EdDsa => Ok(EncodingKey::from_ed_der(der)),
        SigningAlgorithm::Rs256 => {
            let body = Secret::new(STANDARD.encode(der));
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", body.expose());
            let pem = Secret::new(pem);
            EncodingKey::from_rsa_pem(pem.expose().as_bytes()).map_err(|_why| BadSigningKey::NotAKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BadSigningKey;
    use super::SigningKey;
    use crate::config::SigningAlgorithm;
    use crate::model::secret::Secret;
    use crate::tokens::forge;
    use crate::tokens::install_crypto_provider;

    #[test]
    fn a_key_that_was_kept_is_the_same_key() {
        for key in [forge::es256(), forge::ed25519(), forge::rs256()] {
            let again = SigningKey::from_pkcs8(key.algorithm(), key.pkcs8().clone()).unwrap();
            assert_eq!(again.kid(), key.kid(), "{:?}", key.algorithm());
            assert_eq!(again.public_jwk(), key.public_jwk(), "{:?}", key.algorithm());
            let token = again.sign("at+jwt", &serde_json::json!({"a": 1})).unwrap();
            assert_eq!(token.expose().split('.').count(), 3);
        }
    }

    #[test]
    fn what_is_no_private_key_of_the_algorithm_is_refused() {
        let es256 = forge::es256().pkcs8().expose().clone();
        let ed25519 = forge::ed25519().pkcs8().expose().clone();
        let rs256 = forge::rs256().pkcs8().expose().clone();
        for (algorithm, der) in [
            (SigningAlgorithm::Es256, Vec::new()),
            (SigningAlgorithm::Es256, ed25519),
            (SigningAlgorithm::Es256, es256[..es256.len() - 1].to_vec()),
            (SigningAlgorithm::EdDsa, Vec::new()),
            (SigningAlgorithm::EdDsa, es256.clone()),
            (SigningAlgorithm::EdDsa, vec![0; 48]),
            (SigningAlgorithm::Rs256, Vec::new()),
            (SigningAlgorithm::Rs256, es256),
            (SigningAlgorithm::Rs256, rs256[..rs256.len() - 1].to_vec()),
            (SigningAlgorithm::EdDsa, rs256),
        ] {
            let read = SigningKey::from_pkcs8(algorithm, Secret::new(der.clone()));
            assert_eq!(read.err(), Some(BadSigningKey::NotAKey), "{algorithm:?} from {} bytes", der.len());
        }
    }

    /// The key of RFC 8037 appendix A.1 has the thumbprint of appendix A.3.
    #[test]
    fn the_kid_is_the_thumbprint_of_rfc_7638() {
        install_crypto_provider();
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let der = forge::bytes(&format!("302e020100300506032b657004220420{seed}"));
        let key = SigningKey::from_pkcs8(SigningAlgorithm::EdDsa, Secret::new(der)).unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.public_jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.public_jwk()["use"], "sig");
    }

    #[test]
    fn debug_and_the_published_key_show_nothing_private() {
        for key in [forge::es256(), forge::ed25519(), forge::rs256()] {
            let public = key.public_jwk().as_object().unwrap();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(!public.contains_key(private), "{private}");
            }
            assert!(format!("{key:?}").contains("Secret(..)"));
            assert!(format!("{key:?}").contains("[redacted]"));
        }
    }
}
