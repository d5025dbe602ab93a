//! What is counted for a foreign issuer.

use prometheus::IntGauge;

use crate::model::time::UnixSeconds;

use super::gateway::as_gauge;
use super::group::Counters;
use super::group::Group;
use super::group::LateGauge;
use super::labels::FetchResult;

/// The handles of one foreign issuer.
#[derive(Debug)]
pub struct IssuerMetrics {
    refreshes: Counters<FetchResult>,
    last_success: LateGauge,
    keys: IntGauge,
}

impl IssuerMetrics {
    pub(super) fn new(group: &mut Group) -> Self {
        Self {
            refreshes: group
                .counters(
                    "jwks_refreshes_total",
                    "Times that the issuer's keys were fetched (result: success, failure).",
                )
                .with_all(),
            last_success: group.late_gauge(
                "jwks_last_refresh_success_timestamp_seconds",
                "When the issuer's keys were last fetched, in seconds since 1970; absent before the first time.",
            ),
            keys: group.gauge("jwks_keys", "Keys of the issuer that can verify a token."),
        }
    }

    /// Counts a fetch that brought keys into force.
    pub fn refreshed(&self, keys: usize, now: UnixSeconds) {
        self.refreshes.inc(FetchResult::Success);
        self.last_success.set(as_gauge(now.0));
        self.keys.set(as_gauge(keys as u64));
    }

    /// Counts a fetch that left the keys as they were.
    pub fn refresh_failed(&self) {
        self.refreshes.inc(FetchResult::Failure);
    }
}
