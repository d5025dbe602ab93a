//! Issuing LimitedAccessTokens: the vendor's key opens, the vendor's ceiling bounds.
//!
//! It takes the place of authorize, admit and forward: the proof that it starts from is [`Authenticated`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::Instant;

use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Act;
use crate::observe::audit::Audit;
use crate::observe::audit::Event;
use crate::observe::audit::NotRecorded;
use crate::observe::ids::DECISION_ID;
use crate::observe::ids::REQUEST_ID;
use crate::observe::record::Record;
use crate::pipeline::Halt;
use crate::pipeline::authenticate::Authenticated;
use crate::pipeline::authenticate::Caller;
use crate::pipeline::discard::Rest;
use crate::pipeline::find::Routed;
use crate::pipeline::relay::AnswerBody;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::ISSUE_PATH;
use crate::tokens::issue::Issued;
use crate::tokens::issue_request::IssueRequest;
use crate::tokens::limited::Loan;
use crate::tokens::limited::issue_limited_token;
use crate::upstream::body::RequestBody;
use crate::upstream::client_body::ClientBody;

/// Longest wait for the whole body: it has at most 16 KiB.
const BODY_WITHIN: Duration = Duration::from_secs(10);

const UNKNOWN_TARGET: &str = "the target is not a resource that is known here";

/// A request for a LimitedAccessToken by an account that is known.
#[derive(Debug)]
pub(super) struct Issuing {
    snapshot: Arc<Snapshot>,
    vendor: Name,
    idle: Duration,
}

impl Issuing {
    /// The generation by which the vendor was judged.
    pub(super) fn generation(&self) -> u64 {
        self.snapshot.generation
    }
}

/// A refusal, and what it says to the caller where its row says less.
#[derive(Debug)]
pub(super) struct Unissued {
    pub(super) refusal: Refusal,
    pub(super) detail: Option<String>,
    /// Whose resource the token would have been for, where that is known.
    pub(super) resource: Option<ResourceId>,
}

impl From<Refusal> for Unissued {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None, resource: None }
    }
}

impl From<Denied> for Unissued {
    fn from(why: Denied) -> Self {
        Self { refusal: why.into(), detail: None, resource: None }
    }
}

impl From<Failed> for Unissued {
    fn from(failed: Failed) -> Self {
        Self { refusal: failed.into(), detail: None, resource: None }
    }
}

/// Whether a request is for a LimitedAccessToken. The route table sends no other service's requests here.
pub(super) fn is_asked(routed: &Routed<'_>, head: &Parts) -> bool {
    routed.service().settings.issues_limited_access_tokens
        && head.method == http::Method::POST
        && routed.path().as_str() == ISSUE_PATH
}

/// Takes a request from an account; what it may lend is judged once the body has been read.
///
/// # Errors
/// [`Denied::IssueNotAllowed`] for a caller that is no account.
pub(super) fn admit(snapshot: &Arc<Snapshot>, known: Authenticated<'_>) -> Result<Issuing, Halt> {
    let (routed, caller) = known.into_parts();
    match caller {
        Caller::Account(account, _) => Ok(Issuing {
            snapshot: Arc::clone(snapshot),
            vendor: account.name.clone(),
            idle: routed.service().settings.timeouts.idle,
        }),
        Caller::Anyone | Caller::Service(_) | Caller::Token(..) => Err(Denied::IssueNotAllowed.into()),
    }
}

