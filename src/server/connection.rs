//! One client connection of the traffic plane: handshake, protocol, requests, goodbye.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::uri::Scheme;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::observe::metrics::HandshakeFailure;
use crate::observe::metrics::TlsVersion;
use crate::observe::record;
use crate::pipeline::Gateway;
use crate::pipeline::form::MAX_HEADERS;
use crate::pipeline::peer::Peer;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::relay::Broken;
use crate::server::hushed::Hushed;
use crate::server::hushed::Pulse;
use crate::server::streams;
use crate::server::streams::Streams;
use crate::server::unread;
use crate::upstream::paced::Paced;
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

/// Most streams of one HTTP/2 connection at once, as few as RFC 9113 §6.5.2 recommends: each may hold an upstream's
/// connection and a piece of an answer.
const MAX_STREAMS: u32 = 100;

/// Most streams of one HTTP/2 connection that the gateway has to reset, and most that the client resets before the
/// gateway has looked at them. A connection above that is closed with `ENHANCE_YOUR_CALM`.
const MAX_FAULTY_STREAMS: usize = 256;
const MAX_RESET_UNSEEN: usize = 20;

/// What may wait within HTTP/2 for one stream's client.
const MAX_UNSENT_BYTES: usize = 128 * 1024;

/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(60);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// Longest that a client takes nothing of what is written for it.
const WRITE_WITHIN: Duration = Duration::from_secs(60);

/// How connections are served; made once by each worker.
#[derive(Debug)]
pub struct Protocols {
    either: auto::Builder<Streams>,
    http1: auto::Builder<Streams>,
    http2: auto::Builder<Streams>,
}

