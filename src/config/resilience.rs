//! Which endpoints are left out, and what is sent again.

use std::num::NonZeroU32;
use std::time::Duration;

use http::uri::PathAndQuery;

/// Asks endpoints whether they are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: Question,
    /// How often. Default 10 s.
    pub every: Duration,
    /// How long an answer is waited for. Default 2 s.
    pub timeout: Duration,
    /// Answers in a row that make an endpoint well again. Default 2.
    pub healthy_after: NonZeroU32,
    /// Failures in a row that make it unwell. Default 3.
    pub unhealthy_after: NonZeroU32,
}

/// What an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A `GET` of this path.
    Get(PathAndQuery),
    /// gRPC's health protocol, for this service; empty for the server as a whole.
    Grpc(String),
}

/// Leaves out endpoints that fail their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row after which one is left out. Default 5.
    pub failures: NonZeroU32,
    /// For how long, the first time. Default 30 s.
    pub first: Duration,
    /// For how long at most. Default 5 min.
    pub at_most: Duration,
}

/// What happens while no endpoint is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenNoneIsHealthy {
    /// Requests are sent nevertheless. The default.
    Try,
    /// They are refused.
    Refuse,
}

/// What is sent again, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Which requests.
    pub of: RetriesOf,
    /// A share of the requests that begin. Default 0.2.
    pub share: f32,
    /// And so many a second. Default 10.
    pub per_second: u32,
}

/// Which requests are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetriesOf {
    /// Those of which certainly nothing was processed. The default.
    Unwritten,
    /// Idempotent ones without a body too.
    Idempotent,
}
