//! A change as the audit log tells it.

use serde_json::Value;
use serde_json::json;

use crate::observe::audit::Act;
use crate::observe::audit::Event;
use crate::observe::metrics::ReloadStage;
use crate::reload::Cause;

/// A generation is in force.
#[must_use]
pub fn published(cause: Cause, generation: u64) -> Event {
    event(cause, json!({ "outcome": "published", "generation": generation }))
}

/// A change was refused, and what ran before runs on.
#[must_use]
pub fn failed(cause: Cause, stage: ReloadStage) -> Event {
    event(cause, json!({ "outcome": "failed", "stage": stage.as_str() }))
}

fn event(cause: Cause, detail: Value) -> Event {
    Event {
        act: Act::Reload,
        who: "gateway".to_owned(),
        resource: "gateway.yaml".to_owned(),
        rule: format!("trigger:{}", cause.trigger().as_str()),
        detail,
        decision: String::new(),
    }
}
