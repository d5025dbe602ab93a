//! Published signature vectors (Wycheproof), verified as tokens are: by a published key, an algorithm and a text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;
use wycheproof::ecdsa::TestName as Ecdsa;
use wycheproof::eddsa::TestName as Eddsa;
use wycheproof::rsa_pkcs1_verify::TestName as Pkcs1;
use wycheproof::rsa_pss_verify::TestName as Pss;

use super::KeySet;
use crate::config::TokenAlgorithm;
use crate::model::summary::Counts;
use crate::model::summary::report;
use crate::tokens::forge;
use crate::tokens::install_crypto_provider;

/// What a set's valid vectors are to us.
#[derive(Debug, Clone, Copy)]
enum Valid {
    Taken,
    /// Refused on purpose, for this reason.
    Refused(&'static str),
}

const DER: Valid = Valid::Refused("JWS writes r and s side by side, never as DER (RFC 7518 §3.4)");
const OTHER_HASH: Valid = Valid::Refused("an algorithm's name fixes its hash (RFC 7518 §3.1)");
const OTHER_CURVE: Valid = Valid::Refused("only P-256 and P-384 are configurable");
const OTHER_SALT: Valid = Valid::Refused("the salt is as long as the hash (RFC 7518 §3.5)");

#[test]
fn published_vectors_are_refused_where_they_are_invalid_and_taken_where_they_are_valid() {
    use TokenAlgorithm as By;
    install_crypto_provider();
    let mut counts = Counts::default();
    for (set, algorithm, valid) in [
        (Ecdsa::EcdsaSecp256r1Sha256P1363.json_data(), By::Es256, Valid::Taken),
        (Ecdsa::EcdsaSecp384r1Sha384P1363.json_data(), By::Es384, Valid::Taken),
        (Ecdsa::EcdsaSecp256r1Sha256.json_data(), By::Es256, DER),
        (Ecdsa::EcdsaSecp384r1Sha384.json_data(), By::Es384, DER),
        (Ecdsa::EcdsaSecp256r1Sha512P1363.json_data(), By::Es256, OTHER_HASH),
        (Ecdsa::EcdsaSecp384r1Sha512P1363.json_data(), By::Es384, OTHER_HASH),
        (Ecdsa::EcdsaSecp256k1Sha256P1363.json_data(), By::Es256, OTHER_CURVE),
        (Ecdsa::EcdsaBrainpool256r1Sha256P1363.json_data(), By::Es256, OTHER_CURVE),
        (Ecdsa::EcdsaSecp521r1Sha512P1363.json_data(), By::Es384, OTHER_CURVE),
        (Eddsa::Ed25519.json_data(), By::EdDsa, Valid::Taken),
        (Eddsa::Ed448.json_data(), By::EdDsa, OTHER_CURVE),
        (Pkcs1::Rsa2048Sha256.json_data(), By::Rs256, Valid::Taken),
        (Pkcs1::Rsa2048Sha384.json_data(), By::Rs384, Valid::Taken),
        (Pkcs1::Rsa2048Sha512.json_data(), By::Rs512, Valid::Taken),
        (Pkcs1::Rsa3072Sha256.json_data(), By::Rs256, Valid::Taken),
        (Pkcs1::Rsa3072Sha384.json_data(), By::Rs384, Valid::Taken),
        (Pkcs1::Rsa3072Sha512.json_data(), By::Rs512, Valid::Taken),
        (Pkcs1::Rsa4096Sha256.json_data(), By::Rs256, Valid::Taken),
        (Pkcs1::Rsa4096Sha384.json_data(), By::Rs384, Valid::Taken),
        (Pkcs1::Rsa4096Sha512.json_data(), By::Rs512, Valid::Taken),
        (Pkcs1::Rsa8192Sha256.json_data(), By::Rs256, Valid::Taken),
        (Pkcs1::Rsa8192Sha384.json_data(), By::Rs384, Valid::Taken),
        (Pkcs1::Rsa8192Sha512.json_data(), By::Rs512, Valid::Taken),
        (Pkcs1::Rsa2048Sha224.json_data(), By::Rs256, OTHER_HASH),
        (Pkcs1::Rsa2048Sha3_256.json_data(), By::Rs256, OTHER_HASH),
        (Pkcs1::Rsa2048Sha512_256.json_data(), By::Rs256, OTHER_HASH),
        (Pss::RsaPss2048Sha256Mgf1SaltLen32.json_data(), By::Ps256, Valid::Taken),
        (Pss::RsaPss2048Sha384Mgf1SaltLen48.json_data(), By::Ps384, Valid::Taken),
        (Pss::RsaPss3072Sha256Mgf1SaltLen32.json_data(), By::Ps256, Valid::Taken),
        (Pss::RsaPss4096Sha256Mgf1SaltLen32.json_data(), By::Ps256, Valid::Taken),
        (Pss::RsaPss4096Sha384Mgf1SaltLen48.json_data(), By::Ps384, Valid::Taken),
        (Pss::RsaPss4096Sha512Mgf1SaltLen64.json_data(), By::Ps512, Valid::Taken),
        (Pss::RsaPss4096Sha512Mgf1SaltLen32.json_data(), By::Ps512, OTHER_SALT),
        (Pss::RsaPss2048Sha256Mgf1SaltLen0.json_data(), By::Ps256, OTHER_SALT),
        (Pss::RsaPss2048Sha1Mgf1SaltLen20.json_data(), By::Ps256, OTHER_HASH),
        (Pss::RsaPss2048Sha512_256Mgf1SaltLen32.json_data(), By::Ps256, OTHER_HASH),
        (Pss::RsaPss2048Sha256Mgf1Sha1_20.json_data(), By::Ps256, OTHER_HASH),
    ] {
        let set: Value = serde_json::from_str(set).unwrap();
        for group in set["testGroups"].as_array().unwrap() {
            judge(group, algorithm, valid, &mut counts);
        }
    }
    assert!(counts.cases > 8_000 && counts.refused > 6_000, "{counts:?}");
    report("tokens/wycheproof", counts);
}

fn judge(group: &Value, algorithm: TokenAlgorithm, valid: Valid, counts: &mut Counts) {
    // A key that is left out verifies nothing.
    let keys = KeySet::parse(json!({ "keys": [jwk(&group["publicKey"])] }).to_string().as_bytes());
    for test in group["tests"].as_array().unwrap() {
        let [text, signature] = ["msg", "sig"].map(|member| forge::bytes(test[member].as_str().unwrap()));
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let is_taken = keys.as_ref().is_ok_and(|keys| keys.verify(Some("k"), algorithm, &text, &signature).is_ok());
        let fits = match (test["result"].as_str().unwrap(), valid) {
            ("valid", Valid::Taken) => is_taken,
            ("valid" | "acceptable", Valid::Refused(_)) | ("invalid", Valid::Taken) => !is_taken,
            // What is wrong by their parameters may be right by ours.
            ("invalid", Valid::Refused(_)) => !is_taken || is_of_other_parameters(test),
            // Somebody's policy may take it; nothing is asked of ours.
            ("acceptable", Valid::Taken) => true,
            (other, _) => panic!("a result {other}"),
        };
        let why = match valid {
            Valid::Taken => "as the vector says",
            Valid::Refused(why) => why,
        };
        assert!(fits, "{algorithm:?}, {why}: taken: {is_taken}, {test} by {}", group["publicKey"]);
        counts.cases += 1;
        counts.passed += 1;
        counts.refused += u64::from(!is_taken);
    }
}

/// Whether a vector is invalid only because hash or salt are not those of its set.
fn is_of_other_parameters(test: &Value) -> bool {
    let comment = test["comment"].as_str().unwrap_or_default();
    test["flags"].to_string().contains("WrongHash") || comment.starts_with("s_len changed")
}

/// The key as an issuer would publish it.
fn jwk(key: &Value) -> Value {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let member = |name: &str| key[name].as_str().map(forge::bytes);
    if let Some(point) = member("uncompressed") {
        let (x, y) = point[1..].split_at(point.len() / 2);
        let curve = match key["curve"].as_str() {
            Some("secp256r1") => "P-256",
            Some("secp384r1") => "P-384",
            Some("secp521r1") => "P-521",
            // A liar's: the curve of the same size that is known.
            other => {
                assert_eq!((x.len(), other.is_some()), (32, true), "{key}");
                "P-256"
            }
        };
        return json!({ "kty": "EC", "kid": "k", "crv": curve, "x": part(x), "y": part(y) });
    }
    if let Some(public) = member("pk") {
        let curve = if public.len() == 32 { "Ed25519" } else { "Ed448" };
        return json!({ "kty": "OKP", "kid": "k", "crv": curve, "x": part(&public) });
    }
    let [n, e] = ["modulus", "publicExponent"].map(|name| part(&member(name).unwrap()));
    json!({ "kty": "RSA", "kid": "k", "n": n, "e": e })
}
