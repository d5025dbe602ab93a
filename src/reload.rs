//! A change, from its wake-up to a snapshot in force: read, parse, check, load, compile, publish.
//!
//! Any error keeps the snapshot that runs. The listeners of a change are opened between [`Reloader::prepare`] and
//! [`Reloader::publish`], by whoever owns them, so that a port in use gives the change up as well.

pub mod audited;
pub mod fetch;
pub mod issuers;
pub mod management_key;
pub mod read;
pub mod secret;
pub mod status;
pub mod watch;

use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config;
use crate::config::Config;
use crate::config::Slots;
use crate::model::name::Name;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::ReloadStage;
use crate::observe::metrics::ReloadTrigger;
use crate::reload::read::Fetched;
use crate::reload::secret::BadSecret;
use crate::reload::secret::read_file;
use crate::reload::status::Status;
use crate::snapshot::Snapshot;
use crate::snapshot::compile;
use crate::snapshot::compile::CompileError;
use crate::snapshot::compile::Compiled;
use crate::snapshot::compile::Sources;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::live;
use crate::snapshot::live::Live;
use crate::snapshot::live::Publisher;
use crate::snapshot::modes;
use crate::store::Store;
use crate::store::change::ChangeError;
use crate::store::record_key::Owner;
use crate::store::state::Held;
use crate::store::state::State;

/// What woke the reloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The process begins.
    Start,
    /// A file has changed, or may have.
    FileChanged,
    /// SIGHUP.
    Hangup,
    /// The store has changed.
    StoreChanged,
    /// An issuer's keys were fetched.
    IssuerKeys,
}

impl Cause {
    /// The word for it in metrics and the audit log.
    #[must_use]
    pub const fn trigger(self) -> ReloadTrigger {
        match self {
            Self::Start => ReloadTrigger::Start,
            Self::FileChanged => ReloadTrigger::File,
            Self::Hangup => ReloadTrigger::Signal,
            Self::StoreChanged => ReloadTrigger::Store,
            Self::IssuerKeys => ReloadTrigger::Issuer,
        }
    }
}

/// Why a change did not come into force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration could not be read.
    #[error("the configuration could not be read")]
    Unreadable(#[source] BadSecret),
    /// The configuration is not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// The configuration says things that cannot be.
    #[error("{} has {} problem(s):{}", path.display(), problems.len(), listed(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        problems: Vec<config::Problem>,
    },
    /// Something that the configuration refers to cannot be used. Fatal at start only.
    #[error("not everything could be loaded:{}", lines(.0))]
    Unloadable(Vec<String>),
    /// The store would not give or keep a key.
    #[error("the store could not be asked for {owner}")]
    Store {
        /// For whom.
        owner: String,
        /// What it said.
        source: ChangeError,
    },
    /// The management key of a gateway that is given none could not be made.
    #[error("the management key {} could not be made", path.display())]
    ManagementKey {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no snapshot to be made.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

fn listed(path: &Path, problems: &[config::Problem]) -> String {
    problems.iter().map(|problem| format!("\n{}:{problem}", path.display())).collect()
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n{problem}")).collect()
}

impl ReloadError {
    /// The stage that failed.
    #[must_use]
    pub const fn stage(&self) -> ReloadStage {
        match self {
            Self::Unreadable(_) => ReloadStage::Read,
            Self::NotText(_) => ReloadStage::Parse,
            Self::Invalid { .. } => ReloadStage::Check,
            Self::Unloadable(_) | Self::Store { .. } | Self::ManagementKey { .. } | Self::Compile(_) => {
                ReloadStage::Compile
            }
        }
    }
}

/// A change that could come into force.
#[derive(Debug)]
pub struct Candidate {
    /// What was written, with the modes that the store says.
    pub config: Arc<Config>,
    written: Arc<Config>,
    inputs: Arc<Inputs>,
    snapshot: Snapshot,
    cause: Cause,
    /// What of it does not work, one line each.
    problems: Vec<String>,
}

/// Makes changes, one after the other. Owns the only way to publish.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    /// What the store held when it was last looked at.
    pub state: State,
    /// Key sets that were fetched from foreign issuers.
    pub fetched: Fetched,
    /// As the file says it.
    written: Arc<Config>,
    /// With the modes that the store says.
    config: Arc<Config>,
    inputs: Arc<Inputs>,
    publisher: Publisher,
    /// Snapshots that were in force. Whoever lets go of one last has to take it down, which takes long where it is
    /// large, and must be nobody who serves.
    replaced: Vec<Arc<Snapshot>>,
    problems: Vec<String>,
    /// Modes in the store that count for nothing, as they were logged last.
    ignored: Vec<String>,
    status: Arc<Status>,
}

