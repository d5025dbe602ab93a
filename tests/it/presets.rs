//! `preset`: which calls of a model server pass, and that no others reach it. `tests/presets/calls.yaml` lists them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::run;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const CALLS: &str = include_str!("../presets/calls.yaml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    passes: Vec<String>,
    stays_out: Vec<String>,
}

fn yaml(upstream: &Upstream, preset: &str) -> String {
    format!(
        "
access_log: off
upstreams: {{model: {{endpoints: ['{}']}}}}
services:
  usual: {{preset: {preset}, upstream: model, auth: {{public: a test}}}}
  root: {{preset: {preset}, match: [{{host: root.test}}], upstream: model, auth: {{public: a test}}}}
  below: {{preset: {preset}, match: [{{prefix: /a/b}}], strip_prefix: /a/b, upstream: model, auth: {{public: a test}}}}
",
        upstream.url()
    )
}

#[test]
fn a_preset_lets_its_calls_pass_and_keeps_every_other_from_the_model_server() {
    let calls: BTreeMap<String, Calls> = serde_yaml::from_str(CALLS).unwrap();
    assert_eq!(calls.len(), 5);
    for (preset, Calls { passes, stays_out }) in calls {
        let upstream = Upstream::ok();
        let gateway = Gateway::start(&yaml(&upstream, &preset));
        let send = |call: &str, host: &str, below: &str| {
            let (method, path) = call.split_once(' ').unwrap();
            let target = format!("{below}{path}");
            client::request(gateway.traffic(), method, &target, &[("host", host)], b"").status
        };
        let places = [("root.test", ""), ("any.test", "/a/b"), ("any.test", "/api/v1/service/usual")];
        let mut sent = Vec::new();
        for call in &passes {
            for (host, below) in places {
                assert_eq!(send(call, host, below), 200, "{preset}: {call} at {host}{below}");
                sent.push(call.clone());
            }
        }
        let received = upstream.received();
        let got: Vec<String> = received.iter().map(|got| format!("{} {}", got.method, got.target)).collect();
        assert_eq!(got, sent, "{preset}: the upstream sees the path without what was stripped");
        for call in &stays_out {
            for (host, below) in places {
                let status = send(call, host, below);
                assert!(matches!(status, 400 | 404 | 405), "{preset}: {call} at {host}{below} got {status}");
            }
        }
        assert_eq!(upstream.received().len(), sent.len(), "{preset}: nothing else was sent on");
    }
}

#[test]
fn every_example_of_a_model_server_passes_check() {
    let examples = std::fs::read_dir("deploy/examples").unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = examples.map(|example| example.join("gateway.yaml")).filter(|file| file.is_file()).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let ran = run(scratch().path(), &["check", "--without-files", file.canonicalize().unwrap().to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{}: {}{}", file.display(), ran.stdout, ran.stderr);
    }
}
