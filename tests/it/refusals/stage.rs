//! A gateway whose services each go wrong in a way of their own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoregate::config;
use scoregate::config::SigningAlgorithm;
use scoregate::model::feature::FeatureNames;
use scoregate::model::name::Name;
use scoregate::model::resource::ResourceId;
use scoregate::model::time::UnixSeconds;
use scoregate::store::Store;
use scoregate::store::records::RevocationRecord;
use scoregate::store::records::Revoked;
use scoregate::tokens::limited::LimitedLifetime;
use scoregate::tokens::limited::Loan;
use scoregate::tokens::limited::issue_limited_token;
use scoregate::tokens::signing::SigningKey;
use serde_json::Value;
use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

pub(super) const KEY: &str = "a-key-that-opens-the-service";
pub(super) const OTHER_KEY: &str = "a-key-that-opens-it-as-well";
pub(super) const OLD_KEY: &str = "a-key-that-has-expired-by-now";
pub(super) const MAKER_KEY: &str = "the-key-of-the-maker-of-doors";
/// Of the issuer `corp`.
pub(super) const SHARED: &[u8] = b"thirty-two-bytes-at-least-for-hs256";
pub(super) const REVOKED_ID: &str = "the-revoked-one";

pub(crate) const VENDOR: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/vendor";
pub(crate) const MAKER: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/maker";
const STRANGER: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/stranger";

/// A running gateway and everything that its services refer to.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) gateway: Gateway,
    pub(super) open: Upstream,
    pub(super) limited: LimitedTokens,
    _others: Vec<Upstream>,
    _silent: TcpListener,
}

/// LimitedAccessTokens of this gateway's own.
#[derive(Debug)]
pub(crate) struct LimitedTokens {
    pub(crate) expired: String,
    pub(crate) for_another: String,
}

impl Stage {
    pub(super) fn set() -> Self {
        let directory = scratch();
        let at = directory.path();
        for (name, text) in [("key", KEY), ("other", OTHER_KEY), ("old", OLD_KEY), ("maker", MAKER_KEY)] {
            fs::write(at.join(name), text).expect("a file can be written");
        }
        fs::write(at.join("shared"), SHARED).expect("a file can be written");
        let limited = prepare_store(&at.join("store"));

        let open = Upstream::ok();
        let closing = Upstream::start(|_, _| Err(std::io::ErrorKind::ConnectionAborted.into()));
        let garbling = Upstream::start(|_, stream| std::io::Write::write_all(stream, b"SMTP/1.0 220 hello\r\n\r\n"));
        let dawdling = Upstream::start(|_, stream| {
            std::thread::sleep(Duration::from_secs(3));
            respond(stream, 200, &[], b"late")
        });
        // Bound and never accepted from: a handshake that begins and goes no further.
        let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let yaml = YAML
            .replace("@OPEN", &open.address().to_string())
            .replace("@CLOSING", &closing.address().to_string())
            .replace("@GARBLING", &garbling.address().to_string())
            .replace("@DAWDLING", &dawdling.address().to_string())
            .replace("@SILENT", &silent.local_addr().expect("it is bound").to_string())
            .replace("@CLOSED", &closed.expect("loopback has a free port").to_string())
            .replace("@VENDOR", VENDOR)
            .replace("@MAKER", MAKER);
        let gateway = Gateway::start_in(directory, &yaml);
        // At the start everything has to be there; a service that is added later is quarantined by itself.
        gateway.configure(&format!("{yaml}{LACKING}"));
        gateway.hangup();
        eventually("the service without keys is added", || (gateway.generation() >= 2.0).then_some(()));
        Self { gateway, open, limited, _others: vec![closing, garbling, dawdling], _silent: silent }
    }
}

const YAML: &str = "
issuers:
  corp:
    issuer: https://corp.test/
    keys: {secret: 'file:$DIR/shared'}
    algorithms: [HS256]
    max_lifetime: 1h
  away:
    issuer: https://away.test/
    keys: {url: 'http://@CLOSED/keys'}
    algorithms: [RS256]
accounts:
  vendor: {resource: @VENDOR, may_issue: [Face.Identification]}
  maker: {resource: @MAKER, keys: {primary: {key: 'file:$DIR/maker'}}}
upstreams:
  open: {endpoints: ['http://@OPEN']}
  closed: {endpoints: ['http://@CLOSED']}
  closing: {endpoints: ['http://@CLOSING']}
  garbling: {endpoints: ['http://@GARBLING']}
  dawdling: {endpoints: ['http://@DAWDLING']}
  silent: {endpoints: ['https://@SILENT']}
  plain: {endpoints: ['https://@OPEN']}
