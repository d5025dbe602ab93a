//! Who is at the other end of a client connection.

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::model::name::Name;

/// The other end of a connection, the same for all of its requests.
#[derive(Debug)]
pub struct Peer {
    /// Its address; `None` over a Unix socket. An IPv4 address that came in over IPv6 is told as IPv4.
    pub address: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The listener that took the connection.
    pub listener: Name,
}

impl Peer {
    /// Describes the other end.
    #[must_use]
    pub fn new(address: Option<SocketAddr>, tls: bool, listener: Name) -> Self {
        Self {
            address: address.map(|address| address.ip().to_canonical()),
            scheme: if tls { "https" } else { "http" },
            listener,
        }
    }
}
