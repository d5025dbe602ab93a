//! Server-sent events from Python's own HTTP server.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::BEARER;
use super::by_key;
use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::python::Launcher;
use crate::support::python::PythonServer;

#[test]
fn events_arrive_one_by_one_and_end_when_the_client_leaves() {
    let server = PythonServer::start(Launcher::ServerSentEvents, &[]).unwrap();
    let gateway = by_key("http", server.http(), "");
    let clients = || -> Value { client::get(server.http(), "/clients", &[]).json() };

    let begun = Instant::now();
    let mut reader = Client::connect(gateway.traffic());
    reader.send(client::head("GET", "/events?count=10&interval_ms=200", &[BEARER], b""));
    assert_eq!(reader.answer_head().header("content-type"), Some("text/event-stream"));
    assert_eq!(reader.chunk().unwrap(), b"id: 0\ndata: 0\n\n");
    let first = begun.elapsed();
    let rest = std::iter::from_fn(|| reader.chunk()).count();
    assert_eq!(rest, 9);
    assert!(begun.elapsed() - first > Duration::from_secs(1), "they came at once, {first:?} after the request");
    assert_eq!(clients()["finished"], 1);

    let mut reader = Client::connect(gateway.traffic());
    reader.send(client::head("GET", "/events?count=0&interval_ms=10", &[BEARER], b""));
    reader.answer_head();
    reader.chunk().unwrap();
    drop(reader);
    eventually("the server sees the client leave", || (clients()["left"] == 1).then_some(()));
}
