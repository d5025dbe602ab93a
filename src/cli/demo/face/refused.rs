//! How the Face-like service says no: Face's codes in Face's body, `{"error": {"code", "message"}}`.

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::cli::demo::exchange::{self, BodyUnread};

/// A call that was refused. The messages are sentences, as Face's are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// A parameter, a header or the body is not what the call takes.
    #[error("{0}")]
    BadArgument(String),
    /// The URL of an image is none. It is never fetched.
    #[error("Invalid image URL: an http or https URL is wanted.")]
    InvalidUrl,
    /// The image is empty or larger than 6 MB. Face's lower bound of 1 KB is not kept.
    #[error("Image size is invalid: 1 byte to 6 MB is wanted.")]
    InvalidImageSize,
    /// An image is neither JSON nor bytes.
    #[error("Unsupported media type: application/json or application/octet-stream is wanted.")]
    UnsupportedMediaType,
    /// There is no such group.
    #[error("Large person group is not found.")]
    GroupNotFound,
    /// There is no such person in the group.
    #[error("Person is not found.")]
    PersonNotFound,
    /// A group of this name is there already.
    #[error("Large person group already exists.")]
    GroupExists,
    /// The service holds as much as it takes.
    #[error("This demo holds no more of these: {0}.")]
    QuotaExceeded(&'static str),
    /// There is no such call.
    #[error("Resource not found.")]
    NoSuchCall,
    /// The path is a call and the method is none of it.
    #[error("The method is not allowed here; {allowed} is.")]
    MethodNotAllowed {
        /// The `Allow` header (RFC 9110 §15.5.6).
        allowed: &'static str,
    },
}

impl Refused {
    const fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadArgument(_) => (StatusCode::BAD_REQUEST, "BadArgument"),
            Self::InvalidUrl => (StatusCode::BAD_REQUEST, "InvalidURL"),
            Self::InvalidImageSize => (StatusCode::BAD_REQUEST, "InvalidImageSize"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::GroupNotFound => (StatusCode::NOT_FOUND, "LargePersonGroupNotFound"),
            Self::PersonNotFound => (StatusCode::NOT_FOUND, "PersonNotFound"),
            Self::GroupExists => (StatusCode::CONFLICT, "LargePersonGroupExists"),
            Self::QuotaExceeded(_) => (StatusCode::FORBIDDEN, "QuotaExceeded"),
            Self::NoSuchCall => (StatusCode::NOT_FOUND, "404"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "405"),
        }
    }

    /// The answer that the caller gets.
    #[must_use]
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, code) = self.status_and_code();
        let document = json!({ "error": { "code": code, "message": self.to_string() } });
        let mut response = exchange::json(status, &document);
        if let Self::MethodNotAllowed { allowed } = self {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<BodyUnread> for Refused {
    fn from(unread: BodyUnread) -> Self {
        match unread {
            BodyUnread::TooLarge => Self::InvalidImageSize,
            BodyUnread::Broken => Self::BadArgument("The request body ended before its end.".to_owned()),
        }
    }
}
