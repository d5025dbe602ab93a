//! Keys of the corpus, made by the test, and signatures by them: what an issuer would write, and what an attacker would.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::RSA_PKCS1_SHA384;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use aws_lc_rs::signature::RSA_PSS_SHA384;
use aws_lc_rs::signature::RsaEncoding;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

/// What the issuer `hmac` signs with.
pub(super) const SHARED: &[u8] = b"a shared secret of forty-eight bytes, and a few more";

/// Every key that a case can name.
pub(super) struct Keys {
    pairs: Vec<(&'static str, Pair)>,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Keys {
    /// Makes them all; `own` is the gateway's own, PKCS#8.
    pub(super) fn new(own: &[u8]) -> Self {
        let p256 = || Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        let rsa = || Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        let own = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, own).unwrap();
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self {
            pairs: vec![
                ("es", p256()),
                ("es384", Pair::P384(p384)),
                ("rs", rsa()),
                ("ps", rsa()),
                ("ed", Pair::Ed(Ed25519KeyPair::generate().unwrap())),
                ("own", Pair::P256(own)),
                ("other", p256()),
                ("stranger", p256()),
            ],
        }
    }

    fn pair(&self, key: &str) -> &Pair {
        let found = self.pairs.iter().find(|(name, _)| *name == key);
        &found.unwrap_or_else(|| panic!("no key is called {key}")).1
    }

    /// What an issuer publishes.
    pub(super) fn jwks(&self, of: &[(&str, &str)]) -> String {
        let keys: Vec<Value> = of.iter().map(|(kid, key)| self.jwk(kid, key)).collect();
        json!({ "keys": keys }).to_string()
    }

    /// A public key, called `kid`, for its one algorithm.
    fn jwk(&self, kid: &str, key: &str) -> Value {
        let alg = match key {
            "es384" => "ES384",
            "rs" => "RS256",
            "ps" => "PS256",
            "ed" => "EdDSA",
            _ => "ES256",
        };
        let mut jwk = match self.pair(key) {
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) }),
            Pair::Rsa(pair) => json!({ "kty": "RSA", "n": base64url(modulus(pair)), "e": "AQAB" }),
        };
        jwk["kid"] = kid.into();
        jwk["alg"] = alg.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A public key in one of the forms that somebody might hand to HMAC.
    pub(super) fn public(&self, key: &str, form: &str) -> Vec<u8> {
        let (spki, inner, title) = match self.pair(key) {
            Pair::P256(pair) | Pair::P384(pair) => (spki(pair.public_key()), pair.public_key().as_ref(), ""),
            Pair::Ed(pair) => (spki(pair.public_key()), pair.public_key().as_ref(), ""),
            Pair::Rsa(pair) => (spki(pair.public_key()), pair.public_key().as_ref(), "RSA "),
        };
        match form {
            "pem" => pem("PUBLIC KEY", &spki).into_bytes(),
            "pem-trimmed" => pem("PUBLIC KEY", &spki).trim_end().as_bytes().to_vec(),
            "der" => spki,
            "inner" => inner.to_vec(),
            "inner-pem" => pem(&format!("{title}PUBLIC KEY"), inner).into_bytes(),
            "modulus" => match self.pair(key) {
                Pair::Rsa(pair) => modulus(pair).to_vec(),
                Pair::P256(_) | Pair::P384(_) | Pair::Ed(_) => panic!("{key} has no modulus"),
            },
            "jwk" => self.jwk(key, key).to_string().into_bytes(),
            "jwks" => self.jwks(&[(key, key)]).into_bytes(),
            "n" => self.jwk(key, key)["n"].as_str().unwrap().as_bytes().to_vec(),
            "x" => self.jwk(key, key)["x"].as_str().unwrap().as_bytes().to_vec(),
            "kid" => key.as_bytes().to_vec(),
            other => panic!("no form is called {other}"),
        }
    }

    /// Signs as `how` says: `es256 es`, `rs256 rs`, `hs256 secret`, `hs256 rs pem`, `none`.
    pub(super) fn sign(&self, how: &str, message: &[u8]) -> Vec<u8> {
        let words: Vec<&str> = how.split(' ').collect();
        match words[..] {
            ["none"] => Vec::new(),
            [algorithm, "secret"] => mac(algorithm, SHARED, message),
            [algorithm, "empty"] => mac(algorithm, b"", message),
            [algorithm, key, form] => mac(algorithm, &self.public(key, form), message),
            [algorithm, key] => match self.pair(key) {
                Pair::P256(pair) | Pair::P384(pair) => {
                    pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
                }
                Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
                Pair::Rsa(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(padding(algorithm), &SystemRandom::new(), message, &mut signature).unwrap();
                    signature
                }
            },
            _ => panic!("nobody signs with {how:?}"),
        }
    }
}

fn padding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "rs256" => &RSA_PKCS1_SHA256,
        "rs384" => &RSA_PKCS1_SHA384,
        "rs512" => &RSA_PKCS1_SHA512,
        "ps256" => &RSA_PSS_SHA256,
        "ps384" => &RSA_PSS_SHA384,
        other => panic!("RSA does not sign with {other}"),
    }
}

fn mac(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "hs256" => hmac::HMAC_SHA256,
        "hs384" => hmac::HMAC_SHA384,
        "hs512" => hmac::HMAC_SHA512,
        other => panic!("HMAC is not called {other}"),
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}

fn point(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) })
}

/// The modulus of 2048 bits, out of `SEQUENCE { INTEGER n, INTEGER e }`.
fn modulus(pair: &RsaKeyPair) -> &[u8] {
    &pair.public_key().as_ref()[9..265]
}

fn spki(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().unwrap().as_ref().to_vec()
}

fn pem(title: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {title}-----\n{}\n-----END {title}-----\n", lines.join("\n"))
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
