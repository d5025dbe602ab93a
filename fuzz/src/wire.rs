//! HTTP/1 as it comes off a socket, in pieces of any size, against readers that are given all at once.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::Version;
use scoregate::http1::Malformed;
use scoregate::http1::body::Decoder;
use scoregate::http1::body::Length;
use scoregate::http1::body::Piece;
use scoregate::http1::head;
use scoregate::http1::head::AnswerHead;
use scoregate::http1::output::Encoding;
use scoregate::http1::output::Output;

/// What was read of a message.
#[derive(Debug, PartialEq)]
struct Read {
    head: Option<(u16, Version, HeaderMap)>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Bytes after the end.
    rest: usize,
}

/// The first byte says in which pieces the others come: however they do, the same is read of them, and it is what
/// another reader finds.
pub(crate) fn answer(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let (whole, pieces) = (read(bytes, bytes.len().max(1)), read(bytes, usize::from(*step).max(1)));
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces, "in pieces of {step}");
            if let Some(head) = &whole.head {
                let rest = check_head(bytes, head);
                check_body(rest, &whole);
            }
        }
        // One that gets all at once may refuse for a fault that the other has not come to, or the other way round.
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("{whole:?} at once, {pieces:?} in pieces of {step}"),
    }
}

/// As the gateway reads: the head, its length, then the body.
fn read(bytes: &[u8], step: usize) -> Result<Read, Malformed> {
    let mut read = Read { head: None, body: Vec::new(), trailers: None, ended: false, rest: 0 };
    let (mut input, mut decoder) = (BytesMut::new(), None);
    for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        if decoder.is_none() {
            let Some(AnswerHead { status, version, fields }) = head::answer(&mut input)? else { continue };
            decoder = Some(match Length::said(&fields, version)? {
                Length::Of(length) => Decoder::counted(length),
                Length::Chunked => Decoder::chunked(0),
                Length::Unsaid => Decoder::UNTIL_CLOSE,
            });
            read.head = Some((status.as_u16(), version, fields));
        }
        let Some(decoder) = &mut decoder else { continue };
        while !read.ended {
            match decoder.next(&mut input)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    read.body.extend_from_slice(&data);
                }
                Piece::Trailers(fields) => {
                    (read.trailers, read.ended) = (Some(fields), true);
                    assert!(decoder.is_done());
                }
                Piece::End => read.ended = true,
                Piece::More => break,
            }
        }
    }
    read.rest = input.len();
    Ok(read)
}

/// Looks at the lines of a head, and returns what follows it.
fn check_head<'b>(bytes: &'b [u8], (status, version, fields): &(u16, Version, HeaderMap)) -> &'b [u8] {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head has an end");
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().expect("a status line");
    let number = if *version == Version::HTTP_10 { '0' } else { '1' };
    let want = format!("HTTP/1.{number} {status}");
    let after = first.strip_prefix(want.as_bytes()).unwrap_or_else(|| panic!("{first:?} is no {want}"));
    assert!(after.is_empty() || after[0] == b' ', "{first:?}");
    assert_eq!(head_fields(lines), *fields);
    assert!(head.len() < head::MAX_BYTES && fields.len() <= head::MAX_FIELDS);
    rest
}

fn head_fields<'b>(lines: impl Iterator<Item = &'b [u8]>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let (written, value) = (&line[..colon], &line[colon + 1..]);
        let is_blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
        let value = &value[start..end];
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{line:?}");
        let name = HeaderName::from_bytes(written).expect("a name");
        fields.append(name, http::HeaderValue::from_bytes(value).expect("a value"));
    }
    fields
}

fn check_body(bytes: &[u8], read: &Read) {
    let Some((_, version, fields)) = &read.head else { return };
    let said = |name: &str| fields.get_all(name).iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
    match (said("transfer-encoding").as_slice(), said("content-length").as_slice()) {
        ([], []) => assert_eq!((read.body.as_slice(), read.ended), (bytes, false)),
        ([], [length]) => {
            let length: u64 = std::str::from_utf8(length).expect("digits").parse().expect("digits");
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            assert_eq!((read.body.as_slice(), read.rest), (&bytes[..here], bytes.len() - here));
        }
        ([_chunked], []) => {
            assert_eq!(*version, Version::HTTP_11);
            check_chunks(bytes, read);
        }
        (codings, lengths) => panic!("{codings:?} and {lengths:?} were taken"),
    }
}

/// A body in chunks as RFC 9112 §7.1 has it without extensions; `None` while it is not all there.
fn check_chunks(mut bytes: &[u8], read: &Read) {
    let mut body = Vec::new();
    let ended = loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { break false };
        let size = std::str::from_utf8(&bytes[..end]).expect("hexadecimal digits");
        assert!(size.bytes().all(|digit| digit.is_ascii_hexdigit()), "{size:?}");
        let size = usize::from_str_radix(size, 16).expect("a size");
        bytes = &bytes[end + 2..];
        if size == 0 {
            break true;
        }
        body.extend_from_slice(&bytes[..size.min(bytes.len())]);
        let Some(after) = bytes.get(size..) else { break false };
        let Some(next) = after.strip_prefix(b"\r\n") else {
            assert!(after.is_empty() || after == b"\r", "a chunk ends with its line");
            break false;
        };
        bytes = next;
    };
    assert_eq!(read.body, body);
    if read.ended {
        assert!(ended);
        let section = &bytes[..bytes.len() - read.rest];
        let lines = section.strip_suffix(b"\r\n").expect("an empty line");
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let fields = head_fields(lines.map(|line| line.strip_suffix(b"\r").expect("a line has an end")));
        assert_eq!(read.trailers.clone().unwrap_or_default(), fields);
    }
}

/// What the gateway writes in chunks, it reads as what it was; pieces are as long as each first byte says, times 64.
pub(crate) fn chunks(data: &[u8]) {
    let (mut bodies, mut rest) = (Vec::new(), data);
    while let Some((length, after)) = rest.split_first() {
        let (piece, next) = after.split_at((usize::from(*length) * 64).min(after.len()));
        bodies.push(Bytes::copy_from_slice(piece));
        rest = next;
    }
    let mut trailers = HeaderMap::new();
    if let Some(value) = bodies.first().and_then(|piece| http::HeaderValue::from_bytes(piece).ok()) {
        trailers.insert("x-sum", value);
    }
    let (mut written, mut output) = (Vec::new(), Output::default());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut flush = |output: &mut Output| {
        let all = output.poll_write(&mut written, &mut context);
        assert!(matches!(all, std::task::Poll::Ready(Ok(()))) && output.is_empty());
    };
    for piece in &bodies {
        if !output.takes_data(4096) {
            flush(&mut output);
        }
        output.data(piece.clone(), Encoding::Chunked);
    }
    output.end(Some(&trailers), Encoding::Chunked);
    flush(&mut output);
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    bytes.extend_from_slice(&written);
    for step in [1, 7, bytes.len()] {
        let read = read(&bytes, step).expect("what we write is well-formed");
        assert_eq!((read.body, read.ended, read.rest), (bodies.concat(), true, 0));
        let value = |fields: Option<HeaderMap>| fields.and_then(|fields| fields.get("x-sum").map(trimmed));
        assert_eq!(value(read.trailers), value(Some(trailers.clone())));
    }
}

fn trimmed(value: &http::HeaderValue) -> Vec<u8> {
    value.as_bytes().trim_ascii().to_vec()
}
