//! Clients that take their time, `R25` of the threat model: those that only pretend to speak are sent away, those that
//! are slow are waited for, and nobody else notices either.

use std::any::Any;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::ops::Range;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::http2::gateway;
use crate::http2::wire;
use crate::http2::wire::Http2;
use crate::protocols::authority::Authority;
use crate::protocols::authority::connect;
use crate::protocols::wire::Script;
use crate::protocols::wire::Wire;
use crate::protocols::wire::answer_with_path;
use crate::protocols::wire::ok;
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
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

/// A gateway that waits a second for whatever a client owes it, with this on its listener and its service.
fn impatient(directory: TempDir, upstream: SocketAddr, listener: &str, service: &str) -> Gateway {
    let yaml = format!(
        "
listeners:
  traffic: [{{address: $TRAFFIC, timeouts: {{handshake: 1s, head: 1s, idle: 1s, write: 1s}}{listener}}}]
  health: {{address: $HEALTH}}
workers: 1
upstreams: {{a: {{endpoints: ['http://{upstream}']}}}}
services: {{a: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}{service}}}}}
"
    );
    Gateway::start_in(directory, &yaml)
}

/// The same with TLS.
fn impatient_over_tls(authority: &Authority, upstream: SocketAddr) -> Gateway {
    let directory = scratch();
    authority.certify("localhost").write(directory.path(), "server");
    let tls = ", tls: {certificate: $DIR/server.crt, private_key: $DIR/server.key}";
    impatient(directory, upstream, tls, "")
}

/// How long a deadline of a second may take: it is looked at now and then, HTTP/2 says goodbye, and the machine is shared.
const A_SECOND: Range<f64> = 0.7..8.0;

/// Waits until the gateway closes, and says how long that took; what it says before counts for nothing.
fn closed_after(mut stream: TcpStream, bytes: &[u8]) -> f64 {
    let begun = Instant::now();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    // A reset is an end as well.
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    begun.elapsed().as_secs_f64()
}

#[test]
fn whoever_does_not_come_to_the_point_is_sent_away() {
    let upstream = Script::play(answer_with_path);
    let gateway = impatient(scratch(), upstream.at(), "", "");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = "\0\0\0\x04\0\0\0\0\0";
    let kinds = [
        ("nothing", String::new()),
        ("half a request line", "GET /slo".to_owned()),
        ("half a head", "GET / HTTP/1.1\r\nhost: stage\r\nx-half: ".to_owned()),
        ("a request, then nothing", "GET / HTTP/1.1\r\nhost: stage\r\n\r\n".to_owned()),
        ("a request, then half of another", "GET / HTTP/1.1\r\nhost: stage\r\n\r\nGET /".to_owned()),
        ("half a preface", "PRI * HTTP/2".to_owned()),
        ("a preface, then nothing", preface.to_owned()),
        ("settings, then nothing", format!("{preface}{settings}")),
        ("half a frame", format!("{preface}{settings}\0\0\x10\x01\x04")),
        ("half a header block", format!("{preface}{settings}\0\0\x01\x01\x01\0\0\0\x01\x02")),
    ];
    let neighbour = Neighbour::start(gateway.traffic());
    let waiting = kinds.clone().map(|(_, bytes)| {
        let stream = TcpStream::connect(gateway.traffic()).unwrap();
        thread::spawn(move || closed_after(stream, bytes.as_bytes()))
    });
    let took = waiting.map(|waiting| waiting.join().unwrap());
    let calls = neighbour.stop();
    let late: Vec<_> = kinds.iter().zip(took).filter(|(_, took)| !A_SECOND.contains(took)).collect();
    let cases = kinds.len() as u64;
    let passed = cases - late.len() as u64;
    let Calls { sent, failed, slowest: _ } = calls;
    summary::report("slow/silent", Counts { cases, passed, refused: passed, sent, failed, ..Counts::default() });
    assert!(late.is_empty(), "closed after so many seconds: {late:?}");
    assert!(calls.are_fine(), "{calls:?}");
}

#[test]
fn whoever_agrees_on_http2_has_to_speak_it() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = impatient_over_tls(&authority, upstream.at());
    let begun = Instant::now();
    let (mut wire, agreed) = connect(gateway.traffic(), authority.client(&["h2"], None)).unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    wire.drain();
    let took = begun.elapsed().as_secs_f64();
    assert!(A_SECOND.contains(&took), "closed after {took} s");
}

