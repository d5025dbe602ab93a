//! Master keys change, are interrupted at every step, and nothing is lost.

use std::fs;
use std::path::Path;

use super::{Resealed, reseal, sealed_in};
use crate::config::{self, SecretRef, SigningAlgorithm};
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;
use crate::store::engine::Engine as _;
use crate::store::master_key::{self, Next};
use crate::store::record_key::Owner;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::slots::Keys;
use crate::store::{Store, testing};

const OWNERS: [&str; 3] = ["iris", "rose", "tulip"];

fn owner(name: &str) -> Owner {
    Owner::Service(Name::parse(name).unwrap())
}

fn settings(directory: &Path) -> config::Store {
    testing::settings(directory)
}

/// A store with keys of three services and two signing keys, closed.
async fn filled(config: &config::Store) -> Vec<Keys> {
    let store = Store::open(config).await.unwrap();
    for name in OWNERS {
        store.ensure(&owner(name), UnixSeconds(1)).await.unwrap();
    }
    store.ensure_signing_key(SigningAlgorithm::Es256, UnixSeconds(1)).await.unwrap();
    store
        .rotate_signing_key(SigningAlgorithm::EdDsa, std::time::Duration::from_secs(60), UnixSeconds(1))
        .await
        .unwrap();
    let keys = listed(&store).await;
    store.close().await;
    keys
}

async fn listed(store: &Store) -> Vec<Keys> {
    let state = store.read().await.unwrap();
    assert_eq!(state.quarantined, [].into());
    assert_eq!(state.signing_keys().count(), 2);
    let mut keys = Vec::new();
    for name in OWNERS {
        keys.push(store.list(&owner(name)).await.unwrap());
    }
    keys
}

async fn opened(config: &config::Store) -> Vec<Keys> {
    let store = Store::open(config).await.unwrap();
    let keys = listed(&store).await;
    store.close().await;
    keys
}

/// Number of records that this key alone does not open.
async fn not_under(config: &config::Store, path: &Path) -> usize {
    let key = master_key::read_own(path).unwrap().unwrap();
    let sealer = Sealer::new(MasterKey::new(&key).unwrap(), Vec::new());
    let store = Store::open(config).await.unwrap();
    let records = store.engine.read_all().await.unwrap().records;
    store.close().await;
    records.iter().filter(|it| sealed_in(it).unwrap().iter().any(|(_, sealed)| sealer.is_outdated(sealed))).count()
}

fn all_anew(records: usize) -> Resealed {
    Resealed { anew: records, ..Resealed::default() }
}

#[tokio::test]
async fn a_key_of_our_own_is_replaced_and_everything_is_under_the_new_one() {
    let directory = testing::directory();
    let config = settings(directory.path());
    let path = directory.path().join(master_key::FILE);
    let keys = filled(&config).await;
    let old = fs::read(&path).unwrap();
    assert_eq!(reseal(&config, None).await.unwrap(), all_anew(5));
    assert!(fs::read(&path).unwrap() != old);
    assert!(opened(&config).await == keys);
    assert_eq!(not_under(&config, &path).await, 0);
    let kept: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|other| *other != path && fs::read(other).unwrap() == old)
        .collect();
    assert_eq!(kept.len(), 1, "the old key is kept, for exports that were made under it");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "the store, the key, and the old key");
}

#[tokio::test]
async fn a_stop_after_any_step_loses_nothing_and_the_next_attempt_ends_it() {
    for stop_after in 0..=8 {
        let directory = testing::directory();
        let config = settings(directory.path());
        let keys = filled(&config).await;
        // The new key is made and the store opened; then record by record; then the old key is kept, and replaced.
        let store = Store::open_to_reseal(&config, &Next::Own).await.unwrap();
        let mut resealed = Resealed::default();
        let records = store.engine.read_all().await.unwrap().records;
        let sealed = records.into_iter().filter(|record| !sealed_in(record).unwrap().is_empty());
        for record in sealed.take(stop_after) {
            store.reseal_record(record, &mut resealed).await.unwrap();
        }
        assert_eq!(resealed, all_anew(stop_after.min(5)));
        store.close().await;
        if stop_after >= 6 {
            master_key::keep_own(directory.path()).unwrap();
        }
        if stop_after >= 7 {
            master_key::replace_own(directory.path()).unwrap();
        }

        assert!(opened(&config).await == keys, "after step {stop_after}");
        let store = Store::open(&config).await.unwrap();
        store
            .regenerate(&owner("rose"), crate::model::slot::Slot::Primary, &Default::default(), UnixSeconds(2))
            .await
            .unwrap();
        let keys = listed(&store).await;
        store.close().await;
        reseal(&config, None).await.unwrap();
        assert!(opened(&config).await == keys, "ended after step {stop_after}");
        assert_eq!(not_under(&config, &directory.path().join(master_key::FILE)).await, 0, "step {stop_after}");
    }
}

#[tokio::test]
async fn with_a_configured_key_the_new_one_is_named_and_the_old_one_goes() {
    let directory = testing::directory();
    let [old, new] = ["old", "new"].map(|name| {
        let path = directory.path().join(name);
        master_key::create_own(&path).unwrap();
        SecretRef::File(path)
    });
    let before = config::Store { master_key: Some(old.clone()), ..settings(&directory.path().join("state")) };
    let keys = filled(&before).await;
    assert_eq!(reseal(&before, None).await.unwrap(), Resealed { current: 5, ..Resealed::default() });

    // A gateway that names both serves all the while.
    let both = config::Store { master_key: Some(new.clone()), previous_master_keys: vec![old], ..before.clone() };
    assert!(opened(&both).await == keys);
    assert_eq!(reseal(&both, None).await.unwrap(), all_anew(5));
    let after = config::Store { previous_master_keys: Vec::new(), ..both };
    assert!(opened(&after).await == keys);
    assert_eq!(reseal(&after, None).await.unwrap(), Resealed { current: 5, ..Resealed::default() });
}

#[tokio::test]
async fn a_store_that_nobody_has_open_is_sealed_under_a_key_that_is_named() {
    let directory = testing::directory();
    let config = settings(&directory.path().join("state"));
    let keys = filled(&config).await;
    let path = directory.path().join("new");
    master_key::create_own(&path).unwrap();
    let new = SecretRef::File(path);
    assert_eq!(reseal(&config, Some(&new)).await.unwrap(), all_anew(5));
    let after = config::Store { master_key: Some(new), ..config.clone() };
    assert!(opened(&after).await == keys);
}

#[tokio::test]
async fn what_an_unknown_key_sealed_is_named_and_left_alone() {
    let directory = testing::directory();
    let config = settings(directory.path());
    let keys = filled(&config).await;
    let path = directory.path().join(master_key::FILE);
    let old = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let id = MasterKey::new(&Secret::new(*master_key::create_own(&path).unwrap().expose())).unwrap().id();

    let resealed = reseal(&config, None).await.unwrap();
    assert_eq!((resealed.anew, resealed.current, resealed.unreadable.len()), (0, 0, 5));
    let why = std::error::Error::source(&resealed.unreadable["slots/service/iris"]).unwrap().to_string();
    assert!(why.contains("not at hand") && !why.contains(&id.to_string()), "{why}");
    let kept = directory.path().join("old");
    fs::write(&kept, old).unwrap();
    fs::set_permissions(&kept, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let back = config::Store { previous_master_keys: vec![SecretRef::File(kept)], ..config.clone() };
    assert_eq!(reseal(&back, None).await.unwrap(), all_anew(5));
    assert!(opened(&config).await == keys);
}
