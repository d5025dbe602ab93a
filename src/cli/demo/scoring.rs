//! A scoring server for the [model](super::model), with the routes and the error bodies of
//! azureml-inference-server-http: `GET /`, `POST /score`, `GET /swagger.json`.
//!
//! Three routes more show what reaches an upstream: `GET /headers` (names only), `GET /whoami` (what the
//! gateway says of the caller, and nothing else) and `GET /events` (a stream).

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use super::events::Events;
use super::exchange::{self, BodyUnread};
use super::model::{Flower, OutOfRange, Species, Verdict};

/// Largest body of `POST /score`, in bytes.
const MOST_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Most flowers in one request: some milliseconds of work on the one thread that all requests share.
const MOST_FLOWERS: usize = 10_000;

/// What `GET /events` sends: five events, one second in all.
const EVENTS: (u32, Duration) = (5, Duration::from_millis(200));

/// Prefix of the headers by which the gateway says who called.
const IDENTITY_PREFIX: &str = "x-scoregate-";

/// `GET /swagger.json`.
const SWAGGER: &str = include_str!("scoring/swagger.json");

/// Answers a connection's requests until the listener fails for good.
///
/// # Errors
/// The failure to accept that did not pass within five seconds.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    exchange::serve(listener, answer).await
}

/// Answers one request.
pub async fn answer<B>(request: Request<B>) -> Response<Either<Full<Bytes>, Events>>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let Some(route) = Route::at(head.uri.path()) else {
        return refuse(StatusCode::NOT_FOUND, "Not found").map(Either::Left);
    };
    if !route.takes(&head.method) {
        let mut refusal = refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").map(Either::Left);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allows()));
        return refusal;
    }
    match route {
        Route::Health => exchange::answer(StatusCode::OK, "text/plain", "Healthy").map(Either::Left),
        Route::Swagger => exchange::answer(StatusCode::OK, "application/json", SWAGGER).map(Either::Left),
        Route::Headers => header_names(&head.headers).map(Either::Left),
        Route::Identity => identity(&head.headers).map(Either::Left),
        Route::Events => events().map(Either::Right),
        Route::Score => match exchange::read(body, MOST_BODY_BYTES).await {
            Ok(body) => score(&body).map(Either::Left),
            Err(BodyUnread::TooLarge) => {
                refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 8 MiB").map(Either::Left)
            }
            Err(BodyUnread::Broken) => {
                refuse(StatusCode::BAD_REQUEST, "the body ended before its end").map(Either::Left)
            }
        },
    }
}

/// What is answered where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Health,
    Swagger,
    Score,
    Headers,
    Identity,
    Events,
}

impl Route {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Health),
            "/swagger.json" => Some(Self::Swagger),
            "/score" => Some(Self::Score),
            "/headers" => Some(Self::Headers),
            "/whoami" => Some(Self::Identity),
            "/events" => Some(Self::Events),
            _ => None,
        }
    }

    /// The `Allow` of a refused method (RFC 9110 §15.5.6 wants one).
    const fn allows(self) -> &'static str {
        match self {
            Self::Score => "POST",
            Self::Health | Self::Swagger | Self::Headers | Self::Identity | Self::Events => "GET, HEAD",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.allows().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// The body of `POST /score`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    data: Vec<[f64; 4]>,
}

/// The answer of `POST /score`: one entry a flower, in the order sent.
#[derive(Serialize)]
struct Output {
    predictions: Vec<Species>,
    probabilities: Vec<[f64; 3]>,
    /// Whose probabilities they are.
    classes: [Species; 3],
}

/// Why `POST /score` answers 400.
#[derive(Debug, thiserror::Error)]
enum BadInput {
    /// Says where and not what: the parser's own message would quote the body, up to all of it.
    #[error("want {{\"data\": [[5.1, 3.5, 1.4, 0.2], …]}}, four numbers a row; line {line} column {column} differs")]
    Malformed { line: usize, column: usize },
    #[error("want 1 to {MOST_FLOWERS} rows, got {0}")]
    Rows(usize),
    #[error("data[{row}]: {why}")]
    Flower { row: usize, why: OutOfRange },
}

fn score(body: &[u8]) -> Response<Full<Bytes>> {
    match classify_all(body) {
        Ok(output) => exchange::json(StatusCode::OK, &output),
        Err(bad) => refuse(StatusCode::BAD_REQUEST, &bad.to_string()),
    }
}

fn classify_all(body: &[u8]) -> Result<Output, BadInput> {
    let Input { data } = serde_json::from_slice(body)
        .map_err(|error| BadInput::Malformed { line: error.line(), column: error.column() })?;
    if !(1..=MOST_FLOWERS).contains(&data.len()) {
        return Err(BadInput::Rows(data.len()));
    }
    let mut output = Output { predictions: Vec::new(), probabilities: Vec::new(), classes: Species::ALL };
    for (row, lengths) in data.into_iter().enumerate() {
        let flower = Flower::measured(lengths).map_err(|why| BadInput::Flower { row, why })?;
        let Verdict { species, probabilities } = flower.classify();
        output.predictions.push(species);
        output.probabilities.push(probabilities);
    }
    Ok(output)
}

/// Names without values: the values may be somebody's, and who looks for a credential needs only to see none.
fn header_names(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let names: BTreeSet<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    exchange::json(StatusCode::OK, &json!({ "headers": names }))
}

fn identity(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let said: BTreeMap<&str, std::borrow::Cow<'_, str>> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(IDENTITY_PREFIX))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    exchange::json(StatusCode::OK, &said)
}

fn events() -> Response<Events> {
    let (of, apart) = EVENTS;
    let mut response = Response::new(Events::new(of, apart));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    exchange::json(status, &json!({ "message": message }))
}

#[cfg(test)]
mod tests;
