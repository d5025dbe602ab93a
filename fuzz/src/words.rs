//! Small texts that strangers and operators write, and the table of keys.

use std::collections::HashMap;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use ipnet::IpNet;
use scoregate::model::digest::Digest;
use scoregate::model::feature::FeatureNames;
use scoregate::model::name::Name;
use scoregate::model::resource::ResourceId;
use scoregate::model::slot::Slot;
use scoregate::model::time::UnixSeconds;
use scoregate::observe::ids::Ids;
use scoregate::observe::ids::request_id;
use scoregate::observe::trace_context::Recording;
use scoregate::observe::trace_context::TraceContext;
use scoregate::pipeline::headers;
use scoregate::snapshot::keys::KeyOwner;
use scoregate::snapshot::keys::KeyRecord;
use scoregate::snapshot::keys::KeyTable;
use scoregate::store::record_key::RecordKey;
use scoregate::tokens::revocation::TokenId;

use crate::lines;

/// What is read says the same when it is written and read again.
pub(crate) fn words(data: &[u8]) {
    let texts: Vec<&str> = lines(data).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    for text in &texts {
        if let Ok(name) = Name::parse(text) {
            assert_eq!(name.as_str(), *text);
        }
        if let Ok(resource) = ResourceId::parse(text) {
            let folded = resource.folded();
            assert!(folded.starts_with('/') && !folded.ends_with('/') && !folded.contains("//"));
            assert_eq!(ResourceId::parse(&text.to_ascii_uppercase()).as_ref(), Ok(&resource));
            assert_eq!(resource.to_string(), *text);
        }
        if let Some(key) = RecordKey::parse(text) {
            assert_eq!(key.to_string(), *text);
        }
    }
    if let Ok(names) = FeatureNames::new(&texts) {
        assert!(names.iter().eq(texts.iter().copied()));
        assert!(texts.iter().all(|text| names.find(text).is_some_and(|it| names.names_of(it).eq([*text]))));
    }
    if let [issuer, id, ..] = texts.as_slice() {
        assert!(issuer.is_empty() || TokenId::of(issuer, id) != TokenId::of("", &format!("{issuer}{id}")));
    }
    forwarded(&texts);
}

/// Whoever is behind proxies that are trusted is the nearest that none of them vouches for.
fn forwarded(texts: &[&str]) {
    let mut sent = HeaderMap::new();
    for (named, text) in ["x-forwarded-for", "x-forwarded-for", "traceparent", "x-request-id"].iter().zip(texts) {
        if let Ok(value) = HeaderValue::from_str(text) {
            sent.append(HeaderName::from_static(named), value);
        }
    }
    let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().expect("a network")];
    let (proxy, stranger) = ("10.0.0.1".parse().ok(), "192.0.2.1".parse().ok());
    assert_eq!(headers::client_address(stranger, &trusted, &sent), stranger, "a stranger's word counts nothing");
    assert!(headers::client_address(proxy, &trusted, &sent).is_some());
    let _traced = TraceContext::of(&sent, &Ids::new(), Recording::of(Some(0.5))).traceparent();
    let _identified = request_id(&sent);
}

/// A table of keys against a map: each four bytes put, move or take away one of a few keys that look alike.
pub(crate) fn key_table(data: &[u8]) {
    let key = |number: u8| {
        let mut bytes = [number % 3; 32];
        (bytes[7], bytes[31]) = (number % 2, number);
        Digest::from_bytes(bytes)
    };
    let (mut table, mut map) = (KeyTable::default(), HashMap::new());
    for change in data.chunks_exact(4).take(64) {
        let [gone, also_gone, added, owner] = [change[0] % 32, change[1] % 32, change[2] % 32, change[3]];
        let record = KeyRecord {
            owner: if owner % 2 == 0 { KeyOwner::Service(owner.into()) } else { KeyOwner::Account(owner.into()) },
            slot: if owner % 4 < 2 { Slot::Primary } else { Slot::Secondary },
            expires: (owner % 5 == 0).then_some(UnixSeconds(owner.into())),
        };
        let before = map.clone();
        map.retain(|known, _| *known != key(gone) && *known != key(also_gone));
        let twice = map.insert(key(added), record).is_some();
        match table.with_changes(&[key(gone), key(also_gone)], &[(key(added), record)]) {
            Ok(changed) => table = changed,
            Err(_duplicate) => assert!(twice),
        }
        if twice {
            map = before;
        }
        assert_eq!((table.len(), table.iter().count()), (map.len(), map.len()));
        assert!((0..32).all(|number| table.get(&key(number)) == map.get(&key(number))));
    }
}
