//! The head of a message: found, checked, taken apart without copying it.

use std::mem::MaybeUninit;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::Version;

use super::Malformed;

/// Largest head, and largest trailer section, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Most fields of a head or a trailer section.
pub const MAX_FIELDS: usize = 100;

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
    let Some(head) = take(input)? else { return Ok(None) };
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

/// Takes the fields of a trailer section, up to and with its empty line; `None` when they have not all come.
///
/// # Errors
/// [`Malformed::Chunk`], [`Malformed::TooLarge`].
pub fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if input.starts_with(b"\r\n") {
        drop(input.split_to(2));
        return Ok(Some(HeaderMap::new()));
    }
    let Some(section) = take(input)? else { return Ok(None) };
    let mut lines = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(&section, &mut lines) {
        Ok(httparse::Status::Complete((_, parsed))) => fields(&section, parsed).map(Some),
        Err(httparse::Error::TooManyHeaders) => Err(Malformed::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => Err(Malformed::Chunk),
    }
}

/// Takes everything up to the first empty line. A line that ends in a bare LF is none: some would read a head's end
/// there, and others would not.
fn take(input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', input) {
        match at.checked_sub(1).filter(|before| *before >= line && input.get(*before) == Some(&b'\r')) {
            None => return Err(Malformed::Head),
            Some(end) if end == line && line > 0 && at < MAX_BYTES => return Ok(Some(input.split_to(at + 1).freeze())),
            Some(_) => line = at + 1,
        }
        if at >= MAX_BYTES {
            break;
        }
    }
    if input.len() >= MAX_BYTES { Err(Malformed::TooLarge) } else { Ok(None) }
}

fn fields(head: &Bytes, lines: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::with_capacity(lines.len() + lines.len() / 2);
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

    use super::MAX_BYTES;
    use super::answer;
    use super::trailers;
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
    fn trailers_end_with_an_empty_line() {
        for (text, want) in [
            ("\r\n", Ok(Some(0))),
            ("a: b\r\n\r\n", Ok(Some(1))),
            ("a: b\r\n", Ok(None)),
            ("", Ok(None)),
            ("\r", Ok(None)),
            ("a\r\n\r\n", Err(Malformed::Chunk)),
            ("a: b\n\r\n", Err(Malformed::Head)),
        ] {
            let read = trailers(&mut BytesMut::from(text)).map(|fields| fields.map(|fields| fields.len()));
            assert_eq!(read, want, "{text:?}");
        }
    }
}
