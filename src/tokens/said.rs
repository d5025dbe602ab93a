//! What a token says of itself, for people who ask why it was refused. Nothing of it is proven, and it has no signature.

use serde_json::Map;
use serde_json::Value;

use crate::tokens::json;

/// What is told of a header.
const HEADER: [&str; 3] = ["alg", "typ", "kid"];

/// What is told of claims. Who it is about is left out: that is proven or nobody's business.
const CLAIMS: [&str; 9] = ["iss", "aud", "exp", "nbf", "iat", "jti", "isv", "azure-resource-id", "feature-flags"];

/// Claims that are moments.
const MOMENTS: [&str; 3] = ["exp", "nbf", "iat"];

/// Longest value that is told, in characters.
const LONGEST_VALUE: usize = 120;

/// Members of header and claims by name, each as text; empty where `signed` is no token's signed part.
#[must_use]
pub fn said(signed: &str) -> Vec<(&'static str, String)> {
    let Some((header, claims)) = signed.split_once('.') else { return Vec::new() };
    let read = |part: &str| json::object(&json::canonical_base64url(part)?).ok();
    let (Some(header), Some(claims)) = (read(header), read(claims)) else { return Vec::new() };
    told(&HEADER, &header).chain(told(&CLAIMS, &claims)).collect()
}

fn told(names: &'static [&'static str], members: &Map<String, Value>) -> impl Iterator<Item = (&'static str, String)> {
    names.iter().filter_map(|name| Some((*name, shown(name, members.get(*name)?))))
}

fn shown(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if MOMENTS.contains(&name) => {
            let moment = number.as_i64().and_then(|second| jiff::Timestamp::from_second(second).ok());
            moment.map_or_else(|| number.to_string(), |moment| moment.to_string())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let short: String = text.chars().take(LONGEST_VALUE).collect();
    if short.len() == text.len() { text } else { format!("{short}…") }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::said;

    #[test]
    fn a_token_is_told_by_what_decides_about_it_and_nothing_else() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = part(r#"{"alg":"ES256","kid":"k1","x":"hidden"}"#);
        let claims = part(r#"{"iss":"https://corp","aud":["a","b"],"exp":1795610400,"sub":"ada","email":"ada@corp"}"#);
        let told: Vec<String> =
            said(&format!("{header}.{claims}")).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let want = ["alg=ES256", "kid=k1", "iss=https://corp", r#"aud=["a","b"]"#, "exp=2026-11-25T12:40:00Z"];
        assert_eq!(told, want);
    }

    #[test]
    fn what_is_no_token_says_nothing_and_what_is_long_is_cut() {
        for signed in ["", ".", "a.b", "Taint.no", "e30", "bm8.bm8"] {
            assert!(said(signed).is_empty(), "{signed}");
        }
        let long = URL_SAFE_NO_PAD.encode(format!("{{\"iss\":\"{}\"}}", "é".repeat(500)));
        let told = said(&format!("e30.{long}"));
        assert_eq!(told.first().map(|(_, value)| value.chars().count()), Some(121));
    }
}
