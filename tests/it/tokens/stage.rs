//! The gateway that the corpus is sent to, and the tokens that are made for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::config;
use scoregate::config::SigningAlgorithm;
use scoregate::model::time::UnixSeconds;
use scoregate::store::Store;
use scoregate::store::records::RevocationRecord;
use scoregate::store::records::Revoked;
use scoregate::tokens::signing::SigningKey;

use super::case::Case;
use super::keys::Keys;
use super::keys::SHARED;
use super::signature;
use crate::support::corpus::directory;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::template::expand;
use crate::support::upstream::Upstream;

/// Keys of services and accounts, by the word that stands for them: `@{key live}`.
const KEYS: &[(&str, &str)] = &[
    ("live", "the-key-that-opens-the-keyed-service"),
    ("expired", "the-key-that-was-good-until-it-expired"),
    ("vendor", "the-key-of-the-vendor-of-features"),
    ("maker", "the-key-of-the-maker-of-cameras"),
    ("stranger", "the-key-of-a-stranger-to-them-both"),
    ("owner", "the-key-of-the-owner-of-the-gateway"),
];

const YAML: &str = "
listeners:
  traffic: [{address: $TRAFFIC, limits: {failed_authentications: 10000000}}]
  management: {address: $MANAGEMENT, limits: {failed_authentications: 10000000}}
  health: {address: $HEALTH}
workers: 2
issuers:
  corp:
    issuer: https://corp.test/
    keys: {file: $DIR/corp.json}
    algorithms: [ES256, ES384, RS256, PS256, EdDSA]
    leeway: 30s
    max_lifetime: 1h
  other: {issuer: 'https://other.test/', keys: {file: $DIR/other.json}, algorithms: [ES256]}
  hmac: {issuer: 'https://hmac.test/', keys: {secret: 'file:$DIR/shared'}, algorithms: [HS256]}
management_keys: {owner: {key: 'file:$DIR/owner.key', role: owner}}
management_issuers: {corp: {audiences: [manage], roles: {claim: roles, owner: [admin]}}}
accounts:
  vendor: {resource: /a/vendor, may_issue: [Face.Identification], keys: {primary: {key: 'file:$DIR/vendor.key'}}}
  maker: {resource: /a/maker, keys: {primary: {key: 'file:$DIR/maker.key'}}}
  stranger: {resource: /a/stranger, keys: {primary: {key: 'file:$DIR/stranger.key'}}}
upstreams: {a: {endpoints: ['@UPSTREAM']}}
services:
  guarded: {match: [{prefix: /guarded}], upstream: a, auth: {token: {issuers: [corp]}}}
  strict:
    match: [{prefix: /strict}]
    upstream: a
    auth: {token: {issuers: [corp], audiences: [guarded], required_claims: {role: scorer}, resource: {claim: rid}}}
  elsewhere: {match: [{prefix: /elsewhere}], upstream: a, auth: {token: {issuers: [other]}}}
  hmac: {match: [{prefix: /hmac}], upstream: a, auth: {token: {issuers: [hmac]}}}
  own: {match: [{prefix: /own}], upstream: a, auth: {token: {}}}
  own-too: {match: [{prefix: /own-too}], upstream: a, auth: {token: {}}}
  keyed:
    match: [{prefix: /keyed}]
    upstream: a
    auth:
      key:
        keys:
          primary: {key: 'file:$DIR/live.key'}
          secondary: {key: 'file:$DIR/expired.key', expires: 2001-01-01T00:00:00Z}
  face:
    match: [{prefix: /face}]
    upstream: a
    auth: {key: {keys: none, accounts: every}}
    features: {preset: face}
    issues_limited_access_tokens: true
";

/// A running gateway, whoever signs for it, and what is good.
pub(super) struct Stage {
    pub(super) gateway: Gateway,
    pub(super) upstream: Upstream,
    pub(super) good: BTreeMap<String, Case>,
    keys: Keys,
    own_kid: String,
}

