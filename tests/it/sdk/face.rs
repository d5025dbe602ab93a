//! azure-ai-vision-face and the older client of Face, azure-cognitiveservices-vision-face: the same cases for both.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::setting::MAKER_KEY;
use super::setting::Setting;
use super::setting::VENDOR_KEY;
use crate::refusals::stage::MAKER;

const DRIVERS: [&str; 2] = ["face_new.py", "face_old.py"];

const BOTH: [&str; 2] = ["Face.Identification", "Face.Verification"];

const OPEN: &str = "200";
const NOT_APPROVED: &str = "403 InvalidRequest";

/// A claim about a caller, and what it gets for `detect` with a faceId, `identify` and `verify`. `detect` without a
/// faceId needs no feature, so a token on it is not looked at.
fn case(claim: &str, token: Option<&str>, [detect, identify, verify]: [&str; 3]) -> Value {
    let want = json!({ "detect without faceId": OPEN, "detect": detect, "identify": identify, "verify": verify });
    json!({ "claim": claim, "key": MAKER_KEY, "token": token, "want": want })
}

/// Plays the cases with both clients.
fn play(setting: &Setting, cases: &[Value]) {
    for driver in DRIVERS {
        setting.play(driver, "cases", json!({ "approved_key": VENDOR_KEY, "cases": cases }));
    }
}

#[test]
fn both_face_clients_may_do_what_their_account_or_a_limited_access_token_allows() {
    let setting = Setting::set();
    let [identification, verification] = BOTH.map(|feature| setting.lend(&[feature]));
    let mut approved = case("an approved account needs no token", None, [OPEN; 3]);
    approved["key"] = VENDOR_KEY.into();
    let mut unknown = case("a key that is nobody's opens nothing", None, ["401 401"; 3]);
    unknown["key"] = "the-key-of-nobody".into();
    unknown["want"]["detect without faceId"] = "401 401".into();
    play(
        &setting,
        &[
            approved,
            unknown,
            case("without approval or token only the free call is open", None, [NOT_APPROVED; 3]),
            case("a token for both features opens all", Some(&setting.lend(&BOTH)), [OPEN; 3]),
            case("a token for identification opens no verify", Some(&identification), [OPEN, OPEN, NOT_APPROVED]),
            case("a token for verification opens no identify", Some(&verification), [OPEN, NOT_APPROVED, OPEN]),
        ],
    );
}

#[test]
fn both_face_clients_are_told_why_their_limited_access_token_is_refused() {
    let setting = Setting::set();
    let whole = setting.lend(&BOTH);
    let cut = whole.get(..whole.len() - 8).unwrap();
    play(
        &setting,
        &[
            case("a token for another resource", Some(&setting.limited.for_another), ["403 limited_token_resource"; 3]),
            case("an expired token", Some(&setting.limited.expired), ["401 limited_token_expired"; 3]),
            case("a token without its whole signature", Some(cut), ["401 limited_token_invalid"; 3]),
        ],
    );
}

#[test]
fn a_lower_ceiling_holds_for_tokens_that_both_face_clients_have_already() {
    let setting = Setting::set();
    let token = setting.lend(&BOTH);
    play(&setting, &[case("a token under a high ceiling", Some(&token), [OPEN; 3])]);
    for (ceiling, want) in [("Face.Identification", [OPEN, OPEN, NOT_APPROVED]), ("", [NOT_APPROVED; 3])] {
        setting.lower_ceiling(ceiling);
        play(&setting, &[case(&format!("a token under the ceiling [{ceiling}]"), Some(&token), want)]);
    }
}

#[test]
fn a_ceiling_that_is_lowered_through_the_api_holds_for_both_face_clients_at_once() {
    let setting = Setting::set();
    let lender = json!({ "name": "lender", "resource": "/a/lender", "approvals": [], "mayIssue": BOTH });
    setting.manage("POST", "/accounts", &lender);
    let keys = setting.manage("POST", "/accounts/lender/keys/list", &json!({}));
    let token = setting.lend_by(keys["primaryKey"].as_str().unwrap(), &BOTH);
    play(&setting, &[case("a token under a high ceiling", Some(&token), [OPEN; 3])]);
    setting.manage("PATCH", "/accounts/lender", &json!({ "mayIssue": ["Face.Verification"] }));
    play(&setting, &[case("a token under a lowered ceiling", Some(&token), [OPEN, NOT_APPROVED, OPEN])]);
}

#[test]
fn a_revocation_holds_for_tokens_that_both_face_clients_have_already() {
    let over = ["401 limited_token_expired"; 3];
    for (what, revoked, is_of_one) in [
        ("a token", None, true),
        ("the resource", Some(json!({ "resource": MAKER })), false),
        ("the vendor", Some(json!({ "isv": "vendor" })), false),
    ] {
        let setting = Setting::set();
        let [token, another] = [(); 2].map(|()| setting.lend(&BOTH));
        play(&setting, &[case("before anything is revoked", Some(&token), [OPEN; 3])]);
        let revocation = revoked.unwrap_or_else(|| json!({ "token": id_of(&token) }));
        setting.manage("POST", "/revocations", &revocation);
        let cases = [
            case(&format!("{what} is revoked, with this token"), Some(&token), over),
            case(&format!("{what} is revoked, with another"), Some(&another), if is_of_one { [OPEN; 3] } else { over }),
        ];
        play(&setting, &cases);
    }
}

/// By which a revocation knows a token.
fn id_of(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    json!({ "issuer": claims["iss"], "jti": claims["jti"] })
}