/// Reads the body and issues.
///
/// # Errors
/// 400 for a request that cannot be read or names an unknown resource, 403 above the vendor's ceiling, 408 for a
/// body that does not arrive, 413 never: an oversized body is a bad argument.
///
/// The body can take seconds to come, and the vendor can be cut off meanwhile: `judged_again` says whether the caller
/// may still issue, by the snapshot in force once the body is there.
pub(super) async fn answer(
    issuing: Issuing,
    audit: &Audit,
    query: Option<&str>,
    body: ClientBody,
    mut record: Record,
    judged_again: impl FnOnce(Issuing, &mut Record) -> Result<Issuing, Refusal>,
) -> Result<Response<AnswerBody>, (Unissued, Rest, Record)> {
    let body = match read(body, issuing.idle, &mut record).await {
        Ok(body) => body,
        Err(why) => return Err((why, Rest::Some, record)),
    };
    let issuing = match judged_again(issuing, &mut record) {
        Ok(issuing) => issuing,
        Err(refusal) => return Err((refusal.into(), Rest::Nothing, record)),
    };
    let decision = record.decision_id();
    let (issued, event) = match issue(&issuing.snapshot, &issuing.vendor, query, &body, &decision, UnixSeconds::now()) {
        Ok(issued) => issued,
        Err(why) => return Err((why, Rest::Nothing, record)),
    };
    // A token that is not on record is one that nobody gets.
    match audit.record(event).await {
        Ok(()) => Ok(respond(&issued, record)),
        Err(NotRecorded) => Err((Failed::AuditUnavailable.into(), Rest::Nothing, record)),
    }
}

async fn read(body: ClientBody, idle: Duration, record: &mut Record) -> Result<Bytes, Unissued> {
    let most = IssueRequest::MAX_BODY_BYTES as u64;
    let (body, progress) = RequestBody::new(body, most, idle, Some(record.request_bytes()), None, Instant::now());
    match tokio::time::timeout(BODY_WITHIN, body.collect()).await {
        Err(_elapsed) => Err(Denied::BodyTimeout.into()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_stopped)) => Err(match progress.stopped() {
            Some(Denied::BodyTooLarge) => bad_argument("want a body of at most 16 KiB"),
            Some(other) => other.into(),
            None => Denied::BodyMalformed.into(),
        }),
    }
}

fn bad_argument(detail: &str) -> Unissued {
    Unissued { refusal: Denied::IssueArgument.into(), detail: Some(detail.to_owned()), resource: None }
}

fn issue(
    snapshot: &Snapshot,
    vendor: &Name,
    query: Option<&str>,
    body: &[u8],
    decision: &dyn std::fmt::Display,
    now: UnixSeconds,
) -> Result<(Issued, Event), Unissued> {
    let request = IssueRequest::parse(query, body, &snapshot.features).map_err(|why| bad_argument(&why.to_string()))?;
    let target = snapshot.account_of(&request.target).ok_or_else(|| bad_argument(UNKNOWN_TARGET))?;
    let vendor = snapshot.account_named(vendor).ok_or(Denied::IssueNotAllowed)?;
    if !request.flags.without(vendor.may_issue).is_empty() {
        let refusal = Denied::IssueNotAllowed.into();
        return Err(Unissued { refusal, detail: None, resource: Some(target.resource.clone()) });
    }
    let loan = Loan {
        isv: &vendor.name,
        isv_resource: &vendor.resource,
        target: &target.resource,
        flags: request.flags,
        lifetime: request.lifetime,
    };
    let issuer = &snapshot.management.tokens.issuer;
    let issued = issue_limited_token(snapshot.own_keys.newest(), issuer, &loan, &snapshot.features, now)
        .map_err(|_failed| Failed::Internal)?;
    let flags: Vec<&str> = snapshot.features.names_of(request.flags).collect();
    let event = Event {
        act: Act::IssueLimitedAccessToken,
        who: format!("account:{}", vendor.name),
        resource: target.resource.as_str().to_owned(),
        rule: format!("accounts.{}.may_issue", vendor.name),
        detail: json!({ "jti": issued.id, "flags": flags, "expires": issued.expires }),
        decision: decision.to_string(),
    };
    Ok((issued, event))
}

fn respond(issued: &Issued, mut record: Record) -> Response<AnswerBody> {
    let text = Bytes::copy_from_slice(issued.jwt.expose().as_bytes());
    let (decision, request_id) = (record.decision_id().header_value(), record.request_id());
    record.answered(StatusCode::OK);
    let mut response = Response::new(AnswerBody::Own(Some(text), Some(Box::new(record))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwt"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(DECISION_ID, decision);
    headers.insert(REQUEST_ID, request_id);
    response
}

#[cfg(test)]
mod ceilings;
#[cfg(test)]
mod tests;
