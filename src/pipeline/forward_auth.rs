//! What another proxy asks about a request that it forwards itself: which request that is, and what it is told.
//!
//! The decision is the one of [`Gateway::answer`], by the same checks of the same request. What a proxy says of that request
//! is believed of the peers that may ask, and of nobody else; where the proxy could forward another request than the one
//! that was judged, the answer is no. No answer to a refusal is a 2xx, which every proxy takes for a yes.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::SizeHint;
use tokio::time::Instant;

use crate::config::AskingProxy;
use crate::model::path::NormalPath;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::observe::ids::DECISION_ID;
use crate::observe::ids::REQUEST_ID;
use crate::observe::metrics::Decision;
use crate::observe::record::Record;
use crate::pipeline::Found;
use crate::pipeline::Gateway;
use crate::pipeline::Passed;
use crate::pipeline::admit::Admitted;
use crate::pipeline::discard;
use crate::pipeline::find;
use crate::pipeline::headers;
use crate::pipeline::peer::Peer;
use crate::pipeline::refuse::Reader;
use crate::pipeline::relay::AnswerBody;
use crate::pipeline::remember;
use crate::snapshot::forward_auth::ForwardAuth;
use crate::upstream::client_body::ClientBody;

/// Where questions are asked, and what stands before the path of the request where that is part of the question.
const PATH: &str = "/authz";

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

impl Gateway {
    /// Who asks at the listener of this peer; `None` at one where services are reached.
    pub(super) fn asking(&self, peer: &Peer) -> Option<Arc<ForwardAuth>> {
        self.live.borrow_mut().load().forward_auth.get(&peer.listener).map(Arc::clone)
    }

    /// Answers a question: 200 and who calls, or the refusal that the request itself would get here.
    pub(super) async fn decide(
        &self,
        asking: &ForwardAuth,
        peer: &Peer,
        request: Request<ClientBody>,
    ) -> Response<AnswerBody> {
        let (question, body) = request.into_parts();
        let asked =
            if asking.may_ask(peer.address()) { about(asking.proxy, &question) } else { Err(Denied::ForwardAuthPeer) };
        let mut record =
            Record::begin(&self.observer, asked.as_ref().unwrap_or(&question), &peer.connection, Instant::now());
        record.asked_by(asking.proxy);
        let mut found = Found::default();
        let judged = match &asked {
            Ok(head) => {
                if let Some(client) = headers::claimed_client(asking.believed(), &head.headers) {
                    record.client(client);
                }
                self.judge(peer, head, &mut record, &mut found).await
            }
            Err(why) => Err((*why).into()),
        };
        let rest = discard::rest(&question, body).await;
        let decision = match &judged {
            Ok(_) => Decision::Allowed,
            Err(Refusal::Denied { .. }) => Decision::Denied,
            Err(Refusal::Failed(_)) => Decision::Failed,
        };
        self.listener_metrics(&peer.listener).decided(decision);
        let mut response = match judged {
            Ok(admitted) => yes(&admitted, record),
            Err(refusal) => {
                if let Ok(head) = &asked {
                    remember(refusal, head, &mut found, &mut record);
                }
                // Never as to a gRPC client, who is told no by a 200.
                let reader = if question.method == Method::HEAD { Reader::HeadOnly } else { Reader::Http };
                let response = self.refuse(peer, refusal, None, &found, reader, record);
                in_words_of(asking.proxy, response)
            }
        };
        rest.announce(question.version, response.headers_mut());
        self.announce_end(peer, question.version, &mut response);
        response
    }

    /// Judges a request that will be forwarded as it is. Its body does not come here.
    async fn judge(
        &self,
        peer: &Peer,
        head: &Parts,
        record: &mut Record,
        found: &mut Found,
    ) -> Result<Admitted, Refusal> {
        match self.admit(peer, head, &SizeHint::with_exact(0), record, found).await? {
            // The gateway would have taken a key out of the query, and the proxy will not.
            Passed::Forward(admitted, _) if admitted.uri.query() != head.uri.query() => {
                Err(Denied::ForwardAuthInvalid.into())
            }
            Passed::Forward(admitted, _) => Ok(admitted),
            // Only the gateway can issue.
            Passed::Issue(_) => Err(Denied::NoService.into()),
        }
    }
}

