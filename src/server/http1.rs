//! HTTP/1.1 with one client (RFC 9112): a request after the other, each answered before the next is looked at.

mod answer;
mod date;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use http::Request;
use http::header;
use http::request::Parts;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFuture;

use crate::config::Limits;
use crate::http1::Malformed;
use crate::http1::client::Connection;
use crate::model::refusal::Denied;
use crate::observe::metrics::ConnectionEnd;
use crate::server::conversation::Answers;
use crate::server::conversation::Line;
use crate::server::crowd::Place;
use crate::server::http1::answer::Asked;
use crate::server::http1::answer::Written;
use crate::upstream::client_body::ClientBody;
use crate::upstream::stream::Replayed;
use crate::upstream::stream::Stream;
use crate::upstream::timer::Alarm;

/// How an HTTP/2 connection begins (RFC 9113 §3.4); no request of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a drain waits for the first request of a connection that was just accepted, and for the rest of a head: whoever
/// has connected is not told that the gateway leaves, and would take its end for a failure.
const NEWCOMER_WITHIN: Duration = Duration::from_secs(1);

/// Longest wait for a client to take the last answer and to leave. It needs a round trip.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// Most bytes that are read for nothing after the last answer.
const FAREWELL_BYTES: usize = 256 * 1024;

/// What came of a connection.
pub(super) enum Spoken {
    /// It is over.
    Ended(ConnectionEnd),
    /// It is HTTP/2.
    Http2(Replayed<Stream>, Place),
}

/// A connection in HTTP/1.
struct Conversation<'c, A> {
    wire: Rc<RefCell<Connection<Stream>>>,
    answers: &'c A,
    limits: &'c Limits,
    began: Instant,
    /// Whether it has carried no request yet.
    is_new: bool,
    waits: Waits,
    since: Instant,
    alarm: Alarm,
    /// When whoever has connected before the drain is waited for no longer.
    leaves: Option<Instant>,
}

/// What a client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The first byte of the connection.
    First,
    /// The rest of a head.
    Head,
    /// The first byte of another request.
    Next,
    /// Nothing: it is the gateway's turn.
    Not,
}

/// What comes next of a connection.
#[expect(clippy::large_enum_variant, reason = "it is taken apart as soon as it is there")]
enum Next {
    Request(Parts),
    Http2,
    /// Something that is no request.
    Unread(Denied, ConnectionEnd),
    End(ConnectionEnd),
}

/// Speaks until the connection ends, or turns out to be HTTP/2.
pub(super) async fn speak<A: Answers>(line: Line<'_>, answers: &A) -> Spoken {
    let Line { stream, place, limits, drain } = line;
    let now = Instant::now();
    let mut drained = pin!(drain.cancelled());
    let mut conversation = Conversation {
        wire: Rc::new(RefCell::new(Connection::new(stream))),
        answers,
        limits,
        began: now,
        is_new: true,
        waits: Waits::First,
        since: now,
        alarm: Alarm::default(),
        leaves: None,
    };
    loop {
        match conversation.next(drained.as_mut()).await {
            Next::Request(head) => match conversation.answer(head).await {
                Written::Lasts => {}
                Written::Last => return Spoken::Ended(conversation.close(ConnectionEnd::Closed).await),
                Written::Switched => return Spoken::Ended(conversation.hand_over(place)),
                Written::Gone => return Spoken::Ended(ConnectionEnd::Closed),
                Written::Broken(error) => {
                    tracing::trace!(error, "a client connection ended");
                    return Spoken::Ended(ConnectionEnd::Broken);
                }
            },
            Next::Http2 => match Rc::into_inner(conversation.wire).map(|wire| wire.into_inner().into_parts()) {
                Some((stream, early)) => return Spoken::Http2(Replayed::new(stream, early), place),
                None => return Spoken::Ended(ConnectionEnd::Broken),
            },
            Next::Unread(why, end) => {
                conversation.refuse(why).await;
                return Spoken::Ended(conversation.close(end).await);
            }
            Next::End(end) => return Spoken::Ended(conversation.close(end).await),
        }
    }
}

