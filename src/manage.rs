//! The management plane: what operators and Azure's SDKs speak to.
//!
//! [`Management::answer`] is the story: find the row of the [`routes`] table, authenticate, hold the role against
//! the row, read the body, do it. An error is written in the form that the clients of that API read, and is never
//! a 500 for anything that a caller sent.

mod auth;
mod auth_mode;
mod keys;
mod native;
mod object;
mod operations;
mod page;
mod reply;
mod routes;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::config;
use crate::config::Limits;
use crate::manage::auth::Caller;
use crate::manage::auth::Unknown;
use crate::manage::operations::Operations;
use crate::manage::reply::Dialect;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::routes::Access;
use crate::manage::routes::Call;
use crate::manage::routes::NotFound;
use crate::manage::routes::Route;
use crate::model::host::Host;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::model::refusal::Row;
use crate::model::slot::Slot;
use crate::model::source::Source;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Act;
use crate::observe::audit::Audit;
use crate::observe::audit::Event;
use crate::observe::audit::NotRecorded;
use crate::observe::decisions::Decisions;
use crate::observe::ids::DECISION_ID;
use crate::observe::ids::Ids;
use crate::observe::metrics::ListenerMetrics;
use crate::observe::metrics::Metrics;
use crate::pipeline::discard;
use crate::pipeline::issuer_keys::KeyRequests;
use crate::pipeline::throttle::Throttle;
use crate::reload::status::Status;
use crate::snapshot::Snapshot;
use crate::snapshot::live::Live;
use crate::store::Store;
use crate::store::engine::Revision;
use crate::store::record_key::Owner;

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest wait for a request body.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Longest wait for a change of the store to be in force. It takes milliseconds.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two looks at the snapshot in force.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Answers on the management listener.
#[derive(Debug)]
pub struct Management {
    live: Live,
    store: Arc<Store>,
    issuer_keys: KeyRequests,
    audit: Audit,
    observed: Observed,
    /// The first TCP listener of the traffic plane.
    traffic: Mutex<Option<Traffic>>,
    throttle: Throttle,
    ids: Mutex<Ids>,
    /// When this process began, ISO 8601: what SDKs are told of a service's creation, which nobody wrote down.
    started: String,
}

/// What is seen of a running gateway besides its snapshot and its store.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The configuration's file, to say where in it a rule stands.
    pub config: PathBuf,
    /// The last refusals.
    pub decisions: Arc<Decisions>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How the last change went.
    pub status: Arc<Status>,
}

/// Where clients come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// The address, a port 0 resolved.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
}

/// Who is at the other end of a connection; the listener puts it into the extensions of each request.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// What the listener bears.
    pub limits: Arc<Limits>,
    /// What the listener counts.
    pub metrics: Arc<ListenerMetrics>,
}

/// A call whose caller may make it.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    /// `None` where everybody may call.
    caller: Option<&'a Caller>,
    /// What stands at `{name}`.
    name: Option<&'a str>,
    /// What stands at `{slot}`.
    slot: Option<Slot>,
    query: Option<&'a str>,
    body: &'a [u8],
    /// Scheme, host and port as the caller wrote them.
    base: &'a str,
    decision: &'a str,
    now: UnixSeconds,
}

impl Asked<'_> {
    /// What the audit log calls the owner of slots: an account by its resource, which is what its owner knows.
    fn resource_of(&self, owner: &Owner) -> String {
        match owner {
            Owner::Service(name) => format!("services/{name}"),
            Owner::Account(name) => {
                let account = self.snapshot.account_named(name);
                account.map_or_else(|| format!("accounts/{name}"), |account| account.resource.to_string())
            }
        }
    }
}

impl Management {
    /// Answers from the snapshot in force, and changes the store.
    #[must_use]
    pub fn new(
        live: Live,
        store: Arc<Store>,
        issuer_keys: KeyRequests,
        audit: Audit,
        observed: Observed,
        now: UnixSeconds,
    ) -> Arc<Self> {
        let started = i64::try_from(now.0).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
        Arc::new(Self {
            live,
            store,
            issuer_keys,
            audit,
            observed,
            traffic: Mutex::default(),
            throttle: Throttle::default(),
            ids: Mutex::default(),
            started: started.unwrap_or_default().to_string(),
        })
    }

    /// Says where clients come, for scoring URIs.
    pub fn traffic_at(&self, traffic: Option<Traffic>) {
        *locked(&self.traffic) = traffic;
    }

