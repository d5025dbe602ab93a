//! `scoregate prove rotation`: what it proves on a gateway that keeps its word, and that it notices one that does not.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::PROGRAM;
use crate::support::gateway::Ran;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

fn yaml(upstream: &Upstream) -> String {
    format!(
        "
access_log: off
upstreams: {{model: {{endpoints: ['{}']}}}}
accounts:
  contoso: {{resource: /a/contoso}}
services:
  iris: {{upstream: model, auth: {{key: {{}}}}}}
  open: {{match: [{{prefix: /open}}], upstream: model, auth: {{public: a test}}}}
  face: {{match: [{{prefix: /face}}], upstream: model, auth: {{key: {{keys: none, accounts: [contoso]}}}}}}
",
        upstream.url()
    )
}

/// `/api/v1/service/iris/events` goes on as long as the connection does, everything else is answered.
fn model() -> Upstream {
    Upstream::start(|request, stream| {
        if !request.target.ends_with("/events") {
            return respond(stream, 200, &[], b"ok");
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"5\r\nevent\r\n")?;
            thread::sleep(Duration::from_millis(20));
        }
    })
}

fn prove(gateway: &Gateway, target: SocketAddr, arguments: &[&str]) -> Ran {
    let output = Command::new(PROGRAM)
        .args(["prove", "rotation", "--target", &format!("http://{target}")])
        .args(arguments)
        .env("SCOREGATE_MANAGEMENT", format!("http://{}", gateway.management()))
        .env("SCOREGATE_MANAGEMENT_KEY_FILE", gateway.directory().join("store/management.key"))
        .current_dir(gateway.directory())
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Ran { code: output.status.code(), stdout, stderr }
}

fn keys(gateway: &Gateway, owner: &str) -> [String; 2] {
    let key = fs::read_to_string(gateway.directory().join("store/management.key")).unwrap();
    let headers = [("authorization", &*format!("Bearer {}", key.trim()))];
    let listed = client::post(gateway.management(), &format!("/api/v1/{owner}/keys/list"), &headers, "{}").json();
    ["primaryKey", "secondaryKey"].map(|name| listed[name].as_str().unwrap().to_owned())
}

fn report(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn rotation_is_proven_on_a_gateway_that_keeps_its_word_and_leaves_a_report() {
    let upstream = model();
    let gateway = Gateway::start(&yaml(&upstream));
    let before = keys(&gateway, "services/iris");
    gateway.write("row.json", "{}");
    let ran = prove(
        &gateway,
        gateway.traffic(),
        &[
            "iris",
            "--yes",
            "--rotations",
            "10",
            "--pause",
            "100ms",
            "--body",
            "row.json",
            "--report",
            "kept.json",
            "--stream",
            "/api/v1/service/iris/events",
        ],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("\nPROVEN\n"), "{}", ran.stdout);
    let report = report(&gateway.directory().join("kept.json"));
    assert_eq!(report["isProven"], true, "{report:#}");
    assert_eq!(report["problems"], Value::Array(Vec::new()), "{report:#}");
    for (pointer, want) in [
        ("/rotations/asked", 10),
        ("/rotations/done", 10),
        ("/rotations/oldKeyAccepted", 0),
        ("/rotations/newKeyRefused", 0),
        ("/requests/failed", 0),
        ("/connections/opened", 8),
        ("/connections/closedByGateway", 0),
        ("/streams/opened", 1),
        ("/streams/endedEarly", 0),
    ] {
        assert_eq!(report.pointer(pointer), Some(&Value::from(want)), "{pointer} in {report:#}");
    }
    assert!(report["requests"]["sent"].as_u64().unwrap() > 30, "{report:#}");
    assert!(report["rotations"]["oldKeyRefusedAfter"]["longestMs"].as_f64().unwrap() < 1000.0, "{report:#}");
    let generations = ["/gateway/generation", "/generationAfter"].map(|at| report.pointer(at).and_then(Value::as_u64));
    assert_eq!(generations[1], generations[0].map(|before| before + 10), "{report:#}");
    let after = keys(&gateway, "services/iris");
    assert_eq!(after[0], before[0], "the other slot is as it was");
    assert_ne!(after[1], before[1]);
    let said = format!("{}{}{report}", ran.stdout, ran.stderr);
    for key in before.iter().chain(&after) {
        assert!(!said.contains(key), "no key is in the report");
    }
    assert_eq!(upstream.last().header("authorization"), None);
    let sent = report["requests"]["sent"].as_u64().unwrap();
    summary::report("faults/prove", Counts { cases: 1, passed: 1, faults: 10, sent, ..Counts::default() });
}

#[test]
fn rotation_of_an_account_is_proven_with_its_own_header() {
    let upstream = model();
    let gateway = Gateway::start(&yaml(&upstream));
    let before = keys(&gateway, "accounts/contoso");
    let ran = prove(
        &gateway,
        gateway.traffic(),
        &["accounts/contoso", "--slot", "primary", "--yes", "--path", "/face/detect", "--rotations", "3", "--json"],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["isProven"], &report["owner"]), (&true.into(), &"accounts/contoso".into()), "{report:#}");
    let after = keys(&gateway, "accounts/contoso");
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1], "the other slot is as it was");
}

