//! A line of the access log: one JSON object, attributes by OpenTelemetry's names, ours under `scoregate.`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use http::Version;
use serde::Serialize;
use serde::Serializer;

use crate::config::TokenIssuer;
use crate::model::refusal::Refusal;
use crate::model::slot::Slot;
use crate::observe::ids::Id;

use super::Outcome;
use super::Principal;
use super::Record;
use super::printable::Printable;
use super::stamp::Timestamp;

/// Longest text of a client's that a line repeats, in characters. Longer paths and hosts are cut.
const LONGEST_TEXT: usize = 512;
/// Longest `User-Agent` that a line repeats, in characters: enough to tell clients apart.
const LONGEST_USER_AGENT: usize = 70;
/// Longest method that a line repeats, in characters.
const LONGEST_METHOD: usize = 20;

/// Appends the record's line, without its end.
pub(super) fn write(
    buffer: &mut Vec<u8>,
    record: &Record,
    outcome: Outcome,
    timestamp: Timestamp<'_>,
    duration: Duration,
) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(buffer, Printable);
    Line::of(record, outcome, timestamp, duration).serialize(&mut serializer)
}

/// The attributes, in the order in which they are written. What is not known is left out.
#[derive(Serialize)]
struct Line<'r> {
    /// When the request ended, UTC, RFC 3339.
    timestamp: Timestamp<'r>,
    /// `ERROR` for what broke, `INFO` for all else: a client cannot make an error line.
    severity: &'static str,
    #[serde(rename = "scoregate.decision_id")]
    decision: Id,
    /// The client's name of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'r, str>>,
    trace_id: Hex<u128>,
    span_id: Hex<u64>,
    #[serde(rename = "http.request.method")]
    method: &'r str,
    #[serde(rename = "url.scheme")]
    url_scheme: &'r str,
    /// Without the query, which can hold a key.
    #[serde(rename = "url.path")]
    path: &'r str,
    /// Without user information, which can hold a password, and without the port.
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'r, str>>,
    #[serde(rename = "network.protocol.version")]
    version: &'static str,
    /// Behind trusted proxies.
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(rename = "network.peer.address", skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(rename = "user_agent.original", skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'r, str>>,
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The reason code, `client_gone`, or the upstream's status where that is 5xx.
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'r str>,
    #[serde(rename = "http.request.body.size")]
    request_bytes: u64,
    #[serde(rename = "http.response.body.size")]
    response_bytes: u64,
    /// The reason code of a refusal, or of what broke an answer off.
    #[serde(rename = "scoregate.reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "scoregate.generation", skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(rename = "scoregate.service", skip_serializing_if = "Option::is_none")]
    service: Option<&'r str>,
    #[serde(rename = "scoregate.duration_ms")]
    duration: Millis,
    /// From the request's head until it was handed to the upstream.
    #[serde(rename = "scoregate.overhead_ms", skip_serializing_if = "Option::is_none")]
    overhead: Option<Millis>,
    #[serde(flatten)]
    auth: Auth<'r>,
    #[serde(flatten)]
    upstream: Upstream<'r>,
}

/// Who called.
#[derive(Serialize)]
struct Auth<'r> {
    #[serde(rename = "scoregate.auth.scheme", skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(rename = "scoregate.auth.principal", skip_serializing_if = "Option::is_none")]
    principal: Option<Caller<'r>>,
    #[serde(rename = "scoregate.auth.key_slot", skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    /// The issuer's name in the configuration, or `self`.
    #[serde(rename = "scoregate.auth.issuer", skip_serializing_if = "Option::is_none")]
    issuer: Option<&'r str>,
    /// The `jti` of the LimitedAccessToken that was used.
    #[serde(rename = "scoregate.limited_token.id", skip_serializing_if = "Option::is_none")]
    limited_token: Option<&'r str>,
    #[serde(rename = "scoregate.limited_token.vendor", skip_serializing_if = "Option::is_none")]
    vendor: Option<&'r str>,
}

/// Where the request went.
#[derive(Serialize)]
struct Upstream<'r> {
    #[serde(rename = "scoregate.upstream.name", skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    #[serde(rename = "scoregate.upstream.address", skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'r str>,
    /// From handing the request over until the head of the answer.
    #[serde(rename = "scoregate.upstream.duration_ms", skip_serializing_if = "Option::is_none")]
    duration: Option<Millis>,
}

