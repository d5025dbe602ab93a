//! Tokens, as they are presented and as somebody with a key could make them; key sets; requests for tokens.

use std::cell::LazyCell;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::config::IssuerKeys;
use scoregate::model::feature::FeatureNames;
use scoregate::model::time::UnixSeconds;
use scoregate::snapshot::Snapshot;
use scoregate::snapshot::inputs::Inputs;
use scoregate::snapshot::inputs::LoadedIssuer;
use scoregate::snapshot::service::Auth;
use scoregate::tokens::cache::VerifiedCache;
use scoregate::tokens::issue_request::IssueRequest;
use scoregate::tokens::jwks::KeySet;
use scoregate::tokens::limited::LimitedToken;
use scoregate::tokens::verify::ServiceVerifier;
use scoregate::tokens::verify::VerifiedToken;
use serde::de::Deserializer as _;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::gateway::NOW;
use crate::gateway::name;
use crate::gateway::runtime;
use crate::lines;

const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
issuers: {corp: {issuer: 'https://corp', keys: {file: corp.jwks}, algorithms: [EdDSA], leeway: 30s, max_lifetime: 1h}}
accounts: {contoso: {resource: /a/contoso}}
services:
  foreign:
    upstream: model
    auth: {token: {issuers: [corp, own], audiences: [gateway], required_claims: {tid: t1}, resource: {claim: rid}}}
  other: {upstream: model, auth: {token: {issuers: [corp], audiences: [elsewhere]}}}
  own: {upstream: model, auth: {token: {issuers: [own], audiences: ['urn:scoregate:limited-access', own]}}}
";

/// How far the configuration lets clocks differ.
const LEEWAY: u64 = 30;

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a pair"));

struct World {
    snapshot: Snapshot,
    taken: RefCell<VerifiedCache<VerifiedToken>>,
    lent: RefCell<VerifiedCache<LimitedToken>>,
}

thread_local! {
    static WORLD: LazyCell<World> = LazyCell::new(|| runtime().block_on(World::new()));
}

impl World {
    async fn new() -> Self {
        let x = URL_SAFE_NO_PAD.encode(PAIR.public_key());
        let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"{x}"}}]}}"#);
        let keys = Arc::new(KeySet::parse(set.as_bytes()).expect("a key set"));
        let mut inputs = Inputs::default();
        inputs.issuers.insert(name("corp"), LoadedIssuer { from: IssuerKeys::File("corp.jwks".into()), keys });
        let snapshot = Gateway::new(CONFIG, inputs, &[]).await.snapshot(None);
        // Small, so that entries are pushed out.
        Self { snapshot, taken: RefCell::new(VerifiedCache::new(16)), lent: RefCell::new(VerifiedCache::new(16)) }
    }

    fn verifier(&self, service: &str) -> &ServiceVerifier {
        let found = self.snapshot.services.iter().find(|it| it.settings.name.as_str() == service);
        match &found.expect("a service").auth {
            Auth::Token { verifier, .. } => verifier,
            Auth::Key { .. } | Auth::Public => panic!("{service} wants no token"),
        }
    }

    /// Judges a token for every service and as a LimitedAccessToken, at every moment that matters: what the cache
    /// says is what a fresh look says.
    fn judge(&self, token: &str, claims: &Value) -> Judged {
        let mut judged = Judged::default();
        for now in moments(claims) {
            for service in ["foreign", "other", "own"] {
                let verifier = self.verifier(service);
                let fresh = verifier.verify(token, now);
                let mut cache = self.taken.borrow_mut();
                let cached = cache.find_or_verify(token, verifier.epoch(), now, || verifier.verify(token, now));
                assert_eq!(cached, fresh, "{service} at {}", now.0);
                judged.services.extend(fresh.ok().map(|taken| (service, now, taken)));
            }
            let fresh = self.snapshot.limited.verify(token, now);
            let epoch = self.snapshot.limited.epoch();
            let mut cache = self.lent.borrow_mut();
            let cached = cache.find_or_verify(token, epoch, now, || self.snapshot.limited.verify(token, now));
            assert_eq!(cached, fresh, "limited at {}", now.0);
            judged.limited.extend(fresh.ok().map(|taken| (now, taken)));
        }
        assert!(judged.services.is_empty() || judged.limited.is_empty(), "a token is of one kind");
        judged
    }
}

