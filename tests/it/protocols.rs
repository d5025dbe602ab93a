//! What is spoken on both sides of the gateway, against upstreams and clients that are scripted byte by byte.

pub(crate) mod authority;
mod bodies;
mod handshakes;
mod http2;
mod pooling;
mod timeouts;
pub(crate) mod tls;
mod upgrades;
pub(crate) mod wire;

use std::fmt::Display;
use std::net::SocketAddr;

use crate::protocols::wire::Message;
use crate::protocols::wire::Wire;
use crate::support::gateway::Gateway;

/// A configuration with one public service on every path. `upstream` and `service` are more lines of the two.
fn everything_to(endpoints: impl Display, upstream: &str, service: &str) -> String {
    format!(
        "
workers: 1
upstreams:
  a:
    endpoints: [{endpoints}]
    {upstream}
services:
  a:
    match: [{{prefix: /}}]
    upstream: a
    auth: {{public: a test of what is behind authentication}}
    {service}
"
    )
}

/// A gateway in front of one upstream that speaks HTTP/1.1 in plain text.
fn in_front_of(upstream: SocketAddr, service: &str) -> Gateway {
    Gateway::start(&everything_to(format_args!("'http://{upstream}'"), "", service))
}

/// `GET` on a connection of its own.
fn get(gateway: &Gateway, path: &str) -> Message {
    Wire::connect(gateway.traffic()).get(path, "")
}