#[test]
fn nothing_is_changed_without_consent_or_before_the_call_is_known_to_tell_keys_apart() {
    let upstream = model();
    let gateway = Gateway::start(&yaml(&upstream));
    let before = ["services/iris", "accounts/contoso"].map(|owner| keys(&gateway, owner));
    let nobody = crate::support::gateway::free_address();
    for (target, arguments, code, want) in [
        (gateway.traffic(), &["iris"][..], 2, "--yes"),
        (gateway.traffic(), &["iris", "--require-idle", "1h"], 1, "was not used for the"),
        (gateway.traffic(), &["iris", "--yes", "--path", "/open"], 1, "accepts a key of nobody"),
        (gateway.traffic(), &["iris", "--yes", "--path", "/elsewhere"], 1, "404"),
        (gateway.traffic(), &["iris", "--yes", "--key-header", "x-else"], 1, "401"),
        (gateway.traffic(), &["accounts/contoso", "--yes"], 1, "want --path"),
        (gateway.traffic(), &["nobody", "--yes"], 1, "404"),
        (gateway.traffic(), &["iris", "--yes", "--report", "/no/such/directory/x"], 1, "cannot be used"),
        (nobody, &["iris", "--yes"], 1, "no connection"),
    ] {
        let ran = prove(&gateway, target, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && ran.stderr.contains(want), "{arguments:?}: want {want} in {ran:?}");
    }
    assert_eq!(["services/iris", "accounts/contoso"].map(|owner| keys(&gateway, owner)), before);
}

/// Stands in front of a gateway and breaks its word in one way.
fn front(gateway: SocketAddr, breaks: Breaks) -> Upstream {
    Upstream::start(move |request, stream| {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client::request(gateway, &request.method, &request.target, &headers, &request.body);
        match breaks(request.connection, answer.status) {
            Breach::None => respond(stream, answer.status, &[], &answer.body),
            Breach::Status(status) => respond(stream, status, &[], b""),
            Breach::Close => Err(std::io::ErrorKind::ConnectionAborted.into()),
        }
    })
}

/// By the number of the connection, from 0, and the status of the gateway.
type Breaks = fn(usize, u16) -> Breach;

enum Breach {
    None,
    Status(u16),
    Close,
}

#[test]
fn a_target_that_breaks_its_word_is_found_out() {
    // The first two connections are for the check before: the breaches begin with the callers.
    let cases: [(&str, Breaks, &str); 3] = [
        ("a caller is refused", |at, _| if at == 3 { Breach::Status(503) } else { Breach::None }, "requests failed"),
        ("a connection is closed", |at, _| if at == 3 { Breach::Close } else { Breach::None }, "closed by the gateway"),
        (
            "an old key goes on",
            |at, status| if at > 8 && status == 401 { Breach::Status(200) } else { Breach::None },
            "an old key were accepted",
        ),
    ];
    let upstream = model();
    let gateway = Gateway::start(&yaml(&upstream));
    for (name, breaks, want) in cases {
        let front = front(gateway.traffic(), breaks);
        let ran = prove(&gateway, front.address(), &["iris", "--yes", "--rotations", "2", "--duration", "3s"]);
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert!(ran.stdout.contains("NOT PROVEN") && ran.stdout.contains(want), "{name}: {ran:?}");
    }
}
