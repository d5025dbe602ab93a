//! All connections of one worker, and the choice of an endpoint for a request.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use http::response::Parts;
use tokio::time::Instant;

use crate::config::Timeouts;
use crate::model::refusal::Failed;
use crate::snapshot::target::Endpoint;
use crate::snapshot::target::EndpointId;
use crate::snapshot::target::Target;
use crate::upstream::body::Progress;
use crate::upstream::body::RequestBody;
use crate::upstream::exchange::Lost;
use crate::upstream::exchange::RequestHead;
use crate::upstream::exchange::SendError;
use crate::upstream::pool::Lease;
use crate::upstream::pool::Pool;
use crate::upstream::timer::Alarm;

/// Connections that a request may find closed before it gives up: each time none of it was written.
const STALE_TRIES: usize = 4;

/// How long an answer may be waited for.
#[derive(Debug)]
struct Patience<'t> {
    timeouts: &'t Timeouts,
    progress: &'t Progress,
    begun: Instant,
}

impl Patience<'_> {
    /// Ready when an answer has been awaited for `response` since the request was complete, or when the upstream has
    /// taken nothing more of the request's body for `idle`. While the client is waited for, the body's own deadline
    /// holds.
    fn poll_over(&self, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Over HTTP/2 another task sends the body and tells nobody that it is complete, so it is looked at again.
            let look_again = || Instant::now() + self.timeouts.response.min(self.timeouts.idle);
            let (over, until) = match (self.progress.completed(), self.progress.unclaimed_since()) {
                (Some(completed), _) => {
                    let over = completed + self.timeouts.response;
                    (Some(over), over)
                }
                (None, Some(since)) => {
                    let over = since.max(self.begun) + self.timeouts.idle;
                    (Some(over), over.min(look_again()))
                }
                (None, None) => (None, look_again()),
            };
            ready!(alarm.poll(until, cx));
            if over.is_some_and(|over| over <= until) {
                return Poll::Ready(());
            }
        }
    }
}

/// One worker's way to all upstreams.
#[derive(Debug)]
pub struct Clients {
    pools: RefCell<HashMap<EndpointId, Rc<Pool>>>,
    random: Cell<u64>,
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

impl Clients {
    /// No connection yet. `seed` makes the choices of this worker differ from its siblings'.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { pools: RefCell::default(), random: Cell::new(seed | 1) }
    }

    /// Sends a request to the least busy of two endpoints and waits for the head of the answer.
    ///
    /// A request is sent again only when no byte of it was written: to another endpoint when this one cannot
    /// be reached, over another connection when this one turns out to be closed.
    ///
    /// # Errors
    /// [`Stopped`] says how far the request got.
    pub async fn send(
        &self,
        target: &Target,
        timeouts: &Timeouts,
        request: &impl RequestHead,
        mut body: RequestBody,
        progress: &Progress,
    ) -> Result<Answer, Stopped> {
        let mut unreachable = 0_u64;
        let mut stale = 0;
        loop {
            let (at, endpoint) = self.choose(target, unreachable).ok_or(Stopped::NotSent(Failed::NoEndpoint))?;
            let mut lease = match self.pool(endpoint).lease(endpoint, timeouts.connect).await {
                Ok(lease) => lease,
                Err(failed) => {
                    unreachable |= 1 << at;
                    if self.choose(target, unreachable).is_none() {
                        return Err(Stopped::NotSent(failed));
                    }
                    continue;
                }
            };
            let patience = Patience { timeouts, progress, begun: Instant::now() };
            let mut alarm = lease.alarm();
            let sent = {
                let mut sending = pin!(lease.send(request, endpoint, body));
                poll_fn(|cx| match sending.as_mut().poll(cx) {
                    Poll::Ready(sent) => Poll::Ready(Some(sent)),
                    Poll::Pending => patience.poll_over(&mut alarm, cx).map(|()| None),
                })
                .await
            };
            let Some(sent) = sent else {
                lease.give_up();
                return Err(Stopped::NoAnswer);
            };
            match sent {
                Ok(head) => {
                    lease.keep_alarm(alarm);
                    return Ok(Answer { head, lease, endpoint: Arc::clone(&endpoint.label) });
                }
                Err(SendError::Unsent(back)) if stale < STALE_TRIES => {
                    stale += 1;
                    body = back;
                }
                Err(SendError::Unsent(_)) => return Err(Stopped::NotSent(Failed::UpstreamClosed)),
                Err(SendError::Lost(error)) => return Err(Stopped::Lost(error)),
            }
        }
    }

    /// Closes connections that have idled too long and forgets endpoints that have none.
    pub fn sweep(&self, now: Instant) {
        // Whoever is connecting holds its pool, which has nothing in it yet.
        self.pools.borrow_mut().retain(|_, pool| pool.sweep(now) || Rc::strong_count(pool) > 1);
    }

    fn pool(&self, endpoint: &Endpoint) -> Rc<Pool> {
        Rc::clone(self.pools.borrow_mut().entry(endpoint.id).or_default())
    }

    /// The less busy of two random endpoints, leaving out those whose bit is set and, where another is there,
    /// those that failed a moment ago.
    fn choose<'t>(&self, target: &'t Target, without: u64) -> Option<(usize, &'t Endpoint)> {
        if let ([only], 0) = (&*target.endpoints, without) {
            return Some((0, only));
        }
        let left = || target.endpoints.iter().enumerate().take(64).filter(|(at, _)| without >> at & 1 == 0);
        let usable = left().filter(|(_, endpoint)| !self.pool(endpoint).is_avoided()).count();
        let candidates = || left().filter(move |(_, endpoint)| usable == 0 || !self.pool(endpoint).is_avoided());
        let count = if usable == 0 { left().count() } else { usable };
        let first = candidates().nth(self.below(count))?;
        let second = candidates().nth(self.below(count))?;
        let busy = |(_, endpoint): &(usize, &Endpoint)| self.pool(endpoint).in_flight();
        Some(if busy(&second) < busy(&first) { second } else { first })
    }

    /// A number below `count`, by xorshift: spread matters here, secrecy does not.
    fn below(&self, count: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        usize::try_from(x >> 33).unwrap_or(0).checked_rem(count).unwrap_or(0)
    }
}
