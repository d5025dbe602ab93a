//! The gateway as a process: the real binary on real sockets, one module for each thing that is claimed of it.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, in its helpers as well"
)]

mod answers;
mod audit;
mod bad_input;
mod changes;
mod command_line;
mod conversation;
mod demo;
mod faults;
mod forward_auth;
mod headers;
mod http2;
mod issuers;
mod limits;
mod management;
mod native;
mod planes;
mod presets;
mod protocols;
mod refusals;
#[cfg(feature = "etcd")]
mod replicas;
mod resilience;
mod sdk;
mod servers;
mod slow;
mod store;
mod support;
mod systemd;
mod taint;
mod tokens;
#[cfg(feature = "otel")]
mod tracing;
mod wire;
