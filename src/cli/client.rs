//! The client of a running gateway: which one is asked, with which key, and what it answered.
//!
//! A key never comes as an argument, where every user of the machine could read it. It is sent over TLS, or in plain
//! text to this machine only, unless somebody says otherwise.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::table::printable;
use crate::config::SecretRef;
use crate::model::refusal::Failed;
use crate::model::secret::Secret;
use crate::reload::secret::BadSecret;
use crate::reload::secret::read;
use crate::reload::secret::read_file;
use crate::snapshot::target::BadTarget;
use crate::snapshot::target::Endpoint;
use crate::upstream::connect::connect;
use crate::upstream::http2::LocalExecutor;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for an answer. A change is answered once it is durable and in force, which takes milliseconds, and a
/// store on other machines has seconds to come back.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Largest answer that is read, in bytes: some hundred thousand accounts.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How a key is kept from others on its way.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Wire {
    /// CA certificates, PEM, that the gateway's own is held against. Default: those of the system.
    #[arg(long, value_name = "FILE", env = "SCOREGATE_CA", global = true)]
    ca: Option<PathBuf>,
    /// Send the key to another machine in plain text, where it can be read on the way.
    #[arg(long, global = true)]
    plain_http: bool,
}

/// A key, and the header that it is sent in.
#[derive(Debug)]
pub(super) enum Credential {
    /// `Authorization: Bearer`, as the management plane takes it.
    Bearer(Secret<String>),
    /// `Ocp-Apim-Subscription-Key`, as accounts show theirs.
    Subscription(Secret<String>),
}

/// One plane of one gateway, and the key to it.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    /// Without a slash at its end.
    url: String,
    /// What stands before every path; empty for a gateway that is reached directly.
    base: String,
    credential: Credential,
}

