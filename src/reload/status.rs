//! How the last change went, for whoever looks at a running gateway. The log has the same, and keeps it.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::model::time::UnixSeconds;

/// How the last change went.
#[derive(Debug, Default)]
pub struct Status(Mutex<Standing>);

/// The same at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the snapshot in force came into force.
    pub published: Option<UnixSeconds>,
    /// What of it does not work, one line each.
    pub problems: Vec<String>,
    /// The change that was refused last, if nothing has been taken since.
    pub refused: Option<RefusedChange>,
}

/// A change that did not come into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedChange {
    /// When.
    pub at: UnixSeconds,
    /// What is wrong with it, one line each.
    pub problems: Vec<String>,
}

impl Status {
    /// How it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.locked().clone()
    }

    /// A snapshot is in force.
    pub(super) fn published(&self, now: UnixSeconds) {
        let mut standing = self.locked();
        (standing.published, standing.refused) = (Some(now), None);
    }

    /// The file says what is in force.
    pub(super) fn unchanged(&self) {
        self.locked().refused = None;
    }

    /// What of the snapshot in force does not work.
    pub(super) fn problems(&self, problems: &[String]) {
        problems.clone_into(&mut self.locked().problems);
    }

    /// A change was refused.
    pub(super) fn refused(&self, error: &dyn std::error::Error, now: UnixSeconds) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        let problems = text.lines().map(str::to_owned).collect();
        self.locked().refused = Some(RefusedChange { at: now, problems });
    }

    /// A lock whose holder panicked is still a lock.
    fn locked(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
