//! Noticing that files have changed: a watch on their directories, and a poll should the watch miss something.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use notify::Event;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;
use notify::event::ModifyKind;
use tokio::sync::mpsc;

use crate::reload::Cause;

/// Watches directories, never files: Kubernetes changes a mounted file by renaming a symlink beside it, after
/// which a watch on the file itself reports nothing for ever.
#[derive(Debug)]
pub struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    causes: mpsc::Sender<Cause>,
}

impl FileWatch {
    /// Starts to watch; each change sends [`Cause::FileChanged`].
    ///
    /// Where the system gives no watch (its limit per user is small), the poll has to do: that is logged once.
    #[must_use]
    pub fn start(causes: mpsc::Sender<Cause>) -> Self {
        let files = Arc::new(Mutex::new(BTreeSet::new()));
        let (wanted, noticing) = (Arc::clone(&files), causes.clone());
        let noticed = move |event: notify::Result<Event>| {
            let files = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if event.as_ref().map_or(true, |event| is_change(event, &files)) {
                // A full queue holds a wake-up already.
                let _full = noticing.try_send(Cause::FileChanged);
            }
        };
        let watcher = notify::recommended_watcher(noticed).inspect_err(|error| {
            tracing::warn!(%error, "files are polled only: the system gives no watch");
        });
        Self { watcher: watcher.ok(), directories: BTreeSet::new(), files, causes }
    }

    /// Watches just these files from now on, and where links lead from them now. A directory that does not exist is tried
    /// again at the next call. One that is new since the last call wakes: what was written there between the reading and
    /// the watching has been noticed by nobody.
    pub fn watch(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let names = |path: &PathBuf| [as_seen(path), std::fs::canonicalize(path).ok()];
        let seen: BTreeSet<PathBuf> = files.iter().flat_map(names).flatten().collect();
        let directories: BTreeSet<PathBuf> = seen.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        for gone in self.directories.difference(&directories) {
            // A directory that was deleted is not watched any more already.
            drop(watcher.unwatch(gone));
        }
        let before = std::mem::take(&mut self.directories);
        let is_first = before.is_empty();
        for directory in directories {
            let watched = before.contains(&directory)
                || match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(directory = %directory.display(), %error, "the directory is polled only");
                        false
                    }
                };
            if watched {
                let is_new = !is_first && !before.contains(&directory);
                self.directories.insert(directory);
                if is_new {
                    let _full = self.causes.try_send(Cause::FileChanged);
                }
            }
        }
    }
}

/// A file under the name that an event gives it: that of its directory as it is watched, and its own.
fn as_seen(path: &Path) -> Option<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(parent.join(path.file_name()?))
}

/// Whether what the gateway reads may be another than before.
///
/// Whatever comes, goes or is renamed counts, since a name may be a link to it. Writing into a file counts for the
/// files that are read only: a log beside the configuration would otherwise have everything read again with each line.
fn is_change(event: &Event, files: &BTreeSet<PathBuf>) -> bool {
    match event.kind {
        // Reading a file raises events too: reacting to those would never end.
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            event.paths.iter().any(|path| files.contains(path))
        }
        EventKind::Any
        | EventKind::Other
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Other) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::FileWatch;

    const LONGEST_WAIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_write_into_what_a_link_leads_to_wakes_and_one_into_what_it_led_to_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("gateway.yaml"), "one").unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/gateway.yaml", path("gateway.yaml")).unwrap();
        let (causes, mut woken) = mpsc::channel(1);
        let mut watch = FileWatch::start(causes);
        watch.watch(&[path("gateway.yaml")].into());
        fs::write(path("..1/gateway.yaml"), "two").unwrap();
        tokio::time::timeout(LONGEST_WAIT, woken.recv()).await.expect("a write behind the link wakes");

        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        watch.watch(&[path("gateway.yaml")].into());
        while tokio::time::timeout(Duration::from_millis(200), woken.recv()).await.is_ok() {}
        fs::write(path("..1/gateway.yaml"), "three").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), woken.recv()).await.is_err(), "the old one wakes");
        fs::write(path("..2/gateway.yaml"), "two").unwrap();
        tokio::time::timeout(LONGEST_WAIT, woken.recv()).await.expect("a write behind the new link wakes");
    }

    #[tokio::test]
    async fn a_log_beside_a_watched_file_wakes_nobody_and_the_file_itself_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("gateway.yaml"), "one").unwrap();
        let mut log = fs::File::create(path("access.log")).unwrap();
        let (causes, mut woken) = mpsc::channel(1);
        let mut watch = FileWatch::start(causes);
        watch.watch(&[path("gateway.yaml")].into());

        fs::write(path("gateway.yaml"), "two").unwrap();
        tokio::time::timeout(LONGEST_WAIT, woken.recv()).await.expect("a write into the watched file wakes");
        while tokio::time::timeout(Duration::from_millis(200), woken.recv()).await.is_ok() {}
        for line in 0..100 {
            writeln!(log, "{line}").unwrap();
        }
        assert!(tokio::time::timeout(Duration::from_millis(300), woken.recv()).await.is_err(), "the log wakes");

        symlink("elsewhere", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        tokio::time::timeout(LONGEST_WAIT, woken.recv()).await.expect("the kubelet's swap wakes");
    }
}
