//! The normal form of a request's path (RFC 3986 §6.2.2), and what is never taken as a path.

use std::borrow::Cow;

use super::escape;
use super::escape::Piece;
use super::oddity::{PathOddities, PathOddity};
use crate::model::refusal::Denied;

/// A path in normal form: what is matched is what is sent.
///
/// It starts with `/`; escapes of unreserved characters are decoded, the others are in upper case; no
/// segment of it is `.` or `..`, however often it is decoded. A trailing slash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    oddities: PathOddities,
    /// Only where an oddity makes it differ from `text`.
    loosest: Option<String>,
}

/// Why a text is not taken as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// It does not start with a slash.
    #[error("want a path that starts with '/'")]
    NotAbsolute,
    /// A byte that RFC 3986 §3.3 has no room for: `\`, `#`, a space, a control or non-ASCII byte, and the like.
    #[error("want only characters that a path may hold unescaped")]
    Character,
    /// An escape of a control character, at any depth of escaping.
    #[error("want no control character, escaped or not")]
    Control,
    /// A `%` that no two hexadecimal digits follow.
    #[error("want two hexadecimal digits after '%'")]
    BrokenEscape,
    /// The escapes do not decode to UTF-8: also overlong forms (RFC 3629 §3).
    #[error("want escapes that decode to UTF-8")]
    NotUtf8,
    /// A segment is `.` or `..`, or would be to someone who decodes further or cuts at `;`.
    #[error("want a path without dot segments")]
    DotSegment,
    /// It carries something that the service does not take.
    #[error("want a path without {0}")]
    Oddity(PathOddity),
}

impl From<PathRefused> for Denied {
    fn from(_: PathRefused) -> Self {
        Self::PathAmbiguous
    }
}

impl<'a> NormalPath<'a> {
    /// Reads a request's path, without its query. Allocates only where a byte has to change, where an escape
    /// is beyond ASCII, or where there is an oddity.
    ///
    /// # Errors
    /// [`PathRefused`], every variant but [`PathRefused::Oddity`]: those are recorded, the service decides.
    pub fn read(raw: &'a str) -> Result<Self, PathRefused> {
        if !raw.starts_with('/') {
            return Err(PathRefused::NotAbsolute);
        }
        let seen = scan(raw)?;
        let text = if seen.wants_rewriting { Cow::Owned(rewritten(raw)) } else { Cow::Borrowed(raw) };
        if (seen.leading_dot || seen.wants_rewriting) && segments(&text).any(is_dot_segment) {
            return Err(PathRefused::DotSegment);
        }
        if seen.beyond_ascii {
            as_printable(escape::decoded_leniently(&text).collect())?;
        }
        let loosest = if seen.oddities.is_empty() { None } else { Some(loosest_reading(&text)?) };
        Ok(Self { text, oddities: seen.oddities, loosest })
    }

    /// The path as it is matched and sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments: none of `/`, a last empty one where it ends with a slash.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        segments(&self.text)
    }

    /// What a service has to allow by name before it may see this path.
    #[must_use]
    pub const fn oddities(&self) -> PathOddities {
        self.oddities
    }

    /// The path as the most lenient upstream would read it: every oddity decoded throughout, `\` taken for
    /// `/`, segments cut at `;`, empty ones dropped. For deciding what must not be bypassed, never for sending.
    #[must_use]
    pub fn loosest(&self) -> &str {
        self.loosest.as_deref().unwrap_or(&self.text)
    }
}

pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    rest.split('/').skip(usize::from(rest.is_empty()))
}

/// What one pass over the raw bytes tells.
#[derive(Default)]
struct Seen {
    oddities: PathOddities,
    wants_rewriting: bool,
    leading_dot: bool,
    beyond_ascii: bool,
}

fn scan(raw: &str) -> Result<Seen, PathRefused> {
    let mut seen = Seen::default();
    let mut after_slash = false;
    for piece in escape::pieces(raw) {
        match piece {
            Piece::Plain(b'/') if after_slash => seen.oddities.add(PathOddity::EmptySegment),
            Piece::Plain(b'/') => {}
            Piece::Plain(b'.') => seen.leading_dot |= after_slash,
            Piece::Plain(b';') => seen.oddities.add(PathOddity::Semicolon),
            Piece::Plain(byte) if is_segment_byte(byte) => {}
            Piece::Plain(_) => return Err(PathRefused::Character),
            Piece::Broken => return Err(PathRefused::BrokenEscape),
            Piece::Escaped { byte, upper } => {
                seen.wants_rewriting |= !upper || is_unreserved(byte);
                match byte {
                    b'/' | b'\\' => seen.oddities.add(PathOddity::EncodedSeparator),
                    b';' => seen.oddities.add(PathOddity::Semicolon),
                    b'%' => seen.oddities.add(PathOddity::EncodedPercent),
                    0..0x20 | 0x7f => return Err(PathRefused::Control),
                    _ => seen.beyond_ascii |= !byte.is_ascii(),
                }
            }
        }
        after_slash = piece == Piece::Plain(b'/');
    }
    Ok(seen)
}

