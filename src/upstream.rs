//! The way to the upstreams: one [`clients::Clients`] a worker, with connections that no other thread sees.
//!
//! Nothing here knows about keys, tokens or services; it gets a target and somebody who tells a request's headers.

pub mod balance;
pub mod body;
pub mod budget;
pub mod check;
pub mod client_body;
pub mod clients;
pub mod connect;
pub mod counted;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod paced;
pub mod patience;
pub mod pool;
pub mod stream;
pub mod timer;
