//! `listeners`: who listens where.

use schemars::JsonSchema;
use serde::Deserialize;

/// The three planes, each on listeners of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// Clients' listeners: the services are reached here.
    #[schemars(length(min = 1))]
    pub traffic: Vec<Listener>,
    /// Operators' listener. Default: none, and this gateway cannot be managed over the network.
    pub management: Option<Listener>,
    /// The kubelet's and Prometheus' listener, plain HTTP without authentication.
    pub health: HealthListener,
}

/// One listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `IP:PORT`, or `unix:/path` for a Unix socket. Port 0 lets the kernel choose.
    pub address: String,
    /// Its name in logs and metrics. Default: `management`, or `traffic-<n>` counted from 0.
    pub name: Option<String>,
    /// TLS. Default: none, plain text.
    pub tls: Option<ServerTls>,
}

/// The listener of `/livez`, `/readyz`, `/startupz` and `/metrics`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthListener {
    /// `IP:PORT`, or `unix:/path` for a Unix socket. Port 0 lets the kernel choose.
    pub address: String,
}

/// A listener's TLS, versions 1.2 and 1.3. The files are read again on every reload.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Path of the certificate chain, PEM, the server's own certificate first.
    pub certificate: String,
    /// Path of its private key, PEM.
    pub private_key: String,
    /// Path of CA certificates, PEM. Where given, a client without a certificate from one of them is refused.
    /// Default: clients need no certificate.
    pub client_ca: Option<String>,
}
