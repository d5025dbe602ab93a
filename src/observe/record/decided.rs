//! What of a record is remembered when its request was refused. All texts are copies: a share of the request's own
//! would keep the buffer that it was read into.

use std::sync::Arc;
use std::time::Duration;

use crate::model::refusal::Refusal;
use crate::observe::decisions::Decision;
use crate::observe::decisions::Evidence;

use super::Record;
use super::line::cut;
use super::line::host;

/// Longest host and path that are remembered, in characters.
const LONGEST_TEXT: usize = 256;

/// The facts of a refusal.
pub(super) fn decision(record: &Record, refusal: Refusal, evidence: Evidence, at: Duration) -> Decision {
    let sent = record.upstream.as_ref();
    Decision {
        id: Some(record.decision),
        at,
        generation: record.generation,
        refusal: Some(refusal),
        service: record.service.as_ref().map(|in_flight| in_flight.service().name().clone()),
        principal: record.principal.clone(),
        client: record.source(),
        method: record.method.clone(),
        host: host(record).map(|host| cut(&host, LONGEST_TEXT).into()),
        path: cut(record.uri.path(), LONGEST_TEXT).into(),
        body_bytes: record.request_body_bytes(),
        sent: sent.map(|sent| {
            let endpoint = sent.answered.as_ref().map(|(endpoint, _)| Arc::clone(endpoint));
            (sent.upstream.name().clone(), endpoint)
        }),
        evidence,
    }
}
