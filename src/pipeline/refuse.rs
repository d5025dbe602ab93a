//! The gateway's own answers: a refusal, read from its row in the one table.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use serde::Serialize;
use serde::Serializer;

use crate::config::Dialect;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::refusal::Row;
use crate::model::refusal::Shown;
use crate::observe::ids::DECISION_ID;
use crate::observe::ids::Id;
use crate::observe::ids::REQUEST_ID;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Service;

/// Azure's clients read an error's code from here before they read the body.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a caller reads answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A gRPC client: status 200 and `grpc-status`.
    Grpc,
    /// Anybody else.
    Http,
    /// Somebody who asked for the head only.
    HeadOnly,
}

impl Reader {
    /// Tells from a request's head.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            Self::Grpc
        } else if *method == Method::HEAD {
            Self::HeadOnly
        } else {
            Self::Http
        }
    }
}

/// What the answer is about besides its refusal.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The service, where one was found.
    pub service: Option<&'a Service>,
    /// How the caller reads.
    pub reader: Reader,
    /// The decision's name.
    pub decision: Id,
    /// The request's name.
    pub request_id: &'a HeaderValue,
    /// What the caller learns beyond the row's own text.
    pub detail: Option<&'a str>,
}

/// Writes the answer.
pub fn answer(refusal: Refusal, context: &Context<'_>) -> Response<Bytes> {
    let row = refusal.row();
    let (code, message) = wording(refusal, row, context.service);
    let message = match (context.detail, context.service) {
        (Some(detail), _) => Cow::Borrowed(detail),
        (None, Some(service)) => naming(refusal, service).map_or(Cow::Borrowed(message), Cow::Owned),
        (None, None) => Cow::Borrowed(message),
    };
    let message = &*message;
    let mut response = match context.reader {
        Reader::Grpc => grpc(row, message),
        Reader::Http | Reader::HeadOnly => http(refusal, row, code, message, context),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(DECISION_ID, context.decision.header_value());
    headers.insert(REQUEST_ID, context.request_id.clone());
    if let Some(status) = proxy_status(refusal, row) {
        headers.insert(PROXY_STATUS, status);
    }
    if let Refusal::Denied { retry_after: Some(after), .. } = refusal {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    response
}

/// Rounded up: who comes back a moment too early is refused once more.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// `Proxy-Status` (RFC 9209) says that this is the gateway's answer, and why as far as the caller may know.
fn proxy_status(refusal: Refusal, row: Row) -> Option<HeaderValue> {
    match refusal {
        Refusal::Denied { .. } if row.status == StatusCode::BAD_REQUEST => {
            Some(HeaderValue::from_static("scoregate; error=http_request_error"))
        }
        Refusal::Denied { .. } => Some(HeaderValue::from_static("scoregate; error=http_request_denied")),
        Refusal::Failed(failed) => HeaderValue::try_from(format!("scoregate; error={}", failed.proxy_status())).ok(),
    }
}

fn grpc(row: Row, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(row.grpc as u16));
    // The texts are ASCII without `%`, which is what the encoding of grpc-message leaves as it is.
    if let Ok(message) = HeaderValue::from_str(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

fn http(refusal: Refusal, row: Row, code: &str, message: &str, context: &Context<'_>) -> Response<Bytes> {
    let is_face = context.service.is_some_and(|service| service.settings.dialect == Dialect::Face);
    let instance = context.decision.digits();
    let mut document = Problem {
        kind: "about:blank",
        title: row.status.canonical_reason().unwrap_or("Error"),
        status: row.status.as_u16(),
        detail: message,
        instance: Instance(&instance),
        code: None,
        error: Error { code, message, inner: None },
    };
    if is_face && refusal == Refusal::from(Denied::FeatureNotGranted) {
        // The 403 that Face's own clients know: the captured form, with the later form's code at the top.
        let inner = Inner { code: "UnsupportedFeature", message: FACE_UNSUPPORTED };
        document.code = Some(inner.code);
        document.error =
            Error { code: "InvalidRequest", message: "Invalid request has been sent.", inner: Some(inner) };
    }
    let mut text = Vec::with_capacity(512);
    // Nothing in it can fail to be written.
    if serde_json::to_writer(&mut text, &document).is_err() {
        text.clear();
    }
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Ok(code) = HeaderValue::from_str(code) {
        headers.insert(ERROR_CODE, code);
    }
    if row.status == StatusCode::UNAUTHORIZED {
        challenge(refusal, context.service, headers);
    }
    response
}

/// A 401 says what is wanted (RFC 9110 §15.5.2).
fn challenge(refusal: Refusal, service: Option<&Service>, headers: &mut HeaderMap) {
    let wanted = service.map(|service| match refusal {
        Refusal::Denied { why: Denied::CredentialMissing, .. } => &service.challenge.missing,
        Refusal::Denied { .. } | Refusal::Failed(_) => &service.challenge.invalid,
    });
    for value in wanted.into_iter().flatten() {
        headers.append(header::WWW_AUTHENTICATE, value.clone());
    }
    if !headers.contains_key(header::WWW_AUTHENTICATE) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

const FACE_UNAUTHENTICATED: &str = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.";
const FACE_UNSUPPORTED: &str = "Feature is not supported, missing approval for one or more of the following features: Identification,Verification. Please apply for access at https://aka.ms/facerecognition";

/// The code and the text that this caller learns: Azure's own where they are public.
fn wording(refusal: Refusal, row: Row, service: Option<&Service>) -> (&'static str, &'static str) {
    if refusal == Denied::IssueArgument.into() {
        return ("BadArgument", row.message);
    }
    let Some(service) = service else { return (row.code, row.message) };
    let about_credentials = row.status == StatusCode::UNAUTHORIZED && !is_about_limited_token(refusal);
    let about_load = [Denied::RateLimited, Denied::CallerBusy, Denied::ServiceBusy].iter().any(|why| why.row() == row);
    match (service.settings.dialect, &service.auth) {
        (Dialect::Face, _) if about_credentials => ("401", FACE_UNAUTHENTICATED),
        (Dialect::Face, _) if about_load => ("429", Denied::RateLimited.row().message),
        (Dialect::Face, _) | (Dialect::Scoring, Auth::Public) => (row.code, row.message),
        (Dialect::Scoring, Auth::Key { .. }) if refusal == Denied::CredentialMalformed.into() => {
            ("key_auth_bad_header_forbidden", row.message)
        }
        (Dialect::Scoring, Auth::Key { .. }) if row.shown == Shown::AsUnauthenticated => {
            ("key_auth_access_denied", "The key is not accepted by this service.")
        }
        (Dialect::Scoring, Auth::Token { .. }) if row.shown == Shown::AsUnauthenticated => {
            ("token_auth_access_denied", "The token is not accepted by this service.")
        }
        (Dialect::Scoring, Auth::Key { .. } | Auth::Token { .. }) => (row.code, row.message),
    }
}

/// What Azure's router says of a busy service, or of one that has nobody to answer, names it.
fn naming(refusal: Refusal, service: &Service) -> Option<String> {
    let name = &service.settings.name;
    match (service.settings.dialect, refusal) {
        (
            Dialect::Scoring,
            Refusal::Denied { why: Denied::ServiceBusy, .. } | Refusal::Failed(Failed::QueueTimeout),
        ) => Some(format!("Too many requests for service {name} (overloaded)")),
        (Dialect::Scoring, Refusal::Failed(Failed::NoEndpoint)) => {
            Some(format!("No ready replicas for service {name}"))
        }
        (Dialect::Scoring | Dialect::Face, Refusal::Denied { .. } | Refusal::Failed(_)) => None,
    }
}

fn is_about_limited_token(refusal: Refusal) -> bool {
    [Denied::LimitedTokenInvalid, Denied::LimitedTokenExpired].map(Refusal::from).contains(&refusal)
}

/// A problem (RFC 9457 §3), with the member that Azure's clients read.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: Instance<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    error: Error<'a>,
}

/// The decision that a problem is about, as a URN.
struct Instance<'a>(&'a [u8; 32]);

impl Serialize for Instance<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("urn:scoregate:decision:{}", String::from_utf8_lossy(self.0)))
    }
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(rename = "innererror", skip_serializing_if = "Option::is_none")]
    inner: Option<Inner>,
}

#[derive(Serialize)]
struct Inner {
    code: &'static str,
    message: &'static str,
}
