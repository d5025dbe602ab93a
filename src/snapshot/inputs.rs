//! What a snapshot is compiled from besides the configuration: everything that had to be read or fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::IssuerKeys;
use crate::config::SecretRef;
use crate::config::Slots;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::snapshot::target::Files;
use crate::store::record_key::Owner;
use crate::tokens::jwks::KeySet;

/// A key that opens something, as its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotKey {
    /// Which slot holds it.
    pub slot: Slot,
    /// SHA-256 of the key.
    pub digest: Digest,
    /// When it stops to open anything.
    pub expires: Option<UnixSeconds>,
}

/// The keys of an owner, and where they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedSlots {
    /// Where they came from: keys that cannot be read again are kept only while this stays the same.
    pub from: Slots,
    /// The keys; at least one.
    pub keys: Vec<SlotKey>,
}

/// The keys of a foreign issuer, and where they were read or fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedIssuer {
    /// Where they came from: an issuer that has moved is not believed by the keys of its old place.
    pub from: IssuerKeys,
    /// The keys.
    pub keys: Arc<KeySet>,
}

/// Everything that was read. What is missing here could not be, and whoever needs it is quarantined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Keys by owner.
    pub slots: BTreeMap<Owner, LoadedSlots>,
    /// SHA-256 of each management key, and where it was read: a key that has moved is not believed by its old place.
    pub management_keys: BTreeMap<Name, (SecretRef, Digest)>,
    /// PEM files.
    pub files: Files,
    /// Keys of foreign issuers.
    pub issuers: BTreeMap<Name, LoadedIssuer>,
}
