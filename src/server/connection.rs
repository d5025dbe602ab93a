//! One client connection of the traffic plane: handshake, protocol, requests, goodbye.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::uri::Scheme;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::model::name::Name;
use crate::observe::metrics::ConnectionEnd;
use crate::observe::metrics::HandshakeFailure;
use crate::observe::metrics::TlsVersion;
use crate::observe::record;
use crate::pipeline::Gateway;
use crate::pipeline::peer::Peer;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::relay::Broken;
use crate::server::conversation::Ended;
use crate::server::conversation::Line;
use crate::server::conversation::paced;
use crate::server::conversation::speak;
use crate::server::door::Entered;
use crate::server::pulse::Pulse;
use crate::server::streams;
use crate::server::streams::Streams;
use crate::server::unread;
use crate::upstream::client_body::ClientBody;
use crate::upstream::stream::Stream;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The bytes, and a place for them.
    pub(super) entered: Entered,
    /// Which listener took it.
    pub listener: Name,
    /// What that bears.
    pub limits: Arc<Limits>,
    /// How HTTP is spoken within that.
    pub(super) protocol: Rc<auto::Builder<Streams>>,
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
pub async fn serve(gateway: Rc<Gateway>, accepted: Accepted, drain: CancellationToken) {
    let Accepted { entered, listener, limits, protocol, tls } = accepted;
    let Entered { stream, address, place } = entered;
    let patience = limits.patience;
    let metrics = gateway.listener_metrics(&listener);
    let mut open = metrics.accept();
    let stream = paced(stream, patience.write);
    let stream = match tls {
        Tls::Off => stream,
        Tls::On => match handshake(&gateway, &listener, stream, patience.handshake).await {
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
    let scheme = if tls == Tls::On { Scheme::HTTPS } else { Scheme::HTTP };
    let peer = Peer::new(record::Peer { address, scheme }, listener, limits);
    let served = Rc::new(Served { gateway, peer, pulse: Arc::new(Pulse::new()) });
    let shared = Rc::clone(&served);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = UnderWay::begin(&shared);
        async move {
            let Served { gateway, peer, pulse } = &*under_way.0;
            if pulse.is_old() {
                peer.end_soon();
            }
            let answer = gateway.answer(peer, request.map(ClientBody::from)).await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                pulse.upgraded();
            }
            if peer.is_unwanted() {
                pulse.end_soon();
            }
            Ok::<_, Infallible>(answer.map(|body| Told { body, _under_way: under_way }))
        }
    });
    let line = Line { stream, place, pulse: Arc::clone(&served.pulse), patience };
    let ended = speak(&protocol, line, service, &drain).await;
    open.ends(ended.counted(&served.pulse));
    if let Some(why) = ended.unanswered(&served.pulse)
        && let Some((stream, _place)) = served.pulse.left()
    {
        unread::answer(&served.gateway, &served.peer, stream, why).await;
    }
    if let Ended::Broken(error) = ended {
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

/// A request, from when it was read until its answer has ended.
#[derive(Debug)]
struct UnderWay(Rc<Served>);

impl UnderWay {
    fn begin(served: &Rc<Served>) -> Self {
        served.pulse.asked();
        Self(Rc::clone(served))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.pulse.answered();
    }
}

/// An answer's body.
#[derive(Debug)]
struct Told {
    body: AnswerBody,
    _under_way: UnderWay,
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

async fn handshake(gateway: &Gateway, listener: &Name, stream: Stream, within: Duration) -> io::Result<Stream> {
    let config = gateway.tls(listener).ok_or_else(|| io::Error::other("the listener has no certificate"))?;
    let accepting = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(within, accepting).await.map_err(io::Error::from)??;
    Ok(Stream::Tls(Box::new(stream.into())))
}

fn version_of(stream: &Stream) -> TlsVersion {
    let agreed = match stream {
        Stream::Tls(tls) => tls.get_ref().1.protocol_version(),
        Stream::Tcp(_) | Stream::Unix(_) | Stream::Paced(_) => None,
    };
    if agreed == Some(rustls::ProtocolVersion::TLSv1_2) { TlsVersion::V1_2 } else { TlsVersion::V1_3 }
}
