//! What the store tells, followed beside the control runtime: a store that is lost holds up nothing but its own news.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::observe::metrics::Metrics;
use crate::store::Store;
use crate::store::engine::Event;
use crate::store::engine::Unavailable;
use crate::store::engine::Update;
use crate::store::engine::Watch;
use crate::store::state::State;

/// Pause before a store that could not be read is read again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the store tells.
#[derive(Debug)]
pub(super) enum News {
    /// A commit.
    Changed(Update),
    /// Everything, because commits were missed.
    ReadAgain(Box<State>),
}

/// News of a store, until it is dropped.
#[derive(Debug)]
pub(super) struct StoreFeed {
    news: mpsc::Receiver<News>,
    follower: AbortHandle,
}

impl StoreFeed {
    /// Follows a store from a watch on.
    pub(super) fn start(store: Arc<Store>, watch: Watch, metrics: Arc<Metrics>) -> Self {
        let (teller, news) = mpsc::channel(1);
        let follower = tokio::spawn(follow(store, watch, metrics, teller)).abort_handle();
        Self { news, follower }
    }

    /// Waits for the next news; for ever once the follower has ended.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

impl Drop for StoreFeed {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn follow(store: Arc<Store>, mut watch: Watch, metrics: Arc<Metrics>, teller: mpsc::Sender<News>) {
    loop {
        let news = match watch.next().await {
            Some(Event::Alive) => {
                metrics.gateway.store_answered(Instant::now());
                continue;
            }
            Some(Event::Changed(update)) => News::Changed(update),
            Some(Event::Compacted) | None => {
                let (state, again) = read_again(&store).await;
                watch = again;
                News::ReadAgain(Box::new(state))
            }
        };
        if teller.send(news).await.is_err() {
            return;
        }
    }
}

/// Reads everything as soon as the store can be read.
async fn read_again(store: &Store) -> (State, Watch) {
    loop {
        match read_and_watch(store).await {
            Ok(read) => return read,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "the store cannot be followed; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn read_and_watch(store: &Store) -> Result<(State, Watch), Unavailable> {
    let state = store.read().await?;
    let watch = store.watch(state.revision).await?;
    Ok((state, watch))
}
