//! JSON as it is taken from strangers: one object, no member twice, no deep nesting.
//!
//! RFC 8259 §4 leaves open what a repeated member means, so that two readers can see two tokens in one
//! text; RFC 7519 §4 lets a verifier refuse it. Names are compared after their escapes are resolved.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Value;

/// Deepest nesting that is taken; a flat object is 1. Real tokens stay below 4.
const MAX_DEPTH: u8 = 8;

/// The text is not one JSON object that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAnObject;

/// Reads one object, and nothing after it.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, NotAnObject> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { levels_left: MAX_DEPTH }.deserialize(&mut deserializer).map_err(|_syntax| NotAnObject)?;
    deserializer.end().map_err(|_trailing| NotAnObject)?;
    if let Value::Object(members) = value { Ok(members) } else { Err(NotAnObject) }
}

/// Decodes base64url in its one canonical form: no padding, no spaces, no stray bits at the end
/// (RFC 7515 §2, RFC 4648 §3.5).
pub(super) fn canonical_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[derive(Clone, Copy)]
struct Strict {
    levels_left: u8,
}

impl Strict {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels_left = self.levels_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { levels_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inside)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::canonical_base64url;
    use super::object;

    #[test]
    fn an_object_is_taken_only_where_it_can_be_read_in_one_way() {
        let deepest = format!("{{\"a\":{}{}}}", "[".repeat(7), "]".repeat(7));
        let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(8), "]".repeat(8));
        let far_too_deep = format!("{{\"a\":{}", "[".repeat(8000));
        for (text, taken) in [
            ("{}", true),
            (r#" {"a":1,"b":{"a":[null,true,-1,1.5,"x"]}} "#, true),
            (&deepest, true),
            (&too_deep, false),
            (&far_too_deep, false),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":1}"#, false),
            (r#"{"b":{"a":1,"a":2}}"#, false),
            (r#"{"b":[{"a":1,"a":2}]}"#, false),
            ("{} {}", false),
            ("{}x", false),
            ("{", false),
            ("[]", false),
            ("\"a\"", false),
            ("null", false),
            ("", false),
            ("\u{feff}{}", false),
            (r#"{"a":NaN}"#, false),
            (r#"{"a":01}"#, false),
            (r#"{"a":1,}"#, false),
            (r#"{"a":"\ud800"}"#, false),
            ("{\"a\":\"\n\"}", false),
            ("{'a':1}", false),
        ] {
            assert_eq!(object(text.as_bytes()).is_ok(), taken, "{text:.80}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err(), "invalid UTF-8");
    }

    #[test]
    fn base64url_has_one_spelling() {
        for (text, taken) in [
            ("QQ", true),
            ("_-8", true),
            ("", true),
            ("QR", false),   // the same byte with stray bits
            ("QQ==", false), // padded
            ("Q", false),    // no whole byte
            ("/+8", false),  // the other alphabet
            ("QQ ", false),
            ("Q\nQ", false),
        ] {
            assert_eq!(canonical_base64url(text).is_some(), taken, "{text:?}");
        }
    }
}
