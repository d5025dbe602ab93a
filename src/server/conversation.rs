//! HTTP with one client, from its first byte to the end of the connection: hyper's part of it, and what hyper leaves out.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::config::Patience;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::server::crowd::Place;
use crate::server::guarded::Guarded;
use crate::server::hushed::Hushed;
use crate::server::pulse::Due;
use crate::server::pulse::Pulse;
use crate::server::streams::Streams;
use crate::upstream::paced::Paced;
use crate::upstream::stream::Stream;

/// What hyper keeps at least of one HTTP/1 connection: a piece of a body.
const BUFFER_BYTES: usize = 128 * 1024;

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

/// Longest wait for a connection that nobody uses to be closed in good order.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// How long a drain waits for the first request of a connection that was just accepted, and for the rest of a head: whoever
/// has connected is not told that the gateway leaves, and would take its end for a failure.
const NEWCOMER_WITHIN: Duration = Duration::from_secs(1);

/// How connections are served: HTTP/1.1 and HTTP/2, told apart by HTTP/2's preface (RFC 9113 §3.3).
///
/// hyper's own limits on a head are wider than the listener's, so that most of what is too large is read, and refused
/// like any other request; they bound what one connection can cost. Its deadline for a head is left to [`Pulse`].
pub(super) fn protocol(limits: &Limits) -> auto::Builder<Streams> {
    let head_bytes = limits.target_bytes + 2 * limits.headers_bytes;
    let mut builder = auto::Builder::new(Streams::of(limits.patience.write));
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(limits.header_count)
        .max_buf_size(head_bytes.max(BUFFER_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PONG_WITHIN)
        .max_concurrent_streams(MAX_STREAMS)
        .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
        .max_send_buf_size(MAX_UNSENT_BYTES)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX));
    builder
}

/// A client that takes nothing of what is written for it is given up, beneath TLS, which takes more than the socket.
pub(super) fn paced(stream: Stream, within: Duration) -> Stream {
    Stream::Paced(Box::new(Paced::new(stream, within, Stream::forget)))
}

/// A connection that can be spoken on.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: Stream,
    pub(super) place: Place,
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Patience,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// In good order.
    Closed,
    /// In good order, because the gateway leaves.
    Drained,
    /// The client was late.
    Late(Due),
    /// Something broke.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl Ended {
    /// What the client is still to be told, whose last request hyper gave up.
    pub(super) fn unanswered(&self, pulse: &Pulse) -> Option<Denied> {
        match (pulse.kept_back(), self) {
            (Some(414), _) => Some(Denied::TargetTooLong),
            (Some(431), _) => Some(Denied::HeadersTooLarge),
            (Some(_), _) => Some(Denied::RequestMalformed),
            (None, Self::Late(Due::Head)) => Some(Denied::HeadTimeout),
            (None, Self::Late(Due::Idle | Due::Leave) | Self::Closed | Self::Drained | Self::Broken(_)) => None,
        }
    }

    /// What the metric says.
    pub(super) fn counted(&self, pulse: &Pulse) -> ConnectionEnd {
        match self {
            _ if pulse.kept_back().is_some() => ConnectionEnd::Protocol,
            Self::Closed => ConnectionEnd::Closed,
            Self::Drained => ConnectionEnd::Drained,
            Self::Late(Due::Head) => ConnectionEnd::HeadTimeout,
            Self::Late(Due::Idle) => ConnectionEnd::Idle,
            Self::Late(Due::Leave) => ConnectionEnd::Closed,
            Self::Broken(error) => match error.downcast_ref::<hyper::Error>() {
                Some(error) if error.is_parse() => ConnectionEnd::Protocol,
                Some(error) if error.is_incomplete_message() => ConnectionEnd::Closed,
                Some(_) | None => ConnectionEnd::Broken,
            },
        }
    }
}

/// Speaks until one of the two sides ends it. When `drain` is cancelled what is in flight is finished and nothing more
/// is taken.
pub(super) async fn speak<S, B>(
    protocol: &auto::Builder<Streams>,
    line: Line,
    service: S,
    drain: &CancellationToken,
) -> Ended
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Streams: auto::HttpServerConnExec<S::Future, B>,
{
    let Line { stream, place, pulse, mut patience } = line;
    let stream = Guarded::new(Hushed::new(stream, place, Arc::clone(&pulse)), Arc::clone(&pulse));
    let mut connection = pin!(protocol.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // Why it ends, once it is to. From then on an error is nobody's: one that has said nothing yet ends with one.
    let mut ending = None;
    loop {
        // The connection goes first: what has arrived before the drain is served.
        let why = tokio::select! {
            biased;
            ended = connection.as_mut() => {
                return ending.unwrap_or_else(|| ended.map_or_else(Ended::Broken, |()| Ended::Closed));
            }
            due = pulse.due(&patience) => Ended::Late(due),
            () = drain.cancelled(), if ending.is_none() => {
                if pulse.may_be_about_to_ask()
                    && let Ok(ended) = tokio::time::timeout(NEWCOMER_WITHIN, connection.as_mut()).await
                {
                    return ended.map_or_else(Ended::Broken, |()| Ended::Drained);
                }
                Ended::Drained
            }
        };
        match why {
            // hyper would wait for the rest of the head.
            Ended::Late(Due::Head) => return why,
            Ended::Late(Due::Idle) => {
                connection.as_mut().graceful_shutdown();
                let _in_good_order_or_not = tokio::time::timeout(FAREWELL_WITHIN, connection).await;
                return ending.unwrap_or(why);
            }
            Ended::Late(Due::Leave) if !pulse.is_http2() => {
                patience.lifetime = None;
                pulse.grow_old();
            }
            Ended::Late(Due::Leave) | Ended::Drained | Ended::Closed | Ended::Broken(_) => {
                patience.lifetime = None;
                connection.as_mut().graceful_shutdown();
                ending = Some(why);
            }
        }
    }
}
