//! Noticing that files have changed: a watch on their directories, and a poll should the watch miss something.

use std::collections::BTreeSet;
use std::path::PathBuf;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;
use tokio::sync::mpsc;

use crate::reload::Cause;

/// Watches directories, never files: Kubernetes changes a mounted file by renaming a symlink beside it, after
/// which a watch on the file itself reports nothing for ever.
#[derive(Debug)]
pub struct DirectoryWatch {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl DirectoryWatch {
    /// Starts to watch; each change sends [`Cause::FileChanged`].
    ///
    /// Where the system gives no watch (its limit per user is small), the poll has to do: that is logged once.
    #[must_use]
    pub fn start(causes: mpsc::Sender<Cause>) -> Self {
        let noticed = move |event: notify::Result<notify::Event>| {
            // Reading a file raises events too: reacting to those would never end.
            let is_change = event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if is_change {
                // A full queue holds a wake-up already.
                let _full = causes.try_send(Cause::FileChanged);
            }
        };
        let watcher = notify::recommended_watcher(noticed).inspect_err(|error| {
            tracing::warn!(%error, "files are polled only: the system gives no watch");
        });
        Self { watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Watches just these directories from now on. One that does not exist is tried again at the next call.
    pub fn watch(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&directories) {
            // A directory that was deleted is not watched any more already.
            drop(watcher.unwatch(gone));
        }
        let before = std::mem::take(&mut self.watched);
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
                self.watched.insert(directory);
            }
        }
    }
}