/// An upstream whose answers are too large for any buffer, and the moment when each could not be sent to its end.
fn endless() -> (Script, mpsc::Receiver<Instant>) {
    let (broken, told) = mpsc::channel();
    let broken = Mutex::new(broken);
    let upstream = Script::play(move |mut scene| {
        scene.request().unwrap();
        scene.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let piece = [b'x'; 64 * 1024];
        while scene.wire.try_send(piece).is_ok() {}
        broken.lock().unwrap().send(Instant::now()).unwrap();
    });
    (upstream, told)
}

#[test]
fn whoever_does_not_read_its_answer_loses_it() {
    let authority = Authority::new();
    let request = "GET / HTTP/1.1\r\nhost: stage\r\n\r\n";
    // A window as large as can be, so that it is the socket that has no room; and none at all.
    let wide = [(4, 0x7fff_ffff)];
    let get = wire::frame(wire::HEADERS, wire::END_STREAM | wire::END_HEADERS, 1, &wire::request("GET", "/"));
    let widen = wire::frame(wire::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    let mut passed = 0;
    for (what, room) in
        [("HTTP/1", A_SECOND), ("HTTP/1 over TLS", A_SECOND), ("HTTP/2", A_SECOND), ("a stream", 4.5..15.0)]
    {
        let (upstream, told) = endless();
        let over_tls = what.ends_with("TLS");
        let gateway = if over_tls {
            impatient_over_tls(&authority, upstream.at())
        } else {
            impatient(scratch(), upstream.at(), "", "")
        };
        let begun = Instant::now();
        let _held: Box<dyn Any> = match what {
            "HTTP/2" => {
                let mut client = Http2::connect(gateway.traffic(), &wide);
                client.send([widen.clone(), get.clone()].concat()).unwrap();
                Box::new(client)
            }
            "a stream" => {
                let mut client = Http2::connect(gateway.traffic(), &[(4, 0)]);
                client.send(&get).unwrap();
                Box::new(client)
            }
            _ => {
                let client = authority.client(&[], None);
                let mut wire = if over_tls {
                    connect(gateway.traffic(), client).unwrap().0
                } else {
                    Wire::connect(gateway.traffic())
                };
                wire.send(request);
                Box::new(wire)
            }
        };
        let took = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: it is kept")) - begun;
        assert!(room.contains(&took.as_secs_f64()), "{what}: given up after {took:?}");
        eventually(what, || (gateway.metric("gateway_http_requests_in_flight{service=\"a\"}") == 0.0).then_some(()));
        passed += 1;
    }
    summary::report("slow/readers", Counts { cases: 4, passed, refused: passed, ..Counts::default() });
}

#[test]
fn whoever_reads_slowly_gets_all_of_its_answer() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"));
        scene.wire.send(vec![b'x'; LENGTH]);
        scene.wire.drain();
    });
    let gateway = impatient(scratch(), upstream.at(), "", "");
    let mut client = Wire::connect(gateway.traffic());
    client.send("GET / HTTP/1.1\r\nhost: stage\r\n\r\n");
    client.head();
    let begun = Instant::now();
    // Three times as long as the gateway waits for a client that takes nothing.
    let mut read = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        read += client.exactly(128 * 1024).unwrap().len();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(read < LENGTH / 2, "{read} bytes is no slow reading");
    assert_eq!(client.exactly(LENGTH - read).unwrap().len(), LENGTH - read);
}

#[test]
fn streams_and_tunnels_outlive_the_deadlines_while_data_moves() {
    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    const PAUSE: Duration = Duration::from_millis(300);
    const EVENTS: usize = 10;
    let upstream = Script::play(|mut scene| {
        let Some(request) = scene.request() else { return };
        if request.head.get("upgrade").is_some() {
            scene.wire.send(SWITCHED);
            while let Ok(said) = scene.wire.exactly(4) {
                scene.wire.send(said);
            }
            return;
        }
        scene.wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..EVENTS {
            thread::sleep(PAUSE);
            scene.wire.send("9\r\ndata: x\n\n\r\n");
        }
        scene.wire.send("0\r\n\r\n");
    });
    let gateway = impatient(scratch(), upstream.at(), "", ", upgrades: websocket");
    let events = Wire::connect(gateway.traffic()).get("/events", "");
    assert_eq!(events.text(), "data: x\n\n".repeat(EVENTS));
    let mut tunnel = Wire::connect(gateway.traffic());
    let asked = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(tunnel.get("/", asked).status(), 101);
    for _ in 0..EVENTS {
        thread::sleep(PAUSE);
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4).unwrap(), b"ping");
    }
}
