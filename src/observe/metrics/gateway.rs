//! What is counted once a process: reloads, tokens, workers, logs, the build.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus::Gauge;
use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use tokio::time::Instant;

use crate::model::time::UnixSeconds;

use super::group::Counters;
use super::group::Group;
use super::group::Label;
use super::group::LateGauge;
use super::labels::CacheAnswer;
use super::labels::IssuedToken;
use super::labels::KeyHolder;
use super::labels::ReloadResult;
use super::labels::ReloadStage;
use super::labels::ReloadTrigger;
use super::service::OWN_SECONDS;

/// The handles of what there is once a process.
#[derive(Debug)]
pub struct GatewayMetrics {
    reloads: IntCounterVec,
    reload_failures: Counters<ReloadStage>,
    reload_successful: IntGauge,
    reload_success_time: LateGauge,
    generation: IntGauge,
    token_verification: Histogram,
    token_cache: Counters<CacheAnswer>,
    token_cache_entries: IntGauge,
    tokens_issued: Counters<IssuedToken>,
    keys_regenerated: Counters<KeyHolder>,
    workers: IntGauge,
    draining: IntGauge,
    store_age: Gauge,
    store_answered: Mutex<Option<Instant>>,
    access_log_dropped: IntCounter,
    audit_written: IntCounter,
    audit_dropped: IntCounter,
    audit_failing: IntGauge,
    panics: IntCounter,
    spans_exported: IntCounter,
    spans_dropped: IntCounter,
}

impl GatewayMetrics {
    pub(super) fn new(group: &mut Group) -> Self {
        show_build(group);
        show_process(group);
        Self {
            reloads: reloads(group),
            reload_failures: group
                .counters("config_reload_failures_total", "Reloads that failed (stage: read, parse, check, compile, listen).")
                .with_all(),
            reload_successful: group.gauge(
                "config_last_reload_successful",
                "1 if everything that the configuration says and refers to is in force, 0 if the last reload failed or something could not be read.",
            ),
            reload_success_time: group.late_gauge(
                "config_last_reload_success_timestamp_seconds",
                "When a reload last succeeded, in seconds since 1970; absent before the first time.",
            ),
            generation: group.gauge("config_generation", "Number of the snapshot in force."),
            token_verification: group.histogram(
                "token_verification_seconds",
                "Seconds that verifying a token took that was not in the cache.",
                &OWN_SECONDS,
            ),
            token_cache: group
                .counters("token_cache_requests_total", "Look-ups in the cache of verified tokens (result: hit, miss).")
                .with_all(),
            token_cache_entries: group.gauge("token_cache_entries", "Tokens in the workers' caches of verified tokens."),
            tokens_issued: group
                .counters("tokens_issued_total", "Tokens that the gateway issued (kind: service, limited_access).")
                .with_all(),
            keys_regenerated: group
                .counters("keys_regenerated_total", "Keys that were regenerated (holder: service, account).")
                .with_all(),
            workers: group.gauge("workers", "Worker threads that serve."),
            draining: group.gauge("draining", "1 once the gateway has begun to shut down, else 0."),
            store_age: group.seconds(
                "store_age_seconds",
                "Seconds since the etcd last answered: what was changed since then may not be known here. 0 for a store in a file.",
            ),
            store_answered: Mutex::default(),
            access_log_dropped: group.counter(
                "access_log_dropped_total",
                "Lines of the access log that were dropped because its reader was too slow or gone.",
            ),
            audit_written: group.counter("audit_events_written_total", "Events that were written to the audit log."),
            audit_dropped: group.counter(
                "audit_events_dropped_total",
                "Events that the audit log lacks because it could not be written or was too far behind.",
            ),
            audit_failing: group.gauge("audit_failing", "1 while the audit log cannot be written, else 0."),
            panics: group.counter("panics_total", "Panics in any thread; each is a bug."),
            spans_exported: group.counter("spans_exported_total", "Spans that the collector of traces has taken."),
            spans_dropped: group.counter(
                "spans_dropped_total",
                "Spans that were lost because the collector of traces was too slow, gone, or refused them.",
            ),
        }
    }

    /// Counts a reload that brought a generation into force.
    pub fn reload_published(&self, trigger: ReloadTrigger, generation: u64, now: UnixSeconds) {
        self.reload_succeeded(trigger, ReloadResult::Published, now);
        self.generation.set(as_gauge(generation));
    }

    /// Counts a reload that found nothing changed.
    pub fn reload_unchanged(&self, trigger: ReloadTrigger, now: UnixSeconds) {
        self.reload_succeeded(trigger, ReloadResult::Unchanged, now);
    }

