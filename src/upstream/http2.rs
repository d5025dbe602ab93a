//! An HTTP/2 connection to an upstream, which many requests share. hyper reads and writes it, in a task of its own.

use std::cell::Cell;
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::Uri;
use http::header::HOST;
use http::uri::Authority;
use http::uri::Scheme;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::model::refusal::Failed;
use crate::observe::metrics::PoolState;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::RequestBody;
use crate::upstream::counted::Counted;
use crate::upstream::exchange::RequestHead;
use crate::upstream::exchange::SendError;
use crate::upstream::stream::Stream;

/// Requests that one HTTP/2 connection carries at once before another is opened. A peer that allows fewer makes
/// the rest wait inside hyper.
pub const STREAMS_PER_CONNECTION: usize = 100;

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Spawns what one HTTP/2 connection needs, and remembers the first: hyper reads and writes there, in a task of its own
/// that sees its farewells delivered, for as long as that takes.
#[derive(Debug, Clone, Default)]
struct Spawner {
    connection: Rc<OnceCell<AbortHandle>>,
}

impl<F: Future + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        self.connection.get_or_init(|| task.abort_handle());
    }
}

/// A connection, and the requests that it carries.
#[derive(Debug)]
pub struct Connection {
    sender: http2::SendRequest<RequestBody>,
    tasks: Spawner,
    is_given_up: Cell<bool>,
    counted: Counted,
    streams: Cell<usize>,
    last_used: Cell<Instant>,
}

impl Connection {
    /// Begins HTTP/2 on a byte stream.
    ///
    /// # Errors
    /// [`Failed::UpstreamConnectTimeout`] after `within`, [`Failed::UpstreamProtocol`] when it cannot be spoken.
    pub async fn begin(io: Stream, endpoint: &Endpoint, within: Duration) -> Result<Self, Failed> {
        let tasks = Spawner::default();
        let mut builder = http2::Builder::new(tasks.clone());
        builder.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
        let (sender, connection) = tokio::time::timeout(within, builder.handshake(TokioIo::new(io)))
            .await
            .map_err(|_elapsed| Failed::UpstreamConnectTimeout)?
            .map_err(|_broken| Failed::UpstreamProtocol)?;
        LocalExecutor.execute(async move { connection.await.unwrap_or_else(|error| ended(&error)) });
        Ok(Self {
            sender,
            tasks,
            is_given_up: Cell::new(false),
            counted: Counted::opened(endpoint.metrics.as_ref()),
            streams: Cell::new(0),
            last_used: Cell::new(Instant::now()),
        })
    }

    /// Whether it takes no further request.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it has room for another request.
    pub const fn has_room(&self) -> bool {
        self.streams.get() < STREAMS_PER_CONNECTION
    }

    /// Since when it has carried nothing; `None` while it carries something.
    pub const fn idle_since(&self) -> Option<Instant> {
        if self.streams.get() == 0 { Some(self.last_used.get()) } else { None }
    }

    /// Counts a request in.
    pub fn enter(&self) {
        self.streams.set(self.streams.get() + 1);
        self.counted.turn(PoolState::Active);
    }

    /// Counts a request out.
    pub fn leave(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if self.streams.get() == 0 {
            self.counted.turn(PoolState::Idle);
        }
        self.last_used.set(Instant::now());
    }

    /// It is closed when the last request that it carries has gone.
    pub fn give_up(&self) {
        self.is_given_up.set(true);
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`SendError::Unsent`] gives the body back when no byte of the request was written.
    pub async fn send(
        &self,
        request: &impl RequestHead,
        endpoint: &Endpoint,
        body: RequestBody,
    ) -> Result<Response<Incoming>, SendError> {
        let request = request_for(request, endpoint, body);
        self.sender.clone().try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(request.into_body()),
            None => SendError::Lost(error.into_error().into()),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_given_up.get() {
            self.tasks.connection.get().inspect(|task| task.abort());
        }
    }
}

/// How a connection ended is told to the request that was on it; without one it is of no interest.
fn ended(error: &hyper::Error) {
    tracing::trace!(%error, "an upstream connection ended");
}

/// The same request for HTTP/2, where `Host` is part of the target: `:authority` and `:scheme` (RFC 9113 §8.3.1).
fn request_for(head: &impl RequestHead, endpoint: &Endpoint, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    request.method_mut().clone_from(head.method());
    let fields = request.headers_mut();
    head.fields(endpoint, &mut |name, value| {
        // Whoever tells fields has them from headers.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.append(name.clone(), value);
        }
    });
    let mut parts = head.target().clone().into_parts();
    parts.scheme = Some(if endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = fields.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    // No authority, no target: `Host` alone is understood as well.
    if let Ok(uri) = Uri::from_parts(parts) {
        fields.remove(HOST);
        *request.uri_mut() = uri;
    } else {
        request.uri_mut().clone_from(head.target());
    }
    request
}
