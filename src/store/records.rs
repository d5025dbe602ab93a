//! The records, typed, and their form: JSON with a version.
//!
//! `{"version": 1, "record": {…}}`. A field that this version does not know is an error rather than
//! ignored: a replica that dropped it when it writes the record back would undo another's change.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::engine::Record;
use super::record_key::{self, Owner};
use super::seal::{SealError, Sealed};
use crate::config::{AuthMode, SigningAlgorithm};
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Both slots of an owner. One record, so that no crash can ever leave a change of one in the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotsRecord {
    /// The first slot.
    pub primary: SlotRecord,
    /// The second slot.
    pub secondary: SlotRecord,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRecord {
    /// The key's digest.
    #[serde(with = "digest")]
    pub digest: Digest,
    /// The key, for listing.
    pub sealed: Sealed,
    /// When the key was put here.
    pub created: UnixSeconds,
    /// When it stops to open anything; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// The key before it, while that still opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<Retiring>,
}

/// A key that was replaced and still opens for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retiring {
    /// Its digest.
    #[serde(with = "digest")]
    pub digest: Digest,
    /// The first second in which it opens nothing.
    pub until: UnixSeconds,
}

impl SlotsRecord {
    /// One of the two.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> &SlotRecord {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }

    /// One of the two, to change it.
    pub(super) const fn slot_mut(&mut self, slot: Slot) -> &mut SlotRecord {
        match slot {
            Slot::Primary => &mut self.primary,
            Slot::Secondary => &mut self.secondary,
        }
    }
}

impl SlotRecord {
    /// The digests that this slot claims, expired or not: the key's, and that of the key before it.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        std::iter::once(self.digest).chain(self.retiring.map(|retiring| retiring.digest))
    }
}

/// Who claims a key: the content of `key-digest/<hex>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDigestRecord {
    /// `service/<name>` or `account/<name>`, for whoever looks into the store by hand.
    pub owner: String,
}

impl KeyDigestRecord {
    pub(super) fn of(owner: &Owner) -> Self {
        Self { owner: owner.to_string() }
    }
}

/// A caller's resource that was made through the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRecord {
    /// Its identifier.
    #[serde(with = "resource")]
    pub resource: ResourceId,
    /// Features that it holds in its own right, by name. A name that the configuration no longer knows grants nothing.
    pub approvals: Vec<String>,
    /// Features that it may put into LimitedAccessTokens, by name: its ceiling.
    pub may_issue: Vec<String>,
    /// When it was made.
    pub created: UnixSeconds,
}

/// One of the gateway's own key pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyRecord {
    /// Its `kid`, also the end of the record's key.
    pub kid: String,
    /// How it signs, by its name in RFC 7518 §3.1 and RFC 8037 §3.1.
    #[serde(with = "algorithm")]
    pub algorithm: SigningAlgorithm,
    /// The pair, PKCS#8 DER, sealed.
    pub sealed: Sealed,
    /// When it was made.
    pub created: UnixSeconds,
    /// The first second in which it verifies nothing; absent while it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<UnixSeconds>,
}

/// Which signing key signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerRecord {
    /// Its `kid`.
    pub kid: String,
}

/// Tokens that open nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRecord {
    /// Which tokens.
    pub revoked: Revoked,
    /// Only tokens issued before this moment are meant; those issued later open.
    pub issued_before: UnixSeconds,
    /// When the last token that is meant has expired, so that the record can go.
    pub expires: UnixSeconds,
    /// Why, in the words of whoever revoked.
    pub why: String,
}

