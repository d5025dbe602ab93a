//! Where connections come in: those that have a place, for as long as there are file descriptors. The others are
//! closed at once, counted, and told of in one line for all of them.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::time::Instant;

use crate::config::Limits;
use crate::model::name::Name;
use crate::observe::metrics::ListenerMetrics;
use crate::observe::metrics::Shed;
use crate::server::crowd::Crowd;
use crate::server::crowd::Place;
use crate::server::socket::Socketed;
use crate::server::socket::turn_away_newcomers;
use crate::upstream::stream::Stream;

/// Pause after an accept that failed: at the limit of file descriptors the next one fails as well.
const PAUSE: Duration = Duration::from_millis(50);

/// How long no accept has to fail before the socket counts as mended.
const CALM: Duration = Duration::from_secs(1);

/// How long a handshake that had begun when newcomers were turned away is waited for: a round trip to the client.
const LINGER: Duration = Duration::from_millis(200);

/// Connections that are closed before the next pause, at the limit of file descriptors.
const SHED_AT_ONCE: usize = 64;

/// How long nothing has to be shed for the next line to be written.
const BURST: Duration = Duration::from_secs(10);

/// One worker's end of a listener.
#[derive(Debug)]
pub(super) struct Door {
    name: Name,
    socket: Listening,
    crowd: Arc<Crowd>,
    metrics: Arc<ListenerMetrics>,
    /// Given up at the limit of file descriptors, so that who waits can be taken and closed.
    spare: Option<File>,
    burst: Option<Burst>,
    /// When an accept last failed, until the socket counts as mended.
    failed: Option<Instant>,
    /// When the socket is closed, once it is to be.
    closes: Option<Instant>,
}

/// Connections that were shed one soon after the other.
#[derive(Debug)]
struct Burst {
    last: Instant,
    shed: u64,
}

/// A connection that was taken in.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) stream: Stream,
    /// `None` over a Unix socket.
    pub(super) address: Option<SocketAddr>,
    pub(super) place: Place,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    /// It stays open when this end of it closes, so nobody is turned away: whoever has it next takes who waits.
    Passed(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(socket) | Self::Passed(socket) => socket.poll_accept(cx).map_ok(|(tcp, address)| {
                // Answers are written whole; waiting for more to send with them only adds delay. A socket that
                // refuses the option still works.
                drop(tcp.set_nodelay(true));
                (Stream::Tcp(tcp), Some(address))
            }),
            Self::Unix(socket) => socket.poll_accept(cx).map_ok(|(unix, _)| (Stream::Unix(unix), None)),
        }
    }

    /// A system that cannot leaves a moment, at the close, in which a connection is completed and reset.
    fn turn_away_newcomers(&self) {
        match self {
            Self::Tcp(socket) => drop(turn_away_newcomers(socket)),
            Self::Passed(_) | Self::Unix(_) => {}
        }
    }
}

impl Door {
    /// Opens a socket's end. To be called within a runtime.
    pub(super) fn new(
        name: Name,
        socket: Socketed,
        crowd: Arc<Crowd>,
        metrics: Arc<ListenerMetrics>,
    ) -> io::Result<Self> {
        let socket = match socket {
            Socketed::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            Socketed::Passed(socket) => Listening::Passed(TcpListener::from_std(socket)?),
            Socketed::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { name, socket, crowd, metrics, spare: spare(), burst: None, failed: None, closes: None })
    }

    /// Waits for the next connection that has a place.
    pub(super) async fn next(&mut self, limits: impl Fn() -> Arc<Limits>) -> Entered {
        loop {
            match poll_fn(|cx| self.socket.poll_accept(cx)).await {
                Ok((stream, address)) => {
                    if self.failed.is_some_and(|at| at.elapsed() > CALM) {
                        self.failed = None;
                        tracing::info!(listener = %self.name, "connections are accepted again");
                    }
                    if let Some(entered) = self.admit(stream, address, &limits()) {
                        return entered;
                    }
                }
                Err(error) => self.fail(&error).await,
            }
        }
    }

    /// Turns newcomers away and takes who has connected or is about to: closing the socket would reset them. `None` once
    /// it can be closed.
    pub(super) async fn last(&mut self, limits: &Limits) -> Option<Entered> {
        if matches!(self.socket, Listening::Passed(_)) {
            return None;
        }
        let closes = *self.closes.get_or_insert_with(|| {
            self.socket.turn_away_newcomers();
            Instant::now() + LINGER
        });
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = poll_fn(|cx| self.socket.poll_accept(cx)) => accepted,
                () = tokio::time::sleep_until(closes) => return None,
            };
            let (stream, address) = accepted.ok()?;
            if let Some(entered) = self.admit(stream, address, limits) {
                return Some(entered);
            }
        }
    }

    async fn ready(&self) -> Option<io::Result<(Stream, Option<SocketAddr>)>> {
        match poll_fn(|cx| Poll::Ready(self.socket.poll_accept(cx))).await {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        }
    }

    fn admit(&mut self, stream: Stream, address: Option<SocketAddr>, limits: &Limits) -> Option<Entered> {
        match self.crowd.enter(address.map(|address| address.ip()), limits) {
            Ok(place) => Some(Entered { stream, address, place }),
            Err(why) => {
                drop(stream);
                self.shed(why);
                None
            }
        }
    }

    fn shed(&mut self, why: Shed) {
        self.metrics.shed(why);
        let now = Instant::now();
        match &mut self.burst {
            Some(burst) if now.saturating_duration_since(burst.last) < BURST => {
                *burst = Burst { last: now, shed: burst.shed + 1 };
            }
            burst => {
                let before = burst.replace(Burst { last: now, shed: 1 }).map_or(0, |burst| burst.shed);
                let limit = why.as_str();
                tracing::info!(listener = %self.name, limit, before, "connections above a limit are closed at once");
            }
        }
    }

    /// At the limit of file descriptors, whoever waits is closed rather than left to wait.
    async fn fail(&mut self, error: &io::Error) {
        self.metrics.accept_failed();
        if self.failed.replace(Instant::now()).is_none() {
            tracing::error!(listener = %self.name, %error, "connections cannot be accepted");
        }
        if self.spare.take().is_some() {
            for _ in 0..SHED_AT_ONCE {
                let Some(Ok(accepted)) = self.ready().await else { break };
                drop(accepted);
                self.metrics.shed(Shed::Files);
            }
        }
        self.spare = spare();
        tokio::time::sleep(PAUSE).await;
    }
}

/// A file descriptor to give up. Where there is none left, nobody can be closed and they wait.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
