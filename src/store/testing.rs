//! An open store for tests of what is built on it.

use std::fs::Permissions;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::Store;
use super::engine::Engine as _;
use crate::config;

/// A store in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct TestStore {
    store: Store,
    pub(crate) directory: TempDir,
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        let directory = directory();
        let store = open(directory.path()).await;
        Self { store, directory }
    }

    /// The keys of all records.
    pub(crate) async fn records(&self) -> Vec<String> {
        let contents = self.engine.read_all().await.unwrap();
        contents.records.into_iter().map(|record| record.key).collect()
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// A directory in memory where the system has one: hundreds of commits are then not hundreds of fsyncs.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut private = tempfile::Builder::new();
    private.permissions(Permissions::from_mode(0o700));
    if memory.is_dir() { private.tempdir_in(memory).unwrap() } else { private.tempdir().unwrap() }
}

/// The settings of a store whose master key lies beside it.
pub(crate) fn settings(directory: &Path) -> config::Store {
    config::Store { directory: directory.to_owned(), master_key: None, previous_master_keys: Vec::new(), etcd: None }
}

pub(crate) async fn open(directory: &Path) -> Store {
    Store::open(&settings(directory)).await.unwrap()
}
