//! Reading what a caller presented. Exactly one credential, or a refusal: never a guess (RFC 6750 §2).

use std::borrow::Cow;

use http::HeaderMap;
use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::config::KeySource;
use crate::model::refusal::Denied;

/// The header that Azure's own services read a key from.
pub const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

/// The header of a LimitedAccessToken.
pub const LIMITED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("limitedaccesstoken");

/// Finds the key in the places that a service reads.
///
/// The same key in two of them is one credential.
///
/// # Errors
/// [`Denied::CredentialMissing`] when no place holds anything, [`Denied::CredentialMalformed`] when one holds
/// something that is no key, [`Denied::CredentialAmbiguous`] when two differ or one is there twice.
pub fn key<'r>(sources: &[KeySource], headers: &'r HeaderMap, query: Option<&'r str>) -> Result<Cow<'r, [u8]>, Denied> {
    let mut found: Option<Cow<'r, [u8]>> = None;
    for source in sources {
        let here = match source {
            KeySource::Bearer => bearer(headers, &AUTHORIZATION)?.map(|text| Cow::Borrowed(text.as_bytes())),
            KeySource::Header(name) => only(headers, name)?.map(Cow::Borrowed),
            KeySource::Query(name) => parameter(query, name)?,
        };
        match (&found, here) {
            (Some(first), Some(second)) if *first != second => return Err(Denied::CredentialAmbiguous),
            (None, Some(first)) => found = Some(first),
            (Some(_), Some(_)) | (_, None) => {}
        }
    }
    found.ok_or(Denied::CredentialMissing)
}

/// Finds the token: in `Authorization`, and nowhere else.
///
/// # Errors
/// As [`key`]; a subscription key beside the token makes the request ambiguous.
pub fn token(headers: &HeaderMap) -> Result<&str, Denied> {
    let token = bearer(headers, &AUTHORIZATION)?;
    if token.is_some() && headers.contains_key(SUBSCRIPTION_KEY) {
        return Err(Denied::CredentialAmbiguous);
    }
    token.ok_or(Denied::CredentialMissing)
}

/// Finds the LimitedAccessToken, if there is one.
///
/// # Errors
/// [`Denied::LimitedTokenInvalid`] when the header is there and is not `Bearer` and one token.
pub fn limited_access_token(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    bearer(headers, &LIMITED_ACCESS_TOKEN).map_err(|_malformed| Denied::LimitedTokenInvalid)
}

/// Reads `Bearer <token68>` (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Denied> {
    let Some(value) = only(headers, name)? else { return Ok(None) };
    let text = std::str::from_utf8(value).map_err(|_bytes| Denied::CredentialMalformed)?;
    let (scheme, rest) = text.split_once(' ').ok_or(Denied::CredentialMalformed)?;
    let credential = rest.trim_start_matches(' ');
    let one_word = !credential.is_empty() && credential.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if scheme.eq_ignore_ascii_case("bearer") && one_word {
        Ok(Some(credential))
    } else {
        Err(Denied::CredentialMalformed)
    }
}

/// The value of a header that must stand at most once.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r [u8]>, Denied> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::CredentialAmbiguous);
    }
    if value.is_empty() { Err(Denied::CredentialMalformed) } else { Ok(Some(value.as_bytes())) }
}

fn parameter<'r>(query: Option<&'r str>, name: &str) -> Result<Option<Cow<'r, [u8]>>, Denied> {
    let mut values =
        pairs(query.unwrap_or_default()).filter(|(found, _)| decoded(found).as_deref() == Some(name.as_bytes()));
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::CredentialAmbiguous);
    }
    match decoded(value) {
        Some(value) if !value.is_empty() => Ok(Some(value)),
        Some(_) | None => Err(Denied::CredentialMalformed),
    }
}

/// How often a parameter stands in a query, and how long its first value is; `None` where it does not.
#[must_use]
pub fn parameters(query: Option<&str>, name: &str) -> Option<(usize, usize)> {
    let mut values =
        pairs(query.unwrap_or_default()).filter(|(found, _)| decoded(found).as_deref() == Some(name.as_bytes()));
    let (_, first) = values.next()?;
    Some((1 + values.count(), first.len()))
}

/// The query without the parameters that hold a key; `None` when nothing is left.
#[must_use]
pub fn without_keys(sources: &[KeySource], query: &str) -> Option<String> {
    let holds_a_key = |name: &str| {
        sources
            .iter()
            .any(|source| matches!(source, KeySource::Query(key) if decoded(name).as_deref() == Some(key.as_bytes())))
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !holds_a_key(split_pair(pair).0)).collect();
    if kept.is_empty() { None } else { Some(kept.join("&")) }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(split_pair)
}

