//! How much of a service this caller may use now, and when it is this request's turn.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ServiceLimits;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::source::Source;
use crate::pipeline::admit::Admitted;
use crate::pipeline::authenticate::Caller;
use crate::pipeline::authorize::Authorized;
use crate::pipeline::callers::Begun;
use crate::pipeline::callers::CallerId;
use crate::pipeline::callers::Callers;
use crate::snapshot::places::Entry;
use crate::snapshot::places::Place;

/// What a request takes up for as long as it is under way. Dropped when its exchange with the upstream has ended.
#[derive(Debug, Default)]
pub struct Held {
    _caller: Option<Begun>,
    _place: Option<Place>,
}

/// A request whose turn it is.
#[derive(Debug)]
pub struct Seated {
    admitted: Admitted,
    held: Held,
    waited: Duration,
}

impl Seated {
    pub(super) fn into_parts(self) -> (Admitted, Held, Duration) {
        (self.admitted, self.held, self.waited)
    }
}

/// Counts the request for its caller, where the service limits callers.
///
/// # Errors
/// [`Denied::RateLimited`], which says when another request can pass, or [`Denied::CallerBusy`].
pub fn caller(
    callers: &Arc<Callers>,
    allowed: &Authorized<'_>,
    source: Option<IpAddr>,
    now: Instant,
) -> Result<Option<Begun>, Refusal> {
    let ServiceLimits { concurrency: _, caller_concurrency, caller_rate } = allowed.routed().service().settings.limits;
    if caller_concurrency.is_none() && caller_rate.is_none() {
        return Ok(None);
    }
    let id = id(callers, allowed, source);
    let begun = match caller_concurrency {
        None => None,
        Some(most) => Some(callers.begin(id, most).ok_or(Denied::CallerBusy)?),
    };
    if let Some(rate) = caller_rate {
        let limited = |wait| Refusal::Denied { why: Denied::RateLimited, retry_after: Some(wait) };
        callers.count(id, rate, now).map_err(limited)?;
    }
    Ok(begun)
}

/// Whose request it is: never which key it came with, so that a rotation neither forgives nor doubles anything.
fn id(callers: &Callers, allowed: &Authorized<'_>, source: Option<IpAddr>) -> CallerId {
    let service = &allowed.routed().service().settings.name;
    match (allowed.caller(), allowed.caller().resource()) {
        (_, Some(resource)) => callers.id((service, "resource", resource)),
        (Caller::Account(account, _), None) => callers.id((service, "account", &account.name)),
        (Caller::Token(token, _), None) => callers.id((service, "token", &token.issuer, &token.subject)),
        (Caller::Service(_), None) => callers.id((service, "service")),
        (Caller::Anyone, None) => callers.id((service, "address", source.map(Source::of))),
    }
}

/// Takes a place at the service, and waits for one where the service has a queue.
///
/// # Errors
/// [`Denied::ServiceBusy`] where too many wait already, [`Failed::QueueTimeout`] for one that has waited too long.
pub async fn seat(mut admitted: Admitted) -> Result<Seated, Refusal> {
    let caller = admitted.caller.take();
    let mut waited = Duration::ZERO;
    let place = match admitted.service.settings.limits.concurrency {
        None => None,
        Some(limit) => match admitted.service.places.enter(limit.most, limit.queue) {
            Entry::Place(place) => Some(place),
            Entry::Full => return Err(Denied::ServiceBusy.into()),
            Entry::Turn(turn) => {
                let queued = admitted.service.metrics.queued();
                let place = Box::pin(turn.come(limit.wait)).await.ok_or(Failed::QueueTimeout)?;
                waited = queued.so_far();
                Some(place)
            }
        },
    };
    Ok(Seated { admitted, held: Held { _caller: caller, _place: place }, waited })
}
