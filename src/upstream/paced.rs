//! A client's socket that has to move: whoever does not read what was written for it is not waited for without end.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::upstream::timer::IdleTimer;

/// Why a write was given up.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the client has taken nothing for too long")]
pub struct NotTaken;

/// A socket whose writes fail once none of them has moved a byte for a given time.
///
/// It stands beneath TLS, which takes bytes that the socket has not. A write that finds room costs nothing; that a
/// client takes a little now and then keeps it alive, so that long answers and slow lines are no trouble.
#[derive(Debug)]
pub struct Paced<S> {
    socket: S,
    timer: IdleTimer,
    forget: fn(&S),
}

impl<S> Paced<S> {
    /// Waits at most `within` for room; then `forget` is to see to it that the kernel keeps nothing of the socket.
    pub const fn new(socket: S, within: Duration, forget: fn(&S)) -> Self {
        Self { socket, timer: IdleTimer::new(within), forget }
    }

    /// Lets the kernel keep nothing of the socket.
    pub fn forget(&self) {
        (self.forget)(&self.socket);
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending if self.timer.poll_expired(cx).is_ready() => {
                self.forget();
                // Not `TimedOut`: that is what a tunnel calls an upstream's silence.
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, NotTaken)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(written) => {
                self.timer.progressed();
                Poll::Ready(written)
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::Paced;

    const WITHIN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_given_up() {
        let (ours, _client) = tokio::io::duplex(64);
        let begun = Instant::now();
        let error = Paced::new(ours, WITHIN, |_| ()).write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::ConnectionAborted, WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_now_and_then_is_waited_for() {
        let (ours, mut client) = tokio::io::duplex(64);
        let begun = Instant::now();
        let taking = async {
            let mut taken = 0;
            while taken < 1_000 {
                tokio::time::sleep(WITHIN - Duration::from_secs(1)).await;
                taken += client.read(&mut [0; 64]).await.unwrap();
            }
        };
        let mut paced = Paced::new(ours, WITHIN, |_| ());
        let (written, ()) = tokio::join!(paced.write_all(&[0; 1_000]), taking);
        written.unwrap();
        assert!(begun.elapsed() > 10 * WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_writes_is_nobodys_fault() {
        let (ours, mut client) = tokio::io::duplex(64);
        let mut paced = Paced::new(ours, WITHIN, |_| ());
        for _ in 0..3 {
            paced.write_all(&[0; 64]).await.unwrap();
            tokio::time::sleep(3 * WITHIN).await;
            client.read_exact(&mut [0; 64]).await.unwrap();
        }
    }
}
