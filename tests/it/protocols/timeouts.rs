//! How long is waited, for whom, and who is told.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::everything_to;
use super::get;
use super::in_front_of;
use super::wire::Script;
use super::wire::Wire;
use super::wire::ok;
use super::wire::request;
use crate::support::gateway::Gateway;

/// Says what an action took, which has to be at least `least` and not absurdly more.
fn took<T>(least: Duration, action: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = action();
    let took = begun.elapsed();
    assert!(took >= least && took < least + Duration::from_secs(5), "took {took:?}, want about {least:?}");
    done
}

const SHORT: Duration = Duration::from_millis(400);

#[test]
fn an_upstream_that_does_not_finish_the_handshake_is_504() {
    let upstream = Script::play(|mut scene| {
        scene.wire.drain();
    });
    let endpoint = format!("'https://{}'", upstream.at());
    let gateway = Gateway::start(&everything_to(endpoint, "", "timeouts: {connect: 400ms}"));
    let answer = took(SHORT, || get(&gateway, "/"));
    assert_eq!(answer.outcome(), (504, "upstream_connect_timeout".to_owned()));
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.drain();
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {response: 400ms}");
    let answer = took(SHORT, || Wire::connect(gateway.traffic()).call("POST", "/", "", Some(b"x")));
    assert_eq!(answer.outcome(), (504, "upstream_timeout".to_owned()));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn the_time_to_answer_begins_when_the_request_is_complete() {
    let upstream = Script::play(|mut scene| {
        while scene.request().is_some() {
            scene.wire.send(ok("late"));
        }
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {response: 400ms}");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("POST", "/", "content-length: 4\r\n", None));
    for byte in ["l", "a", "t", "e"] {
        thread::sleep(SHORT / 2);
        client.send(byte);
    }
    assert_eq!(client.answer_to("POST").text(), "late");
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_408() {
    let upstream = Script::play(|mut scene| {
        scene.wire.drain();
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {idle: 400ms}");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("POST", "/", "content-length: 10\r\n", None));
    client.send("hello");
    let answer = took(SHORT, || client.answer_to("POST"));
    assert_eq!(answer.outcome(), (408, "body_timeout".to_owned()));
}

#[test]
fn an_answer_that_stops_in_the_middle_is_cut_off() {
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        scene.wire.drain();
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {idle: 400ms}");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("GET", "/", "", None));
    client.head();
    assert_eq!(client.try_chunk().unwrap(), b"hello");
    took(SHORT / 2, || client.try_chunk().unwrap_err());
}

#[test]
fn an_exchange_that_takes_too_long_as_a_whole_ends() {
    let drip = |mut scene: super::wire::Scene| {
        let request = scene.request().unwrap();
        if request.head.line.starts_with("GET /body ") {
            scene.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while scene.wire.try_send("1\r\nx\r\n").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        scene.wire.drain();
    };
    let upstream = Script::play(drip);
    let gateway = in_front_of(upstream.at(), "timeouts: {total: 400ms}");
    let answer = took(SHORT, || get(&gateway, "/head"));
    assert_eq!(answer.outcome(), (504, "total_timeout".to_owned()));
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("GET", "/body", "", None));
    assert_eq!(client.head().status(), 200);
    took(SHORT / 2, || while client.try_chunk().is_ok() {});
}

#[test]
fn an_upstream_that_never_reads_the_body_does_not_hold_the_client_for_ever() {
    let upstream = Script::play(|mut scene| {
        scene.wire.head();
        thread::sleep(Duration::from_secs(15));
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {idle: 400ms, response: 400ms}");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("POST", "/", "content-length: 50000000\r\n", None));
    let piece = vec![b'x'; 64 * 1024];
    let written = (0..50_000_000 / piece.len()).take_while(|_| client.try_send(&piece).is_ok()).count();
    assert!(written < 50_000_000 / piece.len(), "all of it was taken");
}

#[test]
fn a_client_that_pauses_while_it_reads_loses_nothing() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        scene.wire.send(vec![b'x'; LENGTH]);
        scene.wire.drain();
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {idle: 400ms}");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("GET", "/", "", None));
    client.head();
    thread::sleep(SHORT / 2);
    assert_eq!(client.exactly(LENGTH).unwrap().len(), LENGTH);
}

#[test]
fn an_upstream_that_pauses_while_it_reads_is_not_the_clients_fault() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let upstream = Script::play(|mut scene| {
        scene.wire.head();
        thread::sleep(SHORT / 2);
        scene.wire.exactly(LENGTH).unwrap();
        scene.wire.send(ok("all"));
    });
    let gateway = in_front_of(upstream.at(), "timeouts: {idle: 400ms}");
    let answer = Wire::connect(gateway.traffic()).call("POST", "/", "", Some(&vec![b'x'; LENGTH]));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "all"));
}
