//! The head of a message: found, checked, taken apart without copying it.

use std::mem::MaybeUninit;

use bytes::Buf as _;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;

use super::Malformed;
use crate::config::Limits;

/// Largest head of an answer, and largest trailer section, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Most fields of an answer or a trailer section.
pub const MAX_FIELDS: usize = 100;

/// What a request's line has besides its target, in bytes: a method, a version, blanks.
const AROUND_TARGET: usize = 64;

/// How much of a head that has not all come is looked at, in bytes.
const FIRST_BYTES: usize = 1024;

/// Fields that are added to a message most of the time, beyond its own.
const ADDED: usize = 2;

/// How every answer begins. An empty line before it, which clients may skip, comes from who has lost count of a body.
const PROTOCOL: &[u8] = b"HTTP/1.";

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// 100 to 599.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields, hop-by-hop ones among them.
    pub fields: HeaderMap,
}

/// Takes the head of an answer off the front of `input`; `None` when it has not all come.
///
/// # Errors
/// [`Malformed::Head`], [`Malformed::TooLarge`].
pub fn answer(input: &mut BytesMut) -> Result<Option<AnswerHead>, Malformed> {
    // Whoever speaks something else may never send an empty line.
    if !input.iter().zip(PROTOCOL).all(|(sent, wanted)| sent == wanted) {
        return Err(Malformed::Head);
    }
    let Some(head) = end(input, MAX_BYTES)?.map(|end| take(input, end)) else { return Ok(None) };
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &head, &mut lines) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Malformed::Head),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLarge),
        Err(_what) => return Err(Malformed::Head),
    }
    let status = parsed.code.filter(|code| (100..600).contains(code)).ok_or(Malformed::Head)?;
    Ok(Some(AnswerHead {
        status: StatusCode::from_u16(status).map_err(|_range| Malformed::Head)?,
        version: if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
        fields: fields(&head, parsed.headers)?,
    }))
}

/// Takes the head of a request off the front of `input`; `None` when it has not all come. What is within twice the limits
/// is taken, for whoever tells a request from a refusal by its target and its fields.
///
/// # Errors
/// [`Malformed::Head`], [`Malformed::TooLarge`], [`Malformed::TargetTooLong`].
pub fn request(input: &mut BytesMut, limits: &Limits) -> Result<Option<Parts>, Malformed> {
    // One empty line may be left over from the body before (RFC 9112 §2.2).
    let begin = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let begun = input.get(begin..).unwrap_or_default();
    if begun.starts_with(b"\r\n") {
        return Err(Malformed::Head);
    }
    let most = limits.target_bytes + 2 * limits.headers_bytes;
    let Some(end) = end(begun, most).map_err(|error| blame(error, begun, limits))? else {
        return could_begin(begun, limits).map(|()| None);
    };
    let mut head = take(input, begin + end);
    head.advance(begin);
    let mut few = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut many;
    let lines = match few.get_mut(..limits.header_count) {
        Some(lines) => lines,
        None => {
            many = vec![MaybeUninit::uninit(); limits.header_count];
            &mut many
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_request_with_uninit_headers(&mut parsed, &head, lines) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed::Head),
    }
    let (method, target) = parsed.method.zip(parsed.path).ok_or(Malformed::Head)?;
    // A fragment is no part of a target (RFC 9112 §3.2); it would be cut off.
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Malformed::Head);
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_bad| Malformed::Head)?;
    parts.uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes())).map_err(|_bad| Malformed::Head)?;
    parts.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = fields(&head, parsed.headers)?;
    Ok(Some(parts))
}

/// What a head that is too large has too much of.
fn blame(error: Malformed, head: &[u8], limits: &Limits) -> Malformed {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if error == Malformed::TooLarge && line > limits.target_bytes + AROUND_TARGET {
        Malformed::TargetTooLong
    } else {
        error
    }
}

