//! The whole gateway: its control runtime, from the first configuration to the last connection.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use crate::config;
use crate::config::Address;
use crate::config::Config;
use crate::config::SigningAlgorithm;
use crate::health::Health;
use crate::manage::Management;
use crate::manage::Observed;
use crate::manage::Traffic;
use crate::model::time::UnixSeconds;
use crate::observe::access_log::AccessLogWriter;
use crate::observe::access_log::LastLines;
use crate::observe::audit::Audit;
use crate::observe::audit::AuditError;
use crate::observe::audit::AuditWriter;
use crate::observe::decisions::Decisions;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::ReloadStage;
use crate::observe::record::Observer;
use crate::pipeline::Gateway;
use crate::pipeline::Shared;
use crate::pipeline::issuer_keys::KeyRequests;
use crate::pipeline::issuer_keys::KeysWanted;
use crate::pipeline::issuer_keys::Standing;
use crate::pipeline::since_epoch;
use crate::reload::Cause;
use crate::reload::ReloadError;
use crate::reload::Reloader;
use crate::reload::audited;
use crate::reload::issuers::Issuers;
use crate::reload::issuers::NewKeys;
use crate::reload::read::watched_files;
use crate::reload::read_config;
use crate::reload::watch::FileWatch;
use crate::server::activation::ActivationError;
use crate::server::activation::Inherited;
use crate::server::checks::Checks;
use crate::server::fleet;
use crate::server::fleet::Fleet;
use crate::server::housekeeping;
use crate::server::planes;
use crate::server::planes::Plane;
use crate::server::planes::Planes;
use crate::server::service_manager::ServiceManager;
use crate::server::socket::BindError;
#[cfg(feature = "otel")]
use crate::server::span_export::SpanExport;
use crate::server::store_feed::News;
use crate::server::store_feed::StoreFeed;
use crate::snapshot::Snapshot;
use crate::store::OpenError;
use crate::store::Store;
use crate::store::change::ChangeError;
use crate::store::engine::Unavailable;
use crate::store::engine::Watch;
use crate::store::state::State;

/// Pause after a file's event, so that a change of several files is taken as one.
const SETTLE: Duration = Duration::from_millis(50);

