//! An upstream, ready to be connected to: what of `config::Upstream` a request needs, with its TLS made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use http::HeaderValue;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;

use crate::config::ClientTls;
use crate::config::EndpointAddress;
use crate::config::HealthCheck;
use crate::config::HostHeader;
use crate::config::Protocol;
use crate::config::Retries;
use crate::config::Upstream;
use crate::config::WhenNoneIsHealthy;
use crate::model::name::Name;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::UpstreamMetrics;
use crate::snapshot::endpoint_health::EndpointHealth;

/// Where the requests of a service go.
#[derive(Debug)]
pub struct Target {
    /// The upstream's name.
    pub name: Name,
    /// Its endpoints; at least one.
    pub endpoints: Box<[Endpoint]>,
    /// What `Host` says.
    pub host: HostHeader,
    /// How its endpoints are asked whether they are well.
    pub health_check: Option<HealthCheck>,
    /// What happens while none is.
    pub when_none_is_healthy: WhenNoneIsHealthy,
    /// What is sent again.
    pub retries: Retries,
    /// Its counters.
    pub metrics: Arc<UpstreamMetrics>,
    /// What it was made from: an equal configuration with equal files keeps this very target, and so its connections.
    made_from: (Upstream, Files),
}

/// Names an endpoint's connections. A new number is a new pool: it is given when the address or the TLS changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId(u64);

impl EndpointId {
    /// A number that this process has not given out yet.
    #[must_use]
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One server.
#[derive(Debug)]
pub struct Endpoint {
    /// Which pool holds its connections.
    pub id: EndpointId,
    /// Where it is.
    pub at: EndpointAddress,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS; `None` is plain text.
    pub tls: Option<EndpointTls>,
    /// `host:port`, the `Host` of [`HostHeader::Endpoint`]; `localhost` for a Unix socket.
    pub authority: HeaderValue,
    /// The address as logs show it.
    pub label: Arc<str>,
    /// The upstream's counters; `None` for what is fetched once.
    pub metrics: Option<Arc<UpstreamMetrics>>,
    /// What is known of its health; `None` where nobody watches it.
    pub health: Option<EndpointHealth>,
}

impl Endpoint {
    /// Whether it may get requests.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.health.as_ref().is_none_or(EndpointHealth::is_well)
    }

    /// Takes it for a request, `false` where another one is trying whether it has recovered.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.health.as_ref().is_none_or(EndpointHealth::claim)
    }

    /// It has answered a request.
    pub fn succeeded(&self) {
        if let Some(health) = &self.health {
            health.succeeded();
        }
    }

    /// It has failed a request.
    pub fn failed(&self, upstream: &UpstreamMetrics) {
        if let Some(length) = self.health.as_ref().and_then(EndpointHealth::failed) {
            upstream.ejected();
            tracing::warn!(
                upstream = %upstream.name(),
                endpoint = %self.label,
                seconds = length.as_secs_f64(),
                "an endpoint fails its requests and is left out"
            );
        }
    }

    /// An endpoint for fetching a document from a URL; `None` when the URL names no host.
    ///
    /// # Errors
    /// [`BadTarget`] when the CAs or the host's name cannot be used.
    pub fn for_fetching(url: &http::Uri, ca: Option<&[u8]>) -> Result<Option<Self>, BadTarget> {
        let Some(host) = url.host().map(|host| host.trim_matches(['[', ']'])) else { return Ok(None) };
        let is_tls = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let authority = url.authority().map_or(host, http::uri::Authority::as_str);
        let tls = if is_tls {
            let roots = ca.map_or_else(system_roots, |pem| roots_of(Path::new("ca"), pem))?;
            let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            let server_name =
                ServerName::try_from(host.to_owned()).map_err(|_not_a_name| BadTarget::ServerName(host.to_owned()))?;
            Some(EndpointTls { config: Arc::new(config), server_name })
        } else {
            None
        };
        Ok(Some(Self {
            id: EndpointId::fresh(),
            at: EndpointAddress::Tcp { host: host.to_owned(), port },
            protocol: Protocol::Http1,
            tls,
            authority: HeaderValue::from_str(authority).map_err(|_bad| BadTarget::Host(authority.to_owned()))?,
            label: authority.into(),
            metrics: None,
            health: None,
        }))
    }
}

/// TLS to one endpoint.
#[derive(Clone)]
pub struct EndpointTls {
    /// Trust, client certificate, ALPN.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must carry.
    pub server_name: ServerName<'static>,
}

