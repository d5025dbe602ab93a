//! The audit log: who did what to which resource, by which rule and decision. Never a secret.
//!
//! An [`Audit`] is a handle: events go through a bounded channel to the one thread that owns the files. Lines hang
//! on one another by hashes ([`chain`]) and are signed now and then ([`key`]), so that [`verify`] finds what was
//! changed, and [`query`] answers for one resource. What an operator does, and what is issued, is a line of the
//! process log as well, with the target `audit`.

mod chain;
mod file;
pub mod key;
pub mod query;
mod read;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::config::OnAuditFailure;
use crate::observe::metrics::Metrics;

pub use self::writer::AuditWriter;

/// Events that may wait for the writer.
const WAITING: usize = 4096;

/// Denials stop to be taken while this many events wait: whoever floods the gateway with bad credentials must not
/// crowd out what others wait for.
const WAITING_BESIDE_DENIALS: usize = WAITING / 2;

/// Longest wait for a line to be durable. It takes milliseconds; a disk that hangs is one that fails.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Both keys of a service or an account were shown.
    ListKeys,
    /// A key was replaced.
    RegenerateKey,
    /// A service was put in another auth mode.
    ChangeAuthMode,
    /// A service token was issued.
    IssueToken,
    /// A LimitedAccessToken was issued.
    IssueLimitedAccessToken,
    /// A LimitedAccessToken opened a call.
    UseLimitedAccessToken,
    /// A request was refused for its credential or for features that it lacks.
    Denied,
    /// A role did not cover a call of the management plane.
    Forbidden,
    /// An account was made.
    CreateAccount,
    /// What an account holds or may issue was changed.
    ChangeAccount,
    /// An account was removed.
    RemoveAccount,
    /// A token, or all of a resource or a vendor, were revoked.
    Revoke,
    /// A new signing key was made.
    RotateSigningKey,
    /// A configuration came into force, or was refused.
    Reload,
}

impl Act {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListKeys => "keys.list",
            Self::RegenerateKey => "keys.regenerate",
            Self::ChangeAuthMode => "services.auth_mode",
            Self::IssueToken => "token.issue",
            Self::IssueLimitedAccessToken => "limited_access_token.issue",
            Self::UseLimitedAccessToken => "limited_access_token.use",
            Self::Denied => "request.denied",
            Self::Forbidden => "management.forbidden",
            Self::CreateAccount => "account.create",
            Self::ChangeAccount => "account.change",
            Self::RemoveAccount => "account.remove",
            Self::Revoke => "token.revoke",
            Self::RotateSigningKey => "signing_key.rotate",
            Self::Reload => "config.reload",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What was done.
    pub act: Act,
    /// By whom: `management:<name>`, a principal of the access log, `unknown`, or `gateway`.
    pub who: String,
    /// To what: a resource identifier, `services/<name>`, `accounts/<name>`, a path, or `gateway.yaml`.
    pub resource: String,
    /// Why it was allowed or refused: where in the configuration, by which role, or a reason code.
    pub rule: String,
    /// What tells one such act from another: the slot, the token's `jti`, the flags.
    pub detail: Value,
    /// The decision id of the answer; empty where nobody was answered.
    pub decision: String,
}

/// An event has not been recorded, and the configuration says that what is not on record is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct NotRecorded;

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or the directory could not be used.
    #[error("{} of the audit log could not be read or made", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error("another process writes its audit log in {}; want a directory of its own for each", .0.display())]
    InUse(PathBuf),
    /// Others may read the private key.
    #[error("want {} to have mode 0600, it has {mode:04o}", path.display())]
    TooOpen {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may put files of theirs in the place of ours.
    #[error("want the directory {} to be writable by its owner only, it has mode {mode:04o}", path.display())]
    DirectoryTooOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of keys does not hold one.
    #[error("want {} to be 32 bytes in base64", .0.display())]
    NotAKey(PathBuf),
    /// The two key files do not belong together.
    #[error("{} is not the public half of the key beside it; if the key was lost, move the whole log elsewhere", .0.display())]
    OtherKey(PathBuf),
    /// The end of the log was changed by somebody else.
    #[error("the last line of {} cannot be read; move the whole log elsewhere and see `scoregate audit verify`", .0.display())]
    Unreadable(PathBuf),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The writer's thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Denials that get a line in one second; how many more there were is a line of its own. Whoever has no credential could
/// fill the disk otherwise, and stop what has to be recorded: this leaves about half a gigabyte a day.
const DENIALS_PER_SECOND: u64 = 20;

/// A way to the audit log. Clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Audit(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    directory: PathBuf,
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
}

