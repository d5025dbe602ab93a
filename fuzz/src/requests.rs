//! Heads of requests, and the credentials in them.

use std::cell::LazyCell;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Uri;
use http::request::Parts;
use scoregate::config::KeySource;
use scoregate::model::refusal::Denied;
use scoregate::model::secret::Secret;
use scoregate::model::slot::Slot;
use scoregate::pipeline::authenticate;
use scoregate::pipeline::authorize;
use scoregate::pipeline::credential;
use scoregate::pipeline::find;
use scoregate::pipeline::headers::Origin;
use scoregate::pipeline::headers::Outgoing;
use scoregate::pipeline::headers::Reserved;
use scoregate::pipeline::judge::Judge;
use scoregate::pipeline::judge::Tokens;
use scoregate::snapshot::Snapshot;
use scoregate::snapshot::inputs::Inputs;
use scoregate::store::record_key::Owner;
use scoregate::store::slots::Regeneration;

use crate::gateway::Gateway;
use crate::gateway::NOW;
use crate::gateway::name;
use crate::gateway::runtime;
use crate::lines;

const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {contoso: {resource: /a/contoso, approvals: [Face.Verification]}}
services:
  open: {match: [{prefix: /open}], upstream: model, auth: {public: a test}, path_allows: [encoded_separators, empty_segments, semicolons, encoded_percent]}
  strict:
    match: [{prefix: /strict}]
    upstream: model
    auth: {key: {from: [bearer, {header: x-key}, {query: k}], accounts: every}}
    features: {preset: face}
  host: {match: [{host: '*.example.com', prefix: /open}], upstream: model, auth: {key: {}}}
  token: {match: [{prefix: /token}], upstream: model, auth: {token: {issuers: [own]}}}
";

/// The key of the service `strict`, of the account, and of the service `host`.
const KEYS: [&str; 3] = ["the-key-of-strict", "the-key-of-contoso", "the-key-of-hosts"];

struct World {
    gateway: Gateway,
    snapshot: Snapshot,
    tokens: Tokens,
}

thread_local! {
    static WORLD: LazyCell<World> = LazyCell::new(|| runtime().block_on(World::new()));
}

impl World {
    async fn new() -> Self {
        let mut gateway = Gateway::new(CONFIG, Inputs::default(), &[]).await;
        let owners = [Owner::Service(name("strict")), Owner::Account(name("contoso")), Owner::Service(name("host"))];
        for (owner, key) in owners.iter().zip(KEYS) {
            let how = Regeneration { value: Some(Secret::new(key.to_owned())), ..Regeneration::default() };
            gateway.store.regenerate(owner, Slot::Primary, &how, NOW).await.expect("a key");
        }
        gateway.state = gateway.store.read().await.expect("a state");
        let snapshot = gateway.snapshot(None);
        Self { gateway, snapshot, tokens: Tokens::default() }
    }
}

