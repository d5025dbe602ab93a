//! No descriptor left (R25), and little memory (R30): who is connected is served, others wait, and all is well again after.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::stage::Stage;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::scratch;
use crate::support::summary;

#[test]
fn at_the_limit_of_descriptors_callers_are_served_and_afterwards_everybody_is() {
    let stage = Stage::start_under(&["prlimit", "--nofile=160:160"], scratch(), "access_log: off\n");
    let gateway = &stage.gateway;
    let load = stage.load();
    load.go_on(500);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    for round in 0..3 {
        let idle: Vec<TcpStream> = (0..220).map(|_| TcpStream::connect(gateway.traffic()).unwrap()).collect();
        eventually("no descriptor is left", || (open() >= 155).then_some(()));
        load.go_on(300);
        drop(idle);
        eventually("descriptors are given back", || (open() < 120).then_some(()));
        let mut client = eventually("new connections are taken", || Client::try_connect(gateway.traffic()));
        let bearer = format!("Bearer {}", stage.steady[0]);
        assert_eq!(client.request("GET", "/s/one", &[("authorization", &bearer)], b"").status, 200, "round {round}");
    }
    let log = gateway.log();
    let told = log.iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").count();
    assert!((1..20).contains(&told), "{told} lines about it:\n{log:#?}");
    let seen = load.finish();
    seen.assert_undisturbed();
    summary::report("faults/descriptors", seen.counts(3));
}

/// 400 MiB of address space; the process has some 250 when it idles, threads' stacks among them.
const ADDRESS_SPACE: &str = "--as=536870912";

#[test]
fn in_little_memory_floods_of_bodies_and_headers_cost_nobody_else_a_request() {
    let stage = Stage::start_under(&["prlimit", ADDRESS_SPACE], scratch(), "access_log: off\n");
    let gateway = &stage.gateway;
    let load = stage.load();
    load.go_on(200);
    let bearer = format!("Bearer {}", stage.steady[0]);
    let mut open = Vec::new();
    for number in 0..150 {
        let mut client = Client::connect(gateway.traffic());
        let long = "x".repeat(15_000);
        let headers = [("authorization", bearer.as_str()), ("x-long", long.as_str()), ("content-length", "1000000")];
        // A body that never ends, and for each other one a head that does not.
        let head = crate::support::client::head("POST", "/s/score", &headers, b"");
        let ends = number % 2 == 0;
        client.send(if ends { head.as_str() } else { head.trim_end() });
        client.send(if ends { "y".repeat(200_000) } else { String::new() });
        open.push(client);
    }
    load.go_on(500);
    drop(open);
    thread::sleep(Duration::from_millis(200));
    load.go_on(100);
    let seen = load.finish();
    seen.assert_undisturbed();
    assert!(gateway.metric("gateway_panics_total") < 0.5);
    summary::report("faults/memory", seen.counts(150));
}
