//! A snapshot that differs from the one in force by the keys of a few owners, at the cost of those owners.

use std::sync::Arc;

use crate::config;
use crate::config::Slots;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::CompileError;
use crate::snapshot::compile::Compiled;
use crate::snapshot::compile::Sources;
use crate::snapshot::compile::keys;
use crate::snapshot::compile::planes;
use crate::snapshot::compile::services;
use crate::snapshot::compile::tokens;
use crate::snapshot::keys::KeyOwner;
use crate::snapshot::keys::KeyRecord;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::usage::OwnerUsage;
use crate::store::record_key::Owner;

/// What changes in the table of keys.
#[derive(Default)]
struct Changes {
    removed: Vec<Digest>,
    added: Vec<(Digest, KeyRecord)>,
}

impl Changes {
    fn take(&mut self, sources: Sources<'_>, owner: &Owner, number: KeyOwner, before: &OwnerUsage, table: &KeyTable) {
        let has = |digest: &Digest| table.get(digest).is_some_and(|record| record.owner == number);
        self.removed.extend(before.digests().filter(has));
        self.added.extend(keys::live(sources, owner, number, Some(&Slots::Store)));
    }
}

/// Compiles a snapshot from the one in force, where the keys of `owners` in the store are all that has changed since,
/// besides revocations, and the one in force lacked nothing. `None` where that is not enough: time has retired a
/// signing key.
///
/// # Errors
/// [`CompileError::DuplicateKey`]; the others do not come up.
pub fn rotated(sources: Sources<'_>, owners: &[&Owner]) -> Result<Option<Compiled>, CompileError> {
    let Sources { config, inputs, state, now, .. } = sources;
    let Some(previous) = sources.previous else { return Ok(None) };
    let own_keys = tokens::own_keys(state, now)?;
    if own_keys.jwks() != previous.own_keys.jwks() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let issuers = tokens::issuers(config, inputs, &previous.own_keys);
    let targets = services::targets(sources, &mut problems);
    let before = services::by_name(Some(previous));
    let (mut accounts, mut services) = (previous.accounts.clone(), previous.services.clone());
    let mut changes = Changes::default();
    for owner in owners {
        match owner {
            Owner::Account(name) => {
                let Some(number) = accounts.number_of(name) else { continue };
                let Some(account) = accounts.get(number).filter(|account| *account.slots() == Slots::Store) else {
                    continue;
                };
                changes.take(sources, owner, KeyOwner::Account(number), &account.usage, &previous.keys);
                let usage = keys::usage(sources, owner, Some(&Slots::Store), Some(&account.usage));
                accounts.set_usage(number, usage);
            }
            Owner::Service(name) => {
                let Some((number, settings)) = stored_service(config, name) else { continue };
                let Some(service) = services.get_mut(place(number)) else { continue };
                changes.take(sources, owner, KeyOwner::Service(number), &service.usage, &previous.keys);
                let parts = services::Parts {
                    sources,
                    accounts: &accounts,
                    issuers: &issuers,
                    targets: &targets,
                    key_headers: &service.key_headers,
                    before: &before,
                };
                let next = parts.service(number, settings);
                problems.extend(next.quarantined.as_ref().map(|why| format!("services.{name}: {why}")));
                *service = Arc::new(next);
            }
        }
    }
    let keys = previous.keys.with_changes(&changes.removed, &changes.added);
    let keys = keys.map_err(|duplicate| keys::told(duplicate, config, &accounts))?;
    let snapshot = Snapshot {
        store_revision: state.revision,
        generation: previous.generation + 1,
        routes: Arc::clone(&previous.routes),
        path_allowances: previous.path_allowances,
        features: previous.features.clone(),
        limited: Arc::clone(&previous.limited),
        own_keys: Arc::clone(&previous.own_keys),
        management: planes::management(sources, &keys, &issuers, &mut problems),
        keys,
        revocations: Arc::clone(&state.revocations),
        access_log: previous.access_log,
        recording: previous.recording,
        trusted_proxies: previous.trusted_proxies.clone(),
        tls: previous.tls.clone(),
        limits: previous.limits.clone(),
        forward_auth: previous.forward_auth.clone(),
        services,
        accounts,
    };
    Ok(Some(Compiled { snapshot, problems }))
}

/// A service whose own keys are the store's, with its number: services are numbered in the order of their names.
fn stored_service<'c>(config: &'c config::Config, name: &Name) -> Option<(u32, &'c config::Service)> {
    let settings = config.services.get(name)?;
    match &settings.auth {
        config::Auth::Key(key) if key.slots == Some(Slots::Store) => {
            let number = config.services.keys().position(|other| other == name)?;
            Some((u32::try_from(number).ok()?, settings))
        }
        config::Auth::Key(_) | config::Auth::Token(_) | config::Auth::Public { .. } => None,
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::model::name::Name;
    use crate::model::secret::Secret;
    use crate::model::slot::Slot;
    use crate::model::time::UnixSeconds;
    use crate::snapshot::testing::Stage;
    use crate::store::record_key::Owner;
    use crate::store::slots::Regeneration;

    const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {contoso: {resource: /a/contoso}, fabrikam: {resource: /a/fabrikam}}
services:
  iris: {upstream: model, auth: {key: {accounts: [contoso]}}}
  rose: {upstream: model, auth: {key: {}}}
  tokens: {upstream: model, auth: {token: {}}}
";

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Every publication of a [`Stage`] compares both ways of making it.
    #[tokio::test]
    async fn keys_that_change_hands_lead_to_the_snapshot_that_compiling_everything_does() {
        let mut stage = Stage::new(CONFIG, &[]).await;
        let mut watch = stage.store.watch(stage.live.load().store_revision).await.unwrap();
        let chosen = |value: &str, grace| Regeneration {
            value: Some(Secret::new(value.to_owned())),
            grace: Some(Duration::from_secs(grace)),
            expires: None,
        };
        let (contoso, fabrikam) = (Owner::Account(name("contoso")), Owner::Account(name("fabrikam")));
        let (iris, rose) = (Owner::Service(name("iris")), Owner::Service(name("rose")));
        for (owner, slot, how) in [
            (&contoso, Slot::Primary, Regeneration::default()),
            (&iris, Slot::Secondary, chosen("a-key-that-moves-about", 600)),
            (&iris, Slot::Secondary, chosen("its-successor-in-iris", 0)),
            (&fabrikam, Slot::Primary, chosen("a-key-that-moves-about", 600)),
            (&fabrikam, Slot::Primary, Regeneration::default()),
            (&rose, Slot::Primary, chosen("a-key-that-moves-about", 0)),
        ] {
            let before = stage.live.load();
            stage.store.regenerate(owner, slot, &how, UnixSeconds::now()).await.unwrap();
            stage.catch_up(&mut watch).await;
            let after = stage.live.load();
            assert!(Arc::ptr_eq(&before.routes, &after.routes), "{owner}: what did not change is shared");
        }
    }

    #[tokio::test]
    async fn whatever_is_more_than_other_keys_compiles_everything() {
        let mut stage = Stage::new(CONFIG, &[]).await;
        let mut watch = stage.store.watch(stage.live.load().store_revision).await.unwrap();
        let before = stage.live.load();
        stage.store.remove_account(&name("fabrikam")).await.unwrap();
        stage.catch_up(&mut watch).await;
        let after = stage.live.load();
        assert!(!Arc::ptr_eq(&before.routes, &after.routes));
        assert_eq!((before.keys.len(), after.keys.len()), (8, 6));
    }
}