    /// The answer to what is no request.
    #[must_use]
    pub fn refuse_unread(&self, why: Denied) -> Reply {
        let Row { status, code, message, .. } = why.row();
        let decision = locked(&self.ids).next();
        let mut reply = Refused::new(status, code, message).reply(Dialect::Own, &decision.to_string());
        reply.headers_mut().insert(DECISION_ID, decision.header_value());
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    /// Answers one request.
    pub async fn answer<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
        &self,
        request: Request<B>,
    ) -> Reply {
        let (head, body) = request.into_parts();
        let mut body = pin!(body);
        let decision = locked(&self.ids).next();
        let told = self.call(&head, body.as_mut(), &decision.to_string()).await;
        let mut reply = told.unwrap_or_else(|(refused, allow)| {
            let mut reply = refused.reply(Dialect::of(head.uri.path()), &decision.to_string());
            reply.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
            reply
        });
        let is_throttled = reply.status() == StatusCode::TOO_MANY_REQUESTS;
        let headers = reply.headers_mut();
        discard::rest(&head, body).await.announce(head.version, headers);
        if is_throttled {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            discard::Rest::Some.announce(head.version, headers);
        }
        headers.insert(DECISION_ID, decision.header_value());
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        reply
    }

    async fn call<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
        &self,
        head: &Parts,
        body: B,
        decision: &str,
    ) -> Result<Reply, (Refused, Option<HeaderValue>)> {
        let found = routes::find(&head.method, head.uri.path()).map_err(unanswered)?;
        let plain = |refused| (refused, None);
        let caller = match found.route.access {
            Access::Anyone => None,
            Access::From(_) => {
                let caller = self.caller(&head.headers).await;
                let caller = caller.inspect_err(|no| self.unknown(no, found.route, decision));
                Some(caller.map_err(|no| plain(self.throttle(no, head)))?)
            }
        };
        let snapshot = self.live.load();
        if let Some(caller) = &caller
            && let Err(refused) = auth::covers(caller, found.route.access)
        {
            let detail = json!({ "method": head.method.as_str() });
            let event = audited(Act::Forbidden, caller, head.uri.path().to_owned(), detail, decision);
            // What is refused is refused, on record or not.
            let _counted = self.audit.record(event).await;
            return Err(plain(refused));
        }
        if found.at.workspace.as_ref().is_some_and(|workspace| *workspace != snapshot.management.workspace) {
            return Err(plain(Refused::not_found("this gateway stands for another workspace")));
        }
        let base = base(head, &snapshot).map_err(plain)?;
        let body = if head.method == Method::GET || head.method == Method::HEAD {
            Bytes::new()
        } else {
            read(&head.headers, body).await.map_err(plain)?
        };
        if head.method != Method::GET && head.method != Method::HEAD {
            self.audit.ready().map_err(|NotRecorded| plain(not_recorded()))?;
        }
        let asked = Asked {
            snapshot: &snapshot,
            caller: caller.as_ref(),
            name: found.at.name.as_deref(),
            slot: found.at.slot,
            query: head.uri.query(),
            body: &body,
            base: &base,
            decision,
            now: UnixSeconds::now(),
        };
        match found.route.call {
            Call::Page => page::answer(&asked).map_err(plain),
            Call::Discovery => Ok(discovery(&asked)),
            Call::Jwks => Ok(reply::public("application/jwk-set+json", snapshot.own_keys.jwks().to_owned())),
            Call::OpenIdConfiguration => Ok(openid_configuration(&asked)),
            Call::V1(call) => v1::answer(self, call, &asked).await.map_err(plain),
            Call::V2(call) => v2::answer(self, call, &asked).await.map_err(plain),
            Call::Native(call) => native::answer(self, call, &asked).await.map_err(plain),
        }
    }

    /// Finds out who calls; once more with a new snapshot where an issuer's keys had to be fetched first.
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let issuer = match auth::caller(&self.live.load().management, headers, UnixSeconds::now()) {
            Ok(caller) => return Ok(caller),
            Err(Unknown::Refused(refused)) => return Err(refused),
            Err(Unknown::KeysWanted(issuer)) => issuer,
        };
        let unavailable = || Refused::unavailable("the token cannot be judged now: its issuer's keys cannot be had");
        match self.issuer_keys.fetch(issuer).await {
            // A set that is as new as it gets lacks the key: judged again, the token is refused below.
            Ok(()) | Err(Refusal::Denied { .. }) => {}
            Err(Refusal::Failed(_)) => return Err(unavailable()),
        }
        auth::caller(&self.live.load().management, headers, UnixSeconds::now()).map_err(|unknown| match unknown {
            Unknown::Refused(refused) => refused,
            Unknown::KeysWanted(_) => {
                Refused::new(StatusCode::UNAUTHORIZED, "Unauthorized", "the token is not accepted")
            }
        })
    }

    /// Counts a credential that was not accepted; one too many from its address is refused without saying more.
    fn throttle(&self, refused: Refused, head: &Parts) -> Refused {
        let Some(client) = head.extensions.get::<Client>() else { return refused };
        let address = client.address.to_canonical();
        let is_attempt = refused.status == StatusCode::UNAUTHORIZED && head.headers.contains_key(header::AUTHORIZATION);
        if !is_attempt || client.limits.is_shared(&address) {
            return refused;
        }
        match self.throttle.failed(Source::of(address), client.limits.failed_authentications, Instant::now()) {
            Ok(()) => refused,
            Err(_wait) => {
                client.metrics.auth_throttled();
                let Row { status, message, .. } = Denied::AuthThrottled.row();
                Refused::new(status, "TooManyRequests", message)
            }
        }
    }

    fn unknown(&self, refused: &Refused, route: &Route, decision: &str) {
        self.audit.deny(|| Event {
            act: Act::Denied,
            who: "unknown".to_owned(),
            resource: route.path.to_owned(),
            rule: refused.code.to_owned(),
            detail: json!({ "method": route.method.as_str() }),
            decision: decision.to_owned(),
        });
    }

    /// Records what the caller does, before it is answered.
    ///
    /// # Errors
    /// 503, where what is not on record is not to be done.
    async fn record(&self, asked: &Asked<'_>, act: Act, resource: String, detail: Value) -> Result<(), Refused> {
        let Some(caller) = asked.caller else { return Ok(()) };
        let recorded = self.audit.record(audited(act, caller, resource, detail, asked.decision)).await;
        recorded.map_err(|NotRecorded| not_recorded())
    }

    fn operations(&self) -> Operations<'_> {
        Operations(&self.store)
    }

    /// Waits until the snapshot in force knows a change of the store: who is answered may rely on it.
    async fn in_force(&self, revision: Revision) -> Result<(), Refused> {
        let deadline = Instant::now() + IN_FORCE_WITHIN;
        while self.live.load().store_revision < revision {
            if Instant::now() >= deadline {
                return Err(Refused::unavailable(
                    "the change is stored, and not in force yet; the gateway's log says why",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Where clients score. A listener on every address is reached under the name that the caller used here.
    fn scoring_uri(&self, service: &config::Service, asked: &Asked<'_>) -> String {
        let name = &service.name;
        let traffic = *locked(&self.traffic);
        let base = match (&asked.snapshot.management.public_url, traffic) {
            (Some(url), _) => url.clone(),
            (None, None) => asked.base.to_owned(),
            (None, Some(Traffic { address, is_tls })) => {
                let scheme = if is_tls { "https" } else { "http" };
                let written = asked.base.split_once("://").map_or("", |(_, host)| host);
                let host = Host::read(written).ok().filter(|_| address.ip().is_unspecified());
                match host {
                    Some(host) => format!("{scheme}://{}:{}", host.as_str(), address.port()),
                    None => format!("{scheme}://{address}"),
                }
            }
        };
        format!("{base}/api/v1/service/{name}/score")
    }
}

fn audited(act: Act, caller: &Caller, resource: String, detail: Value, decision: &str) -> Event {
    let (who, rule) = (format!("management:{}", caller.name), format!("role:{}", caller.role.as_str()));
    Event { act, who, resource, rule, detail, decision: decision.to_owned() }
}

fn not_recorded() -> Refused {
    Refused::unavailable(
        "this has to be recorded in the audit log, which cannot be written; the gateway's log says why",
    )
}

/// A lock whose holder panicked is still a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unanswered(why: NotFound) -> (Refused, Option<HeaderValue>) {
    match why {
        NotFound::Path => (Refused::not_found("nothing answers here"), None),
        NotFound::Method(methods) => {
            let listed: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let message = format!("want {}", listed.join(" or "));
            let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
            (refused, HeaderValue::try_from(listed.join(", ")).ok())
        }
    }
}

/// The URL that the caller came by, without a path.
fn base(head: &Parts, snapshot: &Snapshot) -> Result<String, Refused> {
    let line = head.headers.get(header::HOST).map(|line| line.to_str().unwrap_or_default());
    let host = head.uri.authority().map(http::uri::Authority::as_str).or(line).unwrap_or_default();
    Host::read(host).map_err(|not_one| Refused::bad_argument(format!("Host: {not_one}")))?;
    let scheme = if snapshot.management.is_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}

async fn read<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>>(
    headers: &HeaderMap,
    body: B,
) -> Result<Bytes, Refused> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let message = "want a body as it is, without Content-Encoding";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message));
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = "want a body of at most 64 KiB";
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", message))
        }
        Ok(Err(_broken)) => Err(Refused::bad_argument("the body is not framed as its headers say")),
        Err(_elapsed) => {
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body did not arrive within 10 s"))
        }
    }
}

/// All six services of an Azure ML region are this gateway.
fn discovery(asked: &Asked<'_>) -> Reply {
    let base = asked.base;
    let document = json!({
        "api": base,
        "experimentation": base,
        "history": base,
        "hyperdrive": base,
        "modelmanagement": base,
        "studio": base,
    });
    reply::json(StatusCode::OK, &document)
}

/// What a verifier needs of the gateway as an issuer; nobody logs in here.
fn openid_configuration(asked: &Asked<'_>) -> Reply {
    let tokens = &asked.snapshot.management.tokens;
    let document = json!({
        "issuer": tokens.issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", asked.base),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [tokens.algorithm.as_str()],
    });
    reply::public("application/json", document.to_string())
}
