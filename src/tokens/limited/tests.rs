//! What a LimitedAccessToken must be, and what is never taken for one.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::LimitedLifetime;
use super::LimitedRejected;
use super::LimitedToken;
use super::LimitedVerifier;
use super::Loan;
use super::issue_limited_token;
use crate::config::SigningAlgorithm;
use crate::model::feature::FeatureNames;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::tokens::cache::VerifiedCache;
use crate::tokens::forge;
use crate::tokens::forge::NOW;
use crate::tokens::forge::feature_names as names;
use crate::tokens::forge::with;
use crate::tokens::issue::Issued;
use crate::tokens::issue::issue_service_token;
use crate::tokens::revocation::TokenId;
use crate::tokens::signing::SigningKey;

const OWN: &str = "urn:scoregate";
const TARGET: &str = "/subscriptions/a/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/client";
const ISV: &str = "/subscriptions/b/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/isv";

fn verifier() -> LimitedVerifier {
    LimitedVerifier::new(OWN, &forge::own_keys(forge::es256()), names())
}

fn issue(key: &SigningKey, issuer: &str, seconds: u32) -> Issued {
    let names = names();
    let (target, isv_resource) = (ResourceId::parse(TARGET).unwrap(), ResourceId::parse(ISV).unwrap());
    let loan = Loan {
        isv: &Name::parse("isv").unwrap(),
        isv_resource: &isv_resource,
        target: &target,
        flags: names.find("Face.Identification").unwrap().union(names.find("LimitedAccess.HighRisk").unwrap()),
        lifetime: LimitedLifetime::from_seconds(seconds).unwrap(),
    };
    issue_limited_token(key, issuer, &loan, &names, NOW).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": OWN, "aud": "urn:scoregate:limited-access", "azure-resource-id": TARGET,
        "feature-flags": ["Face.Verification"], "isv": "isv", "isv-resource-id": ISV,
        "jti": "j", "iat": NOW.0, "exp": NOW.0 + 3600,
    })
}

fn judge(header: &Value, payload: &Value) -> Result<LimitedToken, LimitedRejected> {
    let header = with(&json!({"alg": "ES256", "kid": forge::es256().kid(), "typ": "limited-access+jwt"}), header);
    let token = forge::signed_by(forge::es256(), &header.to_string(), &with(&claims(), payload).to_string());
    verifier().verify(&token, NOW).map(|token| (*token).clone())
}

#[test]
fn what_was_lent_is_what_is_read() {
    let issued = issue(forge::es256(), OWN, 60);
    let token = verifier().verify(issued.jwt.expose(), NOW).unwrap();
    assert_eq!(token.target, ResourceId::parse(&TARGET.to_uppercase()).unwrap());
    assert_eq!(names().names_of(token.flags).collect::<Vec<_>>(), ["Face.Identification", "LimitedAccess.HighRisk"]);
    assert_eq!((token.isv.as_str(), &token.id, &*token.issuer), ("isv", &issued.id, OWN));
    assert_eq!((token.issued, token.expires), (NOW, NOW.plus(60)));
    assert_eq!(token.revocable, TokenId::of(OWN, &issued.id));
    assert_ne!(issue(forge::es256(), OWN, 60).id, issued.id);
}

#[test]
fn a_token_ends_in_the_second_that_it_says() {
    let issued = issue(forge::es256(), OWN, 60);
    for (now, want) in [
        (NOW.0 - 6, Some(LimitedRejected::Invalid)),
        (NOW.0 - 5, None), // another replica's clock
        (NOW.0 + 59, None),
        (NOW.0 + 60, Some(LimitedRejected::Expired)),
        (NOW.0 + 90_000, Some(LimitedRejected::Expired)),
    ] {
        assert_eq!(verifier().verify(issued.jwt.expose(), UnixSeconds(now)).err(), want, "{now}");
    }
    let mut cache = VerifiedCache::default();
    let verifier = verifier();
    for (now, want) in [(NOW.0, None), (NOW.0 + 59, None), (NOW.0 + 60, Some(LimitedRejected::Expired))] {
        let now = UnixSeconds(now);
        let jwt = issued.jwt.expose();
        let judged = cache.find_or_verify(jwt, verifier.epoch(), now, || verifier.verify(jwt, now));
        assert_eq!(judged.err(), want, "{now:?}");
    }
}

