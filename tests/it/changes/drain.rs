//! SIGTERM: readiness falls first, what was accepted is answered, and the process leaves in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

fn yaml(upstream: &Upstream, shutdown: &str) -> String {
    format!(
        "
access_log: off
shutdown: {shutdown}
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services: {{a: {{match: [{{prefix: /a}}], upstream: a, auth: {{public: a test}}}}}}
",
        upstream.url()
    )
}

#[test]
fn no_accepted_request_fails_and_readiness_falls_first() {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_millis(20));
        respond(stream, 200, &[], b"ok")
    });
    let mut gateway = Gateway::start(&yaml(&upstream, "{delay: 700ms, deadline: 5s}"));
    assert_eq!(client::get(gateway.health(), "/readyz", &[]).status, 200);
    let told = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (told, address) = (Arc::clone(&told), gateway.traffic());
            thread::spawn(move || load(address, &told))
        })
        .collect();
    eventually("the load has begun", || (upstream.received().len() > 100).then_some(()));
    told.store(true, Ordering::Relaxed);
    gateway.terminate();
    let health = gateway.health();
    eventually("readiness falls", || (client::get(health, "/readyz", &[]).status == 503).then_some(()));
    assert_eq!(client::get(health, "/livez", &[]).status, 200, "it still lives");
    let during = client::get(gateway.traffic(), "/a", &[]);
    assert_eq!(during.status, 200, "connections are accepted for the delay");
    assert_eq!(during.header("connection"), Some("close"), "and told to go elsewhere");
    let status = gateway.wait();
    assert_eq!(status.code(), Some(0));
    let answered: usize = callers.into_iter().map(|caller| caller.join().expect("no request failed")).sum();
    assert!(answered > 100, "{answered} requests");
}

/// Sends until the gateway has gone. A connection may be closed between two requests, after an answer that says so; a
/// connection that is made may not be.
fn load(address: std::net::SocketAddr, told: &AtomicBool) -> usize {
    let mut answered = 0;
    loop {
        // Once told, the listener may be closed at any moment.
        if told.load(Ordering::Relaxed) && std::net::TcpStream::connect(address).is_err() {
            return answered;
        }
        let Some(mut connection) = Client::try_connect(address) else {
            assert!(told.load(Ordering::Relaxed), "a connection was refused");
            return answered;
        };
        loop {
            let answer = connection.request("GET", "/a", &[], b"");
            assert_eq!(answer.status, 200);
            answered += 1;
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    }
}

#[test]
fn a_stream_that_is_held_open_ends_at_the_deadline() {
    let upstream = Upstream::start(|_, stream| {
        std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    let mut gateway = Gateway::start(&yaml(&upstream, "{delay: 0s, deadline: 1s}"));
    let mut client = Client::connect(gateway.traffic());
    client.send(client::head("GET", "/a", &[], b""));
    assert_eq!(client.answer_head().status, 200);
    assert_eq!(client.chunk().as_deref(), Some(&b"first"[..]));
    let began = Instant::now();
    gateway.terminate();
    assert!(client.is_closed(), "the stream is cut, not ended as if it were whole");
    assert_eq!(gateway.wait().code(), Some(0));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn an_idle_connection_does_not_hold_the_process() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(&yaml(&upstream, "{delay: 0s, deadline: 15s}"));
    let mut idle = Client::connect(gateway.traffic());
    assert_eq!(idle.request("GET", "/a", &[], b"").status, 200);
    let mut silent = Client::connect(gateway.traffic());
    let began = Instant::now();
    gateway.terminate();
    assert!(idle.is_closed() && silent.is_closed());
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
