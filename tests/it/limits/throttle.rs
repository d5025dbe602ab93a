//! Credentials that were not accepted, too many from one address: 429 for them, and nothing for anybody else.

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use scoregate::model::refusal::Denied;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use super::ELSEWHERE;
use super::KEY;
use super::assert_refused;
use super::bearing;
use super::counted;
use super::upstream;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::summary::Counts;

fn with_key(gateway: &Gateway, key: &str, more: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(more);
    client::get(gateway.traffic(), "/keyed", &headers)
}

#[test]
fn too_many_wrong_keys_get_429_whatever_is_wrong_and_a_right_one_still_opens() {
    let upstream = upstream();
    let gateway = bearing("limits: {failed_authentications: 10}", upstream.address(), "");
    for number in 0..10 {
        assert_eq!(with_key(&gateway, &format!("a-wrong-key-{number}"), &[]).status, 401, "failure {number}");
        // What succeeds neither counts nor makes up for what does not.
        assert_eq!(with_key(&gateway, KEY, &[]).status, 200);
    }
    let mut bodies = Vec::new();
    for (what, headers) in [
        ("an unknown key", &[("authorization", "Bearer a-wrong-key")][..]),
        ("no key of any form", &[("authorization", "Basic Zm9v")]),
        ("two keys", &[("authorization", "Bearer one"), ("ocp-apim-subscription-key", "two")]),
    ] {
        let mut connection = Client::connect(gateway.traffic());
        let answer = connection.request("GET", "/keyed", headers, b"");
        assert_refused(&gateway, what, &answer, Denied::AuthThrottled);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=7).contains(&wait), "{what}: a tenth of a minute at most, not {wait} s");
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        assert!(connection.is_closed(), "{what}");
        bodies.push(answer.json()["error"].to_string());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "they look alike: {bodies:?}");
    assert_eq!(client::get(gateway.traffic(), "/keyed", &[]).status, 401, "who shows none has not tried");
    for _ in 0..20 {
        assert_eq!(with_key(&gateway, KEY, &[]).status, 200, "the right key, from the same address");
    }
    assert_eq!(from_elsewhere(&gateway), 401, "another address has failed but once");
    assert_eq!(counted(&gateway, "auth_throttled_total", ""), 3.0);
    let denials = gateway.metric("gateway_denials_total{reason=\"auth_throttled\",service=\"keyed\"}");
    assert_eq!(denials, 3.0);
    let counts = Counts { cases: 14, passed: 14, refused: 14, sent: 30, ..Counts::default() };
    summary::report("limits/throttle", counts);
}

/// The status of a wrong key from another address.
fn from_elsewhere(gateway: &Gateway) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ELSEWHERE, 0).into()).unwrap();
    socket.connect(&gateway.traffic().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /keyed HTTP/1.1\r\nhost: a\r\nauthorization: Bearer wrong-key\r\n\r\n").unwrap();
    let mut heard = [0; 12];
    stream.read_exact(&mut heard).unwrap();
    String::from_utf8_lossy(&heard[9..]).parse().unwrap()
}

#[test]
fn behind_a_trusted_proxy_each_client_has_a_count_of_its_own_and_the_proxy_none() {
    let upstream = upstream();
    let gateway = bearing("limits: {failed_authentications: 3}", upstream.address(), "trusted_proxies: [127.0.0.1]");
    let fails_as = |client: &str| with_key(&gateway, "a-wrong-key", &[("x-forwarded-for", client)]).status;
    for (client, statuses) in [
        ("192.0.2.1", [401, 401, 401, 429]),
        ("192.0.2.2", [401, 401, 401, 429]),
        ("2001:db8:0:1::1", [401, 401, 401, 429]),
        ("2001:db8:0:1:ffff::2", [429, 429, 429, 429]),
        ("2001:db8:0:2::1", [401, 401, 401, 429]),
    ] {
        assert_eq!([(); 4].map(|()| fails_as(client)), statuses, "{client}");
    }
    for _ in 0..10 {
        assert_eq!(with_key(&gateway, "a-wrong-key", &[]).status, 401, "the proxy for itself");
    }
}

#[test]
fn what_time_gives_back_can_be_failed_again() {
    let upstream = upstream();
    let gateway = bearing("limits: {failed_authentications: 60}", upstream.address(), "");
    let statuses: Vec<u16> = (0..70).map(|_| with_key(&gateway, "a-wrong-key", &[]).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(with_key(&gateway, "a-wrong-key", &[]).status, 401, "one a second");
}

#[test]
fn wrong_management_keys_get_429_as_well_and_the_right_one_still_opens() {
    let upstream = upstream();
    let gateway = bearing("", upstream.address(), "");
    let owner = std::fs::read_to_string(gateway.directory().join("store/management.key")).unwrap();
    let list = |key: &str| {
        let bearer = format!("Bearer {}", key.trim());
        client::get(gateway.management(), "/api/v1/accounts", &[("authorization", &bearer)])
    };
    let statuses: Vec<u16> = (0..20).map(|_| list("a-wrong-management-key").status).collect();
    assert_eq!(statuses, [401; 20]);
    let answer = list("a-wrong-management-key");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (429, Some("TooManyRequests")));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("60"), Some("close")));
    assert_eq!(list(&owner).status, 200);
    assert_eq!(gateway.metric("gateway_auth_throttled_total{listener=\"management\"}"), 1.0);
    assert_eq!(client::get(gateway.management(), "/api/v1/accounts", &[]).status, 401);
}