#[test]
fn only_a_limited_access_token_of_this_gateway_is_one() {
    let service = issue_service_token(forge::es256(), OWN, super::AUDIENCE, "s", Duration::from_secs(60), NOW).unwrap();
    let other_key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    for (why, token) in [
        ("a service token, though for this audience", service.jwt.expose().clone()),
        ("another issuer", issue(forge::es256(), "urn:other", 60).jwt.expose().clone()),
        ("another gateway", issue(&other_key, OWN, 60).jwt.expose().clone()),
        ("another algorithm", issue(forge::ed25519(), OWN, 60).jwt.expose().clone()),
        ("nothing", String::new()),
        ("no token", "not.a.token".to_owned()),
    ] {
        assert_eq!(verifier().verify(&token, NOW).err(), Some(LimitedRejected::Invalid), "{why}");
    }
}

#[test]
fn a_claim_that_is_missing_or_misread_grants_nothing() {
    assert!(judge(&json!({}), &json!({})).is_ok());
    for (header, payload) in [
        (json!({"typ": "JWT"}), json!({})),
        (json!({"typ": "at+jwt"}), json!({})),
        (json!({"typ": null}), json!({})),
        (json!({"kid": "other"}), json!({})),
        (json!({"crit": ["x"]}), json!({})),
        (json!({}), json!({"aud": "iris"})),
        (json!({}), json!({"aud": ["urn:scoregate:limited-access", "iris"]})),
        (json!({}), json!({"aud": null})),
        (json!({}), json!({"iss": "urn:scoregat"})),
        (json!({}), json!({"jti": null})),
        (json!({}), json!({"iat": null})),
        (json!({}), json!({"exp": null})),
        (json!({}), json!({"exp": NOW.0 + 86_401})),
        (json!({}), json!({"exp": (NOW.0 + 60).to_string()})),
        (json!({}), json!({"azure-resource-id": null})),
        (json!({}), json!({"azure-resource-id": [TARGET]})),
        (json!({}), json!({"azure-resource-id": "client"})),
        (json!({}), json!({"feature-flags": null})),
        (json!({}), json!({"feature-flags": "Face.Verification"})),
        (json!({}), json!({"feature-flags": [1]})),
        (json!({}), json!({"isv": null})),
        (json!({}), json!({"isv": "No Name"})),
    ] {
        assert_eq!(judge(&header, &payload).err(), Some(LimitedRejected::Invalid), "{header} {payload}");
    }
}

#[test]
fn a_flag_that_is_not_known_here_is_not_granted() {
    for (flags, want) in [
        (json!(["Face.Verification", "Face.Everything", "*"]), vec!["Face.Verification"]),
        (json!(["face.verification"]), vec![]),
        (json!([]), vec![]),
    ] {
        let token = judge(&json!({}), &json!({ "feature-flags": flags })).unwrap();
        assert_eq!(names().names_of(token.flags).collect::<Vec<_>>(), want, "{flags}");
    }
}

#[test]
fn a_lifetime_is_a_minute_to_a_day() {
    for (seconds, fits) in [(0, false), (59, false), (60, true), (3600, true), (86_400, true), (86_401, false)] {
        let lifetime = LimitedLifetime::from_seconds(seconds);
        assert_eq!(lifetime.map(LimitedLifetime::as_seconds), fits.then_some(seconds), "{seconds}");
    }
}

#[test]
fn the_reasons_are_rows_of_the_table() {
    assert_eq!(Denied::from(LimitedRejected::Invalid), Denied::LimitedTokenInvalid);
    assert_eq!(Denied::from(LimitedRejected::Expired), Denied::LimitedTokenExpired);
}

#[test]
fn verifiers_are_equal_when_nothing_that_they_judge_by_differs() {
    let keys = forge::own_keys(forge::es256());
    let fewer = FeatureNames::new(&["Face.Verification"]).unwrap();
    assert_eq!(verifier(), verifier());
    assert_ne!(verifier(), LimitedVerifier::new("urn:other", &keys, names()));
    assert_ne!(verifier(), LimitedVerifier::new(OWN, &keys, fewer));
    assert_ne!(verifier(), LimitedVerifier::new(OWN, &forge::own_keys(forge::ed25519()), names()));
}
