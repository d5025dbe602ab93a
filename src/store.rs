//! What changes at run time: slot keys, accounts, signing keys, revocations.
//!
//! An [`engine`] keeps records, [`embedded`] in a file, `etcd` (a cargo feature) for many replicas; [`records`] says what they mean and [`state`] is all
//! of them, read. The operations ([`slots`], [`accounts`], [`auth_modes`], [`signing`], [`revocations`]) are compare-and-swap
//! on single records, so that any number of replicas can do them at once. Requests never come here: they read
//! the snapshot, which is compiled from the [`state::State`].

use std::path::PathBuf;
use std::sync::Arc;

use self::embedded::Embedded;
use self::engine::{Batch, CommitError, Contents, Engine, Record, Revision, Unavailable, Watch};
#[cfg(feature = "etcd")]
use self::etcd::Etcd;
use self::master_key::{MasterKeyError, Next};
use self::seal::{MasterKey, SealError, Sealer};
use self::state::State;
use crate::config;

pub mod accounts;
pub mod auth_modes;
pub mod backup;
pub mod change;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
pub mod embedded;
pub mod engine;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod master_key;
pub mod record_key;
pub mod records;
pub mod reseal;
pub mod revocations;
pub mod revoked;
mod rotations;
pub mod seal;
pub mod signing;
pub mod slots;
pub mod state;
pub mod sweep;
#[cfg(test)]
pub(crate) mod testing;

/// An open store.
#[derive(Debug)]
pub struct Store {
    engine: Engines,
    sealer: Arc<Sealer>,
}

