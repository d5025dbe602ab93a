//! One gateway of three that cannot reach etcd, which meanwhile forgets what the others have changed, under load.

use super::SERVICES;
use super::configuration_with;
use super::keys;
use super::load::Load;
use super::regenerate;
use super::status;
use super::with_master_key;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::island::Island;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;

/// The primary and the secondary key of each service.
type Held = [[String; 2]; SERVICES];

/// Whether this gateway knows the keys that are held, and those that they have replaced no more.
fn is_in_force(gateway: &Gateway, held: &Held, replaced: &[String]) -> Option<()> {
    let told = |(service, key): (usize, &String)| status(gateway, service, key);
    let are_new = held.iter().map(|[primary, _]| primary).enumerate().all(|one| told(one) == 200);
    (are_new && replaced.iter().enumerate().all(|one| told(one) == 401)).then_some(())
}

#[test]
fn each_gateway_in_turn_is_cut_off_and_catches_up_and_no_request_fails() {
    let upstream = Upstream::ok();
    let island = Island::<3>::start();
    let gateways = island
        .ways
        .each_ref()
        .map(|way| Gateway::start_in(with_master_key(), &configuration_with(&island.settings(way), &upstream)));
    let mut held: Held = std::array::from_fn(|service| keys(&gateways[0], service));
    let load = Load::start(&gateways, held.each_ref().map(|[_, secondary]| secondary.clone()));
    load.go_on(100);
    for (lost, way) in island.ways.iter().enumerate() {
        way.cut();
        let mut replaced = Vec::new();
        for (service, held) in held.iter_mut().enumerate() {
            let new = format!("made-while-{lost}-was-cut-off-{service}");
            let through = (lost + 1 + service % 2) % 3;
            assert_eq!(regenerate(&gateways[through], service, 0, &new).status, 202, "{lost} is cut off");
            replaced.push(std::mem::replace(&mut held[0], new));
        }
        island.etcd.compact();
        for (number, gateway) in gateways.iter().enumerate().filter(|(number, _)| *number != lost) {
            eventually(&format!("{number} hears of it while {lost} is cut off"), || {
                is_in_force(gateway, &held, &replaced)
            });
        }
        let answer = regenerate(&gateways[lost], 0, 0, "refused-while-it-is-cut-off");
        assert_eq!(answer.status, 503, "{lost} is cut off: {}", answer.text());
        assert!(gateways[lost].metric("gateway_store_age_seconds") > 1.0, "{lost} is cut off");
        // It goes on with what it knows.
        for (service, key) in replaced.iter().enumerate() {
            assert_eq!(status(&gateways[lost], service, key), 200, "{lost} is cut off");
        }
        load.go_on(200);
        way.mend();
        eventually(&format!("{lost} catches up"), || is_in_force(&gateways[lost], &held, &replaced));
        held[1][0] = format!("made-through-{lost}-once-it-was-back");
        eventually(&format!("{lost} takes changes again"), || {
            (regenerate(&gateways[lost], 1, 0, &held[1][0]).status == 202).then_some(())
        });
    }
    for gateway in &gateways {
        eventually("all know the same keys", || is_in_force(gateway, &held, &[]));
        for (service, held) in held.iter().enumerate() {
            assert_eq!(&keys(gateway, service), held, "s{service}");
        }
    }
    // Three cuts, and what the third of them would have read was compacted each time.
    summary::report("replicas/partition", Counts { refused: 3, ..load.finish().counts(6) });
}
