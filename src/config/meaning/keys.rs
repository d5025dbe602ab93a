//! Accounts, their two slots, and references to secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use super::Read;
use super::Reader;
use super::list_of;
use crate::config::Account;
use crate::config::SecretRef;
use crate::config::SlotRef;
use crate::config::Slots;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

impl Reader {
    pub(super) fn accounts(
        &mut self,
        written: Option<&BTreeMap<String, raw::Account>>,
        at: &Place,
    ) -> BTreeMap<Name, Account> {
        let mut seen: BTreeMap<String, Name> = BTreeMap::new();
        self.named(written, at, |reader, name, account, at| {
            let account = reader.account(name, account, at)?;
            match seen.insert(account.resource.folded().to_owned(), name.clone()) {
                Some(other) => {
                    reader.refuse(&at.field("resource"), format!("the account {other:?} stands for the same resource"))
                }
                None => Ok(account),
            }
        })
    }

    fn account(&mut self, name: &Name, written: &raw::Account, at: &Place) -> Read<Account> {
        let resource = self.keep(&at.field("resource"), ResourceId::parse(&written.resource));
        let slots = match &written.keys {
            Some(keys) => self.slots(keys, &at.field("keys")),
            None => Ok(Slots::Store),
        };
        let approvals = self.feature_set(written.approvals.as_deref().unwrap_or_default(), &at.field("approvals"));
        let may_issue = self.feature_set(written.may_issue.as_deref().unwrap_or_default(), &at.field("may_issue"));
        Ok(Account {
            name: name.clone(),
            resource: resource?,
            slots: slots?,
            approvals: approvals?,
            may_issue: may_issue?,
        })
    }

    pub(super) fn slots(&mut self, written: &raw::Slots, at: &Place) -> Read<Slots> {
        let raw::Slots { directory, primary, secondary } = written;
        match (directory, primary, secondary) {
            (Some(directory), None, None) => {
                let at = at.field("directory");
                let directory = self.path(directory, &at)?;
                for slot in Slot::ALL {
                    self.claim(SecretRef::File(directory.join(slot.as_str())), &at)?;
                }
                Ok(Slots::Directory(directory))
            }
            (None, None, None) => {
                self.refuse(at, "want a directory, or references for primary, secondary or both; or no such field")
            }
            (None, primary, secondary) => {
                let mut reference = |slot: Slot, written: Option<&raw::SlotRef>| {
                    written.map(|written| self.slot_ref(written, &at.field(slot.as_str()))).transpose()
                };
                let (primary, secondary) =
                    (reference(Slot::Primary, primary.as_ref()), reference(Slot::Secondary, secondary.as_ref()));
                Ok(Slots::References { primary: primary?, secondary: secondary? })
            }
            (Some(_), primary, secondary) => {
                let found =
                    list_of(&[("directory", true), ("primary", primary.is_some()), ("secondary", secondary.is_some())]);
                self.refuse(at, format!("want either a directory or references, found {found}"))
            }
        }
    }

    fn slot_ref(&mut self, written: &raw::SlotRef, at: &Place) -> Read<SlotRef> {
        let key_at = at.field("key");
        let key = self.secret_ref(&written.key, &key_at);
        let key = key.and_then(|key| self.claim(key.clone(), &key_at).map(|()| key));
        let expires = written.expires.as_ref().map(|text| self.moment(text, &at.field("expires"))).transpose();
        Ok(SlotRef { key: key?, expires: expires? })
    }

    /// Takes a key for one slot. A key in two slots would let one caller pass for another.
    pub(super) fn claim(&mut self, key: SecretRef, at: &Place) -> Read<()> {
        match self.key_places.insert(key, at.clone()) {
            Some(other) => {
                let other = other.into_text();
                self.refuse(at, format!("want a key of its own, {other} refers to the same one"))
            }
            None => Ok(()),
        }
    }

    /// Reads a reference to a secret. The problem never quotes it: it could be the secret itself.
    pub(super) fn secret_ref(&mut self, text: &str, at: &Place) -> Read<SecretRef> {
        let what = "want file:<path>, env:<NAME> or credential:<name>; a secret itself never stands in this file";
        secret_ref(text).map_or_else(|| self.refuse(at, what), Ok)
    }

    fn moment(&mut self, text: &str, at: &Place) -> Read<UnixSeconds> {
        match text.parse::<jiff::Timestamp>().ok().and_then(|moment| u64::try_from(moment.as_second()).ok()) {
            Some(seconds) => Ok(UnixSeconds(seconds)),
            None => self.refuse(at, "want a moment with its offset, such as 2027-01-31T00:00:00Z"),
        }
    }
}

/// Reads `file:<path>`, `env:<NAME>` or `credential:<name>`.
#[must_use]
pub fn secret_ref(text: &str) -> Option<SecretRef> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Some(SecretRef::File(plain(path))),
        Some(("env", name)) if is_variable(name) => Some(SecretRef::Env(name.to_owned())),
        Some(("credential", name)) if is_file_name(name) => Some(SecretRef::Credential(name.to_owned())),
        _ => None,
    }
}

/// The path without `.` and doubled separators, so that one file is not claimed under two names.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().collect()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether systemd would take it as a credential's name: one plain file name.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}
