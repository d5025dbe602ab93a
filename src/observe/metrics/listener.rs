//! What is counted for a listener: connections and TLS handshakes.

use std::sync::Arc;

use prometheus::IntCounter;
use prometheus::IntGauge;

use crate::model::time::UnixSeconds;

use super::gateway::as_gauge;
use super::group::Counters;
use super::group::Group;
use super::group::LateGauge;
use super::labels::ConnectionEnd;
use super::labels::Decision;
use super::labels::HandshakeFailure;
use super::labels::Shed;
use super::labels::TlsVersion;

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
    closed: Counters<ConnectionEnd>,
    shed: Counters<Shed>,
    auth_throttled: IntCounter,
    decisions: Counters<Decision>,
    accept_errors: IntCounter,
    handshakes: Counters<TlsVersion>,
    handshake_failures: Counters<HandshakeFailure>,
    certificate_not_after: LateGauge,
}

impl ListenerMetrics {
    pub(super) fn new(group: &mut Group) -> Self {
        Self {
            open: group.gauge("connections_open", "Connections that are open."),
            accepted: group.counter("connections_accepted_total", "Connections that were accepted."),
            closed: group
                .counters(
                    "connections_closed_total",
                    "Connections that ended (reason: closed, idle, head_timeout, protocol, broken, handshake, over_limit, drained).",
                )
                .with_all(),
            shed: group
                .counters(
                    "connections_shed_total",
                    "Connections that were closed as soon as they were accepted (reason: all, address, files).",
                )
                .with_all(),
            auth_throttled: group.counter(
                "auth_throttled_total",
                "Credentials that were not accepted from addresses with too many of them in the last minute (429).",
            ),
            decisions: group
                .counters(
                    "forward_auth_decisions_total",
                    "Answers to what another proxy asked about requests that it forwards (decision: allowed, denied, failed).",
                )
                .with_all(),
            accept_errors: group.counter(
                "accept_errors_total",
                "Connections that could not be accepted; at the limit of file descriptors this rises.",
            ),
            handshakes: group
                .counters("tls_handshakes_total", "TLS handshakes that succeeded (version: 1.2, 1.3).")
                .with_all(),
            handshake_failures: group
                .counters("tls_handshake_failures_total", "TLS handshakes that failed (reason: timeout, refused).")
                .with_all(),
            certificate_not_after: group.late_gauge(
                "tls_certificate_not_after_timestamp_seconds",
                "When the certificate that is in force expires, in seconds since 1970; absent without TLS.",
            ),
        }
    }

    /// Counts a connection in; it is counted out when the answer is dropped.
    #[must_use]
    pub fn accept(self: &Arc<Self>) -> OpenConnection {
        self.accepted.inc();
        self.open.inc();
        OpenConnection { listener: Arc::clone(self), end: ConnectionEnd::Closed }
    }

    /// Counts a connection that was closed as soon as it was accepted.
    pub fn shed(&self, why: Shed) {
        self.shed.inc(why);
        match why {
            Shed::All | Shed::Address => {
                self.accepted.inc();
                self.closed.inc(ConnectionEnd::OverLimit);
            }
            // It never got as far as that.
            Shed::Files => {}
        }
    }

    /// Counts a failed authentication above the limit of its address.
    pub fn auth_throttled(&self) {
        self.auth_throttled.inc();
    }

    /// Counts an answer to another proxy's question.
    pub fn decided(&self, decision: Decision) {
        self.decisions.inc(decision);
    }

    /// Counts a connection that could not be accepted.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// Counts a TLS handshake that succeeded.
    pub fn handshake(&self, version: TlsVersion) {
        self.handshakes.inc(version);
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        self.handshake_failures.inc(why);
    }

    /// Says when the certificate expires that came into force.
    pub fn certificate(&self, not_after: UnixSeconds) {
        self.certificate_not_after.set(as_gauge(not_after.0));
    }
}

/// A connection that counts as open for as long as this lives.
#[derive(Debug)]
pub struct OpenConnection {
    listener: Arc<ListenerMetrics>,
    end: ConnectionEnd,
}

impl OpenConnection {
    /// Says why the connection is about to end; [`ConnectionEnd::Closed`] where nobody said.
    pub fn ends(&mut self, end: ConnectionEnd) {
        self.end = end;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.listener.open.dec();
        self.listener.closed.inc(self.end);
    }
}
