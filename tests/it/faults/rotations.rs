//! Rotations and reloads, interleaved, while every protocol is spoken (R26).

use std::time::Duration;
use std::time::Instant;

use super::stage::Stage;
use super::stage::refuses;
use super::stage::yaml;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::summary;

/// How long it goes on, unless a number of changes is asked for.
const FOR: Duration = Duration::from_secs(12);

/// `tests/run --all` says 1000.
fn wanted() -> Option<u64> {
    let changes = std::env::var("SCOREGATE_TEST_ROTATIONS").ok()?;
    Some(changes.parse().expect("a number of changes"))
}

/// Configurations that come one after the other; each leaves the services alone that are called.
const MORE: [&str; 4] = [
    "  old: {match: [{prefix: /old}], upstream: http1, auth: {key: {}}}\naccess_log: off\n",
    "  new: {match: [{prefix: /new}], upstream: http1, auth: {key: {}}}\naccess_log: off\n",
    "  new: {match: [{prefix: /new}], upstream: http2, auth: {public: a test}, max_body: 1MiB}\naccess_log: off\n",
    "listeners: [\n",
];

#[test]
fn rotations_and_reloads_interleaved_disturb_nobody_of_any_protocol() {
    let stage = Stage::start("");
    let load = stage.load();
    load.go_on(200);
    let (begun, mut changes) = (Instant::now(), 0);
    while wanted().map_or(begun.elapsed() < FOR, |wanted| changes < wanted) {
        let service = usize::try_from(changes / 2 % 2).unwrap();
        if changes % 2 == 0 {
            let old = stage.rotate(service);
            let told = stage.status(service, &old);
            assert!(refuses(told), "change {changes}: {told} for the old key, once the new one is answered");
        } else {
            let more = MORE[usize::try_from(changes / 2).unwrap() % MORE.len()];
            reload(&stage.gateway, &yaml(stage.model, more), more == MORE[3]);
        }
        changes += 1;
    }
    load.go_on(200);
    let seen = load.finish();
    seen.assert_undisturbed();
    assert!(changes >= 50, "{changes} changes");
    assert!(stage.gateway.metric("gateway_panics_total") < 0.5);
    summary::report("faults/rotations", seen.counts(changes));
}

fn reload(gateway: &Gateway, yaml: &str, is_broken: bool) {
    let before = gateway.generation();
    gateway.configure(yaml);
    gateway.hangup();
    eventually("the change is taken, or refused", || {
        let is_successful = gateway.metric("gateway_config_last_reload_successful") > 0.5;
        if is_broken { !is_successful } else { is_successful && gateway.generation() > before }.then_some(())
    });
}
