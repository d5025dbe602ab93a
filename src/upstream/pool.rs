//! The connections of one worker to one endpoint.

use std::cell::Cell;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use http::response::Parts;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::Protocol;
use crate::http1::body::Length;
use crate::model::refusal::Failed;
use crate::observe::metrics::PoolState;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::RequestBody;
use crate::upstream::budget::Budget;
use crate::upstream::connect::connect;
use crate::upstream::counted::Counted;
use crate::upstream::exchange::Lost;
use crate::upstream::exchange::RequestHead;
use crate::upstream::exchange::SendError;
use crate::upstream::http1;
use crate::upstream::http2;
use crate::upstream::stream::Stream;
use crate::upstream::timer::Alarm;

/// How long a connection may idle. Shorter than the keep-alive time of common servers would cost connects,
/// longer would hold sockets that the server has given up; a connection that the server closes is noticed at once.
pub const IDLE_FOR: Duration = Duration::from_secs(30);

/// How long an endpoint that refused a connection is avoided while another one is there.
const AVOIDED_FOR: Duration = Duration::from_secs(1);

/// Sweeps before an endpoint without connections is forgotten: what is known of its failures outlives an outage.
const QUIET_SWEEPS: u8 = 40;

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Vec<Rc<http2::Connection>>>,
    in_flight: Cell<usize>,
    avoid_until: Cell<Option<Instant>>,
    budget: Budget,
    /// Sweeps, one after the other, that found nothing here.
    quiet: Cell<u8>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Exclusive>,
    since: Instant,
}

/// An HTTP/1 connection: one exchange at a time.
#[derive(Debug)]
struct Exclusive {
    wire: http1::Connection<Stream>,
    alarm: Alarm,
    counted: Counted,
}

/// A place on a connection for one request and its answer. Dropped before [`Lease::finish`], it takes the HTTP/1 connection
/// with it, or resets the HTTP/2 stream: nothing that an unfinished exchange left behind is used again.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Pool>,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    Http1(Box<Exclusive>),
    /// And the body of the answer, once its head has come.
    Http2(Rc<http2::Connection>, Option<Incoming>),
    Returned,
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

    /// What may be sent again of the requests that begin here.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes a waiting connection or makes one.
    ///
    /// # Errors
    /// What [`connect`] answers, or [`Failed::UpstreamProtocol`] when HTTP/2 cannot be spoken.
    pub async fn lease(self: &Rc<Self>, endpoint: &Endpoint, connect_within: Duration) -> Result<Lease, Failed> {
        self.quiet.set(0);
        let waiting = match endpoint.protocol {
            Protocol::Http1 => self.take_idle().map(|connection| {
                connection.counted.turn(PoolState::Active);
                Connection::Http1(connection)
            }),
            Protocol::Http2 => self.share().map(|shared| Connection::Http2(shared, None)),
        };
        let connection = match waiting {
            Some(connection) => connection,
            None => self.open(endpoint, connect_within).await.inspect_err(|_failed| {
                self.avoid_until.set(Some(Instant::now() + AVOIDED_FOR));
            })?,
        };
        Ok(Lease::new(Rc::clone(self), connection))
    }

    /// Closes what has idled too long; `false` when nothing is left and nothing has come for a while.
    pub fn sweep(&self, now: Instant) -> bool {
        let stale = |since: Instant| now.duration_since(since) >= IDLE_FOR;
        self.http1.borrow_mut().retain_mut(|idle| !stale(idle.since) && idle.connection.wire.is_alive());
        self.http2.borrow_mut().retain(|shared| !shared.is_closed() && !shared.idle_since().is_some_and(stale));
        if self.in_flight.get() > 0 || !self.http1.borrow().is_empty() || !self.http2.borrow().is_empty() {
            return true;
        }
        self.quiet.set(self.quiet.get().saturating_add(1));
        self.quiet.get() < QUIET_SWEEPS
    }

    /// The connection that was used last: it is the least likely to have been closed meanwhile.
    fn take_idle(&self) -> Option<Box<Exclusive>> {
        let mut idle = self.http1.borrow_mut();
        std::iter::from_fn(|| idle.pop())
            .map(|idle| idle.connection)
            .find_map(|mut connection| connection.wire.is_alive().then_some(connection))
    }

    fn share(&self) -> Option<Rc<http2::Connection>> {
        let mut shared = self.http2.borrow_mut();
        shared.retain(|connection| !connection.is_closed());
        shared.iter().find(|connection| connection.has_room()).map(Rc::clone)
    }

    async fn open(&self, endpoint: &Endpoint, within: Duration) -> Result<Connection, Failed> {
        let io = connect(endpoint, within).await?;
        match endpoint.protocol {
            Protocol::Http1 => Ok(Connection::Http1(Box::new(Exclusive {
                wire: http1::Connection::new(io),
                alarm: Alarm::default(),
                counted: Counted::opened(endpoint.metrics.as_ref()),
            }))),
            Protocol::Http2 => {
                let shared = Rc::new(http2::Connection::begin(io, endpoint, within).await?);
                self.http2.borrow_mut().push(Rc::clone(&shared));
                Ok(Connection::Http2(shared, None))
            }
        }
    }
}

