//! The embedded engine: one ACID file by redb, opened by one process at a time.
//!
//! Every commit ends in an fsync, so all work is done on one thread of its own; callers wait without
//! blocking theirs. Recent commits are kept in memory for watches ([`feed`]): whoever starts reads
//! everything anyway, so none are kept in the file.

mod disk;
mod feed;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{fs, io};

use tokio::sync::{mpsc, oneshot};

use self::disk::Disk;
use self::feed::Feed;
use super::engine::{Batch, CommitError, Contents, Engine, Record, Revision, Unavailable, Watch};

/// The name of the file within the store's directory.
pub const FILE: &str = "store.redb";

/// How many calls may wait for the thread before the next caller waits to be let in.
const WAITING: usize = 64;

type Job = Box<dyn FnOnce(&mut Disk) + Send>;

/// An open store file. It is closed, and free for other processes, soon after this is dropped, at once with
/// [`Embedded::close`].
#[derive(Debug)]
pub struct Embedded {
    jobs: mpsc::Sender<Job>,
    feed: Arc<Feed>,
    thread: JoinHandle<()>,
}

/// Why the store file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be made or looked at.
    #[error("the store's directory {} could not be made or read", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may enter the directory.
    #[error("want the store's directory {} closed to all but its owner (mode 0700), it has mode {mode:04o}", path.display())]
    DirectoryTooOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process has the file open.
    #[error("the store file {} is open in another process; stop that gateway or go through its management API", path.display())]
    OpenElsewhere {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be opened, read or repaired.
    #[error("the store file {} could not be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<redb::Error>,
    },
    /// The system gave no thread.
    #[error("the store's thread could not be started")]
    Thread(#[source] io::Error),
}

impl Embedded {
    /// Opens [`FILE`] in `directory`; makes both where they are missing. A file that a crash left behind is
    /// repaired, and all of it is checked against its checksums.
    ///
    /// # Errors
    /// [`OpenError`], each variant as it says.
    pub async fn open(directory: &Path) -> Result<Self, OpenError> {
        make_private(directory)?;
        let path = directory.join(FILE);
        let feed = Arc::new(Feed::default());
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING);
        let (opened, outcome) = oneshot::channel();
        let for_thread = Arc::clone(&feed);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let mut disk = match Disk::open(path, for_thread) {
                    Ok(disk) => disk,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                if opened.send(Ok(())).is_err() {
                    return;
                }
                while let Some(job) = queue.blocking_recv() {
                    job(&mut disk);
                }
            })
            .map_err(OpenError::Thread)?;
        match outcome.await {
            Ok(Ok(())) => Ok(Self { jobs, feed, thread }),
            Ok(Err(error)) => Err(error),
            Err(_gone) => Err(OpenError::Thread(io::Error::other("it ended early"))),
        }
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(self) {
        let Self { jobs, feed, thread } = self;
        drop((jobs, feed));
        // A thread that panicked is as gone as one that ended.
        drop(tokio::task::spawn_blocking(move || thread.join().is_ok()).await);
    }

    /// Takes in every record, one after the other, and tells the revision at which they were read.
    pub(super) async fn fold<T, F>(&self, begin: T, mut take: F) -> Result<(T, Revision), Unavailable>
    where
        T: Send + 'static,
        F: FnMut(&mut T, &Record) + Send + 'static,
    {
        self.run(move |disk| {
            let mut all = begin;
            let revision = disk.read_each(|record| take(&mut all, &record))?;
            Ok((all, revision))
        })
        .await?
    }

    async fn run<T, F>(&self, work: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut Disk) -> T + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        // A caller that no longer waits does not undo its work.
        let job: Job = Box::new(move |disk| drop(done.send(work(disk))));
        self.jobs.send(job).await.map_err(|_gone| Unavailable::Closed)?;
        outcome.await.map_err(|_gone| Unavailable::Closed)
    }
}

impl Engine for Embedded {
    async fn read_all(&self) -> Result<Contents, Unavailable> {
        self.run(Disk::read_all).await?
    }

    async fn read(&self, key: &str) -> Result<Option<Record>, Unavailable> {
        let key = key.to_owned();
        self.run(move |disk| disk.read(&key)).await?
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        self.run(move |disk| disk.commit(&batch)).await?
    }

    async fn watch(&self, from: Revision) -> Result<Watch, Unavailable> {
        let (sender, events) = mpsc::channel(Watch::BUFFER);
        tokio::spawn(Arc::clone(&self.feed).tell(from, sender));
        Ok(Watch::new(events))
    }
}

/// Makes the directory where it is missing, and refuses one that others may enter: the digests of chosen
/// keys lie in it, and beside them, unless configured otherwise, the master key.
fn make_private(directory: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let mode = fs::metadata(directory).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(OpenError::DirectoryTooOpen { path: directory.to_owned(), mode }) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{Embedded, FILE, OpenError};
    use crate::store::contract::engine_contract;
    use crate::store::engine::{Batch, Engine, Expectation};
    use crate::store::testing;

    async fn open() -> (Embedded, tempfile::TempDir) {
        let directory = testing::directory();
        (Embedded::open(directory.path()).await.unwrap(), directory)
    }

    engine_contract!(open());

    #[tokio::test]
    async fn one_process_at_a_time_and_the_next_one_finds_everything() {
        let directory = testing::directory();
        let first = Embedded::open(directory.path()).await.unwrap();
        let revision = first.commit(Batch::new().put("a", b"1".to_vec(), Expectation::Any)).await.unwrap();
        let refused = Embedded::open(directory.path()).await.unwrap_err();
        assert!(matches!(&refused, OpenError::OpenElsewhere { path } if path.ends_with(FILE)), "{refused}");
        assert!(refused.to_string().contains("another process"), "{refused}");
        first.close().await;
        let second = Embedded::open(directory.path()).await.unwrap();
        let contents = second.read_all().await.unwrap();
        assert_eq!(contents.revision, revision);
        assert_eq!(contents.records.len(), 1);
    }

    #[tokio::test]
    async fn the_file_and_its_directory_are_the_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("made/by/us");
        let store = Embedded::open(&directory).await.unwrap();
        for (path, want) in [(directory.clone(), 0o700), (directory.join(FILE), 0o600)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, want, "{}", path.display());
        }
        store.close().await;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = Embedded::open(&directory).await.unwrap_err();
        assert!(refused.to_string().contains("0750"), "{refused}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_store_is_left_alone() {
        let directory = testing::directory();
        let path = directory.path().join(FILE);
        fs::write(&path, [7; 9000]).unwrap();
        assert!(matches!(Embedded::open(directory.path()).await, Err(OpenError::File { .. })));
        assert_eq!(fs::read(&path).unwrap(), [7; 9000]);
    }
}
