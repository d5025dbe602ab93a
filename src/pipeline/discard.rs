//! What is left of a request's body when the answer does not depend on it.
//!
//! An HTTP/1 connection whose request was not read to its end can carry no other. So what has nearly arrived is read, and of
//! the rest the client is told.

use std::pin::pin;
use std::time::Duration;

use bytes::Buf as _;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;

/// Most bytes that are read for nothing. More of them cost more than a new connection.
const MOST_BYTES: u64 = 64 * 1024;

/// Longest wait for them: a body that follows its head is there within a round trip.
const WITHIN: Duration = Duration::from_millis(250);

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the connection can be used again.
    Nothing,
    /// Some of it, which nobody will read.
    Some,
}

impl Rest {
    /// Tells an HTTP/1 client that the connection ends with this answer, where it does.
    pub fn announce(self, version: Version, answer: &mut HeaderMap) {
        if self == Self::Some && version != Version::HTTP_2 {
            answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Reads what is left, unless it is much, or slow, or the client waits to be told to send it (RFC 9110 §10.1.1).
///
/// Over HTTP/2 as well: what is not read is followed by a reset, `NO_ERROR`, for which some clients (curl 7.88) forget
/// the answer.
pub async fn rest(head: &Parts, body: impl Body) -> Rest {
    // What follows a CONNECT is meant for a tunnel, and is no request.
    if head.method == Method::CONNECT && head.version != Version::HTTP_2 {
        return Rest::Some;
    }
    if body.is_end_stream() {
        return Rest::Nothing;
    }
    if head.headers.contains_key(header::EXPECT) || body.size_hint().lower() > MOST_BYTES {
        return Rest::Some;
    }
    tokio::time::timeout(WITHIN, read(body)).await.unwrap_or(Rest::Some)
}

async fn read(body: impl Body) -> Rest {
    let mut body = pin!(body);
    let mut allowed = MOST_BYTES;
    while let Some(frame) = body.frame().await {
        let read = frame.map(|frame| frame.data_ref().map_or(0, |data| data.remaining() as u64));
        let left = read.ok().and_then(|read| allowed.checked_sub(read));
        let Some(left) = left else { return Rest::Some };
        allowed = left;
    }
    Rest::Nothing
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;

    use super::MOST_BYTES;
    use super::Rest;
    use super::rest;

    #[tokio::test(start_paused = true)]
    async fn a_small_body_is_read_and_of_any_other_the_client_is_told() {
        let sized = |bytes: u64| Full::new(Bytes::from(vec![b'x'; usize::try_from(bytes).unwrap()]));
        for (bytes, expect, want) in [
            (0, None, Rest::Nothing),
            (0, Some("100-continue"), Rest::Nothing),
            (MOST_BYTES, None, Rest::Nothing),
            (MOST_BYTES + 1, None, Rest::Some),
            (1, Some("100-continue"), Rest::Some),
        ] {
            let mut request = Request::new(());
            request.headers_mut().extend(expect.map(|value| (http::header::EXPECT, value.parse().unwrap())));
            let (head, ()) = request.into_parts();
            assert_eq!(rest(&head, sized(bytes)).await, want, "{bytes} bytes, {expect:?}");
        }
    }
}
