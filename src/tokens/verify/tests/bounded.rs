//! How much a refusal costs: no key is touched before form and issuer are right, and no text costs more than its length.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::DOWN;
use super::claims;
use super::idp_token;
use super::name;
use super::verifier;
use crate::model::refusal::Denied;
use crate::tokens::forge;
use crate::tokens::forge::NOW;
use crate::tokens::forge::part;
use crate::tokens::forge::with;
use crate::tokens::verify::Rejected;

/// Runs of which the fastest counts: what else the machine does only makes one slower.
const RUNS: usize = 25;

/// How much more than a harmless token of its length a hostile one may cost.
const FACTOR: u32 = 8;

/// The issuer has no keys: whatever is refused for another reason was refused before a signature was looked at.
#[test]
fn what_can_be_refused_without_a_key_is() {
    let good = idp_token(&json!({"alg": "RS256"}), &json!({"iss": DOWN}));
    assert_eq!(verifier().verify(&good, NOW).unwrap_err(), Rejected::IssuerUnavailable(name("down")));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let of_header = |changes: &Value| idp_token(&with(&json!({"alg": "RS256"}), changes), &json!({"iss": DOWN}));
    let of_claims = |changes: &Value| idp_token(&json!({"alg": "RS256"}), &with(&json!({"iss": DOWN}), changes));
    for (token, want) in [
        (format!("{good}{}", "A".repeat(16 * 1024)), Denied::TokenMalformed),
        (of_claims(&json!({"x": "a".repeat(12_800)})), Denied::TokenMalformed),
        (format!("{good}="), Denied::TokenMalformed),
        (format!("{signed}."), Denied::TokenMalformed),
        (format!("{header}.{payload}"), Denied::TokenMalformed),
        (format!("{header}..{signature}"), Denied::TokenMalformed),
        (format!("{header}.{}.{signature}", part(&"[".repeat(8000))), Denied::TokenMalformed),
        (of_header(&json!({"crit": ["exp"]})), Denied::TokenMalformed),
        (of_header(&json!({"jwk": {}})), Denied::TokenMalformed),
        (of_header(&json!({"alg": "none"})), Denied::TokenAlgorithm),
        (of_header(&json!({"typ": "limited-access+jwt"})), Denied::TokenMalformed),
        (of_claims(&json!({"exp": "never"})), Denied::TokenMalformed),
        (of_claims(&json!({"aud": []})), Denied::TokenAudience),
        (of_claims(&json!({"iss": "https://evil.example/"})), Denied::TokenIssuer),
    ] {
        assert_eq!(verifier().verify(&token, NOW).unwrap_err(), Rejected::Denied(want), "{token:.200}");
    }
}

#[test]
fn no_hostile_token_costs_much_more_than_a_harmless_one_of_its_length() {
    let of_claims = |more: &str| {
        let claims = claims().to_string().replacen('{', &format!("{{{more},"), 1);
        forge::signed_by(forge::ed25519(), &json!({"alg": "EdDSA", "kid": "ed"}).to_string(), &claims)
    };
    let fill = |piece: &str, of: usize| piece.repeat(of / piece.len());
    let many: String = (0..1100).map(|number| format!("\"{number}\":{number},")).collect();
    let twice: String = (0..1100).map(|number| format!("\"{number}\":1,")).collect();
    let list = format!(r#""x":[{}0]"#, fill("0,", 11_000));
    let harmless = of_claims(&list);
    let allowed = cost(&harmless) * FACTOR;
    for (what, token) in [
        ("a long text", of_claims(&format!(r#""x":"{}""#, fill("a", 11_000)))),
        ("escapes", of_claims(&format!(r#""x":"{}""#, fill("\\u0061", 11_000)))),
        ("surrogates", of_claims(&format!(r#""x":"{}""#, fill("\\ud83d\\ude00", 11_000)))),
        ("brackets", of_claims(&format!(r#""x":{}"#, fill("[", 11_000)))),
        ("braces", of_claims(&format!(r#""x":{}"#, fill("{\"a\":", 11_000)))),
        ("digits", of_claims(&format!(r#""x":{}"#, fill("9", 11_000)))),
        ("a fraction", of_claims(&format!(r#""x":0.{}"#, fill("3", 11_000)))),
        ("an exponent", of_claims(&format!(r#""x":1e{}"#, fill("0", 11_000)))),
        ("many members", of_claims(many.trim_end_matches(','))),
        ("many members and one twice", of_claims(&format!("{twice}\"0\":1"))),
        ("spaces", of_claims(&format!("{}\"x\":0", fill(" ", 11_000)))),
        ("dots", ".".repeat(harmless.len())),
        ("nothing of base64", "*".repeat(harmless.len())),
        ("one part", "A".repeat(harmless.len())),
        ("a long header", format!("{}.e30.e30", "A".repeat(harmless.len()))),
        ("a long signature", format!("{harmless}{}", "A".repeat(1000))),
        ("a mebibyte", of_claims(&format!(r#""x":"{}""#, fill("a", 1024 * 1024)))),
        ("a mebibyte of dots", ".".repeat(1024 * 1024)),
    ] {
        let cost = cost(&token);
        assert!(cost <= allowed, "{what}: {cost:?}, where {allowed:?} is {FACTOR} harmless ones");
    }
}

/// What one verification costs at least.
fn cost(token: &str) -> Duration {
    let verifier = verifier();
    let run = || {
        let begun = Instant::now();
        let verified = verifier.verify(token, NOW);
        let took = begun.elapsed();
        assert!(verified.is_ok() || matches!(verified, Err(Rejected::Denied(_))), "{verified:?}");
        took
    };
    (0..RUNS).map(|_| run()).min().unwrap()
}
