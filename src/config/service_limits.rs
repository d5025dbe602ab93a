//! How much of a service is used at once, and by one caller.

use std::num::NonZeroU16;
use std::num::NonZeroU32;
use std::time::Duration;

/// How much of a service is used at once. What is not said is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    /// For all callers together.
    pub concurrency: Option<Concurrency>,
    /// Requests of one caller under way at once.
    pub caller_concurrency: Option<NonZeroU16>,
    /// Requests of one caller in a time.
    pub caller_rate: Option<Rate>,
}

/// How many at once, and how many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Requests under way at the upstream.
    pub most: NonZeroU32,
    /// Requests that may wait. Default as many.
    pub queue: u32,
    /// How long one waits. Default 500 ms.
    pub wait: Duration,
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many: at once, and then as many as time gives back.
    pub requests: NonZeroU32,
    /// In how long, a second at least.
    pub per: Duration,
}