/// Where a token was taken, and when.
#[derive(Default)]
struct Judged {
    services: Vec<(&'static str, UnixSeconds, Arc<VerifiedToken>)>,
    limited: Vec<(UnixSeconds, Arc<LimitedToken>)>,
}

/// Now, and the seconds around each time that the token names.
fn moments(claims: &Value) -> Vec<UnixSeconds> {
    let named = ["exp", "nbf", "iat"].iter().filter_map(|claim| claims.get(claim)?.as_u64());
    let around = named.flat_map(|at| [-31_i64, -30, -6, -1, 0, 1, 29, 30].map(|by| at.saturating_add_signed(by)));
    std::iter::once(NOW).chain(around.map(UnixSeconds)).collect()
}

/// What nobody signed is taken nowhere.
pub(crate) fn token(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    WORLD.with(|world| {
        let judged = world.judge(token, &Value::Null);
        assert!(judged.services.is_empty() && judged.limited.is_empty(), "{token}");
    });
}

/// A header and claims that a trusted issuer signed: what is taken keeps every rule, as another reader has it.
pub(crate) fn claims(data: &[u8]) {
    let Some((header, payload)) = two(data) else { return };
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(PAIR.sign(signed.as_bytes()));
    let token = format!("{signed}.{signature}");
    let claims = serde_json::from_slice(payload).unwrap_or_default();
    WORLD.with(|world| {
        let judged = world.judge(&token, &claims);
        assert!(judged.limited.is_empty(), "a stranger lends nothing");
        for (service, now, taken) in &judged.services {
            check_header(header);
            check_claims(payload, &claims, service, *now);
            assert_eq!(claims["exp"], taken.expires.0);
            assert_eq!(claims.get("sub").and_then(Value::as_str).unwrap_or_default(), &*taken.subject);
            assert_eq!(claims.get("jti").and_then(Value::as_str), taken.id.as_deref());
        }
        // Another signature of the same length.
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{signed}.{other}{}", &signature[1..]);
        assert!(world.judge(&forged, &claims).services.is_empty(), "a forged token was taken");
    });
}

fn check_header(header: &[u8]) {
    let read: Value = serde_json::from_slice(header).expect("a header that was taken is JSON");
    assert_eq!(members_twice(header), None);
    assert_eq!(read["alg"], "EdDSA");
    assert!(read.get("kid").is_none_or(|kid| kid == "k1"), "{read}");
    let refused = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"];
    assert!(refused.iter().all(|member| read.get(member).is_none()), "{read}");
}

fn check_claims(payload: &[u8], claims: &Value, service: &str, now: UnixSeconds) {
    assert_eq!(members_twice(payload), None);
    assert_eq!(claims["iss"], "https://corp");
    let names = |claim: &str, wanted: &str| match &claims[claim] {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|item| item == wanted),
        _ => false,
    };
    assert!(names("aud", if service == "foreign" { "gateway" } else { "elsewhere" }), "{service} {claims}");
    assert!(service != "foreign" || names("tid", "t1"), "{claims}");
    assert_ne!(service, "own");
    let time = |claim: &str| claims.get(claim).map(|value| value.as_u64().expect("a whole number of seconds"));
    let expires = time("exp").expect("exp");
    assert!(now.0 < expires.saturating_add(LEEWAY), "expired at {now:?}: {claims}");
    for early in ["nbf", "iat"] {
        assert!(time(early).is_none_or(|at| at <= now.0.saturating_add(LEEWAY)), "{early} at {now:?}: {claims}");
    }
    assert!(expires <= now.0.saturating_add(3600 + 2 * LEEWAY), "lives too long at {now:?}: {claims}");
}

