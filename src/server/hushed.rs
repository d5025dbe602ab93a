//! A client's stream under hyper. What hyper would say of its own accord is kept back, for the gateway to say in its
//! own words; nothing that belongs to an answer is ever touched.
//!
//! hyper answers a head that it cannot parse by itself: a status, no body, no decision, no line in the access log.
//! It does so only between two answers, and an answer ends where all of it has been flushed; so whatever begins like
//! one while no answer is under way is hyper's own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::upstream::stream::Stream;

/// Where an HTTP/1 connection is between two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a request has come.
    Idle = 0,
    /// Something of one has.
    Head = 1,
    /// It is with the gateway, or its answer is under way.
    Asked = 2,
    /// hyper has all of the answer, and the client perhaps not.
    Answered = 3,
}

/// What a connection is doing. Only its own thread uses it; it is atomic because hyper wants streams that could move.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    phase: AtomicU8,
    /// The status of an answer that was kept back; 0 for none.
    kept_back: AtomicU16,
    /// The stream, once hyper has let go of it.
    stream: Mutex<Option<Stream>>,
}

impl Pulse {
    /// A request was read.
    pub(super) fn asked(&self) {
        self.enter(Phase::Asked);
    }

    /// hyper has taken the last byte of an answer.
    pub(super) fn answered(&self) {
        self.enter(Phase::Answered);
    }

    /// Whether a request has begun to arrive, and not more than begun.
    pub(super) fn has_begun(&self) -> bool {
        self.is(Phase::Head)
    }

    /// The status that hyper would have answered by itself.
    pub(super) fn kept_back(&self) -> Option<u16> {
        Some(self.kept_back.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// The stream, where hyper has let go of it.
    pub(super) fn stream(&self) -> Option<Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(super) struct Hushed {
    /// `None` only while it is dropped.
    stream: Option<Stream>,
    pulse: Arc<Pulse>,
}

impl Hushed {
    pub(super) const fn new(stream: Stream, pulse: Arc<Pulse>) -> Self {
        Self { stream: Some(stream), pulse }
    }

    /// Whether these bytes are hyper's own answer, of which nothing goes out, and nothing after it.
    fn keeps_back(&self, bytes: &[u8]) -> bool {
        if self.pulse.is(Phase::Asked) || self.pulse.is(Phase::Answered) {
            return false;
        }
        if self.pulse.kept_back().is_some() {
            return true;
        }
        // HTTP/2 begins with a frame, which never looks like this.
        let Some(status) = status_of(bytes) else { return false };
        self.pulse.kept_back.store(status, Ordering::Relaxed);
        true
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// The status of an HTTP/1 answer that begins with these bytes.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let (version, rest) = bytes.split_at_checked("HTTP/1.1 ".len())?;
    let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
    version.starts_with(b"HTTP/1.").then(|| digits.parse().ok())?
}

impl Drop for Hushed {
    fn drop(&mut self) {
        *self.pulse.stream.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl AsyncRead for Hushed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = this.stream()?.poll_read(cx, buf);
        if buf.filled().len() > before && this.pulse.is(Phase::Idle) {
            this.pulse.enter(Phase::Head);
        }
        polled
    }
}

impl AsyncWrite for Hushed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.keeps_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        this.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bufs.first().is_some_and(|first| this.keeps_back(first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        this.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has nothing left to write.
        if this.pulse.is(Phase::Answered) {
            this.pulse.enter(Phase::Idle);
        }
        this.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.pulse.kept_back().is_some() {
            return Poll::Ready(Ok(()));
        }
        this.stream()?.poll_shutdown(cx)
    }
}
