//! One record a request: set as the request proceeds, counted and logged when it is dropped.
//!
//! Whatever ends a request drops its record: the last byte of the answer, a refusal, a client that leaves, a
//! panic. Nothing is formatted before that, and most of what is kept is shared with the request itself.
//! No credential and no query is ever given to a record.

mod decided;
mod line;
mod object;
mod observer;
mod principal;
mod printable;
#[cfg(feature = "otel")]
mod span;
mod stamp;

use std::cell::Cell;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::Scheme as UrlScheme;
use tokio::time::Instant;

use crate::config::AskingProxy;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::time::UnixSeconds;

use super::decisions::Evidence;
use super::ids::Id;
use super::ids::request_id;
use super::metrics::Exchange;
use super::metrics::Finished;
use super::metrics::InFlight;
use super::metrics::ServiceMetrics;
use super::metrics::UpstreamMetrics;
use super::trace_context::TraceContext;
use super::usage::UsedKey;

pub use self::observer::Observer;
pub use self::principal::Principal;

/// Who sent a request, as far as the connection says.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// `https` where the connection has TLS, `http` where not.
    pub scheme: UrlScheme,
}

/// What happened to one request.
#[derive(Debug)]
pub struct Record {
    observer: Rc<Observer>,
    started: Instant,
    decision: Id,
    trace: TraceContext,
    peer: Peer,
    client: Option<IpAddr>,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    generation: Option<u64>,
    /// How long it waited for its turn.
    waited: Duration,
    service: Option<InFlight>,
    principal: Option<Principal>,
    limited_token: Option<LimitedToken>,
    asked_by: Option<AskingProxy>,
    upstream: Option<Sent>,
    status: Option<StatusCode>,
    refusal: Option<Refusal>,
    /// Only a refused request has some.
    evidence: Option<Box<Evidence>>,
    ending: Ending,
    request_bytes: Option<ByteCount>,
    response_bytes: u64,
}

/// The LimitedAccessToken that a request used.
#[derive(Debug)]
struct LimitedToken {
    id: Arc<str>,
    vendor: Arc<str>,
}

/// A request on its way to an upstream.
#[derive(Debug)]
struct Sent {
    upstream: Arc<UpstreamMetrics>,
    /// From the request's head until it was handed over, for the first time where there were several.
    own: Duration,
    at: Instant,
    answered: Option<(Arc<str>, Duration)>,
}

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It has not; if the record is dropped like this, the client has left.
    Open,
    /// With its last byte.
    Complete,
    /// In the middle, and not by the client.
    BrokenOff(Failed),
}

/// What a request came to, once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// An answer, to its last byte.
    Answered(StatusCode),
    /// The gateway refused, whether or not the client stayed to read it.
    Refused(Refusal),
    /// An answer that stopped in the middle.
    BrokenOff(Failed),
    /// The client left before the end of the answer.
    ClientGone,
}

