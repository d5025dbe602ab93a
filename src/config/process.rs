//! What concerns the process as a whole: where secrets and state lie, what is logged, how it changes and leaves.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::Uri;

use crate::config::ClientTls;

/// Where a secret comes from. Never the secret itself: none stands in `gateway.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretRef {
    /// `file:<path>`. Trailing line ends are not part of the secret.
    File(PathBuf),
    /// `env:<NAME>`, read once at start.
    Env(String),
    /// `credential:<name>`, a file in `$CREDENTIALS_DIRECTORY` (systemd).
    Credential(String),
}

/// The store's engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Directory of the embedded store's file and, unless `master_key` says otherwise, of the master key. Default `state`.
    pub directory: PathBuf,
    /// The key that seals listed keys: 32 bytes, base64. `None` is `master.key` in `directory`, made on first start;
    /// never `None` beside `etcd`.
    pub master_key: Option<SecretRef>,
    /// Keys that only open: what they sealed is to be sealed anew, or what others seal under them is to be read.
    pub previous_master_keys: Vec<SecretRef>,
    /// The etcd that keeps the records; `None` is the embedded file.
    pub etcd: Option<Etcd>,
}

/// An etcd that many gateways share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Its members, `http://<host>:<port>` or `https://<host>:<port>`, all alike; never empty.
    pub endpoints: Vec<String>,
    /// What every key begins with; begins and ends with a slash. Default `/scoregate/`.
    pub prefix: String,
    /// Name and password.
    pub user: Option<(String, SecretRef)>,
    /// Trust in `https` endpoints; `None` for `http` ones.
    pub tls: Option<ClientTls>,
}

/// The access log: one JSON line a request, on standard output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccessLog {
    /// No line for anyone.
    Off,
    /// A line for this share of the requests that succeeded, 0.0 to 1.0, and for every refusal.
    On {
        /// Share of successful requests that get a line.
        sample: f64,
    },
}

/// Where spans go, and of which requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where they are sent: OTLP over HTTP, `/v1/traces` included.
    pub url: Uri,
    /// Share of the traces that begin here and are recorded.
    pub sample: f64,
    /// `service.name`.
    pub service_name: String,
    /// What the collector wants to see besides.
    pub headers: Vec<(HeaderName, SecretRef)>,
    /// CAs that vouch for it; `None` is the system's.
    pub ca: Option<PathBuf>,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audit {
    /// What operators do is in the process log only.
    Off,
    /// One JSON line an event, in files of its own.
    On(AuditLog),
}

/// Where the audit log is and what happens when it cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLog {
    /// Directory of its files and of its key. Default: the store's.
    pub directory: PathBuf,
    /// What happens when an event cannot be written. Default [`OnAuditFailure::Block`].
    pub on_failure: OnAuditFailure,
    /// Size at which a file is closed and the next begun. Default 64 MiB.
    pub max_file_bytes: u64,
}

/// What happens when an event cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAuditFailure {
    /// What is not on record is not done.
    Block,
    /// It is done, and counted as missing.
    Count,
}

/// How SIGTERM is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are still accepted after readiness has fallen. Default 5 s.
    pub delay: Duration,
    /// Longest wait for what is in flight after that. Default 20 s: with `delay` below the 30 s of Kubernetes.
    pub deadline: Duration,
}

/// How changes of files are noticed besides SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// How often every file is read again, should the watch have missed a change. Default 30 s.
    pub poll: Duration,
}
