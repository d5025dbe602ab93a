//! A change that cannot be taken: what runs goes on, and says that it does.

use std::fs;
use std::process::Command;

use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const KEY: &str = "the-first-key-of-the-service";

fn yaml(upstream: &Upstream) -> String {
    format!(
        "
access_log: off
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services:
  a: {{match: [{{prefix: /a}}], upstream: a, auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/keys/primary'}}}}}}}}}}
",
        upstream.url()
    )
}

#[test]
fn a_broken_change_leaves_everything_as_it_is_until_it_is_mended() {
    let upstream = Upstream::ok();
    let directory = scratch();
    fs::create_dir(directory.path().join("keys")).unwrap();
    fs::write(directory.path().join("keys/primary"), KEY).unwrap();
    let gateway = Gateway::start_in(directory, &yaml(&upstream));
    let good = fs::read_to_string(gateway.config()).unwrap();
    let status = || client::get(gateway.traffic(), "/a", &[("authorization", &format!("Bearer {KEY}"))]).status;
    let is_successful = || gateway.metric("gateway_config_last_reload_successful") > 0.5;
    let (half, _) = good.split_at(good.len() / 2);
    assert!(is_successful() && status() == 200);

    for (what, file, content) in [
        ("a configuration that is no YAML", "gateway.yaml", Some("listeners: [")),
        ("a configuration with an unknown field", "gateway.yaml", Some("listenerz: {}\n")),
        ("an empty configuration", "gateway.yaml", Some("")),
        ("a configuration that is half written", "gateway.yaml", Some(half)),
        ("a configuration that is not there", "gateway.yaml", None),
        ("a key that is too short", "keys/primary", Some("short")),
        ("an empty key", "keys/primary", Some("")),
        ("a key with a space in it", "keys/primary", Some("two words that are long enough")),
        ("a key that is not there", "keys/primary", None),
    ] {
        let generation = gateway.generation();
        match content {
            Some(content) => gateway.write(file, content),
            None => fs::remove_file(gateway.directory().join(file)).unwrap(),
        }
        refused(&gateway, what, generation, &status);
        mend(&gateway, file, &good, what);
    }
    // Nobody can read a directory as a file, not even root.
    for (what, file) in [("a directory for a configuration", "gateway.yaml"), ("a directory for a key", "keys/primary")]
    {
        let generation = gateway.generation();
        let path = gateway.directory().join(file);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused(&gateway, what, generation, &status);
        fs::remove_dir(&path).unwrap();
        mend(&gateway, file, &good, what);
    }
    // Who opens one waits until somebody writes to it.
    for (what, file) in [("a pipe for a configuration", "gateway.yaml"), ("a pipe for a key", "keys/primary")] {
        let generation = gateway.generation();
        let path = gateway.directory().join(file);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        refused(&gateway, what, generation, &status);
        mend(&gateway, file, &good, what);
    }
    assert!(gateway.metric("gateway_panics_total") < 0.5);
}

fn refused(gateway: &Gateway, what: &str, generation: f64, status: &dyn Fn() -> u16) {
    gateway.hangup();
    eventually(&format!("{what} is counted as a failed reload"), || {
        assert_eq!(status(), 200, "{what}");
        (gateway.metric("gateway_config_last_reload_successful") < 0.5).then_some(())
    });
    assert_eq!(status(), 200, "{what}: after the reload");
    assert!((gateway.generation() - generation).abs() < 0.5, "{what} brought a new generation");
}

fn mend(gateway: &Gateway, file: &str, good: &str, what: &str) {
    gateway.write(file, if file == "gateway.yaml" { good } else { KEY });
    gateway.hangup();
    eventually(&format!("after {what} all is well again"), || {
        (gateway.metric("gateway_config_last_reload_successful") > 0.5).then_some(())
    });
}

#[test]
fn a_hangup_takes_what_was_written() {
    let upstream = Upstream::ok();
    let directory = scratch();
    fs::create_dir(directory.path().join("keys")).unwrap();
    fs::write(directory.path().join("keys/primary"), KEY).unwrap();
    let gateway = Gateway::start_in(directory, &yaml(&upstream));
    assert_eq!(client::get(gateway.traffic(), "/b", &[]).status, 404);
    let public = "  b: {match: [{prefix: /b}], upstream: a, auth: {public: a test}}\n";
    gateway.configure(&format!("{}{public}", yaml(&upstream)));
    gateway.hangup();
    eventually("the new service answers", || (client::get(gateway.traffic(), "/b", &[]).status == 200).then_some(()));
    let hangups = gateway.metric("gateway_config_reloads_total{result=\"published\",trigger=\"signal\"}")
        + gateway.metric("gateway_config_reloads_total{result=\"unchanged\",trigger=\"signal\"}");
    assert!(hangups > 0.5, "the signal was heard:\n{}", gateway.metrics());
}
