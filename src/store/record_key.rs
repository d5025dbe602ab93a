//! The names under which records are kept.

use std::fmt;

use crate::model::digest::Digest;
use crate::model::name::Name;

/// Whose two slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A service's.
    Service(Name),
    /// An account's.
    Account(Name),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service/{name}"),
            Self::Account(name) => write!(f, "account/{name}"),
        }
    }
}

/// The name of a record: says what kind it is and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// `slots/service/<name>`, `slots/account/<name>`: both slots of an owner.
    Slots(Owner),
    /// `key-digest/<hex>`: there while any slot holds the key with this digest, so that no other can take it.
    KeyDigest(Digest),
    /// `account/<name>`.
    Account(Name),
    /// `signing-key/<kid>`.
    SigningKey(Box<str>),
    /// `signer`: which signing key signs.
    Signer,
    /// `revocation/<hex>`, by the digest of what is revoked.
    Revocation(Digest),
    /// `auth-mode/<service>`: the mode of a service whose mode may be changed.
    AuthMode(Name),
}

impl RecordKey {
    /// Reads the name of a record; `None` for one that this version does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = |text| Name::parse(text).ok();
        match text.split_once('/') {
            None => (text == "signer").then_some(Self::Signer),
            Some(("slots", owner)) => match owner.split_once('/')? {
                ("service", text) => Some(Self::Slots(Owner::Service(name(text)?))),
                ("account", text) => Some(Self::Slots(Owner::Account(name(text)?))),
                _ => None,
            },
            Some(("key-digest", hex)) => digest_of_hex(hex).map(Self::KeyDigest),
            Some(("account", text)) => name(text).map(Self::Account),
            Some(("signing-key", kid)) => is_kid(kid).then(|| Self::SigningKey(kid.into())),
            Some(("revocation", hex)) => digest_of_hex(hex).map(Self::Revocation),
            Some(("auth-mode", text)) => name(text).map(Self::AuthMode),
            Some(_) => None,
        }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots(owner) => write!(f, "slots/{owner}"),
            Self::KeyDigest(digest) => write!(f, "key-digest/{}", hex(digest)),
            Self::Account(name) => write!(f, "account/{name}"),
            Self::SigningKey(kid) => write!(f, "signing-key/{kid}"),
            Self::Signer => f.write_str("signer"),
            Self::Revocation(digest) => write!(f, "revocation/{}", hex(digest)),
            Self::AuthMode(name) => write!(f, "auth-mode/{name}"),
        }
    }
}

/// Whether this may be the `kid` of a signing key: text that no header, URL or path has to escape.
#[must_use]
pub fn is_kid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The digest in lower-case hexadecimal.
#[must_use]
pub fn hex(digest: &Digest) -> String {
    use fmt::Write as _;
    digest.as_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a digest in lower-case hexadecimal.
#[must_use]
pub fn digest_of_hex(text: &str) -> Option<Digest> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(Digest::from_bytes(bytes))
}

const fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::RecordKey;
    use crate::model::digest::Digest;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let digest = Digest::of(b"k-1234");
        for key in [
            "slots/service/iris",
            "slots/account/contoso",
            "account/contoso",
            "auth-mode/iris",
            "signing-key/x-Y_9",
            "signer",
            &RecordKey::KeyDigest(digest).to_string(),
            &RecordKey::Revocation(digest).to_string(),
        ] {
            assert_eq!(RecordKey::parse(key).map(|key| key.to_string()).as_deref(), Some(key));
        }
    }

    #[test]
    fn other_text_is_no_key() {
        let upper = format!("key-digest/{}", "AB".repeat(32));
        let long = format!("key-digest/{}", "ab".repeat(33));
        for text in [
            "",
            "slots",
            "slots/iris",
            "slots/upstream/iris",
            "slots/service/Iris",
            "slots/service/a/b",
            "account/",
            "auth-mode/",
            "auth-mode/a/b",
            "signer/x",
            "signing-key/a/b",
            "signing-key/",
            "key-digest/ab",
            &upper,
            &long,
            "other/iris",
        ] {
            assert!(RecordKey::parse(text).is_none(), "{text:?}");
        }
    }
}
