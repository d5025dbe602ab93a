//! Identifiers of the demo: UUIDs made of a hash, so that the same input has the same one on every run.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::digest::Digest;

/// A UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uuid(u128);

/// The text is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a UUID such as c5c24a82-6845-4031-9d5d-978df9175426")]
pub(super) struct NotAUuid;

impl Uuid {
    /// The lengths of the five groups of hexadecimal digits (RFC 9562 §4).
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

    /// The UUID of an input: the first 16 bytes of its SHA-256, marked as version 8 (RFC 9562 §5.8).
    #[must_use]
    pub(super) fn of(input: &[u8]) -> Self {
        let digest = Digest::of(input);
        let half = digest.as_bytes().iter().take(16).fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        let unmarked = half & !(0xf << 76) & !(0x3 << 62);
        Self(unmarked | 0x8 << 76 | 0x2 << 62)
    }

    /// Reads the usual form, in either case.
    ///
    /// # Errors
    /// [`NotAUuid`] for any other form: braces, `urn:uuid:` and missing hyphens are not taken.
    pub(super) fn parse(text: &str) -> Result<Self, NotAUuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let fits = groups.iter().map(|group| group.len()).eq(Self::GROUPS)
            // `from_str_radix` alone would take a sign.
            && groups.iter().all(|group| group.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if !fits {
            return Err(NotAUuid);
        }
        u128::from_str_radix(&groups.concat(), 16).map(Self).map_err(|_too_long| NotAUuid)
    }

    /// Eight bits of it, for what has to look different for each and needs no meaning.
    #[must_use]
    pub(super) fn byte(self, at: u32) -> u32 {
        let [byte, ..] = self.0.rotate_right(8 * at).to_le_bytes();
        u32::from(byte)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut digits = digits.chars();
        for (at, length) in Self::GROUPS.into_iter().enumerate() {
            let hyphen = if at == 0 { "" } else { "-" };
            write!(f, "{hyphen}{}", digits.by_ref().take(length).collect::<String>())?;
        }
        Ok(())
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn the_same_input_has_the_same_identifier_and_another_input_another() {
        // SHA-256 of nothing starts e3b0c442 98fc1c14 9afbf4c8 996fb924; version and variant are set over it.
        assert_eq!(Uuid::of(b"").to_string(), "e3b0c442-98fc-8c14-9afb-f4c8996fb924");
        assert_eq!(Uuid::of(b"a"), Uuid::of(b"a"));
        assert_ne!(Uuid::of(b"a"), Uuid::of(b"b"));
    }

    #[test]
    fn only_the_usual_form_is_read() {
        for (text, reads) in [
            ("c5c24a82-6845-4031-9d5d-978df9175426", true),
            ("C5C24A82-6845-4031-9D5D-978DF9175426", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("c5c24a8268454031-9d5d-978df9175426", false),
            ("{c5c24a82-6845-4031-9d5d-978df9175426}", false),
            ("c5c24a82-6845-4031-9d5d-978df917542", false),
            ("c5c24a82-6845-4031-9d5d-978df91754261", false),
            ("+5c24a82-6845-4031-9d5d-978df9175426", false),
            ("g5c24a82-6845-4031-9d5d-978df9175426", false),
            ("", false),
        ] {
            assert_eq!(Uuid::parse(text).is_ok(), reads, "{text}");
        }
        let text = "c5c24a82-6845-4031-9d5d-978df9175426";
        assert_eq!(Uuid::parse(text).unwrap().to_string(), text);
    }
}
