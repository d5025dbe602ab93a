//! Names that an operator gives to things: services, upstreams, accounts, issuers.

use std::fmt;
use std::sync::Arc;

/// A name: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`, the first a letter or a digit.
///
/// It is a label value, a path segment and a store key, so it holds nothing that any of them
/// would have to escape. Cloning is one atomic increment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("want 1 to 63 characters of a-z, 0-9, '-' and '_', the first a letter or a digit")]
pub struct NotAName;

impl Name {
    /// Longest name, in bytes: that of a DNS label (RFC 1035 §2.3.4), since Kubernetes names end up here.
    pub const MAX_BYTES: usize = 63;

    /// Reads a name.
    ///
    /// # Errors
    /// [`NotAName`] when a character or the length is outside the rule.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let mut bytes = text.bytes();
        let first_fits = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_fits = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if first_fits && rest_fits && text.len() <= Self::MAX_BYTES { Ok(Self(Arc::from(text))) } else { Err(NotAName) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, NotAName};

    #[test]
    fn a_name_is_a_label_a_path_segment_and_a_key_without_escaping() {
        let (long, longest) = ("a".repeat(64), &*"a".repeat(63));
        for (text, fits) in [
            ("iris", true),
            ("0", true),
            ("a-b_c9", true),
            (longest, true),
            (&long, false),
            ("", false),
            ("-a", false),
            ("_a", false),
            ("Iris", false),
            ("a.b", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(Name::parse(text).is_ok(), fits, "{text:?}");
        }
        assert_eq!(Name::parse("A"), Err(NotAName));
    }
}
