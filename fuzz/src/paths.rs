//! Paths and hosts: what the gateway makes of them, against readings that were written without looking at it.

use scoregate::model::host::Host;
use scoregate::model::path::NormalPath;
use scoregate::model::path::PathOddity;
use scoregate::model::path::PathTemplate;

/// A path that is taken names the same resource to the gateway, to RFC 3986 and to a lenient upstream, whether they
/// read what the client sent or what the gateway sends.
pub(crate) fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let _parsed = PathTemplate::parse(raw);
    let Ok(path) = NormalPath::read(raw) else { return };
    let sent = path.as_str();
    assert_eq!(NormalPath::read(sent).as_ref(), Ok(&path), "read again");
    assert!(sent.starts_with('/') && sent.bytes().all(|byte| byte.is_ascii_graphic()), "{sent:?}");

    let strict = unreserved_decoded(raw);
    assert_eq!(sent, strict, "RFC 3986 §6.2.2.1 and §6.2.2.2");
    assert_eq!(without_dots(&strict), strict, "RFC 3986 §5.2.4 takes nothing out");

    let (by_client, by_gateway) = (leniently(raw.as_bytes()), leniently(sent.as_bytes()));
    assert_eq!(by_client, by_gateway, "a lenient upstream");
    assert_eq!(without_dots(&by_gateway), by_gateway, "a lenient upstream finds dots in {sent}");
    if path.oddities().is_empty() {
        let once = decoded(sent.as_bytes());
        let once = String::from_utf8(once).expect("escapes of a path that is taken are UTF-8");
        assert_eq!(once.trim_end_matches('/'), by_gateway.trim_end_matches('/'), "all readings are one");
        assert_eq!(path.loosest(), sent);
    } else {
        let loosest = path.loosest().trim_end_matches('/');
        assert_eq!(loosest, by_gateway.trim_end_matches('/'), "what is gated is what the most lenient one reads");
    }
    assert_eq!(path.oddities().has(PathOddity::Semicolon), decoded(raw.as_bytes()).contains(&b';'));
    assert_eq!(path.oddities().has(PathOddity::EmptySegment), sent.contains("//"));
}

/// A host has one spelling.
pub(crate) fn host(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(host) = Host::read(raw) else { return };
    let read = host.as_str();
    assert_eq!(Host::read(read).as_ref(), Ok(&host), "read again");
    assert!(!read.bytes().any(|byte| byte.is_ascii_uppercase()) && !read.ends_with('.'), "{read}");
    assert_eq!(Host::read(&raw.to_ascii_uppercase()).as_ref(), Ok(&host), "in upper case");
    // `http` is the parser that the gateway's own client goes by.
    let authority: http::uri::Authority = raw.parse().expect("a host is an authority");
    assert!(raw.starts_with(authority.host()), "{raw:?} {:?}", authority.host());
    for parent in host.parents() {
        assert!(read.ends_with(&format!(".{parent}")));
    }
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn escaped(text: &[u8], at: usize) -> Option<u8> {
    if text[at] != b'%' {
        return None;
    }
    Some(hex(text.get(at + 1))? * 16 + hex(text.get(at + 2))?)
}

/// Every escape decoded once, as `urllib.parse.unquote_to_bytes` does it.
fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let byte = escaped(text, at);
        bytes.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    bytes
}

/// RFC 3986 §6.2.2: escapes of unreserved characters decoded, the others in upper case.
fn unreserved_decoded(text: &str) -> String {
    let (text, mut read, mut at) = (text.as_bytes(), String::new(), 0);
    while at < text.len() {
        match escaped(text, at) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => read.push(byte.into()),
            Some(byte) => read.push_str(&format!("%{byte:02X}")),
            None => read.push(text[at].into()),
        }
        at += if escaped(text, at).is_some() { 3 } else { 1 };
    }
    read
}

/// RFC 3986 §5.2.4, step by step.
fn without_dots(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("../").or_else(|| input.strip_prefix("./")) {
            input = rest.to_owned();
        } else if input.starts_with("/./") {
            input.replace_range(..2, "");
        } else if input == "/." {
            input = "/".to_owned();
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or_default());
        } else if input == "." || input == ".." {
            input.clear();
        } else {
            let end = input.char_indices().skip(1).find(|(_, it)| *it == '/').map_or(input.len(), |(at, _)| at);
            output.push_str(&input[..end]);
            input.replace_range(..end, "");
        }
    }
    output
}

/// As an upstream reads that decodes until nothing is left to decode, takes `\` for `/`, cuts segments at `;` and
/// merges slashes.
fn leniently(path: &[u8]) -> String {
    let mut bytes = path.to_vec();
    loop {
        let next = decoded(&bytes);
        if next == bytes {
            break;
        }
        bytes = next;
    }
    let text = String::from_utf8(bytes).expect("what is taken is UTF-8 however often it is decoded");
    let mut read = String::new();
    for segment in text.replace('\\', "/").split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        if !name.is_empty() {
            read.push('/');
            read.push_str(name);
        }
    }
    if read.is_empty() { "/".to_owned() } else { read }
}