/// Claims under the gateway's own signature: a LimitedAccessToken is no access token, and the reverse.
pub(crate) fn limited(data: &[u8]) {
    let Some((typ, payload)) = two(data) else { return };
    let Ok(typ) = std::str::from_utf8(typ) else { return };
    let Ok(claims) = serde_json::from_slice::<Value>(payload) else { return };
    WORLD.with(|world| {
        let Ok(token) = world.snapshot.own_keys.newest().sign(typ, &claims) else { return };
        let judged = world.judge(token.expose(), &claims);
        let typ = typ.to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        for (now, lent) in judged.limited {
            assert_eq!(typ, "limited-access+jwt");
            let audience = &claims["aud"];
            let meant = "urn:scoregate:limited-access";
            assert!(audience == meant || *audience == serde_json::json!([meant]), "{claims}");
            assert!(now < lent.expires && lent.expires.0 <= lent.issued.0 + 86_400, "{claims}");
            let named = world.snapshot.features.names_of(lent.flags);
            let listed = claims["feature-flags"].as_array().expect("flags are a list");
            assert!(named.into_iter().all(|flag| listed.iter().any(|it| it == flag)), "{claims}");
        }
        for (service, now, taken) in judged.services {
            assert!(typ == "jwt" || typ == "at+jwt", "{service} took a {typ}");
            assert!(now < taken.expires, "{claims}");
        }
    });
}

/// A request for a LimitedAccessToken asks for what every reader of it would say.
pub(crate) fn issue(data: &[u8]) {
    static NAMES: LazyLock<FeatureNames> = LazyLock::new(|| FeatureNames::new(&FeatureNames::FACE).expect("flags"));
    let Some((query, body)) = two(data) else { return };
    let Ok(query) = std::str::from_utf8(query) else { return };
    let Ok(asked) = IssueRequest::parse(Some(query), body, &NAMES) else { return };
    assert_eq!(members_twice(body), None);
    let read: Value = serde_json::from_slice(body).expect("what was taken is JSON");
    let target = read.get("targetAzureResourceId").or_else(|| read.get("resourceId"));
    assert_eq!(target.and_then(Value::as_str), Some(asked.target.as_str()));
    let flags: HashSet<&str> =
        read["featureFlags"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(NAMES.names_of(asked.flags).collect::<HashSet<_>>(), flags);
    assert!((60..=86_400).contains(&asked.lifetime.as_seconds()));
    if !query.to_ascii_lowercase().contains("time") && !query.contains('%') {
        assert_eq!(asked.lifetime.as_seconds(), 3600);
    }
}

/// A key set has no more keys than the document could mean, and none that is symmetric or private.
pub(crate) fn jwks(data: &[u8]) {
    scoregate::tokens::install_crypto_provider();
    let Ok(set) = KeySet::parse(data) else { return };
    assert_eq!(members_twice(data), None);
    let read: Value = serde_json::from_slice(data).expect("what was taken is JSON");
    let listed = read["keys"].as_array().expect("keys are a list");
    let public = |jwk: &&Value| {
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| jwk.get(member).is_some());
        ["RSA", "EC", "OKP"].iter().any(|kty| jwk["kty"] == *kty) && !private && jwk["use"] != "enc"
    };
    let most = listed.iter().filter(public).count();
    assert!((1..=most).contains(&set.usable_keys()), "{} of {most}", set.usable_keys());
}

/// The first line, and the rest.
fn two(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = lines(data).next()?;
    Some((first, data.get(first.len() + 1..)?))
}

/// A member of an object that stands twice, by a reader that keeps nothing else.
fn members_twice(object: &[u8]) -> Option<String> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<String>, A::Error> {
            let (mut seen, mut twice) = (HashSet::new(), None);
            while let Some((member, IgnoredAny)) = members.next_entry::<String, IgnoredAny>()? {
                if let Some(member) = seen.replace(member) {
                    twice = Some(member);
                }
            }
            Ok(twice)
        }
    }

    serde_json::Deserializer::from_slice(object).deserialize_map(Names).expect("an object")
}
