//! A request, from its head to the last byte of its answer.
//!
//! [`Gateway::answer`] is the story: find the service, authenticate, authorize, admit, wait for its turn, forward; a request for a
//! LimitedAccessToken is answered after authentication instead. A stage takes the
//! proof of the stage before by value and returns its own, so that none can be left out.

pub mod admit;
mod audited;
pub mod authenticate;
pub mod authorize;
pub mod bucket;
pub mod callers;
pub mod credential;
pub mod discard;
mod evidence;
pub mod explain;
pub mod find;
pub mod form;
pub mod forward;
mod forward_auth;
pub mod headers;
pub mod issue;
pub mod issuer_keys;
pub mod judge;
pub mod limit;
pub mod peer;
pub mod refuse;
pub mod relay;
pub mod throttle;
mod unread;
pub mod upgrade;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Body as _;
use http_body::SizeHint;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::resource::ResourceId;
use crate::model::source::Source;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Audit;
use crate::observe::audit::NotRecorded;
use crate::observe::decisions::Needed;
use crate::observe::metrics::GatewayMetrics;
use crate::observe::metrics::ListenerMetrics;
use crate::observe::record::Observer;
use crate::observe::record::Record;
use crate::pipeline::admit::Admitted;
use crate::pipeline::callers::Callers;
use crate::pipeline::issue::Issuing;
use crate::pipeline::issuer_keys::KeyRequests;
use crate::pipeline::judge::Judge;
use crate::pipeline::judge::Tokens;
use crate::pipeline::peer::Peer;
use crate::pipeline::refuse::Context;
use crate::pipeline::refuse::Reader;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::throttle::Throttle;
use crate::snapshot::Snapshot;
use crate::snapshot::live;
use crate::snapshot::service::Service;
use crate::upstream::client_body::ClientBody;
use crate::upstream::clients::Clients;

/// One worker's gateway: what its requests share, none of it shared with another worker.
#[derive(Debug)]
pub struct Gateway {
    live: RefCell<live::Reader>,
    clients: Clients,
    tokens: Tokens,
    observer: Rc<Observer>,
    issuer_keys: KeyRequests,
    audit: Audit,
    throttle: Arc<Throttle>,
    callers: Arc<Callers>,
    draining: Arc<AtomicBool>,
    tasks: TaskTracker,
}

/// What all workers share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Credentials that were not accepted, by where they came from.
    pub throttle: Arc<Throttle>,
    /// What each caller has of the services that limit it.
    pub callers: Arc<Callers>,
    /// How many they are.
    pub workers: u16,
    /// Set when the process is about to leave.
    pub draining: Arc<AtomicBool>,
}

/// What a request that passed the checks is for.
#[derive(Debug)]
enum Passed {
    /// An upstream; and whether the peer is a proxy that is believed.
    Forward(Admitted, bool),
    /// A LimitedAccessToken.
    Issue(Issuing),
}

/// What the checks found out that a refusal needs as well.
#[derive(Debug, Default)]
struct Found {
    service: Option<Arc<Service>>,
    /// The resource that was to be used, or lent to.
    resource: Option<ResourceId>,
    /// What the call needs and the caller lacks.
    needed: Option<Needed>,
}

/// Why the checks of a request have stopped.
#[derive(Debug)]
pub enum Halt {
    /// The answer is no.
    Refused(Refusal),
    /// An issuer's keys have to be fetched before the token can be judged.
    KeysWanted {
        /// Whose.
        issuer: Name,
        /// The answer where there is nothing new to fetch.
        otherwise: Refusal,
    },
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Denied> for Halt {
    fn from(why: Denied) -> Self {
        Self::Refused(why.into())
    }
}

impl From<Failed> for Halt {
    fn from(failed: Failed) -> Self {
        Self::Refused(failed.into())
    }
}

impl Gateway {
    /// Makes a worker's gateway. `seed` makes its choices of endpoints differ from its siblings'.
    #[must_use]
    pub fn new(
        live: live::Reader,
        observer: Rc<Observer>,
        issuer_keys: KeyRequests,
        audit: Audit,
        shared: Shared,
        seed: u64,
    ) -> Self {
        Self {
            live: RefCell::new(live),
            clients: Clients::new(seed, shared.workers),
            tokens: Tokens::default(),
            observer,
            issuer_keys,
            audit,
            throttle: shared.throttle,
            callers: shared.callers,
            draining: shared.draining,
            tasks: TaskTracker::new(),
        }
    }

