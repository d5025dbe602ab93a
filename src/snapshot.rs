//! What a request reads: compiled from configuration and store, immutable, swapped as one.

pub mod features;
pub mod keys;
mod methods;
pub mod routes;
