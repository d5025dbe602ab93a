//! Listeners, TLS, worker threads and the way out.

pub mod activation;
mod checks;
pub mod connection;
mod conversation;
pub mod crowd;
mod door;
pub mod fleet;
mod housekeeping;
mod http1;
mod http2;
pub mod plane;
pub mod planes;
pub mod process;
mod pulse;
mod service_manager;
pub mod socket;
#[cfg(feature = "otel")]
mod span_export;
mod store_feed;
mod streams;
pub mod worker;
