//! One client connection of the traffic plane: handshake, protocol, requests, goodbye.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::uri::Scheme;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::model::name::Name;
use crate::observe::metrics::ConnectionEnd;
use crate::observe::metrics::HandshakeFailure;
use crate::observe::metrics::TlsVersion;
use crate::observe::record;
use crate::pipeline::Gateway;
use crate::pipeline::peer::Peer;
use crate::upstream::pool::LocalExecutor;
use crate::upstream::stream::Stream;

/// Longest wait for a TLS handshake, for the first byte, and for the head of a request. Kubernetes' and browsers'
/// own limits are longer; a client that needs 30 s to send a head is an attack more often than it is slow.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Longest TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Largest head of a request, and all of its trailers, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// What hyper may keep of one HTTP/1 connection: a whole head, or a piece of a body.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;

/// Most streams of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 250;

/// How connections are served; made once by each worker.
#[derive(Debug)]
pub struct Protocols(auto::Builder<LocalExecutor>);

impl Protocols {
    /// HTTP/1.1 and HTTP/2, told apart by ALPN or by HTTP/2's preface (RFC 9113 §3.3).
    #[must_use]
    pub fn new() -> Self {
        let mut builder = auto::Builder::new(LocalExecutor);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(60)))
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES);
        Self(builder)
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The bytes.
    pub stream: Stream,
    /// The peer's address; `None` over a Unix socket.
    pub address: Option<std::net::SocketAddr>,
    /// Which listener took it.
    pub listener: Name,
    /// Whether the listener speaks TLS.
    pub tls: Tls,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS, with the certificate of the snapshot in force.
    On,
    /// Plain text.
    Off,
}

/// Serves a connection to its end. When `drain` is cancelled what is in flight is finished and nothing more is taken.
pub async fn serve(gateway: Rc<Gateway>, protocols: Rc<Protocols>, accepted: Accepted, drain: CancellationToken) {
    let Accepted { stream, address, listener, tls } = accepted;
    let metrics = gateway.listener_metrics(&listener);
    let mut open = metrics.accept();
    let stream = match tls {
        Tls::Off => stream,
        Tls::On => match handshake(&gateway, &listener, stream).await {
            Ok(stream) => {
                metrics.handshake(version_of(&stream));
                stream
            }
            Err(error) => {
                let late = error.kind() == io::ErrorKind::TimedOut;
                metrics.handshake_failed(if late { HandshakeFailure::Timeout } else { HandshakeFailure::Refused });
                open.ends(ConnectionEnd::Handshake);
                tracing::debug!(%listener, %error, "the TLS handshake failed");
                return;
            }
        },
    };
    // hyper waits for a first byte without a deadline.
    if tokio::time::timeout(HEAD_WITHIN, first_byte(&stream)).await.is_err() {
        return;
    }
    let scheme = if tls == Tls::On { Scheme::HTTPS } else { Scheme::HTTP };
    let peer = Rc::new(Peer { connection: record::Peer { address, scheme }, listener });
    let service = service_fn(move |request| {
        let (gateway, peer) = (Rc::clone(&gateway), Rc::clone(&peer));
        async move { Ok::<_, Infallible>(gateway.answer(&peer, request).await) }
    });
    let mut connection = pin!(protocols.0.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // The connection goes first: what has arrived before the drain is served.
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error, "a client connection ended");
    }
}

async fn handshake(gateway: &Gateway, listener: &Name, stream: Stream) -> io::Result<Stream> {
    let config = gateway.tls(listener).ok_or_else(|| io::Error::other("the listener has no certificate"))?;
    let accepting = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_WITHIN, accepting).await.map_err(io::Error::from)??;
    Ok(Stream::Tls(Box::new(stream.into())))
}

fn version_of(stream: &Stream) -> TlsVersion {
    let agreed = match stream {
        Stream::Tls(tls) => tls.get_ref().1.protocol_version(),
        Stream::Tcp(_) | Stream::Unix(_) => None,
    };
    if agreed == Some(rustls::ProtocolVersion::TLSv1_2) { TlsVersion::V1_2 } else { TlsVersion::V1_3 }
}

/// Waits until the client has sent something; a TLS client has, in its handshake.
async fn first_byte(stream: &Stream) {
    let readable = match stream {
        Stream::Tcp(tcp) => tcp.readable().await,
        Stream::Unix(unix) => unix.readable().await,
        Stream::Tls(_) => Ok(()),
    };
    // A broken connection is found out by whoever reads it.
    drop(readable);
}