impl Record {
    /// Begins the record of a request whose head has been read at `now`.
    #[must_use]
    pub fn begin(observer: &Rc<Observer>, head: &Parts, peer: &Peer, now: Instant) -> Self {
        Self {
            started: now,
            decision: observer.ids().next(),
            trace: TraceContext::of(&head.headers, observer.ids(), observer.recording()),
            observer: Rc::clone(observer),
            peer: peer.clone(),
            client: None,
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            host: head.headers.get(header::HOST).cloned(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            request_id: request_id(&head.headers).cloned(),
            generation: None,
            waited: Duration::ZERO,
            service: None,
            principal: None,
            limited_token: None,
            asked_by: None,
            upstream: None,
            status: None,
            refusal: None,
            evidence: None,
            ending: Ending::Open,
            request_bytes: None,
            response_bytes: 0,
        }
    }

    /// What names this decision in the answer, the access log and `scoregate explain`.
    #[must_use]
    pub fn decision_id(&self) -> Id {
        self.decision
    }

    /// The client's own name of the request, or that of the decision where it gave none that is fit to repeat.
    #[must_use]
    pub fn request_id(&self) -> HeaderValue {
        self.request_id.clone().unwrap_or_else(|| self.decision.header_value())
    }

    /// The same, where it is not needed as a header's value; `own` is where it is written if it is the decision's.
    #[must_use]
    pub fn request_id_in<'r>(&'r self, own: &'r mut [u8; 32]) -> &'r [u8] {
        match &self.request_id {
            Some(given) => given.as_bytes(),
            None => {
                *own = self.decision.digits();
                own
            }
        }
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// When the request's head had been read.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The generation of the snapshot that decides.
    pub fn generation(&mut self, generation: u64) {
        self.generation = Some(generation);
    }

    /// The client's address behind trusted proxies, where it is not the peer's.
    pub fn client(&mut self, address: IpAddr) {
        self.client = Some(address);
    }

    /// Another proxy forwards the request, and asked.
    pub fn asked_by(&mut self, proxy: AskingProxy) {
        self.asked_by = Some(proxy);
    }

    /// The service that matched. From here on the request is in flight there.
    pub fn service(&mut self, service: &Arc<ServiceMetrics>) {
        self.service = Some(InFlight::enter(service));
    }

    /// Who called, once that is proven, and by which key. Who is judged again, by a newer snapshot, has called once.
    pub fn principal(&mut self, principal: Principal, key: Option<UsedKey<'_>>, now: UnixSeconds) {
        if self.principal.is_none() {
            self.count_use(&principal, key, now);
        }
        self.principal = Some(principal);
    }

    fn count_use(&self, principal: &Principal, key: Option<UsedKey<'_>>, now: UnixSeconds) {
        if let Some(UsedKey { usage, .. }) = key {
            usage.mark(self.source(), now);
        }
        let Some(in_flight) = &self.service else { return };
        in_flight.service().allowed(principal.scheme());
        if let (Principal::Service { slot, .. }, Some(UsedKey { age, .. })) = (principal, key) {
            in_flight.service().key_used(*slot);
            in_flight.service().key_seen(*slot, age, now);
        }
    }

    /// Who called, as the logs name them; `unknown` until it is proven.
    #[must_use]
    pub fn who(&self) -> String {
        self.principal.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string)
    }

    /// The client's address, as far as it is known.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.client.or_else(|| self.peer.address.map(|peer| peer.ip()))
    }

    /// The LimitedAccessToken that was accepted: its `jti`, and the vendor who issued it.
    pub fn limited_token(&mut self, id: Arc<str>, vendor: Arc<str>) {
        self.limited_token = Some(LimitedToken { id, vendor });
    }

    /// It waited for its turn at a busy service: that is none of the gateway's own time.
    pub fn waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// The gateway has decided, and hands the request to the upstream. Called again when it is tried again.
    pub fn forwarding(&mut self, upstream: &Arc<UpstreamMetrics>, now: Instant) {
        let own = match &self.upstream {
            Some(before) => before.own,
            None => {
                let own = now.saturating_duration_since(self.started).saturating_sub(self.waited);
                if let Some(in_flight) = &self.service {
                    in_flight.service().forwarded_after(own);
                }
                own
            }
        };
        self.upstream = Some(Sent { upstream: Arc::clone(upstream), own, at: now, answered: None });
    }

    /// The head of the upstream's answer has arrived from this endpoint (`host:port`).
    pub fn upstream_head(&mut self, status: StatusCode, endpoint: &Arc<str>, now: Instant) {
        self.status = Some(status);
        if let Some(sent) = &mut self.upstream {
            let after = now.saturating_duration_since(sent.at);
            sent.upstream.answered(status, after);
            sent.answered = Some((Arc::clone(endpoint), after));
        }
    }

    /// The gateway answers itself, and it is not a refusal: a preflight, a token.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The gateway refuses. Of several refusals the first stands: the others follow from it.
    pub fn refused(&mut self, refusal: Refusal) {
        if self.refusal.is_none() {
            self.status = Some(refusal.row().status);
            self.refusal = Some(refusal);
        }
    }

