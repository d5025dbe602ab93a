//! A client's stream under hyper. What hyper would say of its own accord is kept back, for the gateway to say in its
//! own words; nothing that belongs to an answer is ever touched.
//!
//! hyper answers a head that it cannot parse by itself: a status, no body, no decision, no line in the access log.
//! It does so only between two answers, and an answer ends where all of it has been flushed; so whatever begins like
//! one while no answer is under way is hyper's own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::server::crowd::Place;
use crate::server::pulse::Pulse;
use crate::upstream::stream::Stream;

/// The stream that hyper reads and writes. It has its place among the connections until it is dropped, after an
/// upgrade as well.
#[derive(Debug)]
pub(super) struct Hushed {
    /// `None` only while it is dropped.
    stream: Option<(Stream, Place)>,
    pulse: Arc<Pulse>,
}

impl Hushed {
    pub(super) const fn new(stream: Stream, place: Place, pulse: Arc<Pulse>) -> Self {
        Self { stream: Some((stream, place)), pulse }
    }

    /// Whether these bytes are hyper's own answer, of which nothing goes out, and nothing after it.
    fn keeps_back(&self, bytes: &[u8]) -> bool {
        if !self.pulse.is_between_answers() {
            return false;
        }
        if self.pulse.kept_back().is_some() {
            return true;
        }
        // HTTP/2 begins with a frame, which never looks like this.
        let Some(status) = status_of(bytes) else { return false };
        self.pulse.keep_back(status);
        true
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        let stream = self.stream.as_mut().map(|(stream, _)| Pin::new(stream));
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
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
        self.pulse.leave(self.stream.take());
    }
}

impl AsyncRead for Hushed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = this.stream()?.poll_read(cx, buf);
        this.pulse.read(buf.filled().get(before..).unwrap_or_default());
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
        self.stream.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.pulse.flushed();
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