    /// Counts a reload that left the generation before it in force.
    pub fn reload_failed(&self, trigger: ReloadTrigger, stage: ReloadStage) {
        self.count_reload(trigger, ReloadResult::Failed);
        self.reload_failures.inc(stage);
        self.reload_successful.set(0);
    }

    /// Says that what is in force lacks something that could not be read, or goes on with what was read before.
    pub fn reload_incomplete(&self) {
        self.reload_successful.set(0);
    }

    /// Counts a token that had to be verified.
    pub fn token_verified(&self, took: Duration) {
        self.token_verification.observe(took.as_secs_f64());
    }

    /// Counts a look-up in the cache of verified tokens.
    pub fn token_looked_up(&self, answer: CacheAnswer) {
        self.token_cache.inc(answer);
    }

    /// Says how many more tokens a worker's cache holds than when it last said so.
    pub fn token_cache_grew(&self, entries: i64) {
        self.token_cache_entries.add(entries);
    }

    /// Counts a token that was issued.
    pub fn token_issued(&self, kind: IssuedToken) {
        self.tokens_issued.inc(kind);
    }

    /// Counts a key that was regenerated.
    pub fn key_regenerated(&self, holder: KeyHolder) {
        self.keys_regenerated.inc(holder);
    }

    /// Counts a worker in that has begun to serve.
    pub fn worker_started(&self) {
        self.workers.inc();
    }

    /// Counts a worker out.
    pub fn worker_stopped(&self) {
        self.workers.dec();
    }

    /// Says that the gateway has begun to shut down.
    pub fn drain_began(&self) {
        self.draining.set(1);
    }

    /// Says when a store that can be lost last answered.
    pub fn store_answered(&self, now: Instant) {
        *self.store_answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Brings what grows by itself up to date.
    pub(super) fn show_ages(&self, now: Instant) {
        let answered = *self.store_answered.lock().unwrap_or_else(PoisonError::into_inner);
        self.store_age.set(answered.map_or(0.0, |answered| now.saturating_duration_since(answered).as_secs_f64()));
    }

    /// Counts spans that the collector has.
    pub fn spans_exported(&self, spans: usize) {
        self.spans_exported.inc_by(spans as u64);
    }

    /// Counts spans that it will never have.
    pub fn spans_dropped(&self, spans: usize) {
        self.spans_dropped.inc_by(spans as u64);
    }

    pub(in crate::observe) fn access_log_dropped(&self, lines: u64) {
        self.access_log_dropped.inc_by(lines);
    }

    pub(in crate::observe) fn audit_written(&self, events: u64) {
        self.audit_written.inc_by(events);
    }

    pub(in crate::observe) fn audit_dropped(&self, events: u64) {
        self.audit_dropped.inc_by(events);
    }

    pub(in crate::observe) fn audit_works(&self) {
        self.audit_failing.set(0);
    }

    pub(in crate::observe) fn audit_fails(&self) {
        self.audit_failing.set(1);
    }

    pub(in crate::observe) fn panicked(&self) {
        self.panics.inc();
    }

    fn reload_succeeded(&self, trigger: ReloadTrigger, result: ReloadResult, now: UnixSeconds) {
        self.count_reload(trigger, result);
        self.reload_successful.set(1);
        self.reload_success_time.set(as_gauge(now.0));
    }

    fn count_reload(&self, trigger: ReloadTrigger, result: ReloadResult) {
        self.reloads.with_label_values(&[trigger.value(), result.value()]).inc();
    }
}

/// A number that a gauge can show; the largest it can where it cannot.
pub(super) fn as_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn reloads(group: &mut Group) -> IntCounterVec {
    let reloads = group.counters_by_two(
        "config_reloads_total",
        "Reloads (trigger: start, file, signal, store, issuer, api; result: published, unchanged, failed).",
        [ReloadTrigger::NAME, ReloadResult::NAME],
    );
    for trigger in ReloadTrigger::ALL {
        for result in ReloadResult::ALL {
            reloads.with_label_values(&[trigger.value(), result.value()]);
        }
    }
    reloads
}

fn show_build(group: &mut Group) {
    let build = group.gauges_by_two("build_info", "Always 1; which build this is.", ["version", "revision"]);
    let revision = option_env!("SCOREGATE_REVISION").unwrap_or("unknown");
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
}

#[cfg(target_os = "linux")]
fn show_process(group: &mut Group) {
    group.collector(prometheus::process_collector::ProcessCollector::for_self());
}

#[cfg(not(target_os = "linux"))]
fn show_process(_: &mut Group) {}
