//! `upstreams.<name>`: which endpoints are left out, and what is sent again.

use schemars::JsonSchema;
use serde::Deserialize;

/// Asks each endpoint again and again whether it is well, over a connection of its own. `{}` takes every default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path of a `GET`; a status from 200 to 399 is well. Not beside `grpc`. Default: `/`.
    pub path: Option<String>,
    /// Asks by gRPC's health protocol for this service, `""` for the server as a whole, instead of by a `GET`. Needs
    /// HTTP/2. Default: it does not.
    pub grpc: Option<String>,
    /// How often, `100ms` to `1h`. Default: `10s`.
    pub every: Option<String>,
    /// How long an answer is waited for. Default: `2s`.
    pub timeout: Option<String>,
    /// Answers in a row that make it well again. Default: `2`.
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_after: Option<u32>,
    /// Failures in a row that make it unwell. Default: `3`.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_after: Option<u32>,
}

/// Leaves out an endpoint that fails the requests that it gets: by refusing or breaking connections, by not answering in
/// time, by 502, 503 or 504, or by gRPC's `UNAVAILABLE`. `{}` takes every default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row after which it is left out. Default: `5`.
    #[schemars(range(min = 1, max = 1000000))]
    pub failures: Option<u32>,
    /// For how long, `100ms` to `1d`; then one request tries it. Each time in a row twice as long. Default: `30s`.
    #[serde(rename = "for")]
    pub first: Option<String>,
    /// For no longer than this. Default: `5m`.
    pub at_most: Option<String>,
}

/// What happens while no endpoint is well.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenNoneIsHealthy {
    /// Requests are sent nevertheless: a check can be mistaken.
    Try,
    /// Requests get 503 `no_endpoint` at once.
    Refuse,
}

/// What is sent again, to another endpoint where there is one, and how often.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Which requests: `unwritten`, of which certainly nothing was processed, or also `idempotent` ones: `GET`, `HEAD`,
    /// `OPTIONS`, `PUT` and `DELETE` without a body that got no answer, or 502, 503 or 504. A `POST` that was sent is never
    /// sent again. Default: `unwritten`.
    pub of: Option<RetriesOf>,
    /// The budget: at most this share of the requests, 0 to 1. Default: `0.2`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f32>,
    /// And at least so many a second. Default: `10`.
    #[schemars(range(max = 1000000))]
    pub per_second: Option<u32>,
}

/// Which requests are sent again.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetriesOf {
    /// Those of which certainly nothing was processed.
    Unwritten,
    /// Those too that do no harm the second time.
    Idempotent,
}
