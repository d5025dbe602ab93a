//! The one cell that holds the snapshot in force. Only here is `arc_swap` named.

use std::sync::Arc;

use crate::snapshot::Snapshot;

#[expect(clippy::disallowed_types, reason = "this module owns the swap")]
type Cell = arc_swap::ArcSwap<Snapshot>;

/// Makes the cell with the first snapshot in it.
#[must_use]
pub fn publish_first(snapshot: Arc<Snapshot>) -> (Live, Publisher) {
    let cell = Arc::new(Cell::new(snapshot));
    (Live(Arc::clone(&cell)), Publisher(cell))
}

/// Where the snapshot in force is read.
#[derive(Clone)]
pub struct Live(Arc<Cell>);

/// A worker's own view: reading costs one load and a comparison while nothing has changed.
pub struct Reader(arc_swap::Cache<Arc<Cell>, Arc<Snapshot>>);

/// Where a new snapshot is put in force. There is one, and the reloader owns it.
pub struct Publisher(Arc<Cell>);

impl Live {
    /// The snapshot in force.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// A view for one thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(arc_swap::Cache::new(Arc::clone(&self.0)))
    }
}

impl Reader {
    /// The snapshot in force.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}

impl Publisher {
    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a snapshot in force: every request that begins after this returns reads it. Returns the one before.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.0.swap(snapshot)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("generation", &self.load().generation).finish()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("generation", &self.current().generation).finish()
    }
}