/// `unreserved` (RFC 3986 §2.3): an escape of these means exactly the character itself.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` (RFC 3986 §3.3) apart from escapes.
const fn is_segment_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

fn rewritten(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    for piece in escape::pieces(raw) {
        match piece {
            Piece::Plain(byte) => text.push(char::from(byte)),
            Piece::Escaped { byte, .. } if is_unreserved(byte) => text.push(char::from(byte)),
            Piece::Escaped { byte, .. } => text.push_str(&format!("%{byte:02X}")),
            Piece::Broken => text.push('%'),
        }
    }
    text
}

/// A `;` counts as the end of a name: servlet containers cut there before they resolve dots, so `..;` is `..`.
fn is_dot_segment(segment: &str) -> bool {
    matches!(until_semicolon(segment), "." | "..")
}

fn until_semicolon(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn loosest_reading(path: &str) -> Result<String, PathRefused> {
    let decoded = as_printable(escape::decoded_throughout(path))?;
    let mut reading = String::with_capacity(decoded.len());
    for segment in decoded.split(['/', '\\']).map(until_semicolon).filter(|segment| !segment.is_empty()) {
        if is_dot_segment(segment) {
            return Err(PathRefused::DotSegment);
        }
        reading.push('/');
        reading.push_str(segment);
    }
    if reading.is_empty() {
        reading.push('/');
    }
    Ok(reading)
}

fn as_printable(decoded: Vec<u8>) -> Result<String, PathRefused> {
    let Ok(text) = String::from_utf8(decoded) else { return Err(PathRefused::NotUtf8) };
    if text.chars().any(char::is_control) { Err(PathRefused::Control) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::{NormalPath, PathOddity, PathRefused, segments};
    use crate::model::path::escape;

    #[test]
    fn a_path_has_one_spelling_or_is_refused() {
        use PathRefused::{BrokenEscape, Character, Control, DotSegment, NotAbsolute, NotUtf8};
        for (raw, want) in [
            ("/", Ok("/")),
            ("/a", Ok("/a")),
            ("/a/", Ok("/a/")),
            ("/a/b.c/~d-e_f", Ok("/a/b.c/~d-e_f")),
            ("/!$&'()*+,=:@", Ok("/!$&'()*+,=:@")),
            ("/A/B", Ok("/A/B")),
            ("/%61%7e%2D", Ok("/a~-")),
            ("/a%20b", Ok("/a%20b")),
            ("/a%3ab%3A", Ok("/a%3Ab%3A")),
            ("/a%c3%a9", Ok("/a%C3%A9")),
            ("/.well-known/x", Ok("/.well-known/x")),
            ("/a/...", Ok("/a/...")),
            ("/a../..b", Ok("/a../..b")),
            ("/%2e%2e%2e", Ok("/...")),
            ("", Err(NotAbsolute)),
            ("a", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("%2Fa", Err(NotAbsolute)),
            ("http://h/a", Err(NotAbsolute)),
            ("/.", Err(DotSegment)),
            ("/..", Err(DotSegment)),
            ("/./a", Err(DotSegment)),
            ("/a/../b", Err(DotSegment)),
            ("/a/..", Err(DotSegment)),
            ("/a/%2e", Err(DotSegment)),
            ("/a/.%2E/b", Err(DotSegment)),
            ("/a/%2e./b", Err(DotSegment)),
            ("/a/%2E%2e/b", Err(DotSegment)),
            ("/a/..;/b", Err(DotSegment)),
            ("/a/..;x=y/b", Err(DotSegment)),
            ("/a/.;", Err(DotSegment)),
            ("/a/..%3Bx/b", Err(DotSegment)),
            ("/a/..%2Fb", Err(DotSegment)),
            ("/a%2F..%2Fb", Err(DotSegment)),
            ("/a%5c..%5cb", Err(DotSegment)),
            ("/a/%252e%252e/b", Err(DotSegment)),
            ("/a/%25252e./b", Err(DotSegment)),
            ("/a%252F..%252Fb", Err(DotSegment)),
            ("/a//..", Err(DotSegment)),
            ("/a\0", Err(Character)),
            ("/a\n", Err(Character)),
            ("/a\x7f", Err(Character)),
            ("/a b", Err(Character)),
            ("/a\\b", Err(Character)),
            ("/a#b", Err(Character)),
            ("/a?b", Err(Character)),
            ("/é", Err(Character)),
            ("/a|b", Err(Character)),
            ("/{a}", Err(Character)),
            ("/a[0]", Err(Character)),
            ("/%00", Err(Control)),
            ("/a%0d%0aX", Err(Control)),
            ("/%7F", Err(Control)),
            ("/%2500", Err(Control)),
            ("/%C2%85", Err(Control)),
            ("/%", Err(BrokenEscape)),
            ("/%4", Err(BrokenEscape)),
            ("/%zz", Err(BrokenEscape)),
            ("/%+1", Err(BrokenEscape)),
            ("/%u002e", Err(BrokenEscape)),
            ("/%c0%ae%c0%ae", Err(NotUtf8)),
            ("/%e0%80%af", Err(NotUtf8)),
            ("/%ff", Err(NotUtf8)),
            ("/%C3/%A9", Err(NotUtf8)),
            ("/%ed%a0%80", Err(NotUtf8)),
            ("/%25C0%25AE", Err(NotUtf8)),
        ] {
            let read = NormalPath::read(raw);
            assert_eq!(read.as_ref().map(NormalPath::as_str).map_err(|why| *why), want, "{raw:?}");
        }
    }

    #[test]
    fn oddities_are_recorded_and_read_in_the_loosest_way() {
        use PathOddity::{EmptySegment, EncodedPercent, EncodedSeparator, Semicolon};
        for (raw, oddities, text, loosest) in [
            ("/a/b", &[][..], "/a/b", "/a/b"),
            ("/a/", &[], "/a/", "/a/"),
            ("/a%20b", &[], "/a%20b", "/a%20b"),
            ("/a%2fb", &[EncodedSeparator], "/a%2Fb", "/a/b"),
            ("/a%5Cb", &[EncodedSeparator], "/a%5Cb", "/a/b"),
            ("//a", &[EmptySegment], "//a", "/a"),
            ("//", &[EmptySegment], "//", "/"),
            ("/a//", &[EmptySegment], "/a//", "/a"),
            ("/a;v=1/b", &[Semicolon], "/a;v=1/b", "/a/b"),
            ("/a%3bv/b", &[Semicolon], "/a%3Bv/b", "/a/b"),
            ("/;/a", &[Semicolon], "/;/a", "/a"),
            ("/100%25", &[EncodedPercent], "/100%25", "/100%"),
            ("/%2573ecret", &[EncodedPercent], "/%2573ecret", "/secret"),
            ("//a%252Fb;", &[EmptySegment, Semicolon, EncodedPercent], "//a%252Fb;", "/a/b"),
        ] {
            let path = NormalPath::read(raw).unwrap();
            for oddity in PathOddity::ALL {
                assert_eq!(path.oddities().has(oddity), oddities.contains(&oddity), "{raw}: {oddity}");
            }
            assert_eq!((path.as_str(), path.loosest()), (text, loosest), "{raw}");
        }
    }

    #[test]
    fn a_path_in_normal_form_is_borrowed() {
        for raw in ["/", "/api/v1/service/iris/score", "/a/", "/a%20b%3A", "/a;b", "//a%2Fb"] {
            assert!(matches!(NormalPath::read(raw).unwrap().text, Cow::Borrowed(_)), "{raw}");
        }
    }

    /// Paths that are mostly made of what parsers trip over.
    fn paths() -> impl Strategy<Value = String> {
        let pieces = proptest::sample::select(vec![
            "/", "/", ".", "..", "%2e", "%2E", "%252e", "%25", "%2f", "%5C", ";", "%3b", "a", "B", "%41", "%7e", "%20",
            "%c3%a9", "%c3", "%00", "\\", "2", "5", "e", "%", "é", "{", "%2525",
        ]);
        proptest::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn normalising_twice_equals_once(raw in paths()) {
            if let Ok(path) = NormalPath::read(&raw) {
                prop_assert_eq!(NormalPath::read(path.as_str()), Ok(path.clone()));
            }
        }

        #[test]
        fn no_number_of_decodings_uncovers_a_dot_segment(raw in paths()) {
            let Ok(path) = NormalPath::read(&raw) else { return Ok(()) };
            let mut reading = path.as_str().as_bytes().to_vec();
            loop {
                for segment in reading.split(|byte| matches!(byte, b'/' | b'\\')) {
                    let name = segment.split(|byte| *byte == b';').next();
                    prop_assert!(name != Some(&b"."[..]) && name != Some(&b".."[..]), "{:?}", reading);
                }
                let text = String::from_utf8(reading).unwrap();
                let decoded: Vec<u8> = escape::decoded_leniently(&text).collect();
                if decoded == text.as_bytes() {
                    break;
                }
                reading = decoded;
            }
            prop_assert!(segments(path.loosest()).all(|segment| segment != "." && segment != ".."));
        }

        #[test]
        fn any_text_is_read_without_panic(raw in ".*") {
            if let Ok(path) = NormalPath::read(&raw) {
                prop_assert!(path.as_str().starts_with('/') && path.as_str().is_ascii());
            }
        }
    }
}
