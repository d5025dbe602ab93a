//! What was written → what it means. Every problem is noted with its place; nothing stops at the first one.
//!
//! Each reader reads all parts first and puts them together last, `Ok(T { a: a?, b: b? })`, so that a part that is wrong
//! does not hide its neighbours.

mod auth;
mod features;
mod headers;
mod issuers;
mod keys;
mod limits;
mod listeners;
mod management;
mod matches;
mod presets;
mod process;
mod resilience;
mod service_limits;
mod services;
mod store;
mod tracing;
mod upstreams;
mod urls;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::config::SecretRef;
use crate::config::Service;
use crate::config::overlap;
use crate::config::problem::Place;
use crate::config::problem::Problems;
use crate::config::raw;
use crate::config::suggest::did_you_mean;
use crate::config::units;
use crate::model::feature::FeatureNames;
use crate::model::name::Name;

pub use keys::secret_ref;

/// Names that stand in the file, also of things that are broken: a reference to them is not unknown.
#[derive(Debug, Default)]
pub(super) struct Known {
    upstreams: BTreeSet<String>,
    accounts: BTreeSet<String>,
    issuers: BTreeSet<String>,
}

impl Known {
    /// Collects the names from the file's values.
    pub(super) fn of(file: &Value) -> Self {
        let names = |field| {
            file.get(field).and_then(Value::as_object).map(|named| named.keys().cloned().collect()).unwrap_or_default()
        };
        Self { upstreams: names("upstreams"), accounts: names("accounts"), issuers: names("issuers") }
    }
}

/// Reads a whole file. `earlier` are problems that were found before, and whose consequences are not told.
pub(super) fn read(file: &raw::File, known: Known, earlier: &Problems) -> (Option<Config>, Problems) {
    let mut reader = Reader { problems: Problems::default(), known, features: None, key_places: HashMap::new() };
    let config = reader.config(file, earlier);
    (config.ok(), reader.problems)
}

/// A part could not be read, and why has been noted.
#[derive(Debug, Clone, Copy)]
struct Noted;

/// A part that was read, or a problem that was noted.
type Read<T> = Result<T, Noted>;

/// The state of one reading.
#[derive(Debug)]
struct Reader {
    problems: Problems,
    known: Known,
    /// The flags that may be named; `None` where their list is itself wrong, and no flag is called unknown then.
    features: Option<FeatureNames>,
    /// Where each key is referred to: no two slots hold the same key.
    key_places: HashMap<SecretRef, Place>,
}

impl Reader {
    fn config(&mut self, file: &raw::File, earlier: &Problems) -> Read<Config> {
        let root = Place::root();
        let broken_before = earlier.broken_places();
        let features_at = root.field("features");
        self.features = self
            .feature_names(file.features.as_deref().unwrap_or_default(), &features_at)
            .ok()
            .filter(|_| !broken_before.contains(&features_at));
        let listeners = self.listeners(&file.listeners, &root.field("listeners"));
        let store = self.store(&file.store.clone().unwrap_or_default(), &root.field("store"));
        let beside = store.as_ref().ok().map(|store| store.directory.clone());
        let audit = self.audit(file.audit.as_ref(), beside, &root.field("audit"));
        let tracing_at = root.field("tracing");
        let tracing = file.tracing.as_ref().map(|tracing| self.tracing(tracing, &tracing_at)).transpose();
        let workspace = self.workspace(file.workspace.as_deref(), &root.field("workspace"));
        let public_url = self.public_url(file.public_url.as_deref(), &root.field("public_url"));
        let keys_at = root.field("management_keys");
        let management_keys = self.named(file.management_keys.as_ref(), &keys_at, Self::management_key);
        let issuers_at = root.field("management_issuers");
        let management_issuers = self.named(file.management_issuers.as_ref(), &issuers_at, Self::management_issuer);
        let trusted_proxies = self.networks(file.trusted_proxies.as_deref(), &root.field("trusted_proxies"));
        let shutdown = self.shutdown(&file.shutdown.clone().unwrap_or_default(), &root.field("shutdown"));
        let reload = self.reload(&file.reload.clone().unwrap_or_default(), &root.field("reload"));
        let tokens = self.own_tokens(&file.tokens.clone().unwrap_or_default(), &root.field("tokens"));
        let own_issuer = tokens.as_ref().ok().map(|own| own.issuer.as_str());
        let issuers = self.issuers(file.issuers.as_ref(), own_issuer, &root.field("issuers"));
        let upstreams = self.named(Some(&file.upstreams), &root.field("upstreams"), Self::upstream);
        let accounts = self.accounts(file.accounts.as_ref(), &root.field("accounts"));
        let services = self.named(Some(&file.services), &root.field("services"), Self::service);
        self.issuing_hosts(&services);
        overlap::note(&self.sound(&services, &broken_before), &mut self.problems);
        Ok(Config {
            listeners: listeners?,
            workers: file.workers.and_then(|workers| NonZeroUsize::new(workers.into())),
            store: store?,
            workspace: workspace?,
            public_url: public_url?,
            management_keys,
            management_issuers,
            features: self.features.clone().ok_or(Noted)?,
            trusted_proxies: trusted_proxies?,
            access_log: process::access_log(file.access_log.as_ref()),
            tracing: tracing?.map(Arc::new),
            audit: audit?,
            shutdown: shutdown?,
            reload: reload?,
            tokens: tokens?,
            issuers,
            upstreams,
            accounts,
            services,
        })
    }

