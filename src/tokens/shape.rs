//! The form that a token must have before anything is believed of it.
//!
//! Strict where RFC 7515 and RFC 7519 let a verifier choose: what two implementations could read in two
//! ways is refused (RFC 8725 §3). Nothing in here knows an issuer, a key or the time.

use serde_json::Map;
use serde_json::Value;

use crate::config::TokenAlgorithm;
use crate::model::refusal::Denied;
use crate::model::time::UnixSeconds;
use crate::tokens::algorithm;
use crate::tokens::json;

/// Longest token, in bytes: as long as the longest header that a listener takes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Longest `kid`, in bytes.
const MAX_KID_BYTES: usize = 256;

/// Longest `sub` and `jti`, in bytes. They are kept, cached and logged; OpenID Connect allows 255.
const MAX_IDENTIFIER_BYTES: usize = 1024;

/// Header members that bring a key, an extension, another encoding or another kind of content. We know
/// none of the extensions that `crit` can name, and a key that comes with a token proves nothing.
const REFUSED_HEADERS: [&str; 9] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"];

/// A token as it was read. Nothing of it is proven.
pub(super) struct Token<'t> {
    /// What the signature is over: the first two parts with their dot.
    pub(super) signed: &'t str,
    /// The third part, canonical base64url.
    pub(super) signature: &'t str,
    pub(super) header: Header,
    pub(super) claims: Claims,
}

/// What the header says.
pub(super) struct Header {
    pub(super) algorithm: TokenAlgorithm,
    /// `typ` as it is compared: lower case, without `application/` (RFC 7515 §4.1.9); `jwt` where missing.
    pub(super) media_type: String,
    pub(super) kid: Option<String>,
}

/// What the payload says.
pub(super) struct Claims {
    pub(super) issuer: String,
    /// Never empty.
    pub(super) audiences: Vec<String>,
    pub(super) subject: Option<String>,
    pub(super) id: Option<String>,
    pub(super) expires: UnixSeconds,
    pub(super) not_before: Option<UnixSeconds>,
    pub(super) issued: Option<UnixSeconds>,
    members: Map<String, Value>,
}

impl<'t> Token<'t> {
    /// Reads a compact JWS.
    ///
    /// # Errors
    /// [`Denied::TokenAlgorithm`] for an `alg` that is none of ours, [`Denied::TokenIssuer`] and
    /// [`Denied::TokenAudience`] where those claims are missing, [`Denied::TokenMalformed`] for everything else.
    pub(super) fn read(text: &'t str) -> Result<Self, Denied> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Denied::TokenMalformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Denied::TokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Denied::TokenMalformed)?;
        decode_part(signature)?;
        let header = Header::read(&decode_part(header)?)?;
        let claims = Claims::read(&decode_part(payload)?)?;
        Ok(Self { signed, signature, header, claims })
    }
}

/// A dot in the middle part is outside the alphabet, so a fourth part fails here.
fn decode_part(part: &str) -> Result<Vec<u8>, Denied> {
    json::canonical_base64url(part).filter(|bytes| !bytes.is_empty()).ok_or(Denied::TokenMalformed)
}

impl Header {
    fn read(text: &[u8]) -> Result<Self, Denied> {
        let members = json::object(text).map_err(|_why| Denied::TokenMalformed)?;
        let flat = members.values().all(|value| !value.is_object() && !value.is_array() && !value.is_null());
        if !flat || REFUSED_HEADERS.iter().any(|name| members.contains_key(*name)) {
            return Err(Denied::TokenMalformed);
        }
        let name = text_member(&members, "alg", usize::MAX)?.ok_or(Denied::TokenMalformed)?;
        let algorithm = algorithm::named(&name).ok_or(Denied::TokenAlgorithm)?;
        let media_type = media_type(text_member(&members, "typ", usize::MAX)?.as_deref().unwrap_or("jwt"));
        let kid = text_member(&members, "kid", MAX_KID_BYTES)?;
        Ok(Self { algorithm, media_type, kid })
    }
}

fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
}

