//! Issuers that mean harm, and callers that mean it to issuers: what they cost, and what stays in force.

use std::io;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

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
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::summary::Counts;
use crate::support::summary::report;
use crate::support::upstream::Upstream;

/// The shortest time between two fetches that tokens cause.
const COOLDOWN: Duration = Duration::from_secs(1);

/// A set with these keys beside the signer's.
fn beside(signer: &Signer, others: &[Value]) -> String {
    let mut set: Value = serde_json::from_str(&jwks(&[signer])).unwrap();
    set["keys"].as_array_mut().unwrap().extend_from_slice(others);
    set.to_string()
}

#[test]
fn a_set_that_turns_bad_leaves_the_good_one_in_force() {
    let (upstream, good) = (Upstream::ok(), Signer::new("good"));
    let evil = Signer::new("evil");
    let set = Served::keys(&[&good]);
    let issuer = Published::start(set.clone());
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/keys"), "1s")));
    assert_eq!(call(&gateway, &good.sign(&claims())), accepted());
    let to = |location: &str| vec![("location", location.to_owned())];
    let duplicate = beside(&evil, &[serde_json::from_str::<Value>(&jwks(&[&evil])).unwrap()["keys"][0].clone()]);
    let mut cases = 0;
    for (what, served) in [
        ("HTML", Served::document("<html>come back later</html>".to_owned())),
        ("no key", Served::document(r#"{"keys":[]}"#.to_owned())),
        ("two keys of one name", Served::document(duplicate)),
        ("members twice", Served::document(format!(r#"{{"keys":[],"keys":{}}}"#, jwks(&[&evil])))),
        ("too many keys", Served::document(json!({ "keys": vec![json!({}); 101] }).to_string())),
        ("too much", Served::document(jwks(&[&evil]) + &" ".repeat(256 * 1024))),
        ("deep JSON", Served::document(format!(r#"{{"keys":{}"#, "[".repeat(100_000)))),
        ("a redirect to another set", Served { status: 302, headers: to("/evil"), ..Served::keys(&[&evil]) }),
        ("a lasting redirect", Served { status: 308, headers: to("http://127.0.0.1:1/"), ..Served::keys(&[&evil]) }),
        ("an error with a set", Served { status: 500, ..Served::keys(&[&evil]) }),
        ("not there, with a set", Served { status: 404, ..Served::keys(&[&evil]) }),
    ] {
        issuer.serve(served);
        thread::sleep(COOLDOWN + COOLDOWN / 10);
        assert_eq!(call(&gateway, &evil.sign(&claims())), unavailable(), "{what}");
        assert_eq!(call(&gateway, &good.sign(&claims())), accepted(), "{what}");
        cases += 1;
    }
    issuer.serve(set);
    thread::sleep(COOLDOWN + COOLDOWN / 10);
    assert_eq!(call(&gateway, &evil.sign(&claims())), refused("token_key_unknown"));
    assert!(issuer.server.received().iter().all(|request| request.target == "/keys"), "no redirect was followed");
    report("tokens/key sets", Counts { cases, passed: cases, refused: cases, ..Counts::default() });
}

#[test]
fn keys_of_a_set_that_are_not_for_verifying_verify_nothing() {
    const SECRET: &[u8] = b"a secret that the whole network has been told";
    let (upstream, good, evil) = (Upstream::ok(), Signer::new("good"), Signer::new("evil"));
    let secret = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256", "use": "sig" });
    let mut named = secret.clone();
    named["kid"] = "evil".into();
    let mut for_encryption = evil.jwk();
    for_encryption["use"] = "enc".into();
    let mut for_wrapping = evil.jwk();
    for_wrapping["key_ops"] = json!(["wrapKey"]);
    let mut with_private_part = evil.jwk();
    with_private_part["d"] = "AAAA".into();
    for (what, key) in [
        ("oct", secret),
        ("oct with a name", named),
        ("use enc", for_encryption),
        ("key_ops wrapKey", for_wrapping),
        ("a private part", with_private_part),
    ] {
        let issuer = Published::start(Served::document(beside(&good, &[key])));
        let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1h")));
        assert_eq!(call(&gateway, &good.sign(&claims())), accepted(), "{what}");
        assert_eq!(call(&gateway, &evil.sign(&claims())), refused("token_key_unknown"), "{what}");
        assert_eq!(call(&gateway, &sign_with_secret(SECRET, &claims())), refused("token_algorithm"), "{what}");
    }
}

#[test]
fn a_document_that_never_ends_is_given_up() {
    let signer = Signer::new("one");
    let endless: fn(&mut TcpStream) -> io::Result<()> = |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{")?;
        loop {
            stream.write_all(&[b' '; 16 * 1024])?;
        }
    };
    let dripping: fn(&mut TcpStream) -> io::Result<()> = |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")?;
        loop {
            stream.write_all(b" ")?;
            thread::sleep(Duration::from_millis(100));
        }
    };
    let bombing: fn(&mut TcpStream) -> io::Result<()> = |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"x-bomb: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")?;
        }
    };
    for (what, write) in [("an endless body", endless), ("a body by drips", dripping), ("endless headers", bombing)] {
        let upstream = Upstream::ok();
        let issuer = Upstream::start(move |_, stream| write(stream));
        let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url(), "1h")));
        let begun = Instant::now();
        assert_eq!(call(&gateway, &signer.sign(&claims())), unavailable(), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: waited {:?}", begun.elapsed());
        assert_eq!(client::get(gateway.traffic(), "/open", &[]).status, 200, "{what}");
    }
}

#[test]
fn a_flood_of_invented_keys_costs_the_issuer_a_fetch_a_cool_down_and_nobody_else_anything() {
    let (upstream, known) = (Upstream::ok(), Signer::new("known"));
    let issuer = Published::start(Served::keys(&[&known]));
    let gateway = Gateway::start(&configuration(&upstream, &fetched("url", &issuer.url("/"), "1s")));
    assert_eq!(call(&gateway, &known.sign(&claims())), accepted());
    let (over, invented) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    let good = thread::scope(|scope| {
        for flooder in 0..4 {
            let (over, invented, known, gateway) = (&over, &invented, &known, &gateway);
            scope.spawn(move || {
                let mut client = client::Client::connect(gateway.traffic());
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let token = known.sign_as(&format!("invented-{flooder}-{number}"), &claims());
                    let bearer = format!("Bearer {token}");
                    let answer = client.request("GET", "/guarded", &[("authorization", &bearer)], b"");
                    assert_eq!(answer.status, 401, "{}", answer.text());
                    invented.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut client = client::Client::connect(gateway.traffic());
        let mut good = 0_u64;
        while begun.elapsed() < COOLDOWN * 4 {
            let bearer = format!("Bearer {}", known.sign(&claims()));
            let answer = client.request("GET", "/guarded", &[("authorization", &bearer)], b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            good += 1;
        }
        over.store(true, Ordering::Relaxed);
        good
    });
    let (fetches, invented) = (issuer.fetches(), invented.into_inner());
    // One at the start, and one for each cool-down that has begun since.
    assert!(fetches <= 6, "{fetches} fetches in {:?}", begun.elapsed());
    assert!(invented >= 200, "{invented} invented keys are no flood");
    report(
        "tokens/key flood",
        Counts { cases: invented, passed: invented, refused: invented, sent: good, ..Counts::default() },
    );
}
