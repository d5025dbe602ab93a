//! HTTP/2 with one client (RFC 9113): hyper speaks it; how long, and how it ends, is decided here.

use std::convert::Infallible;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::config::Patience;
use crate::observe::metrics::ConnectionEnd;
use crate::server::conversation::Answers;
use crate::server::pulse::Due;
use crate::server::pulse::Pulse;
use crate::server::streams;
use crate::server::streams::Streams;
use crate::upstream::client_body::ClientBody;
use crate::upstream::stream::Replayed;
use crate::upstream::stream::Stream;

/// Most streams of one connection at once, as few as RFC 9113 §6.5.2 recommends: each may hold an upstream's
/// connection and a piece of an answer.
const MAX_STREAMS: u32 = 100;

/// Most streams of one connection that the gateway has to reset, and most that the client resets before the
/// gateway has looked at them. A connection above that is closed with `ENHANCE_YOUR_CALM`.
const MAX_FAULTY_STREAMS: usize = 256;
const MAX_RESET_UNSEEN: usize = 20;

/// What may wait for one stream's client.
const MAX_UNSENT_BYTES: usize = 128 * 1024;

/// How often a client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(60);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// Longest wait for a connection that nobody uses to be closed in good order.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// How long a drain waits for the first request of a connection that was just accepted.
const NEWCOMER_WITHIN: Duration = Duration::from_secs(1);

/// How connections are served.
pub(super) type Protocol = Builder<Streams>;

/// How connections are served within these limits. hyper's own limit on a head is wider than the listener's, so that most of
/// what is too large is read, and refused like any other request; it bounds what one connection can cost.
pub(super) fn protocol(limits: &Limits) -> Protocol {
    let head_bytes = limits.target_bytes + 2 * limits.headers_bytes;
    let mut builder = Builder::new(Streams::of(limits.patience.write));
    builder
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

/// Speaks until one of the two sides ends it.
pub(super) async fn speak<A: Answers>(
    protocol: &Protocol,
    stream: Replayed<Stream>,
    answers: Rc<A>,
    patience: &Patience,
    drain: &CancellationToken,
) -> ConnectionEnd {
    let mut patience = *patience;
    let pulse = Rc::new(Pulse::new());
    let heard = Rc::clone(&pulse);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = UnderWay::begin(&heard);
        let answers = Rc::clone(&answers);
        async move {
            let answer = answers.answer(request.map(ClientBody::from)).await;
            if answers.is_tired() {
                under_way.0.end_soon();
            }
            Ok::<_, Infallible>(answer.map(|body| Told { body, _under_way: under_way }))
        }
    });
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    // How it ends, once it is to. From then on an error is nobody's.
    let mut ending = None;
    loop {
        // The connection goes first: what has arrived before the drain is served.
        let end = tokio::select! {
            biased;
            ended = connection.as_mut() => return ending.unwrap_or_else(|| counted(ended)),
            due = pulse.due(&patience) => due,
            () = drain.cancelled(), if ending.is_none() => {
                if pulse.is_new()
                    && let Ok(ended) = tokio::time::timeout(NEWCOMER_WITHIN, connection.as_mut()).await
                {
                    return ended.map_or_else(|error| counted(Err(error)), |()| ConnectionEnd::Drained);
                }
                Due::Leave(ConnectionEnd::Drained)
            }
        };
        connection.as_mut().graceful_shutdown();
        match end {
            Due::Idle => {
                let _in_good_order_or_not = tokio::time::timeout(FAREWELL_WITHIN, connection).await;
                return ending.unwrap_or(ConnectionEnd::Idle);
            }
            Due::Leave(end) => {
                patience.lifetime = None;
                ending = Some(end);
            }
        }
    }
}

/// What the metric says of how hyper ended it.
fn counted(ended: Result<(), hyper::Error>) -> ConnectionEnd {
    let Err(error) = ended else { return ConnectionEnd::Closed };
    tracing::trace!(%error, "a client connection ended");
    if error.is_parse() {
        ConnectionEnd::Protocol
    } else if error.is_incomplete_message() {
        ConnectionEnd::Closed
    } else {
        ConnectionEnd::Broken
    }
}

/// A request, from when it was read until its answer has ended.
#[derive(Debug)]
struct UnderWay(Rc<Pulse>);

impl UnderWay {
    fn begin(pulse: &Rc<Pulse>) -> Self {
        pulse.asked();
        Self(Rc::clone(pulse))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// An answer's body.
#[derive(Debug)]
struct Told<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Told<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
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