/// Why a call was not answered as it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// No key is given.
    #[error("no key is given; set {variable}, or name its file with --key-file")]
    NoKey {
        /// The environment variable that may hold it.
        variable: &'static str,
    },
    /// The key's file or variable.
    #[error("the key could not be read")]
    Key(#[source] BadSecret),
    /// The key is no text that a header may carry.
    #[error("want a key of visible ASCII characters")]
    KeyText,
    /// The key would be sent in plain text.
    #[error(
        "{0} is plain http to another machine, where the key can be read on the way; want https, or --plain-http to send it all the same"
    )]
    Exposed(String),
    /// The CA file.
    #[error("the CA file could not be used")]
    Ca(#[source] BadSecret),
    /// The TLS of the connection.
    #[error("the connection could not be set up")]
    Target(#[from] BadTarget),
    /// A path or a header that fits into no request.
    #[error("the call fits into no request")]
    Request(#[from] http::Error),
    /// No connection.
    #[error("nobody answers at {0}; start the gateway (scoregate run), or say where it listens")]
    Unreachable(String),
    /// No TLS, or none that is trusted.
    #[error("{0} showed no certificate that is trusted here; name its CA with --ca")]
    Tls(String),
    /// The answer broke off.
    #[error("the answer of {0} broke off")]
    Broken(String, #[source] hyper::Error),
    /// The answer did not come in time, or without an end.
    #[error("{0} did not answer in time with at most 64 MiB")]
    TooMuch(String),
    /// The gateway's own refusal.
    #[error("{message} ({code}, {status})")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its code.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// Another server's answer, or a proxy's.
    #[error("{url} answered {status} and does not say why as a gateway does; want the URL of the gateway's listener")]
    Foreign {
        /// Who.
        url: String,
        /// What.
        status: StatusCode,
    },
    /// The document is another than the API describes.
    #[error("the answer is not the document of this call; want a gateway of this program's version")]
    Document,
    /// A runtime for the call.
    #[error("the call could not be started")]
    Runtime(#[from] std::io::Error),
}

/// The refusals of the gateway (RFC 9457, with the member that Azure's clients read).
#[derive(Debug, Deserialize)]
struct Problem {
    error: ProblemError,
}

#[derive(Debug, Deserialize)]
struct ProblemError {
    code: String,
    message: String,
}

/// Reads the URL of a listener.
pub(super) fn listener_url(text: &str) -> Result<Uri, &'static str> {
    let wanted = "want http://HOST:PORT or https://HOST:PORT";
    let url: Uri = text.parse().map_err(|_not_a_url| wanted)?;
    let is_known = matches!(url.scheme_str(), Some("http" | "https"));
    if is_known && url.host().is_some() && url.query().is_none() { Ok(url) } else { Err(wanted) }
}

/// Reads a key from its file, or else from the environment.
pub(super) fn read_key(file: Option<&Path>, variable: &'static str) -> Result<Secret<String>, Unanswered> {
    let reference = match file {
        Some(file) => SecretRef::File(file.to_owned()),
        None if std::env::var_os(variable).is_none() => return Err(Unanswered::NoKey { variable }),
        None => SecretRef::Env(variable.to_owned()),
    };
    text_of(&reference)
}

/// Reads a key that is text.
pub(super) fn text_of(reference: &SecretRef) -> Result<Secret<String>, Unanswered> {
    let key = read(reference).map_err(Unanswered::Key)?;
    let text = str::from_utf8(key.expose()).map_err(|_not_utf8| Unanswered::KeyText)?;
    Ok(Secret::new(text.to_owned()))
}

/// Reads an answer as the document that the API describes. What is wrong with it is not said: it can hold keys.
pub(super) fn document<T: serde::de::DeserializeOwned>(answer: &Secret<String>) -> Result<T, Unanswered> {
    serde_json::from_str(answer.expose()).map_err(|_json| Unanswered::Document)
}

/// Finds the way to a listener that is to be shown a key.
///
/// # Errors
/// [`Unanswered`], where the key would be exposed or trust cannot be set up.
pub(super) fn endpoint(url: &Uri, wire: &Wire) -> Result<Endpoint, Unanswered> {
    if url.scheme_str() == Some("http") && !wire.plain_http && !is_this_machine(url) {
        return Err(Unanswered::Exposed(shown(url)));
    }
    let ca = wire.ca.as_deref().map(read_file).transpose().map_err(Unanswered::Ca)?;
    Endpoint::for_fetching(url, ca.as_deref())?.ok_or_else(|| Unanswered::Unreachable(shown(url)))
}

/// A URL without a slash at its end.
fn shown(url: &Uri) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

impl Client {
    /// Prepares calls to a listener; connects to nobody yet.
    ///
    /// # Errors
    /// [`Unanswered`], where the key would be exposed or trust cannot be set up.
    pub(super) fn new(url: &Uri, wire: &Wire, credential: Credential) -> Result<Self, Unanswered> {
        let base = url.path().trim_end_matches('/').to_owned();
        Ok(Self { endpoint: endpoint(url, wire)?, url: shown(url), base, credential })
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// [`Unanswered`], each variant as it says.
    pub(super) async fn get(&self, path: &str) -> Result<Secret<String>, Unanswered> {
        self.call(Method::GET, path, None).await
    }

    /// Posts a document.
    ///
    /// # Errors
    /// [`Unanswered`], each variant as it says.
    pub(super) async fn post(&self, path: &str, document: &Value) -> Result<Secret<String>, Unanswered> {
        self.call(Method::POST, path, Some(document)).await
    }

    /// Makes any call, over a connection of its own, and takes a 2xx answer.
    ///
    /// # Errors
    /// [`Unanswered`], each variant as it says.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        document: Option<&Value>,
    ) -> Result<Secret<String>, Unanswered> {
        let request = self.request(method, path, document)?;
        let answering = self.exchange(request);
        let answered = tokio::time::timeout(ANSWER_WITHIN, answering).await;
        let (status, text) = answered.unwrap_or_else(|_elapsed| Err(Unanswered::TooMuch(self.url.clone())))?;
        if status.is_success() {
            return Ok(text);
        }
        Err(match serde_json::from_str(text.expose()) {
            Ok(Problem { error: ProblemError { code, message } }) => {
                let [code, message] = [code, message].map(|text| printable(&text));
                Unanswered::Refused { status, code, message }
            }
            Err(_no_problem) => Unanswered::Foreign { url: self.url.clone(), status },
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        document: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Unanswered> {
        let (name, shown) = match &self.credential {
            Credential::Bearer(key) => ("authorization", Secret::new(format!("Bearer {}", key.expose()))),
            Credential::Subscription(key) => ("ocp-apim-subscription-key", key.clone()),
        };
        let mut shown = HeaderValue::from_str(shown.expose()).map_err(|_not_visible| Unanswered::KeyText)?;
        shown.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.endpoint.authority)
            .header(header::USER_AGENT, concat!("scoregate/", env!("CARGO_PKG_VERSION")))
            .header(name, shown);
        Ok(match document {
            None => request.body(Full::default())?,
            Some(document) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                request.body(Full::from(document.to_string()))?
            }
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Secret<String>), Unanswered> {
        let url = || self.url.clone();
        let stream = connect(&self.endpoint, CONNECT_WITHIN).await.map_err(|failed| {
            if failed == Failed::UpstreamTls { Unanswered::Tls(url()) } else { Unanswered::Unreachable(url()) }
        })?;
        let broken = |error| Unanswered::Broken(url(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        LocalExecutor.execute(async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_large_or_broken| Unanswered::TooMuch(url()))?.to_bytes();
        Ok((head.status, Secret::new(String::from_utf8_lossy(&body).into_owned())))
    }
}

/// Whether a URL leads to this machine by its own words. What a name stands for is not asked.
fn is_this_machine(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::Client;
    use super::Credential;
    use super::Unanswered;
    use super::Wire;
    use super::listener_url;
    use crate::model::secret::Secret;

    #[test]
    fn a_key_goes_in_plain_text_to_this_machine_only() {
        for (url, plain_http, is_sent) in [
            ("http://127.0.0.1:8081", false, true),
            ("http://[::1]:8081", false, true),
            ("http://localhost:8081/", false, true),
            ("http://localhost.example.com:8081", false, false),
            ("http://10.0.0.1:8081", false, false),
            ("http://10.0.0.1:8081", true, true),
            ("http://127.0.0.1.example.com", false, false),
        ] {
            let wire = Wire { ca: None, plain_http };
            let key = Credential::Bearer(Secret::new("k".to_owned()));
            let client = Client::new(&listener_url(url).unwrap(), &wire, key);
            assert_eq!(client.is_ok(), is_sent, "{url} {plain_http}");
            assert!(client.is_ok() || matches!(client, Err(Unanswered::Exposed(_))), "{url}");
        }
    }

    #[test]
    fn a_url_says_its_scheme_and_host() {
        for (text, fits) in [
            ("http://127.0.0.1:8081", true),
            ("https://gateway.example.com/behind/a/proxy/", true),
            ("127.0.0.1:8081", false),
            ("localhost", false),
            ("ftp://host", false),
            ("http://host/?query", false),
            ("", false),
        ] {
            assert_eq!(listener_url(text).is_ok(), fits, "{text:?}");
        }
    }
}
