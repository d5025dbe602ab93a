//! Issuers that cannot be reached, or answer what no issuer should.

use std::time::Duration;
use std::time::Instant;

use super::Published;
use super::Served;
use super::Signer;
use super::call;
use super::claims;
use super::configuration;
use super::fetched;
use super::signer::jwks;
use super::unavailable;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::upstream::Upstream;

#[test]
fn an_issuer_that_was_never_reached_troubles_nobody_but_its_own() {
    let (upstream, signer) = (Upstream::ok(), Signer::new("one"));
    let corp = fetched("url", &format!("http://{}/", free_address()), "1h");
    let gateway = Gateway::start(&configuration(&upstream, &corp));
    assert_eq!(call(&gateway, &signer.sign(&claims())), unavailable());
    assert_eq!(client::get(gateway.traffic(), "/open", &[]).status, 200);
    // What can be judged without keys still is.
    assert_eq!(call(&gateway, "no token").0, 401);
    assert_eq!(client::get(gateway.traffic(), "/guarded", &[]).status, 401);
}

#[test]
fn what_is_no_key_set_is_not_taken_for_one() {
    let signer = Signer::new("one");
    let good = Served::keys(&[&signer]);
    let padded = jwks(&[&signer]).replacen('{', &format!("{{{}", " ".repeat(256 * 1024)), 1);
    for (what, served) in [
        ("a redirect", Served { status: 302, headers: vec![("location", "/elsewhere".to_owned())], ..good.clone() }),
        ("an error", Served { status: 500, ..good }),
        ("nothing new", Served { status: 304, ..Served::document(String::new()) }),
        ("too much", Served::document(padded)),
        ("no JSON", Served::document("<html>".to_owned())),
        ("no keys", Served::document(r#"{"keys":[]}"#.to_owned())),
    ] {
        let (upstream, issuer) = (Upstream::ok(), Published::start(served));
        let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/keys"), "1h")));
        assert_eq!(call(&gateway, &signer.sign(&claims())), unavailable(), "{what}");
        assert!(issuer.server.received().iter().all(|request| request.target == "/keys"), "{what}");
    }
}

#[test]
fn an_issuer_that_takes_too_long_is_not_waited_for() {
    let (upstream, signer) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served { after: Duration::from_secs(15), ..Served::keys(&[&signer]) });
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1h")));
    let begun = Instant::now();
    assert_eq!(call(&gateway, &signer.sign(&claims())), unavailable());
    assert!(begun.elapsed() < Duration::from_secs(10), "waited {:?}", begun.elapsed());
}
