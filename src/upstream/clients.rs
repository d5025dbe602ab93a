//! All connections of one worker, and a request's way to an answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::Method;
use http::StatusCode;
use http::response::Parts;
use tokio::time::Instant;

use crate::config::RetriesOf;
use crate::config::Timeouts;
use crate::model::refusal::Failed;
use crate::observe::metrics::RetryReason;
use crate::snapshot::target::Endpoint;
use crate::snapshot::target::EndpointId;
use crate::snapshot::target::Target;
use crate::upstream::balance::Balance;
use crate::upstream::balance::Choice;
use crate::upstream::body::Progress;
use crate::upstream::body::RequestBody;
use crate::upstream::exchange::Lost;
use crate::upstream::exchange::RequestHead;
use crate::upstream::exchange::SendError;
use crate::upstream::patience::Patience;
use crate::upstream::pool::Lease;
use crate::upstream::pool::Pool;

/// Connections that a request may find closed before it gives up: each time none of it was written.
const STALE_TRIES: usize = 4;

/// One worker's way to all upstreams.
#[derive(Debug)]
pub struct Clients {
    pools: RefCell<HashMap<EndpointId, Rc<Pool>>>,
    balance: Balance,
    /// How many share an upstream's budget.
    workers: f32,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: Parts,
    /// The connection, over which the body is still coming.
    pub lease: Lease,
    /// Who answered.
    pub endpoint: Arc<str>,
}

/// What stopped an exchange before the upstream's answer began.
#[derive(Debug)]
pub enum Stopped {
    /// No connection could be had, or none in time.
    NotSent(Failed),
    /// The request was on its way when the connection broke.
    Lost(Lost),
    /// The answer's head did not come in time.
    NoAnswer,
}

/// What became of one attempt.
enum Attempt {
    Answered(Answer),
    /// The connection turned out to be closed, or was being closed: nothing was processed.
    Unprocessed(Option<RequestBody>),
    /// There was no connection; the body is as it was.
    NoConnection(Failed, RequestBody),
    Stopped(Stopped),
}

impl Clients {
    /// No connection yet. `seed` makes the choices of this worker differ from its siblings', of whom there are `workers`.
    #[must_use]
    pub fn new(seed: u64, workers: u16) -> Self {
        Self { pools: RefCell::default(), balance: Balance::new(seed), workers: f32::from(workers.max(1)) }
    }

    /// Sends a request to the least busy of two endpoints that are well, and waits for the head of the answer.
    ///
    /// It is sent again only where certainly nothing of it was processed: to another endpoint when this one cannot be
    /// reached, over another connection when this one turns out to be closed. Where the upstream's `retries` say so, one that
    /// does no harm the second time is sent again when no answer came or one that tells of trouble. The budget holds for
    /// whatever is sent again but to an endpoint that is well instead of one that could not be reached.
    ///
    /// # Errors
    /// [`Stopped`] says how far the request got.
    pub async fn send(
        &self,
        target: &Target,
        timeouts: &Timeouts,
        request: &impl RequestHead,
        body: RequestBody,
        progress: &Rc<Progress>,
    ) -> Result<Answer, Stopped> {
        let is_repeatable = body.is_empty();
        let does_no_harm =
            is_repeatable && target.retries.of == RetriesOf::Idempotent && is_idempotent(request.method());
        let again = |body: Option<RequestBody>| body.unwrap_or_else(|| RequestBody::empty(Rc::clone(progress)));
        let (mut tried, mut stale, mut body) = (0_u64, 0, body);
        let mut choice = self.choose(target, tried).ok_or(Stopped::NotSent(Failed::NoEndpoint))?;
        let first = self.pool(choice.endpoint);
        first.budget().earn(target.retries.share);
        let mut pool = Rc::clone(&first);
        loop {
            let endpoint = choice.endpoint;
            let is_watched = does_no_harm || endpoint.health.is_some();
            let attempt = attempt(&pool, endpoint, timeouts, request, body, progress).await;
            let stopped = match attempt {
                Attempt::Answered(answer) if !(is_watched && tells_of_trouble(&answer.head)) => {
                    endpoint.succeeded();
                    return Ok(answer);
                }
                Attempt::Answered(answer) => {
                    endpoint.failed(&target.metrics);
                    tried |= 1 << choice.at;
                    let next = does_no_harm.then(|| self.next(target, tried, &first, RetryReason::Answer)).flatten();
                    let Some(next) = next else { return Ok(answer) };
                    (choice, pool, body) = (next, self.pool(next.endpoint), again(None));
                    continue;
                }
                Attempt::Unprocessed(back) if stale < STALE_TRIES && (back.is_some() || is_repeatable) => {
                    stale += 1;
                    body = again(back);
                    choice = self.choose(target, tried).ok_or(Stopped::NotSent(Failed::NoEndpoint))?;
                    pool = self.pool(choice.endpoint);
                    continue;
                }
                Attempt::Unprocessed(_) => Stopped::NotSent(Failed::UpstreamClosed),
                Attempt::NoConnection(failed, back) => {
                    endpoint.failed(&target.metrics);
                    tried |= 1 << choice.at;
                    let next = self.next(target, tried, &first, RetryReason::Connect);
                    let Some(next) = next else { return Err(Stopped::NotSent(failed)) };
                    (choice, pool, body) = (next, self.pool(next.endpoint), back);
                    continue;
                }
                Attempt::Stopped(stopped) => stopped,
            };
            if progress.stopped().is_some() {
                return Err(stopped);
            }
            endpoint.failed(&target.metrics);
            tried |= 1 << choice.at;
            let next = does_no_harm.then(|| self.next(target, tried, &first, RetryReason::Lost)).flatten();
            let Some(next) = next else { return Err(stopped) };
            (choice, pool, body) = (next, self.pool(next.endpoint), again(None));
        }
    }

