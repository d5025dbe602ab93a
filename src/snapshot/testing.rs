//! A snapshot over a real store, and what follows the store: for tests of what reads the one and writes the other.

use std::sync::Arc;

use tempfile::TempDir;

use crate::config::Config;
use crate::config::SecretRef;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::snapshot::compile;
use crate::snapshot::compile::Sources;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::live;
use crate::snapshot::live::Live;
use crate::snapshot::live::Publisher;
use crate::snapshot::modes;
use crate::snapshot::usage::OwnerUsage;
use crate::store;
use crate::store::Store;
use crate::store::engine::Event;
use crate::store::engine::Watch;
use crate::store::record_key::Owner;
use crate::store::state::State;

/// A configuration in force over a store of its own.
pub(crate) struct Stage {
    pub(crate) store: Arc<Store>,
    pub(crate) live: Live,
    publisher: Publisher,
    state: State,
    config: Arc<Config>,
    inputs: Inputs,
    _directory: TempDir,
}

impl Stage {
    /// Compiles `text`; every service and account whose keys the store holds has some. `management_keys` are the
    /// values of keys that the text only refers to.
    pub(crate) async fn new(text: &str, management_keys: &[(&str, &str)]) -> Self {
        let mut inputs = Inputs::default();
        for (name, key) in management_keys {
            let loaded = (SecretRef::Env((*name).to_owned()), Digest::of(key.as_bytes()));
            inputs.management_keys.insert(Name::parse(name).unwrap(), loaded);
        }
        Self::with_inputs(text, inputs).await
    }

    /// As [`Stage::new`], with everything that was read.
    pub(crate) async fn with_inputs(text: &str, inputs: Inputs) -> Self {
        crate::tokens::install_crypto_provider();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let config = Config::read(text).unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"));
        let directory = store::testing::directory();
        let store = Arc::new(store::testing::open(directory.path()).await);
        let now = UnixSeconds::now();
        store.ensure_signing_key(config.tokens.algorithm, now).await.unwrap();
        let config = Arc::new(config);
        for service in config.services.values().filter(|service| service.key_auth().is_some()) {
            store.ensure(&Owner::Service(service.name.clone()), now).await.unwrap();
        }
        for account in config.accounts.keys() {
            store.ensure(&Owner::Account(account.clone()), now).await.unwrap();
        }
        let state = store.read().await.unwrap();
        let (live, publisher) = live::publish_first(Arc::new(compiled(&config, &inputs, &state, None)));
        Self { store, live, publisher, state, config, inputs, _directory: directory }
    }

    /// Puts in force what the store holds: read as a whole.
    pub(crate) async fn reload(&mut self) {
        self.state = self.store.read().await.unwrap();
        self.publish();
    }

    /// Puts in force what the store holds: told by a watch, one snapshot a commit.
    pub(crate) async fn catch_up(&mut self, watch: &mut Watch) {
        let last = self.store.read().await.unwrap().revision;
        while self.state.revision < last {
            let Some(Event::Changed(update)) = watch.next().await else { continue };
            // A reload may have been faster.
            if update.revision > self.state.revision {
                self.store.follow(&mut self.state, &update);
                self.publish();
            }
        }
    }

    fn publish(&mut self) {
        let previous = self.publisher.current();
        let next = compiled(&self.config, &self.inputs, &self.state, Some(&previous));
        let next = match self.rotated(&previous) {
            Some(rotated) => {
                assert_alike(&rotated, &next);
                rotated
            }
            None => next,
        };
        self.publisher.publish(Arc::new(next));
    }

    /// As the reloader does it where only keys have changed.
    fn rotated(&self, previous: &Snapshot) -> Option<Snapshot> {
        let owners = self.state.rotated_after(previous.store_revision)?;
        let config = &modes::in_force(&self.config, &self.state);
        let (inputs, state, metrics, now) = (&self.inputs, &self.state, Metrics::new(), UnixSeconds::now());
        let sources = Sources { config, inputs, state, previous: Some(previous), metrics: &metrics, now };
        Some(compile::rotated(sources, &owners).unwrap()?.snapshot)
    }

    /// Puts every change of the store in force until the task ends.
    pub(crate) async fn follow(mut self) -> tokio::task::JoinHandle<()> {
        let mut watch = self.store.watch(self.state.revision).await.unwrap();
        tokio::spawn(async move {
            while let Some(Event::Changed(update)) = watch.next().await {
                self.store.follow(&mut self.state, &update);
                self.publish();
            }
        })
    }
}

/// A snapshot that was made from the one before says what one says that was compiled from everything.
fn assert_alike(rotated: &Snapshot, whole: &Snapshot) {
    let told = |snapshot: &Snapshot| {
        let services = snapshot.services.iter().map(|it| (it.index, it.settings.name.clone(), it.quarantined.clone()));
        let owners = snapshot.accounts().map(|account| &account.usage);
        let owners: Vec<&OwnerUsage> = owners.chain(snapshot.services.iter().map(|it| &it.usage)).collect();
        let keys = owners.iter().flat_map(|usage| usage.digests());
        let keys: Vec<_> = keys.map(|digest| (digest, snapshot.keys.get(&digest).copied())).collect();
        let accounts = snapshot.accounts().map(|account| (account.name.clone(), account.resource.clone()));
        let counted = owners.iter().map(|usage| {
            Slot::ALL.map(|slot| usage.slot(slot).map(|key| (key.age, key.usage.uses())).collect::<Vec<_>>())
        });
        format!(
            "{} {} {} {:?} {keys:?} {:?} {:?}",
            snapshot.store_revision,
            snapshot.generation,
            snapshot.keys.len(),
            services.collect::<Vec<_>>(),
            accounts.collect::<Vec<_>>(),
            counted.collect::<Vec<_>>(),
        )
    };
    assert_eq!(told(rotated), told(whole));
    assert!(Arc::ptr_eq(&rotated.revocations, &whole.revocations));
    assert_eq!(rotated.own_keys.jwks(), whole.own_keys.jwks());
}

fn compiled(config: &Arc<Config>, inputs: &Inputs, state: &State, previous: Option<&Snapshot>) -> Snapshot {
    let config = &modes::in_force(config, state);
    let metrics = Metrics::new();
    let now = UnixSeconds::now();
    compile::compile(Sources { config, inputs, state, previous, metrics: &metrics, now }).unwrap().snapshot
}
