//! What a service asks of a token. The issuers, keys and good tokens that every table starts from stand here.

mod bounded;
mod confusion;
mod signatures;
mod times;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use serde_json::Value;
use serde_json::json;

use super::Rejected;
use super::ServiceVerifier;
use super::VerifiedToken;
use crate::config::CallerResource;
use crate::config::Issuer;
use crate::config::IssuerKeys;
use crate::config::OwnTokens;
use crate::config::SigningAlgorithm;
use crate::config::TokenAlgorithm;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::resource::ResourceId;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;
use crate::tokens::forge;
use crate::tokens::forge::NOW;
use crate::tokens::forge::with;
use crate::tokens::issue::issue_service_token;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::jwks::KeySet;

const SECRET: &[u8; 32] = b"a shared secret of 32 bytes, not";
const OWN: &str = "urn:scoregate";
/// Publishes `rs` (RSA, for any algorithm) and `ed`; RS256, PS256 and `EdDSA` are configured.
const IDP: &str = "https://idp.example/";
/// Signs with a shared secret, HS256.
const HMAC: &str = "https://hmac.example/";
/// Its keys were never had.
const DOWN: &str = "https://down.example/";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn foreign(called: &str, issuer: &str, algorithms: &[TokenAlgorithm], keys: Option<KeySet>) -> Arc<TrustedIssuer> {
    let configured = Issuer {
        name: name(called),
        issuer: issuer.to_owned(),
        keys: IssuerKeys::File("jwks.json".into()),
        algorithms: algorithms.to_vec(),
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(86_400),
    };
    Arc::new(TrustedIssuer::foreign(&configured, keys.map(Arc::new)))
}

fn own_tokens() -> OwnTokens {
    OwnTokens {
        issuer: OWN.to_owned(),
        algorithm: SigningAlgorithm::Es256,
        lifetime: Duration::from_secs(43_200),
        refresh_after: Duration::from_secs(21_600),
        rotate_every: None,
    }
}

fn own() -> Arc<TrustedIssuer> {
    Arc::new(forge::own_keys(forge::es256()).service_issuer(&own_tokens()))
}

fn idp_keys() -> KeySet {
    let rs = with(forge::rs256().public_jwk(), &json!({"kid": "rs", "alg": null}));
    let ed = with(forge::ed25519().public_jwk(), &json!({"kid": "ed"}));
    KeySet::parse(json!({"keys": [rs, ed]}).to_string().as_bytes()).unwrap()
}

fn idp() -> Arc<TrustedIssuer> {
    foreign("idp", IDP, &[TokenAlgorithm::Rs256, TokenAlgorithm::Ps256, TokenAlgorithm::EdDsa], Some(idp_keys()))
}

fn issuers() -> Vec<Arc<TrustedIssuer>> {
    let secret = KeySet::from_secret(&Secret::new(SECRET.to_vec())).unwrap();
    vec![
        own(),
        idp(),
        foreign("hmac", HMAC, &[TokenAlgorithm::Hs256], Some(secret)),
        foreign("down", DOWN, &[TokenAlgorithm::Rs256], None),
    ]
}

fn auth() -> TokenAuth {
    TokenAuth {
        issuers: vec![TokenIssuer::Own, TokenIssuer::Foreign(name("idp"))],
        audiences: vec!["iris".to_owned(), "api://iris".to_owned()],
        required_claims: BTreeMap::new(),
        resource: None,
    }
}

fn verifier() -> ServiceVerifier {
    ServiceVerifier::new(issuers(), &auth())
}

/// What a good token of the identity provider says.
fn claims() -> Value {
    json!({"iss": IDP, "aud": "iris", "sub": "alice", "iat": NOW.0 - 10, "exp": NOW.0 + 600})
}

