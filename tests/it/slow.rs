//! Clients that take their time, `R25` of the threat model: those that only pretend to speak are sent away, those that
//! are slow are waited for, and nobody else notices either.

use std::process::Command;

use crate::http2::gateway;
use crate::protocols::wire::Script;
use crate::protocols::wire::ok;
use crate::support::neighbour::Calls;
use crate::support::neighbour::Neighbour;
use crate::support::summary;
use crate::support::summary::Counts;

/// Connections of each kind, and how long they are kept up.
const ATTACKERS: &str = "150";
const SECONDS: &str = "6";

#[test]
fn slowhttptest_keeps_nobody_else_from_an_answer() {
    const LENGTH: usize = 512 * 1024;
    let upstream = Script::play(|mut scene| {
        while let Some(request) = scene.request() {
            let path = request.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = if path == "/large" { "x".repeat(LENGTH) } else { path };
            if scene.wire.try_send(ok(&body)).is_err() {
                return;
            }
        }
    });
    let gateway = gateway(upstream.at());
    let neighbour = Neighbour::start(gateway.traffic());
    let url = |path: &str| format!("http://{}{path}", gateway.traffic());
    let kinds = [
        ("headers", "-H -i 1 -x 24 -t GET", url("/")),
        ("body", "-B -i 1 -s 8192 -x 10 -t POST", url("/")),
        ("read", "-X -w 1 -y 64 -n 1 -z 16 -k 1 -t GET", url("/large")),
    ];
    let attacks = kinds.map(|(what, arguments, url)| {
        let child = Command::new("slowhttptest")
            .args(arguments.split(' '))
            .args(["-c", ATTACKERS, "-r", ATTACKERS, "-p", "3", "-l", SECONDS, "-u", &url])
            .env("TERM", "dumb")
            .stdout(std::process::Stdio::piped())
            .spawn();
        (what, child.expect("slowhttptest is installed: `tests/run packages`"))
    });
    let mut failures = Vec::new();
    for (what, child) in attacks {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = said.rsplit("service available:").next().unwrap_or_default();
        if !said.contains("service available:") || !last.contains("YES") {
            failures.push(format!("slow {what}: {said}"));
        }
    }
    let calls = neighbour.stop();
    if !calls.are_fine() {
        failures.push(format!("the neighbour: {calls:?}"));
    }
    let passed = 3_u64.saturating_sub(failures.len() as u64);
    let Calls { sent, failed, slowest: _ } = calls;
    summary::report("slow/slowhttptest", Counts { cases: 3, passed, faults: 450, sent, failed, ..Counts::default() });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