impl<'r> Line<'r> {
    fn of(record: &'r Record, outcome: Outcome, timestamp: Timestamp<'r>, duration: Duration) -> Self {
        let peer = record.peer.address.map(|address| address.ip());
        let reason = outcome.reason();
        Self {
            timestamp,
            severity: outcome.severity(),
            decision: record.decision,
            request_id: record.request_id.as_ref().map(text),
            trace_id: Hex(record.trace.trace_id()),
            span_id: Hex(record.trace.span_id()),
            method: cut(record.method.as_str(), LONGEST_METHOD),
            url_scheme: record.peer.scheme.as_str(),
            path: cut(record.uri.path(), LONGEST_TEXT),
            host: host(record),
            version: version(record.version),
            client: record.client.or(peer),
            peer,
            user_agent: record.user_agent.as_ref().map(|agent| cut_cow(text(agent), LONGEST_USER_AGENT)),
            status: record.status.map(|status| status.as_u16()),
            error: outcome.error(record.status.as_ref()),
            request_bytes: record.request_body_bytes(),
            response_bytes: record.response_bytes,
            reason,
            generation: record.generation,
            service: record.service.as_ref().map(|in_flight| in_flight.service().name().as_str()),
            duration: Millis(duration),
            overhead: record.upstream.as_ref().map(|sent| Millis(sent.own)),
            auth: Auth::of(record),
            upstream: Upstream::of(record),
        }
    }
}

impl<'r> Auth<'r> {
    fn of(record: &'r Record) -> Self {
        let principal = record.principal.as_ref();
        let limited_token = record.limited_token.as_ref();
        Self {
            scheme: principal.map(|who| who.scheme().as_str()),
            principal: principal.map(Caller),
            slot: principal.and_then(Principal::slot),
            issuer: principal.and_then(issuer),
            limited_token: limited_token.map(|token| cut(&token.id, LONGEST_TEXT)),
            vendor: limited_token.map(|token| cut(&token.vendor, LONGEST_TEXT)),
        }
    }
}

impl<'r> Upstream<'r> {
    fn of(record: &'r Record) -> Self {
        let sent = record.upstream.as_ref();
        let answered = sent.and_then(|sent| sent.answered.as_ref());
        Self {
            name: sent.map(|sent| sent.upstream.name().as_str()),
            endpoint: answered.map(|(endpoint, _)| &**endpoint),
            duration: answered.map(|(_, after)| Millis(*after)),
        }
    }
}

impl Outcome {
    fn severity(self) -> &'static str {
        match self {
            Self::Answered(_) | Self::ClientGone | Self::Refused(Refusal::Denied { .. }) => "INFO",
            Self::Refused(Refusal::Failed(_)) | Self::BrokenOff(_) => "ERROR",
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Answered(_) | Self::ClientGone => None,
            Self::Refused(refusal) => Some(refusal.row().code),
            Self::BrokenOff(failed) => Some(failed.row().code),
        }
    }

    fn error(self, status: Option<&http::StatusCode>) -> Option<&str> {
        match self {
            Self::Answered(_) => status.filter(|status| status.is_server_error()).map(http::StatusCode::as_str),
            Self::ClientGone => Some("client_gone"),
            Self::Refused(_) | Self::BrokenOff(_) => self.reason(),
        }
    }
}

fn issuer(principal: &Principal) -> Option<&str> {
    match principal {
        Principal::Token { issuer: TokenIssuer::Own, .. } => Some("self"),
        Principal::Token { issuer: TokenIssuer::Foreign(name), .. } => Some(name.as_str()),
        Principal::Service { .. } | Principal::Account { .. } | Principal::Anonymous => None,
    }
}

/// The host that was asked for: that of the target where it names one (HTTP/2, absolute form), else that of `Host`.
fn host(record: &Record) -> Option<Cow<'_, str>> {
    let of_target = record.uri.authority().map(|authority| Cow::Borrowed(authority.as_str()));
    let asked = of_target.or_else(|| record.host.as_ref().map(text))?;
    let only = match asked {
        Cow::Borrowed(asked) => Cow::Borrowed(host_of(asked)),
        Cow::Owned(asked) => Cow::Owned(host_of(&asked).to_owned()),
    };
    Some(cut_cow(only, LONGEST_TEXT))
}

/// An authority without user information and port. An IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((before, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => before,
        Some(_) | None => host,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "unknown",
    }
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// The first characters of a text.
fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(at, _)| text.split_at(at).0)
}

fn cut_cow(text: Cow<'_, str>, characters: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, characters)),
        Cow::Owned(text) => Cow::Owned(cut(&text, characters).to_owned()),
    }
}

/// Who called, as [`Principal`] prints it; a subject can be as long as a token, and is cut.
struct Caller<'r>(&'r Principal);

impl Serialize for Caller<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Principal::Token { issuer: _, subject } => {
                serializer.collect_str(&format_args!("token:{}", cut(subject, LONGEST_TEXT)))
            }
            known @ (Principal::Service { .. } | Principal::Account { .. } | Principal::Anonymous) => {
                serializer.collect_str(known)
            }
        }
    }
}

/// A number that is written as all its hexadecimal digits.
struct Hex<N>(N);

impl Serialize for Hex<u128> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl Serialize for Hex<u64> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

/// A duration in milliseconds, to the microsecond.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_secs_f64() * 1e6).round() / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn a_host_loses_what_could_be_a_password_and_the_port() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("example.com:8443", "example.com"),
            ("key:secret@example.com", "example.com"),
            ("key:secret@example.com:80", "example.com"),
            ("a@b@example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
