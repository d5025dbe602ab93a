//! How much of a service is used at once.

use std::num::NonZeroU16;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Read;
use super::Reader;
use crate::config::Concurrency;
use crate::config::Rate;
use crate::config::ServiceLimits;
use crate::config::problem::Place;
use crate::config::raw;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// As long as Azure's `maxQueueWaitMs`.
const USUAL_QUEUE_WAIT: Duration = Duration::from_millis(500);

impl Reader {
    pub(super) fn service_limits(&mut self, written: &raw::ServiceLimits, at: &Place) -> Read<ServiceLimits> {
        let concurrency = self.concurrency(written, at);
        let caller = written.per_caller.clone().unwrap_or_default();
        let caller_rate = self.caller_rate(&caller, &at.field("per_caller"));
        Ok(ServiceLimits {
            concurrency: concurrency?,
            caller_concurrency: caller.concurrency.and_then(NonZeroU16::new),
            caller_rate: caller_rate?,
        })
    }

    fn concurrency(&mut self, written: &raw::ServiceLimits, at: &Place) -> Read<Option<Concurrency>> {
        let wait = written.queue_wait.as_deref();
        let wait = self.duration(wait, &at.field("queue_wait"), USUAL_QUEUE_WAIT, MILLISECOND, HOUR);
        let Some(most) = written.concurrency.and_then(NonZeroU32::new) else {
            for (field, is_given) in [("queue", written.queue.is_some()), ("queue_wait", written.queue_wait.is_some())]
            {
                if is_given {
                    self.problems.note(&at.field(field), "want `concurrency` with it: nobody waits without a limit");
                }
            }
            return wait.map(|_usual| None);
        };
        Ok(Some(Concurrency { most, queue: written.queue.unwrap_or(most.get()), wait: wait? }))
    }

    fn caller_rate(&mut self, written: &raw::CallerLimits, at: &Place) -> Read<Option<Rate>> {
        let per = self.duration(written.per.as_deref(), &at.field("per"), SECOND, SECOND, DAY)?;
        match written.requests.and_then(NonZeroU32::new) {
            Some(requests) => Ok(Some(Rate { requests, per })),
            None if written.per.is_some() => self.refuse(&at.field("per"), "want `requests` with it"),
            None => Ok(None),
        }
    }
}
