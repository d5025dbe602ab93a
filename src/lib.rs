//! scoregate: an authenticating reverse-proxy gateway in front of model-scoring services.
//!
//! The modules are layers, lowest first; a module imports only those above it in this list
//! (`tests/tidy.rs` checks that). ARCHITECTURE.md walks through a request and a change.

pub mod model;

pub mod config;

pub mod observe;

pub mod store;

pub mod tokens;

pub mod snapshot;

pub mod http1;

pub mod upstream;

pub mod pipeline;

pub mod reload;

pub mod manage;

pub mod health;

pub mod server;

pub mod cli;
