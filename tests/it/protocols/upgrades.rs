//! Changes of protocol: those that nobody asked for, and those that a service does not pass.

use super::get;
use super::in_front_of;
use super::wire::Script;
use super::wire::Wire;
use super::wire::answer_with_path;

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const ASKED: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_change_of_protocol_that_nobody_asked_for_is_502() {
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        scene.wire.send(SWITCHED);
        scene.wire.drain();
    });
    let gateway = in_front_of(upstream.at(), "");
    assert_eq!(get(&gateway, "/").outcome(), (502, "upstream_protocol".to_owned()));
    // Nor is it one that the gateway did not pass on.
    let asked = Wire::connect(gateway.traffic()).get("/", ASKED);
    assert_eq!(asked.outcome(), (502, "upstream_protocol".to_owned()));
}

#[test]
fn an_upgrade_that_the_service_does_not_pass_arrives_as_a_plain_request() {
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    for (service, headers) in [("", ASKED), ("", h2c), ("upgrades: websocket", h2c)] {
        let upstream = Script::play(answer_with_path);
        let gateway = in_front_of(upstream.at(), service);
        let mut client = Wire::connect(gateway.traffic());
        for _ in 0..2 {
            assert_eq!(client.get("/plain", headers).text(), "/plain", "{service:?} {headers:?}");
        }
        for request in upstream.requests() {
            for name in ["connection", "upgrade", "http2-settings"] {
                assert_eq!(request.head.get(name), None, "{service:?} {headers:?}");
            }
        }
    }
}

#[test]
fn an_upstream_that_declines_the_upgrade_is_heard() {
    let upstream = Script::play(answer_with_path);
    let gateway = in_front_of(upstream.at(), "upgrades: websocket");
    let mut client = Wire::connect(gateway.traffic());
    for _ in 0..2 {
        assert_eq!(client.get("/no", ASKED).text(), "/no");
    }
    assert_eq!(upstream.requests()[0].head.get("upgrade"), Some("websocket"));
}

#[test]
fn after_an_upgrade_bytes_pass_both_ways_until_either_side_leaves() {
    let upstream = Script::play(|mut scene| {
        scene.request().unwrap();
        // What comes in the same packet as the head belongs to the new protocol already.
        scene.wire.send(format!("{SWITCHED}early"));
        let said = scene.wire.exactly(4).unwrap();
        scene.wire.send(said);
        drop(scene);
    });
    let gateway = in_front_of(upstream.at(), "upgrades: websocket");
    let mut client = Wire::connect(gateway.traffic());
    assert_eq!(client.get("/", ASKED).status(), 101);
    assert_eq!(client.exactly(5).unwrap(), b"early");
    client.send("ping");
    assert_eq!(client.exactly(4).unwrap(), b"ping");
    assert!(client.ends());
}