/// Requests that may wait for an issuer's keys at once.
const KEY_REQUESTS: usize = 1024;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, or what it refers to.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The store.
    #[error("the store could not be opened")]
    Store(#[from] OpenError),
    /// The audit log, where what is not on record is not to be done.
    #[error("the audit log could not be opened")]
    Audit(#[from] AuditError),
    /// The store was opened and could not be read.
    #[error("the store could not be read")]
    StoreUnread(#[source] Unavailable),
    /// The store has no signing key and could not be given one.
    #[error("the store could not be given a signing key")]
    SigningKey(#[source] ChangeError),
    /// Sockets that were passed.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// A gateway that is listening.
#[derive(Debug)]
pub struct Process {
    reloader: Reloader,
    store: Arc<Store>,
    store_feed: StoreFeed,
    fleet: Fleet,
    planes: Planes,
    issuers: Issuers,
    checks: Checks,
    files: FileWatch,
    wake_ups: WakeUps,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    inherited: Inherited,
    service_manager: Arc<ServiceManager>,
    access_log: AccessLogWriter,
    #[cfg(feature = "otel")]
    span_export: SpanExport,
    audit: Audit,
    /// `None` where no audit log is kept.
    audit_writer: Option<AuditWriter>,
    path: PathBuf,
}

/// Everything that can wake the control runtime.
#[derive(Debug)]
struct WakeUps {
    causes: mpsc::Receiver<Cause>,
    keys_wanted: mpsc::Receiver<KeysWanted>,
    new_keys: mpsc::Receiver<NewKeys>,
    /// SIGHUP, which ends a process that does not listen for it.
    hangup: Option<Signal>,
}

/// What comes by itself.
#[derive(Debug)]
struct Clocks {
    /// Finds what a watch missed.
    poll: Interval,
    /// The first turn is at once: a gateway may be restarted more often than it is due.
    housekeeping: Interval,
}

impl Clocks {
    fn start(poll: Duration) -> Self {
        let mut clocks =
            Self { poll: tokio::time::interval(poll), housekeeping: tokio::time::interval(housekeeping::EVERY) };
        for clock in [&mut clocks.poll, &mut clocks.housekeeping] {
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        clocks.poll.reset();
        clocks
    }
}

impl Process {
    /// Reads the configuration, opens the store, compiles, listens. Runs on a `LocalRuntime`.
    ///
    /// Nothing is accepted before the first snapshot is in force.
    ///
    /// # Errors
    /// [`StartError`]; whatever had been opened is closed again.
    pub async fn start(path: PathBuf) -> Result<Self, StartError> {
        let hangup =
            signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")).ok();
        let inherited = Inherited::from_environment()?;
        let config = read_config(&path)?;
        inherited.check(&config.listeners)?;
        let metrics = Arc::new(Metrics::new());
        crate::observe::logs::count_panics(Arc::clone(&metrics));
        let store = Arc::new(Store::open(&config.store).await?);
        let (audit, audit_writer) = open_audit(&config.audit, &metrics)?;
        let (state, store_watch) = read_store(&store, config.tokens.algorithm).await?;
        let (reloader, live) =
            Reloader::start(path.clone(), config, Arc::clone(&store), state, Arc::clone(&metrics)).await?;
        let config = Arc::clone(reloader.config());

        let shared = Shared { workers: u16::try_from(worker_count(&config)).unwrap_or(u16::MAX), ..Shared::default() };
        let draining = Arc::clone(&shared.draining);
        let standing = Standing::default();
        let (cause, causes) = mpsc::channel(1);
        let decisions = Arc::new(Decisions::default());
        let (key_request, keys_wanted) = mpsc::channel(KEY_REQUESTS);
        let (new_keys_sender, new_keys) = mpsc::channel(16);
        let log =
            AccessLogWriter::start(Box::new(std::io::stdout()), Arc::clone(&metrics)).map_err(StartError::Thread)?;
        #[cfg(feature = "otel")]
        let (span_export, span_source) = SpanExport::start(Arc::clone(&metrics));
        let worker = |index: usize| {
            #[cfg(feature = "otel")]
            let spans = span_source.spans();
            let (reader, metrics, log) = (live.reader(), Arc::clone(&metrics), log.log());
            let requests = KeyRequests::new(key_request.clone(), Arc::clone(&standing));
            let (audit, shared, which) = (audit.clone(), shared.clone(), config.access_log);
            let recent = decisions.of_worker();
            move || {
                let observer = Observer::new(metrics, log, recent, which, Instant::now(), since_epoch());
                #[cfg(feature = "otel")]
                observer.export_to(spans);
                Gateway::new(reader, observer, requests, audit, shared, seed(index))
            }
        };
        let fleet = Fleet::start((0..worker_count(&config)).map(worker)).map_err(StartError::Thread)?;
        let health = Health::new(Arc::clone(&metrics), Arc::clone(&draining));
        let requests = KeyRequests::new(key_request, Arc::clone(&standing));
        let observed = Observed {
            config: path.clone(),
            decisions,
            metrics: Arc::clone(&metrics),
            status: Arc::clone(reloader.status()),
        };
        let management =
            Management::new(live.clone(), Arc::clone(&store), requests, audit.clone(), observed, UnixSeconds::now());
        let store_feed = StoreFeed::start(Arc::clone(&store), store_watch, Arc::clone(&metrics));
        let mut process = Self {
            planes: Planes::new(live.clone(), Arc::clone(&metrics), health.clone(), management),
            issuers: Issuers::new(new_keys_sender, standing),
            checks: Checks::default(),
            files: FileWatch::start(cause),
            wake_ups: WakeUps { causes, keys_wanted, new_keys, hangup },
            reloader,
            store,
            store_feed,
            fleet,
            metrics,
            draining,
            inherited,
            service_manager: Arc::new(ServiceManager::from_environment()),
            access_log: log,
            #[cfg(feature = "otel")]
            span_export,
            audit,
            audit_writer,
            path,
        };
        let prepared = process.prepare(&config)?;
        process.adopt(prepared, &config);
        process.audit.tell(|| audited::published(Cause::Start, process.snapshot().generation));
        health.started();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = worker_count(&config), "the gateway has started");
        process.service_manager.ready(&process.status(Outcome::InForce));
        Ok(process)
    }

    /// The store, for whoever shares the process.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        self.reloader.config()
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reloader.snapshot()
    }

    /// Where everything listens, ports 0 resolved.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let traffic = self.reloader.config().listeners.traffic.iter();
        Addresses {
            traffic: traffic.filter_map(|listener| self.fleet.address(&listener.name)).cloned().collect(),
            management: self.planes.address(Plane::Management).cloned(),
            health: self.planes.address(Plane::Health).cloned(),
        }
    }

    /// Serves until `stop` ends, then drains. Changes come into force until the last connection has ended: a key that
    /// is revoked during a drain is refused like any other.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut clocks = Clocks::start(self.reloader.config().reload.poll);
        let watchdog = Arc::clone(&self.service_manager);
        drop(tokio::task::spawn_local(watchdog.keep_watchdog(self.fleet.roll_call(), Arc::clone(&self.draining))));
        self.follow_changes(stop, &mut clocks).await;

        let shutdown = self.reloader.config().shutdown;
        self.draining.store(true, Ordering::Relaxed);
        self.metrics.gateway.drain_began();
        self.service_manager.stopping();
        tracing::info!(delay = ?shutdown.delay, deadline = ?shutdown.deadline, "draining");
        self.follow_changes(tokio::time::sleep(shutdown.delay), &mut clocks).await;
        let drained = self.fleet.drain(shutdown.deadline);
        self.follow_changes(drained, &mut clocks).await;
        // The workers' ends of the access log have gone with them.
        drop(self.planes);
        if let LastLines::Abandoned = self.access_log.finish(Duration::from_secs(1)) {
            tracing::warn!("the last lines of the access log could not be written");
        }
        #[cfg(feature = "otel")]
        self.span_export.finish(Duration::from_secs(2)).await;
        if let Some(writer) = self.audit_writer {
            writer.finish(Duration::from_secs(2));
        }
        tracing::info!("the gateway has stopped");
    }

    /// Brings changes into force as they come, until `end` ends.
    async fn follow_changes(&mut self, end: impl Future<Output = ()>, clocks: &mut Clocks) {
        let mut end = std::pin::pin!(end);
        loop {
            let cause = tokio::select! {
                () = &mut end => return,
                Some(cause) = self.wake_ups.causes.recv() => {
                    // A change of several files comes as several events; the last of them finds all in place.
                    tokio::time::sleep(SETTLE).await;
                    while self.wake_ups.causes.try_recv().is_ok() {}
                    cause
                }
                Some(()) = heard(&mut self.wake_ups.hangup) => Cause::Hangup,
                _ = clocks.poll.tick() => Cause::FileChanged,
                _ = clocks.housekeeping.tick() => {
                    self.keep_house();
                    continue;
                }
                news = self.store_feed.next() => match self.learn(news) {
                    Some(cause) => cause,
                    None => continue,
                },
                Some(wanted) = self.wake_ups.keys_wanted.recv() => {
                    self.issuers.fetch(wanted);
                    continue;
                }
                Some(NewKeys { issuer, loaded, in_force }) = self.wake_ups.new_keys.recv() => {
                    self.reloader.fetched.insert(issuer, loaded);
                    self.tell_change(Cause::IssuerKeys).await;
                    let _gave_up = in_force.send(());
                    continue;
                }
            };
            tokio::select! {
                biased;
                () = self.tell_change(cause) => {}
                // It waits for a store that does not answer. Whoever leaves does not.
                () = &mut end => return clocks.poll.reset_immediately(),
            }
        }
    }

    /// On a task of its own: no change waits for a store that answers late.
    fn keep_house(&self) {
        let (store, state, snapshot) = (Arc::clone(&self.store), self.reloader.state.clone(), self.reloader.snapshot());
        let kept = async move { housekeeping::keep(&store, &state, &snapshot, UnixSeconds::now()).await };
        drop(tokio::task::spawn_local(kept));
    }

    async fn tell_change(&mut self, cause: Cause) {
        if cause == Cause::Hangup {
            self.service_manager.reloading();
        }
        let outcome = self.change(cause).await;
        self.service_manager.ready(&self.status(outcome));
    }

    /// A line for whoever asks the service manager.
    fn status(&self, outcome: Outcome) -> String {
        let (snapshot, services) = (self.snapshot(), self.reloader.config().services.len());
        let refused = match outcome {
            Outcome::InForce => "",
            Outcome::Refused => "; the last change was refused, the log says why",
        };
        format!("serving {services} services, generation {}{refused}", snapshot.generation)
    }

    /// One change, from its wake-up to being in force. An error at any point leaves everything as it was.
    async fn change(&mut self, cause: Cause) -> Outcome {
        let candidate = match self.reloader.prepare(cause).await {
            Ok(Some(candidate)) => candidate,
            Ok(None) => return Outcome::InForce,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                self.audit.tell(|| audited::failed(cause, error.stage()));
                tracing::error!(%error, source, ?cause, "the change was refused; what runs goes on");
                return Outcome::Refused;
            }
        };
        let config = Arc::clone(&candidate.config);
        match self.prepare(&config) {
            Ok(prepared) => {
                self.reloader.publish(candidate);
                self.adopt(prepared, &config);
                // Never held up by the audit log: it may have taken a key away.
                self.audit.tell(|| audited::published(cause, self.snapshot().generation));
                Outcome::InForce
            }
            Err(error) => {
                self.audit.tell(|| audited::failed(cause, ReloadStage::Listen));
                self.reloader.give_up(&candidate, &error);
                tracing::error!(%error, ?cause, "the change was refused; what runs goes on");
                Outcome::Refused
            }
        }
    }

    fn prepare(&self, config: &Config) -> Result<Prepared, BindError> {
        Ok(Prepared {
            traffic: self.fleet.prepare(&config.listeners.traffic, &self.inherited)?,
            planes: self.planes.prepare(&config.listeners, &self.inherited)?,
        })
    }

    fn adopt(&mut self, prepared: Prepared, config: &Config) {
        self.fleet.adopt(prepared.traffic);
        self.planes.adopt(prepared.planes);
        self.planes.traffic_at(self.traffic(config));
        self.issuers.follow(config, &self.metrics);
        self.checks.follow(&self.snapshot());
        #[cfg(feature = "otel")]
        self.span_export.follow(config);
        let mut files = watched_files(config);
        files.insert(self.path.clone());
        self.files.watch(&files);
    }

    /// The first TCP listener of the traffic plane where services are reached.
    fn traffic(&self, config: &Config) -> Option<Traffic> {
        let mut reached = config.listeners.traffic.iter().filter(|listener| listener.forward_auth.is_none());
        reached.find_map(|listener| match self.fleet.address(&listener.name)? {
            Address::Tcp(address) => Some(Traffic { address: *address, is_tls: listener.tls.is_some() }),
            Address::Unix(_) => None,
        })
    }

    /// Takes in what the store told.
    fn learn(&mut self, news: News) -> Option<Cause> {
        match news {
            News::Changed(update) => {
                if update.revision > self.reloader.state.revision {
                    self.store.follow(&mut self.reloader.state, &update);
                }
                // It may have been read already by a change that was refused for another reason.
                let behind = self.reloader.snapshot().store_revision < update.revision;
                behind.then_some(Cause::StoreChanged)
            }
            News::ReadAgain(state) => {
                self.reloader.state = *state;
                Some(Cause::StoreChanged)
            }
        }
    }
}