    /// Services about which nothing is wrong: conclusions from the rest of another could mislead.
    fn sound<'s>(&self, services: &'s BTreeMap<Name, Service>, broken_before: &HashSet<Place>) -> Vec<&'s Service> {
        let at = Place::root().field("services");
        let broken = self.problems.broken_places();
        let is_sound = |service: &&Service| {
            let place = at.field(service.name.as_str());
            !broken.contains(&place) && !broken_before.contains(&place)
        };
        services.values().filter(is_sound).collect()
    }

    /// Reads every entry of a mapping from names. Entries that are wrong are noted and left out.
    fn named<R, T>(
        &mut self,
        entries: Option<&BTreeMap<String, R>>,
        at: &Place,
        mut read: impl FnMut(&mut Self, &Name, &R, &Place) -> Read<T>,
    ) -> BTreeMap<Name, T> {
        let mut all = BTreeMap::new();
        for (name, entry) in entries.into_iter().flatten() {
            let place = at.field(name);
            if let Ok(name) = self.keep(&place, Name::parse(name))
                && let Ok(read) = read(self, &name, entry, &place)
            {
                all.insert(name, read);
            }
        }
        all
    }

    /// Reads every item of a list, also those after one that is wrong.
    fn each<'r, R, T>(
        &mut self,
        items: &'r [R],
        at: &Place,
        mut read: impl FnMut(&mut Self, &'r R, &Place) -> Read<T>,
    ) -> Read<Vec<T>> {
        let read: Vec<Read<T>> =
            items.iter().enumerate().map(|(index, item)| read(self, item, &at.item(index))).collect();
        read.into_iter().collect()
    }

    /// Notes a problem.
    fn refuse<T>(&mut self, at: &Place, what: impl Into<String>) -> Read<T> {
        self.problems.note(at, what);
        Err(Noted)
    }

    /// Keeps what was read, or notes why it could not be.
    fn keep<T, E: Display>(&mut self, at: &Place, read: Result<T, E>) -> Read<T> {
        read.or_else(|error| self.refuse(at, error.to_string()))
    }

    /// Reads a path of a file or directory.
    fn path(&mut self, text: &str, at: &Place) -> Read<PathBuf> {
        if text.is_empty() || text.contains('\0') { self.refuse(at, "want a path") } else { Ok(PathBuf::from(text)) }
    }

    fn optional_path(&mut self, text: Option<&str>, at: &Place) -> Read<Option<PathBuf>> {
        text.map(|text| self.path(text, at)).transpose()
    }

    /// Reads a duration that must not be below `least` or above `most`.
    fn duration(
        &mut self,
        text: Option<&str>,
        at: &Place,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Read<Duration> {
        let Some(text) = text else { return Ok(default) };
        let duration = self.keep(at, units::duration(text))?;
        if duration < least || duration > most {
            let (least, most) = (units::show(least), units::show(most));
            return self.refuse(at, format!("want a duration from {least} to {most}"));
        }
        Ok(duration)
    }

    /// Finds a name among those that the file gives to `kind`.
    fn reference(&mut self, written: &str, kind: Kind, at: &Place) -> Read<Name> {
        let known = match kind {
            Kind::Upstream => &self.known.upstreams,
            Kind::Account => &self.known.accounts,
            Kind::Issuer => &self.known.issuers,
        };
        let (thing, field) = match kind {
            Kind::Upstream => ("upstream", "upstreams"),
            Kind::Account => ("account", "accounts"),
            Kind::Issuer => ("issuer", "issuers"),
        };
        if known.contains(written) {
            // A name that breaks the rule for names is told where it is given.
            return Name::parse(written).or(Err(Noted));
        }
        let near = did_you_mean(written, known.iter().map(String::as_str));
        let what = match Name::parse(written) {
            Ok(name) => format!("there is no {thing} {name:?} under `{field}`{near}"),
            Err(error) => format!("want the name of one of the `{field}`{near}: {error}"),
        };
        self.refuse(at, what)
    }
}

/// What a name can refer to.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Upstream,
    Account,
    Issuer,
}

/// The names among `given`, written as a list, with `none` for an empty one.
fn list_of(given: &[(&'static str, bool)]) -> String {
    let names: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
    if names.is_empty() { "none of them".to_owned() } else { names.join(" and ") }
}
