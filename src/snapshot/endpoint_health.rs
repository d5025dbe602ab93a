//! Whether an endpoint is well: what its health checks say, and what the requests that it got do.
//!
//! All workers share it and an endpoint keeps it from snapshot to snapshot, so that a reload forgets nothing. It is a few
//! words that are read without a lock; a request that succeeds at an endpoint that is well writes none of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Ejection;
use crate::observe::metrics::EndpointMetrics;

/// How long the one request is waited for that may try an endpoint whose ejection is over.
const TRIAL: Duration = Duration::from_secs(10);

/// No ejection.
const IN: u64 = 0;

/// What is known of an endpoint, and which of it counts.
#[derive(Debug, Clone)]
pub struct EndpointHealth {
    known: Arc<Known>,
    is_checked: bool,
    ejection: Option<Ejection>,
}

#[derive(Debug)]
struct Known {
    began: Instant,
    /// What the health checks say.
    is_unwell: AtomicBool,
    /// Requests that have failed, one after the other.
    failures: AtomicU32,
    /// Until when it is left out, in milliseconds since `began`; [`IN`] while it is not.
    out_until: AtomicU64,
    /// Whether a request tries if it has recovered: what becomes of that one is what counts.
    on_trial: AtomicBool,
    /// The end of the last ejection.
    last_out: AtomicU64,
    /// Ejections, one soon after the other.
    times: AtomicU32,
    metrics: EndpointMetrics,
}

impl EndpointHealth {
    /// An endpoint that is watched in these ways, and of which as much is known as `before`, else nothing: then it is well.
    #[must_use]
    pub fn follow(
        before: Option<&Self>,
        is_checked: bool,
        ejection: Option<Ejection>,
        metrics: impl FnOnce() -> EndpointMetrics,
    ) -> Self {
        let known = before.map_or_else(
            || {
                Arc::new(Known {
                    began: Instant::now(),
                    is_unwell: AtomicBool::new(false),
                    failures: AtomicU32::new(0),
                    out_until: AtomicU64::new(IN),
                    on_trial: AtomicBool::new(false),
                    last_out: AtomicU64::new(0),
                    times: AtomicU32::new(0),
                    metrics: metrics(),
                })
            },
            |before| Arc::clone(&before.known),
        );
        let health = Self { known, is_checked, ejection };
        health.show();
        health
    }

    /// Whether it may get requests. One whose ejection is over may get one, which is claimed by [`Self::claim`].
    #[must_use]
    pub fn is_well(&self) -> bool {
        if self.is_checked && self.known.is_unwell.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.known.out_until.load(Ordering::Relaxed);
        self.ejection.is_none() || until == IN || until <= self.known.millis(Instant::now())
    }

    /// Takes it for a request, `false` where another one is trying whether it has recovered.
    #[must_use]
    pub fn claim(&self) -> bool {
        let known = &self.known;
        let until = known.out_until.load(Ordering::Relaxed);
        if self.ejection.is_none() || until == IN {
            return true;
        }
        let now = known.millis(Instant::now());
        let trial = now + millis(TRIAL);
        let is_mine =
            until <= now && known.out_until.compare_exchange(until, trial, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_mine {
            known.on_trial.store(true, Ordering::Release);
        }
        is_mine
    }

    /// It has answered a request.
    pub fn succeeded(&self) {
        let known = &self.known;
        if self.ejection.is_none() || known.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        // While it is out, the answer to a request of before tells nothing new.
        let is_out = known.out_until.load(Ordering::Acquire) != IN;
        if is_out && !known.on_trial.swap(false, Ordering::AcqRel) {
            return;
        }
        known.failures.store(0, Ordering::Relaxed);
        if is_out {
            known.out_until.store(IN, Ordering::Release);
            self.show();
        }
    }

    /// It has failed a request. Enough of them in a row, and it is left out for a while, each time for longer.
    ///
    /// Returns for how long, where this was the one.
    pub fn failed(&self) -> Option<Duration> {
        let (known, ejection) = (&self.known, self.ejection?);
        let failures = known.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let (until, now) = (known.out_until.load(Ordering::Acquire), known.millis(Instant::now()));
        let is_on_trial = known.on_trial.load(Ordering::Acquire);
        if failures < ejection.failures.get() || (until > now && !is_on_trial) {
            return None;
        }
        if now.saturating_sub(known.last_out.load(Ordering::Relaxed)) > millis(ejection.at_most) {
            known.times.store(0, Ordering::Relaxed);
        }
        let times = known.times.load(Ordering::Relaxed);
        let length = ejection.first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(ejection.at_most);
        let end = now + millis(length);
        known.out_until.compare_exchange(until, end, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        known.on_trial.store(false, Ordering::Release);
        known.last_out.store(end, Ordering::Relaxed);
        known.times.store(times.saturating_add(1).min(16), Ordering::Relaxed);
        self.show();
        Some(length)
    }

    /// Its health checks succeed. If they did not before, that ends an ejection too.
    ///
    /// Returns whether that is news.
    pub fn is_found_well(&self) -> bool {
        let was_unwell = self.known.is_unwell.swap(false, Ordering::AcqRel);
        if was_unwell {
            self.known.failures.store(0, Ordering::Relaxed);
            self.known.on_trial.store(false, Ordering::Release);
            self.known.out_until.store(IN, Ordering::Release);
        }
        self.show();
        was_unwell
    }

    /// Its health checks fail. Returns whether that is news.
    pub fn is_found_unwell(&self) -> bool {
        let was_well = !self.known.is_unwell.swap(true, Ordering::AcqRel);
        self.show();
        was_well
    }

    /// Whether requests are watched, and not only asked for.
    #[must_use]
    pub const fn watches_requests(&self) -> bool {
        self.ejection.is_some()
    }

    fn show(&self) {
        let is_out = self.ejection.is_some() && self.known.out_until.load(Ordering::Relaxed) != IN;
        let is_unwell = self.is_checked && self.known.is_unwell.load(Ordering::Relaxed);
        self.known.metrics.is_well(!is_out && !is_unwell);
    }
}

impl Known {
    /// Never 0, which is no moment.
    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began)) + 1
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::EndpointHealth;
    use crate::config::Ejection;
    use crate::model::name::Name;
    use crate::observe::metrics::Metrics;

