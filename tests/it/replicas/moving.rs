//! A store that moves from a file into etcd and back keeps its keys.

use std::fs;
use std::path::Path;

use super::SERVICES;
use super::configuration;
use super::keys;
use super::replica;
use super::status;
use super::with_master_key;
use crate::support::etcd::Etcd;
use crate::support::gateway;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// All keys as this gateway lists them; each opens its service.
fn all_keys(gateway: &Gateway) -> [[String; 2]; SERVICES] {
    let held = std::array::from_fn(|service| keys(gateway, service));
    for (service, held) in held.iter().enumerate() {
        assert_eq!(held.each_ref().map(|key| status(gateway, service, key)), [200, 200], "s{service}");
    }
    held
}

/// Runs `scoregate store` in a directory with a configuration. Every move has to succeed, and counts what it moved.
fn moved(directory: &Path, arguments: &[&str]) -> String {
    let ran = gateway::run(directory, &[&["store"], arguments, &["--config", "gateway.yaml"]].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    let (_, count) = ran.stdout.split_once(" holds ").unwrap();
    count.to_owned()
}

#[test]
fn a_store_that_moves_into_etcd_and_back_opens_the_same_services_with_the_same_keys() {
    let (etcd, upstream) = (Etcd::start(), Upstream::ok());
    let shared = configuration(etcd.address(), &upstream);
    let own = shared.replace(&format!(", etcd: {{endpoints: ['http://{}']}}", etcd.address()), "");
    let mut before = Gateway::start_in(with_master_key(), &own);
    let held = all_keys(&before);
    before.terminate();
    assert!(before.wait().success());
    let exported = moved(before.directory(), &["export", "--out", "out"]);

    before.configure(&shared);
    assert_eq!(moved(before.directory(), &["import", "out"]), exported);
    let meanwhile = replica(etcd.address(), &upstream);
    assert_eq!(all_keys(&meanwhile), held);

    // A shared store is exported while gateways use it.
    assert_eq!(moved(before.directory(), &["export", "--out", "back"]), exported);
    let directory = with_master_key();
    before.configure(&own);
    let text = fs::read_to_string(before.config()).unwrap();
    let [from, to] = [before.directory(), directory.path()].map(|path| path.to_str().unwrap());
    fs::write(directory.path().join("gateway.yaml"), text.replace(from, to)).unwrap();
    let back = before.directory().join("back");
    assert_eq!(moved(directory.path(), &["import", back.to_str().unwrap()]), exported);
    assert_eq!(all_keys(&Gateway::start_in(directory, &own)), held);
}
