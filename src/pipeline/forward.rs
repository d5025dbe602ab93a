//! The request goes to its upstream, and the head of the answer comes back.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;
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
use crate::pipeline::headers;
use crate::pipeline::headers::Origin;
use crate::pipeline::peer::Peer;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::relay::Relay;
use crate::pipeline::upgrade;
use crate::pipeline::upgrade::Upgrading;
use crate::upstream::body::Progress;
use crate::upstream::body::RequestBody;
use crate::upstream::body::TrailerRule;
use crate::upstream::clients::Answer;
use crate::upstream::clients::Stopped;

/// Forwards an admitted request. The record goes along with the answer's body, and comes back with a refusal.
///
/// # Errors
/// A 5xx row when the upstream fails, a 4xx row when the client's body does.
pub async fn send(
    gateway: &Gateway,
    admitted: Admitted,
    peer: &Peer,
    trusts_peer: bool,
    mut head: Parts,
    body: Incoming,
    mut record: Record,
) -> Result<Response<AnswerBody>, (Refusal, Rest, Record)> {
    let settings = &admitted.service.settings;
    let timeouts = settings.timeouts;
    let deadline = timeouts.total.map(|total| record.started() + total);
    let upgrading = upgrade_of(&admitted, &mut head);
    let passed = (!body.is_end_stream()).then(|| record.request_bytes());
    let trailers = (!body.is_end_stream()).then(|| {
        let service = Arc::clone(&admitted.service);
        TrailerRule::new(move |trailers| {
            headers::strip_trailers(trailers, &service.identity_headers, &service.key_headers);
        })
    });
    let limit = settings.max_body_bytes.unwrap_or(u64::MAX);
    let (body, progress) = RequestBody::new(body, limit, timeouts.idle, passed, trailers);
    rewrite(&mut head, &admitted, peer, trusts_peer, &record, upgrading.as_ref());
    record.forwarding(&admitted.target.metrics, Instant::now());
    let sending = gateway.clients.send(&admitted.target, &timeouts, Request::from_parts(head, body), &progress);
    let sent = match deadline {
        None => sending.await,
        Some(deadline) => match tokio::time::timeout_at(deadline, sending).await {
            Ok(sent) => sent,
            Err(_elapsed) => return Err((Failed::TotalTimeout.into(), rest(&progress), record)),
        },
    };
    let Answer { response, lease, endpoint } = match sent {
        Ok(answer) => answer,
        Err(stopped) => return Err((why(&stopped, &progress), rest(&progress), record)),
    };
    record.upstream_head(response.status(), &endpoint, Instant::now());
    let (mut head, body) = match (response.status(), upgrading) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(upgrading)) => {
            return Ok(upgrade::answer(gateway, upgrading, response, lease, record, timeouts.idle));
        }
        // Nobody asked for it, so nobody would know what follows.
        (StatusCode::SWITCHING_PROTOCOLS, None) => {
            return Err((Failed::UpstreamProtocol.into(), rest(&progress), record));
        }
        _ => response.into_parts(),
    };
    headers::strip_hop(&mut head.headers);
    head.headers.remove(header::TE);
    if !head.headers.contains_key(REQUEST_ID) {
        head.headers.insert(REQUEST_ID, record.request_id());
    }
    let relay = Relay::new(body, record, lease, Rc::clone(&progress), timeouts.idle, deadline);
    match relay.take_first().await {
        Ok(relay) => Ok(Response::from_parts(head, AnswerBody::Relayed(relay))),
        Err((failed, record)) => Err((failed.into(), rest(&progress), record)),
    }
}

/// What nobody will read of a body whose upstream has failed.
fn rest(progress: &Progress) -> Rest {
    if progress.completed().is_some() { Rest::Nothing } else { Rest::Some }
}

/// Whether the client asks for a protocol that the service passes on.
fn upgrade_of(admitted: &Admitted, head: &mut Parts) -> Option<Upgrading> {
    let asked = head.extensions.remove::<hyper::upgrade::OnUpgrade>()?;
    let websocket =
        head.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let speaks_http1 = admitted.target.endpoints.first().is_some_and(|endpoint| endpoint.protocol == Protocol::Http1);
    let passes = admitted.service.settings.upgrades == Upgrades::WebSocket && websocket && speaks_http1;
    passes.then(|| Upgrading::new(asked))
}

/// Turns the client's head into the one that the upstream gets.
fn rewrite(
    head: &mut Parts,
    admitted: &Admitted,
    peer: &Peer,
    trusts_peer: bool,
    record: &Record,
    upgrading: Option<&Upgrading>,
) {
    let service = &admitted.service;
    let origin = Origin {
        peer: peer.address(),
        peer_is_trusted: trusts_peer,
        scheme: if peer.connection.scheme == http::uri::Scheme::HTTPS { "https" } else { "http" },
        host: admitted.host.to_str().unwrap_or_default(),
    };
    let lines = &mut head.headers;
    headers::strip_request(lines, &service.identity_headers, &service.key_headers);
    origin.write(lines, head.version);
    lines.insert(TRACEPARENT, record.trace().traceparent());
    if record.trace().origin() == trace_context::Origin::Begun {
        // It belongs to a trace that was not taken over (W3C Trace Context §3.4).
        lines.remove(TRACESTATE);
    }
    lines.insert(REQUEST_ID, record.request_id());
    for (name, value) in &admitted.identity {
        lines.insert(name.clone(), value.clone());
    }
    let host = match &admitted.target.host {
        // The endpoint's is set once the endpoint is chosen.
        HostHeader::Client | HostHeader::Endpoint => admitted.host.clone(),
        HostHeader::Fixed(host) => host.clone(),
    };
    if upgrading.is_some() {
        lines.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        lines.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    lines.insert(header::HOST, host);
    head.uri = admitted.uri.clone();
    head.version = Version::HTTP_11;
}

/// Whose fault it is that there is no answer.
fn why(stopped: &Stopped, progress: &Rc<Progress>) -> Refusal {
    match stopped {
        Stopped::NotSent(failed) => (*failed).into(),
        Stopped::NoAnswer => Failed::UpstreamTimeout.into(),
        Stopped::Lost(error) => match progress.stopped() {
            Some(denied) => denied.into(),
            None if error.is_parse() => Failed::UpstreamProtocol.into(),
            None => Failed::UpstreamClosed.into(),
        },
    }
}