/// The request that a question is about.
fn about(proxy: AskingProxy, question: &Parts) -> Result<Parts, Denied> {
    let headers = &question.headers;
    let asked_at = question.uri.path_and_query().map_or("", PathAndQuery::as_str);
    match proxy {
        AskingProxy::Envoy => {
            let target = asked_at.strip_prefix(PATH).ok_or(Denied::NoService)?;
            request(question, question.method.clone(), find::host(question)?, target)
        }
        AskingProxy::Traefik | AskingProxy::Caddy | AskingProxy::Nginx if asked_at != PATH => Err(Denied::NoService),
        AskingProxy::Traefik | AskingProxy::Caddy => {
            let host = only(headers, &FORWARDED_HOST)?;
            request(question, method(headers, &FORWARDED_METHOD)?, host, only(headers, &FORWARDED_URI)?)
        }
        AskingProxy::Nginx => {
            let url = only(headers, &ORIGINAL_URL)?;
            let after_scheme = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            // By hand: a client's `Host` can hold a `?` or a `#`, at which a URL's reader would end the host.
            let (host, path) = after_scheme.and_then(|rest| rest.split_once('/')).ok_or(Denied::ForwardAuthInvalid)?;
            let target = url.get(url.len() - path.len() - 1..).ok_or(Denied::ForwardAuthInvalid)?;
            request(question, method(headers, &ORIGINAL_METHOD)?, host, target)
        }
    }
}

/// Makes the head of the request. What the proxy sends on is the target as it stands, so only one that is in normal form
/// already is judged: an upstream could read another as it likes.
fn request(question: &Parts, method: Method, host: &str, target: &str) -> Result<Parts, Denied> {
    let read = PathAndQuery::try_from(target).map_err(|_no_target| Denied::ForwardAuthInvalid)?;
    // What a fragment follows would be left out without a word.
    if !target.starts_with('/') || read.as_str() != target {
        return Err(Denied::ForwardAuthInvalid);
    }
    let path = NormalPath::read(read.path())?;
    if path.as_str() != read.path() {
        return Err(Denied::PathAmbiguous);
    }
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers.clone_from(&question.headers);
    head.headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_no_host| Denied::HostInvalid)?);
    head.method = method;
    head.uri = Uri::from(read);
    head.version = question.version;
    Ok(head)
}

fn method(headers: &HeaderMap, name: &HeaderName) -> Result<Method, Denied> {
    only(headers, name)?.parse().map_err(|_no_method| Denied::ForwardAuthInvalid)
}

/// The one value of a header that the proxy writes. Where there are two, one of them may be the client's.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Denied> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_err(|_no_text| Denied::ForwardAuthInvalid),
        (Some(_) | None, _) => Err(Denied::ForwardAuthInvalid),
    }
}

/// The request may be forwarded. Every header that tells who calls is there, empty where there is nothing to tell, so that
/// a proxy that copies them leaves nothing of a client's own.
fn yes(admitted: &Admitted, mut record: Record) -> Response<AnswerBody> {
    record.answered(StatusCode::OK);
    let mut response = Response::new(AnswerBody::Own(None, None));
    let headers = response.headers_mut();
    for name in &admitted.service.identity_headers {
        headers.insert(name.clone(), HeaderValue::from_static(""));
    }
    for (name, value) in &admitted.identity {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(DECISION_ID, record.decision_id().header_value());
    headers.insert(REQUEST_ID, record.request_id());
    record.complete();
    response
}

/// nginx takes 401 and 403 for a no, and any other refusal for a fault of whoever it asked.
fn in_words_of(proxy: AskingProxy, mut refused: Response<AnswerBody>) -> Response<AnswerBody> {
    let is_for_nginx = match proxy {
        AskingProxy::Nginx => true,
        AskingProxy::Envoy | AskingProxy::Traefik | AskingProxy::Caddy => false,
    };
    if is_for_nginx && refused.status().is_client_error() && refused.status() != StatusCode::UNAUTHORIZED {
        *refused.status_mut() = StatusCode::FORBIDDEN;
    }
    refused
}

#[cfg(test)]
mod tests;