/// What every other token is made from.
fn good() -> BTreeMap<String, Case> {
    let text = fs::read_to_string(directory("tokens").join("good.yaml")).expect("the good tokens can be read");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("good.yaml: {error}"))
}

impl Stage {
    pub(super) fn set() -> Self {
        let directory = scratch();
        let at = directory.path();
        let own = prepare_store(&at.join("store"));
        let keys = Keys::new(own.pkcs8().expose());
        let corp = keys.jwks(&[("es", "es"), ("es384", "es384"), ("rs", "rs"), ("ps", "ps"), ("ed", "ed")]);
        let files = KEYS.iter().map(|(name, key)| (format!("{name}.key"), key.as_bytes().to_vec()));
        for (name, content) in files.chain([
            ("corp.json".to_owned(), corp.into_bytes()),
            ("other.json".to_owned(), keys.jwks(&[("es", "other"), ("other", "stranger")]).into_bytes()),
            ("shared".to_owned(), SHARED.to_vec()),
        ]) {
            fs::write(at.join(name), content).expect("a file can be written");
        }
        let upstream = Upstream::ok();
        let gateway = Gateway::start_in(directory, &YAML.replace("@UPSTREAM", &upstream.url()));
        Self { gateway, upstream, good: good(), keys, own_kid: own.kid().to_owned() }
    }

    /// The token of a case.
    pub(super) fn token(&self, case: &Case) -> Vec<u8> {
        let good = self.good.get(&case.from).unwrap_or_else(|| panic!("no good token is called {}", case.from));
        let say = |text: &str| expand(text, &|word| self.word(word));
        let header = part(&good.header, &case.header, case.header_also.as_ref(), case.header_text.as_ref());
        let claims = part(&good.claims, &case.claims, case.claims_also.as_ref(), case.claims_text.as_ref());
        let header = spelled(say(&header), case.header_as.as_deref(), case.header_text.is_none());
        let claims = spelled(say(&claims), case.claims_as.as_deref(), case.claims_text.is_none());
        let signed = [&header[..], b".", &claims].concat();
        let how = case.sign.as_ref().or(good.sign.as_ref()).expect("somebody signs");
        let made = self.keys.sign(how, &signed);
        let made = case.signature.as_deref().map_or(made.clone(), |change| signature::changed(made, change));
        let signature = spelled(made, case.signature_as.as_deref(), false);
        expand(case.text.as_deref().unwrap_or("@{h}.@{p}.@{s}"), &|word| match word {
            "h" => Some(header.clone()),
            "p" => Some(claims.clone()),
            "s" => Some(signature.clone()),
            other => self.word(other),
        })
    }

    /// The bytes of a case's request; `mark` tells it from all others at the upstream.
    pub(super) fn request(&self, case: &Case, mark: &str) -> Vec<u8> {
        let good = &self.good[&case.from];
        let token = self.token(case);
        let say = |text: &str| {
            expand(text, &|word| match word {
                "t" => Some(token.clone()),
                other => self.word(other),
            })
        };
        let method = case.method.as_ref().or(good.method.as_ref()).map_or("GET", String::as_str);
        let target = case.target.as_ref().or(good.target.as_ref()).expect("every good token has a place");
        let mut bytes = [method.as_bytes(), b" ", &say(target), b" HTTP/1.1\r\nhost: gateway.test\r\n"].concat();
        bytes.extend(format!("x-case: {mark}\r\n").into_bytes());
        let lines = case.send.as_ref().or(good.send.as_ref()).expect("every good token is sent somehow");
        for line in lines {
            bytes.extend(say(line));
            bytes.extend_from_slice(b"\r\n");
        }
        let body = case.body.as_ref().or(good.body.as_ref()).map(|body| say(body)).unwrap_or_default();
        let is_chunked = lines.iter().any(|line| line.starts_with("Transfer-Encoding"));
        if !body.is_empty() && !is_chunked {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(body);
        bytes
    }

    /// What words mean everywhere.
    pub(super) fn word(&self, word: &str) -> Option<Vec<u8>> {
        let words: Vec<&str> = word.split(' ').collect();
        match words[..] {
            ["kid", "own"] => Some(self.own_kid.clone().into_bytes()),
            ["key", name] => {
                let (_, key) = KEYS.iter().find(|(known, _)| *known == name)?;
                Some(key.as_bytes().to_vec())
            }
            ["token", name] => Some(self.token(self.good.get(name)?)),
            ["public", key, form] => Some(self.keys.public(key, form)),
            _ => None,
        }
    }
}

/// A JSON text with the members of a good token, and what a case says over them.
fn part(
    good: &BTreeMap<String, Option<String>>,
    case: &BTreeMap<String, Option<String>>,
    also: Option<&String>,
    whole: Option<&String>,
) -> String {
    let mut members = good.clone();
    members.extend(case.clone());
    let written = members.iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value.as_ref()?)));
    let written: Vec<String> = written.chain(also.cloned()).collect();
    whole.cloned().unwrap_or_else(|| format!("{{{}}}", written.join(",")))
}