/// What the store holds, a key to sign with in any case, and what tells of its changes from there on.
async fn read_store(store: &Store, algorithm: SigningAlgorithm) -> Result<(State, Watch), StartError> {
    store.ensure_signing_key(algorithm, UnixSeconds::now()).await.map_err(StartError::SigningKey)?;
    let state = store.read().await.map_err(StartError::StoreUnread)?;
    let watch = store.watch(state.revision).await.map_err(StartError::StoreUnread)?;
    Ok((state, watch))
}

/// Where a gateway listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The traffic plane, in the order of the configuration.
    pub traffic: Vec<Address>,
    /// The management plane.
    pub management: Option<Address>,
    /// The health plane.
    pub health: Option<Address>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    InForce,
    Refused,
}

/// Sockets of a change that are open and not used yet.
struct Prepared {
    traffic: fleet::Prepared,
    planes: planes::Prepared,
}

async fn heard(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

fn open_audit(config: &config::Audit, metrics: &Arc<Metrics>) -> Result<(Audit, Option<AuditWriter>), AuditError> {
    match config {
        config::Audit::Off => Ok((Audit::off(), None)),
        config::Audit::On(log) => {
            AuditWriter::start(log, Arc::clone(metrics)).map(|(audit, writer)| (audit, Some(writer)))
        }
    }
}

fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    config.workers.unwrap_or_else(cores).get()
}

/// Differs from worker to worker and from start to start.
fn seed(index: usize) -> u64 {
    u64::from(since_epoch().subsec_nanos()) << 16 ^ index as u64
}
