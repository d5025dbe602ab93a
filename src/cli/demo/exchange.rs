//! What both demo servers share: accepting connections, reading a bounded body, answering JSON.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How many times in a row accepting may fail. With [`PAUSE_AFTER_FAILURE`] that is 5 s without a file
/// descriptor: long enough for a burst of connections to end, short enough to notice that it does not.
const MOST_FAILURES_IN_A_ROW: u32 = 100;

/// How long a failed accept waits: the failure usually is EMFILE, and repeats at once.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Why a request body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyUnread {
    /// It is longer than the limit.
    TooLarge,
    /// The client stopped in the middle of it, or framed it badly.
    Broken,
}

/// Serves HTTP/1.1 with keep-alive until accepting fails for good. Dropping the future closes its connections.
///
/// # Errors
/// The last failure to accept, after a hundred in a row.
pub(super) async fn serve<A, F, B>(listener: TcpListener, answer: A) -> std::io::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    let mut failures_in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Without this the set would remember every connection that ever was.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _peer)) => {
                failures_in_a_row = 0;
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answering = answer(request);
                        async move { Ok::<_, Infallible>(answering.await) }
                    });
                    // An event stream must not wait for Nagle's algorithm; a socket that cannot be told so still works.
                    let nodelay = stream.set_nodelay(true);
                    let connection =
                        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                    let ended = connection.await;
                    tracing::trace!(?nodelay, ?ended, "demo connection ended");
                });
            }
            Err(error) if failures_in_a_row == MOST_FAILURES_IN_A_ROW => return Err(error),
            Err(_) => {
                failures_in_a_row += 1;
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// Reads a whole request body of at most `most_bytes`.
pub(super) async fn read<B>(body: B, most_bytes: usize) -> Result<Bytes, BodyUnread>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match Limited::new(body, most_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyUnread::TooLarge),
        Err(_) => Err(BodyUnread::Broken),
    }
}

/// Answers with a JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(document) {
        Ok(text) => answer(status, "application/json", text),
        // Only a map with keys that are no text, or a `Serialize` of ours that fails; neither is in use here.
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "the answer could not be written as JSON"),
    }
}

/// Answers with a text of this media type.
pub(super) fn answer(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{BodyUnread, answer, read, serve};

    #[tokio::test]
    async fn a_body_over_the_limit_is_never_held_whole() {
        for (bytes, want) in [(0, Ok(0)), (4, Ok(4)), (5, Err(BodyUnread::TooLarge))] {
            let body = Full::new(Bytes::from(vec![b'x'; bytes]));
            assert_eq!(read(body, 4).await.map(|read| read.len()), want, "{bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_connection_serves_request_after_request_and_closes_with_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, |request: Request<Incoming>| async move {
            answer(StatusCode::OK, "text/plain", request.uri().path().to_owned())
        }));
        let mut client = TcpStream::connect(address).await.unwrap();
        for path in ["/first", "/second"] {
            client.write_all(format!("GET {path} HTTP/1.1\r\nhost: demo\r\n\r\n").as_bytes()).await.unwrap();
            let mut answered = Vec::new();
            while !answered.ends_with(path.as_bytes()) {
                assert_ne!(client.read_buf(&mut answered).await.unwrap(), 0, "closed before {path} was answered");
            }
        }
        server.abort();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