impl Claims {
    fn read(text: &[u8]) -> Result<Self, Denied> {
        let members = json::object(text).map_err(|_why| Denied::TokenMalformed)?;
        Ok(Self {
            issuer: text_member(&members, "iss", usize::MAX)?.ok_or(Denied::TokenIssuer)?,
            audiences: audiences(&members)?,
            subject: identifier(&members, "sub")?,
            id: identifier(&members, "jti")?,
            expires: seconds(&members, "exp")?.ok_or(Denied::TokenMalformed)?,
            not_before: seconds(&members, "nbf")?,
            issued: seconds(&members, "iat")?,
            members,
        })
    }

    /// Any claim, as it stands.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// Whether the claim is exactly this text, or a list that holds it.
    pub(super) fn names(&self, claim: &str, wanted: &str) -> bool {
        match self.members.get(claim) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Array(list)) => list.iter().any(|item| item.as_str() == Some(wanted)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
        }
    }
}

fn text_member(members: &Map<String, Value>, name: &str, max_bytes: usize) -> Result<Option<String>, Denied> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= max_bytes => Ok(Some(text.clone())),
        Some(_) => Err(Denied::TokenMalformed),
    }
}

/// Text that ends up in logs and headers: bounded, and without control characters.
fn identifier(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Denied> {
    let text = text_member(members, name, MAX_IDENTIFIER_BYTES)?;
    let printable = text.as_ref().is_none_or(|text| !text.chars().any(char::is_control));
    if printable { Ok(text) } else { Err(Denied::TokenMalformed) }
}

/// A moment: a whole number of seconds, not negative, that fits 63 bits. RFC 7519 §2 would allow fractions;
/// verifiers round them in different directions.
fn seconds(members: &Map<String, Value>, name: &str) -> Result<Option<UnixSeconds>, Denied> {
    members
        .get(name)
        .map(|value| value.as_i64().and_then(|seconds| u64::try_from(seconds).ok()).map(UnixSeconds))
        .map(|moment| moment.ok_or(Denied::TokenMalformed))
        .transpose()
}

fn audiences(members: &Map<String, Value>) -> Result<Vec<String>, Denied> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(Denied::TokenMalformed);
    let audiences = match members.get("aud") {
        None => return Err(Denied::TokenAudience),
        Some(Value::Array(list)) => list.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        Some(single) => vec![text(single)?],
    };
    if audiences.is_empty() { Err(Denied::TokenAudience) } else { Ok(audiences) }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use crate::config::TokenAlgorithm;
    use crate::model::refusal::Denied;
    use crate::tokens::forge::part;

    const HEADER: &str = r#"{"alg":"ES256","kid":"k"}"#;
    const PAYLOAD: &str = r#"{"iss":"i","aud":"a","exp":2000000000}"#;

    fn read(text: &str) -> Result<(), Denied> {
        Token::read(text).map(|_token| ())
    }

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", part(header), part(payload))
    }

    #[test]
    fn a_token_is_three_canonical_parts_and_not_too_long() {
        let (h, p) = (part(HEADER), part(PAYLOAD));
        let long = token(HEADER, &PAYLOAD.replace("\"i\"", &format!("\"{}\"", "i".repeat(12_500))));
        assert!(long.len() > super::MAX_TOKEN_BYTES);
        assert_eq!(read(&format!("{h}.{p}.c2ln")), Ok(()));
        for text in [
            String::new(),
            "a".to_owned(),
            "..".to_owned(),
            format!("{h}.{p}"),
            format!("{h}.{p}."),
            format!(".{p}.c2ln"),
            format!("{h}..c2ln"),
            format!("{h}.{p}.c2ln."),
            format!("{h}.{p}.c2ln.c2ln"),
            format!("{h}.{p}.c2ln.c2ln.c2ln"),
            format!(".{h}.{p}.c2ln"),
            format!("{h}.{p}.c2lu\n"),
            format!(" {h}.{p}.c2ln"),
            format!("{h}. {p}.c2ln"),
            format!("{h}.{p}.c2k="),
            format!("{h}.{p}.c2l"),
            format!("{h}==.{p}.c2ln"),
            format!("{h}.{p}=.c2ln"),
            format!("{h}.{p}.c2l+"),
            format!("{h}.{p}.c2lö"),
            format!("{h}.{p}.\0"),
            format!("{{\"payload\":\"{p}\",\"signatures\":[]}}"),
            long,
        ] {
            assert_eq!(read(&text), Err(Denied::TokenMalformed), "{text:.120}");
        }
    }

    #[test]
    fn a_header_is_flat_and_brings_neither_keys_nor_extensions() {
        let malformed = Err(Denied::TokenMalformed);
        let kid_that_fits = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(256));
        let kid_too_long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
        for (header, want) in [
            (HEADER, Ok(())),
            (&*kid_that_fits, Ok(())),
            (r#"{"alg":"ES256","x5t":"abc","nonce":"n","ver":1}"#, Ok(())),
            (&kid_too_long, malformed),
            (r#"{"alg":"ES256","alg":"ES256"}"#, malformed),
            (r#"{"alg":"ES256","\u0061lg":"none"}"#, malformed),
            (r#"{"alg":"ES256","kid":1}"#, malformed),
            (r#"{"alg":"ES256","kid":["k"]}"#, malformed),
            (r#"{"alg":"ES256","kid":null}"#, malformed),
            (r#"{"alg":"ES256","typ":1}"#, malformed),
            (r#"{"alg":"ES256","typ":["JWT"]}"#, malformed),
            (r#"{"alg":["ES256"]}"#, malformed),
            (r#"{"alg":null}"#, malformed),
            (r#"{"alg":1}"#, malformed),
            (r#"{"typ":"JWT"}"#, malformed),
            (r#"{"alg":"ES256","nested":{}}"#, malformed),
            (r#"{"alg":"ES256","crit":["exp"]}"#, malformed),
            (r#"{"alg":"ES256","crit":[]}"#, malformed),
            (r#"{"alg":"ES256","crit":"exp"}"#, malformed),
            (r#"{"alg":"ES256","b64":false}"#, malformed),
            (r#"{"alg":"ES256","b64":true}"#, malformed),
            (r#"{"alg":"ES256","jwk":{"kty":"EC"}}"#, malformed),
            (r#"{"alg":"ES256","jwk":"x"}"#, malformed),
            (r#"{"alg":"ES256","jku":"https://evil.example/jwks"}"#, malformed),
            (r#"{"alg":"ES256","x5u":"https://evil.example/c"}"#, malformed),
            (r#"{"alg":"ES256","x5c":["MII"]}"#, malformed),
            (r#"{"alg":"ES256","x5c":"MII"}"#, malformed),
            (r#"{"alg":"ES256","zip":"DEF"}"#, malformed),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, malformed),
            (r#"{"alg":"ES256","cty":"JWT"}"#, malformed),
            ("[]", malformed),
            (r#""ES256""#, malformed),
        ] {
            assert_eq!(read(&token(header, PAYLOAD)), want, "{header:.120}");
        }
    }

    #[test]
    fn an_algorithm_is_known_by_its_exact_name() {
        for name in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "",
            " ES256",
            "es256",
            "Es256",
            "ES256\\u0000",
            "ES512",
            "ES256K",
            "eddsa",
            "Ed448",
            "HS1",
            "RSA-OAEP",
            "dir",
            "RS256,HS256",
        ] {
            let header = format!(r#"{{"alg":"{name}"}}"#);
            assert_eq!(read(&token(&header, PAYLOAD)), Err(Denied::TokenAlgorithm), "{name}");
        }
        for (name, want) in [
            ("RS256", TokenAlgorithm::Rs256),
            ("RS384", TokenAlgorithm::Rs384),
            ("RS512", TokenAlgorithm::Rs512),
            ("PS256", TokenAlgorithm::Ps256),
            ("PS384", TokenAlgorithm::Ps384),
            ("PS512", TokenAlgorithm::Ps512),
            ("ES256", TokenAlgorithm::Es256),
            ("ES384", TokenAlgorithm::Es384),
            ("EdDSA", TokenAlgorithm::EdDsa),
            ("HS256", TokenAlgorithm::Hs256),
            ("HS384", TokenAlgorithm::Hs384),
            ("HS512", TokenAlgorithm::Hs512),
        ] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#), PAYLOAD);
            assert_eq!(Token::read(&text).ok().map(|token| token.header.algorithm), Some(want), "{name}");
        }
    }

    #[test]
    fn a_media_type_is_compared_without_case_and_application() {
        for (typ, want) in [
            (r#""typ":"JWT","#, "jwt"),
            (r#""typ":"at+JWT","#, "at+jwt"),
            (r#""typ":"application/at+jwt","#, "at+jwt"),
            (r#""typ":"Application/AT+JWT","#, "at+jwt"),
            (r#""typ":"","#, ""),
            ("", "jwt"),
        ] {
            let text = token(&format!(r#"{{{typ}"alg":"ES256"}}"#), PAYLOAD);
            assert_eq!(Token::read(&text).unwrap_or_else(|_| panic!("{typ}")).header.media_type, want, "{typ}");
        }
    }

    #[test]
    fn a_moment_is_a_whole_number_of_seconds_and_nothing_else() {
        for claim in ["exp", "nbf", "iat"] {
            for (value, taken) in [
                ("0", true),
                ("2000000000", true),
                ("9223372036854775807", true),
                ("9223372036854775808", false),
                ("18446744073709551615", false),
                ("18446744073709551616", false),
                ("1e400", false),
                ("-1", false),
                ("-0", false),
                ("-9223372036854775808", false),
                ("2000000000.0", false),
                ("2000000000.5", false),
                ("2e9", false),
                ("\"2000000000\"", false),
                ("\"\"", false),
                ("null", false),
                ("true", false),
                ("[2000000000]", false),
                ("{}", false),
            ] {
                let rest = if claim == "exp" { "" } else { r#","exp":2000000000"# };
                let payload = format!(r#"{{"iss":"i","aud":"a"{rest},"{claim}":{value}}}"#);
                assert_eq!(read(&token(HEADER, &payload)).is_ok(), taken, "{payload}");
            }
        }
    }

    #[test]
    fn a_claim_has_its_type_or_the_token_none_of_ours() {
        let deep = format!(r#"{{"iss":"i","aud":"a","exp":1,"x":{}{}}}"#, "[".repeat(9), "]".repeat(9));
        let long_id = format!(r#"{{"iss":"i","aud":"a","exp":1,"jti":"{}"}}"#, "j".repeat(1025));
        for (payload, want) in [
            (r#"{"iss":"i","aud":["a","b"],"exp":1,"sub":"s","jti":"j","x":{"y":[1]}}"#, Ok(())),
            (r#"{"aud":"a","exp":1}"#, Err(Denied::TokenIssuer)),
            (r#"{"iss":"i","exp":1}"#, Err(Denied::TokenAudience)),
            (r#"{"iss":"i","aud":[],"exp":1}"#, Err(Denied::TokenAudience)),
            (r#"{"iss":"i","aud":"a"}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":null,"aud":"a","exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":["i"],"aud":"a","exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":1,"aud":"a","exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":null,"exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":1,"exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":{"a":"a"},"exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":["a",1],"exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":[["a"]],"exp":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":"a","exp":1,"exp":2}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":"a","exp":1,"x":{"y":1,"y":1}}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":"a","exp":1,"sub":1}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":"a","exp":1,"sub":"a\r\nb"}"#, Err(Denied::TokenMalformed)),
            (r#"{"iss":"i","aud":"a","exp":1,"jti":["j"]}"#, Err(Denied::TokenMalformed)),
            (&long_id, Err(Denied::TokenMalformed)),
            (&deep, Err(Denied::TokenMalformed)),
            ("[]", Err(Denied::TokenMalformed)),
            ("eyJhbGciOiJub25lIn0.e30.", Err(Denied::TokenMalformed)),
            ("", Err(Denied::TokenMalformed)),
        ] {
            assert_eq!(read(&token(HEADER, payload)), want, "{payload:.120}");
        }
    }
}
