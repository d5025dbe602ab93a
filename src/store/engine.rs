//! What a store engine is: records under text keys, one growing revision, compare-and-swap, a watch.
//!
//! Two engines exist, [`super::embedded`] and, with the cargo feature `etcd`, `super::etcd`; `contract.rs` holds the tests that both pass.
//! Nothing here knows what a record means: that is [`super::records`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
#[cfg(feature = "etcd")]
use std::time::Duration;

use tokio::sync::mpsc;

/// A point in the life of a store. It grows with every commit that changes something, not necessarily by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One record as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name, such as `slots/service/iris`.
    pub key: String,
    /// Its content.
    pub value: Vec<u8>,
    /// The commit that wrote it.
    pub revision: Revision,
}

impl fmt::Debug for Record {
    /// Leaves the value out: it holds digests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("key", &self.key).field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// Everything that a store held at one revision, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The records.
    pub records: Vec<Record>,
    /// The revision at which they were read: where a watch starts.
    pub revision: Revision,
}

/// What must be true of a record for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// There is no such record.
    Absent,
    /// The record was last written by this commit.
    At(Revision),
    /// Nothing.
    Any,
}

/// Changes that are made together or not at all; at most one to a key, and the last one given counts.
#[derive(Debug, Clone, Default)]
pub struct Batch(BTreeMap<String, Change>);

/// One change of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Change {
    /// What must be true of the record.
    pub expected: Expectation,
    /// What becomes of it.
    pub action: Action,
}

/// What becomes of a record.
#[derive(Clone)]
pub enum Action {
    /// It gets this content.
    Put(Vec<u8>),
    /// It goes; no harm if there is none.
    Delete,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "Put(..)",
            Self::Delete => "Delete",
        })
    }
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: the record gets this content.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: Vec<u8>, expected: Expectation) -> Self {
        self.0.insert(key.into(), Change { expected, action: Action::Put(value) });
        self
    }

    /// Adds: the record goes.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>, expected: Expectation) -> Self {
        self.0.insert(key.into(), Change { expected, action: Action::Delete });
        self
    }

    /// The changes in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.0.iter().map(|(key, change)| (key.as_str(), change))
    }
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The commit.
    pub revision: Revision,
    /// Its changes, in no particular order; a reader applies all of them or none.
    pub changes: Vec<Changed>,
}

/// One record that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was written.
    Put(Record),
    /// It is gone.
    Deleted {
        /// Its name.
        key: String,
    },
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A commit, each exactly once and in order.
    Changed(Update),
    /// The engine answered just then. Comes every few seconds from an engine that can be lost, so that the
    /// age of what is known can be told; the embedded one, which cannot, never sends it.
    Alive,
    /// Commits were missed that the engine no longer has: everything must be read again. The last event.
    Compacted,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch(mpsc::Receiver<Event>);

impl Watch {
    /// How many events may wait for a slow reader before the engine stops reading on.
    pub(super) const BUFFER: usize = 64;

    pub(super) const fn new(events: mpsc::Receiver<Event>) -> Self {
        Self(events)
    }

    /// Waits for the next event; `None` after [`Event::Compacted`] or when the engine is closed.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// A place that keeps records.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Reads everything.
    ///
    /// # Errors
    /// [`Unavailable`] when the engine cannot be asked.
    fn read_all(&self) -> impl Future<Output = Result<Contents, Unavailable>> + Send;

    /// Reads one record; `None` when there is none.
    ///
    /// # Errors
    /// [`Unavailable`] when the engine cannot be asked.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Record>, Unavailable>> + Send;

    /// Makes all changes of a batch, or none. What is answered is durable.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when a record is not as expected: nothing was changed.
    /// [`CommitError::Unavailable`] when the engine failed or was lost: all of it was made or none of it,
    /// and only reading again tells which.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Revision, CommitError>> + Send;

    /// Tells every commit after `from`, the revision of a [`Contents`]. A lost connection is taken up again
    /// where it broke.
    ///
    /// # Errors
    /// [`Unavailable`] when the engine cannot be asked.
    fn watch(&self, from: Revision) -> impl Future<Output = Result<Watch, Unavailable>> + Send;
}

/// The engine could not be asked, or failed. What was answered before is safe.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The embedded file could not be read or written: a full disk, a read-only directory, another process.
    #[error("the store's file could not be used")]
    File(#[source] Box<redb::Error>),
    /// The etcd could not be reached, or answered with an error.
    #[cfg(feature = "etcd")]
    #[error("etcd could not be asked")]
    Etcd(#[source] Box<etcd_client::Error>),
    /// The etcd did not answer.
    #[cfg(feature = "etcd")]
    #[error("etcd did not answer within {} s", after.as_secs())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The etcd ended a watch.
    #[cfg(feature = "etcd")]
    #[error("etcd ended the watch: {why}")]
    Refused {
        /// Its reason.
        why: String,
    },
    /// The engine, or a connection of it, was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a batch was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A record was not as expected.
    #[error("the record {key} is not as it was expected to be")]
    Conflict {
        /// One of the records that were not.
        key: String,
    },
    /// The engine failed or was lost.
    #[error("the change could not be stored")]
    Unavailable(#[from] Unavailable),
}
