//! What a client sent, so that it can be shown: on one line, and harmless to a terminal.

use std::io;

use serde_json::ser::Formatter;

/// JSON on one line in which nothing can move a terminal's cursor, hide or turn text, or look like a line's end.
///
/// JSON itself asks only for ASCII control characters to be escaped; a client can send others in a path.
pub(super) struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if is_plain(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, escaped)) = rest.char_indices().find(|(_, character)| unprintable(*character)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(escaped))?;
            rest = from.split_at(escaped.len_utf8()).1;
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether a text can stand in JSON as it is: printable ASCII without quotation marks and backslashes.
pub(super) fn is_plain(text: &str) -> bool {
    // Without an early end the compiler compares sixteen bytes at a time.
    text.bytes().fold(true, |plain, byte| plain & (matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')))
}

/// Control characters, line and paragraph separators, and what is invisible or turns the direction of writing.
/// All are below U+10000, so that four digits write them.
fn unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
