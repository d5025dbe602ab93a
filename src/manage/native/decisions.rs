//! The last refusals, and the explanation of one.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::config::Written;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::model::refusal::Refusal;
use crate::observe::decisions::Decision;
use crate::pipeline::explain::explanation;

/// Refusals that are listed where nobody says how many.
const LISTED: usize = 50;

/// Most refusals that are listed.
const MOST_LISTED: usize = 1000;

const FORGOTTEN: &str = "no such decision is remembered: the request passed, too many were refused since, the gateway \
                         was restarted, or another one decided; the access log has its reason";

/// Lists the last refusals, newest first.
///
/// # Errors
/// 400 for a query that cannot be read.
pub(super) fn list(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let limit = match asked.query.unwrap_or_default() {
        "" => Some(LISTED),
        query => query.strip_prefix("limit=").and_then(whole).filter(|limit| (1..=MOST_LISTED).contains(limit)),
    };
    let limit = limit.ok_or_else(|| Refused::bad_argument("want a query of limit (1 to 1000) alone"))?;
    let newest = manage.observed.decisions.newest(limit);
    let each: Vec<Value> = newest.iter().filter_map(|decision| summary(decision)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "value": each })))
}

/// Digits and nothing else: a sign is none.
fn whole(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn summary(decision: &Decision) -> Option<Value> {
    let Decision { id, at, refusal, service, principal, client, method, host, path, .. } = decision;
    let row = (*refusal)?.row();
    Some(json!({
        "id": (*id)?.to_string(),
        "at": u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        "code": row.code,
        "status": row.status.as_u16(),
        "kind": match refusal {
            Some(Refusal::Denied { .. }) | None => "denial",
            Some(Refusal::Failed(_)) => "failure",
        },
        "service": service,
        "principal": principal.as_ref().map(ToString::to_string),
        "client": client.map(|client| client.to_string()),
        "method": method.as_str(),
        "host": host,
        "path": path,
    }))
}

/// Explains one refusal.
///
/// # Errors
/// 404 where it is not remembered.
pub(super) async fn explain(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let id = asked.name.unwrap_or_default();
    let decision = manage.observed.decisions.find(id).ok_or_else(|| Refused::not_found(FORGOTTEN))?;
    let path = manage.observed.config.clone();
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Without the file its rules are told by their names alone.
    let text = tokio::fs::read_to_string(&path).await.unwrap_or_default();
    let told = explanation(&decision, asked.snapshot, &Written::index(file, &text));
    let document = serde_json::to_value(&told).unwrap_or_default();
    Ok(reply::json(StatusCode::OK, &document))
}
