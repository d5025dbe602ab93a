//! Who is at the other end of a client connection.

use std::net::IpAddr;

use crate::model::name::Name;
use crate::observe::record;

/// The other end of a connection, the same for all of its requests.
#[derive(Debug)]
pub struct Peer {
    /// What records say of it.
    pub connection: record::Peer,
    /// The listener that took the connection.
    pub listener: Name,
}

impl Peer {
    /// Its address; `None` over a Unix socket. An IPv4 address that came in over IPv6 is told as IPv4.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.address.map(|address| address.ip().to_canonical())
    }
}
