//! What is told of a request, attributes by OpenTelemetry's names, ours under `scoregate.`; and a line of the access log, one
//! JSON object of them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use http::StatusCode;
use http::Version;

use crate::config::TokenIssuer;
use crate::model::refusal::Refusal;
use crate::observe::metrics::MethodLabel;

use super::Outcome;
use super::Principal;
use super::Record;
use super::object::Object;
use super::stamp::Timestamp;

/// Longest text of a client's that a line repeats, in characters. Longer paths, hosts and subjects are cut.
const LONGEST_TEXT: usize = 512;
/// Longest `User-Agent` that a line repeats, in characters: enough to tell clients apart.
const LONGEST_USER_AGENT: usize = 70;
/// Longest method that a line repeats, in characters.
const LONGEST_METHOD: usize = 20;

/// Appends the record's line, without its end. What is not known is left out.
pub(super) fn write(
    buffer: &mut Vec<u8>,
    record: &Record,
    outcome: Outcome,
    timestamp: Timestamp<'_>,
    duration: Duration,
) -> serde_json::Result<()> {
    let mut line = Object::begin(buffer);
    // When the request ended.
    line.timestamp("timestamp", timestamp);
    // A client cannot make an error line.
    line.word("severity", outcome.severity());
    identifiers(&mut line, record);
    line.hex::<32>("trace_id", record.trace.trace_id());
    line.hex::<16>("span_id", record.trace.span_id().into());
    request(&mut line, record);
    response(&mut line, record, outcome);
    line.millis("scoregate.duration_ms", duration);
    decision(&mut line, record);
    upstream(&mut line, record);
    line.end()
}

