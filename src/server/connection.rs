//! One client connection of the traffic plane: handshake, protocol, requests, goodbye.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use http::uri::Scheme;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::observe::metrics::HandshakeFailure;
use crate::observe::metrics::TlsVersion;
use crate::observe::record;
use crate::pipeline::Gateway;
use crate::pipeline::peer::Peer;
use crate::pipeline::relay::AnswerBody;
use crate::server::conversation::Answers;
use crate::server::conversation::Line;
use crate::server::conversation::paced;
use crate::server::conversation::speak;
use crate::server::door::Entered;
use crate::server::http2;
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
    /// How HTTP/2 is spoken within that.
    pub(super) protocol: Rc<http2::Protocol>,
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
    let peer = Peer::new(record::Peer { address, scheme }, listener, Arc::clone(&limits));
    let line = Line { stream, place, limits: &limits, drain: &drain };
    let end = speak(&protocol, line, &Rc::new(Served { gateway, peer })).await;
    open.ends(end);
}

/// What the requests of one connection share.
#[derive(Debug)]
struct Served {
    gateway: Rc<Gateway>,
    peer: Peer,
}

impl Answers for Served {
    type Body = AnswerBody;

    async fn answer(&self, request: Request<ClientBody>) -> Response<AnswerBody> {
        self.gateway.answer(&self.peer, request).await
    }

    fn refuse(&self, why: Denied) -> Response<AnswerBody> {
        self.gateway.refuse_unread(&self.peer, why)
    }

    fn is_tired(&self) -> bool {
        self.peer.is_unwanted()
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
