//! Answers of the management plane, and its refusals in the form that each API's clients read.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use serde_json::Value;
use serde_json::json;

/// What the management plane answers with.
pub(super) type Reply = Response<Full<Bytes>>;

/// Whose clients read an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// azureml-core's: the flat `ModelErrorResponse`.
    V1,
    /// azure-ai-ml's: `error: {code, message}`.
    V2,
    /// Everybody else's: RFC 9457, with the member that Azure's clients read.
    Own,
}

impl Dialect {
    /// Whose a path is.
    pub(super) fn of(path: &str) -> Self {
        let first = path.split('/').nth(1).unwrap_or_default();
        if first.eq_ignore_ascii_case("modelmanagement") {
            Self::V1
        } else if first.eq_ignore_ascii_case("subscriptions") {
            Self::V2
        } else {
            Self::Own
        }
    }
}

/// A call that is not answered as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadArgument", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// The refusal as a client reads it.
    pub(super) fn reply(&self, dialect: Dialect, decision: &str) -> Reply {
        let Self { status, code, message } = self;
        let (media_type, document) = match dialect {
            Dialect::V1 => (
                "application/json",
                json!({
                    "code": code,
                    "statusCode": status.as_u16(),
                    "message": message,
                    "details": [{ "code": code, "message": message }],
                    "correlation": { "RequestId": decision },
                }),
            ),
            Dialect::V2 => ("application/json", json!({ "error": { "code": code, "message": message } })),
            Dialect::Own => (
                "application/problem+json",
                json!({
                    "type": "about:blank",
                    "title": status.canonical_reason().unwrap_or("Error"),
                    "status": status.as_u16(),
                    "detail": message,
                    "instance": format!("urn:scoregate:decision:{decision}"),
                    "error": { "code": code, "message": message },
                }),
            ),
        };
        let mut reply = text(*status, media_type, document.to_string());
        reply.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
        if *status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"scoregate management\"");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        reply
    }
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &Value) -> Reply {
    text(status, "application/json", document.to_string())
}

/// Nothing but a status.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// A text of this media type.
pub(super) fn text(status: StatusCode, media_type: &'static str, text: String) -> Reply {
    let mut reply = Response::new(Full::from(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

/// A public document that may be kept for a while.
pub(super) fn public(media_type: &'static str, document: String) -> Reply {
    let mut reply = text(StatusCode::OK, media_type, document);
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    reply
}
