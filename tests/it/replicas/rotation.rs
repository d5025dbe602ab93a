//! A key that is regenerated through one gateway is in force on the others within a second, and nobody is refused.

use std::io::Write as _;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::SERVICES;
use super::bearer;
use super::keys;
use super::load::Load;
use super::regenerate;
use super::replica;
use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::etcd::Etcd;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::upstream::Upstream;

const ROUNDS: usize = 1000;

/// How long after `sent` this gateway lets the new key in and the old one no more.
fn in_force(connection: &mut Client, service: usize, new: &str, old: &str, sent: Instant) -> Duration {
    let mut status =
        |key: &str| connection.request("GET", &format!("/s{service}"), &[("authorization", &bearer(key))], b"").status;
    loop {
        let found = (status(new), status(old));
        let took = sent.elapsed();
        match found {
            (200, 401) => return took,
            // The change came between the two.
            (401, 200 | 401) => {}
            other => panic!("{other:?} for {new} and {old}"),
        }
        assert!(took < PATIENCE, "{new} is not in force after {took:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_regeneration_through_one_gateway_is_in_force_on_all_within_a_second_and_no_request_fails() {
    let (etcd, upstream) = (Etcd::start(), Upstream::ok());
    let gateways: [Gateway; 3] = std::array::from_fn(|_| replica(etcd.address(), &upstream));
    let [through, others @ ..] = &gateways;
    let mut held: [[String; 2]; SERVICES] = std::array::from_fn(|service| keys(through, service));
    let load = Load::start(&gateways, held.each_ref().map(|[_, secondary]| secondary.clone()));
    let mut connections = others.each_ref().map(|other| Client::connect(other.traffic()));

    let mut took = Vec::new();
    for round in 0..ROUNDS {
        // The slot that callers do not use, of one service after the other.
        let (service, slot) = (round % SERVICES, round / SERVICES % 2);
        let new = format!("regenerated-key-of-round-{round:04}");
        let old = std::mem::replace(&mut held[service][slot], new.clone());
        let sent = Instant::now();
        let answer = regenerate(through, service, slot, &new);
        assert_eq!(answer.status, 202, "round {round}: {}", answer.text());
        took.extend(thread::scope(|scope| {
            let watches = connections.each_mut().map(|connection| {
                let (new, old) = (&new, &old);
                scope.spawn(move || in_force(connection, service, new, old, sent))
            });
            watches.map(|watch| watch.join().expect("the key comes into force"))
        }));
        load.switch(service, &new);
    }
    let seen = load.finish();
    summary::report("replicas/rotation", seen.counts(ROUNDS as u64));

    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 1000];
    let (median, p99, longest) = (at(500), at(990), at(1000));
    writeln!(
        std::io::stderr(),
        "note: {ROUNDS} regenerations through one of three gateways, in force on the other two after: \
         median {median:.1?}, p99 {p99:.1?}, longest {longest:.1?}; meanwhile {} requests, none failed",
        seen.sent
    )
    .unwrap_or_default();
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    for gateway in &gateways {
        for (service, held) in held.iter().enumerate() {
            assert_eq!(&keys(gateway, service), held, "s{service}");
        }
    }
}
