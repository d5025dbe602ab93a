//! Sealing of what the store must be able to show again: AES-256-GCM under a master key.
//!
//! A sealed value names the key that sealed it and belongs to one place: the record and the field are part
//! of what is authenticated, so that a value moved to another record does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::digest::Digest;
use crate::model::secret::Secret;

/// The form of a sealed value: this byte, the key's identifier, the nonce, the ciphertext with its tag.
const FORM: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;

/// A value that only the holder of the master key can read.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Which master key sealed it; `None` for what is no sealed value.
    #[must_use]
    pub fn sealed_by(&self) -> Option<KeyId> {
        self.0.get(1..)?.first_chunk().copied().map(KeyId)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

impl serde::Serialize for Sealed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Sealed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(|_quotes_bytes| serde::de::Error::custom("want base64url without padding"))
    }
}

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The record's key.
    pub record: &'a str,
    /// The field within it: `primary`, `secondary`, `pkcs8`.
    pub field: &'a str,
}

/// What tells master keys apart: the start of a digest of the key, which says nothing about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that seals.
#[derive(Debug)]
pub struct MasterKey {
    id: KeyId,
    key: RandomizedNonceKey,
    marks: hmac::Key,
}

impl MasterKey {
    /// Length of a master key, in bytes.
    pub const BYTES: usize = 32;

    /// Takes a key of random bytes in.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the library refuses it, which it has no reason to.
    pub fn new(bytes: &Secret<[u8; Self::BYTES]>) -> Result<Self, SealError> {
        let labelled = Secret::new([b"scoregate master key\0".as_slice(), bytes.expose()].concat());
        let digest = Digest::of(labelled.expose());
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes.expose()).map_err(|Unspecified| SealError::Crypto)?;
        // Of its own, so that no mark says anything about the key that seals.
        let marks = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes.expose()), b"scoregate marks");
        let marks = hmac::Key::new(hmac::HMAC_SHA256, marks.as_ref());
        Ok(Self { id: KeyId(digest.prefix().to_le_bytes()), key, marks })
    }

    /// What tells it apart.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }
}

/// Seals under one key and opens under several: the ones before it, until everything has been sealed anew.
#[derive(Debug)]
pub struct Sealer {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

/// Why a value was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The value was sealed under a key that is not at hand.
    #[error("it was sealed under the master key {sealed_by}, and that is not at hand")]
    OtherKey {
        /// The key that sealed it.
        sealed_by: KeyId,
    },
    /// The value was changed, cut short or moved from another place.
    #[error("it was changed, or sealed for another place")]
    Forged,
    /// The form is not one that this version knows.
    #[error("it is no sealed value, or of a newer version")]
    UnknownForm,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
}

impl Sealer {
    /// Seals under `current` and also opens what `previous` ones sealed.
    #[must_use]
    pub const fn new(current: MasterKey, previous: Vec<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// Seals a value for a place.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Sealed, SealError> {
        let MasterKey { id, key, marks: _ } = &self.current;
        // Room for the tag, so that no copy of the plain text is left behind by growing.
        let mut text = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(value);
        let aad = Aad::from(associated(*id, place));
        let nonce = key.seal_in_place_append_tag(aad, &mut text).map_err(|Unspecified| SealError::Crypto)?;
        Ok(Sealed([&[FORM], id.0.as_slice(), nonce.as_ref(), &text].concat()))
    }

    /// Opens a value that was sealed for this place.
    ///
    /// # Errors
    /// [`SealError`], each variant as it says.
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Secret<Vec<u8>>, SealError> {
        let (header, rest) = sealed.0.split_first_chunk::<HEADER_BYTES>().ok_or(SealError::UnknownForm)?;
        let [form, id @ ..] = *header;
        if form != FORM {
            return Err(SealError::UnknownForm);
        }
        let id = KeyId(id);
        let master = std::iter::once(&self.current).chain(&self.previous).find(|master| master.id == id);
        let key = &master.ok_or(SealError::OtherKey { sealed_by: id })?.key;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Forged)?;
        let mut text = Secret::new(text.to_vec());
        let plain = key
            .open_in_place(Nonce::from(nonce), Aad::from(associated(id, place)), text.expose_mut())
            .map_err(|Unspecified| SealError::Forged)?;
        Ok(Secret::new(plain.to_vec()))
    }

    /// What only a holder of the master key can put beside a text, and every holder of it knows again.
    #[must_use]
    pub fn mark(&self, purpose: &str, text: &[u8]) -> Mark {
        Mark(hmac::sign(&self.current.marks, &marked(purpose, text)))
    }

    /// Whether a holder of the master key, or of one before it, put this mark beside this text.
    #[must_use]
    pub fn knows_mark(&self, purpose: &str, text: &[u8], mark: &[u8]) -> bool {
        let marked = marked(purpose, text);
        let mut masters = std::iter::once(&self.current).chain(&self.previous);
        masters.any(|master| hmac::verify(&master.marks, &marked, mark).is_ok())
    }

    /// Whether this value should be sealed anew: a previous key sealed it.
    #[must_use]
    pub fn is_outdated(&self, sealed: &Sealed) -> bool {
        sealed.0.get(1..HEADER_BYTES) != Some(self.current.id.0.as_slice())
    }
}

