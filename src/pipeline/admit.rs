//! What leaves the checks: everything that forwarding needs, and nothing that borrows from the request.

use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderName;
use http::HeaderValue;
use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::SizeHint;

use crate::config::KeySource;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::pipeline::Halt;
use crate::pipeline::authenticate::Caller;
use crate::pipeline::authorize::Authorized;
use crate::pipeline::callers::Begun;
use crate::pipeline::credential;
use crate::pipeline::find;
use crate::snapshot::Snapshot;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Service;
use crate::snapshot::target::Target;

/// Names the deployment that is wanted.
const DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");

/// A request that may go to its upstream.
#[derive(Debug)]
pub struct Admitted {
    /// The service.
    pub service: Arc<Service>,
    /// Where it goes.
    pub target: Arc<Target>,
    /// The path and query that the upstream gets.
    pub uri: Uri,
    /// Who called, for the upstream.
    pub identity: Vec<(HeaderName, HeaderValue)>,
    /// The host and port as the client wrote them.
    pub host: HeaderValue,
    /// The request as it counts for its caller.
    pub caller: Option<Begun>,
}

/// Checks what is left to check, and gathers what forwarding needs. `below` draws a number.
///
/// # Errors
/// [`Denied::BodyTooLarge`] for a body that says so in advance, [`Denied::NoDeployment`], and what `limit` answers for the caller.
pub fn admit(
    snapshot: &Snapshot,
    allowed: &Authorized<'_>,
    head: &Parts,
    body: &SizeHint,
    below: impl FnOnce(usize) -> usize,
    limit: impl FnOnce() -> Result<Option<Begun>, Refusal>,
) -> Result<Admitted, Halt> {
    let routed = allowed.routed();
    let service = routed.service();
    if service.settings.max_body_bytes.is_some_and(|most| body.lower() > most) {
        return Err(Denied::BodyTooLarge.into());
    }
    let named = head.headers.get_all(&DEPLOYMENT).iter().map(HeaderValue::as_bytes);
    let target = service.way.find(named, below)?.as_ref().map(Arc::clone).ok_or(Failed::ServiceQuarantined)?;
    Ok(Admitted {
        target,
        uri: upstream_uri(service, routed.path().as_str(), head)?,
        identity: identity(snapshot, service, allowed),
        host: match head.headers.get(http::header::HOST) {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(routed.host()).map_err(|_bad| Denied::HostInvalid)?,
        },
        service: Arc::clone(service),
        // Last, so that a request is not counted that is refused for another reason.
        caller: limit()?,
    })
}

/// The very path that was matched, without what the service strips, and the query byte for byte, without keys.
fn upstream_uri(service: &Service, path: &str, head: &Parts) -> Result<Uri, Failed> {
    let sent = find::upstream_path(service, path);
    let query = head.uri.query();
    let reads_query = matches!(&service.auth, Auth::Key { sources, .. } if sources.iter().any(|source| matches!(source, KeySource::Query(_))));
    let unchanged = sent == head.uri.path() && !reads_query;
    if unchanged && head.uri.authority().is_none() {
        return Ok(head.uri.clone());
    }
    if unchanged && let Some(target) = head.uri.path_and_query() {
        return Ok(Uri::from(target.clone()));
    }
    let kept = match (&service.auth, query) {
        (Auth::Key { sources, .. }, Some(query)) if reads_query => credential::without_keys(sources, query),
        (_, query) => query.map(str::to_owned),
    };
    let target = match kept {
        Some(query) => PathAndQuery::try_from(format!("{sent}?{query}")),
        None => PathAndQuery::try_from(sent.as_ref()),
    };
    target.map(Uri::from).map_err(|_bad| Failed::Internal)
}

/// The headers that tell the upstream who called.
fn identity(snapshot: &Snapshot, service: &Service, allowed: &Authorized<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let names = &service.settings.identity;
    let mut headers = Vec::with_capacity(3);
    let mut tell = |name: &Option<HeaderName>, text: Option<String>| {
        // A subject may hold what no header can; then the upstream is told nothing rather than half.
        if let (Some(name), Some(Ok(value))) = (name, text.map(HeaderValue::try_from)) {
            headers.push((name.clone(), value));
        }
    };
    let principal = match allowed.caller() {
        Caller::Anyone => None,
        Caller::Service(slot) => Some(format!("service:{}:{slot}", service.settings.name)),
        Caller::Account(account, _) => Some(format!("account:{}", account.name)),
        Caller::Token(token, _) => Some(format!("token:{}", token.subject)),
    };
    tell(&names.principal, principal);
    tell(&names.resource, allowed.caller().resource().map(|resource| resource.as_str().to_owned()));
    if !allowed.grant().is_empty() {
        let mut listed = String::new();
        for feature in snapshot.features.names_of(allowed.grant()) {
            let comma = if listed.is_empty() { "" } else { "," };
            let _cannot_fail = write!(listed, "{comma}{feature}");
        }
        tell(&names.features, Some(listed));
    }
    headers
}
