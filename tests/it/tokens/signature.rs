//! What is done to the bytes of a signature after it was made.

use crate::support::template::bytes;

/// The order of the group of P-256 (SEC 2 §2.4.2).
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// Changes a signature as `how` says. `r` and `s` are the halves of an ECDSA signature.
pub(super) fn changed(mut signature: Vec<u8>, how: &str) -> Vec<u8> {
    let (verb, object) = how.split_once(' ').unwrap_or((how, ""));
    let count = || object.parse::<usize>().unwrap_or_else(|_not| panic!("{how:?} wants a number"));
    let number = || bytes(object).unwrap_or_else(|| panic!("{how:?} wants bytes"));
    let half = signature.len() / 2;
    match verb {
        "cut" => signature.truncate(signature.len() - count()),
        "cut-front" => signature = signature.split_off(count()),
        "add" => signature.extend(number()),
        "front" => signature = [number(), signature].concat(),
        "is" => signature = number(),
        "zeros" => signature = vec![0; count()],
        "one" => signature = [vec![0; count() - 1], vec![1]].concat(),
        "flip" => signature[count()] ^= 1,
        "swap" => signature.rotate_left(half),
        "r" => signature[..half].copy_from_slice(&number()),
        "s" => signature[half..].copy_from_slice(&number()),
        "both" => signature = number().repeat(2),
        "wide" => {
            signature = [vec![0; 16], signature[..half].to_vec(), vec![0; 16], signature[half..].to_vec()].concat();
        }
        "der" => signature = der(&signature),
        "high" if signature[half] < 0x80 => negate(&mut signature[half..]),
        "low" if signature[half] >= 0x80 => negate(&mut signature[half..]),
        "high" | "low" => {}
        "twice" => signature = signature.repeat(2),
        other => panic!("no change is called {other}"),
    }
    signature
}

/// The order less the number: the other `s` that verifies as well.
fn negate(s: &mut [u8]) {
    let order = bytes(ORDER).unwrap_or_default();
    let mut borrow = 0;
    for (digit, of_order) in s.iter_mut().zip(order).rev() {
        let difference = i32::from(of_order) - i32::from(*digit) - borrow;
        borrow = i32::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap_or_default();
    }
}

/// `SEQUENCE { INTEGER r, INTEGER s }`, as X.509 writes ECDSA signatures.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let digits: Vec<u8> = half.iter().copied().skip_while(|digit| *digit == 0).collect();
        let sign = digits.first().is_some_and(|digit| *digit > 127).then_some(0);
        let digits: Vec<u8> = sign.into_iter().chain(digits).collect();
        [&[2, u8::try_from(digits.len()).unwrap_or_default()], &digits[..]].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let inside = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(inside.len()).unwrap_or_default()], &inside[..]].concat()
}
