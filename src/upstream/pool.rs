//! The connections of one worker to one endpoint.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::Protocol;
use crate::model::refusal::Failed;
use crate::observe::metrics::PoolState;
use crate::observe::metrics::UpstreamMetrics;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::RequestBody;
use crate::upstream::connect::connect;

/// Requests that one HTTP/2 connection carries at once before another is opened. A peer that allows fewer makes
/// the rest wait inside hyper.
const STREAMS_PER_CONNECTION: usize = 100;

/// How long a connection may idle. Shorter than the keep-alive time of common servers would cost connects,
/// longer would hold sockets that the server has given up; a connection that the server closes is noticed at once.
pub const IDLE_FOR: Duration = Duration::from_secs(30);

/// How long an endpoint that refused a connection is avoided while another one is there.
const AVOIDED_FOR: Duration = Duration::from_secs(1);

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Rc<Shared>>>,
    in_flight: Cell<usize>,
    avoid_until: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct Idle {
    connection: Exclusive,
    since: Instant,
}

/// An HTTP/1 connection: one exchange at a time.
#[derive(Debug)]
struct Exclusive {
    sender: http1::SendRequest<RequestBody>,
    /// Reads and writes. It would go on with an exchange that nobody waits for any longer.
    task: AbortHandle,
    counted: Counted,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    counted: Counted,
    streams: Cell<usize>,
    last_used: Cell<Instant>,
}

/// A place on a connection for one request. Dropped before [`Lease::finish`], it takes the HTTP/1 connection
/// with it, or resets the HTTP/2 stream: nothing that an unfinished exchange left behind is used again.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Pool>,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Http1(Exclusive),
    Http2(Rc<Shared>),
    Returned,
}

/// Counts a connection for as long as it is kept.
#[derive(Debug)]
struct Counted {
    metrics: Option<Arc<UpstreamMetrics>>,
    state: Cell<PoolState>,
}

impl Counted {
    fn opened(metrics: Option<&Arc<UpstreamMetrics>>) -> Self {
        if let Some(metrics) = metrics {
            metrics.connection_opened();
        }
        Self { metrics: metrics.map(Arc::clone), state: Cell::new(PoolState::Active) }
    }

    fn turn(&self, to: PoolState) {
        let from = self.state.replace(to);
        if let Some(metrics) = &self.metrics
            && from != to
        {
            metrics.connection_turned(from, to);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_closed(self.state.get());
        }
    }
}

/// The request did not reach the upstream, or was lost on the way.
#[derive(Debug)]
pub enum SendError {
    /// Nothing of it was written: it may be sent again.
    Unsent(Box<Request<RequestBody>>),
    /// The upstream may have seen it.
    Lost(hyper::Error),
}

impl Pool {
    /// Requests under way.
    pub const fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether a connection failed a moment ago.
    pub fn is_avoided(&self) -> bool {
        self.avoid_until.get().is_some_and(|until| Instant::now() < until)
    }

    /// Takes a waiting connection or makes one.
    ///
    /// # Errors
    /// What [`connect`] answers, or [`Failed::UpstreamProtocol`] when HTTP/2 cannot be spoken.
    pub async fn lease(self: &Rc<Self>, endpoint: &Endpoint, connect_within: Duration) -> Result<Lease, Failed> {
        let waiting = match endpoint.protocol {
            Protocol::Http1 => self.take_idle().map(|connection| {
                connection.counted.turn(PoolState::Active);
                Connection::Http1(connection)
            }),
            Protocol::Http2 => self.share().map(Connection::Http2),
        };
        let connection = match waiting {
            Some(connection) => connection,
            None => self.open(endpoint, connect_within).await.inspect_err(|_failed| {
                self.avoid_until.set(Some(Instant::now() + AVOIDED_FOR));
            })?,
        };
        Ok(Lease::new(Rc::clone(self), connection))
    }

    /// Closes what has idled too long; `false` when nothing is left.
    pub fn sweep(&self, now: Instant) -> bool {
        let stale = |since: Instant| now.duration_since(since) >= IDLE_FOR;
        self.http1.borrow_mut().retain(|idle| !idle.connection.sender.is_closed() && !stale(idle.since));
        self.http2.borrow_mut().retain(|shared| {
            !shared.sender.is_closed() && (shared.streams.get() > 0 || !stale(shared.last_used.get()))
        });
        self.in_flight.get() > 0 || !self.http1.borrow().is_empty() || !self.http2.borrow().is_empty()
    }