/// One of the engines.
#[derive(Debug)]
pub enum Engines {
    /// A file of this machine.
    Embedded(Embedded),
    /// An etcd that all replicas share.
    #[cfg(feature = "etcd")]
    Etcd(Etcd),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// There is no master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The file of the master key is gone, and a new key would not open what the store holds.
    #[error("the master key {} is missing, and the store holds what was sealed under it; put the file back", path.display())]
    MasterKeyLost {
        /// Where it should be.
        path: PathBuf,
    },
    /// No member of the etcd answers.
    #[cfg(feature = "etcd")]
    #[error("no etcd answers at {}", endpoints.join(", "))]
    Etcd {
        /// Where it should.
        endpoints: Vec<String>,
        /// What happened instead.
        source: Unavailable,
    },
    /// What an etcd is to be shown could not be read.
    #[cfg(feature = "etcd")]
    #[error(transparent)]
    Settings(#[from] etcd::SettingsError),
    /// The configuration names an etcd, and this build has no engine for it.
    #[cfg(not(feature = "etcd"))]
    #[error("this scoregate was built without etcd; `cargo build --release --features etcd` builds one with it")]
    NoEtcd,
    /// The configuration names an etcd and no master key.
    #[error("want store.master_key beside store.etcd: all gateways seal and open under the same one")]
    MasterKeyNotShared,
    /// There is no store where the configuration says.
    #[error("there is no store in {}", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// Only a part of an export is in the store.
    #[error("an import into this store has not come to its end; run `scoregate store import` again")]
    HalfImported,
    /// The master key could not be used.
    #[error("the master key could not be used")]
    Seal(#[source] SealError),
    /// The engine could not be asked.
    #[error("the store could not be read")]
    Unavailable(#[from] Unavailable),
}

impl Store {
    /// Opens the store that the configuration names, with its master key. Makes both at the first start.
    ///
    /// # Errors
    /// [`OpenError`], each variant as it says.
    pub async fn open(config: &config::Store) -> Result<Self, OpenError> {
        let engine = Engines::open(config).await?;
        match sealer(config, &engine).await {
            Ok(sealer) => Ok(Self::new(engine, sealer)),
            Err(error) => {
                engine.close().await;
                Err(error)
            }
        }
    }

    /// Opens a store that is there, to seal it anew under another key.
    async fn open_to_reseal(config: &config::Store, next: &Next) -> Result<Self, OpenError> {
        let engine = Engines::open_existing(config).await?;
        match sealer_for(config, next) {
            Ok(sealer) => Ok(Self::new(engine, sealer)),
            Err(error) => {
                engine.close().await;
                Err(error)
            }
        }
    }

    /// Joins an engine and what seals for it.
    #[must_use]
    pub fn new(engine: Engines, sealer: Sealer) -> Self {
        Self { engine, sealer: Arc::new(sealer) }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn read(&self) -> Result<State, Unavailable> {
        match &self.engine {
            Engines::Embedded(engine) => {
                // Record by record: all of them at once would be several times what is kept of them.
                let sealer = Arc::clone(&self.sealer);
                let take = move |state: &mut State, record: &Record| state.take(record, &sealer);
                let (state, revision) = engine.fold(State::default(), take).await?;
                Ok(state.read_at(revision))
            }
            #[cfg(feature = "etcd")]
            Engines::Etcd(engine) => Ok(State::from_records(&Box::pin(engine.read_all()).await?, &self.sealer)),
        }
    }

    /// Tells every commit after the revision of a [`State`]; [`Store::follow`] applies what it tells.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn watch(&self, from: Revision) -> Result<Watch, Unavailable> {
        self.engine.watch(from).await
    }

    /// Brings a state up to a commit that a watch told.
    pub fn follow(&self, state: &mut State, update: &engine::Update) {
        state.apply(update, &self.sealer);
    }

    /// What every gateway that shares this store can put beside a text, and knows again; nobody else can.
    #[must_use]
    pub fn mark(&self, purpose: &str, text: &[u8]) -> seal::Mark {
        self.sealer.mark(purpose, text)
    }

    /// Whether a gateway that shares this store put this mark beside this text.
    #[must_use]
    pub fn knows_mark(&self, purpose: &str, text: &[u8], mark: &[u8]) -> bool {
        self.sealer.knows_mark(purpose, text, mark)
    }

    /// Waits for what is under way and closes.
    pub async fn close(self) {
        self.engine.close().await;
    }
}

/// The sealer of a gateway. Makes the master key where the configuration names none and the store is empty.
async fn sealer(config: &config::Store, engine: &Engines) -> Result<Sealer, OpenError> {
    if engine.read(backup::MARKER).await?.is_some() {
        return Err(OpenError::HalfImported);
    }
    // The store's file is open by now, so no other process makes a key at the same time.
    let path = config.directory.join(master_key::FILE);
    if config.master_key.is_none()
        && config.etcd.is_none()
        && master_key::read_own(&path)?.is_none()
        && engine.read_all().await?.records.is_empty()
    {
        master_key::create_own(&path)?;
    }
    sealer_at_hand(config)
}

/// Seals under the master key that is there, and opens under all that are.
fn sealer_at_hand(config: &config::Store) -> Result<Sealer, OpenError> {
    let (current, previous) = master_keys(config)?;
    Ok(Sealer::new(current, previous))
}

/// Seals under the next key, and opens under all that are there.
fn sealer_for(config: &config::Store, next: &Next) -> Result<Sealer, OpenError> {
    let (current, mut previous) = master_keys(config)?;
    let next = match next {
        Next::Configured => return Ok(Sealer::new(current, previous)),
        Next::Given(reference) => master_key::read(reference)?,
        Next::Own => master_key::next_own(&config.directory)?,
    };
    previous.push(current);
    Ok(Sealer::new(master(&next)?, previous))
}

/// The master key, and all others that are at hand.
fn master_keys(config: &config::Store) -> Result<(MasterKey, Vec<MasterKey>), OpenError> {
    let mut previous = Vec::new();
    for reference in &config.previous_master_keys {
        previous.push(master(&master_key::read(reference)?)?);
    }
    let current = match &config.master_key {
        Some(reference) => master_key::read(reference)?,
        None if config.etcd.is_some() => return Err(OpenError::MasterKeyNotShared),
        None => {
            // Something may be sealed under it already.
            if let Some(next) = master_key::read_own(&config.directory.join(master_key::NEXT))? {
                previous.push(master(&next)?);
            }
            let path = config.directory.join(master_key::FILE);
            master_key::read_own(&path)?.ok_or(OpenError::MasterKeyLost { path })?
        }
    };
    Ok((master(&current)?, previous))
}

fn master(bytes: &master_key::Bytes) -> Result<MasterKey, OpenError> {
    MasterKey::new(bytes).map_err(OpenError::Seal)
}

impl Engines {
    async fn open(config: &config::Store) -> Result<Self, OpenError> {
        match &config.etcd {
            None => Ok(Self::Embedded(Embedded::open(&config.directory).await?)),
            #[cfg(feature = "etcd")]
            Some(etcd) => {
                let connected = Box::pin(Etcd::connect(&etcd::Settings::read(etcd)?)).await;
                let failed = |source| OpenError::Etcd { endpoints: etcd.endpoints.clone(), source };
                Ok(Self::Etcd(connected.map_err(failed)?))
            }
            #[cfg(not(feature = "etcd"))]
            Some(_) => Err(OpenError::NoEtcd),
        }
    }

    /// Opens a store without making one.
    async fn open_existing(config: &config::Store) -> Result<Self, OpenError> {
        if config.etcd.is_none() && !config.directory.join(embedded::FILE).exists() {
            return Err(OpenError::NoStore { path: config.directory.clone() });
        }
        Self::open(config).await
    }

    /// Whether other gateways may have it open.
    const fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => true,
        }
    }

    async fn close(self) {
        match self {
            Self::Embedded(engine) => engine.close().await,
            // Its connections end with it; what was answered is safe on the other side.
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => {}
        }
    }
}

/// The futures of etcd's client are boxed: they are kilobytes, and would be part of every future that asks the store.
impl Engine for Engines {
    async fn read_all(&self) -> Result<Contents, Unavailable> {
        match self {
            Self::Embedded(engine) => engine.read_all().await,
            #[cfg(feature = "etcd")]
            Self::Etcd(engine) => Box::pin(engine.read_all()).await,
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Record>, Unavailable> {
        match self {
            Self::Embedded(engine) => engine.read(key).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(engine) => Box::pin(engine.read(key)).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        match self {
            Self::Embedded(engine) => engine.commit(batch).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(engine) => Box::pin(engine.commit(batch)).await,
        }
    }

    async fn watch(&self, from: Revision) -> Result<Watch, Unavailable> {
        match self {
            Self::Embedded(engine) => engine.watch(from).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(engine) => Box::pin(engine.watch(from)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;

    use super::testing::{self, TestStore};
    use super::{OpenError, Store, embedded, master_key};
    use crate::config::{self, SecretRef, SigningAlgorithm};
    use crate::model::name::Name;
    use crate::model::time::UnixSeconds;
    use crate::store::change::ChangeError;
    use crate::store::record_key::Owner;
    use crate::store::state::Held;

    const NOW: UnixSeconds = UnixSeconds(1);

    fn iris() -> Owner {
        Owner::Service(Name::parse("iris").unwrap())
    }

    #[tokio::test]
    async fn a_lost_master_key_is_not_replaced_once_something_was_sealed_under_it() {
        let directory = testing::directory();
        let path = directory.path().join(master_key::FILE);
        let config = testing::settings(directory.path());
        Store::open(&config).await.unwrap().close().await;
        fs::remove_file(&path).unwrap();
        let store = Store::open(&config).await.expect("an empty store holds nothing to lose");
        store.ensure(&iris(), NOW).await.unwrap();
        let keys = store.list(&iris()).await.unwrap();
        store.close().await;

        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = Store::open(&config).await.unwrap_err();
        assert!(matches!(&refused, OpenError::MasterKeyLost { path: named } if *named == path), "{refused}");
        assert!(!path.exists());
        fs::write(&path, kept).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let store = Store::open(&config).await.unwrap();
        assert!(store.list(&iris()).await.unwrap() == keys);
    }

    #[tokio::test]
    async fn under_another_master_key_doors_still_open_and_nothing_is_shown() {
        let directory = testing::directory();
        let open = async |from| {
            let config = config::Store { master_key: from, ..testing::settings(directory.path()) };
            Store::open(&config).await.unwrap()
        };
        let store = open(None).await;
        store.ensure(&iris(), NOW).await.unwrap();
        store.ensure_signing_key(SigningAlgorithm::Es256, NOW).await.unwrap();
        store.close().await;
        let other = directory.path().join("other.key");
        master_key::create_own(&other).unwrap();

        let store = open(Some(SecretRef::File(other))).await;
        let state = store.read().await.unwrap();
        assert!(matches!(state.slots(&iris()), Held::Keys(_)));
        assert!(state.signer().is_none());
        assert_eq!(state.quarantined.len(), 1, "the signing key");
        let refused = store.list(&iris()).await.unwrap_err();
        assert!(matches!(refused, ChangeError::Unreadable { .. }), "{refused}");
    }

    #[tokio::test]
    async fn no_secret_lies_in_the_file_in_the_clear() {
        let store = TestStore::open().await;
        store.ensure(&iris(), NOW).await.unwrap();
        store.ensure_signing_key(SigningAlgorithm::Es256, NOW).await.unwrap();
        let keys = store.list(&iris()).await.unwrap();
        let signer = store.read().await.unwrap().signer().unwrap().clone();
        let file = fs::read(store.directory.path().join(embedded::FILE)).unwrap();
        let base64 = base64::engine::general_purpose::STANDARD.encode(signer.pkcs8.expose());
        for secret in [
            keys.primary.expose().as_bytes(),
            keys.secondary.expose().as_bytes(),
            signer.pkcs8.expose(),
            // Past the header, which every key pair shares with every other.
            &base64.as_bytes()[48..96],
        ] {
            assert!(!file.windows(secret.len()).any(|window| window == secret));
        }
        assert!(file.windows(18).any(|window| window == b"slots/service/iris"), "records are found this way");
    }
}