impl Protocols {
    /// HTTP/1.1 and HTTP/2, told apart by ALPN or by HTTP/2's preface (RFC 9113 §3.3).
    #[must_use]
    pub fn new() -> Self {
        let mut builder = auto::Builder::new(Streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING_EVERY))
            .keep_alive_timeout(PONG_WITHIN)
            .max_concurrent_streams(MAX_STREAMS)
            .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
            .max_send_buf_size(MAX_UNSENT_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES);
        Self { http1: builder.clone().http1_only(), http2: builder.clone().http2_only(), either: builder }
    }

    const fn of(&self, spoken: Spoken) -> &auto::Builder<Streams> {
        match spoken {
            Spoken::Http1 => &self.http1,
            Spoken::Http2 => &self.http2,
            Spoken::Either => &self.either,
        }
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
        Tls::On => match handshake(&gateway, &listener, paced(stream)).await {
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
    // hyper waits for the first bytes without a deadline, and through a drain.
    let spoken = tokio::select! {
        biased;
        spoken = tokio::time::timeout(HEAD_WITHIN, spoken(&stream)) => spoken,
        () = drain.cancelled() => return open.ends(ConnectionEnd::Drained),
    };
    let Ok(spoken) = spoken else { return open.ends(ConnectionEnd::Idle) };
    let (scheme, stream) = match tls {
        Tls::On => (Scheme::HTTPS, stream),
        Tls::Off => (Scheme::HTTP, paced(stream)),
    };
    let peer = Peer { connection: record::Peer { address, scheme }, listener };
    let served = Rc::new(Served { gateway, peer, pulse: Arc::default() });
    let ended = speak(&served, protocols.of(spoken), stream, &drain).await;
    open.ends(end_of(ended.as_ref().err(), &served.pulse, &drain));
    if let Some(why) = unanswered(ended.as_ref().err(), &served.pulse)
        && let Some(stream) = served.pulse.stream()
    {
        unread::answer(&served.gateway, &served.peer, stream, why).await;
    }
    if let Err(error) = ended {
        tracing::trace!(error, "a client connection ended");
    }
}

/// What the requests of one connection share.
#[derive(Debug)]
struct Served {
    gateway: Rc<Gateway>,
    peer: Peer,
    pulse: Arc<Pulse>,
}

/// An answer's body, which tells when it has ended.
#[derive(Debug)]
struct Told {
    body: AnswerBody,
    /// `None` where something else than answers follows.
    served: Option<Rc<Served>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(served) = &self.served {
            served.pulse.answered();
        }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.get_mut().body).poll_frame(cx);
        streams::note(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a connection ended before its time.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Lets hyper speak to the client until one of them ends it.
async fn speak(
    served: &Rc<Served>,
    protocol: &auto::Builder<Streams>,
    stream: Stream,
    drain: &CancellationToken,
) -> Result<(), Error> {
    let shared = Rc::clone(served);
    let service = service_fn(move |request| {
        let served = Rc::clone(&shared);
        served.pulse.asked();
        async move {
            let answer = served.gateway.answer(&served.peer, request).await;
            // After an upgrade the bytes are no answers any more.
            let served = (answer.status() != StatusCode::SWITCHING_PROTOCOLS).then_some(served);
            Ok::<_, Infallible>(answer.map(|body| Told { body, served }))
        }
    });
    let stream = Hushed::new(stream, Arc::clone(&served.pulse));
    let mut connection = pin!(protocol.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // The connection goes first: what has arrived before the drain is served.
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// What a client is still to be told whose last request hyper gave up.
fn unanswered(error: Option<&Error>, pulse: &Pulse) -> Option<Denied> {
    match pulse.kept_back() {
        Some(414) => Some(Denied::TargetTooLong),
        Some(431) => Some(Denied::HeadersTooLarge),
        Some(_) => Some(Denied::RequestMalformed),
        None => (is_timeout(error) && pulse.has_begun()).then_some(Denied::HeadTimeout),
    }
}

fn end_of(error: Option<&Error>, pulse: &Pulse, drain: &CancellationToken) -> ConnectionEnd {
    let Some(error) = error else {
        return if drain.is_cancelled() { ConnectionEnd::Drained } else { ConnectionEnd::Closed };
    };
    let of_hyper = error.downcast_ref::<hyper::Error>();
    if pulse.kept_back().is_some() || of_hyper.is_some_and(hyper::Error::is_parse) {
        ConnectionEnd::Protocol
    } else if is_timeout(Some(error)) {
        if pulse.has_begun() { ConnectionEnd::HeadTimeout } else { ConnectionEnd::Idle }
    } else if of_hyper.is_some_and(hyper::Error::is_incomplete_message) {
        ConnectionEnd::Closed
    } else {
        ConnectionEnd::Broken
    }
}

fn is_timeout(error: Option<&Error>) -> bool {
    error.and_then(|error| error.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_timeout)
}

/// A client that takes nothing of what is written for it is given up, beneath TLS, which takes more than the socket.
fn paced(stream: Stream) -> Stream {
    Stream::Paced(Box::new(Paced::new(stream, WRITE_WITHIN, Stream::forget)))
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
        Stream::Tcp(_) | Stream::Unix(_) | Stream::Paced(_) => None,
    };
    if agreed == Some(rustls::ProtocolVersion::TLSv1_2) { TlsVersion::V1_2 } else { TlsVersion::V1_3 }
}

/// What a client begins to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    /// Not looked at.
    Either,
}

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Pause before a preface that has come in part is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// Waits until it is clear what the client speaks: agreed on in the handshake, or told by its first bytes.
async fn spoken(stream: &Stream) -> Spoken {
    match stream {
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => Spoken::Http2,
        Stream::Tls(_) => Spoken::Http1,
        Stream::Tcp(tcp) => peeked(tcp).await,
        // A socket of this machine cannot be peeked at, and is no stranger's.
        Stream::Unix(_) | Stream::Paced(_) => Spoken::Either,
    }
}

async fn peeked(tcp: &tokio::net::TcpStream) -> Spoken {
    let mut first = [0; PREFACE.len()];
    loop {
        // A broken connection is found out by whoever reads it.
        let Ok(seen) = tcp.peek(&mut first).await else { return Spoken::Http1 };
        let begun = first.get(..seen).unwrap_or_default();
        if seen == 0 || !PREFACE.starts_with(begun) {
            return Spoken::Http1;
        }
        if seen == PREFACE.len() {
            return Spoken::Http2;
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}
