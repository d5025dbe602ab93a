//! What the store says, read and checked: the half of a snapshot that changes at run time.
//!
//! A record that cannot be read is quarantined under its key; everything else loads. Holds digests of keys,
//! never keys; the key pairs that sign are opened here, since every token needs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::{Changed, Contents, Record, Revision, Update};
use super::record_key::{Owner, RecordKey};
use super::records::{
    self, AccountRecord, AuthModeRecord, KeyDigestRecord, RecordError, Retiring, RevocationRecord, SignerRecord,
    SigningKeyRecord, SlotRecord, SlotsRecord,
};
use super::revoked::Revocations;
use super::rotations::Rotations;
use super::seal::{Place, Sealer};
use crate::config::{AuthMode, SigningAlgorithm};
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// The store at one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The revision.
    pub revision: Revision,
    /// Accounts that were made through the API.
    pub accounts: BTreeMap<Name, AccountRecord>,
    /// Revocations, expired ones too until they are swept. Snapshots share them.
    pub revocations: Arc<Revocations>,
    /// Modes that were chosen through the API, by service, whether `gateway.yaml` still lets them be or not.
    pub auth_modes: BTreeMap<Name, AuthMode>,
    /// Records that cannot be used, by their keys.
    pub quarantined: BTreeMap<String, RecordError>,
    /// Boxed: a tree that grows in order is left half empty, and there may be very many.
    slots: BTreeMap<Owner, Box<OwnerKeys>>,
    signing_keys: BTreeMap<Box<str>, SigningKey>,
    signer: Option<Box<str>>,
    rotations: Rotations,
}

/// The keys of an owner's two slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerKeys {
    /// The first slot's.
    pub primary: SlotKeys,
    /// The second slot's.
    pub secondary: SlotKeys,
}

/// What opens by way of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotKeys {
    /// The key's digest.
    pub digest: Digest,
    /// When the key was put here.
    pub created: UnixSeconds,
    /// The first second in which it opens nothing; `None` is never.
    pub expires: Option<UnixSeconds>,
    /// The key before it, while that still opens.
    pub retiring: Option<Retiring>,
}

/// One of the gateway's own key pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its `kid`.
    pub kid: Box<str>,
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// The pair, PKCS#8 DER.
    pub pkcs8: Secret<Vec<u8>>,
    /// When it was made.
    pub created: UnixSeconds,
    /// The first second in which it verifies nothing; `None` while it signs.
    pub verify_until: Option<UnixSeconds>,
}

/// What a record is to the snapshot, as far as a change of it goes.
enum Standing {
    /// The keys of an owner that has some.
    Keys(Owner),
    /// Nothing that another part of the snapshot depends on.
    Apart,
    /// More than that.
    Other,
}

