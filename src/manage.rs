//! The management plane: what operators and Azure's SDKs speak to.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

use crate::snapshot::live::Live;

/// Answers on the management listener.
#[derive(Debug, Clone)]
pub struct Management {
    live: Live,
}

impl Management {
    /// Answers from the snapshot in force.
    #[must_use]
    pub fn new(live: Live) -> Arc<Self> {
        Arc::new(Self { live })
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/.well-known/jwks.json") => {
                let mut response = Response::new(Full::from(self.live.load().own_keys.jwks().to_owned()));
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
                response
            }
            (_, "/.well-known/jwks.json") => problem(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "want GET"),
            _ => problem(StatusCode::NOT_FOUND, "NotFound", "nothing answers here"),
        }
    }
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "error": { "code": code, "message": message },
    });
    let mut response = Response::new(Full::from(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
