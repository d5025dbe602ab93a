//! The request goes to its upstream, and the head of the answer comes back.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;
use http::Method;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Body as _;
use tokio::time::Instant;

use crate::config::HostHeader;
use crate::config::Protocol;
use crate::config::Upgrades;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::observe::ids::REQUEST_ID;
use crate::observe::record::Record;
use crate::observe::trace_context;
use crate::observe::trace_context::TRACEPARENT;
use crate::observe::trace_context::TRACESTATE;
use crate::pipeline::Gateway;
use crate::pipeline::admit::Admitted;
use crate::pipeline::discard::Rest;
use crate::pipeline::form;
use crate::pipeline::headers;
use crate::pipeline::headers::Origin;
use crate::pipeline::headers::Outgoing;
use crate::pipeline::headers::Reserved;
use crate::pipeline::limit::Seated;
use crate::pipeline::peer::Peer;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::relay::Relay;
use crate::pipeline::upgrade;
use crate::pipeline::upgrade::Upgrading;
use crate::snapshot::service::Service;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::Progress;
use crate::upstream::body::RequestBody;
use crate::upstream::body::TrailerRule;
use crate::upstream::client_body::ClientBody;
use crate::upstream::clients::Answer;
use crate::upstream::clients::Stopped;
use crate::upstream::exchange::RequestHead;

/// Forwards a request whose turn it is. The record goes along with the answer's body, and comes back with a refusal.
///
/// # Errors
/// A 5xx row when the upstream fails, a 4xx row when the client's body does.
pub async fn send(
    gateway: &Gateway,
    seated: Seated,
    peer: &Peer,
    trusts_peer: bool,
    mut head: Parts,
    body: ClientBody,
    mut record: Record,
) -> Result<Response<AnswerBody>, (Refusal, Rest, Record)> {
    let (admitted, held, waited) = seated.into_parts();
    let settings = &admitted.service.settings;
    let timeouts = settings.timeouts;
    let deadline = timeouts.total.map(|total| record.started() + total);
    let version = head.version;
    let upgrading = upgrade_of(&admitted, &head, &body);
    if head.version == Version::HTTP_2 {
        form::join_cookies(&mut head.headers);
    }
    let passed = (!body.is_end_stream()).then(|| record.request_bytes());
    let trailers = (!body.is_end_stream()).then(|| {
        let service = Arc::clone(&admitted.service);
        TrailerRule::new(move |trailers| reserved(&service).strip_trailers(trailers))
    });
    let limit = settings.max_body_bytes.unwrap_or(u64::MAX);
    let now = Instant::now();
    let (body, progress) = RequestBody::new(body, limit, timeouts.idle, passed, trailers, now);
    record.waited(waited);
    record.forwarding(&admitted.target.metrics, now);
    let sent = {
        let forwarded = Forwarded {
            head: &head,
            admitted: &admitted,
            peer,
            trusts_peer,
            record: &record,
            upgrading: upgrading.is_some(),
        };
        let sending = gateway.clients.send(&admitted.target, &timeouts, &forwarded, body, &progress);
        match deadline {
            None => Ok(sending.await),
            Some(deadline) => tokio::time::timeout_at(deadline, sending).await,
        }
    };
    let Answer { mut head, lease, endpoint } = match sent {
        Ok(Ok(answer)) => answer,
        Ok(Err(stopped)) => return Err((why(&stopped, &progress), rest(&progress), record)),
        Err(_elapsed) => return Err((Failed::TotalTimeout.into(), rest(&progress), record)),
    };
    record.upstream_head(head.status, &endpoint, Instant::now());
    match (head.status, upgrading) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(upgrading)) if upgrade::is_agreed(&head.headers) => {
            return Ok(upgrade::answer(gateway, upgrading, head, lease, held, record, timeouts.idle));
        }
        // Nobody asked for it, so nobody would know what follows.
        (StatusCode::SWITCHING_PROTOCOLS, _) => {
            return Err((Failed::UpstreamProtocol.into(), rest(&progress), record));
        }
        _ => {}
    }
    headers::strip_hop(&mut head.headers);
    if !head.headers.contains_key(REQUEST_ID) {
        head.headers.insert(REQUEST_ID, record.request_id());
    }
    // Its upstream may read the rest nevertheless; the client has to know before it sends another request.
    rest(&progress).announce(version, &mut head.headers);
    let relay = Relay::new(record, lease, held, Rc::clone(&progress), timeouts.idle, deadline);
    match relay.take_first().await {
        Ok(relay) => Ok(Response::from_parts(head, AnswerBody::Relayed(relay))),
        Err((failed, record)) => Err((failed.into(), rest(&progress), record)),
    }
}

