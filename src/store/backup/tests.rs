//! Everything that a store holds goes out and comes back, and nothing else is ever taken for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{ExportError, ImportError, MARKER, Moved, PER_COMMIT, export, import};
use crate::config::{self, SecretRef, SigningAlgorithm};
use crate::model::name::Name;
use crate::model::time::UnixSeconds;
use crate::store::engine::{Batch, Engine as _, Expectation};
use crate::store::record_key::Owner;
use crate::store::{Engines, OpenError, Store, master_key, testing};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn owner(number: usize) -> Owner {
    Owner::Account(Name::parse(&format!("account-{number}")).unwrap())
}

/// Two places for a store, both under one master key, and one for the export.
struct Places {
    directory: tempfile::TempDir,
    from: config::Store,
    to: config::Store,
}

impl Places {
    fn new() -> Self {
        let directory = testing::directory();
        let key = directory.path().join("key");
        master_key::create_own(&key).unwrap();
        let store = |name: &str| config::Store {
            master_key: Some(SecretRef::File(key.clone())),
            ..testing::settings(&directory.path().join(name))
        };
        Self { from: store("from"), to: store("to"), directory }
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("export")
    }

    /// More records than one commit takes, and one whose content is no text.
    async fn fill(&self) {
        let store = Store::open(&self.from).await.unwrap();
        for number in 0..30 {
            store.ensure(&owner(number), NOW).await.unwrap();
        }
        store.ensure_signing_key(SigningAlgorithm::Es256, NOW).await.unwrap();
        let odd = Batch::new().put("account/odd", vec![0xff, 0], Expectation::Any);
        store.engine.commit(odd).await.unwrap();
        store.close().await;
    }
}

async fn records(config: &config::Store) -> Vec<(String, Vec<u8>)> {
    let engine = Engines::open(config).await.unwrap();
    let records = engine.read_all().await.unwrap().records;
    engine.close().await;
    records.into_iter().map(|record| (record.key, record.value)).collect()
}

async fn first_keys(config: &config::Store) -> crate::store::slots::Keys {
    let store = Store::open(config).await.unwrap();
    let keys = store.list(&owner(0)).await.unwrap();
    assert!(store.read().await.unwrap().signer().is_some());
    store.close().await;
    keys
}

