//! A client's connection as hyper gets to read it: where the bytes have no single reading, something that hyper refuses
//! stands in their place, and then the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::server::framing::Framing;
use crate::server::pulse::Pulse;

/// No head, no chunk and no trailer holds a NUL. It is the end of a head, so that hyper parses what it has.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// A connection that is read strictly (0020).
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    reading: Reading,
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
enum Reading {
    Http1(Framing),
    /// Whatever comes behind an upgrade.
    Anything,
    /// What is still to be read in place of what came.
    Refused(&'static [u8]),
}

impl<S> Guarded<S> {
    /// A connection that speaks HTTP/1, unless it begins with HTTP/2's preface.
    pub(super) const fn new(inner: S, pulse: Arc<Pulse>) -> Self {
        Self { inner, reading: Reading::Http1(Framing::new()), pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let framing = match &mut this.reading {
            Reading::Anything => return Pin::new(&mut this.inner).poll_read(cx, buf),
            Reading::Refused(rest) => {
                put(rest, buf);
                return Poll::Ready(Ok(()));
            }
            Reading::Http1(framing) => framing,
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if this.pulse.is_upgraded() {
            this.reading = Reading::Anything;
        } else if let Some(end) = framing.follow(buf.filled().get(before..).unwrap_or_default()) {
            buf.set_filled(before + end);
            let mut rest = REFUSED;
            put(&mut rest, buf);
            this.reading = Reading::Refused(rest);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads as much as there is room for.
fn put(rest: &mut &'static [u8], buf: &mut ReadBuf<'_>) {
    let (now, later) = rest.split_at_checked(buf.remaining()).unwrap_or((*rest, &[]));
    buf.put_slice(now);
    *rest = later;
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
