//! What a request reads: compiled from configuration and store, immutable, swapped as one.

pub mod target;