/// Refuses a beginning that no head can come of: whoever speaks something else may never send an empty line.
fn could_begin(begun: &[u8], limits: &Limits) -> Result<(), Malformed> {
    if begun.len() > limits.target_bytes + AROUND_TARGET && memchr::memchr(b'\n', begun).is_none() {
        return Err(Malformed::TargetTooLong);
    }
    if begun.len() > FIRST_BYTES {
        return Ok(());
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, begun, &mut lines) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(()),
        Err(_what) => Err(Malformed::Head),
    }
}

/// Whether a connection lasts beyond a message (RFC 9112 §9.3).
#[must_use]
pub fn persists(fields: &HeaderMap, version: Version) -> bool {
    let says = |wanted: &[u8]| {
        let lines = fields.get_all(header::CONNECTION).iter();
        let mut options = lines.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

/// Takes the fields of a trailer section, up to and with its empty line; `None` when they have not all come.
///
/// # Errors
/// [`Malformed::Chunk`], [`Malformed::TooLarge`].
pub fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if input.starts_with(b"\r\n") {
        drop(input.split_to(2));
        return Ok(Some(HeaderMap::new()));
    }
    if matches!(**input, [b'\r', next, ..] if next != b'\n') {
        return Err(Malformed::Chunk);
    }
    let Some(section) = end(input, MAX_BYTES)?.map(|end| take(input, end)) else { return Ok(None) };
    let mut lines = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(&section, &mut lines) {
        Ok(httparse::Status::Complete((_, parsed))) => fields(&section, parsed).map(Some),
        Err(httparse::Error::TooManyHeaders) => Err(Malformed::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(Malformed::Chunk),
    }
}

/// Where the first empty line ends. A line that ends in a bare LF is none: some would read a head's end there, and others
/// would not.
fn end(input: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', input) {
        match at.checked_sub(1).filter(|before| *before >= line && input.get(*before) == Some(&b'\r')) {
            None => return Err(Malformed::Head),
            Some(end) if end == line && line > 0 && at < most => return Ok(Some(at + 1)),
            Some(_) => line = at + 1,
        }
        if at >= most {
            break;
        }
    }
    if input.len() >= most { Err(Malformed::TooLarge) } else { Ok(None) }
}

/// Takes so many bytes off the front; where that is all there is, nothing of the buffer is kept.
fn take(input: &mut BytesMut, bytes: usize) -> Bytes {
    if bytes == input.len() { std::mem::take(input).freeze() } else { input.split_to(bytes).freeze() }
}

fn fields(head: &Bytes, lines: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::with_capacity(lines.len() + ADDED);
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_bad| Malformed::Head)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(|_bad| Malformed::Head)?;
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::HeaderValue;
    use http::Version;
    use http::header;

    use super::MAX_BYTES;
    use super::answer;
    use super::persists;
    use super::request;
    use super::trailers;
    use crate::config::Limits;
    use crate::http1::Malformed;

    #[test]
    fn an_answer_is_taken_off_the_front_and_what_follows_stays() {
        let mut input = BytesMut::from("HTTP/1.1 200 OK\r\nA: b\r\na:  c \r\n\r\nrest");
        let head = answer(&mut input).unwrap().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.fields.get_all("a").iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(input, "rest");
    }

    #[test]
    fn a_head_has_one_reading_or_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(MAX_BYTES));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
        for (text, want) in [
            ("", None),
            ("HTTP/1.1 200 OK\r\na: b\r\n", None),
            ("HTTP/1.1 200\r\n\r\n", Some(Ok(()))),
            ("HTTP/1.0 404 \r\n\r\n", Some(Ok(()))),
            ("HTTP/1.1 200 OK\n\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 200 OK\r\na: b\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 200 OK\r\na: b\r\n\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 200 OK\r\na : b\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 99 OK\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 600 OK\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1.1 1000 OK\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/2.0 200 OK\r\n\r\n", Some(Err(Malformed::Head))),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Some(Err(Malformed::Head))),
            ("HTTP/1", None),
            ("HTTP/2", Some(Err(Malformed::Head))),
            ("SSH-2.0", Some(Err(Malformed::Head))),
            (&long, Some(Err(Malformed::TooLarge))),
            (&many, Some(Err(Malformed::TooLarge))),
        ] {
            let read = answer(&mut BytesMut::from(text)).map(|head| head.map(drop)).transpose();
            assert_eq!(read, want, "{text:?}");
        }
    }

    #[test]
    fn a_request_has_one_reading_or_is_refused() {
        let limits = Limits { target_bytes: 100, headers_bytes: 1000, header_count: 3, ..Limits::usual() };
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
        let whole = format!("{long}x: {}\r\n", "a".repeat(2000));
        let large = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(3000));
        let most = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(3));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(4));
        for (text, want) in [
            ("", None),
            ("\r", None),
            ("\r\n", None),
            ("GET / HT", None),
            ("GET / HTTP/1.1\r\nHost", None),
            ("GET / HTTP/1.1\r\n\r\n", Some(Ok(()))),
            ("\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n", Some(Ok(()))),
            ("OPTIONS * HTTP/1.1\r\n\r\n", Some(Ok(()))),
            (&most, Some(Ok(()))),
            (&many, Some(Err(Malformed::TooLarge))),
            (&large, Some(Err(Malformed::TooLarge))),
            (long.trim_end(), Some(Err(Malformed::TargetTooLong))),
            (&whole, Some(Err(Malformed::TargetTooLong))),
            ("\n", Some(Err(Malformed::Head))),
            ("\r\n\r", None),
            ("\r\n\r\n", Some(Err(Malformed::Head))),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(Err(Malformed::Head))),
            ("\x16\x03\x01\x02", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\n", Some(Err(Malformed::Head))),
            ("GET /#a HTTP/1.1\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET  / HTTP/1.1\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.2\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/2.0\r\n\r\n", Some(Err(Malformed::Head))),
            ("PRI * HTTP/2.0\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET /\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\r\na: b\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\r\na: b\r\n\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\r\na : b\r\n\r\n", Some(Err(Malformed::Head))),
            ("GET / HTTP/1.1\r\na: b\0\r\n\r\n", Some(Err(Malformed::Head))),
        ] {
            let read = request(&mut BytesMut::from(text), &limits).map(|head| head.map(drop)).transpose();
            assert_eq!(read, want, "{text:?}");
        }
    }

    #[test]
    fn a_request_is_taken_off_the_front_and_what_follows_stays() {
        let mut input = BytesMut::from("\r\nPUT /a?b HTTP/1.1\r\nA: b\r\na:  c \r\n\r\nrest");
        let head = request(&mut input, &Limits::usual()).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("PUT", "/a?b"));
        assert_eq!(head.headers.get_all("a").iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(input, "rest");
    }

    #[test]
    fn a_connection_lasts_unless_it_is_said_or_old() {
        for (version, lines, want) in [
            (Version::HTTP_11, &[][..], true),
            (Version::HTTP_11, &["keep-alive"], true),
            (Version::HTTP_11, &["Close"], false),
            (Version::HTTP_11, &["keep-alive", "upgrade , close"], false),
            (Version::HTTP_10, &[], false),
            (Version::HTTP_10, &["Keep-Alive"], true),
            (Version::HTTP_10, &["keep-alive, close"], false),
        ] {
            let fields = lines.iter().map(|line| (header::CONNECTION, HeaderValue::from_static(line))).collect();
            assert_eq!(persists(&fields, version), want, "{version:?} {lines:?}");
        }
    }

    #[test]
    fn trailers_end_with_an_empty_line() {
        for (text, want) in [
            ("\r\n", Ok(Some(0))),
            ("a: b\r\n\r\n", Ok(Some(1))),
            ("a: b\r\n", Ok(None)),
            ("", Ok(None)),
            ("\r", Ok(None)),
            ("a\r\n\r\n", Err(Malformed::Chunk)),
            ("\rX", Err(Malformed::Chunk)),
            ("a: b\n\r\n", Err(Malformed::Head)),
        ] {
            let read = trailers(&mut BytesMut::from(text)).map(|fields| fields.map(|fields| fields.len()));
            assert_eq!(read, want, "{text:?}");
        }
    }
}
