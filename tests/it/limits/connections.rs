//! How many connections: in all, from one address, and as many as there are file descriptors.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use super::ELSEWHERE;
use super::bearing;
use super::counted;
use super::upstream;
use crate::support::PATIENCE;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::summary::Counts;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A connection from this address.
fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether a request on it is answered; one that was shed is closed or reset.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut heard = [0; 12];
    let asked = stream.write_all(b"GET /open HTTP/1.1\r\nhost: a\r\n\r\n").and_then(|()| stream.read_exact(&mut heard));
    if asked.is_err() {
        return false;
    }
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        rest.extend(byte);
    }
    &heard == b"HTTP/1.1 200"
}

/// So many connections that are served.
fn served(from: IpAddr, gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connect(from, gateway.traffic())).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(is_served(stream), "connection {number} from {from}");
    }
    streams
}

fn lines(gateway: &Gateway, message: &str) -> usize {
    gateway.log().iter().filter(|line| line["message"] == message).count()
}

const SHED: &str = "connections above a limit are closed at once";

#[test]
fn more_than_a_listener_may_have_are_closed_and_who_leaves_makes_room() {
    let upstream = upstream();
    let gateway = bearing("limits: {connections: 5}", upstream.address(), "");
    let mut there = served(HERE, &gateway, 5);
    for number in 0..50 {
        assert!(!is_served(&mut connect(HERE, gateway.traffic())), "number {number} above the limit");
    }
    assert!(there.iter_mut().all(is_served), "those that were there stay");
    assert_eq!(counted(&gateway, "connections_shed_total", "all"), 50.0);
    assert_eq!(counted(&gateway, "connections_closed_total", "over_limit"), 50.0);
    assert!(lines(&gateway, SHED) <= 2, "a line for each worker, not for each connection");
    there.pop();
    eventually("there is room", || is_served(&mut connect(HERE, gateway.traffic())).then_some(()));
    summary::report("limits/connections", Counts { cases: 50, passed: 50, refused: 50, ..Counts::default() });
}

#[test]
fn more_than_an_address_may_have_are_closed_and_others_are_served() {
    let upstream = upstream();
    let gateway = bearing("limits: {connections_per_address: 4}", upstream.address(), "");
    let there = served(HERE, &gateway, 4);
    for number in 0..20 {
        assert!(!is_served(&mut connect(HERE, gateway.traffic())), "number {number} above the limit");
    }
    served(ELSEWHERE, &gateway, 4);
    assert_eq!(counted(&gateway, "connections_shed_total", "address"), 20.0);
    drop(there);
    eventually("there is room", || is_served(&mut connect(HERE, gateway.traffic())).then_some(()));
    summary::report("limits/connections", Counts { cases: 20, passed: 20, refused: 20, ..Counts::default() });
}

#[test]
fn an_address_that_many_share_has_no_limit_of_its_own() {
    let upstream = upstream();
    for (limits, more) in [
        ("limits: {connections_per_address: 1, shared_addresses: [127.0.0.1]}", ""),
        ("limits: {connections_per_address: 1}", "trusted_proxies: [127.0.0.1/32]"),
    ] {
        let gateway = bearing(limits, upstream.address(), more);
        served(HERE, &gateway, 10);
        let _one = served(ELSEWHERE, &gateway, 1);
        assert!(!is_served(&mut connect(ELSEWHERE, gateway.traffic())), "{limits} {more}");
    }
}

#[test]
fn a_reload_changes_what_a_listener_bears_and_keeps_its_connections() {
    let upstream = upstream();
    let gateway = bearing("limits: {connections: 1}", upstream.address(), "");
    let mut first = served(HERE, &gateway, 1);
    assert!(!is_served(&mut connect(HERE, gateway.traffic())));
    let more = std::fs::read_to_string(gateway.config()).unwrap().replace("{connections: 1}", "{connections: 2}");
    gateway.configure(&more);
    gateway.hangup();
    eventually("the change is in force", || (gateway.generation() >= 2.0).then_some(()));
    served(HERE, &gateway, 1);
    assert!(first.iter_mut().all(is_served));
}

#[test]
fn a_connection_that_was_upgraded_keeps_its_place_until_it_ends() {
    let upstream = crate::support::upstream::Upstream::start(|_, stream| {
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switched.as_bytes())?;
        // An answer by its looks: after the upgrade nobody else's words are kept back.
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        std::io::copy(stream, &mut std::io::sink()).map(drop)
    });
    let gateway = bearing("limits: {connections: 1}", upstream.address(), "");
    let mut tunnel = connect(HERE, gateway.traffic());
    let asked = "GET /open HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tunnel.write_all(asked.as_bytes()).unwrap();
    let mut heard = String::new();
    while !heard.ends_with("400 Bad Request\r\n\r\n") {
        let mut bytes = [0; 1000];
        let read = tunnel.read(&mut bytes).unwrap();
        assert!(read > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    for _ in 0..5 {
        assert!(!is_served(&mut connect(HERE, gateway.traffic())), "the tunnel has the only place");
    }
    drop(tunnel);
    eventually("there is room", || {
        let mut stream = connect(HERE, gateway.traffic());
        stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n").ok()?;
        stream.read_exact(&mut [0; 12]).ok()
    });
}

/// The number of file descriptors that the process has open.
fn open_files(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count()
}

fn limit_files(gateway: &Gateway, most: usize) {
    let (id, limit) = (gateway.id().to_string(), format!("--nofile={most}:{most}"));
    let told = Command::new("prlimit").args(["--pid", &id, &limit]).status();
    assert!(told.is_ok_and(|status| status.success()), "prlimit, of util-linux");
}

#[test]
fn at_the_limit_of_file_descriptors_the_gateway_sheds_says_so_once_and_recovers() {
    let upstream = upstream();
    let gateway = bearing("limits: {connections: 10000}", upstream.address(), "workers: 1");
    // One upstream connection and one client of the metrics are there.
    served(HERE, &gateway, 1);
    let room = 20;
    limit_files(&gateway, open_files(&gateway) + room);
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| connect(HERE, gateway.traffic())).collect();
    // Whoever was shed is told so at once: nobody is left to wait in the queue.
    let mut shed: u64 = 0;
    for stream in &mut crowd {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        match stream.read(&mut [0]) {
            Ok(0) => shed += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => shed += 1,
            Ok(_) | Err(_) => {}
        }
    }
    assert!((250..300).contains(&shed), "{shed} of 300, with room for {room}");
    drop(crowd);
    eventually("it serves again", || is_served(&mut connect(HERE, gateway.traffic())).then_some(()));
    served(HERE, &gateway, 5);
    assert!(counted(&gateway, "connections_shed_total", "files") >= f64::from(u32::try_from(shed).unwrap()));
    assert!(counted(&gateway, "accept_errors_total", "") >= 1.0);
    assert_eq!(lines(&gateway, "connections cannot be accepted"), 1);
    std::thread::sleep(Duration::from_millis(1100));
    served(HERE, &gateway, 1);
    eventually("it says so", || (lines(&gateway, "connections are accepted again") == 1).then_some(()));
    assert_eq!(client::get(gateway.health(), "/readyz", &[]).status, 200);
    summary::report("limits/files", Counts { cases: 1, passed: 1, faults: 1, refused: shed, ..Counts::default() });
}