/// What nobody will read of a body whose upstream has failed.
fn rest(progress: &Progress) -> Rest {
    if progress.completed().is_some() { Rest::Nothing } else { Rest::Some }
}

/// Whether the client asks for a protocol that the service passes on, as RFC 6455 §4.1 has it: by a `GET`, with one
/// `Upgrade` that `Connection` names.
fn upgrade_of(admitted: &Admitted, head: &Parts, body: &ClientBody) -> Option<Upgrading> {
    let mut protocols = head.headers.get_all(header::UPGRADE).iter();
    let websocket = protocols.next().is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
        && head.version == Version::HTTP_11
        && head.method == Method::GET
        && headers::connection_names(&head.headers, "upgrade");
    let speaks_http1 = admitted.target.endpoints.first().is_some_and(|endpoint| endpoint.protocol == Protocol::Http1);
    let passes = admitted.service.settings.upgrades == Upgrades::WebSocket && websocket && speaks_http1;
    if passes { body.switch().map(Upgrading::new) } else { None }
}

/// The headers that every upstream has from the gateway alone.
static REPLACED: [HeaderName; 2] = [TRACEPARENT, REQUEST_ID];

/// The same, where a trace begins here: its state belongs to one that was not taken over (W3C Trace Context §3.4).
static REPLACED_WITH_STATE: [HeaderName; 3] = [TRACEPARENT, REQUEST_ID, TRACESTATE];

/// The head that the upstream gets.
struct Forwarded<'r> {
    head: &'r Parts,
    admitted: &'r Admitted,
    peer: &'r Peer,
    trusts_peer: bool,
    record: &'r Record,
    upgrading: bool,
}

impl RequestHead for Forwarded<'_> {
    fn method(&self) -> &Method {
        &self.head.method
    }

    fn target(&self) -> &Uri {
        &self.admitted.uri
    }

    fn fields(&self, endpoint: &Endpoint, line: &mut impl FnMut(&HeaderName, &[u8])) {
        let host = match &self.admitted.target.host {
            HostHeader::Client => &self.admitted.host,
            HostHeader::Endpoint => &endpoint.authority,
            HostHeader::Fixed(host) => host,
        };
        line(&header::HOST, host.as_bytes());
        let trace = self.record.trace();
        let origin = Origin {
            peer: self.peer.text(),
            peer_is_trusted: self.trusts_peer,
            scheme: if self.peer.connection.scheme == http::uri::Scheme::HTTPS { "https" } else { "http" },
            host: self.admitted.host.as_bytes(),
        };
        let begun = trace.origin() == trace_context::Origin::Begun;
        let outgoing = Outgoing {
            client: &self.head.headers,
            version: self.head.version,
            reserved: reserved(&self.admitted.service),
            origin,
            replaced: if begun { &REPLACED_WITH_STATE } else { &REPLACED },
        };
        outgoing.fields(line);
        line(&TRACEPARENT, &trace.traceparent());
        line(&REQUEST_ID, self.record.request_id_in(&mut [0; 32]));
        for (name, value) in &self.admitted.identity {
            line(name, value.as_bytes());
        }
        if self.upgrading {
            line(&header::CONNECTION, b"upgrade");
            line(&header::UPGRADE, b"websocket");
        }
    }
}

fn reserved(service: &Service) -> Reserved<'_> {
    Reserved { identity: &service.identity_headers, keys: &service.key_headers }
}

/// Whose fault it is that there is no answer.
fn why(stopped: &Stopped, progress: &Rc<Progress>) -> Refusal {
    match stopped {
        Stopped::NotSent(failed) => (*failed).into(),
        Stopped::NoAnswer => Failed::UpstreamTimeout.into(),
        Stopped::Lost(error) => match progress.stopped() {
            Some(denied) => denied.into(),
            None if error.is_malformed() => Failed::UpstreamProtocol.into(),
            None => Failed::UpstreamClosed.into(),
        },
    }
}
