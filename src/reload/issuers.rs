//! Keeping the key sets of foreign issuers fresh: one task an issuer, in the background.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Config;
use crate::config::FetchUrl;
use crate::config::Issuer;
use crate::config::IssuerKeys;
use crate::model::name::Name;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::IssuerMetrics;
use crate::observe::metrics::Metrics;
use crate::pipeline::issuer_keys::Fetched;
use crate::pipeline::issuer_keys::KeysWanted;
use crate::pipeline::issuer_keys::Standing;
use crate::reload::fetch;
use crate::snapshot::inputs::LoadedIssuer;
use crate::tokens::jwks::KeySet;

/// First pause after a fetch that failed; it doubles up to the issuer's refresh time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Waiters for one fetch; more are told that nobody can say now.
const MOST_WAITERS: usize = 1024;

/// A key set that has to come into force.
#[derive(Debug)]
pub struct NewKeys {
    /// Whose.
    pub issuer: Name,
    /// The set, and where it came from.
    pub loaded: LoadedIssuer,
    /// Told once it is in force.
    pub in_force: oneshot::Sender<()>,
}

/// The tasks, one for each issuer whose keys are fetched.
#[derive(Debug)]
pub struct Issuers {
    tasks: BTreeMap<Name, Task>,
    new_keys: mpsc::Sender<NewKeys>,
    standing: Standing,
}

/// A task, what it was started for, and where it hears of requests that wait.
#[derive(Debug)]
struct Task {
    issuer: Issuer,
    wishes: mpsc::Sender<oneshot::Sender<Fetched>>,
    handle: JoinHandle<()>,
}

impl Issuers {
    /// No issuer yet. New key sets go to `new_keys`.
    #[must_use]
    pub const fn new(new_keys: mpsc::Sender<NewKeys>, standing: Standing) -> Self {
        Self { tasks: BTreeMap::new(), new_keys, standing }
    }

    /// Looks after the issuers of this configuration, and no longer after others. One that has not changed goes on.
    pub fn follow(&mut self, config: &Config, metrics: &Metrics) {
        self.tasks.retain(|name, task| {
            let stays = config.issuers.get(name) == Some(&task.issuer);
            if !stays {
                task.handle.abort();
            }
            stays
        });
        for (name, issuer) in &config.issuers {
            let (IssuerKeys::Url(from) | IssuerKeys::Discovery(from)) = &issuer.keys else { continue };
            if self.tasks.contains_key(name) {
                continue;
            }
            let (wishes, inbox) = mpsc::channel(MOST_WAITERS);
            let keeper = Keeper {
                issuer: issuer.clone(),
                from: from.clone(),
                metrics: metrics.issuer(name),
                new_keys: self.new_keys.clone(),
                standing: Arc::clone(&self.standing),
                had: None,
            };
            let handle = tokio::task::spawn_local(keeper.run(inbox));
            self.tasks.insert(name.clone(), Task { issuer: issuer.clone(), wishes, handle });
        }
    }

    /// Passes a worker's wish on to the issuer's task.
    pub fn fetch(&self, wanted: KeysWanted) {
        let KeysWanted { issuer, done } = wanted;
        let unheard = match self.tasks.get(&issuer) {
            Some(task) => task.wishes.try_send(done).err().map(mpsc::error::TrySendError::into_inner),
            // Its keys are a file or a secret: what is in force is all there is.
            None => return tell(done, Fetched::Current),
        };
        if let Some(done) = unheard {
            tell(done, Fetched::Unavailable);
        }
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.handle.abort());
    }
}

/// One issuer's task.
struct Keeper {
    issuer: Issuer,
    from: FetchUrl,
    metrics: Arc<IssuerMetrics>,
    new_keys: mpsc::Sender<NewKeys>,
    standing: Standing,
    had: Option<Arc<KeySet>>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<oneshot::Sender<Fetched>>) {
        let mut pause = FIRST_PAUSE;
        let mut waiting = None;
        loop {
            let outcome = self.fetch().await;
            let fetched_at = Instant::now();
            self.standing.insert(self.issuer.name.clone(), (outcome, fetched_at + self.from.cooldown));
            let others = std::iter::from_fn(|| inbox.try_recv().ok());
            for waiter in waiting.take().into_iter().chain(others) {
                tell(waiter, outcome);
            }
            let next = match outcome {
                Fetched::Current => {
                    pause = FIRST_PAUSE;
                    self.from.refresh
                }
                Fetched::Unavailable => {
                    let now = pause;
                    pause = (pause * 2).min(self.from.refresh);
                    now
                }
            };
            match wait(&mut inbox, outcome, fetched_at + self.from.cooldown, fetched_at + next).await {
                Woken::Time => {}
                Woken::Wish(waiter) => waiting = Some(waiter),
                Woken::Gone => return,
            }
        }
    }

    async fn fetch(&mut self) -> Fetched {
        let keys = match fetch::key_set(&self.issuer).await {
            Ok(Some(keys)) => Arc::new(keys),
            Ok(None) => return Fetched::Current,
            Err(error) => {
                self.metrics.refresh_failed();
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(issuer = %self.issuer.name, %error, cause, "the issuer's keys could not be fetched");
                return Fetched::Unavailable;
            }
        };
        self.metrics.refreshed(keys.usable_keys(), UnixSeconds::now());
        if self.had.as_ref() == Some(&keys) {
            return Fetched::Current;
        }
        let (in_force, told) = oneshot::channel();
        let loaded = LoadedIssuer { from: self.issuer.keys.clone(), keys: Arc::clone(&keys) };
        let news = NewKeys { issuer: self.issuer.name.clone(), loaded, in_force };
        // Whoever publishes has gone when the process ends; nobody waits then.
        if self.new_keys.send(news).await.is_ok() && told.await.is_ok() {
            self.had = Some(keys);
            return Fetched::Current;
        }
        Fetched::Unavailable
    }
}

/// Why an issuer's task goes on.
enum Woken {
    /// The next fetch is due.
    Time,
    /// Somebody waits for a fetch.
    Wish(oneshot::Sender<Fetched>),
    /// Nobody looks after the issuer any longer.
    Gone,
}

/// Waits until `next`, or until somebody wishes for a fetch after the cool-down. A wish before that was made while
/// the last fetch ran: its outcome is the answer.
async fn wait(
    inbox: &mut mpsc::Receiver<oneshot::Sender<Fetched>>,
    outcome: Fetched,
    cool: Instant,
    next: Instant,
) -> Woken {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => return Woken::Time,
            waiter = inbox.recv() => match waiter {
                None => return Woken::Gone,
                Some(waiter) if Instant::now() < cool => tell(waiter, outcome),
                Some(waiter) => return Woken::Wish(waiter),
            },
        }
    }
}

/// Tells a request that waits. One that has given up does not listen.
fn tell(waiter: oneshot::Sender<Fetched>, outcome: Fetched) {
    let _gave_up = waiter.send(outcome);
}
