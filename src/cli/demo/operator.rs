//! The demonstration's own client: it asks the gateway that it started for keys and tokens, as an operator would.

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderName;
use http::Request;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::model::secret::Secret;

/// Why the gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The connection.
    #[error("the gateway could not be reached")]
    Connect(#[from] std::io::Error),
    /// The exchange.
    #[error("the gateway's answer broke off")]
    Exchange(#[from] hyper::Error),
    /// A path or a key that fits into no request.
    #[error("the question is no request")]
    Request(#[from] http::Error),
    /// Another answer than the one that was asked for.
    #[error("the gateway answered {0} to {1}")]
    Refused(http::StatusCode, String),
}

/// A credential, and the header that it stands in.
pub(super) type Shown<'a> = (HeaderName, &'a str);

/// Posts a document, and takes a 2xx answer.
pub(super) async fn post(
    at: SocketAddr,
    path: &str,
    (name, value): Shown<'_>,
    document: &Value,
) -> Result<Secret<String>, Unanswered> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::task::spawn_local(connection);
    let request = Request::post(path)
        .header(header::HOST, at.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header(name, value)
        .body(Full::new(Bytes::from(document.to_string())))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let text = body.collect().await?.to_bytes();
    connection.abort();
    if !head.status.is_success() {
        return Err(Unanswered::Refused(head.status, path.to_owned()));
    }
    Ok(Secret::new(String::from_utf8_lossy(&text).into_owned()))
}

/// A text member of a JSON document.
pub(super) fn member(document: &Secret<String>, name: &str) -> Option<Secret<String>> {
    let document: Value = serde_json::from_str(document.expose()).ok()?;
    Some(Secret::new(document.get(name)?.as_str()?.to_owned()))
}
