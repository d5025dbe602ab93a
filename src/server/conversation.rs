//! HTTP with one client, from its first byte to the end of the connection, in the protocol that the client begins with.

use std::rc::Rc;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body::Body;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::server::crowd::Place;
use crate::server::http1;
use crate::server::http1::Spoken;
use crate::server::http2;
use crate::upstream::client_body::ClientBody;
use crate::upstream::paced::Paced;
use crate::upstream::stream::Stream;

/// What an answer can break with.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who answers the requests of a connection.
pub(super) trait Answers: 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Failure>> + Unpin + 'static;

    /// The answer to a request.
    fn answer(&self, request: Request<ClientBody>) -> impl Future<Output = Response<Self::Body>>;

    /// The answer to what is no request.
    fn refuse(&self, why: Denied) -> Response<Self::Body>;

    /// Whether no further request is wanted on the connection.
    fn is_tired(&self) -> bool;
}

/// A connection that can be spoken on.
#[derive(Debug)]
pub(super) struct Line<'l> {
    pub(super) stream: Stream,
    pub(super) place: Place,
    pub(super) limits: &'l Limits,
    pub(super) drain: &'l CancellationToken,
}

/// A client that takes nothing of what is written for it is given up, beneath TLS, which takes more than the socket.
pub(super) fn paced(stream: Stream, within: std::time::Duration) -> Stream {
    Stream::Paced(Box::new(Paced::new(stream, within, Stream::forget)))
}

/// Speaks until one of the two sides ends it. When the drain begins what is in flight is finished and nothing more is taken.
pub(super) async fn speak<A: Answers>(protocol: &http2::Protocol, line: Line<'_>, answers: &Rc<A>) -> ConnectionEnd {
    let (limits, drain) = (line.limits, line.drain);
    match http1::speak(line, &**answers).await {
        Spoken::Ended(end) => end,
        Spoken::Http2(stream, place) => {
            let end = http2::speak(protocol, stream, Rc::clone(answers), &limits.patience, drain).await;
            drop(place);
            end
        }
    }
}