impl<A: Answers> Conversation<'_, A> {
    /// Waits for the next request.
    async fn next(&mut self, mut drained: Pin<&mut WaitForCancellationFuture<'_>>) -> Next {
        poll_fn(|cx| {
            // What has arrived before the drain is served.
            if let Poll::Ready(next) = self.poll_head(cx) {
                return Poll::Ready(next);
            }
            let is_draining = self.leaves.is_some() || drained.as_mut().poll(cx).is_ready();
            self.poll_late(is_draining, cx)
        })
        .await
    }

    /// Reads until there is a head, or something that is none.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut wire = self.wire.borrow_mut();
        loop {
            if wire.unread().starts_with(HTTP2_PREFACE) {
                // In the middle of a connection no answer would be understood.
                return Poll::Ready(if self.is_new { Next::Http2 } else { Next::End(ConnectionEnd::Protocol) });
            }
            let could_be_http2 = self.is_new && HTTP2_PREFACE.starts_with(wire.unread());
            if !could_be_http2 && !wire.unread().is_empty() {
                match wire.take_head(self.limits) {
                    Ok(Some(head)) => {
                        (self.is_new, self.waits) = (false, Waits::Not);
                        return Poll::Ready(Next::Request(head));
                    }
                    Ok(None) => {}
                    Err(malformed) => return Poll::Ready(Next::Unread(denied(malformed), ConnectionEnd::Protocol)),
                }
            }
            match ready!(wire.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Next::End(ConnectionEnd::Closed)),
                Ok(_) => {}
                Err(error) => {
                    tracing::trace!(%error, "a client connection ended");
                    return Poll::Ready(Next::End(ConnectionEnd::Broken));
                }
            }
        }
    }

    /// Ready when the client has been waited for long enough.
    fn poll_late(&mut self, is_draining: bool, cx: &mut Context<'_>) -> Poll<Next> {
        let mut wire = self.wire.borrow_mut();
        let waits = match (wire.unread().is_empty(), self.is_new) {
            (false, _) => Waits::Head,
            (true, true) => Waits::First,
            (true, false) => Waits::Next,
        };
        if is_draining && waits == Waits::Next {
            return Poll::Ready(Next::End(ConnectionEnd::Drained));
        }
        if self.waits != waits {
            (self.waits, self.since) = (waits, Instant::now());
            wire.rest();
        }
        let patience = &self.limits.patience;
        let late = self.since + if waits == Waits::Next { patience.idle } else { patience.head };
        if is_draining && self.leaves.is_none() {
            self.leaves = Some(Instant::now() + NEWCOMER_WITHIN);
        }
        let leaves = self.leaves.filter(|leaves| *leaves < late);
        ready!(self.alarm.poll(leaves.unwrap_or(late), cx));
        Poll::Ready(match waits {
            _ if leaves.is_some() => Next::End(ConnectionEnd::Drained),
            Waits::Head if !HTTP2_PREFACE.starts_with(wire.unread()) => {
                Next::Unread(Denied::HeadTimeout, ConnectionEnd::HeadTimeout)
            }
            Waits::Head | Waits::First | Waits::Next | Waits::Not => Next::End(ConnectionEnd::Idle),
        })
    }

    /// Answers one request. A client that leaves meanwhile takes its request with it.
    async fn answer(&mut self, head: Parts) -> Written {
        let mut asked = Asked::of(&head);
        let is_all = self.wire.borrow().is_read() && !head.headers.contains_key(header::UPGRADE);
        let body = if is_all { ClientBody::Empty } else { ClientBody::Http1(Rc::clone(&self.wire)) };
        let answer = {
            // Boxed: it is several kilobytes, which a connection that waits for its next request should not carry.
            let mut answering = Box::pin(self.answers.answer(Request::from_parts(head, body)));
            poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.wire.borrow_mut().poll_gone(cx).map(|()| None),
            })
            .await
        };
        let Some(answer) = answer else { return Written::Gone };
        // A connection that is closed between two requests may lose the second: an answer says that it is the last.
        asked.is_last |= self.limits.patience.lifetime.is_some_and(|lifetime| self.began.elapsed() >= lifetime);
        answer::write(&self.wire, asked, answer).await
    }

    async fn refuse(&self, why: Denied) {
        let writing = answer::write(&self.wire, Asked::UNREAD, self.answers.refuse(why));
        // That the client does not read it is no failure of ours.
        drop(timeout(FAREWELL_WITHIN, writing).await);
    }

    fn hand_over(self, place: Place) -> ConnectionEnd {
        if let Some(wire) = Rc::into_inner(self.wire) {
            wire.into_inner().hand_over(Box::new(place));
        }
        ConnectionEnd::Closed
    }

    /// Closes in good order: a socket that is closed with bytes unread is reset, and the answer with it.
    async fn close(&self, end: ConnectionEnd) -> ConnectionEnd {
        let closing = async {
            poll_fn(|cx| self.wire.borrow_mut().poll_shutdown(cx)).await?;
            let mut left = FAREWELL_BYTES;
            while left > 0 && self.may_have_more() {
                match poll_fn(|cx| self.wire.borrow_mut().poll_discard(cx)).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            Ok::<_, io::Error>(())
        };
        if let Ok(Err(error)) = timeout(FAREWELL_WITHIN, closing).await {
            tracing::trace!(%error, "a client has not taken its last answer");
        }
        end
    }

    /// Whether something has been sent that nobody reads.
    fn may_have_more(&self) -> bool {
        let wire = self.wire.borrow();
        !wire.is_read() || !wire.unread().is_empty()
    }
}

/// How what is no request is refused.
const fn denied(malformed: Malformed) -> Denied {
    match malformed {
        Malformed::TargetTooLong => Denied::TargetTooLong,
        Malformed::TooLarge => Denied::HeadersTooLarge,
        Malformed::Head | Malformed::Length | Malformed::Chunk => Denied::RequestMalformed,
    }
}
