//! The way to the upstreams: one [`clients::Clients`] a worker, with connections that no other thread sees.
//!
//! Nothing here knows about keys, tokens or services; it gets a target and a request whose headers are ready.

pub mod body;
pub mod clients;
pub mod connect;
pub mod pool;
pub mod stream;
pub mod timer;
