//! What a worker's records share: metrics, the access log, identifiers, and what time it is.

use std::cell::Cell;
#[cfg(feature = "otel")]
use std::cell::OnceCell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::model::refusal::Refusal;
use crate::observe::access_log::AccessLog;
use crate::observe::decisions::Evidence;
use crate::observe::decisions::Recent;
use crate::observe::ids::Ids;
use crate::observe::metrics::Metrics;
#[cfg(feature = "otel")]
use crate::observe::spans::Spans;
use crate::observe::trace_context::Recording;

use super::Outcome;
use super::Record;
use super::decided;
use super::line;
#[cfg(feature = "otel")]
use super::span;
use super::stamp::Stamp;

/// One worker's observer. It never crosses threads.
#[derive(Debug)]
pub struct Observer {
    metrics: Arc<Metrics>,
    log: AccessLog,
    recent: Arc<Recent>,
    ids: Ids,
    sampling: Cell<Sampling>,
    recording: Cell<Recording>,
    #[cfg(feature = "otel")]
    spans: OnceCell<Spans>,
    clock: Cell<Clock>,
    stamp: RefCell<Stamp>,
}

impl Observer {
    /// An observer that logs what the configuration says and remembers refusals in `recent`; `now` and `since_epoch` are the same moment.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        log: AccessLog,
        recent: Arc<Recent>,
        which: config::AccessLog,
        now: Instant,
        since_epoch: Duration,
    ) -> Rc<Self> {
        Rc::new(Self {
            metrics,
            log,
            recent,
            ids: Ids::new(),
            sampling: Cell::new(Sampling::new(which)),
            recording: Cell::default(),
            #[cfg(feature = "otel")]
            spans: OnceCell::new(),
            clock: Cell::new(Clock { at: now, since_epoch }),
            stamp: RefCell::default(),
        })
    }

    /// Takes over another configuration: which requests get a line, and which traces a span.
    pub fn configure(&self, which: config::AccessLog, recording: Recording) {
        self.sampling.set(Sampling::new(which));
        self.recording.set(recording);
    }

    /// Where spans go. Without it none are made.
    #[cfg(feature = "otel")]
    pub fn export_to(&self, spans: Spans) {
        let _first_stays = self.spans.set(spans);
    }

    pub(super) fn recording(&self) -> Recording {
        self.recording.get()
    }

    /// Flushes the access log and sets the clock that its timestamps follow. To be called about once a second:
    /// so late is a line, and so long does it take until the timestamps follow a system clock that was set.
    pub fn tick(&self, now: Instant, since_epoch: Duration) {
        self.clock.set(Clock { at: now, since_epoch });
        self.log.flush();
        #[cfg(feature = "otel")]
        if let Some(spans) = self.spans.get() {
            spans.flush();
        }
    }

    /// The metrics of the gateway.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where identifiers come from.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(super) fn log(&self, record: &Record, outcome: Outcome, ended: Instant, duration: Duration) {
        if self.wants(outcome) {
            let since_epoch = self.clock.get().at(ended);
            self.log.line(|buffer| {
                let mut stamp = self.stamp.try_borrow_mut().map_err(serde::ser::Error::custom)?;
                line::write(buffer, record, outcome, stamp.at(since_epoch), duration)
            });
        }
    }

    pub(super) fn remember(&self, record: &Record, refusal: Refusal, evidence: Evidence, ended: Instant) {
        self.recent.remember(decided::decision(record, refusal, evidence, self.clock.get().at(ended)));
    }

    #[cfg(feature = "otel")]
    pub(super) fn span(&self, record: &Record, outcome: Outcome, ended: Instant) {
        if let Some(spans) = self.spans.get().filter(|_| record.trace.is_recorded()) {
            let clock = self.clock.get();
            spans.push(|| span::of(record, outcome, clock.at(record.started), clock.at(ended)));
        }
    }

    fn wants(&self, outcome: Outcome) -> bool {
        let mut sampling = self.sampling.get();
        let wanted = sampling.wants(outcome);
        self.sampling.set(sampling);
        wanted
    }
}

/// A moment on both clocks. The system's clock is not asked again for each request.
#[derive(Debug, Clone, Copy)]
struct Clock {
    at: Instant,
    since_epoch: Duration,
}

impl Clock {
    fn at(self, moment: Instant) -> Duration {
        match moment.checked_duration_since(self.at) {
            Some(after) => self.since_epoch.saturating_add(after),
            None => self.since_epoch.saturating_sub(self.at.saturating_duration_since(moment)),
        }
    }
}

/// Which of the requests that succeeded get a line: evenly spread, by counting, so that a share of 0.1 is every tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    /// No line for anyone.
    Off,
    /// Every request adds `share`; one that fills [`WHOLE`] gets a line.
    On { share: u32, filled: u32 },
}

/// The share that is everything: one part in a million can be asked for.
const WHOLE: u32 = 1_000_000;

impl Sampling {
    fn new(which: config::AccessLog) -> Self {
        match which {
            config::AccessLog::Off => Self::Off,
            config::AccessLog::On { sample } => Self::On { share: parts(sample), filled: 0 },
        }
    }

    fn wants(&mut self, outcome: Outcome) -> bool {
        match self {
            Self::Off => false,
            Self::On { .. } if outcome.always_logged() => true,
            Self::On { share, filled } => {
                *filled += *share;
                let full = *filled >= WHOLE;
                if full {
                    *filled -= WHOLE;
                }
                full
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is between 0 and WHOLE")]
fn parts(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(WHOLE)).round() as u32
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::Outcome;
    use super::Sampling;
    use crate::config;
    use crate::model::refusal::Denied;
    use crate::model::refusal::Failed;

    #[test]
    fn a_share_of_the_successes_and_everything_else_gets_a_line() {
        let ok = Outcome::Answered(StatusCode::OK);
        let not_found_by_the_upstream = Outcome::Answered(StatusCode::NOT_FOUND);
        let broken_upstream = Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR);
        let refused = Outcome::Refused(Denied::KeyUnknown.into());
        let broken_off = Outcome::BrokenOff(Failed::UpstreamClosed);
        for (sample, outcome, lines) in [
            (Some(0.0), ok, 0),
            (Some(0.25), ok, 250),
            (Some(0.001), ok, 1),
            (Some(1.0 / 3.0), ok, 333),
            (Some(1.0), ok, 1000),
            (Some(7.0), ok, 1000),
            (Some(-1.0), ok, 0),
            (Some(f64::NAN), ok, 0),
            (Some(0.1), not_found_by_the_upstream, 100),
            (Some(0.0), broken_upstream, 1000),
            (Some(0.0), refused, 1000),
            (Some(0.0), broken_off, 1000),
            (Some(0.0), Outcome::ClientGone, 1000),
            (None, ok, 0),
            (None, refused, 0),
        ] {
            let which = sample.map_or(config::AccessLog::Off, |sample| config::AccessLog::On { sample });
            let mut sampling = Sampling::new(which);
            let written = (0..1000).filter(|_| sampling.wants(outcome)).count();
            assert_eq!(written, lines, "{sample:?} of {outcome:?}");
        }
    }

    #[test]
    fn the_share_is_evenly_spread() {
        let mut sampling = Sampling::new(config::AccessLog::On { sample: 0.25 });
        let ok = Outcome::Answered(StatusCode::OK);
        let written: Vec<_> = (0..8).map(|_| sampling.wants(ok)).collect();
        assert_eq!(written, [false, false, false, true, false, false, false, true]);
    }
}
