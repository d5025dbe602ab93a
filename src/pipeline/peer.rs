//! Who is at the other end of a client connection.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Limits;
use crate::model::name::Name;
use crate::observe::record;

/// The other end of a connection, the same for all of its requests.
#[derive(Debug)]
pub struct Peer {
    /// What records say of it.
    pub connection: record::Peer,
    /// The listener that took the connection.
    pub listener: Name,
    /// What that listener bore when it did.
    pub limits: Arc<Limits>,
    /// Whether it is to take no further request.
    unwanted: Cell<bool>,
    /// Its address as upstreams are told it.
    text: Box<str>,
}

impl Peer {
    /// The other end of a connection that this listener took.
    #[must_use]
    pub fn new(connection: record::Peer, listener: Name, limits: Arc<Limits>) -> Self {
        let address = connection.address.map(|address| address.ip().to_canonical());
        let text = address.map_or_else(|| "unknown".into(), |address| address.to_string().into());
        Self { connection, listener, limits, unwanted: Cell::new(false), text }
    }

    /// Lets its connection take no further request.
    pub fn end_soon(&self) {
        self.unwanted.set(true);
    }

    /// Whether its connection is to take no further request.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.unwanted.get()
    }

    /// Its address in text, `unknown` over a Unix socket.
    #[must_use]
    pub const fn text(&self) -> &str {
        &self.text
    }

    /// Its address; `None` over a Unix socket. An IPv4 address that came in over IPv6 is told as IPv4.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.address.map(|address| address.ip().to_canonical())
    }
}
