//! What a service has counted so far, for whoever shows rates: two looks and the time between them are enough.

use std::collections::BTreeMap;

use prometheus::core::Collector as _;
use serde::Serialize;

use super::exchange::Exchange;
use super::service::ServiceMetrics;

/// Counts since the process began. A service that was away begins anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Those that the gateway refused by policy.
    pub denied: u64,
    /// Those that were answered with 5xx, by the gateway or the upstream.
    pub errors: u64,
    /// Those under way.
    pub in_flight: i64,
    /// Seconds of all requests together.
    pub seconds: f64,
    /// Requests that took up to so many seconds, cumulative, in ascending order.
    pub within: Vec<(f64, u64)>,
}

impl ServiceMetrics {
    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.exchange().totals();
        totals.in_flight = self.in_flight();
        totals
    }
}

impl Exchange {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut within: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
        for metric in self.durations().collect().iter().flat_map(|family| family.get_metric()) {
            let histogram = metric.get_histogram();
            let is_error =
                metric.get_label().iter().any(|label| label.name() == "code_class" && label.value() == "5xx");
            totals.requests += histogram.get_sample_count();
            totals.errors += if is_error { histogram.get_sample_count() } else { 0 };
            totals.seconds += histogram.get_sample_sum();
            for bucket in histogram.get_bucket() {
                let bound = bucket.upper_bound();
                within.entry(bound.to_bits()).or_insert((bound, 0)).1 += bucket.cumulative_count();
            }
        }
        // Bits of positive numbers are in the numbers' order.
        totals.within = within.into_values().filter(|(bound, _)| bound.is_finite()).collect();
        totals.denied = self.denied_so_far();
        totals
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use http::StatusCode;

    use crate::model::name::Name;
    use crate::model::refusal::Denied;
    use crate::observe::metrics::Finished;
    use crate::observe::metrics::Metrics;

    #[test]
    fn totals_are_what_was_counted() {
        let service = Metrics::new().service(&Name::parse("iris").unwrap());
        for (status, millis) in [(200, 2), (200, 30), (401, 1), (502, 400)] {
            service.exchange().finished(&Finished {
                method: &Method::GET,
                status: Some(StatusCode::from_u16(status).unwrap()),
                duration: Duration::from_millis(millis),
                request_bytes: 0,
                response_bytes: 0,
            });
        }
        service.exchange().denied(Denied::KeyUnknown);
        let totals = service.totals();
        assert_eq!((totals.requests, totals.denied, totals.errors, totals.in_flight), (4, 1, 1, 0));
        assert!((totals.seconds - 0.433).abs() < 1e-9, "{totals:?}");
        let up_to = |seconds: f64| totals.within.iter().find(|(bound, _)| *bound >= seconds).map(|(_, count)| *count);
        assert_eq!((up_to(0.0025), up_to(0.05), up_to(0.5)), (Some(2), Some(3), Some(4)));
        assert!(totals.within.is_sorted_by_key(|(bound, _)| *bound), "{totals:?}");
    }
}
