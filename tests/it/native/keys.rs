//! Keys with a grace and an end, and signing keys that take over from each other.

use scoregate::model::time::UnixSeconds;
use serde_json::Value;
use serde_json::json;

use super::Stage;
use crate::support::client;
use crate::support::eventually;

fn now() -> u64 {
    UnixSeconds::now().0
}

#[test]
fn an_old_key_opens_through_its_grace_and_not_after_it() {
    let stage = Stage::new();
    let old = stage.primary("services/iris");
    let got = stage.done("POST", "services/iris/keys/primary/regenerate", &json!({ "graceSeconds": 3 }));
    let until = got["retiringUntil"].as_u64().unwrap();
    let new = got["key"].as_str().unwrap();
    assert_eq!((stage.score("iris", &old), stage.score("iris", new)), (200, 200));
    eventually("the grace ends", || (stage.score("iris", &old) == 401).then_some(()));
    assert!(now() >= until, "the old key ended before {until}");
    assert_eq!(stage.score("iris", new), 200);
    assert!(stage.done("GET", "services/iris/keys", &Value::Null)["slots"]["primary"]["retiringUntil"].is_null());
}

#[test]
fn a_key_with_an_end_opens_until_then_and_leaves_the_other_slot_alone() {
    let stage = Stage::new();
    let other = stage.primary("services/iris");
    let expires = now() + 3;
    let got = stage.done("POST", "services/iris/keys/secondary/regenerate", &json!({ "expires": expires }));
    let key = got["key"].as_str().unwrap();
    assert_eq!(stage.score("iris", key), 200);
    eventually("the key ends", || (stage.score("iris", key) == 401).then_some(()));
    assert!(now() >= expires);
    assert_eq!(stage.score("iris", &other), 200);
}

#[test]
fn a_new_signing_key_signs_and_tokens_of_the_one_before_it_still_open() {
    let stage = Stage::new();
    let token = || {
        let granted = stage.done("POST", "services/token/token", &Value::Null);
        granted["accessToken"].as_str().unwrap().to_owned()
    };
    let published = || {
        let set = client::get(stage.gateway.management(), "/.well-known/jwks.json", &[]).json();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = published();
    let mut tokens = vec![token()];
    // Twice in the same second, perhaps: that the younger one signs must not depend on the clock.
    for rotation in 1..=3 {
        let new = stage.done("POST", "signing-keys/rotate", &Value::Null);
        assert_eq!((&new["signs"], &new["verifyUntil"]), (&json!(true), &Value::Null));
        let kid = new["kid"].as_str().unwrap();
        assert_eq!(published()[0], kid, "the newest comes first");
        assert_eq!(published().len(), rotation + 1);
        tokens.push(token());
        for token in &tokens {
            assert_eq!(stage.score("token", token), 200, "rotation {rotation}");
        }
        let header = kid_of(tokens.last().unwrap());
        assert_eq!(header, kid, "the new key signs");
    }
    assert!(published().contains(&before[0]));
    let listed = stage.done("GET", "signing-keys", &Value::Null);
    for key in listed["value"].as_array().unwrap() {
        let signs = key["signs"] == true;
        // A service token may live for a day, and clocks may differ by 5 s.
        let longest = key["verifyUntil"].as_u64().is_some_and(|until| until >= now() + 86_400);
        assert_eq!(signs, !longest, "{key}");
    }
}

/// The `kid` in the header of a token.
fn kid_of(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
