//! The client of a case, which takes note of how an answer ends.

use std::thread;
use std::time::Duration;

use super::case::Asks;
use super::case::Case;
use crate::protocols::wire::Head;
use crate::protocols::wire::Wire;
use crate::protocols::wire::request;

/// More than any deadline leaves time for.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// What a client got.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An answer with its end. `reason` is that of a refusal of the gateway's own.
    Whole { status: u16, reason: Option<String>, headers: Vec<(String, String)>, body: Vec<u8>, closes: bool },
    /// A head, and a body that broke off.
    Cut { body: Vec<u8> },
    /// A connection that ended without an answer.
    Nothing,
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Outcome {
    /// Sends the request of a case and reads what comes.
    pub(super) fn of(client: &mut Wire, case: &Case, path: &str) -> Self {
        let (method, sent) = match case.asks {
            Asks::Get => ("GET", request("GET", path, "", None)),
            Asks::Head => ("HEAD", request("HEAD", path, "", None)),
            Asks::Post => ("POST", request("POST", path, "", Some(b"body"))),
            Asks::Upgrade => ("GET", request("GET", path, UPGRADE, None)),
            Asks::Waits => {
                let mut sent = request("POST", path, "content-length: 65536\r\n", None);
                sent.extend([b'x'; 1024]);
                ("POST", sent)
            }
        };
        client.send(sent);
        Self::read(client, method, Duration::ZERO)
    }

    /// Reads what comes, with a pause after each chunk.
    pub(super) fn read(client: &mut Wire, method: &str, pause: Duration) -> Self {
        let Ok(head) = client.try_head() else { return Self::Nothing };
        let status = head.status();
        let closes = head.get("connection") == Some("close") || status == 101;
        match body(client, method, &head, pause) {
            Ok(body) => {
                let own = head.get("proxy-status").is_some_and(|status| status.starts_with("scoregate; error="));
                let reason = own.then(|| head.get("x-ms-error-code").unwrap_or_default().to_owned());
                if let (Some(reason), false) = (&reason, body.is_empty()) {
                    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                    assert_eq!(document["error"]["code"], reason.as_str(), "{head:?}");
                }
                Self::Whole { status, reason, headers: head.headers, body, closes }
            }
            Err(body) => Self::Cut { body },
        }
    }

    /// Whether the client may send its next request over the same connection.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Whole { closes, .. } => !closes,
            Self::Cut { .. } | Self::Nothing => false,
        }
    }
}

/// The body, or as much as came of it.
fn body(client: &mut Wire, method: &str, head: &Head, pause: Duration) -> Result<Vec<u8>, Vec<u8>> {
    let mut body = Vec::new();
    if method == "HEAD" || matches!(head.status(), 101 | 204 | 304) {
        return Ok(body);
    }
    if head.get("transfer-encoding") == Some("chunked") {
        loop {
            match client.try_chunk() {
                Ok(chunk) if chunk.is_empty() => break,
                Ok(chunk) => {
                    body.extend(chunk);
                    assert!(body.len() < MOST_BYTES, "a flood goes on and on");
                    thread::sleep(pause);
                }
                Err(_ended) => return Err(body),
            }
        }
        // The trailers, which end the message.
        return match client.try_headers() {
            Ok(_trailers) => Ok(body),
            Err(_ended) => Err(body),
        };
    }
    let length = head.get("content-length").and_then(|length| length.parse().ok());
    let Some(length) = length else { panic!("an answer without a length: {head:?}") };
    client.exactly(length).map_err(|_ended| client.leftover())
}
