//! What is counted for an upstream.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use http::StatusCode;
use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;

use crate::model::name::Name;
use crate::model::refusal::Failed;

use super::exchange::EXCHANGE_SECONDS;
use super::group::Counters;
use super::group::Gauges;
use super::group::Group;
use super::labels::CheckResult;
use super::labels::CodeClass;
use super::labels::PoolState;
use super::labels::RetryReason;

/// The handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: Name,
    response: Histogram,
    responses: Counters<CodeClass>,
    errors: Counters<Failed>,
    connections: Gauges<PoolState>,
    opened: IntCounter,
    healthy: IntGaugeVec,
    endpoints: Mutex<BTreeSet<String>>,
    checks: Counters<CheckResult>,
    ejections: IntCounter,
    retries: Counters<RetryReason>,
    not_retried: IntCounter,
}

/// The handle of one endpoint that is watched.
#[derive(Debug)]
pub struct EndpointMetrics(IntGauge);

impl EndpointMetrics {
    /// Shows whether it may get requests.
    pub fn is_well(&self, is_well: bool) {
        self.0.set(i64::from(is_well));
    }
}

impl UpstreamMetrics {
    pub(super) fn new(name: Name, group: &mut Group) -> Self {
        Self {
            name,
            response: group.histogram(
                "upstream_response_seconds",
                "Seconds from handing a request to the upstream, connecting included, to the head of its answer.",
                &EXCHANGE_SECONDS,
            ),
            responses: group
                .counters(
                    "upstream_responses_total",
                    "Heads of answers that the upstream sent (code_class: 1xx to 5xx).",
                )
                .with(CodeClass::USUAL),
            errors: group
                .counters(
                    "upstream_errors_total",
                    "Requests that the upstream did not answer, or not to the end, by the reason code of the failure.",
                )
                .with(Failed::ALL.iter().copied().filter(|failed| is_the_upstreams(*failed))),
            connections: group
                .gauges("upstream_connections", "Open connections to the upstream (state: active, idle).")
                .with_all(),
            opened: group.counter("upstream_connections_opened_total", "Connections to the upstream that were made."),
            healthy: group.gauges_by(
                "upstream_endpoint_healthy",
                "1 while the endpoint may get requests, 0 while its health checks fail or it is left out; absent where neither is configured.",
                "endpoint",
            ),
            endpoints: Mutex::default(),
            checks: group.counters("upstream_health_checks_total", "Health checks that were made (result: success, failure)."),
            ejections: group.counter(
                "upstream_ejections_total",
                "Times that an endpoint was left out for failing the requests that it got.",
            ),
            retries: group
                .counters("upstream_retries_total", "Requests that were sent again (reason: connect, lost, answer).")
                .with_all(),
            not_retried: group.counter(
                "upstream_retries_over_budget_total",
                "Requests that were not sent again because the budget was used up.",
            ),
        }
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The handle of an endpoint: the same one for the same address, across reloads.
    #[must_use]
    pub fn endpoint(&self, address: &str) -> EndpointMetrics {
        self.known().insert(address.to_owned());
        EndpointMetrics(self.healthy.with_label_values(&[address]))
    }

    /// Removes the series of every endpoint that is not in `keep`.
    pub fn forget_endpoints(&self, keep: &[&str]) {
        self.known().retain(|address| {
            let kept = keep.contains(&address.as_str());
            if !kept {
                // It may not have been there.
                drop(self.healthy.remove_label_values(&[address.as_str()]));
            }
            kept
        });
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the series, at 0, that only an upstream with health checks has.
    pub fn prepare_checks(&self) {
        self.checks.create([CheckResult::Success, CheckResult::Failure]);
    }

    /// Counts a health check.
    pub fn checked(&self, result: CheckResult) {
        self.checks.inc(result);
    }

    /// Counts an endpoint that is left out.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// Counts a request that is sent again.
    pub fn retried(&self, why: RetryReason) {
        self.retries.inc(why);
    }

    /// Counts one that would have been, had there been a budget.
    pub fn not_retried(&self) {
        self.not_retried.inc();
    }

    /// Counts a connection that was made and that carries its first request.
    pub fn connection_opened(&self) {
        self.opened.inc();
        self.connections.add(PoolState::Active, 1);
    }

    /// Counts a connection that did one thing and does the other.
    pub fn connection_turned(&self, from: PoolState, to: PoolState) {
        self.connections.add(from, -1);
        self.connections.add(to, 1);
    }

    /// Counts a connection out that did this when it closed.
    pub fn connection_closed(&self, was: PoolState) {
        self.connections.add(was, -1);
    }

    pub(in crate::observe) fn answered(&self, status: StatusCode, after: Duration) {
        self.response.observe(after.as_secs_f64());
        self.responses.inc(CodeClass::of(Some(status)));
    }

    /// Counts a failure, where it is one of the upstream's.
    pub(in crate::observe) fn failed(&self, failed: Failed) {
        if is_the_upstreams(failed) {
            self.errors.inc(failed);
        }
    }
}

/// Whether a failure says something about the upstream rather than about the gateway.
fn is_the_upstreams(failed: Failed) -> bool {
    match failed {
        Failed::UpstreamUnreachable
        | Failed::UpstreamConnectTimeout
        | Failed::UpstreamTls
        | Failed::UpstreamClosed
        | Failed::UpstreamProtocol
        | Failed::UpstreamTimeout
        | Failed::TotalTimeout
        | Failed::NoEndpoint => true,
        Failed::QueueTimeout
        | Failed::ServiceQuarantined
        | Failed::IssuerUnavailable
        | Failed::AuditUnavailable
        | Failed::Internal => false,
    }
}
