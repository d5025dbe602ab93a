//! Where requests go.

use std::path::PathBuf;

use crate::config::Ejection;
use crate::config::HealthCheck;
use crate::config::Retries;
use crate::config::WhenNoneIsHealthy;
use crate::model::name::Name;

/// Where requests go.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: Name,
    /// Its endpoints; at least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// TLS to them; `None` is plain text.
    pub tls: Option<ClientTls>,
    /// What `Host` says to them.
    pub host: HostHeader,
    /// How they are asked whether they are well.
    pub health_check: Option<HealthCheck>,
    /// When they are left out for what they do to requests.
    pub ejection: Option<Ejection>,
    /// What happens while none is well.
    pub when_none_is_healthy: WhenNoneIsHealthy,
    /// What is sent again.
    pub retries: Retries,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A host name or an IP address with a port, or a Unix socket.
    pub at: EndpointAddress,
}

/// Where an endpoint lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host name or an address, resolved at each connect, and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by prior knowledge over plain text (h2c), by ALPN over TLS. gRPC needs it.
    Http2,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// CAs to trust, PEM; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must carry, where it is not the endpoint's host.
    pub server_name: Option<String>,
    /// A certificate and its private key to show, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What `Host` says to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client sent. The default.
    Client,
    /// The endpoint's host and port.
    Endpoint,
    /// This text.
    Fixed(http::HeaderValue),
}
