//! Keys that come and go while the gateway runs, and tokens that were good a moment ago.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::ISSUER;
use super::Published;
use super::Served;
use super::Signer;
use super::accepted;
use super::call;
use super::claims;
use super::configuration;
use super::fetched;
use super::refused;
use super::signer::jwks;
use super::signer::now;
use super::unavailable;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

/// The shortest time between two fetches that tokens cause.
const COOLDOWN: Duration = Duration::from_secs(1);

#[test]
fn unknown_keys_cause_one_fetch_for_all_and_none_while_that_cools_down() {
    let (upstream, known) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served::keys(&[&known]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1s")));
    assert_eq!(call(&gateway, &known.sign(&claims())), accepted());
    assert_eq!(issuer.fetches(), 1);
    thread::sleep(COOLDOWN + COOLDOWN / 10);
    issuer.serve(Served { after: COOLDOWN / 5, ..Served::keys(&[&known]) });
    let unknown = Signer::new("two").sign(&claims());
    thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| call(&gateway, &unknown))).collect();
        for outcome in calls {
            assert_eq!(outcome.join().unwrap(), refused("token_key_unknown"));
        }
    });
    assert_eq!(issuer.fetches(), 2);
}

#[test]
fn nobody_can_make_the_gateway_fetch_within_the_cool_down() {
    let (upstream, known) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served::keys(&[&known]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1h")));
    assert_eq!(call(&gateway, &known.sign(&claims())), accepted());
    for kid in ["two", "three", "four", "five"] {
        assert_eq!(call(&gateway, &Signer::new(kid).sign(&claims())), refused("token_key_unknown"), "{kid}");
    }
    assert_eq!(issuer.fetches(), 1);
}

#[test]
fn a_new_key_of_the_issuer_is_taken_with_its_first_token() {
    let (upstream, old, new) = (Upstream::ok(), Signer::new("old"), Signer::new("new"));
    let issuer = Published::start(Served::keys(&[&old]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1s")));
    let by_old = old.sign(&claims());
    assert_eq!(call(&gateway, &by_old), accepted());
    thread::sleep(COOLDOWN + COOLDOWN / 10);
    issuer.serve(Served::keys(&[&new]));
    assert_eq!(call(&gateway, &new.sign(&claims())), accepted());
    // The old key is gone from the set, and with it what was verified by it.
    assert_eq!(call(&gateway, &by_old), refused("token_key_unknown"));
    assert_eq!(issuer.fetches(), 2);
}

#[test]
fn while_the_issuer_is_down_known_keys_go_on_and_unknown_ones_cannot_be_judged() {
    let (upstream, old, new) = (Upstream::ok(), Signer::new("old"), Signer::new("new"));
    let issuer = Published::start(Served::keys(&[&old]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1s")));
    assert_eq!(call(&gateway, &old.sign(&claims())), accepted());
    thread::sleep(COOLDOWN + COOLDOWN / 10);
    issuer.serve(Served { status: 500, ..Served::document(String::new()) });
    for _ in 0..3 {
        assert_eq!(call(&gateway, &new.sign(&claims())), unavailable());
        assert_eq!(call(&gateway, &old.sign(&claims())), accepted());
    }
    issuer.serve(Served::keys(&[&old, &new]));
    eventually("the issuer is asked again", || (call(&gateway, &new.sign(&claims())) == accepted()).then_some(()));
}

#[test]
fn a_token_is_not_remembered_beyond_its_expiry() {
    let (upstream, signer) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served::keys(&[&signer]));
    let corp = format!("{}, leeway: 0s", fetched("url", &issuer.url("/"), "1h"));
    let gateway = Gateway::start(&configuration(&upstream, &corp));
    let expires = now() + 3;
    let token = signer.sign(&json!({ "iss": ISSUER, "aud": "guarded", "iat": now(), "exp": expires }));
    assert_eq!(call(&gateway, &token), accepted());
    assert_eq!(call(&gateway, &token), accepted());
    eventually("the token expires", || (now() >= expires).then_some(()));
    assert_eq!(call(&gateway, &token), refused("token_expired"));
}

#[test]
fn a_token_is_not_remembered_beyond_its_key() {
    let (upstream, old, new) = (Upstream::ok(), Signer::new("old"), Signer::new("new"));
    let directory = scratch();
    std::fs::write(directory.path().join("jwks.json"), jwks(&[&old, &new])).unwrap();
    let corp = "keys: {file: $DIR/jwks.json}, algorithms: [ES256]";
    let gateway = Gateway::start_in(directory, &configuration(&upstream, corp));
    let (by_old, by_new) = (old.sign(&claims()), new.sign(&claims()));
    for token in [&by_old, &by_old, &by_new] {
        assert_eq!(call(&gateway, token), accepted());
    }
    gateway.write("jwks.json", jwks(&[&new]));
    eventually("the key is gone", || (call(&gateway, &by_old) == refused("token_key_unknown")).then_some(()));
    assert_eq!(call(&gateway, &by_new), accepted());
    // A file that cannot be read changes nothing.
    gateway.write("jwks.json", "{");
    gateway.hangup();
    eventually("it is noticed", || gateway.everything_written().contains("issuers.corp").then_some(()));
    assert_eq!(call(&gateway, &by_new), accepted());
}

#[test]
fn keys_are_not_kept_for_an_issuer_whose_place_has_changed() {
    let (upstream, signer) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served::keys(&[&signer]));
    let nowhere = format!("http://{}/", free_address());
    let at_file = "keys: {file: $DIR/jwks.json}, algorithms: [ES256]".to_owned();
    let no_file = "keys: {file: $DIR/none.json}, algorithms: [ES256]".to_owned();
    let at_url = fetched("url", &issuer.url("/"), "1h");
    let no_url = fetched("url", &nowhere, "1h");
    for (before, after) in [(&at_url, &no_url), (&at_file, &no_file), (&at_file, &no_url), (&at_url, &no_file)] {
        let directory = scratch();
        std::fs::write(directory.path().join("jwks.json"), jwks(&[&signer])).unwrap();
        let gateway = Gateway::start_in(directory, &configuration(&upstream, before));
        let token = signer.sign(&claims());
        assert_eq!(call(&gateway, &token), accepted());
        let generation = gateway.generation();
        gateway.configure(&configuration(&upstream, after));
        eventually("the change is in force", || (gateway.generation() > generation).then_some(()));
        assert_eq!(call(&gateway, &token), unavailable(), "{before} -> {after}");
        assert_eq!(client::get(gateway.traffic(), "/open", &[]).status, 200);
    }
}
