//! WebSockets: after the handshake has been authenticated and answered, bytes in both directions.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::header;
use http::response::Parts;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http1::client::Switched;
use crate::model::refusal::Failed;
use crate::observe::record::Record;
use crate::pipeline::Gateway;
use crate::pipeline::headers;
use crate::pipeline::limit::Held;
use crate::pipeline::relay::AnswerBody;
use crate::upstream::pool::Lease;
use crate::upstream::stream::Replayed;
use crate::upstream::stream::Stream;

/// A client that wants to go on in another protocol.
#[derive(Debug)]
pub struct Upgrading(oneshot::Receiver<Switched<Stream>>);

impl Upgrading {
    /// Takes the client's side of the connection, once it is free.
    pub const fn new(client: oneshot::Receiver<Switched<Stream>>) -> Self {
        Self(client)
    }
}

/// Whether the upstream changes to the protocol that it was asked for.
pub fn is_agreed(answer: &HeaderMap) -> bool {
    answer.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers 101 as the upstream did, and joins the two connections. The record ends when they do.
pub fn answer(
    gateway: &Gateway,
    upgrading: Upgrading,
    mut head: Parts,
    lease: Lease,
    held: Held,
    record: Record,
    idle: Duration,
) -> Response<AnswerBody> {
    gateway.tasks.spawn_local(tunnel(upgrading.0, lease, held, record, idle));
    headers::strip_hop(&mut head.headers);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    Response::from_parts(head, AnswerBody::Own(Some(Bytes::new()), None))
}

async fn tunnel(
    client: oneshot::Receiver<Switched<Stream>>,
    lease: Lease,
    held: Held,
    mut record: Record,
    idle: Duration,
) {
    let (Ok(Switched { io, early: said, keeps }), Some((upstream, early, switched))) =
        (client.await, lease.into_switched())
    else {
        record.broke_off(Failed::UpstreamClosed);
        return;
    };
    let moved = Rc::new(Moved { at: Cell::new(Instant::now()), to_client: Cell::new(0) });
    let mut client = Watched { inner: Replayed::new(io, said), moved: Rc::clone(&moved), side: Side::Client };
    let mut upstream =
        Watched { inner: Replayed::new(upstream, early), moved: Rc::clone(&moved), side: Side::Upstream };
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => copied.map(drop),
        () = stillness(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    };
    record.response_bytes(moved.to_client.get());
    match copied {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => record.broke_off(Failed::UpstreamTimeout),
        // Either side may leave a WebSocket without a farewell; that is how most of them end.
        Ok(()) | Err(_) => record.complete(),
    }
    // The connections were the tunnel's; only their places among the others are given back.
    drop((switched, keeps, held));
}

#[derive(Debug)]
struct Moved {
    at: Cell<Instant>,
    to_client: Cell<u64>,
}

/// Ends when nothing has moved for `idle`.
async fn stillness(moved: &Moved, idle: Duration) {
    loop {
        let until = moved.at.get() + idle;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

/// A connection that notes when something was read from it.
struct Watched<T> {
    inner: T,
    moved: Rc<Moved>,
    side: Side,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.moved.at.set(Instant::now());
            if self.side == Side::Upstream {
                self.moved.to_client.set(self.moved.to_client.get() + bytes as u64);
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
