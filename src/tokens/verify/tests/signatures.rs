//! Signatures that are none, and tokens that were touched.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::denied;
use super::idp_token;
use super::own_token;
use super::verifier;
use crate::model::refusal::Denied;
use crate::tokens::forge;
use crate::tokens::forge::NOW;

#[test]
fn a_signature_that_is_not_the_keys_over_this_text_is_refused() {
    let ecdsa = own_token(&json!({}), &json!({}));
    let (signed, good) = ecdsa.rsplit_once('.').unwrap();
    let good = URL_SAFE_NO_PAD.decode(good).unwrap();
    assert_eq!((denied(&ecdsa), good.len()), (None, 64));
    // The order of P-256 (SEC 2 §2.4.2): numbers from it on are no canonical part of a signature.
    let order = forge::bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut flipped = good.clone();
    flipped[63] ^= 1;
    let mut der = vec![0x30, 68, 2, 32];
    der.extend_from_slice(&good[..32]);
    der.extend_from_slice(&[2, 32]);
    der.extend_from_slice(&good[32..]);
    for (why, signature) in [
        ("(0,0)", vec![0; 64]),
        ("(0,s)", [&[0; 32], &good[32..]].concat()),
        ("(r,0)", [&good[..32], &[0; 32]].concat()),
        ("(1,1)", [[0; 31].as_slice(), &[1], &[0; 31], &[1]].concat()),
        ("(n,s)", [&*order, &good[32..]].concat()),
        ("(r,n)", [&good[..32], &*order].concat()),
        ("(n,n)", [&*order, &*order].concat()),
        ("all ones", vec![0xff; 64]),
        ("swapped", [&good[32..], &good[..32]].concat()),
        ("one bit", flipped),
        ("short by one", good[..63].to_vec()),
        ("long by one", [&*good, &[0]].concat()),
        ("padded in front", [&[0], &*good].concat()),
        ("one byte", vec![1]),
        ("twice as long", [&*good, &*good].concat()),
        ("DER", der),
        ("very long", vec![1; 8000]),
    ] {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature));
        assert_eq!(denied(&token), Some(Denied::TokenSignature), "{why}");
    }
    let eddsa = idp_token(&json!({}), &json!({}));
    let (signed, _) = eddsa.rsplit_once('.').unwrap();
    for length in [1, 32, 63, 64, 65, 128] {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(vec![0; length]));
        assert_eq!(denied(&token), Some(Denied::TokenSignature), "Ed25519, {length} zero bytes");
    }
}

#[test]
fn no_character_of_a_token_can_be_changed_added_or_taken_away() {
    let verifier = verifier();
    let good = own_token(&json!({}), &json!({}));
    assert!(verifier.verify(&good, NOW).is_ok());
    for at in 0..good.len() {
        let (before, rest) = good.split_at(at);
        let (one, after) = rest.split_at(1);
        let other = if one == "A" { "B" } else { "A" };
        let rows = [format!("{before}{other}{after}"), format!("{before}{after}"), before.to_owned()];
        for (what, token) in ["changed", "taken away", "cut"].into_iter().zip(rows) {
            assert!(verifier.verify(&token, NOW).is_err(), "{what} at {at}: {token}");
        }
    }
    for around in [" ", "\t", "\n", "\0", "=", ".", "A", "Bearer "] {
        assert!(verifier.verify(&format!("{good}{around}"), NOW).is_err(), "{around:?} after");
        assert!(verifier.verify(&format!("{around}{good}"), NOW).is_err(), "{around:?} before");
    }
}
