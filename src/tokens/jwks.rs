//! JSON Web Key Sets: what a set must look like to be taken, and which of its keys fit a token.
//!
//! A set comes over the network and is judged as a whole and key by key. What this gateway has no use for
//! is left out silently, as RFC 7517 §5 asks, so that an issuer can publish a new kind of key; what could
//! make a token verify under two keys refuses the set.

use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use jsonwebtoken::DecodingKey;
use serde_json::Map;
use serde_json::Value;

use crate::config::TokenAlgorithm;
use crate::model::digest::Digest;
use crate::model::secret::Secret;
use crate::tokens::algorithm;
use crate::tokens::json;

/// Longest public exponent of an RSA key: what aws-lc takes, since a longer one only makes verifying dear. It does not
/// look at a key before the first signature, so its rules are applied here, where the key can be left out.
const MAX_RSA_EXPONENT_BITS: usize = 33;

/// The keys of one issuer. Never empty.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Of the document, or of the secret: what makes two sets the same.
    fingerprint: Digest,
}

#[derive(Debug)]
struct Key {
    kid: Kid,
    /// What the key's type and its `alg` allow; never empty.
    algorithms: Vec<TokenAlgorithm>,
    key: DecodingKey,
}

#[derive(Debug, PartialEq, Eq)]
enum Kid {
    Named(String),
    /// A published key without a `kid`.
    Unnamed,
    /// A shared secret: an issuer has one, and a `kid` can only repeat that.
    Irrelevant,
}

/// Why a key set is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJwks {
    /// Longer than [`KeySet::MAX_BYTES`].
    #[error("want a key set of at most 256 KiB")]
    TooLarge,
    /// Not one JSON object, a member twice, or nested too deeply.
    #[error("want one JSON object in which no member stands twice")]
    NotAnObject,
    /// No list `keys` of objects (RFC 7517 §5.1).
    #[error("want a member \"keys\" that is a list of objects")]
    NoKeys,
    /// More than [`KeySet::MAX_KEYS`].
    #[error("want at most 100 keys, got {0}")]
    TooManyKeys(usize),
    /// Two usable keys have the same `kid`.
    #[error("the kid {0:?} stands twice")]
    DuplicateKid(String),
    /// Nothing in it can verify a signature of ours.
    #[error("want at least one key for signatures: RSA from 2048 bits, EC P-256 or P-384, or Ed25519")]
    NoUsableKey,
}

/// A shared secret is shorter than 32 bytes (RFC 7518 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a shared secret of at least 32 bytes, got {bytes}")]
pub struct SecretTooShort {
    /// How long it is.
    pub bytes: usize,
}

/// Why a set does not vouch for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unverified {
    /// No key of it is the one.
    NoKey(NoKey),
    /// The key is there, and the signature is not by it over this text.
    Signature,
}

/// Why no key of a set is the one for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No key has this `kid`.
    Unknown,
    /// The key, or every key where the token names none, is for other algorithms.
    OtherAlgorithm,
    /// The token names no key, and several fit.
    Ambiguous,
}

impl KeySet {
    /// Longest document, in bytes. The sets of large public issuers stay below 20 KiB.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Most keys in a document, whether of use or not.
    pub const MAX_KEYS: usize = 100;

    /// Longest `kid` of a key, in bytes; a longer one could not be named by a token.
    const MAX_KID_BYTES: usize = 256;

    /// Reads a JWKS document (RFC 7517 §5).
    ///
    /// Left out are symmetric keys, keys with private parts, keys for anything but verifying, keys of
    /// unknown types, curves or algorithms, RSA keys outside 2048 to 8192 bits, and points off their curve.
    ///
    /// # Errors
    /// Each variant of [`BadJwks`].
    pub fn parse(document: &[u8]) -> Result<Self, BadJwks> {
        if document.len() > Self::MAX_BYTES {
            return Err(BadJwks::TooLarge);
        }
        let members = json::object(document).map_err(|_why| BadJwks::NotAnObject)?;
        let listed = members.get("keys").and_then(Value::as_array).ok_or(BadJwks::NoKeys)?;
        if listed.len() > Self::MAX_KEYS {
            return Err(BadJwks::TooManyKeys(listed.len()));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(listed.len());
        for jwk in listed {
            let Some(key) = Key::read(jwk.as_object().ok_or(BadJwks::NoKeys)?) else { continue };
            match &key.kid {
                Kid::Named(kid) if keys.iter().any(|known| known.kid == key.kid) => {
                    return Err(BadJwks::DuplicateKid(kid.clone()));
                }
                Kid::Named(_) | Kid::Unnamed | Kid::Irrelevant => keys.push(key),
            }
        }
        if keys.is_empty() {
            return Err(BadJwks::NoUsableKey);
        }
        Ok(Self { keys, fingerprint: Digest::of(document) })
    }

    /// The set of an issuer that signs with a shared secret: for HS256 from 32 bytes, for HS384 from 48 and
    /// for HS512 from 64, since the secret must be no shorter than the hash (RFC 7518 §3.2).
    ///
    /// # Errors
    /// [`SecretTooShort`] below 32 bytes.
    pub fn from_secret(secret: &Secret<Vec<u8>>) -> Result<Self, SecretTooShort> {
        let bytes = secret.expose().len();
        let algorithms: Vec<_> =
            [(32, TokenAlgorithm::Hs256), (48, TokenAlgorithm::Hs384), (64, TokenAlgorithm::Hs512)]
                .into_iter()
                .filter_map(|(least, algorithm)| (bytes >= least).then_some(algorithm))
                .collect();
        if algorithms.is_empty() {
            return Err(SecretTooShort { bytes });
        }
        let key = DecodingKey::from_secret(secret.expose());
        let keys = vec![Key { kid: Kid::Irrelevant, algorithms, key }];
        Ok(Self { keys, fingerprint: Digest::of(secret.expose()) })
    }

    /// How many of its keys are of use; at least one.
    #[must_use]
    pub fn usable_keys(&self) -> usize {
        self.keys.len()
    }

    /// Verifies a signature, in base64url, over a text by the key that is meant.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: TokenAlgorithm,
        signed: &[u8],
        signature: &str,
    ) -> Result<(), Unverified> {
        let key = self.choose(kid, algorithm).map_err(Unverified::NoKey)?;
        let verified = jsonwebtoken::crypto::verify(signature, signed, key, algorithm::library(algorithm));
        if matches!(verified, Ok(true)) { Ok(()) } else { Err(Unverified::Signature) }
    }