/// Base64url of the bytes, spelled as `how` says. JSON can be made a space longer so that bits are left over to stray.
fn spelled(mut bytes: Vec<u8>, how: Option<&str>, can_grow: bool) -> Vec<u8> {
    let how = how.unwrap_or("@{it}");
    while can_grow && how != "@{it}" && bytes.len().is_multiple_of(3) {
        bytes.push(b' ');
    }
    let it = URL_SAFE_NO_PAD.encode(&bytes);
    expand(how, &|word| match word {
        "it" => Some(it.clone().into_bytes()),
        "half" => Some(it.as_bytes()[..it.len() / 2].to_vec()),
        "rest" => Some(it.as_bytes()[it.len() / 2..].to_vec()),
        "raw" => Some(bytes.clone()),
        "standard" => {
            let standard = STANDARD_NO_PAD.encode(&bytes);
            assert_ne!(standard, it, "nothing in it tells the alphabets apart");
            Some(standard.into_bytes())
        }
        "stray" => Some(stray(&it, bytes.len())),
        _ => None,
    })
}

/// The same bytes by another last digit: the lowest of its unused bits is set.
fn stray(it: &str, length: usize) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(length % 3, 0, "no bit is left over");
    let mut spelled = it.as_bytes().to_vec();
    let last = spelled.pop().unwrap_or_default();
    let place = DIGITS.iter().position(|digit| *digit == last).unwrap_or_default();
    spelled.push(DIGITS[place | 1]);
    spelled
}

/// What the gateway finds in its store: a signing key, which the test has as well, and revocations.
fn prepare_store(directory: &Path) -> SigningKey {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let settings = config::Store {
            directory: directory.to_owned(),
            master_key: None,
            previous_master_keys: Vec::new(),
            etcd: None,
        };
        let store = Arc::new(Store::open(&settings).await.expect("a new store can be opened"));
        let now = UnixSeconds::now();
        store.ensure_signing_key(SigningAlgorithm::Es256, now).await.expect("the store takes a key");
        for (iss, jti) in [("https://corp.test/", "revoked"), ("urn:scoregate", "revoked")] {
            let revoked = Revoked::Jti { iss: iss.to_owned(), jti: jti.to_owned() };
            let (issued_before, expires) = (now.plus(3600), now.plus(7200));
            let record = RevocationRecord { revoked, issued_before, expires, why: String::new() };
            store.revoke(&record).await.expect("the store takes a revocation");
        }
        let state = store.read().await.expect("the store can be read");
        let signer = state.signer().expect("it was just made");
        scoregate::tokens::install_crypto_provider();
        let key = SigningKey::from_pkcs8(signer.algorithm, signer.pkcs8.clone()).expect("it is a key");
        Arc::try_unwrap(store).expect("nobody else has the store").close().await;
        key
    })
}
