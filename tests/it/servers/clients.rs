//! curl and h2load as clients.

use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use super::BEARER;
use super::KEY;
use super::by_key;
use crate::protocols::authority::Authority;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

/// Runs curl; the body, then HTTP's version and the status in a line of their own.
fn curl(arguments: &[&str], body: Option<&[u8]>) -> String {
    let bearer = format!("{}: {}", BEARER.0, BEARER.1);
    let mut child = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--header", &bearer])
        .args(["--write-out", "\n%{http_version} %{http_code}"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed: `tests/run packages`");
    // Closed at once, which ends the body.
    child.stdin.take().unwrap().write_all(body.unwrap_or_default()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// An upstream that answers with the length of what it got.
fn measuring() -> Upstream {
    Upstream::start(|request, stream| respond(stream, 200, &[], request.body.len().to_string().as_bytes()))
}

#[test]
fn curl_is_served_in_every_version_that_it_speaks() {
    let upstream = measuring();
    let gateway = by_key("http", upstream.address(), "");
    let url = format!("http://{}/score", gateway.traffic());
    for (version, spoken) in [("--http1.0", "1.0"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let said = curl(&[version, "--data", "hello", &url], None);
        // HTTP/1.0 is answered in the highest version of its major one (RFC 9110 §6.2).
        let spoken =
            if spoken == "1.0" { said.split(['\n', ' ']).nth(1).unwrap().to_owned() } else { spoken.to_owned() };
        assert_eq!(said, format!("5\n{spoken} 200"), "{version}");
    }
    // Without prior knowledge curl asks for an upgrade to h2c, and is answered in HTTP/1.1.
    assert_eq!(curl(&["--http2", &url], None), "0\n1.1 200");
}

#[test]
fn curl_agrees_on_http2_over_tls() {
    let (authority, upstream, directory) = (Authority::new(), measuring(), scratch());
    authority.certify("localhost").write(directory.path(), "server");
    std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    std::fs::write(directory.path().join("key"), KEY).unwrap();
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
listeners:
  traffic: [{{address: $TRAFFIC, tls: {{certificate: $DIR/server.crt, private_key: $DIR/server.key}}}}]
  health: {{address: $HEALTH}}
upstreams: {{model: {{endpoints: ['{}']}}}}
services:
  model:
    match: [{{prefix: /}}]
    upstream: model
    auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/key'}}}}}}}}
",
            upstream.url()
        ),
    );
    let ca = gateway.directory().join("ca.crt");
    let url = format!("https://localhost:{}/", gateway.traffic().port());
    for (version, spoken) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let said = curl(&["--ipv4", "--cacert", ca.to_str().unwrap(), version, "--data", "hello", &url], None);
        assert_eq!(said, format!("5\n{spoken} 200"), "{version}");
    }
}

#[test]
fn curl_is_told_to_continue_with_a_large_body() {
    let upstream = measuring();
    let gateway = by_key("http", upstream.address(), "");
    let body = vec![b'x'; 5_000_000];
    let url = format!("http://{}/score", gateway.traffic());
    // Longer than curl would wait: without 100 Continue this takes a minute, and curl gives up before.
    let expect = ["--expect100-timeout", "60", "--header", "expect: 100-continue", "--data-binary", "@-"];
    let arguments: Vec<&str> = expect.into_iter().chain(["--http1.1", &url]).collect();
    assert_eq!(curl(&arguments, Some(&body)), "5000000\n1.1 200");
    assert_eq!(upstream.last().header("expect"), None);
}

#[test]
fn curl_keeps_its_large_body_when_the_key_is_wrong() {
    let upstream = measuring();
    let gateway = by_key("http", upstream.address(), "");
    let url = format!("http://{}/score", gateway.traffic());
    let body = vec![b'x'; 5_000_000];
    let arguments = ["--expect100-timeout", "60", "--header", "expect: 100-continue", "--data-binary", "@-"];
    let wrong = ["--header", "ocp-apim-subscription-key: another", "--output", "/dev/null"];
    let uploaded = ["--write-out", " %{size_upload}", "--http1.1", &url];
    let all: Vec<&str> = arguments.into_iter().chain(wrong).chain(uploaded).collect();
    assert_eq!(curl(&all, Some(&body)), " 0");
    assert!(upstream.received().is_empty());
}

#[test]
fn h2load_is_answered_every_time() {
    let upstream = measuring();
    let gateway = by_key("http", upstream.address(), "");
    let bearer = format!("{}: {}", BEARER.0, BEARER.1);
    let url = format!("http://{}/score", gateway.traffic());
    for protocol in ["h2c", "http/1.1"] {
        let streams = if protocol == "h2c" { "32" } else { "1" };
        let output = Command::new("h2load")
            .args(["--clients=10", "--requests=4000", "--max-concurrent-streams", streams])
            .args(["--no-tls-proto", protocol, "--header", &bearer, &url])
            .output()
            .expect("h2load is installed: `tests/run packages`");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{protocol}: {said}");
        assert!(said.contains("0 failed, 0 errored, 0 timeout"), "{protocol}: {said}");
    }
    assert_eq!(upstream.received().len(), 8000);
}