/// Takes attributes, one after the other. Names are literals of this crate and unique.
pub(super) trait Attributes {
    /// Any text.
    fn text(&mut self, name: &'static str, value: &str);

    /// Words of the gateway's own, names of the configuration: printable ASCII, without anything between them.
    fn words(&mut self, name: &'static str, words: &[&str]);

    /// A number.
    fn number(&mut self, name: &'static str, value: u64);

    /// An address.
    fn address(&mut self, name: &'static str, value: IpAddr);

    /// The last `N` hexadecimal digits of a number.
    fn hex<const N: usize>(&mut self, name: &'static str, number: u128);

    /// A duration in milliseconds, to the microsecond.
    fn millis(&mut self, name: &'static str, value: Duration);

    /// One such word.
    fn word(&mut self, name: &'static str, value: &str) {
        self.words(name, &[value]);
    }

    /// A text, if there is one.
    fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A number, if there is one.
    fn number_if(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// An address, if there is one.
    fn address_if(&mut self, name: &'static str, value: Option<IpAddr>) {
        if let Some(value) = value {
            self.address(name, value);
        }
    }
}

/// The attributes that a span has of the record. What a span says of itself is not among them: identifiers of the trace, times.
#[cfg(feature = "otel")]
pub(super) fn describe(to: &mut impl Attributes, record: &Record, outcome: Outcome) {
    identifiers(to, record);
    request(to, record);
    response(to, record, outcome);
    decision(to, record);
    upstream(to, record);
}

fn identifiers(line: &mut impl Attributes, record: &Record) {
    line.hex::<32>("scoregate.decision_id", record.decision.bits());
    line.text_if("request_id", record.request_id.as_ref().map(text).as_deref());
}

fn request(line: &mut impl Attributes, record: &Record) {
    let method = MethodLabel::from(&record.method);
    line.word("http.request.method", method.as_str());
    if method == MethodLabel::Other {
        line.text("http.request.method_original", cut(record.method.as_str(), LONGEST_METHOD));
    }
    line.word("url.scheme", record.peer.scheme.as_str());
    // Without the query, which can hold a key.
    line.text("url.path", cut(record.uri.path(), LONGEST_TEXT));
    line.text_if("server.address", host(record).as_deref().map(|host| cut(host, LONGEST_TEXT)));
    line.word("network.protocol.version", version(record.version));
    let peer = record.peer.address.map(|address| address.ip());
    line.address_if("client.address", record.client.or(peer));
    line.address_if("network.peer.address", peer);
    let user_agent = record.user_agent.as_ref().map(text);
    line.text_if("user_agent.original", user_agent.as_deref().map(|agent| cut(agent, LONGEST_USER_AGENT)));
}

fn response(line: &mut impl Attributes, record: &Record, outcome: Outcome) {
    line.number_if("http.response.status_code", record.status.map(|status| u64::from(status.as_u16())));
    // The reason code, `client_gone`, or the upstream's status where that is 5xx.
    line.text_if("error.type", outcome.error(record.status.as_ref()));
    line.text_if("scoregate.reason", outcome.reason());
    line.number_if("http.request.body.size", Some(record.request_body_bytes()));
    line.number_if("http.response.body.size", Some(record.response_bytes));
}

/// What was decided, for whom, by which snapshot.
fn decision(line: &mut impl Attributes, record: &Record) {
    line.number_if("scoregate.generation", record.generation);
    if let Some(proxy) = record.asked_by {
        line.word("scoregate.forward_auth", proxy.as_str());
    }
    if let Some(in_flight) = &record.service {
        line.word("scoregate.service", in_flight.service().name().as_str());
    }
    if let Some(principal) = &record.principal {
        line.word("scoregate.auth.scheme", principal.scheme().as_str());
        who(line, principal);
        if let Some(slot) = principal.slot() {
            line.word("scoregate.auth.key_slot", slot.as_str());
        }
        line.text_if("scoregate.auth.issuer", issuer(principal));
    }
    if let Some(token) = &record.limited_token {
        line.text("scoregate.limited_token.id", cut(&token.id, LONGEST_TEXT));
        line.text("scoregate.limited_token.vendor", cut(&token.vendor, LONGEST_TEXT));
    }
}

fn upstream(line: &mut impl Attributes, record: &Record) {
    if let Some(sent) = &record.upstream {
        // From the request's head until it was handed over.
        line.millis("scoregate.overhead_ms", sent.own);
        line.word("scoregate.upstream.name", sent.upstream.name().as_str());
        if let Some((endpoint, after)) = &sent.answered {
            line.text("scoregate.upstream.address", endpoint);
            // From handing the request over until the head of the answer.
            line.millis("scoregate.upstream.duration_ms", *after);
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

    /// Whether the gateway or its upstream is at fault: the conventions leave a span of a 4xx without an error.
    #[cfg(feature = "otel")]
    pub(super) fn is_fault(self) -> bool {
        match self {
            Self::Answered(status) => status.is_server_error(),
            Self::Refused(refusal) => refusal.row().status.is_server_error(),
            Self::BrokenOff(_) => true,
            Self::ClientGone => false,
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Answered(_) | Self::ClientGone => None,
            Self::Refused(refusal) => Some(refusal.row().code),
            Self::BrokenOff(failed) => Some(failed.row().code),
        }
    }

    fn error(self, status: Option<&StatusCode>) -> Option<&str> {
        match self {
            Self::Answered(_) => status.filter(|status| status.is_server_error()).map(StatusCode::as_str),
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

/// The principal as it prints itself, its subject of bearable length: a token can hold one as long as itself.
fn who(line: &mut impl Attributes, principal: &Principal) {
    let name = "scoregate.auth.principal";
    match principal {
        Principal::Service { service, slot } => line.words(name, &["service:", service.as_str(), ":", slot.as_str()]),
        Principal::Account { account, slot: _ } => line.words(name, &["account:", account.as_str()]),
        Principal::Token { issuer: _, subject } => line.text(name, &format!("token:{}", cut(subject, LONGEST_TEXT))),
        Principal::Anonymous => line.word(name, "anonymous"),
    }
}

/// The host that was asked for, without user information, which can hold a password, and without the port: that
/// of the target where it names one (HTTP/2, absolute form), else that of `Host`.
pub(super) fn host(record: &Record) -> Option<Cow<'_, str>> {
    let of_target = record.uri.authority().map(|authority| Cow::Borrowed(authority.as_str()));
    match of_target.or_else(|| record.host.as_ref().map(text))? {
        Cow::Borrowed(asked) => Some(Cow::Borrowed(host_of(asked))),
        Cow::Owned(asked) => Some(Cow::Owned(host_of(&asked).to_owned())),
    }
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
pub(super) fn cut(text: &str, characters: usize) -> &str {
    if text.len() <= characters {
        return text;
    }
    text.char_indices().nth(characters).map_or(text, |(at, _)| text.split_at(at).0)
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
