//! All connections of one worker, and the choice of an endpoint for a request.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use http::Response;
use http::Uri;
use http::header::HOST;
use http::uri::Authority;
use http::uri::Scheme;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::HostHeader;
use crate::config::Protocol;
use crate::config::Timeouts;
use crate::model::refusal::Failed;
use crate::snapshot::target::Endpoint;
use crate::snapshot::target::EndpointId;
use crate::snapshot::target::Target;
use crate::upstream::body::Progress;
use crate::upstream::body::RequestBody;
use crate::upstream::pool::Lease;
use crate::upstream::pool::Pool;
use crate::upstream::pool::SendError;

/// Connections that a request may find closed before it gives up: each time none of it was written.
const STALE_TRIES: usize = 4;

/// Ends when an answer has been awaited for `timeouts.response` since the request was complete, or when the upstream
/// has taken nothing more of the request's body for `timeouts.idle`. While the client is waited for, the body's own
/// deadline holds.
async fn silence(progress: &Progress, timeouts: &Timeouts) {
    let begun = Instant::now();
    loop {
        let until = match (progress.completed(), progress.unclaimed_since()) {
            (Some(completed), _) => completed + timeouts.response,
            (None, Some(since)) => since.max(begun) + timeouts.idle,
            (None, None) => {
                tokio::time::sleep(timeouts.response.min(timeouts.idle)).await;
                continue;
            }
        };
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until.min(Instant::now() + timeouts.response)).await;
    }
}

/// Moves `Host` into the target, where HTTP/2 has it: `:authority` and `:scheme` (RFC 9113 §8.3.1). A request that is
/// sent again has it there already.
fn name_authority(request: &mut Request<RequestBody>, endpoint: &Endpoint) {
    let Some(host) = request.headers_mut().remove(HOST) else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Authority::try_from(host.as_bytes()).ok();
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        // No authority, no target: `Host` alone is understood as well.
        Err(_no_authority) => drop(request.headers_mut().insert(HOST, host)),
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
    /// Its head, and the body that is still coming.
    pub response: Response<Incoming>,
    /// The place on the connection; give it back when the body has ended.
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
    Lost(hyper::Error),
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
        request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Answer, Stopped> {
        let mut request = Box::new(request);
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
            if target.host == HostHeader::Endpoint {
                request.headers_mut().insert(HOST, endpoint.authority.clone());
            }
            if endpoint.protocol == Protocol::Http2 {
                name_authority(&mut request, endpoint);
            }
            let sent = tokio::select! {
                biased;
                sent = lease.send(*request) => sent,
                () = silence(progress, timeouts) => return Err(Stopped::NoAnswer),
            };
            match sent {
                Ok(response) => return Ok(Answer { response, lease, endpoint: Arc::clone(&endpoint.label) }),
                Err(SendError::Unsent(back)) if stale < STALE_TRIES => {
                    stale += 1;
                    request = back;
                }
                Err(SendError::Unsent(_)) => return Err(Stopped::NotSent(Failed::UpstreamClosed)),
                Err(SendError::Lost(error)) => return Err(Stopped::Lost(error)),
            }
        }
    }

    /// Closes connections that have idled too long and forgets endpoints that have none.
    pub fn sweep(&self, now: Instant) {
        self.pools.borrow_mut().retain(|_, pool| pool.sweep(now));
    }

    /// Connections that wait, and connections in use, over all endpoints of a target.
    pub fn connections(&self, target: &Target) -> (usize, usize) {
        let pools = self.pools.borrow();
        let each =
            target.endpoints.iter().filter_map(|endpoint| pools.get(&endpoint.id)).map(|pool| pool.connections());
        each.fold((0, 0), |(waiting, used), (more_waiting, more_used)| (waiting + more_waiting, used + more_used))
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