impl Reloader {
    /// Reads and compiles for the first time.
    ///
    /// # Errors
    /// Any [`ReloadError`]; at start all of them are fatal. An issuer that was not fetched yet is none.
    pub async fn start(
        path: PathBuf,
        config: Config,
        store: Arc<Store>,
        state: State,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Live), ReloadError> {
        let mut state = state;
        ensure_keys(&config, &store, &mut state).await?;
        ensure_management_key(&config)?;
        let written = Arc::new(config);
        let config = modes::in_force(&written, &state);
        let (inputs, problems) = read::read(&config, &Inputs::default(), &Fetched::default());
        let Compiled { snapshot, problems: unusable } = compile::compile(Sources {
            config: &config,
            inputs: &inputs,
            state: &state,
            previous: None,
            metrics: &metrics,
            now: UnixSeconds::now(),
        })?;
        let mut fatal: Vec<String> = problems.iter().map(ToString::to_string).collect();
        fatal.extend(unusable);
        if !fatal.is_empty() {
            return Err(ReloadError::Unloadable(fatal));
        }
        metrics.gateway.reload_published(ReloadTrigger::Start, snapshot.generation, UnixSeconds::now());
        let (live, publisher) = live::publish_first(Arc::new(snapshot));
        let mut reloader = Self {
            path,
            store,
            metrics,
            state,
            fetched: Fetched::default(),
            written,
            config,
            inputs: Arc::new(inputs),
            publisher,
            replaced: Vec::new(),
            problems: Vec::new(),
            ignored: Vec::new(),
            status: Arc::default(),
        };
        reloader.status.published(UnixSeconds::now());
        reloader.tell_ignored();
        Ok((reloader, live))
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.current()
    }

    /// What of the configuration in force does not work, one line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How the last change went.
    #[must_use]
    pub const fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Makes what could come into force; `None` when nothing has changed.
    ///
    /// # Errors
    /// Any [`ReloadError`] but [`ReloadError::Unloadable`]: it is counted, and what runs goes on.
    pub async fn prepare(&mut self, cause: Cause) -> Result<Option<Candidate>, ReloadError> {
        self.take_down_replaced();
        let prepared = self.try_prepare(cause).await;
        match &prepared {
            Ok(Some(_)) => {}
            // Nothing changed because what changed could not be loaded: somebody has to look.
            Ok(None) if !self.problems.is_empty() => {
                self.status.unchanged();
                self.metrics.gateway.reload_failed(cause.trigger(), ReloadStage::Read);
            }
            Ok(None) => {
                self.status.unchanged();
                self.metrics.gateway.reload_unchanged(cause.trigger(), UnixSeconds::now());
            }
            Err(error) => {
                self.status.refused(error, UnixSeconds::now());
                self.metrics.gateway.reload_failed(cause.trigger(), error.stage());
            }
        }
        prepared
    }

    async fn try_prepare(&mut self, cause: Cause) -> Result<Option<Candidate>, ReloadError> {
        if cause == Cause::StoreChanged
            && let Some(candidate) = self.prepare_rotation()?
        {
            return Ok(Some(candidate));
        }
        let written = match cause {
            Cause::StoreChanged | Cause::IssuerKeys => Arc::clone(&self.written),
            Cause::Start | Cause::FileChanged | Cause::Hangup => Arc::new(read_config(&self.path)?),
        };
        ensure_keys(&written, &self.store, &mut self.state).await?;
        ensure_management_key(&written)?;
        let config = modes::in_force(&written, &self.state);
        let (inputs, unread) = read::read(&config, &self.inputs, &self.fetched);
        let mut problems: Vec<String> = unread.iter().map(ToString::to_string).collect();
        let previous = self.publisher.current();
        let same_store = self.state.revision == previous.store_revision;
        let inputs = Arc::new(inputs);
        if written == self.written && inputs == self.inputs && same_store {
            self.tell(problems);
            return Ok(None);
        }
        let Compiled { snapshot, problems: unusable } = compile::compile(Sources {
            config: &config,
            inputs: &inputs,
            state: &self.state,
            previous: Some(&previous),
            metrics: &self.metrics,
            now: UnixSeconds::now(),
        })?;
        problems.extend(unusable);
        Ok(Some(Candidate { config, written, inputs, snapshot, cause, problems }))
    }

    /// What could come into force where keys in the store, or revocations, are all that has changed, at the cost of
    /// those; `None` where it is more, or what is in force lacks something that might be had by now.
    fn prepare_rotation(&self) -> Result<Option<Candidate>, ReloadError> {
        let previous = self.publisher.current();
        let Some(owners) = self.state.rotated_after(previous.store_revision) else { return Ok(None) };
        if !self.problems.is_empty() || self.state.revision == previous.store_revision {
            return Ok(None);
        }
        let compiled = compile::rotated(
            Sources {
                config: &self.config,
                inputs: &self.inputs,
                state: &self.state,
                previous: Some(&previous),
                metrics: &self.metrics,
                now: UnixSeconds::now(),
            },
            &owners,
        )?;
        Ok(compiled.map(|Compiled { snapshot, problems }| Candidate {
            config: Arc::clone(&self.config),
            written: Arc::clone(&self.written),
            inputs: Arc::clone(&self.inputs),
            snapshot,
            cause: Cause::StoreChanged,
            problems,
        }))
    }

