//! Callers that never pause for long: some with the key that stays, the others with each new key from its answer on.

use std::cell::Cell;
use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::RwLock;
use tokio::sync::RwLockWriteGuard;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::cli::prove::target::Connection;
use crate::cli::prove::target::Failure;
use crate::cli::prove::target::Target;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;

/// How many failures are told one by one.
const MOST_FAILURES_TOLD: usize = 10;

/// Which key a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shown {
    /// That of the slot that stays as it is.
    Steady,
    /// That of the slot that rotates.
    Rotating,
}

/// One failed request.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) at: UnixSeconds,
    pub(super) shown: Shown,
    pub(super) why: Failure,
}

/// What the callers have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) sent: Cell<u64>,
    pub(super) failed: Cell<u64>,
    pub(super) first_failures: RefCell<Vec<Failed>>,
    pub(super) opened: Cell<u64>,
    pub(super) closed: Cell<u64>,
    pub(super) streams: Cell<u64>,
    pub(super) streams_ended: Cell<u64>,
}

impl Seen {
    fn failed(&self, shown: Shown, why: Failure) {
        add_one(&self.failed);
        let mut told = self.first_failures.borrow_mut();
        if told.len() < MOST_FAILURES_TOLD {
            told.push(Failed { at: UnixSeconds::now(), shown, why });
        }
    }
}

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

/// Both keys that callers show.
#[derive(Debug)]
struct Held {
    steady: Secret<String>,
    /// Locked for reading while a request with it is under way.
    rotating: RwLock<Secret<String>>,
}

/// Running callers. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    held: Rc<Held>,
    seen: Rc<Seen>,
    done: CancellationToken,
    callers: JoinSet<()>,
    streams: JoinSet<()>,
}

impl Load {
    /// Starts callers on connections of their own, which together send at this rate. All begin with the key that stays:
    /// nobody is to use the other slot before it is certain that nobody else does.
    pub(super) fn start(
        target: &Rc<Target>,
        steady: Secret<String>,
        connections: NonZeroU32,
        rate: NonZeroU32,
    ) -> Self {
        let held = Rc::new(Held { rotating: RwLock::new(steady.clone()), steady });
        let (seen, done) = (Rc::default(), CancellationToken::new());
        let mut load = Self { held, seen, done, callers: JoinSet::new(), streams: JoinSet::new() };
        let every = Duration::from_secs(1) * connections.get() / rate.get();
        for number in 0..connections.get() {
            let shown = if number % 2 == 0 { Shown::Steady } else { Shown::Rotating };
            let (target, held, seen) = (Rc::clone(target), Rc::clone(&load.held), Rc::clone(&load.seen));
            let (done, first) = (load.done.clone(), every * number / connections.get());
            load.callers.spawn_local(async move {
                tokio::time::sleep(first).await;
                call_on(&target, &held, shown, &seen, &done, every).await;
            });
        }
        load
    }

    /// Begins an answer that goes on, with the key that stays, and watches that it does.
    pub(super) async fn stream(&mut self, target: &Target, path: &PathAndQuery) -> Result<(), Failure> {
        let stream = target.stream(path, &self.held.steady).await?;
        let seen = Rc::clone(&self.seen);
        add_one(&seen.streams);
        self.streams.spawn_local(async move {
            stream.end().await;
            add_one(&seen.streams_ended);
        });
        Ok(())
    }

    /// Waits until no request with the rotating key is under way, and lets none begin as long as the answer is held:
    /// clients that know of a rotation do not show the key that is being replaced. Those with the steady key go on.
    pub(super) async fn hold(&self) -> RwLockWriteGuard<'_, Secret<String>> {
        self.held.rotating.write().await
    }

    /// Ends once each request that is under way has been answered, and tells what was seen.
    pub(super) async fn finish(mut self) -> Rc<Seen> {
        self.done.cancel();
        while self.callers.join_next().await.is_some() {}
        self.seen
    }
}

async fn call_on(target: &Target, held: &Held, shown: Shown, seen: &Seen, done: &CancellationToken, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept: Option<Connection> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = done.cancelled() => return,
        }
        if kept.as_ref().is_some_and(Connection::is_closed) {
            add_one(&seen.closed);
            kept = None;
        }
        let connected = match kept.take() {
            Some(connection) => Ok(connection),
            None => target.connect().await.inspect(|_connection| add_one(&seen.opened)),
        };
        add_one(&seen.sent);
        let called = match connected {
            Ok(mut connection) => {
                let called = match shown {
                    Shown::Steady => target.call(&mut connection, &held.steady).await,
                    Shown::Rotating => target.call(&mut connection, &*held.rotating.read().await).await,
                };
                // What still waits for an answer takes no other request.
                kept = Some(connection).filter(|_| called != Err(Failure::Late));
                called
            }
            Err(failure) => Err(failure),
        };
        if let Err(why) = called {
            seen.failed(shown, why);
        }
    }
}
