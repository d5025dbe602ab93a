//! The body of a client's request, whichever protocol brings it.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;

/// What a client sends.
#[derive(Debug)]
pub enum ClientBody {
    /// Nothing.
    Empty,
    /// What hyper reads.
    Hyper(Incoming),
}

/// A body that broke: its connection did, or its framing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// What hyper says of it.
    #[error("the client's stream broke")]
    Hyper(#[from] hyper::Error),
}

impl From<Incoming> for ClientBody {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Hyper(body) }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Unreadable;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(Unreadable::Hyper),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Hyper(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Hyper(body) => body.size_hint(),
        }
    }
}
