//! An issuer's key, and tokens by it, made without the library that the gateway verifies with.

use std::time::SystemTime;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

/// A key for ES256.
pub(crate) struct Signer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.kid, claims)
    }

    /// The same, by this key under another name.
    pub(crate) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let signed = unsigned(&json!({ "alg": "ES256", "typ": "JWT", "kid": kid }), claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public key, as an issuer publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let coordinate = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": coordinate(1..33), "y": coordinate(33..65),
        })
    }
}

/// What an issuer publishes.
pub(crate) fn jwks(of: &[&Signer]) -> String {
    json!({ "keys": of.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A token by a shared secret.
pub(crate) fn sign_with_secret(secret: &[u8], claims: &Value) -> String {
    let signed = unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encoded = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    encoded.join(".")
}

/// The time in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens have to be valid now")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
