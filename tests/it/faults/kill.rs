//! kill -9 while keys are regenerated (R27): whatever was answered is in force after the restart, and nothing is mixed.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::stage::SERVICES;
use super::stage::keys;
use super::stage::status;
use super::stage::yaml;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::model::Model;
use crate::support::summary;
use crate::support::summary::Counts;

/// `tests/run --all` says more.
fn kills() -> u64 {
    let kills = std::env::var("SCOREGATE_TEST_KILLS").ok();
    kills.map_or(12, |kills| kills.parse().expect("a number of kills"))
}

/// Which key each slot of a service holds by what was answered, and one that was asked for and perhaps made.
#[derive(Debug, Clone, Default)]
struct Slots {
    held: [String; 2],
    pending: Option<(usize, String)>,
    replaced: Vec<String>,
    answered: u64,
}

#[test]
fn whatever_was_answered_before_a_kill_is_in_force_after_the_restart() {
    let mut gateway = Gateway::start(&(yaml(Model::start(), "access_log: off\n")));
    let mut slots: Vec<Slots> =
        SERVICES.iter().map(|service| Slots { held: keys(&gateway, service), ..Slots::default() }).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..kills() {
        // xorshift64: the same moments each time, as far as the machine allows.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_millis(20 + random % 400);
        let is_over = AtomicBool::new(false);
        let management = gateway.management();
        let bearer = format!(
            "Bearer {}",
            std::fs::read_to_string(gateway.directory().join("store/management.key")).unwrap().trim()
        );
        thread::scope(|scope| {
            for (service, slots) in SERVICES.iter().zip(&mut slots) {
                let (is_over, bearer) = (&is_over, &bearer);
                scope.spawn(move || regenerate_until(is_over, management, service, bearer, round, slots));
            }
            thread::sleep(after);
            gateway.kill();
            is_over.store(true, Ordering::Relaxed);
        });
        gateway.restart();
        for (service, slots) in SERVICES.iter().zip(&mut slots) {
            judge(&gateway, service, slots, round);
        }
    }
    let answered: u64 = slots.iter().map(|slots| slots.answered).sum();
    assert!(answered > kills(), "{answered} answered regenerations");
    let counts = Counts { cases: kills(), passed: kills(), faults: kills(), sent: answered, ..Counts::default() };
    summary::report("faults/kill", counts);
}

fn regenerate_until(
    is_over: &AtomicBool,
    management: std::net::SocketAddr,
    service: &str,
    bearer: &str,
    round: u64,
    slots: &mut Slots,
) {
    for number in 0_usize.. {
        let slot = number % 2;
        let new = format!("key-{service}-of-round-{round:04}-number-{number:06}");
        slots.pending = Some((slot, new.clone()));
        let path = format!("/api/v1/services/{service}/keys/{}/regenerate", ["primary", "secondary"][slot]);
        let body = json!({ "value": new }).to_string();
        let headers = [("authorization", bearer)];
        // The connection breaks where the kill falls in between, and then nothing was answered.
        let status = Client::try_connect(management)
            .and_then(|mut client| client.try_request("POST", &path, &headers, body.as_bytes()))
            .map(|answer| answer.status);
        match status {
            Some(200) => {
                let old = std::mem::replace(&mut slots.held[slot], new);
                slots.replaced.push(old);
                slots.pending = None;
                slots.answered += 1;
            }
            Some(other) => panic!("{service} {number}: {other}"),
            None => return,
        }
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn judge(gateway: &Gateway, service: &str, slots: &mut Slots, round: u64) {
    if let Some((slot, new)) = slots.pending.take()
        && keys(gateway, service)[slot] == new
    {
        // Made, and never answered: it is whole.
        let old = std::mem::replace(&mut slots.held[slot], new);
        slots.replaced.push(old);
    }
    assert_eq!(keys(gateway, service), slots.held, "round {round}, {service}");
    for key in &slots.held {
        assert_eq!(status(gateway, service, key), 200, "round {round}, {service}: {key}");
    }
    // The last ones are enough: older ones were replaced by them.
    for key in slots.replaced.iter().rev().take(4) {
        assert_eq!(status(gateway, service, key), 401, "round {round}, {service}: {key}, which was replaced");
    }
}
