//! `services.<name>.limits`: how much of a service is used at once, and by one caller.

use schemars::JsonSchema;
use serde::Deserialize;

/// How much of a service is used at once. WebSockets and streams count until they end.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceLimits {
    /// Requests under way at the upstream at once, over all workers. More wait in a queue. Default: no limit.
    #[schemars(range(min = 1, max = 1000000))]
    pub concurrency: Option<u32>,
    /// Requests that may wait, first come, first served; one more gets 429. `0` is no queue. Goes with `concurrency`.
    /// Default: as many as `concurrency`, which is twice as many in all, as in Azure.
    #[schemars(range(max = 1000000))]
    pub queue: Option<u32>,
    /// How long one waits before it gets 503. Goes with `concurrency`. Default: `500ms`.
    pub queue_wait: Option<String>,
    /// Limits for each caller: an account or the resource that a token stands for, else a token's subject, the holder of
    /// the service's own keys, or at a public service an address. Default: none.
    pub per_caller: Option<CallerLimits>,
}

/// What one caller may have of a service; more gets 429.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerLimits {
    /// Requests under way at once, those that wait included. Default: no limit.
    #[schemars(range(min = 1, max = 65535))]
    pub concurrency: Option<u16>,
    /// Requests in the time that `per` says: all of them at once, and then as many as time gives back. Default: no limit.
    #[schemars(range(min = 1, max = 1000000))]
    pub requests: Option<u32>,
    /// The time that `requests` is for, `1s` to `1d`. Default: `1s`.
    pub per: Option<String>,
}
