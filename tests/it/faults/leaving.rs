//! SIGTERM while every protocol is spoken (R28).

use std::time::Duration;
use std::time::Instant;

use super::stage::Stage;
use crate::support::client;
use crate::support::eventually;
use crate::support::summary;

#[test]
fn sigterm_under_load_fails_nothing_that_was_accepted_and_holds_its_deadline() {
    let mut stage = Stage::start("shutdown: {delay: 700ms, deadline: 2s}\n");
    let load = stage.load();
    load.go_on(300);
    let health = stage.gateway.health();
    assert_eq!(client::get(health, "/readyz", &[]).status, 200);
    load.expect_leave();
    let told = Instant::now();
    stage.gateway.terminate();
    eventually("readiness falls", || (client::get(health, "/readyz", &[]).status == 503).then_some(()));
    assert!(told.elapsed() < Duration::from_millis(600), "readiness fell after {:?}", told.elapsed());
    assert_eq!(stage.status(0, &stage.steady[0]), 200, "connections are accepted for the delay");
    assert_eq!(stage.gateway.wait().code(), Some(0));
    let took = told.elapsed();
    // Streams and WebSockets have no end of their own: they hold it until the deadline, and no longer.
    assert!(took > Duration::from_millis(2500) && took < Duration::from_millis(4500), "left after {took:?}");
    let seen = load.finish();
    assert_eq!((seen.failed, seen.closed), (0, 0), "{seen:#?}");
    summary::report("faults/sigterm", seen.counts(1));
}
