//! What is counted once a process: reloads, tokens, workers, logs, the build.

use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;

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
    tokens_revoked: IntCounter,
    keys_regenerated: Counters<KeyHolder>,
    workers: IntGauge,
    draining: IntGauge,
    access_log_dropped: IntCounter,
    panics: IntCounter,
}

impl GatewayMetrics {
    pub(super) fn new(group: &mut Group) -> Self {
        show_build(group);
        show_process(group);
        Self {
            reloads: reloads(group),
            reload_failures: group
                .counters("config_reload_failures_total", "Reloads that failed (stage: read, parse, check, compile).")
                .with_all(),
            reload_successful: group.gauge(
                "config_last_reload_successful",
                "1 if the last reload published a generation, or nothing had changed and all files could be loaded, else 0.",
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
            token_cache_entries: group.gauge("token_cache_entries", "Tokens in the cache of verified tokens."),
            tokens_issued: group
                .counters("tokens_issued_total", "Tokens that the gateway issued (kind: service, limited_access).")
                .with_all(),
            tokens_revoked: group.counter("tokens_revoked_total", "Revocations that were recorded."),
            keys_regenerated: group
                .counters("keys_regenerated_total", "Keys that were regenerated (holder: service, account).")
                .with_all(),
            workers: group.gauge("workers", "Worker threads that serve."),
            draining: group.gauge("draining", "1 once the gateway has begun to shut down, else 0."),
            access_log_dropped: group.counter(
                "access_log_dropped_total",
                "Lines of the access log that were dropped because its reader was too slow or gone.",
            ),
            panics: group.counter("panics_total", "Panics in any thread; each is a bug."),
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

    /// Counts a token that had to be verified.
    pub fn token_verified(&self, took: Duration) {
        self.token_verification.observe(took.as_secs_f64());
    }

    /// Counts a look-up in the cache of verified tokens.
    pub fn token_looked_up(&self, answer: CacheAnswer) {
        self.token_cache.inc(answer);
    }

    /// Says how many tokens the cache holds.
    pub fn token_cache_holds(&self, entries: usize) {
        self.token_cache_entries.set(as_gauge(entries as u64));
    }

    /// Counts a token that was issued.
    pub fn token_issued(&self, kind: IssuedToken) {
        self.tokens_issued.inc(kind);
    }

    /// Counts a revocation.
    pub fn token_revoked(&self) {
        self.tokens_revoked.inc();
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

    pub(in crate::observe) fn access_log_dropped(&self, lines: u64) {
        self.access_log_dropped.inc_by(lines);
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
        "Reloads (trigger: start, file, signal, store, api; result: published, unchanged, failed).",
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
