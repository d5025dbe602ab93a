//! Reading everything that the configuration refers to, and keeping what cannot be read again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Auth;
use crate::config::Config;
use crate::config::IssuerKeys;
use crate::config::Listener;
use crate::config::ManagementKey;
use crate::config::SecretRef;
use crate::config::Slots;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::reload::management_key;
use crate::reload::secret;
use crate::reload::secret::BadSecret;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::inputs::LoadedIssuer;
use crate::snapshot::inputs::LoadedSlots;
use crate::snapshot::listen;
use crate::snapshot::target;
use crate::store::record_key::Owner;
use crate::tokens::jwks::KeySet;

/// Something that could not be read.
#[derive(Debug)]
pub struct Problem {
    /// What needed it: `services.iris`, `issuers.corp`, `upstreams.model`, `listeners.traffic-0`.
    pub at: String,
    /// What went wrong.
    pub source: BadSecret,
    /// What is used instead.
    pub instead: Instead,
}

/// What is used in place of something that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// What was read last, from the same place.
    LastGood,
    /// Nothing: whoever needs it is quarantined.
    Nothing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.source)?;
        if let Some(cause) = std::error::Error::source(&self.source) {
            write!(f, ": {cause}")?;
        }
        match self.instead {
            Instead::LastGood => write!(f, "; what was read before stays in force"),
            Instead::Nothing => Ok(()),
        }
    }
}

/// Reads all that `config` refers to. What cannot be read is taken from `before`, where it came from the same
/// place; each such thing is a problem.
#[must_use]
pub fn read(config: &Config, before: &Inputs, fetched: &Fetched) -> (Inputs, Vec<Problem>) {
    let mut reading = Reading { before, fetched, inputs: Inputs::default(), problems: Vec::new() };
    for service in config.services.values() {
        if let Auth::Key(key) = &service.auth
            && let Some(slots) = &key.slots
        {
            reading.slots(format!("services.{}", service.name), Owner::Service(service.name.clone()), slots);
        }
    }
    for account in config.accounts.values() {
        reading.slots(format!("accounts.{}", account.name), Owner::Account(account.name.clone()), &account.slots);
    }
    for issuer in config.issuers.values() {
        reading.issuer(&issuer.name, &issuer.keys);
    }
    for key in management_keys(config) {
        reading.management_key(&key);
    }
    for (at, path) in pem_paths(config) {
        reading.file(at, path);
    }
    (reading.inputs, reading.problems)
}

/// Every file that the configuration refers to, the configuration's own left out.
#[must_use]
pub fn watched_files(config: &Config) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = pem_paths(config).map(|(_, path)| path.to_owned()).collect();
    files.extend(config.issuers.values().filter_map(|issuer| match &issuer.keys {
        IssuerKeys::File(path) | IssuerKeys::Secret(SecretRef::File(path)) => Some(path.clone()),
        IssuerKeys::Url(_) | IssuerKeys::Discovery(_) | IssuerKeys::Secret(_) => None,
    }));
    files.extend(config.management_keys.values().filter_map(|key| file_of(&key.key)));
    let of_services = config.services.values().filter_map(|service| match &service.auth {
        Auth::Key(key) => key.slots.as_ref(),
        Auth::Token(_) | Auth::Public { .. } => None,
    });
    for slots in of_services.chain(config.accounts.values().map(|account| &account.slots)) {
        match slots {
            Slots::Store => {}
            Slots::Directory(directory) => {
                files.extend(Slot::ALL.map(|slot| directory.join(slot.as_str())));
            }
            Slots::References { primary, secondary } => {
                files.extend([primary, secondary].into_iter().flatten().filter_map(|slot| file_of(&slot.key)));
            }
        }
    }
    files
}

fn file_of(reference: &SecretRef) -> Option<PathBuf> {
    match reference {
        SecretRef::File(path) => Some(path.clone()),
        SecretRef::Env(_) | SecretRef::Credential(_) => None,
    }
}

/// The keys of the management plane; where none is configured, the gateway's own, once that was made.
fn management_keys(config: &Config) -> Vec<ManagementKey> {
    if config.management_keys.is_empty() {
        return management_key::own(config).filter(|(_, path)| path.exists()).map(|(key, _)| key).into_iter().collect();
    }
    config.management_keys.values().cloned().collect()
}

fn pem_paths(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    let listeners = &config.listeners;
    let all = listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]);
    let of_listener = |listener: &'_ Listener| format!("listeners.{}", listener.name);
    let served = all.flat_map(move |listener| {
        let paths = listener.tls.iter().flat_map(listen::paths_of);
        paths.map(move |path| (of_listener(listener), path))
    });
    let called = config.upstreams.values().flat_map(|upstream| {
        target::paths_of(upstream).map(move |path| (format!("upstreams.{}", upstream.name), path))
    });
    served.chain(called)
}

