//! The running gateway at a glance: what the dashboard shows besides what has a call of its own.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::config::AllowedAccounts;
use crate::config::Auth;
use crate::config::TokenIssuer;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::reply;
use crate::manage::reply::Reply;
use crate::model::time::since_epoch;
use crate::reload::status::RefusedChange;
use crate::reload::status::Standing;
use crate::snapshot::service::Service;

/// Shows the generation in force, what is wrong with it, who asks, and what each service has counted.
pub(super) fn show(manage: &Management, asked: &Asked<'_>) -> Reply {
    let snapshot = asked.snapshot;
    let Standing { published, problems, refused } = manage.observed.status.standing();
    let millis = u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX);
    let services: Vec<Value> = snapshot.services.iter().map(|service| of_service(service)).collect();
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("SCOREGATE_COMMIT"),
        "now": millis,
        "started": manage.started,
        "generation": snapshot.generation,
        "published": published,
        "problems": problems,
        "refusedChange": refused.map(|RefusedChange { at, problems }| json!({ "at": at, "problems": problems })),
        "audit": manage.audit.directory().is_some(),
        "caller": asked.caller.map(|caller| json!({ "name": caller.name, "role": caller.role.as_str() })),
        "services": services,
    });
    reply::json(StatusCode::OK, &document)
}

fn of_service(service: &Service) -> Value {
    let (mode, detail) = auth(&service.settings.auth);
    json!({
        "name": service.settings.name,
        "mode": mode,
        "callers": detail,
        "upstreams": service.settings.traffic.upstreams().collect::<Vec<_>>(),
        "quarantined": service.quarantined,
        "totals": service.metrics.totals(),
    })
}

/// The mode, and whose credentials it takes.
fn auth(auth: &Auth) -> (&'static str, String) {
    match auth {
        Auth::Public { reason } => ("public", reason.clone()),
        Auth::Key(key) => {
            let own = key.slots.as_ref().map(|_| "its own keys".to_owned());
            let accounts = match &key.accounts {
                AllowedAccounts::Every => Some("every account's".to_owned()),
                AllowedAccounts::Only(names) if names.is_empty() => None,
                AllowedAccounts::Only(names) => {
                    Some(format!("those of {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
                }
            };
            ("key", own.into_iter().chain(accounts).collect::<Vec<_>>().join(", "))
        }
        Auth::Token(token) => {
            let issuers = token.issuers.iter().map(|issuer| match issuer {
                TokenIssuer::Own => "this gateway".to_owned(),
                TokenIssuer::Foreign(name) => name.to_string(),
            });
            ("token", format!("issued by {}", issuers.collect::<Vec<_>>().join(", ")))
        }
    }
}