    /// Answers one request.
    pub async fn answer(&self, peer: &Peer, request: Request<ClientBody>) -> Response<AnswerBody> {
        if let Some(asking) = self.asking(peer) {
            return Box::pin(self.decide(&asking, peer, request)).await;
        }
        let (head, body) = request.into_parts();
        let reader = Reader::of(&head.method, &head.headers);
        let version = head.version;
        let mut record = Record::begin(&self.observer, &head, &peer.connection, Instant::now());
        let mut found = Found::default();
        let mut allow = None;
        let answer = match self.admit(peer, &head, &body.size_hint(), &mut record, &mut found).await {
            Ok(Passed::Forward(admitted, trusts_peer)) => match limit::seat(admitted).await {
                Ok(seated) => {
                    let sent = forward::send(self, seated, peer, trusts_peer, head, body, record).await;
                    sent.map_err(|(refusal, rest, record)| (refusal, None, rest, record))
                }
                Err(refusal) => Err((refusal, None, discard::rest(&head, body).await, record)),
            },
            Ok(Passed::Issue(issuing)) => {
                let empty = SizeHint::with_exact(0);
                let judge_again = |issuing: Issuing, record: &mut Record| {
                    if self.live.borrow_mut().load().generation == issuing.generation() {
                        return Ok(issuing);
                    }
                    match self.check(peer, &head, &empty, record, &mut found) {
                        Ok(Passed::Issue(issuing)) => Ok(issuing),
                        Ok(Passed::Forward(..)) => Err(Denied::NoService.into()),
                        Err(Halt::Refused(refusal) | Halt::KeysWanted { issuer: _, otherwise: refusal }) => {
                            Err(refusal)
                        }
                    }
                };
                let issued = issue::answer(issuing, &self.audit, head.uri.query(), body, record, judge_again).await;
                issued.map_err(|(why, rest, record)| {
                    found.resource = why.resource;
                    (why.refusal, why.detail, rest, record)
                })
            }
            Err(refusal) => {
                if refusal.row().status == StatusCode::METHOD_NOT_ALLOWED {
                    allow = find::allow(self.live.borrow_mut().load(), &head);
                }
                remember(refusal, &head, &mut found, &mut record);
                Err((refusal, None, discard::rest(&head, body).await, record))
            }
        };
        let mut response = answer.unwrap_or_else(|(refusal, detail, rest, record)| {
            let mut response = self.refuse(peer, refusal, detail.as_deref(), &found, reader, record);
            rest.announce(version, response.headers_mut());
            response
        });
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        self.announce_end(peer, version, &mut response);
        response
    }

    /// The answer to a request that is refused, which is an event of the audit log where it concerns credentials.
    fn refuse(
        &self,
        peer: &Peer,
        refusal: Refusal,
        detail: Option<&str>,
        found: &Found,
        reader: Reader,
        mut record: Record,
    ) -> Response<AnswerBody> {
        let service = found.service.as_deref();
        if let Some(why) = audited::concerns_credentials(refusal) {
            let resource = found.resource.as_ref().map(ResourceId::as_str);
            self.audit.deny(|| audited::denied(why, resource, service, &record));
        }
        let refusal = self.throttle(peer, refusal, &mut record);
        refuse(refusal, detail, service, reader, record)
    }

