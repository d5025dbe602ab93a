//! The client's body on its way to the upstream: streamed, counted, limited, never collected.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use tokio::time::Instant;

use crate::model::refusal::Denied;
use crate::observe::record::ByteCount;
use crate::upstream::client_body::ClientBody;
use crate::upstream::client_body::Unreadable;
use crate::upstream::timer::IdleTimer;

/// What became of a request's body, shared between whoever sends it and whoever has to answer for it.
#[derive(Debug)]
pub struct Progress {
    completed: Cell<Option<Instant>>,
    stopped: Cell<Option<Denied>>,
    unclaimed_since: Cell<Option<Instant>>,
}

impl Progress {
    /// When all of it had been passed on; `None` before that.
    pub const fn completed(&self) -> Option<Instant> {
        self.completed.get()
    }

    /// Since when the upstream has taken nothing; `None` while it is the client that is waited for.
    pub const fn unclaimed_since(&self) -> Option<Instant> {
        self.unclaimed_since.get()
    }

    fn complete(&self) {
        if self.completed.get().is_none() {
            self.completed.set(Some(Instant::now()));
        }
    }

    /// Why it was stopped, when that was the client's doing.
    pub const fn stopped(&self) -> Option<Denied> {
        self.stopped.get()
    }
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The rule that it broke.
    #[error("the request body was stopped: {}", .0.row().code)]
    Stopped(Denied),
    /// The client's connection broke, or its framing did.
    #[error("the request body could not be read")]
    Unreadable(#[source] Unreadable),
}

/// The client's body.
#[derive(Debug)]
pub struct RequestBody {
    inner: ClientBody,
    progress: Rc<Progress>,
    passed: Option<ByteCount>,
    left: u64,
    timer: IdleTimer,
    trailers: Option<TrailerRule>,
}

/// What becomes of trailers before they go on.
pub struct TrailerRule(Box<dyn Fn(&mut HeaderMap)>);

impl TrailerRule {
    /// Trailers go on as `clean` leaves them.
    pub fn new(clean: impl Fn(&mut HeaderMap) + 'static) -> Self {
        Self(Box::new(clean))
    }
}

impl std::fmt::Debug for TrailerRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrailerRule").finish_non_exhaustive()
    }
}

impl RequestBody {
    /// Passes on `inner`, at most `limit` bytes of it, waiting at most `idle` for each piece, from `now` on, and
    /// counts into `passed`.
    #[must_use]
    pub fn new(
        inner: ClientBody,
        limit: u64,
        idle: Duration,
        passed: Option<ByteCount>,
        trailers: Option<TrailerRule>,
        now: Instant,
    ) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress {
            completed: Cell::new(None),
            stopped: Cell::new(None),
            unclaimed_since: Cell::new(Some(now)),
        });
        if inner.is_end_stream() {
            progress.completed.set(Some(now));
        }
        (
            Self { inner, progress: Rc::clone(&progress), passed, left: limit, timer: IdleTimer::new(idle), trailers },
            progress,
        )
    }

    /// No body at all, for a request that had none and is sent again.
    #[must_use]
    pub fn empty(progress: Rc<Progress>) -> Self {
        let timer = IdleTimer::new(Duration::MAX);
        Self { inner: ClientBody::Empty, progress, passed: None, left: 0, timer, trailers: None }
    }

    /// Whether the request never had a body.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.inner, ClientBody::Empty)
    }

    fn stop(&self, why: Denied) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.stopped.set(Some(why));
        Poll::Ready(Some(Err(BodyError::Stopped(why))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                this.timer.progressed();
                this.progress.unclaimed_since.set(Some(Instant::now()));
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = this.left.checked_sub(bytes) else { return this.stop(Denied::BodyTooLarge) };
                this.left = left;
                if let Some(passed) = &this.passed {
                    passed.add(bytes);
                }
                if let (Some(trailers), Some(rule)) = (frame.trailers_mut(), &this.trailers) {
                    (rule.0)(trailers);
                }
                // Nothing follows trailers, and nobody asks again.
                if this.inner.is_end_stream() || frame.is_trailers() {
                    this.progress.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.progress.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.progress.stopped.set(Some(Denied::BodyMalformed));
                Poll::Ready(Some(Err(BodyError::Unreadable(error))))
            }
            Poll::Pending if this.timer.poll_expired(cx).is_ready() => this.stop(Denied::BodyTimeout),
            Poll::Pending => {
                this.progress.unclaimed_since.set(None);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