/// What the handles and the writer both see.
#[derive(Debug)]
struct Shared {
    on_failure: OnAuditFailure,
    /// The last attempt to write has failed.
    failing: AtomicBool,
    waiting: AtomicUsize,
    /// Denials since the second began.
    denials: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Order {
    Write(Event, Option<oneshot::Sender<Result<(), NotRecorded>>>),
    Close,
}

impl Audit {
    /// Where no audit log is kept: everything counts as recorded.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    fn to(directory: PathBuf, orders: SyncSender<Order>, shared: Arc<Shared>) -> Self {
        Self(Some(Arc::new(Way { directory, orders, shared })))
    }

    /// Where its files are; `None` where no audit log is kept.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_ref().map(|way| way.directory.as_path())
    }

    /// Asks before an act that cannot be undone whether it could be recorded.
    ///
    /// # Errors
    /// [`NotRecorded`] while the log fails and the configuration says `block`.
    pub fn ready(&self) -> Result<(), NotRecorded> {
        match &self.0 {
            Some(way) if way.shared.is_blocked() => Err(NotRecorded),
            Some(_) | None => Ok(()),
        }
    }

    /// Records what an operator does or what is issued. Where the configuration says `block`, it returns once the line
    /// is durable.
    ///
    /// # Errors
    /// [`NotRecorded`] where the configuration says `block`.
    pub async fn record(&self, event: Event) -> Result<(), NotRecorded> {
        let Event { act, who, resource, rule, detail, decision } = &event;
        let what = act.as_str();
        tracing::info!(target: "audit", what, who, resource, rule, %detail, decision_id = decision, "audit");
        let Some(way) = &self.0 else { return Ok(()) };
        match way.shared.on_failure {
            OnAuditFailure::Count => {
                // A line that is lost is counted, and that is all.
                let _counted = way.send(event, None);
                Ok(())
            }
            OnAuditFailure::Block => {
                let (written, told) = oneshot::channel();
                way.send(event, Some(written))?;
                match tokio::time::timeout(DURABLE_WITHIN, told).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Err(NotRecorded),
                }
            }
        }
    }

    /// Records a use on the path of a request: nothing is waited for.
    ///
    /// # Errors
    /// [`NotRecorded`] where the configuration says `block` and the log fails, or is further behind than it may be.
    pub fn note(&self, event: Event) -> Result<(), NotRecorded> {
        let Some(way) = &self.0 else { return Ok(()) };
        if way.shared.is_blocked() {
            way.shared.metrics.gateway.audit_dropped(1);
            return Err(NotRecorded);
        }
        match (way.send(event, None), way.shared.on_failure) {
            (Ok(()), _) | (Err(NotRecorded), OnAuditFailure::Count) => Ok(()),
            (Err(NotRecorded), OnAuditFailure::Block) => Err(NotRecorded),
        }
    }

    /// Records a denial, unless there were more than [`DENIALS_PER_SECOND`] in this second already.
    pub fn deny(&self, event: impl FnOnce() -> Event) {
        let Some(way) = &self.0 else { return };
        if way.shared.denials.fetch_add(1, Ordering::Relaxed) >= DENIALS_PER_SECOND {
            return way.shared.metrics.gateway.audit_dropped(1);
        }
        self.tell(event);
    }

    /// Records what was refused or has already happened. Nothing is waited for; what finds no room is counted.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        let Some(way) = &self.0 else { return };
        if way.shared.waiting.load(Ordering::Relaxed) >= WAITING_BESIDE_DENIALS {
            return way.shared.metrics.gateway.audit_dropped(1);
        }
        let _counted = way.send(event(), None);
    }
}

impl Way {
    fn send(&self, event: Event, ack: Option<oneshot::Sender<Result<(), NotRecorded>>>) -> Result<(), NotRecorded> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.orders.try_send(Order::Write(event, ack)).map_err(|_full_or_closed| {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.metrics.gateway.audit_dropped(1);
            NotRecorded
        })
    }
}

impl Shared {
    fn is_blocked(&self) -> bool {
        self.on_failure == OnAuditFailure::Block && self.failing.load(Ordering::Relaxed)
    }
}
