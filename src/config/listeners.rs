//! Who listens where.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::Limits;
use crate::model::name::Name;

/// The three planes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// Clients' listeners; at least one.
    pub traffic: Vec<Listener>,
    /// Operators' listener; `None` where this gateway is not to be managed.
    pub management: Option<Listener>,
    /// The kubelet's and Prometheus' listener.
    pub health: Listener,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics: `traffic-0`, `management`, `health`, or as configured.
    pub name: Name,
    /// Where it listens.
    pub address: Address,
    /// TLS; `None` is plain text.
    pub tls: Option<ServerTls>,
    /// What it bears of its clients.
    pub limits: Limits,
    /// Another proxy's questions; where given, nothing else is answered.
    pub forward_auth: Option<ForwardAuth>,
}

/// Another proxy's questions about the requests that it forwards itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Who asks, and so in which form.
    pub proxy: AskingProxy,
    /// Who may.
    pub peers: AskingPeers,
}

/// A proxy that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskingProxy {
    /// The request's own method and host, its path behind a prefix.
    Envoy,
    /// `X-Forwarded-Method`, `-Host` and `-Uri`.
    Traefik,
    /// The same.
    Caddy,
    /// `X-Original-Method` and `X-Original-URL`.
    Nginx,
}

impl AskingProxy {
    /// The word in the configuration and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Nginx => "nginx",
        }
    }
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskingPeers {
    /// Peers in one of these networks; never empty.
    In(Vec<IpNet>),
    /// Whoever can open the Unix socket.
    OnSocket,
}

/// Where a listener listens, or an endpoint lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address. Port 0 lets the kernel choose; the port is logged.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A listener's TLS. Versions 1.2 and 1.3 only; certificates are read again on every reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
    /// CAs of client certificates, PEM; where given, a client without a valid certificate is refused.
    pub client_ca: Option<PathBuf>,
}
