//! What of a request is an event of the audit log: a LimitedAccessToken that opened it, or its refusal for a
//! credential or a feature. Ordinary requests are in the access log only.

use http::StatusCode;
use serde_json::json;

use crate::model::feature::FeatureNames;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::observe::audit::Act;
use crate::observe::audit::Event;
use crate::observe::record::Record;
use crate::snapshot::service::Service;
use crate::tokens::limited::LimitedToken;

/// The use of a LimitedAccessToken.
pub(super) fn used(lent: &LimitedToken, features: &FeatureNames, service: &Service, record: &Record) -> Event {
    Event {
        act: Act::UseLimitedAccessToken,
        who: record.who(),
        resource: lent.target.as_str().to_owned(),
        rule: format!("accounts.{}.may_issue", lent.isv),
        detail: json!({
            "jti": &*lent.id,
            "flags": features.names_of(lent.flags).collect::<Vec<_>>(),
            "service": service.settings.name.as_str(),
        }),
        decision: record.decision_id().to_string(),
    }
}

/// The row of a refusal that is an event: no credential, a bad one, or a good one that does not cover the call.
pub(super) fn concerns_credentials(refusal: Refusal) -> Option<Denied> {
    match refusal {
        Refusal::Denied { why, .. } => {
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&why.row().status).then_some(why)
        }
        Refusal::Failed(_) => None,
    }
}

/// Why a credential that was shown was not accepted. That there was none is no attempt.
pub(super) fn failed_attempt(refusal: Refusal) -> Option<Denied> {
    match refusal {
        Refusal::Denied { why, .. } => {
            (why.row().status == StatusCode::UNAUTHORIZED && why != Denied::CredentialMissing).then_some(why)
        }
        Refusal::Failed(_) => None,
    }
}

/// A denial. `resource` is the one that the request was for, where that is known; the service otherwise.
pub(super) fn denied(why: Denied, resource: Option<&str>, service: Option<&Service>, record: &Record) -> Event {
    let service = service.map(|service| format!("services/{}", service.settings.name)).unwrap_or_default();
    Event {
        act: Act::Denied,
        who: record.who(),
        resource: resource.unwrap_or(&service).to_owned(),
        rule: why.row().code.to_owned(),
        detail: json!({ "service": service, "client": record.source().map(|source| source.to_string()) }),
        decision: record.decision_id().to_string(),
    }
}
