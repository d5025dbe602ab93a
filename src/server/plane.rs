//! The small servers of the management and health planes, on the control runtime.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::socket::Socketed;
use crate::upstream::pool::LocalExecutor;
use crate::upstream::stream::Stream;

/// Longest wait for a handshake and for a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Where a plane's TLS is looked up for each connection; `None` inside is plain text.
pub type TlsSource = Rc<dyn Fn() -> Option<TlsAcceptor>>;

/// Accepts and answers until the task is dropped. Runs on a `LocalRuntime`.
pub async fn serve<A, F>(socket: Socketed, tls: TlsSource, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let mut failing = false;
    let listener = match listening(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a socket could not be used"),
    };
    loop {
        match listener.accept().await {
            Ok(stream) => {
                failing = false;
                drop(tokio::task::spawn_local(connection(stream, tls(), answer.clone())));
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

enum Listening {
    Tcp(TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    async fn accept(&self) -> std::io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => Stream::Tcp(socket.accept().await?.0),
            Self::Unix(socket) => Stream::Unix(socket.accept().await?.0),
        })
    }
}

fn listening(socket: Socketed) -> std::io::Result<Listening> {
    Ok(match socket {
        Socketed::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
        Socketed::Unix(socket) => Listening::Unix(tokio::net::UnixListener::from_std(socket)?),
    })
}

async fn connection<A, F>(stream: Stream, tls: Option<TlsAcceptor>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let stream = match tls {
        None => stream,
        Some(tls) => match tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream.into())),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let mut builder = auto::Builder::new(LocalExecutor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    if let Err(error) = pin!(builder.serve_connection(TokioIo::new(stream), service)).await {
        tracing::trace!(error, "a connection ended");
    }
}
