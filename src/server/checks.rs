//! Asks endpoints whether they are well, on the control runtime: one task an endpoint. What it finds is what workers read.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::HealthCheck;
use crate::observe::metrics::CheckResult;
use crate::snapshot::Snapshot;
use crate::snapshot::target::EndpointId;
use crate::snapshot::target::Target;
use crate::upstream::check;

/// The tasks, until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Checks {
    tasks: HashMap<EndpointId, JoinHandle<()>>,
}

impl Checks {
    /// Asks the endpoints of this snapshot, and no others. One that has not changed is asked as before.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        let mut wanted: HashMap<EndpointId, (&Arc<Target>, usize, &HealthCheck)> = HashMap::new();
        for target in snapshot.targets() {
            let Some(check) = &target.health_check else { continue };
            let each = target.endpoints.iter().enumerate();
            wanted.extend(each.map(|(at, endpoint)| (endpoint.id, (target, at, check))));
        }
        self.tasks.retain(|id, task| {
            let stays = wanted.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, (target, at, check)) in wanted {
            let task = || tokio::task::spawn_local(watch(Arc::clone(target), at, check.clone()));
            self.tasks.entry(id).or_insert_with(task);
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn watch(target: Arc<Target>, at: usize, check: HealthCheck) {
    let Some(endpoint) = target.endpoints.get(at) else { return };
    let Some(health) = &endpoint.health else { return };
    let (mut well, mut unwell) = (0_u32, 0_u32);
    let mut turn = tokio::time::interval(check.every);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        match check::ask(endpoint, &target.host, &check).await {
            Ok(()) => {
                target.metrics.checked(CheckResult::Success);
                (well, unwell) = (well.saturating_add(1), 0);
                if well >= check.healthy_after.get() && health.is_found_well() {
                    tracing::info!(upstream = %target.name, endpoint = %endpoint.label, "an endpoint is well again");
                }
            }
            Err(why) => {
                target.metrics.checked(CheckResult::Failure);
                (well, unwell) = (0, unwell.saturating_add(1));
                if unwell >= check.unhealthy_after.get() && health.is_found_unwell() {
                    tracing::warn!(upstream = %target.name, endpoint = %endpoint.label, %why, "an endpoint is not well");
                }
            }
        }
    }
}