    /// The connection that was used last: it is the least likely to have been closed meanwhile.
    fn take_idle(&self) -> Option<Exclusive> {
        let mut idle = self.http1.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
            if !connection.sender.is_closed() {
                // Its task has yet to run to the end of the last exchange; the one below may be ready.
                let ready = |idle: &Idle| idle.connection.sender.is_ready();
                let below = idle.iter().rposition(ready).map(|at| idle.swap_remove(at).connection);
                idle.push(Idle { connection, since });
                return below;
            }
        }
        None
    }

    fn share(&self) -> Option<Rc<Shared>> {
        let mut shared = self.http2.borrow_mut();
        shared.retain(|connection| !connection.sender.is_closed());
        shared.iter().find(|connection| connection.streams.get() < STREAMS_PER_CONNECTION).map(Rc::clone)
    }

    async fn open(&self, endpoint: &Endpoint, within: Duration) -> Result<Connection, Failed> {
        let io = TokioIo::new(connect(endpoint, within).await?);
        match endpoint.protocol {
            Protocol::Http1 => {
                let (sender, connection) =
                    http1::Builder::new().handshake(io).await.map_err(|_closed| Failed::UpstreamClosed)?;
                let serving = async move { connection.with_upgrades().await.unwrap_or_else(|error| ended(&error)) };
                let task = tokio::task::spawn_local(serving).abort_handle();
                Ok(Connection::Http1(Exclusive { sender, task, counted: Counted::opened(endpoint.metrics.as_ref()) }))
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(LocalExecutor);
                builder.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
                let (sender, connection) = tokio::time::timeout(within, builder.handshake(io))
                    .await
                    .map_err(|_elapsed| Failed::UpstreamConnectTimeout)?
                    .map_err(|_broken| Failed::UpstreamProtocol)?;
                LocalExecutor.execute(async move { connection.await.unwrap_or_else(|error| ended(&error)) });
                let shared = Rc::new(Shared {
                    sender,
                    counted: Counted::opened(endpoint.metrics.as_ref()),
                    streams: Cell::new(0),
                    last_used: Cell::new(Instant::now()),
                });
                self.http2.borrow_mut().push(Rc::clone(&shared));
                Ok(Connection::Http2(shared))
            }
        }
    }
}

/// How a connection ended is told to the request that was on it; without one it is of no interest.
fn ended(error: &hyper::Error) {
    tracing::trace!(%error, "an upstream connection ended");
}

impl Lease {
    fn new(pool: Rc<Pool>, connection: Connection) -> Self {
        pool.in_flight.set(pool.in_flight.get() + 1);
        if let Connection::Http2(shared) = &connection {
            shared.streams.set(shared.streams.get() + 1);
            shared.counted.turn(PoolState::Active);
        }
        Self { pool, connection }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`SendError::Unsent`] gives the request back when no byte of it was written.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let sent: Result<_, TrySendError<_>> = match &mut self.connection {
            Connection::Http1(connection) => connection.sender.try_send_request(request).await,
            Connection::Http2(shared) => shared.sender.clone().try_send_request(request).await,
            Connection::Returned => return Err(SendError::Unsent(Box::new(request))),
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Lost(error.into_error()),
        })
    }

    /// The exchange is over on both sides: the connection may carry another one.
    pub fn finish(mut self) {
        match std::mem::replace(&mut self.connection, Connection::Returned) {
            Connection::Http1(connection) if !connection.sender.is_closed() => {
                connection.counted.turn(PoolState::Idle);
                self.pool.http1.borrow_mut().push(Idle { connection, since: Instant::now() });
            }
            Connection::Http2(shared) => shared.release(),
            Connection::Http1(..) | Connection::Returned => {}
        }
    }
}

impl Shared {
    fn release(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if self.streams.get() == 0 {
            self.counted.turn(PoolState::Idle);
        }
        self.last_used.set(Instant::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.set(self.pool.in_flight.get().saturating_sub(1));
        match &self.connection {
            Connection::Http1(connection) => connection.task.abort(),
            Connection::Http2(shared) => shared.release(),
            Connection::Returned => {}
        }
    }
}
