//! What can be seen of the gateway from outside: metrics, one record per request, the access log, the process log.
//!
//! A value that a client chose never becomes a metric label, and no credential enters this module: nothing
//! here takes one.

pub mod access_log;
pub mod audit;
pub mod decisions;
pub mod ids;
pub mod logs;
pub mod metrics;
pub mod record;
#[cfg(feature = "otel")]
pub mod spans;
pub mod trace_context;
pub mod usage;
