//! `upstreams`: where requests go.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Ejection;
use super::HealthCheck;
use super::Retries;
use super::WhenNoneIsHealthy;

/// A set of servers that answer the same requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its servers, all with the same scheme: `http://host:port`, `https://host:port`, `h2c://host:port` or
    /// `unix:/path`. Without a port it is 80, for `https` 443.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<String>,
    /// What is spoken to them. Default: `http2` for `h2c`, `http1` otherwise.
    pub protocol: Option<Protocol>,
    /// TLS to `https` endpoints. Default: the system's CAs, the endpoint's host as name, no client certificate.
    pub tls: Option<ClientTls>,
    /// What `Host` says to them: `client` (what the client sent), `endpoint` (the endpoint's host and port) or a host
    /// of your own. Default: `client`.
    pub host: Option<String>,
    /// Asks each endpoint again and again whether it is well, and leaves out those that are not. Default: nobody asks.
    pub health_check: Option<HealthCheck>,
    /// Leaves out endpoints that fail the requests that they get. Default: none, but for a second after a connection could
    /// not be made.
    pub ejection: Option<Ejection>,
    /// What happens while no endpoint is well: `try`, or `refuse` with 503. Default: `try`.
    pub when_none_is_healthy: Option<WhenNoneIsHealthy>,
    /// What is sent again, and how often. Default: what certainly was not processed.
    pub retries: Option<Retries>,
}

/// Versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, which gRPC needs: by prior knowledge over plain text, by ALPN over TLS.
    Http2,
}

/// TLS to an upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Path of CA certificates to trust, PEM. Default: the system's.
    pub ca: Option<String>,
    /// The name that the certificate must carry. Default: the endpoint's host.
    pub server_name: Option<String>,
    /// Path of a certificate chain to show, PEM; goes with `client_key`. Default: none.
    pub client_certificate: Option<String>,
    /// Path of its private key, PEM.
    pub client_key: Option<String>,
}
