//! Which keys of a published set are taken, which are left out, and which sets are refused.

mod vectors;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::BadJwks;
use super::KeySet;
use super::NoKey;
use super::SecretTooShort;
use crate::config::TokenAlgorithm;
use crate::model::secret::Secret;
use crate::tokens::forge;
use crate::tokens::forge::with;

fn parse(keys: &[Value]) -> Result<KeySet, BadJwks> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn base64url(bytes: &[u8]) -> Value {
    Value::from(URL_SAFE_NO_PAD.encode(bytes))
}

/// A modulus of this many bits: odd, and nobody's.
fn modulus(bits: usize) -> Vec<u8> {
    let mut n = vec![0xff; bits.div_ceil(8)];
    n[0] >>= (8 - bits % 8) % 8;
    n
}

#[test]
fn a_key_is_left_out_unless_it_verifies_signatures_of_ours() {
    let (es, ed, rs) = (forge::es256().public_jwk(), forge::ed25519().public_jwk(), forge::rs256().public_jwk());
    let p384 = json!({
        "kty": "EC", "crv": "P-384",
        // The generator of P-384 (SEC 2 §2.5.1) is a point on it.
        "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
        "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
    });
    for (why, base, changes, kept) in [
        ("as it is", es, json!({}), true),
        ("as it is", ed, json!({}), true),
        ("as it is", rs, json!({}), true),
        ("P-384", &p384, json!({}), true),
        ("no use, no alg, no kid", es, json!({"use": null, "alg": null, "kid": null}), true),
        ("key_ops with verify", es, json!({"key_ops": ["verify", "sign"]}), true),
        ("extra members", es, json!({"x5c": ["MII"], "ext": true}), true),
        ("use enc", es, json!({"use": "enc"}), false),
        ("use of another type", es, json!({"use": ["sig"]}), false),
        ("key_ops without verify", es, json!({"key_ops": ["sign"]}), false),
        ("key_ops empty", es, json!({"key_ops": []}), false),
        ("key_ops of another type", es, json!({"key_ops": "verify"}), false),
        ("kid of another type", es, json!({"kid": 1}), false),
        ("kid too long", es, json!({"kid": "k".repeat(257)}), false),
        ("no kty", es, json!({"kty": null}), false),
        ("unknown kty", es, json!({"kty": "AKP"}), false),
        ("kty in another case", es, json!({"kty": "ec"}), false),
        ("alg of another type", es, json!({"alg": 256}), false),
        ("alg none", es, json!({"alg": "none"}), false),
        ("alg of another curve", es, json!({"alg": "ES384"}), false),
        ("alg of another family", es, json!({"alg": "RS256"}), false),
        ("alg HMAC on a public key", rs, json!({"alg": "HS256"}), false),
        ("alg for encryption", rs, json!({"alg": "RSA-OAEP"}), false),
        ("private part", es, json!({"d": "AA"}), false),
        ("private part", rs, json!({"p": "AA"}), false),
        ("private part", rs, json!({"dp": "AA"}), false),
        ("private part", rs, json!({"dq": "AA"}), false),
        ("private part", rs, json!({"qi": "AA"}), false),
        ("private part", rs, json!({"oth": []}), false),
        ("curve not known", es, json!({"crv": "P-521"}), false),
        ("curve secp256k1", es, json!({"crv": "secp256k1"}), false),
        ("curve of another length", es, json!({"crv": "P-384", "alg": null}), false),
        ("point off the curve", es, json!({"x": base64url(&[1; 32])}), false),
        ("point at zero", es, json!({"x": base64url(&[0; 32]), "y": base64url(&[0; 32])}), false),
        ("coordinate too short", es, json!({"x": base64url(&[1; 31])}), false),
        ("coordinate too long", es, json!({"x": base64url(&[1; 33])}), false),
        ("coordinate missing", es, json!({"y": null}), false),
        ("coordinate padded", es, json!({"x": format!("{}=", es["x"].as_str().unwrap())}), false),
        ("Ed448", ed, json!({"crv": "Ed448"}), false),
        ("X25519", ed, json!({"crv": "X25519", "alg": null}), false),
        ("Ed25519 too short", ed, json!({"x": base64url(&[1; 31])}), false),
        ("RSA 1024", rs, json!({"n": base64url(&modulus(1024))}), false),
        ("RSA 2047", rs, json!({"n": base64url(&modulus(2047))}), false),
        ("RSA 2048", rs, json!({"n": base64url(&modulus(2048))}), true),
        ("RSA 4096", rs, json!({"n": base64url(&modulus(4096))}), true),
        ("RSA 8193", rs, json!({"n": base64url(&modulus(8193))}), false),
        ("RSA 16384", rs, json!({"n": base64url(&modulus(16384))}), false),
        ("RSA leading zero", rs, json!({"n": base64url(&[vec![0], modulus(2048)].concat())}), true),
        ("RSA empty modulus", rs, json!({"n": ""}), false),
        ("RSA zero modulus", rs, json!({"n": base64url(&[0; 256])}), false),
        ("RSA exponent 1", rs, json!({"e": "AQ"}), false),
        ("RSA exponent 3", rs, json!({"e": "Aw"}), true),
        ("RSA exponent 0", rs, json!({"e": "AA"}), false),
        ("RSA exponent empty", rs, json!({"e": ""}), false),
        ("RSA exponent of 34 bits", rs, json!({"e": base64url(&[2, 0, 0, 0, 1])}), false),
        ("RSA modulus even", rs, json!({"n": base64url(&[&modulus(2040)[..], &[2]].concat())}), false),
        ("RSA exponent even", rs, json!({"e": "BA"}), false),
        ("RSA exponent missing", rs, json!({"e": null}), false),
        ("oct", &json!({"kty": "oct", "k": base64url(&[7; 32]), "alg": "HS256", "use": "sig"}), json!({}), false),
        ("oct for encryption", &json!({"kty": "oct", "k": base64url(&[7; 32]), "use": "enc"}), json!({}), false),
        ("post-quantum", &json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "pq"}), json!({}), false),
        ("empty", &json!({}), json!({}), false),
    ] {
        let key = with(base, &changes);
        let beside = json!({"kty": "OKP", "crv": "Ed25519", "x": ed["x"], "kid": "beside"});
        let set = parse(&[beside, key.clone()]).unwrap();
        assert_eq!(set.usable_keys(), 1 + usize::from(kept), "{why}: {changes}");
        assert_eq!(parse(&[key]).err(), (!kept).then_some(BadJwks::NoUsableKey), "{why}: {changes}");
    }
}