struct Reading<'a> {
    before: &'a Inputs,
    fetched: &'a Fetched,
    inputs: Inputs,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn slots(&mut self, at: String, owner: Owner, from: &Slots) {
        match secret::read_slots(from) {
            Ok(None) => {}
            Ok(Some(keys)) => drop(self.inputs.slots.insert(owner, LoadedSlots { from: from.clone(), keys })),
            Err(source) => {
                let last_good = self.before.slots.get(&owner).filter(|loaded| loaded.from == *from).cloned();
                self.missed(at, source, last_good.is_some());
                self.inputs.slots.extend(last_good.map(|loaded| (owner, loaded)));
            }
        }
    }

    fn issuer(&mut self, name: &Name, keys: &IssuerKeys) {
        let read = match keys {
            IssuerKeys::File(path) => secret::read_file(path).and_then(|document| {
                KeySet::parse(&document).map_err(|source| BadSecret::KeySet { path: path.clone(), source })
            }),
            IssuerKeys::Secret(reference) => {
                secret::read(reference).and_then(|shared| KeySet::from_secret(&shared).map_err(BadSecret::TooShort))
            }
            IssuerKeys::Url(_) | IssuerKeys::Discovery(_) => {
                // Not having been fetched yet is no problem of the configuration: its tokens are answered 503.
                let fetched = self.fetched.get(name).filter(|loaded| is_same_place(&loaded.from, keys)).cloned();
                self.inputs.issuers.extend(fetched.map(|loaded| (name.clone(), loaded)));
                return;
            }
        };
        match read {
            Ok(set) => {
                let loaded = LoadedIssuer { from: keys.clone(), keys: Arc::new(set) };
                self.inputs.issuers.insert(name.clone(), loaded);
            }
            Err(source) => {
                let last_good = self.before.issuers.get(name).filter(|loaded| loaded.from == *keys).cloned();
                self.missed(format!("issuers.{name}"), source, last_good.is_some());
                self.inputs.issuers.extend(last_good.map(|loaded| (name.clone(), loaded)));
            }
        }
    }

    fn management_key(&mut self, key: &ManagementKey) {
        let at = format!("management_keys.{}", key.name);
        match secret::read_key(&key.key, "the management key") {
            Ok(digest) => drop(self.inputs.management_keys.insert(key.name.clone(), (key.key.clone(), digest))),
            Err(source) => {
                let last_good =
                    self.before.management_keys.get(&key.name).filter(|(from, _)| *from == key.key).cloned();
                self.missed(at, source, last_good.is_some());
                self.inputs.management_keys.extend(last_good.map(|loaded| (key.name.clone(), loaded)));
            }
        }
    }

    fn file(&mut self, at: String, path: &Path) {
        match secret::read_file(path) {
            Ok(bytes) => drop(self.inputs.files.insert(path.to_owned(), bytes.into())),
            Err(source) => {
                let last_good = self.before.files.get(path).map(Arc::clone);
                self.missed(at, source, last_good.is_some());
                self.inputs.files.extend(last_good.map(|bytes| (path.to_owned(), bytes)));
            }
        }
    }

    fn missed(&mut self, at: String, source: BadSecret, has_last_good: bool) {
        let instead = if has_last_good { Instead::LastGood } else { Instead::Nothing };
        self.problems.push(Problem { at, source, instead });
    }
}

/// Key sets that were fetched from foreign issuers, by the issuer's name.
pub type Fetched = BTreeMap<Name, LoadedIssuer>;

/// Whether keys from the one place are those of the other; how often they are fetched does not matter.
fn is_same_place(one: &IssuerKeys, other: &IssuerKeys) -> bool {
    match (one, other) {
        (IssuerKeys::Url(one), IssuerKeys::Url(other)) | (IssuerKeys::Discovery(one), IssuerKeys::Discovery(other)) => {
            (&one.url, &one.ca) == (&other.url, &other.ca)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::Fetched;
    use super::Inputs;
    use super::read;
    use crate::config::Config;
    use crate::model::digest::Digest;
    use crate::model::name::Name;

    #[test]
    fn a_management_key_that_has_moved_is_not_believed_by_its_old_place() {
        let directory = tempfile::tempdir().unwrap();
        let written = |file: &str| {
            let path = directory.path().join(file);
            let text = format!(
                "listeners: {{traffic: [{{address: '127.0.0.1:1'}}], health: {{address: '127.0.0.1:2'}}}}\n\
                 management_keys: {{ops: {{key: 'file:{}', role: owner}}}}\n\
                 upstreams: {{u: {{endpoints: ['http://127.0.0.1:3']}}}}\n\
                 services: {{s: {{upstream: u, auth: {{public: 'a test'}}}}}}\n",
                path.display()
            );
            Config::read(&text).unwrap()
        };
        std::fs::write(directory.path().join("old"), "0123456789abcdef").unwrap();
        let known =
            |inputs: &Inputs| inputs.management_keys.get(&Name::parse("ops").unwrap()).map(|(_, digest)| *digest);

        let (before, problems) = read(&written("old"), &Inputs::default(), &Fetched::default());
        assert!(problems.is_empty());
        assert_eq!(known(&before), Some(Digest::of(b"0123456789abcdef")));
        std::fs::remove_file(directory.path().join("old")).unwrap();
        let (gone, problems) = read(&written("old"), &before, &Fetched::default());
        assert_eq!((known(&gone), problems.len()), (known(&before), 1), "a file that is gone keeps what was read");
        let (moved, problems) = read(&written("new"), &before, &Fetched::default());
        assert_eq!((known(&moved), problems.len()), (None, 1), "a place that was left is not believed");
    }
}
