//! What HTTP/2 can carry and HTTP/1 cannot, or only in a second reading: refused before anything else is decided.
//!
//! The parser has seen to pseudo-headers, connection headers, names, line ends, and to lengths that `DATA` does not
//! keep (RFC 9113 §8). An HTTP/1 request has had its own form judged byte by byte.

use http::HeaderMap;
use http::HeaderValue;
use http::Version;
use http::header::CONTENT_LENGTH;
use http::header::COOKIE;
use http::request::Parts;
use http::uri::Scheme;

use crate::model::refusal::Denied;

/// Judges the form of a request over HTTP/2.
///
/// # Errors
/// [`Denied::RequestMalformed`] for a scheme that is not HTTP's, for
/// a value with white space around it, which HTTP/1 would lose (RFC 9113 §8.2.1), and for a length that stands twice or
/// is not written as a number would be.
pub fn check(head: &Parts) -> Result<(), Denied> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    let is_http = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    let well_formed = head.uri.scheme().is_none_or(is_http)
        && !head.headers.values().any(is_padded)
        && is_plain_length(head.headers.get_all(CONTENT_LENGTH).iter());
    if well_formed { Ok(()) } else { Err(Denied::RequestMalformed) }
}

fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

fn is_plain_length<'v>(mut lines: impl Iterator<Item = &'v HeaderValue>) -> bool {
    let Some(length) = lines.next() else { return true };
    let digits = length.as_bytes();
    let is_number = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty();
    is_number && (digits == b"0" || !digits.starts_with(b"0")) && lines.next().is_none()
}

/// Makes one line of a client's cookies: HTTP/2 clients send them in crumbs, of which an HTTP/1 server may read the
/// first only (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    match HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        Ok(joined) => drop(headers.insert(COOKIE, joined)),
        Err(_cannot_be) => drop(headers.remove(COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;
    use http::Request;
    use http::Version;
    use http::request::Parts;

    use super::check;
    use super::join_cookies;
    use crate::model::refusal::Denied;

    fn request(version: Version, uri: &str, headers: &[(&'static str, &'static [u8])]) -> Parts {
        let mut request = Request::get(uri).version(version).body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn what_two_readers_could_read_as_two_is_malformed() {
        let malformed = Err(Denied::RequestMalformed);
        for (uri, headers, want) in [
            ("http://a/", &[][..], Ok(())),
            ("https://a/", &[("x", &b"a b"[..]), ("y", b""), ("content-length", b"10")], Ok(())),
            ("/", &[("content-length", b"0")], Ok(())),
            ("gopher://a/", &[], malformed),
            ("http://a/", &[("x", b" a")], malformed),
            ("http://a/", &[("x", b"a"), ("x", b"b\t")], malformed),
            ("http://a/", &[("x", b" ")], malformed),
            ("http://a/", &[("content-length", b"5"), ("content-length", b"5")], malformed),
            ("http://a/", &[("content-length", b"05")], malformed),
            ("http://a/", &[("content-length", b"00")], malformed),
            ("http://a/", &[("content-length", b"5, 5")], malformed),
            ("http://a/", &[("content-length", b"")], malformed),
        ] {
            assert_eq!(check(&request(Version::HTTP_2, uri, headers)), want, "{uri} {headers:?}");
            assert_eq!(check(&request(Version::HTTP_11, uri, headers)), Ok(()), "{uri} {headers:?}");
        }
    }

    #[test]
    fn crumbs_become_one_line_of_cookies() {
        for (crumbs, want) in [(&[][..], None), (&["a=1"], Some("a=1")), (&["a=1", "b=2; c=3"], Some("a=1; b=2; c=3"))]
        {
            let mut headers = HeaderMap::new();
            for crumb in crumbs {
                headers.append("cookie", HeaderValue::from_static(crumb));
            }
            join_cookies(&mut headers);
            let lines: Vec<_> = headers.get_all("cookie").iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(lines, want.into_iter().collect::<Vec<_>>());
        }
    }
}
