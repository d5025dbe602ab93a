//! Asks one endpoint, once, whether it is well.

use bytes::BufMut as _;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;

use crate::config::HealthCheck;
use crate::config::HostHeader;
use crate::config::Protocol;
use crate::config::Question;
use crate::snapshot::target::Endpoint;
use crate::upstream::connect::connect;
use crate::upstream::http2::LocalExecutor;

/// gRPC's health protocol.
const GRPC_CHECK: &str = "/grpc.health.v1.Health/Check";

/// `SERVING` in the answer: field 1 is 1.
const SERVING: [u8; 2] = [0x08, 0x01];

/// An answer of gRPC's health protocol takes seven bytes.
const MOST_ANSWER: usize = 1024;

/// Why an endpoint is not well.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// No connection could be made.
    #[error("no connection: {0}")]
    Unreachable(&'static str),
    /// The connection broke, or it does not speak HTTP.
    #[error("no answer")]
    Broken(#[from] hyper::Error),
    /// It answered with this status.
    #[error("status {0}")]
    Status(StatusCode),
    /// gRPC's health protocol says something else than `SERVING`.
    #[error("it is not serving")]
    NotServing,
    /// The answer did not come in time.
    #[error("no answer in time")]
    TooLate,
    /// The question cannot be put.
    #[error("the question cannot be asked")]
    Unaskable(#[from] http::Error),
}

/// Asks, over a connection of its own: whether one can be made is half of the question.
///
/// # Errors
/// [`Unwell`].
pub async fn ask(endpoint: &Endpoint, host: &HostHeader, check: &HealthCheck) -> Result<(), Unwell> {
    tokio::time::timeout(check.timeout, answer(endpoint, host, check)).await.unwrap_or(Err(Unwell::TooLate))
}

async fn answer(endpoint: &Endpoint, host: &HostHeader, check: &HealthCheck) -> Result<(), Unwell> {
    let stream = connect(endpoint, check.timeout).await.map_err(|failed| Unwell::Unreachable(failed.row().code))?;
    let request = request(endpoint, host, &check.question)?;
    let io = TokioIo::new(stream);
    let response = match endpoint.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await?;
            LocalExecutor.execute(async move { drop(connection.await) });
            sender.send_request(request).await?
        }
        Protocol::Http2 => {
            let (mut sender, connection) = http2::handshake(LocalExecutor, io).await?;
            LocalExecutor.execute(async move { drop(connection.await) });
            sender.send_request(request).await?
        }
    };
    let status = response.status();
    match &check.question {
        Question::Get(_) if status.is_success() || status.is_redirection() => Ok(()),
        Question::Grpc(_) if status == StatusCode::OK => {
            let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
            let body = body.map_err(|_broken| Unwell::NotServing)?.to_bytes();
            // A byte that says whether it is compressed, four for the length, and the message.
            if body.get(5..).is_some_and(|message| message.starts_with(&SERVING)) {
                Ok(())
            } else {
                Err(Unwell::NotServing)
            }
        }
        Question::Get(_) | Question::Grpc(_) => Err(Unwell::Status(status)),
    }
}

fn request(endpoint: &Endpoint, host: &HostHeader, question: &Question) -> Result<Request<Full<Bytes>>, http::Error> {
    let host = match host {
        HostHeader::Client | HostHeader::Endpoint => &endpoint.authority,
        HostHeader::Fixed(host) => host,
    };
    let (method, path, body) = match question {
        Question::Get(path) => (Method::GET, path.clone(), Bytes::new()),
        Question::Grpc(service) => (Method::POST, PathAndQuery::from_static(GRPC_CHECK), grpc_request(service)),
    };
    let request =
        Request::builder().method(method).header(header::USER_AGENT, concat!("scoregate/", env!("CARGO_PKG_VERSION")));
    let request = match endpoint.protocol {
        Protocol::Http1 => request.uri(Uri::from(path)).header(header::HOST, host),
        Protocol::Http2 => {
            let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build()?;
            request.uri(uri).version(Version::HTTP_2)
        }
    };
    let request = match question {
        Question::Get(_) => request,
        Question::Grpc(_) => request
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(header::TE, HeaderValue::from_static("trailers")),
    };
    request.body(Full::new(body))
}

/// `HealthCheckRequest` with the service's name as field 1, in a frame of gRPC.
fn grpc_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.put(message);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::grpc_request;

    #[test]
    fn a_question_of_grpc_names_the_service() {
        for (service, want) in [
            (String::new(), b"\0\0\0\0\0".to_vec()),
            ("a.B".to_owned(), b"\0\0\0\0\x05\x0a\x03a.B".to_vec()),
            ("x".repeat(200), [b"\0\0\0\0\xcb\x0a\xc8\x01".as_slice(), &[b'x'; 200]].concat()),
        ] {
            assert_eq!(grpc_request(&service), want, "{service:?}");
        }
    }
}
