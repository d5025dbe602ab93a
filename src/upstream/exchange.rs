//! A request and its answer on one connection, whichever protocol that speaks.

use http::HeaderName;
use http::Method;
use http::Uri;

use crate::http1::Malformed;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::RequestBody;

/// The head of a request. Written once its endpoint is known, and again where that turns out to be gone.
pub trait RequestHead {
    /// The method.
    fn method(&self) -> &Method;

    /// Path and query.
    fn target(&self) -> &Uri;

    /// Tells each field to `line`, `Host` among them, but those that say how long the body is.
    fn fields(&self, endpoint: &Endpoint, line: &mut impl FnMut(&HeaderName, &[u8]));
}

/// A request that the upstream may have seen, and that has no answer or half of one.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The connection ended.
    #[error("the upstream closed the connection")]
    Closed,
    /// It spoke HTTP/1.1 that is none.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The connection broke.
    #[error("the connection to the upstream broke")]
    Io(#[from] std::io::Error),
    /// What went wrong in HTTP/2.
    #[error("the HTTP/2 stream to the upstream broke")]
    Http2(#[from] hyper::Error),
}

impl Lost {
    /// Whether the upstream says that it has processed nothing of the request (RFC 9113 §8.7).
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        let Self::Http2(error) = self else { return false };
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
        source.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM)
    }

    /// Whether the upstream's own words were at fault, and not just their absence.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Http2(error) => error.is_parse(),
            Self::Closed | Self::Io(_) => false,
        }
    }
}

/// The request did not reach the upstream, or was lost on the way.
#[derive(Debug)]
pub enum SendError {
    /// Nothing of it was written: it may be sent again.
    Unsent(RequestBody),
    /// The upstream may have seen it.
    Lost(Lost),
}
