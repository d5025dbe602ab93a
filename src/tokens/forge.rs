//! Tokens that nobody should issue, for tests: any header and payload, signed by any key.

use std::sync::Arc;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use serde_json::Value;

use crate::config::SigningAlgorithm;
use crate::model::feature::FeatureNames;
use crate::model::time::UnixSeconds;
use crate::tokens::algorithm;
use crate::tokens::install_crypto_provider;
use crate::tokens::own_keys::OwnKey;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::signing::SigningKey;

/// The moment at which tests take place.
pub(super) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

static ES256: LazyLock<SigningKey> = LazyLock::new(|| made(SigningAlgorithm::Es256));
static ED25519: LazyLock<SigningKey> = LazyLock::new(|| made(SigningAlgorithm::EdDsa));
static RS256: LazyLock<SigningKey> = LazyLock::new(|| made(SigningAlgorithm::Rs256));

fn made(algorithm: SigningAlgorithm) -> SigningKey {
    install_crypto_provider();
    SigningKey::generate(algorithm).unwrap()
}

/// One key of each kind, made once.
pub(super) fn es256() -> &'static SigningKey {
    &ES256
}

pub(super) fn ed25519() -> &'static SigningKey {
    &ED25519
}

pub(super) fn rs256() -> &'static SigningKey {
    &RS256
}

/// The flags that every gateway knows.
pub(super) fn feature_names() -> FeatureNames {
    FeatureNames::new(&FeatureNames::FACE).unwrap()
}

/// The bytes that these hexadecimal digits mean.
pub(super) fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pairs = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// One part of a token.
pub(super) fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with exactly these texts, signed as the key signs.
pub(super) fn signed_by(key: &SigningKey, header: &str, payload: &str) -> String {
    signed(key.encoding(), algorithm::library(algorithm::of_signing(key.algorithm())), header, payload)
}

/// A token with exactly these texts, signed with this algorithm, whatever the header says.
pub(super) fn signed(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// `base` with members replaced, added, or (for null) taken out.
pub(super) fn with(base: &Value, changes: &Value) -> Value {
    let mut members = base.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    Value::Object(members)
}

/// A document with these keys' public halves.
pub(super) fn jwks(keys: &[&SigningKey]) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
    serde_json::json!({ "keys": keys }).to_string().into_bytes()
}

/// A gateway's own set with this one key.
pub(super) fn own_keys(key: &SigningKey) -> OwnKeys {
    let key = SigningKey::from_pkcs8(key.algorithm(), key.pkcs8().clone()).unwrap();
    OwnKeys::new(&[OwnKey { key: Arc::new(key), created: NOW, retires: None }], NOW).unwrap()
}
