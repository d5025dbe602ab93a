//! Tokens that are good, for something else: another algorithm, key, purpose, service, issuer or gateway.

use std::time::Duration;

use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use serde_json::Value;
use serde_json::json;

use super::HMAC;
use super::IDP;
use super::OWN;
use super::SECRET;
use super::auth;
use super::claims;
use super::denied;
use super::foreign;
use super::idp_token;
use super::judge;
use super::name;
use super::own;
use super::own_token;
use crate::config::SigningAlgorithm;
use crate::config::TokenAlgorithm;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::tokens::forge;
use crate::tokens::forge::NOW;
use crate::tokens::forge::part;
use crate::tokens::forge::with;
use crate::tokens::issue::issue_service_token;
use crate::tokens::jwks::KeySet;
use crate::tokens::limited::LimitedLifetime;
use crate::tokens::limited::Loan;
use crate::tokens::limited::issue_limited_token;
use crate::tokens::signing::SigningKey;
use crate::tokens::verify::Rejected;
use crate::tokens::verify::ServiceVerifier;

/// How a token was really signed, whatever its header says.
enum Signed<'a> {
    By(&'a EncodingKey, Algorithm),
    Under(&'a [u8], Algorithm),
    As(&'a str),
}

/// A token with a good payload of this issuer.
fn token(signed: &Signed<'_>, issuer: &str, alg: &str, kid: &str) -> String {
    let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
    let payload = with(&claims(), &json!({ "iss": issuer })).to_string();
    match signed {
        Signed::By(key, algorithm) => forge::signed(key, *algorithm, &header, &payload),
        Signed::Under(secret, algorithm) => {
            forge::signed(&EncodingKey::from_secret(secret), *algorithm, &header, &payload)
        }
        Signed::As(signature) => format!("{}.{}.{signature}", part(&header), part(&payload)),
    }
}

#[test]
fn an_algorithm_is_taken_only_where_configuration_and_key_allow_it() {
    let (rs, ed, es) = (forge::rs256().encoding(), forge::ed25519().encoding(), forge::es256().encoding());
    let own_kid = forge::es256().kid();
    let rsa = Signed::By(rs, Algorithm::RS256);
    let pss = Signed::By(rs, Algorithm::PS256);
    let eddsa = Signed::By(ed, Algorithm::EdDSA);
    let secret = Signed::Under(SECRET, Algorithm::HS256);
    let not_allowed = Some(Denied::TokenAlgorithm);
    for (signed, issuer, alg, kid, want) in [
        (&rsa, IDP, "RS256", "rs", None),
        (&pss, IDP, "PS256", "rs", None),
        (&eddsa, IDP, "EdDSA", "ed", None),
        (&Signed::By(es, Algorithm::ES256), OWN, "ES256", own_kid, None),
        (&secret, HMAC, "HS256", "any", None),
        // Not configured for the issuer.
        (&Signed::By(rs, Algorithm::RS384), IDP, "RS384", "rs", not_allowed),
        (&Signed::By(rs, Algorithm::PS512), IDP, "PS512", "rs", not_allowed),
        (&Signed::By(es, Algorithm::ES256), IDP, "ES256", "rs", not_allowed),
        (&Signed::Under(SECRET, Algorithm::HS384), HMAC, "HS384", "any", not_allowed),
        (&Signed::As("AA"), HMAC, "RS256", "rs", not_allowed),
        (&secret, IDP, "HS256", "rs", not_allowed),
        // Configured, and not for this key.
        (&rsa, IDP, "RS256", "ed", not_allowed),
        (&eddsa, IDP, "EdDSA", "rs", not_allowed),
        (&eddsa, OWN, "EdDSA", own_kid, not_allowed),
        // Another algorithm than the header says.
        (&pss, IDP, "RS256", "rs", Some(Denied::TokenSignature)),
        (&rsa, IDP, "PS256", "rs", Some(Denied::TokenSignature)),
        (&secret, IDP, "RS256", "rs", Some(Denied::TokenSignature)),
        (&secret, HMAC, "HS512", "any", not_allowed),
        // No algorithm, or none that has this name.
        (&Signed::As(""), IDP, "none", "rs", Some(Denied::TokenMalformed)),
        (&Signed::As("AA"), IDP, "none", "rs", not_allowed),
        (&Signed::As("AA"), IDP, "None", "rs", not_allowed),
        (&rsa, IDP, "rs256", "rs", not_allowed),
        (&eddsa, IDP, "EDDSA", "ed", not_allowed),
        (&Signed::As(""), IDP, "RS256", "rs", Some(Denied::TokenMalformed)),
        (&Signed::As("AA"), IDP, "RS256", "rs", Some(Denied::TokenSignature)),
    ] {
        assert_eq!(denied(&token(signed, issuer, alg, kid)), want, "{issuer} {alg} {kid}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let pair = RsaKeyPair::from_pkcs8(forge::rs256().pkcs8().expose()).unwrap();
    let der = pair.public_key().as_ref().to_vec();
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", STANDARD.encode(&der));
    let member =
        |key: &SigningKey, name: &str| URL_SAFE_NO_PAD.decode(key.public_jwk()[name].as_str().unwrap()).unwrap();
    let jwk = forge::rs256().public_jwk().to_string();
    for (why, secret, kid) in [
        ("PEM", pem.as_bytes(), "rs"),
        ("PEM without the last line end", pem.trim_end().as_bytes(), "rs"),
        ("DER", &der, "rs"),
        ("modulus", &member(forge::rs256(), "n"), "rs"),
        ("JWK", jwk.as_bytes(), "rs"),
        ("Ed25519 point", &member(forge::ed25519(), "x"), "ed"),
        ("nothing", b"", "rs"),
    ] {
        for (alg, algorithm) in [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)]
        {
            let forged = token(&Signed::Under(secret, algorithm), IDP, alg, kid);
            assert_eq!(denied(&forged), Some(Denied::TokenAlgorithm), "{why} {alg}");
        }
        let forged = token(&Signed::Under(secret, Algorithm::HS256), HMAC, "HS256", kid);
        assert_eq!(denied(&forged), Some(Denied::TokenSignature), "{why} at the issuer with a secret");
    }
}

#[test]
fn a_kid_names_a_key_of_its_issuer_or_nothing() {
    let unknown = Err(Rejected::UnknownKey(name("idp")));
    let key_unknown = Err(Rejected::Denied(Denied::TokenKeyUnknown));
    for (kid, want) in [
        (json!("ed"), Ok(())),
        (json!("rs"), Err(Rejected::Denied(Denied::TokenAlgorithm))),
        (json!(null), Ok(())), // one key of the set is for EdDSA
        (json!(""), unknown.clone()),
        (json!("ED"), unknown.clone()),
        (json!("ed "), unknown.clone()),
        (json!("ed\u{0}"), unknown.clone()),
        (json!("../../../dev/null"), unknown.clone()),
        (json!("/etc/passwd"), unknown.clone()),
        (json!("ed' OR '1'='1"), unknown.clone()),
        (json!("https://evil.example/jwks.json"), unknown.clone()),
        (json!(forge::es256().kid()), unknown), // ours
        (json!(7), Err(Rejected::Denied(Denied::TokenMalformed))),
        (json!({"kid": "ed"}), Err(Rejected::Denied(Denied::TokenMalformed))),
        (json!("k".repeat(257)), Err(Rejected::Denied(Denied::TokenMalformed))),
    ] {
        let judged = judge(&idp_token(&json!({ "kid": kid }), &json!({}))).map(|_token| ());
        assert_eq!(judged, want, "{kid}");
    }
    // Our own set is never out of date, so nothing is to be fetched again.
    assert_eq!(judge(&own_token(&json!({"kid": "ed"}), &json!({}))).map(|_token| ()), key_unknown);
    // Two keys fit, and the token names neither.
    let twins = [
        with(forge::ed25519().public_jwk(), &json!({"kid": "a"})),
        with(forge::ed25519().public_jwk(), &json!({"kid": "b"})),
    ];
    let keys = KeySet::parse(json!({ "keys": twins }).to_string().as_bytes()).unwrap();
    let ambiguous = ServiceVerifier::new(vec![foreign("idp", IDP, &[TokenAlgorithm::EdDsa], Some(keys))], &auth());
    let judged = ambiguous.verify(&idp_token(&json!({"kid": null}), &json!({})), NOW).map(|_token| ());
    assert_eq!(judged, key_unknown);
}

#[test]
fn a_token_for_another_purpose_opens_nothing() {
    let target = ResourceId::parse("/subscriptions/a/accounts/face").unwrap();
    let names = forge::feature_names();
    let isv = name("isv");
    let loan = Loan {
        isv: &isv,
        isv_resource: &target,
        target: &target,
        flags: names.find("Face.Identification").unwrap(),
        lifetime: LimitedLifetime::DEFAULT,
    };
    let limited = issue_limited_token(forge::es256(), OWN, &loan, &names, NOW).unwrap();
    let mine =
        |claims: &Value| forge::signed_by(forge::ed25519(), r#"{"alg":"EdDSA","kid":"ed"}"#, &claims.to_string());
    for (why, token, want) in [
        ("a LimitedAccessToken", limited.jwt.expose().clone(), Denied::TokenMalformed),
        ("ours, of another type", own_token(&json!({"typ": "JWT"}), &json!({})), Denied::TokenMalformed),
        ("ours, without a type", own_token(&json!({"typ": null}), &json!({})), Denied::TokenMalformed),
        ("an ID token", idp_token(&json!({"typ": "id+jwt"}), &json!({})), Denied::TokenMalformed),
        ("a log-out token", idp_token(&json!({"typ": "logout+jwt"}), &json!({})), Denied::TokenMalformed),
        ("another service's", idp_token(&json!({}), &json!({"aud": "wine"})), Denied::TokenAudience),
        ("a longer audience", idp_token(&json!({}), &json!({"aud": "iris2"})), Denied::TokenAudience),
        ("a shorter audience", idp_token(&json!({}), &json!({"aud": "iri"})), Denied::TokenAudience),
        ("an audience in another case", idp_token(&json!({}), &json!({"aud": "Iris"})), Denied::TokenAudience),
        ("audiences in one text", idp_token(&json!({}), &json!({"aud": "wine iris"})), Denied::TokenAudience),
        (
            "the limited audience",
            own_token(&json!({}), &json!({"aud": "urn:scoregate:limited-access"})),
            Denied::TokenAudience,
        ),
        (
            "an issuer nobody knows",
            idp_token(&json!({}), &json!({"iss": "https://evil.example/"})),
            Denied::TokenIssuer,
        ),
        (
            "an issuer in another case",
            idp_token(&json!({}), &json!({"iss": "https://IDP.example/"})),
            Denied::TokenIssuer,
        ),
        ("another issuer's key, as ours", mine(&with(&claims(), &json!({"iss": OWN}))), Denied::TokenMalformed),
        (
            "our key, as another issuer",
            own_token(&json!({"kid": "ed", "alg": "EdDSA"}), &json!({"iss": IDP})),
            Denied::TokenSignature,
        ),
    ] {
        assert_eq!(denied(&token), Some(want), "{why}");
    }
    for (why, token) in [
        ("one audience of several", idp_token(&json!({}), &json!({"aud": ["wine", "iris"]}))),
        ("the second audience of the service", idp_token(&json!({}), &json!({"aud": "api://iris"}))),
        ("application/ before the type", idp_token(&json!({"typ": "application/at+jwt"}), &json!({}))),
        ("no type", idp_token(&json!({"typ": null}), &json!({}))),
    ] {
        assert_eq!(denied(&token), None, "{why}");
    }
}

#[test]
fn a_service_accepts_its_own_issuers_only() {
    let only_own = ServiceVerifier::new(vec![own()], &auth());
    let judged = only_own.verify(&idp_token(&json!({}), &json!({})), NOW).map(|_token| ());
    assert_eq!(judged, Err(Rejected::Denied(Denied::TokenIssuer)));
    // Another gateway with the same `iss` has other keys.
    let other = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let issued = issue_service_token(&other, OWN, "iris", "eve", Duration::from_secs(60), NOW).unwrap();
    assert_eq!(denied(issued.jwt.expose()), Some(Denied::TokenKeyUnknown));
}
