//! A lost etcd: traffic, reload and drain go on, changes are refused, and nothing that was answered is lost.

use std::io::Write as _;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::SERVICES;
use super::configuration;
use super::keys;
use super::load::Load;
use super::regenerate;
use super::replica;
use super::status;
use super::with_master_key;
use crate::support::client;
use crate::support::etcd::Etcd;
use crate::support::eventually;
use crate::support::gateway;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;

/// How etcd is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Killed,
    Frozen,
}

/// `tests/run --all` says 30.
fn outage() -> Duration {
    let seconds = std::env::var("SCOREGATE_TEST_OUTAGE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().expect("a number of seconds")))
}

fn age(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_store_age_seconds")
}

fn survive(loss: Loss) {
    let (mut etcd, upstream) = (Etcd::start(), Upstream::ok());
    let gateways: [Gateway; 3] = std::array::from_fn(|_| replica(etcd.address(), &upstream));
    let mut leaver = replica(etcd.address(), &upstream);
    let mut held: [[String; 2]; SERVICES] = std::array::from_fn(|service| keys(&gateways[0], service));
    let load = Load::start(&gateways, held.each_ref().map(|[_, secondary]| secondary.clone()));
    for (service, held) in held.iter_mut().enumerate() {
        held[0] = format!("answered-before-the-outage-{service}");
        assert_eq!(regenerate(&gateways[service % 3], service, 0, &held[0]).status, 202);
    }
    eventually("etcd has been heard of", || gateways.iter().all(|gateway| age(gateway) > 0.0).then_some(()));

    let lost = Instant::now();
    match loss {
        Loss::Killed => etcd.kill(),
        Loss::Frozen => etcd.freeze(),
    }
    let mut refused = 0;
    for gateway in &gateways {
        let answer = regenerate(gateway, 0, 0, "refused-while-etcd-is-lost");
        assert_eq!(answer.status, 503, "{loss:?}: {}", answer.text());
        refused += 1;
        assert!(!answer.text().contains("refused-while"), "{}", answer.text());
    }
    // A change that needs no store comes into force.
    let open = "  open: {match: [{prefix: /open}], upstream: a, auth: {public: a test}}\n";
    gateways[1].configure(&(configuration(etcd.address(), &upstream) + open));
    eventually("the reload is in force", || {
        (client::get(gateways[1].traffic(), "/open", &[]).status == 200).then_some(())
    });
    // A change that needs the store is refused whole, and holds up nobody who leaves.
    let new = "  new: {match: [{prefix: /new}], upstream: a, auth: {key: {}}}\n";
    leaver.configure(&(configuration(etcd.address(), &upstream) + new));
    leaver.hangup();
    // Long enough for the change to have begun and to wait for etcd: nothing tells.
    thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    leaver.terminate();
    assert!(leaver.wait().success());
    assert!(asked.elapsed() < Duration::from_secs(3), "{loss:?}: left after {:?}", asked.elapsed());
    thread::sleep(outage().saturating_sub(lost.elapsed()));
    let oldest = lost.elapsed().as_secs_f64();
    for gateway in &gateways {
        let age = age(gateway);
        assert!(age > oldest - 3.0 && age < oldest + 3.0, "{loss:?}: {age} after {oldest} s");
    }

    match loss {
        Loss::Killed => etcd.resume(),
        Loss::Frozen => etcd.thaw(),
    }
    let back = Instant::now();
    held[1][0] = "made-once-etcd-is-back".to_owned();
    eventually("changes are taken again", || (regenerate(&gateways[2], 1, 0, &held[1][0]).status == 202).then_some(()));
    eventually("changes flow again", || {
        gateways.iter().all(|gateway| status(gateway, 1, &held[1][0]) == 200).then_some(())
    });
    let flowed = back.elapsed();
    for gateway in &gateways {
        for (service, held) in held.iter().enumerate() {
            assert_eq!(&keys(gateway, service), held, "{loss:?}: s{service}");
            assert_eq!(held.each_ref().map(|key| status(gateway, service, key)), [200, 200], "{loss:?}: s{service}");
        }
        eventually("etcd is heard of again", || (age(gateway) < 2.5).then_some(()));
    }
    let seen = load.finish();
    summary::report("replicas/outage", Counts { refused, ..seen.counts(1) });
    writeln!(
        std::io::stderr(),
        "note: etcd {loss:?} for {oldest:.0} s: {refused} changes refused, changes flow {flowed:.1?} after its return; \
         meanwhile {} requests, none failed",
        seen.sent
    )
    .unwrap_or_default();
}

#[test]
fn an_etcd_that_is_killed_and_comes_back_fails_no_request_and_loses_no_change() {
    survive(Loss::Killed);
}

#[test]
fn an_etcd_that_answers_nobody_for_a_while_fails_no_request_and_loses_no_change() {
    survive(Loss::Frozen);
}

#[test]
fn a_start_while_etcd_is_away_ends_and_says_which_etcd() {
    let nobody = free_address();
    let directory = with_master_key();
    let listeners = "listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}\n";
    let text = listeners.to_owned() + &configuration(nobody, &Upstream::ok());
    let text = text.replace("$DIR", directory.path().to_str().unwrap());
    std::fs::write(directory.path().join("gateway.yaml"), text).unwrap();
    let ran = gateway::run(directory.path(), &["run", "--config", "gateway.yaml"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains(&format!("no etcd answers at http://{nobody}")), "{}", ran.stderr);
}
