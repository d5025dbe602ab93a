//! Azure-style resource identifiers, compared the way Azure compares them.

use std::fmt;
use std::sync::Arc;

/// A resource identifier such as
/// `/subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.CognitiveServices/accounts/<name>`.
///
/// Two identifiers are equal when their segments are, after one percent-decoding and without
/// regard to ASCII case; a trailing slash is not significant. The text is kept as it was written.
#[derive(Clone)]
pub struct ResourceId {
    written: Arc<str>,
    folded: Arc<str>,
}

/// The text is not a [`ResourceId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "want a resource identifier such as /subscriptions/<id>/resourceGroups/<group>/providers/<provider>/<type>/<name>"
)]
pub struct NotAResourceId;

impl ResourceId {
    /// Longest identifier, in bytes. Azure's own limit for a whole identifier is below it.
    pub const MAX_BYTES: usize = 2048;

    /// Reads an identifier.
    ///
    /// # Errors
    /// [`NotAResourceId`] when it does not start with `/`, has an empty segment, a bad percent escape, a
    /// control character, or a segment that would be another path once decoded (`/`, `\`, `.`, `..`).
    pub fn parse(text: &str) -> Result<Self, NotAResourceId> {
        let segments = text.strip_prefix('/').ok_or(NotAResourceId)?;
        let segments = segments.strip_suffix('/').unwrap_or(segments);
        if text.len() > Self::MAX_BYTES {
            return Err(NotAResourceId);
        }
        let mut folded = String::with_capacity(text.len());
        for segment in segments.split('/') {
            let decoded = decode_once(segment).ok_or(NotAResourceId)?;
            let hostile = decoded.chars().any(|c| c.is_control() || c == '/' || c == '\\');
            if decoded.is_empty() || decoded == "." || decoded == ".." || hostile {
                return Err(NotAResourceId);
            }
            folded.push('/');
            folded.push_str(&decoded.to_ascii_lowercase());
        }
        Ok(Self { written: Arc::from(text), folded: Arc::from(folded) })
    }

    /// The identifier as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The form that equality is judged by: decoded, lower case, no trailing slash.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

fn decode_once(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for ResourceId {}

impl std::hash::Hash for ResourceId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceId;

    #[test]
    fn identifiers_are_compared_segment_by_segment_without_regard_to_case() {
        let id = ResourceId::parse("/subscriptions/A0/resourceGroups/rg/accounts/face").unwrap();
        for (text, same) in [
            ("/subscriptions/a0/resourcegroups/RG/accounts/FACE", true),
            ("/subscriptions/A0/resourceGroups/rg/accounts/face/", true),
            ("/subscriptions/A0/resourceGroups/rg/accounts/%66ace", true),
            ("/subscriptions/A0/resourceGroups/rg/accounts/face2", false),
            ("/subscriptions/A0/resourceGroups/rg/accounts", false),
            ("/subscriptions/A0/resourceGroups/rg/accounts/%2566ace", false),
        ] {
            assert_eq!(ResourceId::parse(text).unwrap() == id, same, "{text}");
        }
    }

    #[test]
    fn an_identifier_that_could_be_read_as_another_is_none() {
        for text in [
            "",
            "/",
            "subscriptions/a",
            "//a",
            "/a//b",
            "/a/%2Fb",
            "/a/..",
            "/a/%2e%2e",
            "/a/%zz",
            "/a/%f",
            "/a\n",
            "/a/%ff",
            "/a/\\b",
        ] {
            assert!(ResourceId::parse(text).is_err(), "{text:?}");
        }
    }
}
