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
    /// How many clients at once, and how large a request's head.
    pub limits: Option<Limits>,
    /// How long clients are waited for.
    pub timeouts: Option<ListenerTimeouts>,
    /// Only for a listener of `traffic`: it proxies nothing, and answers at `/authz` what another proxy asks about the
    /// requests that it forwards itself. Default: none, and nobody can ask.
    pub forward_auth: Option<ForwardAuth>,
}

/// Another proxy's questions about the requests that it forwards itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// Who asks, and so in which form a question says which request it is about.
    pub proxy: AskingProxy,
    /// Addresses and networks that may ask: they are believed about method, host, path and client. Left out on a Unix
    /// socket, where whoever can open it may ask.
    #[schemars(length(min = 1))]
    pub peers: Option<Vec<String>>,
}

/// A proxy that asks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskingProxy {
    /// `ext_authz` over HTTP with `path_prefix: /authz`; Gateway API's `ExternalAuth` likewise.
    Envoy,
    /// `forwardAuth`: `X-Forwarded-Method`, `-Host` and `-Uri`.
    Traefik,
    /// `forward_auth`: `X-Forwarded-Method`, `-Host` and `-Uri`.
    Caddy,
    /// `auth_request`: `X-Original-Method` and `X-Original-URL`.
    Nginx,
}

/// How many clients at once, and how large a request's head. What is more is refused.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections at once. Default: `10000`, for management `256`.
    #[schemars(range(min = 1, max = 10000000))]
    pub connections: Option<u32>,
    /// Connections at once from one address; an IPv6 address stands for its /64. Default: `1000`, for
    /// management `256`.
    #[schemars(range(min = 1, max = 10000000))]
    pub connections_per_address: Option<u32>,
    /// Failed authentications from one address in a minute; the next ones get 429, and valid credentials still open.
    /// Default: `100`, for the management listener `20`.
    #[schemars(range(min = 1, max = 10000000))]
    pub failed_authentications: Option<u32>,
    /// Addresses and networks that many clients share, such as a load balancer's: no limit per address is for them.
    /// Default: those of `trusted_proxies`, which are always among them.
    pub shared_addresses: Option<Vec<String>>,
    /// Longest request target, `1KiB` to `60KiB`. Default: `16KiB`.
    pub max_target: Option<String>,
    /// Longest header, its name and its value, `1KiB` to `1MiB`. Default: `16KiB`.
    pub max_header: Option<String>,
    /// All headers of a request together, `1KiB` to `1MiB`. Default: `64KiB`.
    pub max_headers: Option<String>,
    /// Headers of a request. Default: `100`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_header_count: Option<u16>,
}

/// How long clients are waited for. Bodies have the times of their service.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// For a TLS handshake. Default: `10s`.
    pub handshake: Option<String>,
    /// For the first byte of a connection, and from a request's first byte for all of its head. Default: `30s`,
    /// for management `10s`.
    pub head: Option<String>,
    /// For the next request on a connection that has had one. Default: `75s`.
    pub idle: Option<String>,
    /// For the client to take something of what was written for it. Default: `60s`.
    pub write: Option<String>,
    /// For the end of a connection: then it takes no further request, and what it has under way is finished; or `none`.
    /// Default: `none`, for management `10m`.
    pub lifetime: Option<String>,
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