    /// The one key that a token with this `kid` and algorithm is to be verified with.
    pub(super) fn choose(&self, kid: Option<&str>, algorithm: TokenAlgorithm) -> Result<&DecodingKey, NoKey> {
        let named: Vec<&Key> = self.keys.iter().filter(|key| key.answers_to(kid)).collect();
        if named.is_empty() {
            return Err(NoKey::Unknown);
        }
        let mut fitting = named.into_iter().filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.key),
            (None, _) => Err(NoKey::OtherAlgorithm),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
        }
    }
}

/// The same document, or the same secret.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

impl Key {
    /// `None` for a key that is left out.
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let kid = match jwk.get("kid") {
            None => Kid::Unnamed,
            Some(Value::String(kid)) if kid.len() <= KeySet::MAX_KID_BYTES => Kid::Named(kid.clone()),
            Some(_) => return None,
        };
        if !for_verifying(jwk) || has_private_parts(jwk) {
            return None;
        }
        let (mut algorithms, key) = match text(jwk, "kty")? {
            "RSA" => rsa(jwk)?,
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            _ => return None,
        };
        if jwk.contains_key("alg") {
            let only = algorithm::named(text(jwk, "alg")?)?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        (!algorithms.is_empty()).then_some(Self { kid, algorithms, key })
    }

    fn answers_to(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Kid::Irrelevant, _) | (Kid::Named(_) | Kid::Unnamed, None) => true,
            (Kid::Named(own), Some(kid)) => own == kid,
            (Kid::Unnamed, Some(_)) => false,
        }
    }
}

/// `use` and `key_ops` must both allow it where they stand (RFC 7517 §4.2, §4.3).
fn for_verifying(jwk: &Map<String, Value>) -> bool {
    let by_use = jwk.get("use").is_none_or(|purpose| purpose == "sig");
    let by_operations = jwk
        .get("key_ops")
        .is_none_or(|operations| operations.as_array().is_some_and(|list| list.iter().any(|item| item == "verify")));
    by_use && by_operations
}

/// Whoever publishes the private half has given the key away.
fn has_private_parts(jwk: &Map<String, Value>) -> bool {
    ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name))
}

fn rsa(jwk: &Map<String, Value>) -> Option<(Vec<TokenAlgorithm>, DecodingKey)> {
    let (n, e) = (unsigned(jwk, "n")?, unsigned(jwk, "e")?);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let one = e == [1];
    let fits = (2048..=8192).contains(&bits(&n)) && odd(&n) && bits(&e) <= MAX_RSA_EXPONENT_BITS && odd(&e) && !one;
    if !fits {
        return None;
    }
    let algorithms = vec![
        TokenAlgorithm::Rs256,
        TokenAlgorithm::Rs384,
        TokenAlgorithm::Rs512,
        TokenAlgorithm::Ps256,
        TokenAlgorithm::Ps384,
        TokenAlgorithm::Ps512,
    ];
    Some((algorithms, DecodingKey::from_rsa_raw_components(&n, &e)))
}

fn elliptic(jwk: &Map<String, Value>) -> Option<(Vec<TokenAlgorithm>, DecodingKey)> {
    let (algorithm, verifies, coordinate_bytes): (_, &'static dyn VerificationAlgorithm, _) = match text(jwk, "crv")? {
        "P-256" => (TokenAlgorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (TokenAlgorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
        _ => return None,
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    let point = [&[4], &*x, &*y].concat();
    ParsedPublicKey::new(verifies, &point).ok()?;
    Some((vec![algorithm], DecodingKey::from_ec_der(&point)))
}

fn edwards(jwk: &Map<String, Value>) -> Option<(Vec<TokenAlgorithm>, DecodingKey)> {
    let x = bytes(jwk, "x")?;
    if text(jwk, "crv")? != "Ed25519" || x.len() != 32 {
        return None;
    }
    Some((vec![TokenAlgorithm::EdDsa], DecodingKey::from_ed_der(&x)))
}

/// The length of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j str> {
    jwk.get(name)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    json::canonical_base64url(text(jwk, name)?)
}

/// A big-endian number without the leading zero bytes that some issuers send in spite of RFC 7518 §2.
fn unsigned(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let mut number = bytes(jwk, name)?;
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    Some(number)
}

#[cfg(test)]
mod tests;
