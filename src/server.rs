//! Listeners, TLS, worker threads and the way out.

pub mod connection;
pub mod fleet;
mod housekeeping;
pub mod plane;
pub mod planes;
pub mod process;
pub mod socket;
mod store_feed;
pub mod worker;
