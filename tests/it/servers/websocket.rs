//! WebSockets, between a Rust client and a Python server.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::client;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::http::HeaderMap;

use super::BEARER;
use super::by_key;
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::python::Launcher;
use crate::support::python::PythonServer;

/// Shakes hands; the answer's headers, or its status where it is not 101.
fn open(gateway: &Gateway, path: &str, key: Option<&str>) -> Result<(WebSocket<TcpStream>, HeaderMap), u16> {
    let (stream, mut request) = prepare(gateway, path);
    if let Some(key) = key {
        request = request.with_header(BEARER.0, key);
    }
    match client(request, stream) {
        Ok((socket, response)) => Ok((socket, response.headers().clone())),
        Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(other) => panic!("no answer: {other}"),
    }
}

fn prepare(gateway: &Gateway, path: &str) -> (TcpStream, ClientRequestBuilder) {
    let stream = TcpStream::connect(gateway.traffic()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let uri = format!("ws://{}{path}", gateway.traffic()).parse().unwrap();
    (stream, ClientRequestBuilder::new(uri).with_sub_protocol("chat"))
}

#[test]
fn websockets_pass_after_authentication_only() {
    let server = PythonServer::start(Launcher::WebSocketEcho, &[]).unwrap();
    let gateway = by_key("http", server.http(), "upgrades: websocket");
    for key in [None, Some("Bearer another")] {
        assert_eq!(open(&gateway, "/echo", key).err(), Some(401), "{key:?}");
    }

    let (mut socket, headers) = open(&gateway, "/headers", Some(BEARER.1)).unwrap();
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    let seen: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(seen["authorization"], Value::Null);
    assert_eq!(seen["x-scoregate-principal"], "service:model:primary");
    for message in [Message::text("text"), Message::binary(vec![0; 300_000]), Message::text("")] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}

    let (mut socket, _) = open(&gateway, "/farewell", Some(BEARER.1)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("bye"));
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("want a close frame with a code") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4000, "farewell"));
}

#[test]
fn a_websocket_lasts_as_long_as_something_moves() {
    let server = PythonServer::start(Launcher::WebSocketEcho, &[]).unwrap();
    let gateway = by_key("http", server.http(), "upgrades: websocket\n    timeouts: {idle: 1s, response: 1s}");
    let (mut socket, _) = open(&gateway, "/echo", Some(BEARER.1)).unwrap();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(400));
        socket.send(Message::text("still here")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("still here"));
    }
    // And no longer.
    assert!(socket.read().is_err());
}
