//! HTTP/1 as it comes off a socket, in pieces of any size, against readers that are given all at once.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::Version;
use http::request::Parts;
use scoregate::config::Limits;
use scoregate::http1::Malformed;
use scoregate::http1::body::Decoder;
use scoregate::http1::body::Length;
use scoregate::http1::body::Piece;
use scoregate::http1::head;
use scoregate::http1::head::AnswerHead;
use scoregate::http1::output::Encoding;
use scoregate::http1::output::Output;

/// What a message begins with, its version and its fields.
type Head = (String, Version, HeaderMap);

/// What was read of a message.
#[derive(Debug, PartialEq)]
struct Read {
    /// Bytes before it.
    at: usize,
    head: Head,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Bytes after the end.
    rest: usize,
}

/// Who speaks.
#[derive(Clone, Copy)]
enum Speaker {
    Client,
    Upstream,
}

impl Speaker {
    fn head(self, input: &mut BytesMut) -> Result<Option<Head>, Malformed> {
        let told = |AnswerHead { status, version, fields }| (status.as_str().to_owned(), version, fields);
        match self {
            Self::Upstream => Ok(head::answer(input)?.map(told)),
            Self::Client => {
                let told = |parts: Parts| (parts.method.to_string(), parts.version, parts.headers);
                Ok(head::request(input, &Limits::usual())?.map(told))
            }
        }
    }

    /// How a body ends of which nothing is said.
    fn unsaid(self) -> Decoder {
        match self {
            Self::Client => Decoder::DONE,
            Self::Upstream => Decoder::UNTIL_CLOSE,
        }
    }
}

/// The first byte says in which pieces the others come: however they do, the same is read of them, and it is what
/// another reader finds.
pub(crate) fn answer(data: &[u8]) {
    spoken(data, Speaker::Upstream);
}

/// The same for what a client sends.
pub(crate) fn requests(data: &[u8]) {
    spoken(data, Speaker::Client);
}

fn spoken(data: &[u8], speaker: Speaker) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1), speaker);
    let pieces = read(bytes, usize::from(*step).max(1), speaker);
    assert_eq!(whole.0, pieces.0, "in pieces of {step}");
    // A head that has not all come may be refused at its first fault, or once it has an end.
    let ends_refused = || read(&[bytes, b"\r\n\r\n"].concat(), usize::MAX, speaker).1;
    assert!(whole.1 == pieces.1 || pieces.1 && ends_refused(), "in pieces of {step}: {}", pieces.1);
    for message in &whole.0 {
        let rest = check_head(&bytes[message.at..], message, speaker);
        check_body(rest, message, speaker);
    }
}

/// As the gateway reads: the head, its length, then the body; and whether it refused what came after that. Of a message
/// whose body is refused only the others count: how much of it was passed on depends on the pieces.
fn read(bytes: &[u8], step: usize, speaker: Speaker) -> (Vec<Read>, bool) {
    let (mut input, mut fed, mut all) = (BytesMut::new(), 0, Vec::new());
    let mut now: Option<(Decoder, Read)> = None;
    for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        fed += piece.len();
        loop {
            match next(&mut input, fed, &mut now, speaker) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return (all, true),
            }
            if let Some((_, ended)) = now.take_if(|(_, message)| message.ended) {
                all.push(Read { rest: bytes.len() - (fed - input.len()), ..ended });
            }
        }
    }
    all.extend(now.map(|(_, message)| message));
    (all, false)
}

/// Reads one more piece; whether there may be another.
fn next(
    input: &mut BytesMut,
    fed: usize,
    now: &mut Option<(Decoder, Read)>,
    speaker: Speaker,
) -> Result<bool, Malformed> {
    let Some((decoder, message)) = now else {
        let at = fed - input.len();
        let Some(head) = speaker.head(input)? else { return Ok(false) };
        let decoder = match Length::said(&head.2, head.1)? {
            Length::Of(length) => Decoder::counted(length),
            Length::Chunked => Decoder::chunked(0),
            Length::Unsaid => speaker.unsaid(),
        };
        *now = Some((decoder, Read { at, head, body: Vec::new(), trailers: None, ended: false, rest: 0 }));
        return Ok(true);
    };
    match decoder.next(input)? {
        Piece::Data(data) => {
            assert!(!data.is_empty());
            message.body.extend_from_slice(&data);
        }
        Piece::Trailers(fields) => {
            (message.trailers, message.ended) = (Some(fields), true);
            assert!(decoder.is_done());
        }
        Piece::End => message.ended = true,
        Piece::More => return Ok(false),
    }
    Ok(true)
}

/// Looks at the lines of a head, and returns what follows it.
fn check_head<'b>(bytes: &'b [u8], read: &Read, speaker: Speaker) -> &'b [u8] {
    let (first, version, fields) = &read.head;
    let bytes = match speaker {
        // One empty line may stand before a request.
        Speaker::Client => bytes.strip_prefix(b"\r\n").unwrap_or(bytes),
        Speaker::Upstream => bytes,
    };
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head has an end");
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next().expect("a first line");
    let version = if *version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let is_first = match speaker {
        Speaker::Upstream => {
            let after = line.strip_prefix(format!("{version} {first}").as_bytes());
            after.is_some_and(|after| after.is_empty() || after[0] == b' ')
        }
        Speaker::Client => {
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            matches!(words[..], [method, _, last] if method == first.as_bytes() && last == version.as_bytes())
        }
    };
    assert!(is_first, "{line:?} of {first} in {version}");
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

fn check_body(bytes: &[u8], read: &Read, speaker: Speaker) {
    let (_, version, fields) = &read.head;
    let said = |name: &str| fields.get_all(name).iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
    match (said("transfer-encoding").as_slice(), said("content-length").as_slice()) {
        ([], []) => match speaker {
            Speaker::Upstream => assert_eq!((read.body.as_slice(), read.ended), (bytes, false)),
            Speaker::Client => assert_eq!((read.body.len(), read.ended, read.rest), (0, true, bytes.len())),
        },
        ([], [length]) => {
            let length: u64 = std::str::from_utf8(length).expect("digits").parse().expect("digits");
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            assert_eq!(read.body, bytes[..here]);
            assert!(!read.ended || read.rest == bytes.len() - here);
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
        let (mut read, refused) = read(&bytes, step, Speaker::Upstream);
        assert_eq!((read.len(), refused), (1, false), "what we write is well-formed");
        let read = read.remove(0);
        assert_eq!((read.body, read.ended, read.rest), (bodies.concat(), true, 0));
        let value = |fields: Option<HeaderMap>| fields.and_then(|fields| fields.get("x-sum").map(trimmed));
        assert_eq!(value(read.trailers), value(Some(trailers.clone())));
    }
}

fn trimmed(value: &http::HeaderValue) -> Vec<u8> {
    value.as_bytes().trim_ascii().to_vec()
}
