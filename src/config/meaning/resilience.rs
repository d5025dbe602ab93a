//! Which endpoints are left out, and what is sent again.

use std::num::NonZeroU32;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::Read;
use super::Reader;
use crate::config::Ejection;
use crate::config::HealthCheck;
use crate::config::Protocol;
use crate::config::Question;
use crate::config::Retries;
use crate::config::RetriesOf;
use crate::config::WhenNoneIsHealthy;
use crate::config::problem::Place;
use crate::config::raw;

const MILLISECOND: Duration = Duration::from_millis(1);
const TENTH: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Reader {
    pub(super) fn health_check(
        &mut self,
        written: &raw::HealthCheck,
        protocol: Protocol,
        at: &Place,
    ) -> Read<HealthCheck> {
        let question = match (written.path.as_deref(), written.grpc.as_deref()) {
            (Some(_), Some(_)) => self.refuse(at, "want a path or grpc, found both"),
            (None, Some(_)) if protocol == Protocol::Http1 => {
                self.refuse(&at.field("grpc"), "want `protocol: http2` with it: gRPC needs it")
            }
            (None, Some(service)) => Ok(Question::Grpc(service.to_owned())),
            (path, None) => match path.unwrap_or("/").parse::<PathAndQuery>() {
                Ok(path) if path.as_str().starts_with('/') => Ok(Question::Get(path)),
                Ok(_) | Err(_) => self.refuse(&at.field("path"), "want a path such as /healthz"),
            },
        };
        let mut read = |field: &str, text: Option<&str>, usual: u64, least: Duration| {
            self.duration(text, &at.field(field), Duration::from_secs(usual), least, HOUR)
        };
        let every = read("every", written.every.as_deref(), 10, TENTH);
        let timeout = read("timeout", written.timeout.as_deref(), 2, MILLISECOND);
        Ok(HealthCheck {
            question: question?,
            every: every?,
            timeout: timeout?,
            healthy_after: at_least_one(written.healthy_after, 2),
            unhealthy_after: at_least_one(written.unhealthy_after, 3),
        })
    }

    pub(super) fn ejection(&mut self, written: &raw::Ejection, at: &Place) -> Read<Ejection> {
        let first = self.duration(written.first.as_deref(), &at.field("for"), Duration::from_secs(30), TENTH, DAY);
        let usual = Duration::from_secs(5 * 60).max(*first.as_ref().unwrap_or(&Duration::ZERO));
        let at_most = self.duration(written.at_most.as_deref(), &at.field("at_most"), usual, TENTH, DAY);
        let (first, at_most) = (first?, at_most?);
        if at_most < first {
            return self.refuse(&at.field("at_most"), "want no less than `for`");
        }
        Ok(Ejection { failures: at_least_one(written.failures, 5), first, at_most })
    }
}

pub(super) const fn when_none_is_healthy(written: Option<raw::WhenNoneIsHealthy>) -> WhenNoneIsHealthy {
    match written {
        None | Some(raw::WhenNoneIsHealthy::Try) => WhenNoneIsHealthy::Try,
        Some(raw::WhenNoneIsHealthy::Refuse) => WhenNoneIsHealthy::Refuse,
    }
}

pub(super) fn retries(written: &raw::Retries) -> Retries {
    Retries {
        of: match written.of {
            None | Some(raw::RetriesOf::Unwritten) => RetriesOf::Unwritten,
            Some(raw::RetriesOf::Idempotent) => RetriesOf::Idempotent,
        },
        share: written.share.unwrap_or(0.2),
        per_second: written.per_second.unwrap_or(10),
    }
}

fn at_least_one(written: Option<u32>, usual: u32) -> NonZeroU32 {
    written.and_then(NonZeroU32::new).or(NonZeroU32::new(usual)).unwrap_or(NonZeroU32::MIN)
}
