//! The small servers of the management and health planes, on the control runtime.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
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
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::server::socket::Socketed;
use crate::upstream::pool::LocalExecutor;
use crate::upstream::stream::Stream;

/// Longest wait for a handshake and for a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Longest life of a connection. Pools of clients open another; who only keeps it open has no use for it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(600);

/// Most connections of a plane at once. Operators, kubelets and Prometheus need a handful.
const MOST_CONNECTIONS: usize = 256;

/// What a plane speaks.
#[derive(Clone)]
pub enum Speaks {
    /// Plain text.
    Plain,
    /// TLS, with the certificate that is in force when a connection comes; without one nothing is said.
    Tls(Rc<dyn Fn() -> Option<TlsAcceptor>>),
}

/// Accepts and answers until the task is dropped. Runs on a `LocalRuntime`.
pub async fn serve<A, F>(socket: Socketed, speaks: Speaks, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut failing = false;
    let listener = match listening(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a socket could not be used"),
    };
    loop {
        match listener.accept().await {
            Ok(stream) => {
                failing = false;
                // One too many is closed at once: in the queue it would wait for others to leave.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let connection = connection(stream, speaks.clone(), answer.clone());
                drop(tokio::task::spawn_local(async move {
                    connection.await;
                    drop(place);
                }));
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

impl fmt::Debug for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
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

async fn connection<A, F>(stream: Stream, speaks: Speaks, answer: A)
where
    A: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let mut builder = auto::Builder::new(LocalExecutor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    let (stream, builder) = match speaks {
        // Told which, hyper has a deadline for the first byte as well.
        Speaks::Plain => (stream, builder.http1_only()),
        Speaks::Tls(acceptor) => {
            let Some(acceptor) = acceptor() else { return };
            let Ok(Ok(tls)) = tokio::time::timeout(HEAD_WITHIN, acceptor.accept(stream)).await else { return };
            let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(tls.into())), if is_http2 { builder.http2_only() } else { builder.http1_only() })
        }
    };
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_WITHIN) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(HEAD_WITHIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error, "a connection ended");
    }
}
