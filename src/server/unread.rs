//! What never became a request is answered like one that is refused, and the connection ends.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::response::Parts;
use http_body_util::BodyExt as _;
use http_body_util::Collected;
use http_body_util::Full;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::model::refusal::Denied;
use crate::pipeline::Gateway;
use crate::pipeline::peer::Peer;
use crate::pipeline::since_epoch;
use crate::upstream::stream::Stream;

/// Longest wait for the client to take the answer and to leave. It needs a round trip.
const WITHIN: Duration = Duration::from_secs(2);

/// Most bytes that are read for nothing after the answer.
const MOST_BYTES: usize = 256 * 1024;

/// Refuses on a connection whose last request could not be read.
pub(super) async fn answer(gateway: &Gateway, peer: &Peer, stream: Stream, why: Denied) {
    let (response, record) = gateway.refuse_unread(peer, why);
    say(stream, response.map(Full::from)).await;
    record.complete();
}

/// Writes an answer and closes. That the client does not read it is no failure of ours.
pub(super) async fn say(mut stream: Stream, response: Response<Full<Bytes>>) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_or_else(|never| match never {}, Collected::to_bytes);
    let bytes = written(&head, &body, since_epoch());
    let saying = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        leave(&mut stream).await
    };
    if let Ok(Err(error)) = timeout(WITHIN, saying).await {
        tracing::trace!(%error, "a client has not taken the answer to what it sent");
    }
}

/// Reads until the client has closed as well: a socket that is closed with bytes unread is reset, and the answer with it.
async fn leave(stream: &mut Stream) -> io::Result<()> {
    let mut unread = [0; 4096];
    let mut left = MOST_BYTES;
    while left > 0 {
        match stream.read(&mut unread).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// The answer as HTTP/1.1 writes it (RFC 9112 §4).
fn written(head: &Parts, body: &[u8], since_epoch: Duration) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let date = i64::try_from(since_epoch.as_secs()).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date.unwrap_or_default());
    if let Ok(date) = date {
        bytes.extend_from_slice(format!("date: {date}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
