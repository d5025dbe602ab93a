//! How long clients are waited for, and that nobody is let go who still moves.

use std::io::Write as _;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use scoregate::model::refusal::Denied;

use super::assert_refused;
use super::bearing;
use super::counted;
use super::upstream;
use crate::protocols::authority::Authority;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::support::upstream::Upstream;

const SECOND: Duration = Duration::from_secs(1);

/// Says that something took about as long as it should.
fn took<T>(least: Duration, what: &str, action: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = action();
    let took = begun.elapsed();
    assert!(took >= least && took < least + 3 * SECOND, "{what} took {took:?}, want about {least:?}");
    done
}

fn ended(gateway: &Gateway, reason: &str, count: f64) {
    eventually(reason, || (counted(gateway, "connections_closed_total", reason) == count).then_some(()));
}

#[test]
fn a_head_that_begins_and_does_not_end_is_408_however_many_bytes_drip_in() {
    let upstream = upstream();
    let gateway = bearing("timeouts: {head: 1s}", upstream.address(), "");
    thread::scope(|scope| {
        for (what, first, drip) in [
            ("half a line", "GET /op", ""),
            ("half a head", "GET /open HTTP/1.1\r\nhost: a\r\n", ""),
            ("a header every tenth of a second", "GET /open HTTP/1.1\r\nhost: a\r\n", "x: y\r\n"),
            ("half of HTTP/2's preface", "PRI * HTT", ""),
        ] {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = Client::connect(gateway.traffic());
                client.send(first);
                let begun = Instant::now();
                while !drip.is_empty() && begun.elapsed() < SECOND * 9 / 10 {
                    client.send(drip);
                    thread::sleep(SECOND / 10);
                }
                if first.starts_with("PRI") {
                    assert!(took(Duration::ZERO, what, || client.is_closed()), "{what}");
                    return;
                }
                let answer = took(Duration::ZERO, what, || client.answer());
                assert_refused(gateway, what, &answer, Denied::HeadTimeout);
                assert_eq!(answer.header("connection"), Some("close"), "{what}");
                assert!(client.is_closed(), "{what}");
            });
        }
    });
    assert!(counted(&gateway, "connections_closed_total", "head_timeout") >= 3.0);
    summary::report("limits/deadlines", Counts { cases: 4, passed: 4, refused: 4, ..Counts::default() });
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let upstream = upstream();
    let gateway = bearing("timeouts: {head: 1s, idle: 60s}", upstream.address(), "");
    let mut client = Client::connect(gateway.traffic());
    assert!(took(SECOND, "a silent client", || client.is_closed()));
    ended(&gateway, "idle", 1.0);
}

#[test]
fn an_idle_connection_is_closed_and_one_that_asks_now_and_then_is_not() {
    let upstream = upstream();
    let gateway = bearing("timeouts: {head: 60s, idle: 1s}", upstream.address(), "");
    let mut client = Client::connect(gateway.traffic());
    for _ in 0..5 {
        assert_eq!(client.request("GET", "/open", &[], b"").status, 200);
        thread::sleep(SECOND / 2);
    }
    assert_eq!(client.request("GET", "/open", &[], b"").status, 200);
    assert!(took(SECOND * 9 / 10, "an idle client", || client.is_closed()));
    ended(&gateway, "idle", 1.0);
}

#[test]
fn an_answer_that_lasts_longer_than_any_of_them_arrives_whole() {
    let upstream = Upstream::start(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n")?;
        (0..40).try_for_each(|_| {
            thread::sleep(SECOND / 10);
            stream.write_all(b"x")
        })
    });
    let gateway = bearing("timeouts: {head: 1s, idle: 1s, write: 1s, lifetime: 1s}", upstream.address(), "");
    let mut client = Client::connect(gateway.traffic());
    let answer = client.request("GET", "/open", &[], b"");
    assert_eq!((answer.status, answer.body.len()), (200, 40));
    assert!(client.is_closed(), "its life is over");
}

#[test]
fn a_body_that_is_sent_slowly_is_the_services_to_judge() {
    let upstream = upstream();
    let gateway = bearing("timeouts: {head: 1s, idle: 1s}", upstream.address(), "");
    let mut client = Client::connect(gateway.traffic());
    client.send("POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\n\r\n");
    for _ in 0..30 {
        thread::sleep(SECOND / 10);
        client.send("x");
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_connection_that_has_lived_long_enough_takes_no_further_request_and_loses_none() {
    let upstream = upstream();
    let gateway = bearing("timeouts: {lifetime: 2s}", upstream.address(), "");
    let mut client = Client::connect(gateway.traffic());
    let begun = Instant::now();
    let mut answers = 0;
    loop {
        let answer = client.request("GET", "/open", &[], b"");
        assert_eq!(answer.status, 200, "answer {answers}");
        answers += 1;
        if answer.header("connection") == Some("close") {
            break;
        }
        assert!(begun.elapsed() < 5 * SECOND, "{answers} answers");
        if begun.elapsed() > SECOND * 3 / 2 {
            continue;
        }
        thread::sleep(SECOND / 10);
    }
    assert!(begun.elapsed() > SECOND * 3 / 2 && client.is_closed());
}

#[test]
fn a_tls_handshake_that_does_not_end_is_given_up() {
    let (authority, upstream) = (Authority::new(), upstream());
    let directory = scratch();
    authority.certify("localhost").write(directory.path(), "server");
    let tls = "tls: {certificate: $DIR/server.crt, private_key: $DIR/server.key}, timeouts: {handshake: 1s}";
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
listeners:
  traffic: [{{address: $TRAFFIC, {tls}}}]
  health: {{address: $HEALTH}}
upstreams: {{a: {{endpoints: ['http://{}']}}}}
services: {{a: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}}}}}
",
            upstream.address()
        ),
    );
    for said in ["", "\x16\x03\x01"] {
        let mut client = Client::connect(gateway.traffic());
        client.send(said);
        assert!(took(SECOND, "a handshake", || client.is_closed()));
    }
    ended(&gateway, "handshake", 2.0);
    assert_eq!(counted(&gateway, "tls_handshake_failures_total", "timeout"), 2.0);
    summary::report("limits/deadlines", Counts { cases: 2, passed: 2, refused: 2, ..Counts::default() });
}