services:
  open: {match: [{prefix: /open}], upstream: open, auth: {public: a test}, max_body: 1KiB, timeouts: {idle: 300ms}}
  split: {match: [{prefix: /split}], deployments: {blue: {upstream: open, weight: 100}}, auth: {public: a test}}
  seldom: {match: [{prefix: /seldom}], upstream: open, auth: {public: a test}, limits: {per_caller: {requests: 1, per: 1h}}}
  reading: {match: [{path: /reading, methods: [GET]}], upstream: open, auth: {public: a test}}
  keyed:
    match: [{prefix: /keyed}]
    upstream: open
    auth: {key: {from: [bearer, {header: x-key}, {query: k}], keys: {primary: {key: 'file:$DIR/key'}, secondary: {key: 'file:$DIR/other'}}}}
  expired:
    match: [{prefix: /expired}]
    upstream: open
    auth: {key: {keys: {primary: {key: 'file:$DIR/old', expires: 2001-01-01T00:00:00Z}}}}
  corp:
    match: [{prefix: /corp}]
    upstream: open
    auth: {token: {issuers: [corp], audiences: [corp], required_claims: {role: scorer}}}
  away: {match: [{prefix: /away}], upstream: open, auth: {token: {issuers: [away]}}}
  own: {match: [{prefix: /own}], upstream: open, auth: {token: {}}}
  face: {match: [{prefix: /face}], upstream: open, auth: {key: {keys: none, accounts: [maker, vendor]}}, features: {preset: face}, issues_limited_access_tokens: true}
  refusing: {match: [{prefix: /refusing}], upstream: closed, auth: {public: a test}}
  closing: {match: [{prefix: /closing}], upstream: closing, auth: {public: a test}}
  garbling: {match: [{prefix: /garbling}], upstream: garbling, auth: {public: a test}}
  dawdling: {match: [{prefix: /dawdling}], upstream: dawdling, auth: {public: a test}, timeouts: {response: 200ms}}
  late: {match: [{prefix: /late}], upstream: dawdling, auth: {public: a test}, timeouts: {total: 200ms}}
  silent: {match: [{prefix: /silent}], upstream: silent, auth: {public: a test}, timeouts: {connect: 200ms}}
  plain: {match: [{prefix: /plain}], upstream: plain, auth: {public: a test}}
";

/// A service whose keys are not there.
const LACKING: &str = "
  lacking: {match: [{prefix: /lacking}], upstream: open, auth: {key: {keys: {directory: $DIR/nothing-here}}}}
";

/// What the gateway finds in its store: a signing key, with which tokens were issued long ago, and a revocation.
pub(crate) fn prepare_store(directory: &Path) -> LimitedTokens {
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
        store
            .revoke(&RevocationRecord {
                revoked: Revoked::Jti { iss: "https://corp.test/".to_owned(), jti: REVOKED_ID.to_owned() },
                issued_before: now.plus(3600),
                expires: now.plus(7200),
                why: "a test".to_owned(),
            })
            .await
            .expect("the store takes a revocation");
        let state = store.read().await.expect("the store can be read");
        let signer = state.signer().expect("it was just made");
        scoregate::tokens::install_crypto_provider();
        let key = SigningKey::from_pkcs8(signer.algorithm, signer.pkcs8.clone()).expect("it is a key");
        let names = FeatureNames::new(&FeatureNames::FACE).expect("they are names");
        let issue = |target: &str, now: UnixSeconds| {
            let loan = Loan {
                isv: &Name::parse("vendor").expect("it is a name"),
                isv_resource: &ResourceId::parse(VENDOR).expect("it is an identifier"),
                target: &ResourceId::parse(target).expect("it is an identifier"),
                flags: names.find("Face.Identification").expect("Face's flags are known"),
                lifetime: LimitedLifetime::DEFAULT,
            };
            let issued = issue_limited_token(&key, "urn:scoregate", &loan, &names, now).expect("it can be signed");
            issued.jwt.expose().clone()
        };
        let tokens =
            LimitedTokens { expired: issue(MAKER, UnixSeconds(now.0 - 86_400)), for_another: issue(STRANGER, now) };
        match Arc::try_unwrap(store) {
            Ok(store) => store.close().await,
            Err(_shared) => panic!("nobody else has the store"),
        }
        tokens
    })
}

/// A token of the issuer `corp` that its service takes, with members replaced, or (null) taken out.
pub(crate) fn corp_token(changes: &Value) -> String {
    token(&json!({"alg": "HS256", "typ": "JWT"}), changes, SHARED)
}

/// A token with this header, signed with HMAC and this secret whatever the header says.
pub(crate) fn token(header: &Value, changes: &Value, secret: &[u8]) -> String {
    let now = UnixSeconds::now().0;
    let mut claims = json!({
        "iss": "https://corp.test/", "aud": "corp", "sub": "somebody", "role": "scorer", "iat": now, "exp": now + 600,
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        claims[name.as_str()] = value.clone();
    }
    if let Some(claims) = claims.as_object_mut() {
        claims.retain(|_, value| !value.is_null());
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}