    /// Draws a number below `count`.
    pub fn below(&self, count: usize) -> usize {
        self.balance.below(count)
    }

    /// Closes connections that have idled too long and forgets endpoints that have none.
    pub fn sweep(&self, now: Instant) {
        // Whoever is connecting holds its pool, which has nothing in it yet.
        self.pools.borrow_mut().retain(|_, pool| pool.sweep(now) || Rc::strong_count(pool) > 1);
    }

    fn pool(&self, endpoint: &Endpoint) -> Rc<Pool> {
        Rc::clone(self.pools.borrow_mut().entry(endpoint.id).or_default())
    }

    fn choose<'t>(&self, target: &'t Target, without: u64) -> Option<Choice<'t>> {
        self.balance.choose(target, without, |endpoint| self.pool(endpoint))
    }

    /// Where a request goes after it has failed elsewhere, if it may go anywhere.
    fn next<'t>(&self, target: &'t Target, tried: u64, first: &Pool, why: RetryReason) -> Option<Choice<'t>> {
        let next = self.choose(target, tried)?;
        // Nothing is made worse by going to where the request would have gone had this endpoint been known to be down.
        let is_free = why == RetryReason::Connect && next.is_well;
        let retries = target.retries;
        #[expect(clippy::cast_precision_loss, reason = "few endpoints, and a rate up to a million")]
        let a_second = retries.per_second as f32 / (self.workers * target.endpoints.len() as f32);
        if is_free || first.budget().spend(a_second, Instant::now()) {
            target.metrics.retried(why);
            return Some(next);
        }
        target.metrics.not_retried();
        None
    }
}

/// Sends a request once.
async fn attempt(
    pool: &Rc<Pool>,
    endpoint: &Endpoint,
    timeouts: &Timeouts,
    request: &impl RequestHead,
    body: RequestBody,
    progress: &Progress,
) -> Attempt {
    let mut lease = match pool.lease(endpoint, timeouts.connect).await {
        Ok(lease) => lease,
        Err(failed) => return Attempt::NoConnection(failed, body),
    };
    let patience = Patience::begin(timeouts, progress);
    let mut alarm = lease.alarm();
    let sent = {
        let mut sending = pin!(lease.send(request, endpoint, body));
        poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => patience.poll_over(&mut alarm, cx).map(|()| None),
        })
        .await
    };
    match sent {
        None => {
            lease.give_up();
            Attempt::Stopped(Stopped::NoAnswer)
        }
        Some(Ok(head)) => {
            lease.keep_alarm(alarm);
            Attempt::Answered(Answer { head, lease, endpoint: Arc::clone(&endpoint.label) })
        }
        Some(Err(SendError::Unsent(back))) => Attempt::Unprocessed(Some(back)),
        Some(Err(SendError::Lost(lost))) if lost.is_unprocessed() => Attempt::Unprocessed(None),
        Some(Err(SendError::Lost(lost))) => Attempt::Stopped(Stopped::Lost(lost)),
    }
}

/// RFC 9110 §9.2.2, as far as a request without a body goes.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Whether an endpoint says that it could not do its work: a status of a gateway's, or gRPC's `UNAVAILABLE` without an
/// answer. A 500 is a model that failed, perhaps over what it was asked.
fn tells_of_trouble(head: &Parts) -> bool {
    match head.status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::OK => head.headers.get("grpc-status").is_some_and(|status| status == "14"),
        _ => false,
    }
}
