//! What is counted for an upstream.

use std::time::Duration;

use http::StatusCode;
use prometheus::Histogram;
use prometheus::IntCounter;

use crate::model::name::Name;
use crate::model::refusal::Failed;

use super::exchange::EXCHANGE_SECONDS;
use super::group::Counters;
use super::group::Gauges;
use super::group::Group;
use super::labels::CodeClass;
use super::labels::PoolState;

/// The handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: Name,
    response: Histogram,
    responses: Counters<CodeClass>,
    errors: Counters<Failed>,
    connections: Gauges<PoolState>,
    opened: IntCounter,
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
        }
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
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
