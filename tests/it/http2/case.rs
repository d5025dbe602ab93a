//! The cases of `tests/http2/*.yaml`: frames in a compact notation, and what may come of them.
//!
//! A frame is a line: its type, its stream, its flags joined by `+` (or `-`), and its payload in words.
//!
//! | word | stands for |
//! |---|---|
//! | `name=value` | a header field, or in `SETTINGS` a setting |
//! | `$get` `$post` | the pseudo-headers of a usual request |
//! | `%0a0b` | bytes |
//! | `*300` | as many zero bytes |
//! | `+7` | a number of 31 bits |
//! | `#9` | the length that the frame says it has |
//!
//! Any other text is itself; `\s \t \r \n \0 \\ \xff` are escapes in all of these.

use serde::Deserialize;

use super::wire;

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// What would go wrong.
    pub(crate) why: String,
    /// Who says so.
    pub(crate) source: String,
    pub(crate) frames: Vec<String>,
    /// Any of these.
    pub(crate) expect: Vec<String>,
    /// Text that the one request has which reaches the upstream whole.
    #[serde(default)]
    pub(crate) upstream_has: Vec<String>,
    /// Text that it has not.
    #[serde(default)]
    pub(crate) upstream_lacks: Vec<String>,
    /// The gateway forwards before it can know: the upstream may see a request that is cut off.
    #[serde(default)]
    pub(crate) may_be_cut_off: bool,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer, and the code of the gateway's own ones.
    Status(u16, String),
    /// `RST_STREAM`.
    Reset(&'static str),
    /// `GOAWAY`.
    Goaway(&'static str),
    /// The end of the connection, without a word.
    Closed,
    /// None of these: a `PING` behind the frames is answered.
    Ignored,
    /// Nothing at all.
    Silence,
}

impl Outcome {
    /// Whether `expected` names it: `status 400 path_ambiguous`, `reset CANCEL`, `goaway NO_ERROR`, `closed`, `ignored`.
    pub(crate) fn is(&self, expected: &str) -> bool {
        let words: Vec<&str> = expected.split(' ').collect();
        match (self, words.as_slice()) {
            (Self::Status(status, _), ["status", want]) => status.to_string() == *want,
            (Self::Status(status, code), ["status", want, reason]) => status.to_string() == *want && code == reason,
            (Self::Reset(code), ["reset", want]) | (Self::Goaway(code), ["goaway", want]) => code == want,
            (Self::Closed, ["closed"]) | (Self::Ignored, ["ignored"]) => true,
            _ => false,
        }
    }
}

impl Case {
    /// Its frames as they go over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|line| frame(line)).collect()
    }
}

/// All cases of a file.
pub(crate) fn read(text: &str) -> Vec<Case> {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn frame(line: &str) -> Vec<u8> {
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("{line:?} wants a type, a stream and flags"));
    let kind = match word() {
        "DATA" => 0,
        "HEADERS" => 1,
        "PRIORITY" => 2,
        "RST_STREAM" => 3,
        "SETTINGS" => 4,
        "PUSH_PROMISE" => 5,
        "PING" => 6,
        "GOAWAY" => 7,
        "WINDOW_UPDATE" => 8,
        "CONTINUATION" => 9,
        other => u8::from_str_radix(other, 16).unwrap_or_else(|_not| panic!("{other:?} is no type")),
    };
    let stream: u32 = word().parse().unwrap_or_else(|_not| panic!("{line:?} has no stream"));
    let flags = word().split('+').fold(0, |flags, flag| {
        flags
            | match flag {
                "END_STREAM" | "ACK" => 1,
                "END_HEADERS" => 4,
                "PADDED" => 8,
                "HAS_PRIORITY" => 0x20,
                "-" => 0,
                other => panic!("{other:?} is no flag"),
            }
    });
    let (mut payload, mut length) = (Vec::new(), None);
    for word in words {
        match word.split_at(1) {
            ("#", number) => length = Some(number.parse().unwrap()),
            _ => payload.extend(bytes_of(word, kind)),
        }
    }
    wire::sized(length.unwrap_or(payload.len()), kind, flags, stream, &payload)
}

fn bytes_of(word: &str, kind: u8) -> Vec<u8> {
    match (word.split_at(1), word) {
        (_, "$get") => wire::request("GET", "/case"),
        (_, "$post") => wire::request("POST", "/case"),
        (("%", hex), _) => {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }
        (("*", count), _) => vec![0; count.parse().unwrap()],
        (("+", number), _) => number.parse::<u32>().unwrap().to_be_bytes().to_vec(),
        _ => match word.split_once('=') {
            Some((id, value)) if kind == wire::SETTINGS => wire::setting(id.parse().unwrap(), value.parse().unwrap()),
            Some((name, value)) if kind != wire::DATA => wire::field(&unescaped(name), &unescaped(value)),
            _ => unescaped(word),
        },
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '\\' { characters.next() } else { None }) {
            ('\\', Some('s')) => bytes.push(b' '),
            ('\\', Some('t')) => bytes.push(b'\t'),
            ('\\', Some('r')) => bytes.push(b'\r'),
            ('\\', Some('n')) => bytes.push(b'\n'),
            ('\\', Some('0')) => bytes.push(0),
            ('\\', Some('\\')) => bytes.push(b'\\'),
            ('\\', Some('x')) => {
                let hex: String = characters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            ('\\', other) => panic!("\\{other:?} is no escape in {text:?}"),
            (plain, _) => bytes.extend(plain.to_string().bytes()),
        }
    }
    bytes
}

#[test]
fn the_notation_says_what_it_should() {
    for (line, want) in [
        ("DATA 1 END_STREAM hello\\s%21", &b"\0\0\x09\0\x01\0\0\0\x01hello %21"[..]),
        ("DATA 1 PADDED %05 hi", b"\0\0\x03\0\x08\0\0\0\x01\x05hi"),
        ("SETTINGS 0 - 4=1", b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01"),
        ("HEADERS 3 END_STREAM+END_HEADERS a=\\r", b"\0\0\x05\x01\x05\0\0\0\x03\0\x01a\x01\r"),
        ("WINDOW_UPDATE 0 - +1", b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01"),
        ("PING 0 - *2 #8", b"\0\0\x08\x06\0\0\0\0\0\0\0"),
        ("2a 1 -", b"\0\0\0\x2a\0\0\0\0\x01"),
    ] {
        assert_eq!(frame(line), want, "{line}");
    }
}