/// A token of the identity provider with its Ed25519 key, and these changes.
fn idp_token(header: &Value, payload: &Value) -> String {
    let header = with(&json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"}), header);
    forge::signed_by(forge::ed25519(), &header.to_string(), &with(&claims(), payload).to_string())
}

/// A token of this gateway, and these changes.
fn own_token(header: &Value, payload: &Value) -> String {
    let header = with(&json!({"alg": "ES256", "kid": forge::es256().kid(), "typ": "at+jwt"}), header);
    let claims = with(&claims(), &json!({"iss": OWN}));
    forge::signed_by(forge::es256(), &header.to_string(), &with(&claims, payload).to_string())
}

fn judge(token: &str) -> Result<Arc<VerifiedToken>, Rejected> {
    verifier().verify(token, NOW)
}

fn denied(token: &str) -> Option<Denied> {
    match judge(token) {
        Ok(_) => None,
        Err(Rejected::Denied(why)) => Some(why),
        Err(other) => panic!("{other:?} for {token}"),
    }
}

#[test]
fn a_good_token_tells_who_calls() {
    let token = judge(&idp_token(&json!({}), &json!({"jti": "j-1"}))).unwrap();
    assert_eq!((token.issuer.as_str(), &*token.subject, token.id.as_deref()), ("idp", "alice", Some("j-1")));
    assert_eq!((token.issued, token.expires), (Some(UnixSeconds(NOW.0 - 10)), UnixSeconds(NOW.0 + 600)));
    assert_eq!(token.resource, None);
    let without_subject = judge(&idp_token(&json!({}), &json!({"sub": null}))).unwrap();
    assert_eq!((&*without_subject.subject, without_subject.revocable), ("", None));
}

#[test]
fn a_token_that_this_gateway_issued_opens_the_service_it_was_issued_for() {
    let issue = |audience| {
        let life = Duration::from_secs(600);
        issue_service_token(forge::es256(), OWN, audience, "bob", life, NOW).unwrap()
    };
    let issued = issue("iris");
    let token = judge(issued.jwt.expose()).unwrap();
    assert_eq!((token.issuer.as_str(), &*token.subject), (TrustedIssuer::OWN_NAME, "bob"));
    assert_eq!((token.id.clone(), token.expires), (Some(issued.id.clone()), issued.expires));
    assert_eq!(issued.expires, NOW.plus(600));
    assert_ne!(issue("iris").id, issued.id);
    assert_eq!(denied(issue("wine").jwt.expose()), Some(Denied::TokenAudience));
}

/// One row for each default of `jsonwebtoken` that would let a token pass, or stop the gateway.
#[test]
fn no_default_of_the_library_is_ours() {
    let hmac = EncodingKey::from_secret(b"");
    let by_empty_secret = forge::signed(
        &hmac,
        Algorithm::HS256,
        r#"{"alg":"HS256"}"#,
        &with(&claims(), &json!({"iss": HMAC})).to_string(),
    );
    for (default, token, want) in [
        ("leeway of 60 s", idp_token(&json!({}), &json!({"exp": NOW.0 - 31})), Denied::TokenExpired),
        ("leeway of 60 s, own", own_token(&json!({}), &json!({"exp": NOW.0 - 1})), Denied::TokenExpired),
        ("nbf not judged", idp_token(&json!({}), &json!({"nbf": NOW.0 + 3600})), Denied::TokenNotYetValid),
        ("aud may be missing", idp_token(&json!({}), &json!({"aud": null})), Denied::TokenAudience),
        ("iss may be missing", idp_token(&json!({}), &json!({"iss": null})), Denied::TokenIssuer),
        ("iss not judged", idp_token(&json!({}), &json!({"iss": "https://idp.example"})), Denied::TokenIssuer),
        ("iss may be a list", idp_token(&json!({}), &json!({"iss": [IDP]})), Denied::TokenMalformed),
        ("exp may be missing", idp_token(&json!({}), &json!({"exp": null})), Denied::TokenMalformed),
        ("exp may be a fraction", idp_token(&json!({}), &json!({"exp": 1_900_000_000.5})), Denied::TokenMalformed),
        ("crit not enforced", idp_token(&json!({"crit": ["b64"]}), &json!({})), Denied::TokenMalformed),
        ("typ not judged", idp_token(&json!({"typ": "dpop+jwt"}), &json!({})), Denied::TokenMalformed),
        ("empty HMAC secret", by_empty_secret, Denied::TokenSignature),
        ("alg from the token", idp_token(&json!({"alg": "RS256"}), &json!({})), Denied::TokenAlgorithm),
        ("lifetime unbounded", idp_token(&json!({}), &json!({"exp": NOW.0 + 86_391})), Denied::TokenLifetime),
        ("iat not judged", idp_token(&json!({}), &json!({"iat": NOW.0 + 31})), Denied::TokenNotYetValid),
    ] {
        assert_eq!(denied(&token), Some(want), "{default}");
    }
    // The remaining rows: `use`, `key_ops`, `alg` and `oct` of a JWK, and secrets below 32 bytes, stand in the tests
    // of key sets; one algorithm for each key, in `choose`; the backend is chosen, and choosing it twice is harmless.
    crate::tokens::install_crypto_provider();
    crate::tokens::install_crypto_provider();
}

#[test]
fn every_token_refusal_of_the_table_has_a_token_that_provokes_it() {
    let other_claim = ServiceVerifier::new(
        issuers(),
        &TokenAuth { required_claims: BTreeMap::from([("tid".to_owned(), "t-1".to_owned())]), ..auth() },
    );
    let unknown_key = own_token(&json!({"kid": "nobody's"}), &json!({}));
    let good = idp_token(&json!({}), &json!({}));
    let (signed, _signature) = good.rsplit_once('.').unwrap();
    let mut provoked: BTreeSet<&str> = [
        judge(&idp_token(&json!({"crit": []}), &json!({}))),
        judge(&idp_token(&json!({"alg": "none"}), &json!({}))),
        judge(&unknown_key),
        judge(&format!("{signed}.AAAA")),
        judge(&idp_token(&json!({}), &json!({"exp": 1}))),
        judge(&idp_token(&json!({}), &json!({"nbf": NOW.0 + 31}))),
        judge(&idp_token(&json!({}), &json!({"iss": "x"}))),
        judge(&idp_token(&json!({}), &json!({"aud": "x"}))),
        judge(&idp_token(&json!({}), &json!({"exp": NOW.0 + 100_000}))),
        other_claim.verify(&idp_token(&json!({}), &json!({})), NOW),
    ]
    .into_iter()
    .map(|judged| judged.unwrap_err().refusal().row().code)
    .collect();
    // Revocation is judged after this verifier, by `Revocations::cover`.
    assert!(provoked.insert(Denied::TokenRevoked.row().code));
    let table: BTreeSet<&str> =
        Denied::ALL.iter().map(|why| why.row().code).filter(|code| code.starts_with("token_")).collect();
    assert_eq!(provoked, table);
}

#[test]
fn an_issuer_without_keys_is_our_failure_and_an_unknown_key_is_not() {
    let down = judge(&idp_token(&json!({"alg": "RS256"}), &json!({"iss": DOWN}))).unwrap_err();
    assert_eq!(down, Rejected::IssuerUnavailable(name("down")));
    assert_eq!(down.refusal(), Refusal::from(Failed::IssuerUnavailable));
    assert_eq!(Rejected::UnknownKey(name("idp")).refusal(), Refusal::from(Denied::TokenKeyUnknown));
    let named: Vec<_> = verifier().foreign_issuers().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(named, ["idp", "hmac", "down"]);
}

#[test]
fn a_required_claim_has_exactly_its_text_or_holds_it_in_a_list() {
    let required = BTreeMap::from([("tid".to_owned(), "t-1".to_owned()), ("roles".to_owned(), "score".to_owned())]);
    let verifier = ServiceVerifier::new(issuers(), &TokenAuth { required_claims: required, ..auth() });
    for (tid, roles, taken) in [
        (json!("t-1"), json!("score"), true),
        (json!("t-1"), json!(["read", "score"]), true),
        (json!(["t-1"]), json!(["score"]), true),
        (json!("t-1"), json!(null), false),
        (json!(null), json!("score"), false),
        (json!("t-1"), json!([]), false),
        (json!("t-1"), json!("read score"), false),
        (json!("t-1"), json!("Score"), false),
        (json!("t-1"), json!({"score": true}), false),
        (json!("t-1"), json!([["score"]]), false),
        (json!("t-1"), json!(true), false),
        (json!("t-10"), json!("score"), false),
    ] {
        let token = idp_token(&json!({}), &json!({"tid": tid, "roles": roles}));
        let judged = verifier.verify(&token, NOW).map(|_token| ());
        assert_eq!(judged, if taken { Ok(()) } else { Err(Rejected::Denied(Denied::TokenClaim)) }, "{tid} {roles}");
    }
}

#[test]
fn the_callers_resource_is_read_from_the_configured_claim() {
    let resource = Some(CallerResource::Claim("rid".to_owned()));
    let verifier = ServiceVerifier::new(issuers(), &TokenAuth { resource, ..auth() });
    for (claim, want) in [
        (json!("/subscriptions/a"), Ok(Some("/subscriptions/a"))),
        (json!(null), Ok(None)),
        (json!("subscriptions/a"), Err(Rejected::Denied(Denied::TokenClaim))),
        (json!("/a/../b"), Err(Rejected::Denied(Denied::TokenClaim))),
        (json!(["/subscriptions/a"]), Err(Rejected::Denied(Denied::TokenClaim))),
        (json!(1), Err(Rejected::Denied(Denied::TokenClaim))),
    ] {
        let judged = verifier.verify(&idp_token(&json!({}), &json!({ "rid": claim })), NOW);
        let got = judged.map(|token| token.resource.as_ref().map(|id| id.as_str().to_owned()));
        assert_eq!(got, want.map(|id| id.map(str::to_owned)), "{claim}");
    }
    let fixed = Some(CallerResource::Fixed(ResourceId::parse("/a").unwrap()));
    let verifier = ServiceVerifier::new(issuers(), &TokenAuth { resource: fixed, ..auth() });
    let token = verifier.verify(&idp_token(&json!({}), &json!({"rid": "/b"})), NOW).unwrap();
    assert_eq!(token.resource, None, "what is configured is not the token's to say");
}

#[test]
fn verifiers_are_equal_when_nothing_that_they_judge_by_differs() {
    let base = verifier();
    assert_eq!(base, verifier());
    assert_ne!(base.epoch(), verifier().epoch());
    let required = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let other_keys = KeySet::parse(&forge::jwks(&[forge::rs256()])).unwrap();
    for (why, other) in [
        ("issuers", ServiceVerifier::new(vec![own()], &auth())),
        (
            "keys",
            ServiceVerifier::new(
                [vec![foreign("idp", IDP, &[TokenAlgorithm::EdDsa], Some(other_keys))], issuers()].concat(),
                &auth(),
            ),
        ),
        ("audiences", ServiceVerifier::new(issuers(), &TokenAuth { audiences: vec![], ..auth() })),
        ("claims", ServiceVerifier::new(issuers(), &TokenAuth { required_claims: required, ..auth() })),
        (
            "resource",
            ServiceVerifier::new(
                issuers(),
                &TokenAuth { resource: Some(CallerResource::Claim("r".to_owned())), ..auth() },
            ),
        ),
    ] {
        assert_ne!(base, other, "{why}");
    }
    let keys =
        |set: KeySet| ServiceVerifier::new(vec![foreign("idp", IDP, &[TokenAlgorithm::EdDsa], Some(set))], &auth());
    assert_eq!(keys(idp_keys()), keys(idp_keys()));
    assert_ne!(keys(idp_keys()), keys(KeySet::parse(&forge::jwks(&[forge::ed25519()])).unwrap()));
}
