//! Listeners, TLS, worker threads and the way out.

pub mod activation;
pub mod connection;
mod conversation;
pub mod crowd;
mod door;
pub mod fleet;
mod framing;
mod guarded;
mod housekeeping;
mod hushed;
pub mod plane;
pub mod planes;
pub mod process;
mod pulse;
mod service_manager;
pub mod socket;
mod store_feed;
mod streams;
mod unread;
pub mod worker;