/// A mark, [`Sealer::mark`]: 32 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Mark(hmac::Tag);

impl AsRef<[u8]> for Mark {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// No purpose holds a zero byte.
fn marked(purpose: &str, text: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), &[0], text].concat()
}

/// What is authenticated along with the value. The record's length comes first, so that no two places
/// look alike.
fn associated(id: KeyId, place: Place<'_>) -> Vec<u8> {
    let length = u64::try_from(place.record.len()).unwrap_or(u64::MAX).to_le_bytes();
    [&[FORM], id.0.as_slice(), &length, place.record.as_bytes(), place.field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{MasterKey, Place, SealError, Sealed, Sealer};
    use crate::model::secret::Secret;

    fn master(byte: u8) -> MasterKey {
        MasterKey::new(&Secret::new([byte; 32])).unwrap()
    }

    const PLACE: Place<'_> = Place { record: "slots/service/iris", field: "primary" };

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let sealer = Sealer::new(master(1), Vec::new());
        let sealed = sealer.seal(PLACE, b"k-1234").unwrap();
        assert_eq!(sealer.open(PLACE, &sealed).unwrap().expose(), b"k-1234");
        for (record, field) in [
            ("slots/service/iris", "secondary"),
            ("slots/service/rose", "primary"),
            ("slots/service/irisp", "rimary"),
            ("slots/service/iri", "sprimary"),
            ("", ""),
        ] {
            let moved = sealer.open(Place { record, field }, &sealed);
            assert_eq!(moved, Err(SealError::Forged), "{record} {field}");
        }
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let sealer = Sealer::new(master(1), vec![master(2)]);
        let sealed = sealer.seal(PLACE, b"k-1234").unwrap();
        for at in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[at] ^= 1;
            assert!(sealer.open(PLACE, &changed).is_err(), "byte {at}");
            let cut = Sealed(sealed.0[..at].to_vec());
            assert!(sealer.open(PLACE, &cut).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_previous_master_key_opens_and_an_unknown_one_is_named() {
        let old = Sealer::new(master(1), Vec::new());
        let sealed = old.seal(PLACE, b"k-1234").unwrap();
        let turned = Sealer::new(master(2), vec![master(1)]);
        assert_eq!(turned.open(PLACE, &sealed).unwrap().expose(), b"k-1234");
        assert!(turned.is_outdated(&sealed));
        assert!(!turned.is_outdated(&turned.seal(PLACE, b"").unwrap()));
        let lost = Sealer::new(master(2), Vec::new());
        assert_eq!(lost.open(PLACE, &sealed), Err(SealError::OtherKey { sealed_by: master(1).id() }));
    }

    #[test]
    fn the_same_value_never_seals_to_the_same_bytes() {
        let sealer = Sealer::new(master(1), Vec::new());
        assert_ne!(sealer.seal(PLACE, b"k-1234").unwrap(), sealer.seal(PLACE, b"k-1234").unwrap());
    }

    #[test]
    fn a_mark_is_known_to_every_holder_of_the_master_key_and_nobody_else() {
        let [one, other] = [1, 2].map(|byte| Sealer::new(master(byte), Vec::new()));
        let mark = one.mark("p", b"text");
        let replica = Sealer::new(master(1), Vec::new());
        let turned = Sealer::new(master(2), vec![master(1)]);
        for (sealer, purpose, text, known) in [
            (&replica, "p", b"text", true),
            (&turned, "p", b"text", true),
            (&other, "p", b"text", false),
            (&replica, "q", b"text", false),
            (&replica, "p", b"test", false),
        ] {
            assert_eq!(sealer.knows_mark(purpose, text, mark.as_ref()), known, "{purpose} {text:?}");
        }
        assert!(!replica.knows_mark("p", b"text", &mark.as_ref()[..31]) && !replica.knows_mark("p", b"text", b""));
    }
}