impl Lease {
    fn new(pool: Rc<Pool>, connection: Connection) -> Self {
        pool.in_flight.set(pool.in_flight.get() + 1);
        if let Connection::Http2(shared, _) = &connection {
            shared.enter();
        }
        Self { pool, connection }
    }

    /// The timer of the connection, for as long as the request waits. A connection that is shared has none to lend.
    pub fn alarm(&mut self) -> Alarm {
        match &mut self.connection {
            Connection::Http1(connection) => std::mem::take(&mut connection.alarm),
            Connection::Http2(..) | Connection::Returned => Alarm::default(),
        }
    }

    /// Gives the timer back.
    pub fn keep_alarm(&mut self, alarm: Alarm) {
        if let Connection::Http1(connection) = &mut self.connection {
            connection.alarm = alarm;
        }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`SendError::Unsent`] gives the body back when no byte of the request was written.
    pub async fn send(
        &mut self,
        request: &impl RequestHead,
        endpoint: &Endpoint,
        body: RequestBody,
    ) -> Result<Parts, SendError> {
        match &mut self.connection {
            Connection::Http1(connection) => {
                connection.wire.begin(request, endpoint, body);
                let head = std::future::poll_fn(|cx| connection.wire.poll_head(cx)).await.map_err(SendError::Lost)?;
                let (mut parts, ()) = http::Response::new(()).into_parts();
                (parts.status, parts.version, parts.headers) = (head.status, head.version, head.fields);
                Ok(parts)
            }
            Connection::Http2(shared, incoming) => {
                let response = shared.send(request, endpoint, body).await?;
                let (parts, body) = response.into_parts();
                // Two lengths that agree are none to HTTP/2, and two lines to a client of HTTP/1.
                Length::said(&parts.headers, parts.version).map_err(|malformed| SendError::Lost(malformed.into()))?;
                *incoming = Some(body);
                Ok(parts)
            }
            Connection::Returned => Err(SendError::Unsent(body)),
        }
    }

    /// The next piece of the answer's body.
    ///
    /// # Errors
    /// [`Lost`] when the answer stops before its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        match &mut self.connection {
            Connection::Http1(connection) => connection.wire.poll_frame(cx),
            Connection::Http2(_, Some(body)) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Lost::from)))
            }
            Connection::Http2(_, None) | Connection::Returned => Poll::Ready(None),
        }
    }

    /// Whether the answer has come to its end.
    pub fn is_end_stream(&self) -> bool {
        match &self.connection {
            Connection::Http1(connection) => connection.wire.is_end_stream(),
            Connection::Http2(_, body) => body.as_ref().is_none_or(Incoming::is_end_stream),
            Connection::Returned => true,
        }
    }

    /// How much of the answer's body is left.
    pub fn size_hint(&self) -> SizeHint {
        match &self.connection {
            Connection::Http1(connection) => connection.wire.size_hint(),
            Connection::Http2(_, body) => body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint),
            Connection::Returned => SizeHint::with_exact(0),
        }
    }

    /// Whether a task of its own delivers the answer's body, which then takes a turn to arrive.
    pub const fn is_shared(&self) -> bool {
        matches!(self.connection, Connection::Http2(..))
    }

    /// No answer has come in time. A connection that may be dead, or busy with something else than answers, is not left
    /// to the next request; on HTTP/2 those that it carries already have their own time.
    pub fn give_up(self) {
        if let Connection::Http2(shared, _) = &self.connection {
            shared.give_up();
            self.pool.http2.borrow_mut().retain(|kept| !Rc::ptr_eq(kept, shared));
        }
    }

    /// The exchange is over on both sides: the connection may carry another one.
    pub fn finish(mut self) {
        match std::mem::replace(&mut self.connection, Connection::Returned) {
            Connection::Http1(connection) if connection.wire.is_over() => {
                connection.counted.turn(PoolState::Idle);
                self.pool.http1.borrow_mut().push(Idle { connection, since: Instant::now() });
            }
            Connection::Http2(shared, _) => shared.leave(),
            Connection::Http1(..) | Connection::Returned => {}
        }
    }

    /// The bare connection after an answer of 101, and what has been read of the protocol that it speaks now. Only
    /// HTTP/1 switches. The place is taken until the returned guard is dropped.
    pub fn into_switched(mut self) -> Option<(Stream, BytesMut, Switched)> {
        match std::mem::replace(&mut self.connection, Connection::Returned) {
            Connection::Http1(connection) => {
                let Exclusive { wire, alarm: _, counted } = *connection;
                let (io, early) = wire.into_parts();
                Some((io, early, Switched { _lease: self, _counted: counted }))
            }
            Connection::Http2(shared, _) => {
                shared.leave();
                None
            }
            Connection::Returned => None,
        }
    }
}

/// Counts a connection that carries another protocol by now.
#[derive(Debug)]
pub struct Switched {
    _lease: Lease,
    _counted: Counted,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.set(self.pool.in_flight.get().saturating_sub(1));
        match &self.connection {
            Connection::Http2(shared, _) => shared.leave(),
            Connection::Http1(_) | Connection::Returned => {}
        }
    }
}
