//! The four places where an issuer's keys can be.

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
use super::signer::sign_with_secret;
use super::unavailable;
use crate::protocols::authority::Authority;
use crate::protocols::wire::Script;
use crate::protocols::wire::ok;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

#[test]
fn keys_are_read_from_a_file() {
    let (upstream, known, impostor) = (Upstream::ok(), Signer::new("one"), Signer::new("one"));
    let directory = scratch();
    std::fs::write(directory.path().join("jwks.json"), jwks(&[&known])).unwrap();
    let corp = "keys: {file: $DIR/jwks.json}, algorithms: [ES256]";
    let gateway = Gateway::start_in(directory, &configuration(&upstream, corp));
    assert_eq!(call(&gateway, &known.sign(&claims())), accepted());
    assert_eq!(call(&gateway, &impostor.sign(&claims())), refused("token_signature"));
    assert_eq!(call(&gateway, &Signer::new("two").sign(&claims())), refused("token_key_unknown"));
    assert_eq!(upstream.last().header("x-scoregate-principal"), Some("token:robot"));
    assert_eq!(upstream.last().header("authorization"), None);
}

#[test]
fn a_secret_is_read_where_the_configuration_refers_to_it() {
    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
    let upstream = Upstream::ok();
    let directory = scratch();
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    let corp = "keys: {secret: 'file:$DIR/secret'}, algorithms: [HS256]";
    let gateway = Gateway::start_in(directory, &configuration(&upstream, corp));
    assert_eq!(call(&gateway, &sign_with_secret(SECRET, &claims())), accepted());
    let wrong = sign_with_secret(b"another secret of more than 32 bytes", &claims());
    assert_eq!(call(&gateway, &wrong), refused("token_signature"));
    assert_eq!(call(&gateway, &Signer::new("one").sign(&claims())), refused("token_algorithm"));
}

#[test]
fn keys_are_fetched_from_a_url_once_for_many_requests() {
    let (upstream, known) = (Upstream::ok(), Signer::new("one"));
    let issuer = Published::start(Served::keys(&[&known]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/keys?v=1"), "1h")));
    for _ in 0..20 {
        assert_eq!(call(&gateway, &known.sign(&claims())), accepted());
    }
    assert_eq!(
        issuer.server.received().iter().map(|request| request.target.as_str()).collect::<Vec<_>>(),
        ["/keys?v=1"]
    );
}

#[test]
fn keys_are_found_by_discovery_of_the_very_issuer_only() {
    let known = Signer::new("one");
    let keys = Published::start(Served::keys(&[&known]));
    for (issuer, jwks_uri, outcome) in [
        (ISSUER, keys.url("/keys"), accepted()),
        ("https://issuer.test", keys.url("/keys"), unavailable()),
        ("https://other.test/", keys.url("/keys"), unavailable()),
        (ISSUER, "http://issuer.test/keys".to_owned(), unavailable()),
        (ISSUER, "file:///etc/passwd".to_owned(), unavailable()),
    ] {
        let upstream = Upstream::ok();
        let document = json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string();
        let discovery = Published::start(Served::document(document));
        let corp = fetched("discovery", &discovery.url("/tenant/"), "1h");
        let gateway = Gateway::start(&configuration(&upstream, &corp));
        assert_eq!(call(&gateway, &known.sign(&claims())), outcome, "{issuer} {jwks_uri}");
        assert_eq!(discovery.server.last().target, "/tenant/.well-known/openid-configuration");
    }
    assert_eq!(keys.fetches(), 1);
}

#[test]
fn keys_are_fetched_over_tls_from_whom_the_configured_ca_vouches_for() {
    let (authority, stranger, known) = (Authority::new(), Authority::new(), Signer::new("one"));
    let document = ok(&jwks(&[&known]));
    let server = authority.certify("127.0.0.1").server(&[], None);
    let issuer = Script::play_tls(server, move |mut scene| {
        if scene.request().is_some() {
            scene.wire.send(&document);
        }
    });
    for (ca, outcome) in [(&authority, accepted()), (&stranger, unavailable())] {
        let upstream = Upstream::ok();
        let directory = scratch();
        std::fs::write(directory.path().join("ca.crt"), &ca.pem).unwrap();
        let corp = format!("{}, ca: $DIR/ca.crt", fetched("url", &format!("https://{}/keys", issuer.at()), "1h"));
        let gateway = Gateway::start_in(directory, &configuration(&upstream, &corp));
        assert_eq!(call(&gateway, &known.sign(&claims())), outcome);
    }
    assert_eq!(issuer.requests().len(), 1);
}