/// What the store has for an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// Its keys.
    Keys(&'a OwnerKeys),
    /// A record that cannot be read. The owner answers 503; it must not be given new keys.
    Quarantined(&'a RecordError),
    /// No record.
    Nothing,
}

impl OwnerKeys {
    /// One of the two slots.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> &SlotKeys {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }

    /// Every digest that opens, with its slot and the first second in which it does not any more.
    pub fn digests(&self) -> impl Iterator<Item = (Slot, Digest, Option<UnixSeconds>)> {
        Slot::ALL.into_iter().flat_map(|slot| {
            let keys = self.slot(slot);
            let retiring = keys.retiring.map(|retiring| (slot, retiring.digest, Some(retiring.until)));
            std::iter::once((slot, keys.digest, keys.expires)).chain(retiring)
        })
    }

    /// The digests that open at this moment.
    pub fn live(&self, now: UnixSeconds) -> impl Iterator<Item = (Slot, Digest)> {
        self.digests()
            .filter(move |(_, _, until)| until.is_none_or(|until| now < until))
            .map(|(slot, digest, _)| (slot, digest))
    }
}

impl From<&SlotsRecord> for OwnerKeys {
    fn from(record: &SlotsRecord) -> Self {
        let keys = |slot: &SlotRecord| SlotKeys {
            digest: slot.digest,
            created: slot.created,
            expires: slot.expires,
            retiring: slot.retiring,
        };
        Self { primary: keys(&record.primary), secondary: keys(&record.secondary) }
    }
}

impl State {
    /// Reads everything.
    #[must_use]
    pub fn from_records(contents: &Contents, sealer: &Sealer) -> Self {
        let mut state = Self::default();
        for record in &contents.records {
            state.take(record, sealer);
        }
        state.read_at(contents.revision)
    }

    /// The state once every record has been taken in that there was at a revision.
    #[must_use]
    pub(super) fn read_at(self, revision: Revision) -> Self {
        Self { revision, rotations: Rotations::since(revision), ..self }
    }

    /// Follows one commit, at the cost of what it changed.
    pub fn apply(&mut self, update: &Update, sealer: &Sealer) {
        self.revision = update.revision;
        for changed in &update.changes {
            match changed {
                Changed::Put(record) => {
                    let before = self.standing_of(&record.key);
                    self.forget(&record.key);
                    self.take(record, sealer);
                    self.remember(&record.key, before);
                }
                Changed::Deleted { key } => {
                    let before = self.standing_of(key);
                    self.forget(key);
                    self.remember(key, before);
                }
            }
        }
    }

    /// Whose keys are all that has changed after a revision, besides revocations; `None` where it may be more.
    #[must_use]
    pub fn rotated_after(&self, revision: Revision) -> Option<Vec<&Owner>> {
        self.rotations.after(revision)
    }

    fn standing_of(&self, key: &str) -> Standing {
        if self.quarantined.contains_key(key) {
            return Standing::Other;
        }
        match RecordKey::parse(key) {
            Some(RecordKey::Slots(owner)) if self.slots.contains_key(&owner) => Standing::Keys(owner),
            Some(RecordKey::KeyDigest(_) | RecordKey::Revocation(_)) => Standing::Apart,
            Some(
                RecordKey::Slots(_)
                | RecordKey::Account(_)
                | RecordKey::SigningKey(_)
                | RecordKey::Signer
                | RecordKey::AuthMode(_),
            )
            | None => Standing::Other,
        }
    }

    fn remember(&mut self, key: &str, before: Standing) {
        match (before, self.standing_of(key)) {
            (Standing::Keys(owner), Standing::Keys(_)) => self.rotations.note(self.revision, owner),
            (Standing::Apart, Standing::Apart) => {}
            (Standing::Keys(_) | Standing::Apart | Standing::Other, _) => self.rotations.begin_anew(self.revision),
        }
    }

    /// What there is for an owner.
    #[must_use]
    pub fn slots(&self, owner: &Owner) -> Held<'_> {
        if let Some(keys) = self.slots.get(owner) {
            return Held::Keys(keys);
        }
        match self.quarantined.get(&RecordKey::Slots(owner.clone()).to_string()) {
            Some(why) => Held::Quarantined(why),
            None => Held::Nothing,
        }
    }

    /// The key pair that signs; `None` when there is none, or it cannot be opened.
    #[must_use]
    pub fn signer(&self) -> Option<&SigningKey> {
        self.signing_keys.get(self.signer.as_deref()?)
    }

    /// The key pairs that verify at this moment, the one that signs among them.
    pub fn verifiers(&self, now: UnixSeconds) -> impl Iterator<Item = &SigningKey> {
        self.signing_keys.values().filter(move |key| key.verify_until.is_none_or(|until| now < until))
    }

    /// Every key pair, expired ones too until they are swept.
    pub fn signing_keys(&self) -> impl Iterator<Item = &SigningKey> {
        self.signing_keys.values()
    }

    /// Every owner that has slots, with its keys.
    pub fn owners(&self) -> impl Iterator<Item = (&Owner, &OwnerKeys)> {
        self.slots.iter().map(|(owner, keys)| (owner, &**keys))
    }

    /// The owner by the name that its account has already: one text instead of two.
    fn named(&self, owner: Owner) -> Owner {
        match owner {
            Owner::Account(name) => {
                Owner::Account(self.accounts.get_key_value(&name).map_or(name, |(known, _)| known.clone()))
            }
            Owner::Service(name) => Owner::Service(name),
        }
    }

    pub(super) fn take(&mut self, record: &Record, sealer: &Sealer) {
        if let Err(why) = self.try_take(record, sealer) {
            self.quarantined.insert(record.key.clone(), why);
        }
    }

    fn try_take(&mut self, record: &Record, sealer: &Sealer) -> Result<(), RecordError> {
        match RecordKey::parse(&record.key).ok_or(RecordError::UnknownKind)? {
            RecordKey::Slots(owner) => {
                let slots: SlotsRecord = records::decode(record)?;
                self.slots.insert(self.named(owner), Box::new(OwnerKeys::from(&slots)));
            }
            RecordKey::KeyDigest(_) => {
                let KeyDigestRecord { owner: _ } = records::decode(record)?;
            }
            RecordKey::Account(name) => {
                self.accounts.insert(name, records::decode(record)?);
            }
            RecordKey::SigningKey(kid) => {
                let key = open(record, &kid, sealer)?;
                self.signing_keys.insert(kid, key);
            }
            RecordKey::Signer => {
                let SignerRecord { kid } = records::decode(record)?;
                self.signer = Some(kid.into());
            }
            RecordKey::Revocation(digest) => {
                let found: RevocationRecord = records::decode(record)?;
                if found.revoked.digest() != digest {
                    return Err(RecordError::Misplaced);
                }
                Arc::make_mut(&mut self.revocations).put(digest, found);
            }
            RecordKey::AuthMode(name) => {
                let AuthModeRecord { mode, changed: _ } = records::decode(record)?;
                self.auth_modes.insert(name, mode);
            }
        }
        Ok(())
    }

    fn forget(&mut self, key: &str) {
        self.quarantined.remove(key);
        match RecordKey::parse(key) {
            Some(RecordKey::Slots(owner)) => drop(self.slots.remove(&owner)),
            Some(RecordKey::Account(name)) => drop(self.accounts.remove(&name)),
            Some(RecordKey::SigningKey(kid)) => drop(self.signing_keys.remove(&kid)),
            Some(RecordKey::Signer) => self.signer = None,
            Some(RecordKey::Revocation(digest)) => Arc::make_mut(&mut self.revocations).remove(&digest),
            Some(RecordKey::AuthMode(name)) => drop(self.auth_modes.remove(&name)),
            Some(RecordKey::KeyDigest(_)) | None => {}
        }
    }
}

