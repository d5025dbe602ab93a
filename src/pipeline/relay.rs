//! The upstream's answer on its way to the client: streamed, counted, its record and its connection in tow.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::model::refusal::Failed;
use crate::observe::record::Record;
use crate::pipeline::headers;
use crate::pipeline::limit::Held;
use crate::upstream::body::Progress;
use crate::upstream::exchange::Lost;
use crate::upstream::pool::Lease;
use crate::upstream::timer::IdleTimer;

/// The body of an answer to a client.
#[derive(Debug)]
pub enum AnswerBody {
    /// What an upstream sends.
    Relayed(Box<Relay>),
    /// What the gateway says itself; its record ends with it.
    Own(Option<Bytes>, Option<Box<Record>>),
}

/// Why an answer stops in the middle. The client sees a broken connection or a reset stream, never a whole answer.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The upstream's connection broke.
    #[error("the upstream's answer stopped in the middle")]
    Upstream(#[source] Lost),
    /// The upstream sent nothing for too long, or the exchange as a whole took too long.
    #[error("the upstream's answer took too long: {}", .0.row().code)]
    TooSlow(Failed),
}

/// An upstream's body, with what has to be done at its end.
#[derive(Debug)]
pub struct Relay {
    /// A piece that was there as soon as the head, so that one write takes both.
    first: Option<Frame<Bytes>>,
    record: Option<Record>,
    /// Where it comes from, until its end.
    lease: Option<Lease>,
    /// What it takes up until then.
    held: Held,
    request: Rc<Progress>,
    timer: IdleTimer,
    total: Option<Pin<Box<Sleep>>>,
    /// How it broke, to be told when what came before that has gone out.
    broken: Option<Broken>,
}

impl Relay {
    /// Relays what comes over `lease`; waits at most `idle` for each piece, and until `deadline` for all.
    pub fn new(
        record: Record,
        lease: Lease,
        held: Held,
        request: Rc<Progress>,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Box<Self> {
        Box::new(Self {
            first: None,
            record: Some(record),
            lease: Some(lease),
            held,
            request,
            timer: IdleTimer::new(idle),
            total: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            broken: None,
        })
    }

    /// Takes up what the upstream has sent along with the head.
    ///
    /// Without that the head would leave in a write of its own. Over HTTP/2 the body belongs to another task, which
    /// delivers a piece when it is asked; one turn of the queue lets it. Nothing is waited for: an event stream's head
    /// goes out at once.
    ///
    /// # Errors
    /// An answer that is broken from the start: its head has not gone out, so the client can be told honestly.
    pub async fn take_first(mut self: Box<Self>) -> Result<Box<Self>, (Failed, Record)> {
        let Some(lease) = self.lease.as_mut().filter(|lease| !lease.is_end_stream()) else { return Ok(self) };
        let turns: &[Turn] = if lease.is_shared() { &[Turn::Asks, Turn::Takes] } else { &[Turn::Takes] };
        for turn in turns {
            let polled = std::future::poll_fn(|cx| Poll::Ready(lease.poll_frame(cx))).await;
            match (polled, turn) {
                (Poll::Ready(Some(Ok(frame))), _) => {
                    self.first = Some(frame);
                    break;
                }
                (Poll::Ready(Some(Err(error))), _) => {
                    self.lease = None;
                    return match self.record.take() {
                        Some(record) => Err((failure_of(&error), record)),
                        None => Ok(self),
                    };
                }
                (Poll::Pending, Turn::Asks) => next_turn().await,
                // An end is told again to whoever polls next.
                (Poll::Ready(None) | Poll::Pending, _) => break,
            }
        }
        Ok(self)
    }

    fn ended(&mut self) {
        let request_is_complete = self.request.completed().is_some();
        if let Some(lease) = self.lease.take().filter(|_| request_is_complete) {
            lease.finish();
        }
        self.held = Held::default();
        if let Some(record) = self.record.take() {
            record.complete();
        }
    }

    fn broke(&mut self, why: Failed) {
        self.lease = None;
        self.held = Held::default();
        if let Some(mut record) = self.record.take() {
            record.broke_off(why);
        }
    }
}

fn failure_of(lost: &Lost) -> Failed {
    if lost.is_malformed() { Failed::UpstreamProtocol } else { Failed::UpstreamClosed }
}

#[derive(Clone, Copy)]
enum Turn {
    Asks,
    Takes,
}

/// Lets every task that is ready run once.
async fn next_turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        // An upstream that always has more must not outlast the deadline by that.
        if this.total.as_mut().is_some_and(|total| total.as_mut().poll(cx).is_ready()) {
            this.broke(Failed::TotalTimeout);
            return Poll::Ready(Some(Err(Broken::TooSlow(Failed::TotalTimeout))));
        }
        let polled = match this.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => this.lease.as_mut().map_or(Poll::Ready(None), |lease| lease.poll_frame(cx)),
        };
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                this.timer.progressed();
                if let (Some(record), Some(data)) = (&mut this.record, frame.data_ref()) {
                    record.response_bytes(data.len() as u64);
                }
                if let Some(trailers) = frame.trailers_mut() {
                    headers::strip_answer_trailers(trailers);
                }
                // Nothing follows trailers, and nobody asks again.
                if frame.is_trailers() || this.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.broke(failure_of(&error));
                // In HTTP/2 hyper throws away what it has not written yet, perhaps the head itself, and writes when nothing comes.
                this.broken = Some(Broken::Upstream(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => {
                if this.timer.poll_expired(cx).is_pending() {
                    return Poll::Pending;
                }
                this.broke(Failed::UpstreamTimeout);
                Poll::Ready(Some(Err(Broken::TooSlow(Failed::UpstreamTimeout))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.broken.is_none() && self.lease.as_ref().is_none_or(Lease::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.lease.as_ref().map_or_else(|| SizeHint::with_exact(0), Lease::size_hint);
        match &self.first {
            None => rest,
            Some(first) => {
                let here = first.data_ref().map_or(0, |data| data.len() as u64);
                let mut both = SizeHint::new();
                both.set_lower(rest.lower() + here);
                if let Some(upper) = rest.upper() {
                    both.set_upper(upper + here);
                }
                both
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Answers without a body (to HEAD, 204, 304) are never polled; one that is dropped earlier has lost its client.
        if self.is_end_stream() {
            self.ended();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Relayed(relay) => Pin::new(&mut **relay).poll_frame(cx),
            Self::Own(text, record) => {
                let Some(text) = text.take() else { return Poll::Ready(None) };
                if let Some(mut record) = record.take().map(|record| *record) {
                    record.response_bytes(text.len() as u64);
                    record.complete();
                }
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(relay) => relay.is_end_stream(),
            Self::Own(text, _) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(relay) => relay.size_hint(),
            Self::Own(text, _) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
