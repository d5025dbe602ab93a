//! A clock that jumps (R27), by Debian's `faketime`: what waits goes on, and what has a date is judged by the date.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::stage::SERVICES;
use super::stage::Stage;
use super::stage::key_of;
use super::stage::manage;
use super::stage::refuses;
use super::stage::regenerate;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::summary;

const HOUR: i64 = 3600;

/// Says how many seconds the gateway's clock is ahead.
fn set_clock(directory: &Path, seconds: i64) {
    fs::write(directory.join("clock.new"), format!("{seconds:+}\n")).unwrap();
    fs::rename(directory.join("clock.new"), directory.join("clock")).unwrap();
}

/// The library, wherever Debian keeps it on this machine.
fn library() -> String {
    let found =
        fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = found.into_iter().find(|path| path.exists()).expect("libfaketime is there: tests/run packages");
    found.to_str().expect("a path of Debian's").to_owned()
}

const MORE: &str = "  t: {match: [{prefix: /t}], upstream: http1, auth: {token: {issuers: [own]}}}
tokens: {lifetime: 30m}
access_log: off
";

fn token(gateway: &Gateway) -> String {
    let answer = manage(gateway, "services/t/token", &json!({}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["accessToken"].as_str().unwrap().to_owned()
}

/// The gateway's own idea of the time.
fn told_time(gateway: &Gateway) -> i64 {
    let answer = manage(gateway, "services/t/token", &json!({})).json();
    answer["expiryOn"].as_i64().unwrap() - HOUR / 2
}

fn audited_denials(gateway: &Gateway) -> usize {
    let log = fs::read_to_string(gateway.seen_by("store/audit.jsonl")).unwrap();
    log.lines().filter(|line| line.contains("request.denied")).count()
}

#[test]
fn a_clock_that_jumps_an_hour_either_way_fails_nobody_and_dates_are_judged_by_it() {
    let directory = scratch();
    set_clock(directory.path(), 0);
    let variables = [
        format!("LD_PRELOAD={}", library()),
        format!("FAKETIME_TIMESTAMP_FILE={}", directory.path().join("clock").display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        // As the kernel does it: what waits is not told.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let program: Vec<&str> = ["env"].into_iter().chain(variables.iter().map(String::as_str)).collect();
    let stage = Stage::start_under(&program, directory, MORE);
    let gateway = &stage.gateway;
    let load = stage.load();
    load.go_on(100);
    let first = token(gateway);
    let real = told_time(gateway);
    assert_eq!(stage_status(gateway, &first), 200);
    // The old key has a grace of ten minutes, the other service's new one a life of ten.
    let graced = super::stage::keys(gateway, SERVICES[0])[1].clone();
    let path = "services/s/keys/secondary/regenerate";
    assert_eq!(manage(gateway, path, &json!({ "graceSeconds": 600 })).status, 200);
    let path = "services/g/keys/secondary/regenerate";
    let short = key_of(&manage(gateway, path, &json!({ "expires": real + 600 })));
    assert_eq!((stage.status(0, &graced), stage.status(1, &short)), (200, 200));

    for (jump, is_later) in [(HOUR, true), (0, false), (-HOUR, false), (HOUR, true), (-HOUR, false), (0, false)] {
        let seen = audited_denials(gateway);
        set_clock(gateway.directory(), jump);
        eventually("the clock has jumped", || ((told_time(gateway) - real - jump).abs() < 120).then_some(()));
        load.go_on(100);
        // What has a date: a token of before, a grace, an expiry.
        eventually(&format!("{jump:+} s: the token of before is judged by the clock"), || {
            (refuses(stage_status(gateway, &first)) == is_later || jump < 0).then_some(())
        });
        eventually(&format!("{jump:+} s: a key whose time has come is refused"), || {
            (!is_later || refuses(stage.status(0, &graced)) && refuses(stage.status(1, &short))).then_some(())
        });
        // What is made now is good now.
        assert_eq!(stage_status(gateway, &token(gateway)), 200, "{jump:+} s: a new token");
        let new = key_of(&regenerate(gateway, "g"));
        assert_eq!(stage.status(1, &new), 200, "{jump:+} s: a new key");
        assert_eq!(client::get(gateway.health(), "/readyz", &[]).status, 200, "{jump:+} s");
        // The limit of lines per second does not wait for the clock to catch up.
        eventually(&format!("{jump:+} s: a denial is on record"), || {
            assert!(refuses(stage.status(0, "a-key-that-nobody-has")), "{jump:+} s");
            (audited_denials(gateway) > seen).then_some(())
        });
    }
    let seen = load.finish();
    seen.assert_undisturbed();
    assert!(gateway.metric("gateway_panics_total") < 0.5);
    summary::report("faults/clock", seen.counts(6));
}

fn stage_status(gateway: &Gateway, token: &str) -> u16 {
    super::stage::status(gateway, "t", token)
}
