//! The call that a proof makes: to whom, with which key, and how one of them ended.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::cli::table::printable;
use crate::model::secret::Secret;
use crate::snapshot::target::Endpoint;
use crate::upstream::connect::connect;
use crate::upstream::http2::LocalExecutor;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for an answer, to its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How much of a refusal is read for its code, in bytes.
const MOST_OF_A_REFUSAL: usize = 16 * 1024;

/// The call, but for the key.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) body: Bytes,
    pub(super) content_type: HeaderValue,
    pub(super) shown_in: ShownIn,
}

/// Where a key stands.
#[derive(Debug)]
pub(super) enum ShownIn {
    /// `Authorization: Bearer`.
    Bearer,
    /// This header, alone.
    Header(HeaderName),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("no connection")]
    Unreachable,
    /// The connection went before the answer came.
    #[error("the connection ended before the answer")]
    NoAnswer,
    /// The answer's body went on no more before its end.
    #[error("the answer broke off")]
    BrokenOff,
    /// Nothing came for too long.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    /// No 2xx; the code is the gateway's own.
    #[error("{status}{}", code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// The code of a gateway's refusal.
        code: Option<String>,
    },
    /// The key fits into no header.
    #[error("the key or the path fits into no request")]
    Unsendable,
}

impl Failure {
    /// Whether the key was refused, and nothing else was wrong. After many that were, the code says why it is no 401.
    pub(super) fn is_refusal_of_the_key(&self) -> bool {
        match self {
            Self::Status { status, code } => {
                *status == StatusCode::UNAUTHORIZED || code.as_deref() == Some("auth_throttled")
            }
            Self::Unreachable | Self::NoAnswer | Self::BrokenOff | Self::Late | Self::Unsendable => false,
        }
    }
}

/// A connection to the target that is kept open.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    ended: Rc<Cell<bool>>,
}

impl Connection {
    /// Whether the other side has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.ended.get()
    }
}

#[derive(Deserialize)]
struct Problem {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

impl Target {
    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = connect(&self.endpoint, CONNECT_WITHIN).await.map_err(|_failed| Failure::Unreachable)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_broken| Failure::Unreachable)?;
        let ended: Rc<Cell<bool>> = Rc::default();
        let end = Rc::clone(&ended);
        LocalExecutor.execute(async move {
            drop(connection.await);
            end.set(true);
        });
        Ok(Connection { sender, ended })
    }

    /// Makes the call with a key, and reads the answer to its end.
    pub(super) async fn call(&self, connection: &mut Connection, key: &Secret<String>) -> Result<(), Failure> {
        let request = self.request(&self.method, &self.path, self.body.clone(), key)?;
        let answering = async {
            let (head, body) = send(connection, request).await?.into_parts();
            if head.status.is_success() { read(body).await } else { Err(refusal(head.status, body).await) }
        };
        tokio::time::timeout(ANSWER_WITHIN, answering).await.unwrap_or(Err(Failure::Late))
    }

    /// Begins an answer that goes on, on a connection of its own.
    pub(super) async fn stream(&self, path: &PathAndQuery, key: &Secret<String>) -> Result<Stream, Failure> {
        let request = self.request(&Method::GET, path, Bytes::new(), key)?;
        let mut connection = self.connect().await?;
        let beginning = tokio::time::timeout(ANSWER_WITHIN, send(&mut connection, request));
        let (head, body) = beginning.await.unwrap_or(Err(Failure::Late))?.into_parts();
        if !head.status.is_success() {
            return Err(refusal(head.status, body).await);
        }
        Ok(Stream { body, _connection: connection })
    }

    fn request(
        &self,
        method: &Method,
        path: &PathAndQuery,
        body: Bytes,
        key: &Secret<String>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let (name, shown) = match &self.shown_in {
            ShownIn::Bearer => (header::AUTHORIZATION, Secret::new(format!("Bearer {}", key.expose()))),
            ShownIn::Header(name) => (name.clone(), key.clone()),
        };
        let mut shown = HeaderValue::from_str(shown.expose()).map_err(|_not_visible| Failure::Unsendable)?;
        shown.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header(header::HOST, &self.endpoint.authority)
            .header(header::USER_AGENT, concat!("scoregate-prove/", env!("CARGO_PKG_VERSION")))
            .header(name, shown);
        let request = if body.is_empty() { request } else { request.header(header::CONTENT_TYPE, &self.content_type) };
        request.body(Full::new(body)).map_err(|_does_not_fit| Failure::Unsendable)
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    _connection: Connection,
}

impl Stream {
    /// Reads until it ends, whichever way.
    pub(super) async fn end(self) {
        drop(read(self.body).await);
    }
}

async fn send(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Failure> {
    connection.sender.ready().await.map_err(|_closed| Failure::NoAnswer)?;
    connection.sender.send_request(request).await.map_err(|_closed| Failure::NoAnswer)
}

/// Reads a body to its end, and keeps nothing of it.
async fn read(mut body: Incoming) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        drop(frame.map_err(|_closed| Failure::BrokenOff)?);
    }
    Ok(())
}

async fn refusal(status: StatusCode, mut body: Incoming) -> Failure {
    let mut text = Vec::new();
    while text.len() < MOST_OF_A_REFUSAL
        && let Some(Ok(frame)) = body.frame().await
    {
        text.extend(frame.into_data().unwrap_or_default());
    }
    let code = serde_json::from_slice(&text).ok().map(|Problem { error: Code { code } }| printable(&code));
    Failure::Status { status, code }
}