fn open(record: &Record, kid: &str, sealer: &Sealer) -> Result<SigningKey, RecordError> {
    let found: SigningKeyRecord = records::decode(record)?;
    if found.kid != kid {
        return Err(RecordError::Misplaced);
    }
    let pkcs8 = sealer.open(Place { record: &record.key, field: "pkcs8" }, &found.sealed)?;
    let SigningKeyRecord { kid, algorithm, sealed: _, created, verify_until } = found;
    Ok(SigningKey { kid: kid.into(), algorithm, pkcs8, created, verify_until })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Held, State};
    use crate::config::{AuthMode, SigningAlgorithm};
    use crate::model::digest::Digest;
    use crate::model::name::Name;
    use crate::model::secret::Secret;
    use crate::model::slot::Slot;
    use crate::model::time::UnixSeconds;
    use crate::store::engine::{Changed, Contents, Record, Revision, Update};
    use crate::store::record_key::{Owner, RecordKey, hex};
    use crate::store::records::{RecordError, Revoked, SigningKeyRecord, encode};
    use crate::store::seal::{MasterKey, Place, SealError, Sealer};

    fn sealer() -> Sealer {
        Sealer::new(MasterKey::new(&Secret::new([7; 32])).unwrap(), Vec::new())
    }

    fn record(key: &str, value: impl Into<Vec<u8>>) -> Record {
        Record { key: key.to_owned(), value: value.into(), revision: Revision(1) }
    }

    fn iris() -> Owner {
        Owner::Service(Name::parse("iris").unwrap())
    }

    fn slots_json(primary: &str, secondary: &str) -> String {
        let [primary, secondary] = [primary, secondary].map(|key| hex(&Digest::of(key.as_bytes())));
        let old = hex(&Digest::of(b"old"));
        format!(
            r#"{{"version":1,"record":{{
                "primary":{{"digest":"{primary}","sealed":"AA","created":5,"retiring":{{"digest":"{old}","until":50}}}},
                "secondary":{{"digest":"{secondary}","sealed":"AA","created":5,"expires":40}}}}}}"#
        )
    }

    /// The form of every kind of record, as other versions will find it in the store.
    fn good() -> Vec<Record> {
        let jti = Revoked::Jti { iss: "urn:scoregate".to_owned(), jti: "j1".to_owned() };
        let pkcs8 = sealer().seal(Place { record: "signing-key/k1", field: "pkcs8" }, b"der").unwrap();
        let signing = SigningKeyRecord {
            kid: "k1".to_owned(),
            algorithm: SigningAlgorithm::EdDsa,
            sealed: pkcs8,
            created: UnixSeconds(5),
            verify_until: None,
        };
        vec![
            record("slots/service/iris", slots_json("p", "s")),
            record(
                &RecordKey::KeyDigest(Digest::of(b"p")).to_string(),
                r#"{"version":1,"record":{"owner":"service/iris"}}"#,
            ),
            record(
                "account/contoso",
                r#"{"version":1,"record":{"resource":"/subscriptions/a/x/contoso","approvals":["Face.Verification"],"may_issue":[],"created":5}}"#,
            ),
            record("signing-key/k1", encode(&signing).unwrap()),
            record("auth-mode/iris", r#"{"version":1,"record":{"mode":"token","changed":5}}"#),
            record("signer", r#"{"version":1,"record":{"kid":"k1"}}"#),
            record(
                &RecordKey::Revocation(jti.digest()).to_string(),
                r#"{"version":1,"record":{"revoked":{"jti":{"iss":"urn:scoregate","jti":"j1"}},"issued_before":9,"expires":99,"why":"leaked"}}"#,
            ),
        ]
    }

    #[test]
    fn every_kind_of_record_is_read() {
        let state = State::from_records(&Contents { records: good(), revision: Revision(6) }, &sealer());
        assert_eq!(state.quarantined, [].into());
        assert_eq!(state.revision, Revision(6));
        let Held::Keys(keys) = state.slots(&iris()) else { panic!("no keys") };
        let live = |now| keys.live(UnixSeconds(now)).collect::<Vec<_>>();
        let [p, s, old] = [b"p".as_slice(), b"s", b"old"].map(Digest::of);
        assert!(live(39) == [(Slot::Primary, p), (Slot::Primary, old), (Slot::Secondary, s)]);
        assert!(live(40) == [(Slot::Primary, p), (Slot::Primary, old)]);
        assert!(live(50) == [(Slot::Primary, p)]);
        assert_eq!(state.accounts[&Name::parse("contoso").unwrap()].approvals, ["Face.Verification"]);
        assert_eq!(state.signer().unwrap().pkcs8.expose(), b"der");
        assert_eq!(state.revocations.len(), 1);
        assert_eq!(state.auth_modes, [(Name::parse("iris").unwrap(), AuthMode::Token)].into());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_and_harms_no_other() {
        let other = sealer().seal(Place { record: "signing-key/k2", field: "pkcs8" }, b"der").unwrap();
        let moved = SigningKeyRecord {
            kid: "k3".to_owned(),
            algorithm: SigningAlgorithm::Es256,
            sealed: other,
            created: UnixSeconds(5),
            verify_until: None,
        };
        let moved = encode(&moved).unwrap();
        let malformed = |line, column| RecordError::Malformed { line, column };
        let elsewhere = RecordKey::Revocation(Digest::of(b"")).to_string();
        for (key, value, want) in [
            ("slots/service/bad", b"".as_slice(), malformed(1, 0)),
            ("slots/service/bad", b"{\"version\":1,\"record\":{}}", malformed(1, 24)),
            ("slots/service/bad", b"{\"version\":2,\"record\":{}}", RecordError::Version { found: 2 }),
            ("account/bad", b"{\"version\":1,\"record\":{\"kid\":\"k\"}}", malformed(1, 28)),
            ("account/bad", b"{\"version\":1,\"record\":{\"kid\":\"k\"},\"x\":1}", malformed(1, 28)),
            ("auth-mode/bad", b"{\"version\":1,\"record\":{\"mode\":\"public\",\"changed\":1}}", malformed(1, 38)),
            ("shelf/bad", b"{}", RecordError::UnknownKind),
            ("signing-key/k3", &moved, RecordError::Seal(SealError::Forged)),
            ("signing-key/k4", &moved, RecordError::Misplaced),
            (
                &elsewhere,
                b"{\"version\":1,\"record\":{\"revoked\":{\"isv\":\"a\"},\"issued_before\":1,\"expires\":2,\"why\":\"\"}}",
                RecordError::Misplaced,
            ),
        ] {
            let mut records = good();
            records.push(record(key, value));
            let state = State::from_records(&Contents { records, revision: Revision(6) }, &sealer());
            let text = String::from_utf8_lossy(value);
            assert_eq!(state.quarantined, [(key.to_owned(), want)].into(), "{key} {text}");
            assert!(matches!(state.slots(&iris()), Held::Keys(_)), "{key} {text}");
            assert!(state.signer().is_some(), "{key} {text}");
        }
    }

    #[test]
    fn following_commits_ends_where_reading_everything_does() {
        let empty = Contents { records: Vec::new(), revision: Revision(0) };
        let mut state = State::from_records(&empty, &sealer());
        let mut revision = 1;
        let mut follow = |state: &mut State, changed| {
            revision += 1;
            state.apply(&Update { revision: Revision(revision), changes: vec![changed] }, &sealer());
        };
        for good in good() {
            follow(&mut state, Changed::Put(Record { value: b"{}".to_vec(), ..good.clone() }));
            assert!(state.quarantined.contains_key(&good.key), "{}", good.key);
            follow(&mut state, Changed::Put(good));
        }
        let whole = State::from_records(&Contents { records: good(), revision: state.revision }, &sealer());
        assert_eq!(format!("{state:?}"), format!("{whole:?}"));
        let before = state.revision;
        let revocations = Arc::clone(&state.revocations);
        follow(&mut state, Changed::Put(record("slots/service/iris", slots_json("p2", "s"))));
        assert!(Arc::ptr_eq(&state.revocations, &revocations), "a key that changes copies no revocation");
        assert_eq!(state.rotated_after(before), Some(vec![&iris()]));
        follow(&mut state, Changed::Put(record("slots/service/iris", "{}")));
        assert!(matches!(state.slots(&iris()), Held::Quarantined(RecordError::Malformed { .. })));
        assert_eq!(state.rotated_after(before), None, "keys that cannot be read are more than other keys");
        for good in good() {
            follow(&mut state, Changed::Deleted { key: good.key });
        }
        assert_eq!(state.slots(&iris()), Held::Nothing);
        let none = State { revision: state.revision, ..State::default() };
        assert_eq!(format!("{state:?}"), format!("{none:?}"));
    }
}