#[tokio::test]
async fn what_was_exported_is_what_an_import_brings_back() {
    let places = Places::new();
    places.fill().await;
    let out = export(&places.from, &places.file(), NOW).await.unwrap();
    assert_eq!((out.records, out.master_keys.len()), (30 * 3 + 2 + 1, 1));
    assert!(out.records > PER_COMMIT);
    assert_eq!(fs::metadata(places.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(import(&places.to, &places.file()).await.unwrap(), out);
    assert!(records(&places.to).await == records(&places.from).await);
    assert!(first_keys(&places.to).await == first_keys(&places.from).await, "listed keys are the same");
}

#[tokio::test]
async fn an_export_shows_no_key_and_overwrites_nothing() {
    let places = Places::new();
    places.fill().await;
    export(&places.from, &places.file(), NOW).await.unwrap();
    let text = fs::read_to_string(places.file()).unwrap();
    let key = first_keys(&places.from).await.primary;
    let values = text.lines().filter_map(|line| serde_json::from_str::<super::Line>(line).ok());
    let plain: Vec<u8> =
        values.flat_map(|line| base64::Engine::decode(&super::STANDARD, line.value).unwrap()).collect();
    for bytes in [text.as_bytes(), &plain] {
        assert!(!bytes.windows(key.expose().len()).any(|window| window == key.expose().as_bytes()));
    }
    let refused = export(&places.from, &places.file(), NOW).await.unwrap_err();
    assert!(matches!(refused, ExportError::File { .. }), "{refused}");
    assert_eq!(fs::read_to_string(places.file()).unwrap(), text);
}

#[tokio::test]
async fn only_a_whole_export_is_imported_and_only_into_an_empty_store() {
    let places = Places::new();
    places.fill().await;
    export(&places.from, &places.file(), NOW).await.unwrap();
    let text = fs::read_to_string(places.file()).unwrap();
    let without =
        |at: usize| text.split_inclusive('\n').enumerate().filter(move |(n, _)| *n != at).map(|(_, line)| line);
    let lines = text.lines().count();
    for (what, changed) in [
        ("nothing", String::new()),
        ("another file", "{}\n".to_owned()),
        ("no first line", without(0).collect()),
        ("a record less", without(7).collect()),
        ("no last line", without(lines - 1).collect()),
        ("cut short", text.chars().take(text.len() / 2).collect()),
        ("another account", text.replace("account-7", "account-8")),
    ] {
        fs::write(places.file(), changed).unwrap();
        let refused = import(&places.to, &places.file()).await.unwrap_err();
        assert!(matches!(refused, ImportError::NoExport { .. }), "{what}: {refused}");
    }
    fs::write(places.file(), text.replace("\"scoregate_export\":1", "\"scoregate_export\":2")).unwrap();
    let refused = import(&places.to, &places.file()).await.unwrap_err();
    assert!(matches!(refused, ImportError::Version { found: 2 }), "{refused}");
    fs::write(places.file(), &text).unwrap();
    let refused = import(&places.from, &places.file()).await.unwrap_err();
    assert!(matches!(refused, ImportError::NotEmpty { records: 93 }), "{refused}");
    assert!(records(&places.to).await.is_empty(), "nothing was written before");
}

#[tokio::test]
async fn under_another_master_key_nothing_is_imported() {
    let places = Places::new();
    places.fill().await;
    let out = export(&places.from, &places.file(), NOW).await.unwrap();
    let other = places.directory.path().join("other");
    master_key::create_own(&other).unwrap();
    let with_other = config::Store { master_key: Some(SecretRef::File(other)), ..places.to.clone() };
    let refused = import(&with_other, &places.file()).await.unwrap_err();
    let source = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
    assert!(matches!(refused, ImportError::OtherMasterKey { .. }), "{refused}");
    assert!(source.contains(out.master_keys.first().unwrap()), "{source}");
    let with_none = config::Store { master_key: None, ..places.to.clone() };
    let refused = import(&with_none, &places.file()).await.unwrap_err();
    assert!(matches!(refused, ImportError::Open(OpenError::MasterKeyLost { .. })), "{refused}");
    assert!(records(&places.to).await.is_empty());

    let both =
        config::Store { previous_master_keys: places.from.master_key.clone().into_iter().collect(), ..with_other };
    import(&both, &places.file()).await.unwrap();
    assert!(first_keys(&both).await == first_keys(&places.from).await);
}

#[tokio::test]
async fn an_import_that_stopped_half_way_is_noticed_and_begun_anew() {
    let places = Places::new();
    places.fill().await;
    export(&places.from, &places.file(), NOW).await.unwrap();
    let engine = Engines::open(&places.to).await.unwrap();
    let half =
        Batch::new().put(MARKER, Vec::new(), Expectation::Any).put("account/x", b"{}".to_vec(), Expectation::Any);
    engine.commit(half).await.unwrap();
    engine.close().await;
    let refused = Store::open(&places.to).await.unwrap_err();
    assert!(matches!(refused, OpenError::HalfImported), "{refused}");
    import(&places.to, &places.file()).await.unwrap();
    assert!(records(&places.to).await == records(&places.from).await);
    Store::open(&places.to).await.unwrap().close().await;
}

#[tokio::test]
async fn there_is_no_export_of_a_store_that_is_not_there_or_in_use() {
    let places = Places::new();
    let refused = export(&places.from, &places.file(), NOW).await.unwrap_err();
    assert!(matches!(refused, ExportError::Open(OpenError::NoStore { .. })), "{refused}");
    assert!(!Path::new(&places.from.directory).exists(), "none was made");
    places.fill().await;
    let running = Store::open(&places.from).await.unwrap();
    let refused = export(&places.from, &places.file(), NOW).await.unwrap_err();
    assert!(refused.to_string().contains("stop that gateway"), "{refused}");
    assert!(!places.file().exists());
    running.close().await;
    let Moved { records, .. } = export(&places.from, &places.file(), NOW).await.unwrap();
    assert_eq!(records, 93);
}
