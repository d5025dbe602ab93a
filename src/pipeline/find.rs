//! Which service is it for? The request's own form is judged first: what could be read in two ways goes nowhere.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;

use crate::config::Limits;
use crate::model::host::Host;
use crate::model::path::NormalPath;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::pipeline::Halt;
use crate::snapshot::Snapshot;
use crate::snapshot::service::Service;

/// A request that has a service.
#[derive(Debug)]
pub struct Routed<'s> {
    service: &'s Arc<Service>,
    path: NormalPath<'s>,
    host: &'s str,
}

impl<'s> Routed<'s> {
    /// The service.
    pub const fn service(&self) -> &'s Arc<Service> {
        self.service
    }

    /// The path that was matched, and that is sent.
    pub const fn path(&self) -> &NormalPath<'s> {
        &self.path
    }

    /// The host and port as the client wrote them.
    pub const fn host(&self) -> &'s str {
        self.host
    }
}

/// Holds a request's head against what its listener bears.
///
/// # Errors
/// [`Denied::TargetTooLong`] or [`Denied::HeadersTooLarge`].
pub fn measure(limits: &Limits, head: &Parts) -> Result<(), Denied> {
    let target_bytes = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes.max(head.method.as_str().len()) > limits.target_bytes {
        return Err(Denied::TargetTooLong);
    }
    if fit(limits, &head.headers) { Ok(()) } else { Err(Denied::HeadersTooLarge) }
}

fn fit(limits: &Limits, headers: &HeaderMap) -> bool {
    let mut all = 0;
    let mut is_one_too_large = false;
    for (name, value) in headers {
        let bytes = name.as_str().len() + value.len();
        is_one_too_large |= bytes > limits.header_bytes;
        all += bytes;
    }
    headers.len() <= limits.header_count && all <= limits.headers_bytes && !is_one_too_large
}

/// Finds the service for a request.
///
/// # Errors
/// A row about the request's form (400, 405), [`Denied::NoService`] or [`Denied::MethodNotAllowed`].
pub fn service<'s>(snapshot: &'s Snapshot, head: &'s Parts) -> Result<Routed<'s>, Halt> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Denied::MethodRefused.into());
    }
    let written_host = host(head)?;
    let host = Host::read(written_host).map_err(|_not_a_host| Denied::HostInvalid)?;
    let path = NormalPath::read(head.uri.path()).map_err(|_refused| Denied::PathAmbiguous)?;
    // Few services allow oddities; where none does, odd paths go no further.
    path.oddities().allowed_by(snapshot.path_allowances).map_err(|_refused| Denied::PathAmbiguous)?;
    let found = snapshot.routes.find(&host, &path, &head.method)?;
    let service = snapshot.services.get(found).ok_or(Failed::Internal)?;
    path.oddities().allowed_by(service.settings.path_allows).map_err(|_refused| Denied::PathAmbiguous)?;
    Ok(Routed { service, path, host: written_host })
}

/// What `Allow` says to a method that was refused (RFC 9110 §15.5.6): those taken at this host and path, and where
/// nothing lists them, those that are forwarded at all.
pub fn allow(snapshot: &Snapshot, head: &Parts) -> Option<HeaderValue> {
    let host = Host::read(host(head).ok()?).ok()?;
    let path = NormalPath::read(head.uri.path()).ok()?;
    let mut taken: Vec<&str> = snapshot.routes.methods_at(&host, &path).map(Method::as_str).collect();
    if taken.is_empty() {
        taken.extend(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
    }
    HeaderValue::try_from(taken.join(", ")).ok()
}

/// The one host of a request (RFC 9112 §3.2, RFC 9113 §8.3.1): `Host` in HTTP/1, `:authority` in HTTP/2; an
/// absolute target has to say the same, in one of the two schemes that are spoken here.
pub(super) fn host(head: &Parts) -> Result<&str, Denied> {
    let mut lines = head.headers.get_all(HOST).iter();
    let line = lines.next().map(|value| value.to_str().map_err(|_bytes| Denied::HostInvalid)).transpose()?;
    if lines.next().is_some() {
        return Err(Denied::HostInvalid);
    }
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Denied::HostInvalid);
    }
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    if target.is_some_and(|target| target.contains('@')) {
        return Err(Denied::HostInvalid);
    }
    match (line, target) {
        (Some(line), Some(target)) if !line.eq_ignore_ascii_case(target) => Err(Denied::HostInvalid),
        // HTTP/1 needs the header even beside an absolute target.
        (None, Some(target)) if head.version == Version::HTTP_2 => Ok(target),
        (None, _) => Err(Denied::HostInvalid),
        (Some(line), _) => Ok(line),
    }
}

/// The path that the upstream gets: the one that was matched, without the prefix that the service strips.
pub fn upstream_path<'p>(service: &Service, path: &'p str) -> Cow<'p, str> {
    let Some(prefix) = &service.settings.strip_prefix else { return Cow::Borrowed(path) };
    match path.strip_prefix(prefix.as_str()) {
        Some("") => Cow::Borrowed("/"),
        Some(rest) if rest.starts_with('/') => Cow::Borrowed(rest),
        Some(_) | None => Cow::Borrowed(path),
    }
}
