//! When a token begins and ends, at its issuer and in the cache.

use serde_json::Value;
use serde_json::json;

use super::IDP;
use super::auth;
use super::denied;
use super::foreign;
use super::idp_token;
use super::issuers;
use super::judge;
use super::name;
use super::own_token;
use super::verifier;
use crate::config::TokenAlgorithm;
use crate::config::TokenAuth;
use crate::model::refusal::Denied;
use crate::model::time::UnixSeconds;
use crate::tokens::Validity;
use crate::tokens::cache::VerifiedCache;
use crate::tokens::forge;
use crate::tokens::forge::NOW;
use crate::tokens::forge::with;
use crate::tokens::jwks::KeySet;
use crate::tokens::verify::Rejected;
use crate::tokens::verify::ServiceVerifier;

#[test]
fn times_are_judged_with_the_issuers_leeway_and_ours_end_when_they_say() {
    let at = |offset: i64| Value::from(NOW.0.checked_add_signed(offset).unwrap());
    for (payload, foreign, own) in [
        (json!({}), None, None),
        (json!({"exp": at(1)}), None, None),
        (json!({"exp": at(0)}), None, Some(Denied::TokenExpired)),
        (json!({"exp": at(-29)}), None, Some(Denied::TokenExpired)),
        (json!({"exp": at(-30)}), Some(Denied::TokenExpired), Some(Denied::TokenExpired)),
        (json!({"exp": 0}), Some(Denied::TokenExpired), Some(Denied::TokenExpired)),
        (json!({"nbf": at(5)}), None, None),
        (json!({"nbf": at(6)}), None, Some(Denied::TokenNotYetValid)),
        (json!({"nbf": at(30)}), None, Some(Denied::TokenNotYetValid)),
        (json!({"nbf": at(31)}), Some(Denied::TokenNotYetValid), Some(Denied::TokenNotYetValid)),
        (json!({"iat": at(5)}), None, None),
        (json!({"iat": at(31)}), Some(Denied::TokenNotYetValid), Some(Denied::TokenNotYetValid)),
        (json!({"nbf": i64::MAX}), Some(Denied::TokenNotYetValid), Some(Denied::TokenNotYetValid)),
        (json!({"exp": i64::MAX}), Some(Denied::TokenLifetime), Some(Denied::TokenLifetime)),
        (json!({"exp": i64::MAX, "iat": null}), Some(Denied::TokenLifetime), Some(Denied::TokenLifetime)),
        (json!({"iat": at(0), "exp": at(86_400)}), None, None),
        (json!({"iat": at(0), "exp": at(86_401)}), Some(Denied::TokenLifetime), Some(Denied::TokenLifetime)),
        (json!({"iat": null, "exp": at(86_400)}), None, None),
        (json!({"iat": null, "exp": at(86_401)}), Some(Denied::TokenLifetime), Some(Denied::TokenLifetime)),
        (json!({"iat": 0}), Some(Denied::TokenLifetime), Some(Denied::TokenLifetime)),
    ] {
        assert_eq!(denied(&idp_token(&json!({}), &payload)), foreign, "foreign {payload}");
        assert_eq!(denied(&own_token(&json!({}), &payload)), own, "own {payload}");
    }
}

#[test]
fn a_cache_may_keep_a_token_for_as_long_as_it_would_be_taken_anyway() {
    for (payload, from, until) in [
        (json!({}), NOW.0 - 40, NOW.0 + 600),
        (json!({"nbf": NOW.0 + 10}), NOW.0 - 20, NOW.0 + 600),
        (json!({"iat": null}), NOW.0 + 600 - 86_400, NOW.0 + 600),
        (json!({"exp": NOW.0 - 5}), NOW.0 - 40, NOW.0 - 5),
    ] {
        let want = Validity { from: UnixSeconds(from), until: UnixSeconds(until) };
        assert_eq!(judge(&idp_token(&json!({}), &payload)).unwrap().validity, want, "{payload}");
    }
}

#[test]
fn what_was_cached_is_out_of_reach_when_keys_or_rules_change() {
    let mut cache = VerifiedCache::new(64);
    let token = idp_token(&json!({}), &json!({}));
    let mut ask = |verifier: &ServiceVerifier, now: UnixSeconds| {
        cache.find_or_verify(&token, verifier.epoch(), now, || verifier.verify(&token, now)).map(|_token| ())
    };
    let before = verifier();
    assert_eq!(ask(&before, NOW), Ok(()));
    assert_eq!(ask(&before, NOW), Ok(()));
    // The key is withdrawn.
    let rs = with(forge::rs256().public_jwk(), &json!({"kid": "rs"}));
    let keys = KeySet::parse(json!({ "keys": [rs] }).to_string().as_bytes()).unwrap();
    let withdrawn = ServiceVerifier::new(vec![foreign("idp", IDP, &[TokenAlgorithm::EdDsa], Some(keys))], &auth());
    assert_eq!(ask(&withdrawn, NOW), Err(Rejected::UnknownKey(name("idp"))));
    // Another service, or this one with another audience.
    let elsewhere = ServiceVerifier::new(issuers(), &TokenAuth { audiences: vec!["wine".to_owned()], ..auth() });
    assert_eq!(ask(&elsewhere, NOW), Err(Rejected::Denied(Denied::TokenAudience)));
    // Its time is over, leeway included, or has not come.
    assert_eq!(ask(&before, UnixSeconds(NOW.0 + 630)), Err(Rejected::Denied(Denied::TokenExpired)));
    assert_eq!(ask(&before, UnixSeconds(NOW.0 - 41)), Err(Rejected::Denied(Denied::TokenNotYetValid)));
}
