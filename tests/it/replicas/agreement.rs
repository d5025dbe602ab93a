//! What gateways over one etcd agree about, however they came to it.

use std::thread;

use super::SERVICES;
use super::keys;
use super::manage;
use super::regenerate;
use super::replica;
use super::status;
use crate::support::client;
use crate::support::etcd::Etcd;
use crate::support::etcd::Wire;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[test]
fn gateways_that_start_at_once_on_an_empty_etcd_make_one_set_of_keys_and_one_signing_key() {
    let (etcd, upstream) = (Etcd::start(), Upstream::ok());
    let gateways: Vec<Gateway> = thread::scope(|scope| {
        let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| replica(etcd.address(), &upstream))).collect();
        starting.into_iter().map(|starting| starting.join().expect("it starts")).collect()
    });
    let sets: Vec<_> = gateways
        .iter()
        .map(|gateway| client::get(gateway.management(), "/.well-known/jwks.json", &[]).json())
        .collect();
    assert_eq!(sets[0]["keys"].as_array().map(Vec::len), Some(1), "{}", sets[0]);
    assert!(sets.iter().all(|set| *set == sets[0]), "{sets:?}");
    for service in 0..SERVICES {
        let held = keys(&gateways[0], service);
        for gateway in &gateways {
            assert_eq!(keys(gateway, service), held, "s{service}");
            assert_eq!(held.each_ref().map(|key| status(gateway, service, key)), [200, 200], "s{service}");
        }
    }
}

#[test]
fn an_operation_of_one_gateway_is_known_to_another_and_to_one_that_starts_later() {
    let (etcd, upstream) = (Etcd::start(), Upstream::ok());
    let [one, other] = [(); 2].map(|()| replica(etcd.address(), &upstream));
    let answer = regenerate(&one, 0, 0, "regenerated-through-one");
    let location = answer.header("operation-location").unwrap();
    let id = location.rsplit('/').next().unwrap();
    let later = replica(etcd.address(), &upstream);
    for gateway in [&one, &other, &later] {
        let polled = manage(gateway, "GET", &format!("/operations/{id}"), "");
        assert_eq!(polled.status, 200, "{}", polled.text());
        assert_eq!(polled.json()["state"], "Succeeded");
        let invented = manage(gateway, "GET", &format!("/operations/{}", id.to_ascii_uppercase()), "");
        assert_eq!(invented.status, 404);
    }
}

#[test]
fn a_change_that_was_compacted_while_a_gateway_was_cut_off_is_read_again() {
    let (etcd, upstream) = (Etcd::start(), Upstream::ok());
    let wire = Wire::to(etcd.address());
    let near = replica(etcd.address(), &upstream);
    let far = replica(wire.address(), &upstream);
    let [old, secondary] = keys(&far, 0);
    wire.cut();
    for number in 0..3 {
        assert_eq!(regenerate(&near, 0, 0, &format!("made-while-it-was-cut-off-{number}")).status, 202);
    }
    etcd.compact();
    // It goes on with what it knows.
    assert_eq!([&old, &secondary].map(|key| status(&far, 0, key)), [200, 200]);
    assert_eq!(regenerate(&far, 0, 1, "refused-while-it-is-cut-off").status, 503);
    wire.mend();
    eventually("the new key is in force", || (status(&far, 0, "made-while-it-was-cut-off-2") == 200).then_some(()));
    assert_eq!([&old, &secondary].map(|key| status(&far, 0, key)), [401, 200]);
    assert_eq!(regenerate(&near, 0, 1, "made-once-it-was-back").status, 202);
    eventually("it follows again", || (status(&far, 0, "made-once-it-was-back") == 200).then_some(()));
}
