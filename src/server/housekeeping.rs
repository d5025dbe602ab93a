//! What the store needs now and then: a younger signing key, and what has expired taken away.

use std::time::Duration;

use crate::model::time::UnixSeconds;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::store::state::State;

/// How often. What has expired opens nothing before it is swept, so nothing waits for this.
pub(super) const EVERY: Duration = Duration::from_secs(60 * 60);

/// Rotates a signing key whose time has come, and sweeps. Every replica does it, and none undoes another's work. What fails
/// is logged, and tried again at the next turn.
pub(super) async fn keep(store: &Store, state: &State, snapshot: &Snapshot, now: UnixSeconds) {
    let management = &snapshot.management;
    if let Some(age) = management.tokens.rotate_every {
        let algorithm = management.tokens.algorithm;
        match store.rotate_signing_key_of_age(age, algorithm, management.verify_for(), now).await {
            Ok(Some(_)) => tracing::info!(algorithm = algorithm.as_str(), "a new signing key signs, as scheduled"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the signing key could not be rotated; trying again in an hour"),
        }
    }
    if let Err(error) = store.sweep(state, now).await {
        tracing::warn!(%error, "what has expired could not be taken out of the store; trying again in an hour");
    }
}
