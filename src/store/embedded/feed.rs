//! The latest commits, in memory, for those who watch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::store::engine::{Event, Revision, Update};

/// How many commits are kept. A watcher that falls further behind reads everything again, which costs about
/// as much as applying this many.
const KEPT: usize = 1024;

/// The latest commits.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<Recent>,
    latest: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Recent {
    /// Every commit after this revision is in `updates`.
    since: Revision,
    updates: VecDeque<Arc<Update>>,
}

impl Default for Feed {
    fn default() -> Self {
        let start = Revision(0);
        Self {
            recent: Mutex::new(Recent { since: start, updates: VecDeque::new() }),
            latest: watch::Sender::new(start),
        }
    }
}

impl Feed {
    /// Begins at this revision with nothing kept.
    pub(super) fn restart(&self, at: Revision) {
        let mut recent = self.recent();
        recent.since = at;
        recent.updates.clear();
        self.latest.send_replace(at);
    }

    /// Restarts if the file is not at the revision that was last published: a commit that was reported as
    /// failed was made after all, or another process wrote in between.
    pub(super) fn catch_up(&self, found: Revision) {
        if *self.latest.borrow() != found {
            self.restart(found);
        }
    }

    pub(super) fn publish(&self, update: Update) {
        let mut recent = self.recent();
        let revision = update.revision;
        recent.updates.push_back(Arc::new(update));
        if recent.updates.len() > KEPT
            && let Some(dropped) = recent.updates.pop_front()
        {
            recent.since = dropped.revision;
        }
        self.latest.send_replace(revision);
    }

    /// Sends every commit after `from`, until nobody listens or commits were missed.
    pub(super) async fn tell(self: Arc<Self>, from: Revision, listener: mpsc::Sender<Event>) {
        let mut latest = self.latest.subscribe();
        let weak = Arc::downgrade(&self);
        drop(self);
        let mut told = from;
        loop {
            // Nothing keeps the feed alive while waiting, so that closing the store ends its watches.
            let Some(next) = weak.upgrade().map(|feed| feed.after(told)) else { return };
            let Some(updates) = next else {
                return drop(listener.send(Event::Compacted).await);
            };
            for update in updates {
                told = update.revision;
                if listener.send(Event::Changed(Update::clone(&update))).await.is_err() {
                    return;
                }
            }
            let changed = async { latest.wait_for(|latest| *latest != told).await.is_ok() };
            tokio::select! {
                more = changed => if !more { return },
                () = listener.closed() => return,
            }
        }
    }

    /// The commits after this revision; `None` when they are not all kept, or the revision never was.
    fn after(&self, told: Revision) -> Option<Vec<Arc<Update>>> {
        let recent = self.recent();
        let latest = recent.updates.back().map_or(recent.since, |update| update.revision);
        if told < recent.since || told > latest {
            return None;
        }
        let first = recent.updates.partition_point(|update| update.revision <= told);
        Some(recent.updates.iter().skip(first).cloned().collect())
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::{Feed, KEPT};
    use crate::store::engine::{Event, Revision, Update};

    fn commits(feed: &Feed, revisions: std::ops::RangeInclusive<u64>) {
        for revision in revisions {
            feed.publish(Update { revision: Revision(revision), changes: Vec::new() });
        }
    }

    #[tokio::test]
    async fn whoever_missed_commits_is_told_so_and_nobody_else() {
        let feed = Arc::new(Feed::default());
        feed.restart(Revision(1));
        let last = 10 + KEPT as u64;
        commits(&feed, 2..=last);
        for (from, want_first) in [(10, Some(11)), (last - 1, Some(last)), (9, None), (0, None), (last + 1, None)] {
            let (sender, mut events) = mpsc::channel(1);
            let teller = tokio::spawn(Arc::clone(&feed).tell(Revision(from), sender));
            let first = match events.recv().await {
                Some(Event::Changed(update)) => Some(update.revision.0),
                Some(Event::Compacted) => None,
                other => panic!("from {from}: {other:?}"),
            };
            assert_eq!(first, want_first, "from {from}");
            drop(events);
            teller.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_is_ahead_of_what_was_told_sends_everybody_to_read_again() {
        let feed = Arc::new(Feed::default());
        feed.restart(Revision(5));
        let (sender, mut events) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&feed).tell(Revision(5), sender));
        feed.catch_up(Revision(5));
        commits(&feed, 6..=6);
        assert!(matches!(events.recv().await, Some(Event::Changed(update)) if update.revision == Revision(6)));
        feed.catch_up(Revision(7));
        assert_eq!(events.recv().await, Some(Event::Compacted));
        assert_eq!(events.recv().await, None);
    }
}
