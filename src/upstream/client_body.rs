//! The body of a client's request, whichever protocol brings it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::http1::client::Connection;
use crate::http1::client::Switched;
use crate::http1::client::Unread;
use crate::upstream::stream::Stream;

/// What a client sends.
#[derive(Debug)]
pub enum ClientBody {
    /// Nothing.
    Empty,
    /// What comes over a connection of HTTP/1.
    Http1(Rc<RefCell<Connection<Stream>>>),
    /// What comes over a stream of HTTP/2.
    Http2(Incoming),
}

/// A body that broke: its connection did, or its framing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Over HTTP/1.
    #[error(transparent)]
    Http1(#[from] Unread),
    /// Over HTTP/2.
    #[error("the client's stream broke")]
    Http2(#[from] hyper::Error),
}

impl From<Incoming> for ClientBody {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Http2(body) }
    }
}

impl ClientBody {
    /// Asks for the connection itself, which comes once the answer has said that the protocol is another; `None` where
    /// that cannot be.
    pub fn switch(&self) -> Option<oneshot::Receiver<Switched<Stream>>> {
        match self {
            Self::Http1(connection) if self.is_end_stream() => Some(connection.borrow_mut().switch()),
            Self::Empty | Self::Http1(_) | Self::Http2(_) => None,
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Unreadable;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(connection) => connection.borrow_mut().poll_body(cx).map_err(Unreadable::Http1),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Unreadable::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(connection) => connection.borrow().is_read(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(connection) => connection.borrow().left().map_or_else(SizeHint::new, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