#[test]
fn a_set_is_refused_where_it_is_no_set_or_two_keys_have_one_name() {
    let key = with(forge::es256().public_jwk(), &json!({"kid": "k"})).to_string();
    let other = with(forge::ed25519().public_jwk(), &json!({"kid": "k"})).to_string();
    let useless = with(forge::ed25519().public_jwk(), &json!({"kid": "k", "use": "enc"})).to_string();
    let unnamed = with(forge::ed25519().public_jwk(), &json!({"kid": null})).to_string();
    let many = |n: usize| format!(r#"{{"keys":[{key}{}]}}"#, ",{}".repeat(n - 1));
    let long = format!(r#"{{"keys":[{key}]}}{}"#, " ".repeat(KeySet::MAX_BYTES));
    for (document, want) in [
        (format!(r#"{{"keys":[{key}]}}"#), None),
        (format!(r#"{{"keys":[{key},{useless}]}}"#), None),
        (format!(r#"{{"keys":[{unnamed},{unnamed}]}}"#), None),
        (many(100), None),
        (many(101), Some(BadJwks::TooManyKeys(101))),
        (format!(r#"{{"keys":[{key},{other}]}}"#), Some(BadJwks::DuplicateKid("k".to_owned()))),
        (format!(r#"{{"keys":[{key},{key}]}}"#), Some(BadJwks::DuplicateKid("k".to_owned()))),
        (r#"{"keys":[]}"#.to_owned(), Some(BadJwks::NoUsableKey)),
        ("{}".to_owned(), Some(BadJwks::NoKeys)),
        (r#"{"keys":{}}"#.to_owned(), Some(BadJwks::NoKeys)),
        (format!(r#"{{"keys":[{key},1]}}"#), Some(BadJwks::NoKeys)),
        (format!(r#"{{"Keys":[{key}]}}"#), Some(BadJwks::NoKeys)),
        (format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#), Some(BadJwks::NotAnObject)),
        (r#"{"keys":[{"kty":"EC","kty":"EC"}]}"#.to_owned(), Some(BadJwks::NotAnObject)),
        (format!("[{key}]"), Some(BadJwks::NotAnObject)),
        ("<html>".to_owned(), Some(BadJwks::NotAnObject)),
        (String::new(), Some(BadJwks::NotAnObject)),
        (long, Some(BadJwks::TooLarge)),
    ] {
        assert_eq!(KeySet::parse(document.as_bytes()).err(), want, "{document:.200}");
    }
}

#[test]
fn a_key_answers_to_its_name_and_its_algorithms_only() {
    let named = |key: &Value, kid: &str, alg: Option<&str>| with(key, &json!({"kid": kid, "alg": alg}));
    let (es, ed, rs) = (forge::es256().public_jwk(), forge::ed25519().public_jwk(), forge::rs256().public_jwk());
    let set = parse(&[
        named(es, "es", None),
        named(rs, "any-rsa", None),
        named(rs, "only-ps", Some("PS256")),
        with(ed, &json!({"kid": null})),
    ])
    .unwrap();
    for (kid, algorithm, want) in [
        (Some("es"), TokenAlgorithm::Es256, None),
        (Some("es"), TokenAlgorithm::Es384, Some(NoKey::OtherAlgorithm)),
        (Some("es"), TokenAlgorithm::Rs256, Some(NoKey::OtherAlgorithm)),
        (Some("es"), TokenAlgorithm::Hs256, Some(NoKey::OtherAlgorithm)),
        (Some("any-rsa"), TokenAlgorithm::Rs512, None),
        (Some("any-rsa"), TokenAlgorithm::Ps384, None),
        (Some("any-rsa"), TokenAlgorithm::Hs256, Some(NoKey::OtherAlgorithm)),
        (Some("only-ps"), TokenAlgorithm::Ps256, None),
        (Some("only-ps"), TokenAlgorithm::Rs256, Some(NoKey::OtherAlgorithm)),
        (Some("ES"), TokenAlgorithm::Es256, Some(NoKey::Unknown)),
        (Some(""), TokenAlgorithm::EdDsa, Some(NoKey::Unknown)),
        (None, TokenAlgorithm::EdDsa, None),
        (None, TokenAlgorithm::Es256, None),
        (None, TokenAlgorithm::Rs256, None),
        (None, TokenAlgorithm::Ps256, Some(NoKey::Ambiguous)),
        (None, TokenAlgorithm::Hs256, Some(NoKey::OtherAlgorithm)),
    ] {
        assert_eq!(set.choose(kid, algorithm).err(), want, "{kid:?} {algorithm:?}");
    }
}

#[test]
fn a_shared_secret_serves_hashes_that_are_no_longer_than_it() {
    let hmac = [TokenAlgorithm::Hs256, TokenAlgorithm::Hs384, TokenAlgorithm::Hs512];
    for (bytes, fits) in [
        (0, None),
        (31, None),
        (32, Some([true, false, false])),
        (48, Some([true, true, false])),
        (64, Some([true, true, true])),
        (1000, Some([true, true, true])),
    ] {
        let set = KeySet::from_secret(&Secret::new(vec![7; bytes]));
        let got = set.as_ref().map(|set| hmac.map(|algorithm| set.choose(None, algorithm).is_ok()));
        assert_eq!(got.ok(), fits, "{bytes}");
        assert_eq!(set.err(), fits.is_none().then_some(SecretTooShort { bytes }), "{bytes}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let set = KeySet::from_secret(&Secret::new(b"0123456789abcdef0123456789abcdef".to_vec())).unwrap();
    let shown = format!("{set:?}");
    assert!(!shown.contains("0123") && !shown.contains("48, 49"), "{shown}");
}