    /// What a request that is refused showed, for whoever asks why.
    pub fn evidence(&mut self, evidence: Evidence) {
        self.evidence = Some(Box::new(evidence));
    }

    /// The caller is told that it fails too often, and not that it failed by this.
    pub fn throttled(&mut self, why: Denied) {
        self.evidence.get_or_insert_default().throttled = Some(why);
    }

    /// The answer stopped in the middle, and the client did not cause it.
    pub fn broke_off(&mut self, failed: Failed) {
        self.ending = Ending::BrokenOff(failed);
    }

    /// Counts bytes of the answer's body.
    pub fn response_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// What the request's body counts its bytes with. Nothing is allocated for a request that never asks.
    pub fn request_bytes(&mut self) -> ByteCount {
        self.request_bytes.get_or_insert_default().clone()
    }

    /// The answer has been handed over to its last byte.
    ///
    /// A body that owns its record has to see to this on three ways out: when its inner body returns the end,
    /// when it has returned a frame and the inner body says `is_end_stream` (hyper does not ask again), and when
    /// it is dropped while the inner body says so (the answer to `HEAD`, 204, 304: hyper never asks at all).
    pub fn complete(mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Complete;
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.refusal, self.ending, self.status) {
            (Some(refusal), _, _) => Outcome::Refused(refusal),
            // Unwinding drops the record as a client that leaves would; a refusal that never was has no status.
            (None, Ending::Open, _) if std::thread::panicking() => Outcome::BrokenOff(Failed::Internal),
            (None, Ending::Open, _) => Outcome::ClientGone,
            (None, Ending::BrokenOff(failed), _) => Outcome::BrokenOff(failed),
            (None, Ending::Complete, Some(status)) => Outcome::Answered(status),
            (None, Ending::Complete, None) => Outcome::BrokenOff(Failed::Internal),
        }
    }

    fn request_body_bytes(&self) -> u64 {
        self.request_bytes.as_ref().map_or(0, ByteCount::total)
    }

    fn exchange(&self) -> &Exchange {
        match &self.service {
            Some(in_flight) => in_flight.service().exchange(),
            None => self.observer.metrics().unmatched(),
        }
    }

    fn count(&self, outcome: Outcome, duration: Duration) {
        let exchange = self.exchange();
        exchange.finished(&Finished {
            method: &self.method,
            status: self.status,
            duration,
            request_bytes: self.request_body_bytes(),
            response_bytes: self.response_bytes,
        });
        match outcome {
            Outcome::Answered(_) => {}
            Outcome::ClientGone => exchange.aborted(),
            Outcome::Refused(Refusal::Denied { why, .. }) => exchange.denied(why),
            Outcome::Refused(Refusal::Failed(failed)) | Outcome::BrokenOff(failed) => {
                exchange.failed(failed);
                if let Some(sent) = &self.upstream {
                    sent.upstream.failed(failed);
                }
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = Instant::now();
        let duration = ended.saturating_duration_since(self.started);
        let outcome = self.outcome();
        self.count(outcome, duration);
        self.observer.log(self, outcome, ended, duration);
        if let Outcome::Refused(refusal) = outcome {
            let evidence = self.evidence.take().map(|evidence| *evidence).unwrap_or_default();
            self.observer.remember(self, refusal, evidence, ended);
        }
        #[cfg(feature = "otel")]
        self.observer.span(self, outcome, ended);
    }
}

impl Outcome {
    /// Whether the access log has a line for it without regard to the share that is logged.
    fn always_logged(self) -> bool {
        match self {
            Self::Answered(status) => status.is_server_error(),
            Self::Refused(_) | Self::BrokenOff(_) | Self::ClientGone => true,
        }
    }
}

/// Bytes of a body that somebody else reads, on the same worker.
#[derive(Debug, Clone, Default)]
pub struct ByteCount(Rc<Cell<u64>>);

impl ByteCount {
    /// Counts bytes.
    pub fn add(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_add(bytes));
    }

    /// All bytes so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests;