impl std::fmt::Debug for EndpointTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// PEM files by path, as they were read for this compilation.
pub type Files = BTreeMap<std::path::PathBuf, Arc<[u8]>>;

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// A file that the upstream's TLS names was not read.
    #[error("{0} could not be read")]
    Missing(std::path::PathBuf),
    /// A file holds no usable PEM.
    #[error("{path} holds no {wanted} in PEM")]
    Pem {
        /// Which file.
        path: std::path::PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The system has no CA bundle.
    #[error("the system has no CA certificates; name a file as tls.ca")]
    NoSystemCa,
    /// A name is no DNS name or address.
    #[error("{0:?} is no name that a certificate can carry")]
    ServerName(String),
    /// rustls refused the material.
    #[error("the client certificate and key do not fit")]
    Rustls(#[source] rustls::Error),
    /// The endpoint's name cannot stand in a `Host` header.
    #[error("{0:?} cannot stand in a Host header")]
    Host(String),
}

impl Target {
    /// Makes a target, or keeps `previous` when nothing that it was made from has changed.
    ///
    /// # Errors
    /// [`BadTarget`] when its TLS material is missing or unusable.
    pub fn compile(
        upstream: &Upstream,
        files: &Files,
        metrics: &Metrics,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, BadTarget> {
        let made_from = (upstream.clone(), files_of(upstream, files)?);
        if let Some(previous) = previous.filter(|previous| previous.made_from == made_from) {
            return Ok(Arc::clone(previous));
        }
        let counters = metrics.upstream(&upstream.name);
        if upstream.health_check.is_some() {
            counters.prepare_checks();
        }
        let tls = upstream.tls.as_ref().map(|tls| client_config(tls, upstream.protocol, files)).transpose()?;
        let endpoints = upstream.endpoints.iter().map(|endpoint| {
            let (host, authority, label) = match &endpoint.at {
                EndpointAddress::Tcp { host, port } => {
                    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                    (host.as_str(), shown.clone(), shown)
                }
                EndpointAddress::Unix(path) => {
                    ("localhost", "localhost".to_owned(), format!("unix:{}", path.display()))
                }
            };
            let endpoint_tls = match (&tls, &upstream.tls) {
                (Some(config), Some(written)) => {
                    let name = written.server_name.as_deref().unwrap_or(host);
                    let server_name = ServerName::try_from(name.to_owned())
                        .map_err(|_not_a_name| BadTarget::ServerName(name.to_owned()))?;
                    Some(EndpointTls { config: Arc::clone(config), server_name })
                }
                (None, _) | (_, None) => None,
            };
            let label: Arc<str> = label.into();
            let before = previous.into_iter().flat_map(|previous| &previous.endpoints);
            let before = before.filter(|before| before.at == endpoint.at).find_map(|before| before.health.as_ref());
            let (is_checked, ejection) = (upstream.health_check.is_some(), upstream.ejection);
            let health = (is_checked || ejection.is_some())
                .then(|| EndpointHealth::follow(before, is_checked, ejection, || counters.endpoint(&label)));
            Ok(Endpoint {
                id: EndpointId::fresh(),
                at: endpoint.at.clone(),
                protocol: upstream.protocol,
                tls: endpoint_tls,
                authority: HeaderValue::from_str(&authority).map_err(|_bad| BadTarget::Host(authority))?,
                label,
                metrics: Some(Arc::clone(&counters)),
                health,
            })
        });
        Ok(Arc::new(Self {
            name: upstream.name.clone(),
            endpoints: endpoints.collect::<Result<_, BadTarget>>()?,
            host: upstream.host.clone(),
            health_check: upstream.health_check.clone(),
            when_none_is_healthy: upstream.when_none_is_healthy,
            retries: upstream.retries,
            metrics: Arc::clone(&counters),
            made_from,
        }))
    }

    /// Removes the series of endpoints that it had before, or that nobody watches any longer.
    pub fn forget_endpoints(&self) {
        let watched = self.endpoints.iter().filter(|endpoint| endpoint.health.is_some());
        let keep: Vec<&str> = watched.map(|endpoint| &*endpoint.label).collect();
        self.metrics.forget_endpoints(&keep);
    }
}

/// The paths of the PEM files that an upstream needs.
pub fn paths_of(upstream: &Upstream) -> impl Iterator<Item = &Path> {
    upstream.tls.iter().flat_map(|tls| {
        let client = tls.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        tls.ca.iter().chain(client).map(std::path::PathBuf::as_path)
    })
}

fn files_of(upstream: &Upstream, files: &Files) -> Result<Files, BadTarget> {
    paths_of(upstream).map(|path| Ok((path.to_owned(), Arc::clone(file(files, path)?)))).collect()
}

fn file<'f>(files: &'f Files, path: &Path) -> Result<&'f Arc<[u8]>, BadTarget> {
    files.get(path).ok_or_else(|| BadTarget::Missing(path.to_owned()))
}

fn client_config(tls: &ClientTls, protocol: Protocol, files: &Files) -> Result<Arc<rustls::ClientConfig>, BadTarget> {
    let roots = match &tls.ca {
        Some(path) => roots_of(path, file(files, path)?)?,
        None => system_roots()?,
    };
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain_path = chain;
            let chain = certificates(chain_path, file(files, chain_path)?)?;
            let no_key = |_no_pem| BadTarget::Pem { path: key.clone(), wanted: "private key" };
            let key = PrivateKeyDer::from_pem_slice(file(files, key)?).map_err(no_key)?;
            builder.with_client_auth_cert(chain, key).map_err(BadTarget::Rustls)?
        }
    };
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(Arc::new(config))
}

/// Reads the CAs of a PEM file.
///
/// # Errors
/// [`BadTarget::Pem`] when it holds no certificate, or one that is broken.
pub fn roots_of(path: &Path, pem: &[u8]) -> Result<rustls::RootCertStore, BadTarget> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        let unusable = |_webpki| BadTarget::Pem { path: path.to_owned(), wanted: "usable CA certificate" };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// The CAs that the system trusts.
///
/// # Errors
/// [`BadTarget::NoSystemCa`] when there are none, as in an image made from scratch.
pub fn system_roots() -> Result<rustls::RootCertStore, BadTarget> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(BadTarget::NoSystemCa) } else { Ok(roots) }
}

/// Reads the certificates of a PEM file, in their order.
///
/// # Errors
/// [`BadTarget::Pem`] when there is none, or one is broken.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadTarget> {
    let none = || BadTarget::Pem { path: path.to_owned(), wanted: "certificate" };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_bad| none())?;
    if chain.is_empty() { Err(none()) } else { Ok(chain) }
}