    const EJECTION: Ejection = Ejection {
        failures: NonZeroU32::new(3).unwrap(),
        first: Duration::from_secs(30),
        at_most: Duration::from_secs(100),
    };

    fn endpoint(is_checked: bool, ejection: Option<Ejection>) -> EndpointHealth {
        let metrics = Metrics::new().upstream(&Name::parse("a").unwrap());
        EndpointHealth::follow(None, is_checked, ejection, || metrics.endpoint("a:1"))
    }

    fn fail(endpoint: &EndpointHealth, times: usize) -> Option<u64> {
        (0..times).fold(None, |last, _| endpoint.failed().or(last)).map(|length| length.as_secs())
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_failures_in_a_row_leave_it_out_and_one_request_may_try_it_afterwards() {
        let one = endpoint(false, Some(EJECTION));
        assert_eq!(fail(&one, 2), None);
        one.succeeded();
        assert_eq!(fail(&one, 2), None, "not in a row");
        assert_eq!(fail(&one, 1), Some(30));
        assert!(!one.is_well() && !one.claim());
        assert_eq!(fail(&one, 1), None, "it was under way");
        pass(31).await;
        assert!(one.is_well() && one.claim(), "one tries");
        assert!(!one.is_well() && !one.claim(), "and no other");
        assert_eq!(fail(&one, 1), Some(60), "one failure is enough by now");
        pass(61).await;
        assert!(one.claim());
        one.succeeded();
        assert!(one.is_well() && one.claim() && one.claim());
        assert_eq!(fail(&one, 3), Some(100), "no longer than that");
        pass(11).await;
        assert!(!one.is_well());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_nobody_hears_of_is_made_again_and_old_ejections_are_forgotten() {
        let one = endpoint(false, Some(EJECTION));
        assert_eq!(fail(&one, 3), Some(30));
        pass(31).await;
        assert!(one.claim());
        pass(11).await;
        assert!(one.claim(), "the first has not come back");
        one.succeeded();
        pass(200).await;
        assert_eq!(fail(&one, 3), Some(30));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_count_where_there_are_some_and_bring_back_whom_they_had_found_unwell() {
        let (one, unchecked) = (endpoint(true, Some(EJECTION)), endpoint(false, None));
        assert_eq!(fail(&one, 3), Some(30));
        assert!(!one.is_found_well(), "it never was unwell");
        assert!(!one.is_well(), "the requests know better");
        assert!(one.is_found_unwell() && !one.is_found_unwell());
        assert!(one.is_found_well() && one.is_well());
        assert!(unchecked.is_found_unwell() && unchecked.is_well(), "nobody would ever find it well again");
        assert_eq!(fail(&unchecked, 100), None);
        assert!(unchecked.is_well() && unchecked.claim());
    }
}
