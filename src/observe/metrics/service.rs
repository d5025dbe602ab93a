//! What is counted for a service.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntGauge;
use tokio::time::Instant;

use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::usage::KeyAge;

use super::exchange::Exchange;
use super::group::Counters;
use super::group::Gauges;
use super::group::Group;
use super::labels::Scheme;

/// Seconds, 10 µs to 50 ms: the gateway's own work is tens of microseconds.
pub(super) const OWN_SECONDS: [f64; 11] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05];

/// Seconds: the usual queue gives up after half of one.
const QUEUE_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The handles of one service. A snapshot holds them, so that a request finds them with its service.
#[derive(Debug)]
pub struct ServiceMetrics {
    name: Name,
    exchange: Exchange,
    in_flight: IntGauge,
    queued: IntGauge,
    queue: Histogram,
    overhead: Histogram,
    allowed: Counters<Scheme>,
    key_uses: Counters<Slot>,
    key_last_seen: Gauges<Slot>,
    retiring_key_last_seen: Gauges<Slot>,
    quarantined: IntGauge,
}

impl ServiceMetrics {
    pub(super) fn new(name: Name, group: &mut Group) -> Self {
        Self {
            name,
            exchange: Exchange::of_service(group),
            in_flight: group.gauge(
                "http_requests_in_flight",
                "Requests that have matched the service and whose answer has not ended.",
            ),
            queued: group.gauge("http_requests_queued", "Requests that wait for their turn at the service."),
            queue: group.histogram(
                "http_queue_seconds",
                "Seconds that a request waited for its turn at the service, or in vain; one that did not wait is not counted.",
                &QUEUE_SECONDS,
            ),
            overhead: group.histogram(
                "http_overhead_seconds",
                "Seconds from a request's head until it was handed to the upstream: the gateway's own decisions.",
                &OWN_SECONDS,
            ),
            allowed: group.counters(
                "auth_allowed_total",
                "Requests that passed authentication (scheme: key, token, public); denials_total has the others.",
            ),
            key_uses: group
                .counters(
                    "key_uses_total",
                    "Requests that a key of the service's own slots opened: a slot that stands still can be regenerated.",
                )
                .with_all(),
            key_last_seen: group.gauges(
                "key_last_seen_timestamp_seconds",
                "When a key of the slot last opened something, in seconds since 1970, one that is retiring included; absent before the first time.",
            ),
            retiring_key_last_seen: group.gauges(
                "retiring_key_last_seen_timestamp_seconds",
                "When a key that the slot no longer holds, and that still opens for a while, last did, in seconds since 1970; absent before the first time.",
            ),
            quarantined: group.gauge(
                "service_quarantined",
                "1 while the service answers nobody because a secret, certificate or issuer of it could not be loaded, else 0.",
            ),
        }
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Makes the series, at 0, that only a service with this scheme has. To be called when a snapshot is compiled.
    pub fn prepare(&self, scheme: Scheme) {
        self.exchange.prepare(scheme);
        self.allowed.create([scheme]);
    }

    /// Says that the service answers nobody.
    pub fn quarantine(&self) {
        self.quarantined.set(1);
    }

    /// Says that the service answers.
    pub fn serve(&self) {
        self.quarantined.set(0);
    }

    /// Counts a request that waits, for as long as the answer lives.
    #[must_use]
    pub fn queued(&self) -> Queued<'_> {
        self.queued.inc();
        Queued { service: self, since: Instant::now() }
    }

    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    pub(in crate::observe) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(in crate::observe) fn allowed(&self, scheme: Scheme) {
        self.allowed.inc(scheme);
    }

    pub(in crate::observe) fn key_used(&self, slot: Slot) {
        self.key_uses.inc(slot);
    }

    pub(in crate::observe) fn key_seen(&self, slot: Slot, age: KeyAge, now: UnixSeconds) {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        self.key_last_seen.set(slot, now);
        match age {
            KeyAge::Current => {}
            KeyAge::Retiring => self.retiring_key_last_seen.set(slot, now),
        }
    }

    pub(in crate::observe) fn forwarded_after(&self, own: Duration) {
        self.overhead.observe(own.as_secs_f64());
    }
}

/// A request that counts as waiting for as long as this lives.
#[derive(Debug)]
pub struct Queued<'s> {
    service: &'s ServiceMetrics,
    since: Instant,
}

impl Queued<'_> {
    /// How long it has waited.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.service.queued.dec();
        self.service.queue.observe(self.since.elapsed().as_secs_f64());
    }
}

/// A request that counts as in flight for as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<ServiceMetrics>);

impl InFlight {
    /// Counts a request in.
    #[must_use]
    pub fn enter(service: &Arc<ServiceMetrics>) -> Self {
        service.in_flight.inc();
        Self(Arc::clone(service))
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceMetrics {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
