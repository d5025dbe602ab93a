//! Listeners, TLS, worker threads and the way out.

pub mod connection;
pub mod fleet;
mod housekeeping;
mod hushed;
pub mod plane;
pub mod planes;
pub mod process;
pub mod socket;
mod store_feed;
mod streams;
mod unread;
pub mod worker;
