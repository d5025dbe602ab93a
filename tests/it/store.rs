//! The store's own commands beside the gateways that use it: what they move and seal anew opens services as before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::client;
use crate::support::gateway;
use crate::support::gateway::Gateway;
use crate::support::gateway::Ran;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

/// `store` is what the configuration says about the store.
fn configuration(store: &str, upstream: &Upstream) -> String {
    format!(
        "
access_log: off
store: {{{store}}}
upstreams: {{a: {{endpoints: ['{}']}}}}
services: {{iris: {{match: [{{prefix: /iris}}], upstream: a, auth: {{key: {{}}}}}}}}
",
        upstream.url()
    )
}

/// Stores and master keys that outlive the gateways over them.
fn place() -> TempDir {
    let place = scratch();
    for (name, key) in [
        ("master", "c2NvcmVnYXRlLXNjb3JlZ2F0ZS1zY29yZWdhdGUhISE="),
        ("next-master", "ISEhc2NvcmVnYXRlLXNjb3JlZ2F0ZS1zY29yZWdhdGU="),
    ] {
        let path = place.path().join(name);
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    place
}

fn start(store: &str, upstream: &Upstream) -> Gateway {
    Gateway::start_in(scratch(), &configuration(store, upstream))
}

fn stop(gateway: &mut Gateway) {
    gateway.terminate();
    assert!(gateway.wait().success());
}

/// Runs `scoregate store` with a configuration.
fn store(config: &Path, arguments: &[&str]) -> Ran {
    let named = ["--config", config.to_str().unwrap()];
    gateway::run(config.parent().unwrap(), &[&["store"], arguments, &named].concat())
}

/// Both keys of the service, which open it.
fn keys(gateway: &Gateway, store: &Path) -> [String; 2] {
    let url = format!("http://{}", gateway.management());
    let key_file = store.join("management.key");
    let asked = ["keys", "list", "iris", "--json", "--management", &url, "--key-file", key_file.to_str().unwrap()];
    let ran = gateway::run(gateway.directory(), &asked);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let keys = ["primaryKey", "secondaryKey"].map(|name| listed[name].as_str().unwrap().to_owned());
    for key in &keys {
        let headers = [("authorization", &*format!("Bearer {key}"))];
        assert_eq!(client::get(gateway.traffic(), "/iris", &headers).status, 200);
    }
    keys
}

#[test]
fn a_store_that_was_exported_and_imported_opens_services_with_the_same_keys_and_once_more_sealed_anew() {
    let (place, upstream) = (place(), Upstream::ok());
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let settings = |directory: &str, key: &str| format!("directory: {}, master_key: 'file:{}'", at(directory), at(key));

    let mut first = start(&settings("first-store", "master"), &upstream);
    let held = keys(&first, &place.path().join("first-store"));
    let export = ["export", "--out", &at("export")];
    let refused = store(&first.config(), &export);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("is open in another process; stop that gateway"), "{}", refused.stderr);
    assert!(!place.path().join("export").exists());
    assert_eq!(keys(&first, &place.path().join("first-store")), held);
    stop(&mut first);
    let ran = store(&first.config(), &export);
    assert!(ran.code == Some(0) && ran.stdout.contains("records, sealed under the master key"), "{ran:?}");
    let text = fs::read_to_string(place.path().join("export")).unwrap();
    assert!(held.iter().all(|key| !text.contains(key)), "an export shows no key");

    let config = place.path().join("second.yaml");
    fs::write(&config, fs::read_to_string(first.config()).unwrap().replace("first-store", "second-store")).unwrap();
    let ran = store(&config, &["import", &at("export")]);
    assert!(ran.code == Some(0) && ran.stdout.contains("records, sealed under the master key"), "{ran:?}");
    let again = store(&config, &["import", &at("export")]);
    assert!(again.code == Some(1) && again.stderr.contains("want an empty store"), "{again:?}");
    let mut second = start(&settings("second-store", "master"), &upstream);
    assert_eq!(keys(&second, &place.path().join("second-store")), held);
    stop(&mut second);

    let ran = store(&config, &["reseal", "--new-master-key", &format!("file:{}", at("next-master"))]);
    assert!(ran.code == Some(0) && ran.stdout.contains("records sealed anew, 0 were already"), "{ran:?}");
    fs::remove_file(place.path().join("master")).unwrap();
    let third = start(&settings("second-store", "next-master"), &upstream);
    assert_eq!(keys(&third, &place.path().join("second-store")), held);
}

#[test]
fn a_store_that_keeps_its_own_master_key_gets_a_new_one_and_opens_services_with_the_same_keys() {
    let (place, upstream) = (scratch(), Upstream::ok());
    let directory = place.path().join("store");
    let settings = format!("directory: {}", directory.display());
    let mut gateway = start(&settings, &upstream);
    let held = keys(&gateway, &directory);
    let refused = store(&gateway.config(), &["reseal"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is open in another process"), "{refused:?}");
    stop(&mut gateway);
    let before = fs::read(directory.join("master.key")).unwrap();
    let ran = store(&gateway.config(), &["reseal"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_ne!(fs::read(directory.join("master.key")).unwrap(), before);
    assert_eq!(keys(&start(&settings, &upstream), &directory), held);
}
