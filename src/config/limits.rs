//! What a listener bears of its clients: how many, how large, how slow.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

/// How many clients at once, and how large a request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, over all workers. Default 10,000, for the other planes 256.
    pub connections: u32,
    /// Connections at once from one address; an IPv6 address stands for its /64. Default 1,000, for the other planes 256.
    pub connections_per_address: u32,
    /// Failed authentications from one address in a minute before the next ones get 429. Default 100, for management 20.
    pub failed_authentications: NonZeroU32,
    /// Addresses that many clients share: no limit per address is for them. Trusted proxies are always among them.
    pub shared_addresses: Vec<IpNet>,
    /// Longest request target, in bytes. Default 16 KiB.
    pub target_bytes: usize,
    /// Longest header, its name and its value, in bytes. Default 16 KiB.
    pub header_bytes: usize,
    /// All headers of a request together, in bytes. Default 64 KiB.
    pub headers_bytes: usize,
    /// Headers of a request. Default 100.
    pub header_count: usize,
    /// How long clients are waited for.
    pub patience: Patience,
}

/// How long a listener waits for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// For the first byte of a connection, and from a request's first byte for all of its head. Default 30 s, for the
    /// other planes 10 s.
    pub head: Duration,
    /// For the next request on a connection that has had one. Default 75 s.
    pub idle: Duration,
    /// For the client to take something of what was written for it. Default 60 s.
    pub write: Duration,
    /// For the end of a connection after which it takes no further request; `None` is for ever. Default none, for the other
    /// planes 10 min.
    pub lifetime: Option<Duration>,
}

impl Limits {
    /// What a listener of the traffic plane bears where nothing is said.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            failed_authentications: Self::per_minute(100),
            shared_addresses: Vec::new(),
            target_bytes: 16 << 10,
            header_bytes: 16 << 10,
            headers_bytes: 64 << 10,
            header_count: 100,
            patience: Patience {
                handshake: Duration::from_secs(10),
                head: Duration::from_secs(30),
                idle: Duration::from_secs(75),
                write: Duration::from_secs(60),
                lifetime: None,
            },
        }
    }

    /// What the management and health listeners bear where nothing is said: few clients, whose keys open more.
    #[must_use]
    pub fn usual_of_planes() -> Self {
        let usual = Self::usual();
        Self {
            connections: 256,
            connections_per_address: 256,
            failed_authentications: Self::per_minute(20),
            patience: Patience {
                head: Duration::from_secs(10),
                lifetime: Some(Duration::from_secs(600)),
                ..usual.patience
            },
            ..usual
        }
    }

    const fn per_minute(failures: u32) -> NonZeroU32 {
        match NonZeroU32::new(failures) {
            Some(failures) => failures,
            None => NonZeroU32::MIN,
        }
    }

    /// Whether many clients share an address.
    #[must_use]
    pub fn is_shared(&self, address: &IpAddr) -> bool {
        self.shared_addresses.iter().any(|network| network.contains(address))
    }
}