fn split_pair(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// Decodes once; `+` is a space, as forms write it. `None` for a broken escape.
fn decoded(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderName;
    use http::HeaderValue;

    use super::key;
    use super::limited_access_token;
    use super::token;
    use super::without_keys;
    use crate::config::KeySource;
    use crate::model::refusal::Denied;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn everywhere() -> Vec<KeySource> {
        vec![
            KeySource::Bearer,
            KeySource::Header(super::SUBSCRIPTION_KEY),
            KeySource::Header(HeaderName::from_static("x-key")),
            KeySource::Query("k".to_owned()),
        ]
    }

    #[test]
    fn a_key_is_found_where_the_service_reads_it_and_never_guessed() {
        const SUB: &str = "ocp-apim-subscription-key";
        type Case = (&'static [(&'static str, &'static str)], Option<&'static str>, Result<&'static str, Denied>);
        let cases: &[Case] = &[
            (&[], None, Err(Denied::CredentialMissing)),
            (&[("cookie", "k=a")], None, Err(Denied::CredentialMissing)),
            (&[("authorization", "Bearer a")], None, Ok("a")),
            (&[("authorization", "bEARER   a")], None, Ok("a")),
            (&[("authorization", "Bearer")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer ")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Basic YTpi")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer\ta")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer a b")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer a,b")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer a, Bearer b")], None, Err(Denied::CredentialMalformed)),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], None, Err(Denied::CredentialAmbiguous)),
            (&[(SUB, "a")], None, Ok("a")),
            (&[(SUB, "")], None, Err(Denied::CredentialMalformed)),
            (&[(SUB, "a"), (SUB, "b")], None, Err(Denied::CredentialAmbiguous)),
            (&[("authorization", "Bearer a"), (SUB, "a")], None, Ok("a")),
            (&[("authorization", "Bearer a"), (SUB, "b")], None, Err(Denied::CredentialAmbiguous)),
            (&[("authorization", "Basic x"), (SUB, "a")], None, Err(Denied::CredentialMalformed)),
            (&[("x-key", "a")], None, Ok("a")),
            (&[], Some("k=a"), Ok("a")),
            (&[], Some("x=1&k=a%2Bb&y"), Ok("a+b")),
            (&[], Some("%6b=a"), Ok("a")),
            (&[], Some("k="), Err(Denied::CredentialMalformed)),
            (&[], Some("k"), Err(Denied::CredentialMalformed)),
            (&[], Some("k=%zz"), Err(Denied::CredentialMalformed)),
            (&[], Some("k=a&k=a"), Err(Denied::CredentialAmbiguous)),
            (&[], Some("k=a&%6B=b"), Err(Denied::CredentialAmbiguous)),
            (&[(SUB, "a")], Some("k=b"), Err(Denied::CredentialAmbiguous)),
            (&[], Some("K=a"), Err(Denied::CredentialMissing)),
        ];
        for (lines, query, want) in cases {
            let sent = headers(lines);
            let got = key(&everywhere(), &sent, *query);
            assert_eq!(got.as_deref().map_err(|why| *why), (*want).map(str::as_bytes), "{lines:?} {query:?}");
        }
    }

    #[test]
    fn a_source_that_is_not_configured_is_not_read() {
        let sent = headers(&[("authorization", "Bearer a"), ("x-key", "b")]);
        let only_header = [KeySource::Header(HeaderName::from_static("x-key"))];
        assert_eq!(key(&only_header, &sent, Some("k=c")).as_deref(), Ok(&b"b"[..]));
    }

    #[test]
    fn a_token_stands_in_authorization_alone() {
        for (lines, want) in [
            (&[("authorization", "Bearer a.b.c")][..], Ok("a.b.c")),
            (&[], Err(Denied::CredentialMissing)),
            (&[("ocp-apim-subscription-key", "k")], Err(Denied::CredentialMissing)),
            (&[("authorization", "Bearer a"), ("ocp-apim-subscription-key", "k")], Err(Denied::CredentialAmbiguous)),
        ] {
            assert_eq!(token(&headers(lines)), want, "{lines:?}");
        }
        for (lines, want) in [
            (&[][..], Ok(None)),
            (&[("limitedaccesstoken", "Bearer t")], Ok(Some("t"))),
            (&[("limitedaccesstoken", "t")], Err(Denied::LimitedTokenInvalid)),
            (
                &[("limitedaccesstoken", "Bearer t"), ("limitedaccesstoken", "Bearer u")],
                Err(Denied::LimitedTokenInvalid),
            ),
        ] {
            assert_eq!(limited_access_token(&headers(lines)), want, "{lines:?}");
        }
    }

    #[test]
    fn a_key_in_the_query_does_not_go_on() {
        for (query, want) in
            [("k=a", None), ("%6b=a&x=1", Some("x=1")), ("x=%2F&k=a&y", Some("x=%2F&y")), ("K=a", Some("K=a"))]
        {
            assert_eq!(without_keys(&everywhere(), query).as_deref(), want, "{query}");
        }
    }
}
