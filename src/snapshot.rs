//! What a request reads: compiled from configuration and store, immutable, swapped as one.

mod methods;
pub mod routes;
