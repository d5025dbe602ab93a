//! Percent-escapes (RFC 3986 §2.1), read strictly, leniently, and all the way down.

/// One character of a text that may hold escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A byte that stands for itself.
    Plain(u8),
    /// `%` and two hexadecimal digits.
    Escaped {
        /// What they stand for.
        byte: u8,
        /// Whether both digits are in the upper case that RFC 3986 §6.2.2.1 wants.
        upper: bool,
    },
    /// A `%` that no two hexadecimal digits follow.
    Broken,
}

/// Reads a text piece by piece, from left to right and once.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first != b'%' {
            return Some(Piece::Plain(first));
        }
        let [high, low, after @ ..] = after else { return Some(Piece::Broken) };
        let Some(byte) = value(*high, *low) else { return Some(Piece::Broken) };
        rest = after;
        Some(Piece::Escaped { byte, upper: !high.is_ascii_lowercase() && !low.is_ascii_lowercase() })
    })
}

/// The text decoded once; a `%` that is no escape stays one, as lenient parsers have it.
pub(crate) fn decoded_leniently(text: &str) -> impl Iterator<Item = u8> {
    pieces(text).map(|piece| match piece {
        Piece::Plain(byte) | Piece::Escaped { byte, .. } => byte,
        Piece::Broken => b'%',
    })
}

/// The text decoded once and in lower case: what two spellings that a lenient server takes for one have in common.
pub(crate) fn folded(text: &str) -> impl Iterator<Item = u8> {
    decoded_leniently(text).map(|byte| byte.to_ascii_lowercase())
}

/// The text decoded until nothing is left to decode. Linear in its length, however deep the escapes are nested.
pub(crate) fn decoded_throughout(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        while let [before @ .., b'%', high, low] = decoded.as_slice()
            && let Some(byte) = value(*high, *low)
        {
            decoded.truncate(before.len());
            decoded.push(byte);
        }
    }
    decoded
}

fn value(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high << 4 | low).ok()
}

#[cfg(test)]
mod tests {
    use super::{decoded_leniently, decoded_throughout};

    #[test]
    fn decoding_once_and_throughout_differ_in_nested_escapes_only() {
        for (text, once, throughout) in [
            ("", "", ""),
            ("a%20b", "a b", "a b"),
            ("%2541", "%41", "A"),
            ("%25252541", "%252541", "A"),
            ("%%32%35", "%25", "%"),
            ("%%32%35%32%65", "%252e", "."),
            ("100%", "100%", "100%"),
            ("%zz%4", "%zz%4", "%zz%4"),
            ("%u002e", "%u002e", "%u002e"),
        ] {
            assert_eq!(decoded_leniently(text).collect::<Vec<_>>(), once.as_bytes(), "{text} once");
            assert_eq!(decoded_throughout(text), throughout.as_bytes(), "{text} throughout");
        }
    }

    #[test]
    fn deep_nesting_costs_linear_time() {
        let deep = format!("%{}2e", "25".repeat(1 << 20));
        assert_eq!(decoded_throughout(&deep), b".");
    }
}
