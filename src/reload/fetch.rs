//! Fetching a foreign issuer's key set: over trusted TLS, without redirects, within time and size.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::config::FetchUrl;
use crate::config::Issuer;
use crate::config::IssuerKeys;
use crate::reload::secret::BadSecret;
use crate::reload::secret::read_file;
use crate::snapshot::target::BadTarget;
use crate::snapshot::target::Endpoint;
use crate::tokens::jwks::BadJwks;
use crate::tokens::jwks::KeySet;
use crate::upstream::connect::connect;
use crate::upstream::http2::LocalExecutor;

/// Longest wait for one document, connection included.
const WITHIN: Duration = Duration::from_secs(5);

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be connected to as it is written.
    #[error("{0} is no address to fetch from")]
    Address(Uri),
    /// The CA file could not be read.
    #[error("the CA file could not be used")]
    Ca(#[source] BadSecret),
    /// The TLS of the connection could not be set up.
    #[error("the connection could not be set up")]
    Target(#[source] BadTarget),
    /// No connection, or no trusted one.
    #[error("{uri} could not be reached: {reason}")]
    Unreachable {
        /// What was fetched.
        uri: Uri,
        /// The failure's code.
        reason: &'static str,
    },
    /// The answer broke off.
    #[error("the answer of {0} could not be read")]
    Broken(Uri, #[source] hyper::Error),
    /// The answer is not 200. Redirects are not followed: they would choose another issuer.
    #[error("{uri} answered {status}, want 200")]
    Status {
        /// What was fetched.
        uri: Uri,
        /// What came.
        status: StatusCode,
    },
    /// The document is larger than any key set, or did not come in time.
    #[error("{0} did not answer with a document of at most 256 KiB in time")]
    TooMuch(Uri),
    /// The discovery document is none, or another issuer's.
    #[error("{0} is no discovery document of this issuer")]
    Discovery(Uri),
    /// The document is no key set.
    #[error("{uri} is no usable JWKS")]
    KeySet {
        /// What was fetched.
        uri: Uri,
        /// What is wrong with it.
        source: BadJwks,
    },
}

/// Fetches an issuer's key set; `None` for an issuer whose keys are not fetched.
///
/// # Errors
/// [`FetchError`]; the set that was had before stays in use.
pub async fn key_set(issuer: &Issuer) -> Result<Option<KeySet>, FetchError> {
    let (from, uri) = match &issuer.keys {
        IssuerKeys::File(_) | IssuerKeys::Secret(_) => return Ok(None),
        IssuerKeys::Url(from) => (from, from.url.clone()),
        IssuerKeys::Discovery(from) => (from, discovered(from, &issuer.issuer).await?),
    };
    let document = get(from.ca.as_deref(), &uri).await?;
    KeySet::parse(&document).map(Some).map_err(|source| FetchError::KeySet { uri, source })
}

/// What of a discovery document is needed (OpenID Connect Discovery 1.0 §3).
#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The issuer in the document must be the very one that was configured (§4.3), and its keys must come over TLS
/// wherever the document did.
async fn discovered(from: &FetchUrl, issuer: &str) -> Result<Uri, FetchError> {
    let not_it = || FetchError::Discovery(from.url.clone());
    let document = get(from.ca.as_deref(), &from.url).await?;
    let document: Discovery = serde_json::from_slice(&document).map_err(|_json| not_it())?;
    let keys: Uri = document.jwks_uri.parse().map_err(|_uri| not_it())?;
    let as_safe = keys.scheme() == from.url.scheme() || keys.scheme() == Some(&http::uri::Scheme::HTTPS);
    if document.issuer == issuer && as_safe && is_fetchable(&keys) { Ok(keys) } else { Err(not_it()) }
}

/// `https`, or `http` to this machine.
fn is_fetchable(uri: &Uri) -> bool {
    let loopback = || {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => loopback(),
        Some(_) | None => false,
    }
}

async fn get(ca: Option<&Path>, uri: &Uri) -> Result<Bytes, FetchError> {
    let ca = ca.map(read_file).transpose().map_err(FetchError::Ca)?;
    let endpoint = Endpoint::for_fetching(uri, ca.as_deref())
        .map_err(FetchError::Target)?
        .ok_or_else(|| FetchError::Address(uri.clone()))?;
    let fetching = get_from(&endpoint, uri);
    tokio::time::timeout(WITHIN, fetching).await.unwrap_or_else(|_elapsed| Err(FetchError::TooMuch(uri.clone())))
}

async fn get_from(endpoint: &Endpoint, uri: &Uri) -> Result<Bytes, FetchError> {
    let broken = |error| FetchError::Broken(uri.clone(), error);
    let stream = connect(endpoint, WITHIN)
        .await
        .map_err(|failed| FetchError::Unreachable { uri: uri.clone(), reason: failed.row().code })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    LocalExecutor.execute(async move { drop(connection.await) });
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(target)
        .header(header::HOST, &endpoint.authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("scoregate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_bad_target| FetchError::Address(uri.clone()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status { uri: uri.clone(), status: response.status() });
    }
    let body = Limited::new(response.into_body(), KeySet::MAX_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|_large_or_broken| FetchError::TooMuch(uri.clone()))
}
