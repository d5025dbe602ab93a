//! A gateway without sockets: a configuration over a store of its own, and the snapshot of both.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use scoregate::config::Config;
use scoregate::config::SecretRef;
use scoregate::model::digest::Digest;
use scoregate::model::name::Name;
use scoregate::model::time::UnixSeconds;
use scoregate::observe::metrics::Metrics;
use scoregate::snapshot::Snapshot;
use scoregate::snapshot::compile;
use scoregate::snapshot::compile::Sources;
use scoregate::snapshot::inputs::Inputs;
use scoregate::store::Store;
use scoregate::store::record_key::Owner;
use scoregate::store::state::State;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The moment at which everything takes place.
pub(crate) const NOW: UnixSeconds = UnixSeconds(2_000_000_000);

/// What a snapshot is made of.
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) inputs: Inputs,
    pub(crate) store: Arc<Store>,
    pub(crate) state: State,
    pub(crate) metrics: Metrics,
    /// Keeps the store's file.
    _directory: TempDir,
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A directory in memory where the system has one.
pub(crate) fn directory() -> TempDir {
    let mut private = tempfile::Builder::new();
    private.permissions(Permissions::from_mode(0o700));
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { private.tempdir_in(memory) } else { private.tempdir() }.expect("a directory")
}

impl Gateway {
    /// Every service and account whose keys the store holds gets some. `management_keys` are values of keys that the
    /// configuration only refers to.
    pub(crate) async fn new(text: &str, mut inputs: Inputs, management_keys: &[(&str, &str)]) -> Self {
        scoregate::tokens::install_crypto_provider();
        let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for (named, key) in management_keys {
            let loaded = (SecretRef::Env((*named).to_owned()), Digest::of(key.as_bytes()));
            inputs.management_keys.insert(name(named), loaded);
        }
        let config = Config::read(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let directory = directory();
        let settings = scoregate::config::Store {
            directory: directory.path().to_owned(),
            master_key: None,
            previous_master_keys: Vec::new(),
            etcd: None,
        };
        let store = Store::open(&settings).await.expect("a store");
        store.ensure_signing_key(config.tokens.algorithm, NOW).await.expect("a signing key");
        let services = config.services.values().filter(|service| service.key_auth().is_some());
        let accounts = config.accounts.keys().cloned().map(Owner::Account);
        for owner in services.map(|service| Owner::Service(service.name.clone())).chain(accounts) {
            store.ensure(&owner, NOW).await.expect("keys");
        }
        let state = store.read().await.expect("a state");
        Self { config, inputs, store: Arc::new(store), state, metrics: Metrics::new(), _directory: directory }
    }

    /// What requests read.
    pub(crate) fn snapshot(&self, previous: Option<&Snapshot>) -> Snapshot {
        let Self { config, inputs, state, metrics, .. } = self;
        let sources = Sources { config, inputs, state, previous, metrics, now: NOW };
        compile::compile(sources).expect("a snapshot").snapshot
    }
}
