//! Connections to upstreams: which are used again, which endpoint is chosen, and when a request is sent again.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use super::everything_to;
use super::get;
use super::in_front_of;
use super::wire::Script;
use super::wire::Wire;
use super::wire::answer_with_path;
use super::wire::ok;
use crate::support::eventually;
use crate::support::gateway::Gateway;

/// An address where nobody listens.
fn deserted() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn one_request_after_the_other_shares_one_upstream_connection() {
    let upstream = Script::play(answer_with_path);
    let gateway = in_front_of(upstream.at(), "");
    let mut client = Wire::connect(gateway.traffic());
    for n in 0..50 {
        assert_eq!(client.get(&format!("/{n}"), "").text(), format!("/{n}"));
    }
    for n in 50..60 {
        assert_eq!(get(&gateway, &format!("/{n}")).text(), format!("/{n}"));
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (60, 1));
}

#[test]
fn a_connection_that_the_upstream_closed_while_it_was_idle_costs_no_request() {
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.send(ok("once"));
    });
    let gateway = in_front_of(upstream.at(), "");
    let mut client = Wire::connect(gateway.traffic());
    for n in 1..=12 {
        assert_eq!(client.get("/", "").status(), 200, "request {n}");
        // What is still on its way through the network nobody can know: a request that crosses it is lost.
        let idle = r#"gateway_upstream_connections{state="idle",upstream="a"} 0"#;
        eventually("the gateway hears it", || gateway.metrics().contains(idle).then_some(()));
    }
    assert_eq!(upstream.requests().len(), 12);
}

#[test]
fn a_request_that_the_upstream_may_have_read_is_not_sent_again() {
    for (method, answers_before) in [("GET", 0), ("POST", 0), ("PUT", 0), ("GET", 3), ("POST", 3)] {
        let upstream = Script::play(move |mut scene| {
            for _ in 0..answers_before {
                scene.request().unwrap();
                scene.wire.send(ok(""));
            }
            scene.request().unwrap();
        });
        let gateway = in_front_of(upstream.at(), "");
        let mut client = Wire::connect(gateway.traffic());
        for _ in 0..answers_before {
            assert_eq!(client.call(method, "/", "", Some(b"body")).status(), 200);
        }
        let answer = client.call(method, "/", "", Some(b"body"));
        assert_eq!(answer.outcome(), (502, "upstream_closed".to_owned()), "{method} after {answers_before}");
        assert_eq!(upstream.requests().len(), answers_before + 1, "{method} after {answers_before}");
    }
}

#[test]
fn an_endpoint_where_nobody_listens_costs_no_request() {
    let upstream = Script::play(answer_with_path);
    let endpoints = format!("'http://{}', 'http://{}', 'http://{}'", deserted(), upstream.at(), deserted());
    let gateway = Gateway::start(&everything_to(endpoints, "", ""));
    for n in 0..60 {
        let answer = Wire::connect(gateway.traffic()).call("POST", "/", "", Some(b"a body"));
        assert_eq!(answer.status(), 200, "request {n}");
    }
    assert_eq!(upstream.requests().len(), 60);
    assert!(upstream.requests().iter().all(|request| request.body == b"a body"));
}

#[test]
fn endpoints_share_the_work() {
    let upstreams = [Script::play(answer_with_path), Script::play(answer_with_path)];
    let endpoints = format!("'http://{}', 'http://{}'", upstreams[0].at(), upstreams[1].at());
    let gateway = Gateway::start(&everything_to(endpoints, "", ""));
    for _ in 0..100 {
        assert_eq!(get(&gateway, "/").status(), 200);
    }
    // Fair coins: fewer than 20 of 100 come once in a billion times.
    for upstream in upstreams {
        assert!(upstream.requests().len() >= 20, "{} of 100", upstream.requests().len());
    }
}

#[test]
fn an_upstream_where_nobody_listens_is_502() {
    let gateway = in_front_of(deserted(), "");
    let answer = get(&gateway, "/");
    assert_eq!(answer.outcome(), (502, "upstream_unreachable".to_owned()));
    assert_eq!(answer.head.get("proxy-status"), Some("scoregate; error=connection_refused"));
}

#[test]
fn unix_sockets_are_spoken_in_and_out() {
    let directory = crate::support::gateway::scratch();
    let upstream = Script::play_on(&directory.path().join("model.sock"), answer_with_path);
    let listeners = "
listeners:
  traffic: [{address: 'unix:$DIR/traffic.sock'}]
  health: {address: $HEALTH}
";
    let yaml = format!("{listeners}{}", everything_to("'unix:$DIR/model.sock'", "", ""));
    let gateway = Gateway::start_in(directory, &yaml);
    let mut client = Wire::unix(UnixStream::connect(gateway.directory().join("traffic.sock")).unwrap());
    for path in ["/one", "/two"] {
        assert_eq!(client.get(path, "").text(), path);
    }
    let requests = upstream.requests();
    assert_eq!((requests.len(), upstream.connections()), (2, 1));
    assert_eq!(requests[0].head.get("x-forwarded-for"), Some("unknown"));
    assert_eq!(requests[0].head.get("host"), Some("stage"));
}