/// Which tokens are revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Revoked {
    /// One token.
    Jti {
        /// Its issuer, the exact `iss`.
        iss: String,
        /// Its `jti`.
        jti: String,
    },
    /// Every token for this resource.
    Resource(#[serde(with = "resource")] ResourceId),
    /// Every token that this ISV account issued.
    Isv(#[serde(with = "name")] Name),
}

impl Revoked {
    /// What names the record: equal for what is the same, and for nothing else.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Jti { iss, jti } => Self::token_digest(iss, jti),
            Self::Resource(resource) => Self::digest_of(["resource", resource.folded(), ""]),
            Self::Isv(name) => Self::digest_of(["isv", name.as_str(), ""]),
        }
    }

    /// As [`Revoked::digest`], of one token.
    #[must_use]
    pub fn token_digest(iss: &str, jti: &str) -> Digest {
        Self::digest_of(["jti", iss, jti])
    }

    fn digest_of(parts: [&str; 3]) -> Digest {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Digest::of(&bytes)
    }
}

/// How a service is called whose mode may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthModeRecord {
    /// The mode.
    #[serde(with = "auth_mode")]
    pub mode: AuthMode,
    /// When it was chosen.
    pub changed: UnixSeconds,
}

/// Why a record cannot be used. Never quotes the record: it holds digests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key is of no kind that this version knows.
    #[error("its key is of no known kind; a newer version may have written it")]
    UnknownKind,
    /// The record is of another version.
    #[error("it is of version {found}, want 1; a newer version wrote it")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The content is not what the version says.
    #[error("its content is malformed at line {line}, column {column}")]
    Malformed {
        /// Line of the JSON.
        line: usize,
        /// Column of the JSON.
        column: usize,
    },
    /// The content is another record's.
    #[error("its content belongs under another key")]
    Misplaced,
    /// The sealed part does not open.
    #[error("its secret cannot be opened")]
    Seal(#[from] SealError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// Looks at the version before the rest, so that a newer record is called newer and not malformed.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Writes a record's content.
///
/// # Errors
/// [`RecordError::Malformed`] when it has no JSON form, which every record here has.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(&Versioned { version: VERSION, record }).map_err(|error| malformed(&error))
}

/// Reads a record's content.
///
/// # Errors
/// [`RecordError::Version`] and [`RecordError::Malformed`].
pub fn decode<T: DeserializeOwned>(record: &Record) -> Result<T, RecordError> {
    let VersionOnly { version } = serde_json::from_slice(&record.value).map_err(|error| malformed(&error))?;
    if version != VERSION {
        return Err(RecordError::Version { found: version });
    }
    let versioned: Versioned<T> = serde_json::from_slice(&record.value).map_err(|error| malformed(&error))?;
    Ok(versioned.record)
}

/// Keeps where, and drops what: serde's messages quote the value that they did not like.
fn malformed(error: &serde_json::Error) -> RecordError {
    RecordError::Malformed { line: error.line(), column: error.column() }
}

mod digest {
    use super::{Deserialize, Deserializer, Digest, Serializer, record_key};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&record_key::hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        record_key::digest_of_hex(&text).ok_or_else(|| D::Error::custom("want 64 lower-case hexadecimal digits"))
    }
}

mod name {
    use super::{Deserialize, Deserializer, Name, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        Name::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

mod resource {
    use super::{Deserialize, Deserializer, ResourceId, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(resource: &ResourceId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(resource.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResourceId, D::Error> {
        ResourceId::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

mod auth_mode {
    use super::{AuthMode, Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(mode: &AuthMode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AuthMode, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "key" => Ok(AuthMode::Key),
            "token" => Ok(AuthMode::Token),
            _ => Err(D::Error::custom("want key or token")),
        }
    }
}

mod algorithm {
    use super::{Deserialize, Deserializer, Serializer, SigningAlgorithm};
    use serde::de::Error as _;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(algorithm: &SigningAlgorithm, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(algorithm.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SigningAlgorithm, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "ES256" => Ok(SigningAlgorithm::Es256),
            "EdDSA" => Ok(SigningAlgorithm::EdDsa),
            "RS256" => Ok(SigningAlgorithm::Rs256),
            _ => Err(D::Error::custom("want ES256, EdDSA or RS256")),
        }
    }
}