/// A head as HTTP/1 would bring it: a request line, then header lines; no more of HTTP's own rules than `http` has.
fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = lines(data);
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let method = http::Method::from_bytes(first.next()?).ok()?;
    let uri: Uri = std::str::from_utf8(first.next()?).ok()?.parse().ok()?;
    let mut head = Request::new(()).into_parts().0;
    (head.method, head.uri) = (method, uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (written, value) = line.split_at(colon);
        let value = value.get(1..)?.trim_ascii();
        head.headers.append(HeaderName::from_bytes(written).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(head)
}

/// A request reaches no service but the one that every reader of its path would see, and none that wants a key
/// without one of its keys.
pub(crate) fn request(data: &[u8]) {
    let Some(mut head) = head(data) else { return };
    WORLD.with(|world| judged(world, &head));
    let identity = ["x-scoregate-principal", "x-scoregate-resource", "x-scoregate-features"];
    let identity = identity.map(HeaderName::from_static);
    let keys = [HeaderName::from_static("x-key"), credential::SUBSCRIPTION_KEY];
    let reserved = Reserved { identity: &identity, keys: &keys };
    for peer_is_trusted in [false, true] {
        let origin = Origin { peer: "192.0.2.1", peer_is_trusted, scheme: "http", host: b"gateway" };
        let (client, version) = (&head.headers, head.version);
        let outgoing = Outgoing { client, version, reserved, origin, replaced: &[] };
        let mut chains = 0;
        outgoing.fields(&mut |sent, value| {
            check_sent(sent.as_str(), &reserved);
            assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{sent}: {value:?}");
            assert!(*sent != http::header::TE || value == b"trailers");
            assert!(peer_is_trusted || *sent != http::header::FORWARDED);
            let is_chain = sent == "x-forwarded-for";
            chains += usize::from(is_chain);
            assert!(!is_chain || if peer_is_trusted { value.ends_with(b"192.0.2.1") } else { value == b"192.0.2.1" });
        });
        assert_eq!(chains, 1);
    }
    reserved.strip_trailers(&mut head.headers);
    head.headers.keys().for_each(|sent| check_sent(sent.as_str(), &reserved));
}

/// A header that goes to an upstream is none of ours, in any spelling.
fn check_sent(sent: &str, reserved: &Reserved<'_>) {
    let folded = sent.replace('_', "-");
    let ours = ["authorization", "limitedaccesstoken", "connection", "upgrade", "keep-alive", "x-original-url"];
    let framing = ["transfer-encoding", "content-length", "host"];
    let taken = reserved.identity.iter().chain(reserved.keys).any(|own| own == folded.as_str());
    assert!(!taken && !ours.contains(&&*folded) && !framing.contains(&&*folded), "{sent} goes to an upstream");
    // What the gateway writes itself; a twin would stay as the client wrote it.
    let written = folded.starts_with("x-forwarded") || folded == "forwarded" || folded == "via";
    assert!(!written || sent == folded, "{sent} goes to an upstream");
}

fn judged(world: &World, head: &Parts) {
    let World { gateway, snapshot, tokens } = world;
    let _allow = find::allow(snapshot, head);
    let Ok(routed) = find::service(snapshot, head) else { return };
    let service = routed.service().settings.name.as_str().to_owned();
    let path = routed.path();
    assert!(path.oddities().is_empty() || service == "open", "{service} takes no odd paths");
    let first = path.loosest().split('/').nth(1).unwrap_or_default();
    let meant = if service == "host" { "open" } else { &*service };
    assert!(first == meant, "{} was routed to {service}", head.uri);
    let judge = Judge { snapshot, now: NOW, tokens, metrics: &gateway.metrics.gateway };
    let Ok(known) = authenticate::check(&judge, routed, head) else { return };
    let holds = |key: &str| presents(head, key);
    match service.as_str() {
        "open" => {}
        "strict" => assert!(KEYS[..2].iter().any(|key| holds(key)), "strict was opened without a key"),
        "host" => assert!(holds(KEYS[2]), "host was opened without its key"),
        other => panic!("{other} was opened"),
    }
    let _granted = authorize::check(&judge, known, head);
}

/// Whether a key stands in the request at all, in the clear or with escapes in the query.
fn presents(head: &Parts, key: &str) -> bool {
    let stands = |bytes: &[u8]| bytes.windows(key.len()).any(|window| window == key.as_bytes());
    let query = head.uri.query().is_some_and(|query| stands(&form_decoded(query).unwrap_or_default()));
    query || head.headers.values().any(|value| stands(value.as_bytes()))
}

/// One decoding, as forms have it. `None` for an escape that is broken.
fn form_decoded(text: &str) -> Option<Vec<u8>> {
    let mut pieces = text.split('%');
    let plain = |piece: &str| piece.replace('+', " ").into_bytes();
    let mut decoded = plain(pieces.next()?);
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend(plain(piece.get(2..)?));
    }
    Some(decoded)
}

/// The key that is found is the one that is there, and what is passed on holds none.
pub(crate) fn credential(data: &[u8]) {
    let mut lines = lines(data);
    let Some(Ok(query)) = lines.next().map(std::str::from_utf8) else { return };
    let mut sent = HeaderMap::new();
    for (named, line) in ["authorization", "x-key", "authorization", "limitedaccesstoken"].into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            sent.append(HeaderName::from_static(named), value);
        }
    }
    let sources =
        [KeySource::Bearer, KeySource::Header(HeaderName::from_static("x-key")), KeySource::Query("k".to_owned())];
    let places: Vec<_> =
        sources.iter().map(|source| credential::key(std::slice::from_ref(source), &sent, Some(query))).collect();
    let found = credential::key(&sources, &sent, Some(query));
    match &found {
        Ok(found) => assert!(places.iter().all(
            |place| matches!(place, Err(Denied::CredentialMissing)) || place.as_ref().is_ok_and(|one| one == found)
        )),
        Err(Denied::CredentialMissing) => assert!(places.iter().all(|place| place == &Err(Denied::CredentialMissing))),
        Err(_) => {}
    }
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values: Vec<_> = pairs.filter(|(named, _)| form_decoded(named).as_deref() == Some(b"k")).collect();
    match (&places[2], values.as_slice()) {
        (Ok(key), [(_, value)]) => assert_eq!(form_decoded(value).as_deref(), Some(&**key)),
        (Err(Denied::CredentialMissing), []) | (Err(Denied::CredentialMalformed), [_]) => {}
        (Err(Denied::CredentialAmbiguous), [_, _, ..]) => {}
        (other, values) => panic!("{other:?} for {values:?}"),
    }
    let passed = credential::without_keys(&sources, query);
    let nothing = HeaderMap::new();
    let again = credential::key(&sources[2..], &nothing, passed.as_deref());
    assert_eq!(again, Err(Denied::CredentialMissing), "{query:?} went on as {passed:?}");
    if values.is_empty() {
        assert_eq!(passed.as_deref(), Some(query));
    }
    if let Ok(token) = credential::token(&sent) {
        assert!(!token.contains([' ', ',']));
    }
    let _limited = credential::limited_access_token(&sent);
}