    /// Tells an HTTP/1 client where its connection takes no further request: it opens its next one somewhere else, while
    /// there is still time.
    fn announce_end(&self, peer: &Peer, version: Version, response: &mut Response<AnswerBody>) {
        let is_last = self.draining.load(Ordering::Relaxed) || peer.is_unwanted();
        if is_last && version != Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Counts a credential that was not accepted. One too many from its address is refused without saying more, and costs
    /// the connection.
    fn throttle(&self, peer: &Peer, refusal: Refusal, record: &mut Record) -> Refusal {
        let source = record.source().map(|address| address.to_canonical());
        let Some(source) = source.filter(|address| !peer.limits.is_shared(address)) else { return refusal };
        let Some(why) = audited::failed_attempt(refusal) else { return refusal };
        match self.throttle.failed(Source::of(source), peer.limits.failed_authentications, Instant::now()) {
            Ok(()) => refusal,
            Err(wait) => {
                self.listener_metrics(&peer.listener).auth_throttled();
                peer.end_soon();
                record.throttled(why);
                Refusal::Denied { why: Denied::AuthThrottled, retry_after: Some(wait) }
            }
        }
    }

    /// Runs the checks; once more with a new snapshot where an issuer's keys had to be fetched first.
    async fn admit(
        &self,
        peer: &Peer,
        head: &Parts,
        body: &SizeHint,
        record: &mut Record,
        found: &mut Found,
    ) -> Result<Passed, Refusal> {
        let issuer = match self.check(peer, head, body, record, found) {
            Ok(passed) => return Ok(passed),
            Err(Halt::Refused(refusal)) => return Err(refusal),
            Err(Halt::KeysWanted { issuer, otherwise: _ }) => issuer,
        };
        self.issuer_keys.fetch(issuer).await?;
        self.check(peer, head, body, record, found).map_err(|halt| match halt {
            Halt::Refused(refusal) => refusal,
            Halt::KeysWanted { issuer: _, otherwise } => otherwise,
        })
    }

    fn check(
        &self,
        peer: &Peer,
        head: &Parts,
        body: &SizeHint,
        record: &mut Record,
        found: &mut Found,
    ) -> Result<Passed, Halt> {
        let snapshot: Arc<Snapshot> = Arc::clone(self.live.borrow_mut().load());
        let judge =
            Judge { snapshot: &snapshot, now: UnixSeconds::now(), tokens: &self.tokens, metrics: self.metrics() };
        record.generation(snapshot.generation);
        let trusts_peer = trusts(&snapshot, peer, head, record);

        form::check(head)?;
        find::measure(&peer.limits, head)?;
        let routed = find::service(&snapshot, head)?;
        let is_issuing = issue::is_asked(&routed, head);
        if found.service.replace(Arc::clone(routed.service())).is_none() {
            record.service(&routed.service().metrics);
        }
        let known = authenticate::check(&judge, routed, head)?;
        record.principal(known.principal(), known.key(), judge.now);
        if is_issuing {
            return Ok(Passed::Issue(issue::admit(&snapshot, known)?));
        }
        let allowed = authorize::check(&judge, known, head).map_err(|uncovered| {
            (found.resource, found.needed) = (uncovered.resource, uncovered.needed);
            uncovered.why
        })?;
        if let Some(lent) = allowed.lent() {
            record.limited_token(Arc::clone(&lent.id), lent.isv.as_str().into());
        }
        let limit = || limit::caller(&self.callers, &allowed, record.source(), record.started());
        let admitted = admit::admit(&snapshot, &allowed, head, body, |count| self.clients.below(count), limit)?;
        if let Some(lent) = allowed.lent() {
            let event = audited::used(lent, &snapshot.features, allowed.routed().service(), record);
            self.audit.note(event).map_err(|NotRecorded| Failed::AuditUnavailable)?;
        }
        Ok(Passed::Forward(admitted, trusts_peer))
    }

    /// What is due now and then: the access log is written out, idle connections are closed.
    pub fn housekeeping(&self, now: Instant, since_epoch: Duration) {
        {
            let mut live = self.live.borrow_mut();
            let snapshot = live.load();
            self.observer.configure(snapshot.access_log, snapshot.recording);
        }
        self.observer.tick(now, since_epoch);
        self.tokens.count(self.metrics());
        self.clients.sweep(now);
    }

    /// What the process counts.
    #[must_use]
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.observer.metrics().gateway
    }

    /// What a listener counts.
    #[must_use]
    pub fn listener_metrics(&self, listener: &Name) -> Arc<ListenerMetrics> {
        self.observer.metrics().listener(listener)
    }

    /// What a listener bears of its clients, as it is now.
    #[must_use]
    pub fn limits(&self, listener: &Name) -> Arc<Limits> {
        self.live.borrow_mut().load().limits(listener)
    }

    /// The TLS of a listener, as it is now.
    #[must_use]
    pub fn tls(&self, listener: &Name) -> Option<Arc<rustls::ServerConfig>> {
        self.live.borrow_mut().load().tls.get(listener).map(Arc::clone)
    }

    /// Everything that this worker has under way besides what it listens on.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }
}

/// Whether the peer is a proxy that is believed; if so, the record learns for whom it speaks.
fn trusts(snapshot: &Snapshot, peer: &Peer, head: &Parts, record: &mut Record) -> bool {
    let proxies = &snapshot.trusted_proxies;
    let Some(address) = peer.address().filter(|address| proxies.iter().any(|net| net.contains(address))) else {
        return false;
    };
    if let Some(client) = headers::client_address(Some(address), proxies, &head.headers) {
        record.client(client);
    }
    true
}

/// Leaves with the record what a request showed, for whoever asks why it was refused.
fn remember(refusal: Refusal, head: &Parts, found: &mut Found, record: &mut Record) {
    let (resource, needed) = (found.resource.clone(), found.needed.take());
    record.evidence(evidence::of(refusal, head, found.service.as_deref(), resource, needed));
}

fn refuse(
    refusal: Refusal,
    detail: Option<&str>,
    service: Option<&Service>,
    reader: Reader,
    mut record: Record,
) -> Response<AnswerBody> {
    record.refused(refusal);
    let request_id = record.request_id();
    let context = Context { service, reader, decision: record.decision_id(), request_id: &request_id, detail };
    let (head, text) = refuse::answer(refusal, &context).into_parts();
    if reader == Reader::HeadOnly || text.is_empty() {
        record.complete();
        return Response::from_parts(head, AnswerBody::Own(None, None));
    }
    Response::from_parts(head, AnswerBody::Own(Some(text), Some(Box::new(record))))
}

/// The system's clock, for the timestamps of the access log.
#[expect(clippy::disallowed_methods, reason = "the edge of a worker asks the clock for all of its requests")]
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
