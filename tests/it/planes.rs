//! The management and health planes as strangers find them: silent, many, in a browser, in plain text; and what is left
//! of a process that crashes.

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::support::client;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::gateway::free_address;
use super::support::summary;
use super::support::summary::Counts;
use super::support::upstream::Upstream;

const NOTHING: &str = "upstreams: {}\nservices: {}\n";

fn report(cases: u64, refused: u64) {
    summary::report("planes", Counts { cases, passed: cases, refused, ..Counts::default() });
}

/// A connection that hears an answer, or the end, within 20 s.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn who_says_nothing_or_stops_in_the_middle_is_let_go() {
    let gateway = Gateway::start(NOTHING);
    thread::scope(|scope| {
        for plane in [gateway.management(), gateway.health()] {
            for said in ["", "P", "PRI * HTTP/2.0\r\n", "GET /livez HT", "GET /livez HTTP/1.1\r\nhost: a\r\n"] {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let mut stream = connect(plane);
                    stream.write_all(said.as_bytes()).unwrap();
                    let mut heard = Vec::new();
                    let ended = stream.read_to_end(&mut heard);
                    assert!(ended.is_ok() && begun.elapsed() < Duration::from_secs(15), "{said:?}: {ended:?}");
                    assert!(!heard.starts_with(b"HTTP/1.1 2"), "{said:?}");
                });
            }
        }
    });
    report(10, 10);
}

#[test]
fn more_connections_than_a_plane_has_places_for_are_closed_and_those_that_were_there_stay() {
    let gateway = Gateway::start(NOTHING);
    let mut there = connect(gateway.health());
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let mut heard = [0; 15];
        stream.read_exact(&mut heard).map(|()| heard)
    };
    let rest = |stream: &mut TcpStream| stream.read(&mut [0; 1000]).unwrap();
    assert_eq!(&ask(&mut there).unwrap(), b"HTTP/1.1 200 OK");
    rest(&mut there);
    let mut strangers: Vec<TcpStream> = (0..400).map(|_| connect(gateway.health())).collect();
    let closed = strangers.iter_mut().rev().take(100).filter_map(|stream| ask(stream).err()).count();
    assert_eq!(closed, 100, "of the hundred that came last");
    assert_eq!(&ask(&mut there).unwrap(), b"HTTP/1.1 200 OK");
    drop(strangers);
    eventually("there is room again", || ask(&mut connect(gateway.health())).ok());
    assert_eq!(client::get(gateway.management(), "/api/v1/openapi.yaml", &[]).status, 200, "the other plane");
    report(101, 100);
}

#[test]
fn a_page_in_a_browser_can_neither_ask_nor_read() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(&format!(
        "upstreams: {{a: {{endpoints: ['http://{}']}}}}\nservices: {{a: {{match: [{{prefix: /a}}], upstream: a, auth: {{key: {{}}}}}}}}\n",
        upstream.address()
    ));
    let origin = ("origin", "https://evil.example");
    let asks = [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    for (plane, path) in [
        (gateway.management(), "/api/v1/accounts"),
        (gateway.management(), "/modelmanagement/v1.0/subscriptions"),
        (gateway.management(), "/.well-known/jwks.json"),
        (gateway.health(), "/metrics"),
        (gateway.traffic(), "/a"),
    ] {
        let preflight = client::request(plane, "OPTIONS", path, &asks, b"");
        // What a form or an image can send without asking first.
        let form = [origin, ("content-type", "text/plain")];
        let sent = client::request(plane, "POST", path, &form, b"{\"name\":\"a\"}");
        let got = client::get(plane, path, &[origin]);
        assert!(preflight.status >= 400 && sent.status >= 400, "{path}: {} {}", preflight.status, sent.status);
        for answer in [preflight, sent, got] {
            let told: Vec<_> = answer.headers.iter().filter(|(name, _)| name.starts_with("access-control")).collect();
            assert!(told.is_empty(), "{path}: {told:?}");
            assert!(answer.header("set-cookie").is_none(), "{path}: nothing that a browser would send by itself");
        }
    }
    assert!(upstream.received().is_empty(), "a preflight without a credential goes no further");
    report(15, 10);
}

#[test]
fn a_management_listener_that_has_lost_its_certificate_speaks_no_plain_text() {
    let gateway = Gateway::start(NOTHING);
    let elsewhere = free_address();
    let tls = "{certificate: $DIR/no.crt, private_key: $DIR/no.key}";
    gateway.configure(&format!(
        "listeners:\n  traffic: [{{address: $TRAFFIC}}]\n  management: {{address: '{elsewhere}', tls: {tls}}}\n  \
         health: {{address: $HEALTH}}\n{NOTHING}"
    ));
    gateway.hangup();
    eventually("the change is taken or refused", || {
        let said = |line: &serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.contains("the change was refused") || line["address"] == elsewhere.to_string()
        };
        gateway.log().iter().any(said).then_some(())
    });
    if let Ok(mut stream) = TcpStream::connect(elsewhere) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard));
        assert!(heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
    }
    report(1, 1);
}

#[test]
fn a_crash_leaves_no_core_file_with_keys_in_it() {
    let mut gateway = Gateway::start(NOTHING);
    let id = gateway.id().to_string();
    let told = Command::new("prlimit").args(["--pid", &id, "--core=unlimited:unlimited"]).status();
    assert!(told.is_ok_and(|status| status.success()), "prlimit, of util-linux");
    gateway.signal("ABRT");
    let ended = gateway.wait();
    assert!(ended.signal() == Some(6) && !ended.core_dumped(), "{ended}");
    report(1, 0);
}