    /// Puts a change in force. Requests that are under way go on with the snapshot that they began with.
    pub fn publish(&mut self, candidate: Candidate) {
        let Candidate { config, written, inputs, snapshot, cause, problems } = candidate;
        let generation = snapshot.generation;
        let snapshot = Arc::new(snapshot);
        self.replaced.push(self.publisher.publish(Arc::clone(&snapshot)));
        if !Arc::ptr_eq(&config, &self.config) {
            self.metrics.forget_services(&names(config.services.keys()));
            self.metrics.forget_upstreams(&names(config.upstreams.keys()));
            self.metrics.forget_issuers(&names(config.issuers.keys()));
            for target in snapshot.targets() {
                target.forget_endpoints();
            }
        }
        self.metrics.gateway.reload_published(cause.trigger(), generation, UnixSeconds::now());
        self.status.published(UnixSeconds::now());
        tracing::info!(generation, ?cause, services = config.services.len(), "a new generation is in force");
        (self.written, self.config, self.inputs) = (written, config, inputs);
        self.tell(problems);
        self.tell_ignored();
        self.say_whether_complete();
    }

    fn take_down_replaced(&mut self) {
        self.replaced.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// A generation that lacks something is in force all the same; the gauge that alerts look at says so.
    fn say_whether_complete(&self) {
        if !self.problems.is_empty() {
            self.metrics.gateway.reload_incomplete();
        }
    }

    /// A change was given up after it was prepared.
    pub fn give_up(&self, candidate: &Candidate, why: &dyn std::error::Error) {
        self.status.refused(why, UnixSeconds::now());
        self.metrics.gateway.reload_failed(candidate.cause.trigger(), ReloadStage::Listen);
    }

    /// Logs problems when they are others than before: a poll finds the same ones every time.
    fn tell(&mut self, problems: Vec<String>) {
        if problems != self.problems {
            problems.iter().for_each(|problem| tracing::warn!(problem, "not everything could be loaded"));
            self.status.problems(&problems);
            self.problems = problems;
        }
    }

    /// Logs which modes of the store count for nothing, when they are others than before. Nothing is missing for it, so
    /// it is no problem of the generation.
    fn tell_ignored(&mut self) {
        let ignored = modes::ignored(&self.written, &self.state);
        if ignored != self.ignored {
            ignored.iter().for_each(|line| tracing::warn!(problem = line, "a choice in the store counts for nothing"));
            self.ignored = ignored;
        }
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ReloadError::Unreadable`], [`ReloadError::NotText`] or [`ReloadError::Invalid`].
pub fn read_config(path: &Path) -> Result<Config, ReloadError> {
    let bytes = read_file(path).map_err(ReloadError::Unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_bytes| ReloadError::NotText(path.to_owned()))?;
    Config::read(&text).map_err(|problems| ReloadError::Invalid { path: path.to_owned(), problems })
}

/// Slots that the store is to hold and does not hold yet get their first keys. A service whose mode may be changed has
/// them in either mode: no change of mode waits for keys, and a change back finds those from before.
async fn ensure_keys(config: &Config, store: &Store, state: &mut State) -> Result<(), ReloadError> {
    let of_services = config.services.values().filter_map(|service| {
        let key = service.key_auth()?;
        (key.slots == Some(Slots::Store)).then(|| Owner::Service(service.name.clone()))
    });
    let of_accounts = config.accounts.values().filter(|account| account.slots == Slots::Store);
    let owners = of_services.chain(of_accounts.map(|account| Owner::Account(account.name.clone())));
    let missing: Vec<Owner> = owners.filter(|owner| matches!(state.slots(owner), Held::Nothing)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for owner in missing {
        let refused = |source| ReloadError::Store { owner: owner.to_string(), source };
        store.ensure(&owner, UnixSeconds::now()).await.map_err(refused)?;
    }
    match store.read().await {
        Ok(now) => *state = now,
        // The watch tells it too, a moment later.
        Err(error) => tracing::warn!(%error, "the store could not be read again"),
    }
    Ok(())
}

fn ensure_management_key(config: &Config) -> Result<(), ReloadError> {
    management_key::ensure(config).map_err(|(path, source)| ReloadError::ManagementKey { path, source })
}

fn names<'n>(names: impl Iterator<Item = &'n Name>) -> HashSet<Name> {
    names.cloned().collect()
}
