//! The redb file itself. Everything here blocks; only the store's thread calls it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::OpenError;
use super::feed::Feed;
use crate::store::engine::{
    Action, Batch, Changed, CommitError, Contents, Expectation, Record, Revision, Unavailable, Update,
};

/// Key → the commit that wrote it, and its content.
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
/// Holds one number under [`REVISION`].
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";

/// What redb may keep in memory, beside what the system keeps of the file. A record is read when somebody lists or
/// changes it, not per request, and reading all of a large store fills this.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The open file, or how to open it again.
pub(super) struct Disk {
    path: PathBuf,
    feed: Arc<Feed>,
    /// `None` after a failure: redb refuses all further work after an I/O error, so the file is opened anew
    /// by the next call, which also settles whether the commit that failed was made.
    database: Option<Database>,
}

/// What became of a batch.
enum Written {
    Made(Update),
    /// It deleted what was not there.
    Nothing {
        at: Revision,
    },
    Conflict {
        key: String,
    },
}

impl Disk {
    pub(super) fn open(path: PathBuf, feed: Arc<Feed>) -> Result<Self, OpenError> {
        match open(&path) {
            Ok((database, revision)) => {
                feed.restart(revision);
                Ok(Self { path, feed, database: Some(database) })
            }
            Err(redb::Error::DatabaseAlreadyOpen) => Err(OpenError::OpenElsewhere { path }),
            Err(source) => Err(OpenError::File { path, source: Box::new(source) }),
        }
    }

    pub(super) fn read_all(&mut self) -> Result<Contents, Unavailable> {
        let mut records = Vec::new();
        let revision = self.read_each(|record| records.push(record))?;
        Ok(Contents { records, revision })
    }

    /// Tells every record, and then the revision at which they were read.
    pub(super) fn read_each(&mut self, mut tell: impl FnMut(Record)) -> Result<Revision, Unavailable> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let revision = Revision(transaction.open_table(META)?.get(REVISION)?.map_or(0, |found| found.value()));
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (key, value) = entry?;
                tell(record(key.value(), value.value()));
            }
            Ok(revision)
        })
    }

    pub(super) fn read(&mut self, key: &str) -> Result<Option<Record>, Unavailable> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let found = transaction.open_table(RECORDS)?.get(key)?;
            Ok(found.map(|found| record(key, found.value())))
        })
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitError> {
        match self.with(|database| write(database, batch))? {
            Written::Made(update) => {
                let revision = update.revision;
                self.feed.publish(update);
                Ok(revision)
            }
            Written::Nothing { at } => Ok(at),
            Written::Conflict { key } => Err(CommitError::Conflict { key }),
        }
    }

    /// Does work on the open file, opening it first where the last failure closed it.
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Unavailable> {
        let failed = |error| Unavailable::File(Box::new(error));
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let (database, revision) = open(&self.path).map_err(failed)?;
                self.feed.catch_up(revision);
                database
            }
        };
        let outcome = work(&database).map_err(failed)?;
        self.database = Some(database);
        Ok(outcome)
    }
}

fn open(path: &Path) -> Result<(Database, Revision), redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        // Without it redb trusts a file that something else changed, and may panic on it later.
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(file)?)?;
    // The file's name must survive a power cut as well as its content.
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    let transaction = database.begin_write()?;
    let found = initial_revision(&transaction)?;
    match found {
        Some(_) => transaction.abort()?,
        None => transaction.commit()?,
    }
    Ok((database, found.unwrap_or(Revision(1))))
}

/// Finds the revision of the file; a new one gets its tables and revision 1.
fn initial_revision(transaction: &WriteTransaction) -> Result<Option<Revision>, redb::Error> {
    transaction.open_table(RECORDS)?;
    let mut meta = transaction.open_table(META)?;
    let found = meta.get(REVISION)?.map(|found| found.value());
    if found.is_none() {
        meta.insert(REVISION, 1)?;
    }
    Ok(found.map(Revision))
}

fn write(database: &Database, batch: &Batch) -> Result<Written, redb::Error> {
    let mut transaction = database.begin_write()?;
    // Two fsyncs instead of one: what is current is then known from the header, not from a checksum that is
    // no cryptographic one. Writes are rare here.
    transaction.set_two_phase_commit(true);
    let written = change(&transaction, batch)?;
    match &written {
        Written::Made(_) => transaction.commit()?,
        Written::Nothing { .. } | Written::Conflict { .. } => transaction.abort()?,
    }
    Ok(written)
}

fn change(transaction: &WriteTransaction, batch: &Batch) -> Result<Written, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut records = transaction.open_table(RECORDS)?;
    for (key, change) in batch.iter() {
        let found = records.get(key)?.map(|found| Revision(found.value().0));
        let as_expected = match change.expected {
            Expectation::Absent => found.is_none(),
            Expectation::At(revision) => found == Some(revision),
            Expectation::Any => true,
        };
        if !as_expected {
            return Ok(Written::Conflict { key: key.to_owned() });
        }
    }
    let last = meta.get(REVISION)?.map_or(0, |found| found.value());
    let revision = last.saturating_add(1);
    let mut changes = Vec::new();
    for (key, change) in batch.iter() {
        match &change.action {
            Action::Put(value) => {
                records.insert(key, (revision, value.as_slice()))?;
                changes.push(Changed::Put(record(key, (revision, value))));
            }
            Action::Delete => {
                if records.remove(key)?.is_some() {
                    changes.push(Changed::Deleted { key: key.to_owned() });
                }
            }
        }
    }
    if changes.is_empty() {
        return Ok(Written::Nothing { at: Revision(last) });
    }
    meta.insert(REVISION, revision)?;
    Ok(Written::Made(Update { revision: Revision(revision), changes }))
}

fn record(key: &str, (revision, value): (u64, &[u8])) -> Record {
    Record { key: key.to_owned(), value: value.to_vec(), revision: Revision(revision) }
}
