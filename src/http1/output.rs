//! What is to be written: a head or a chunk's frame, and a body's bytes that are not copied.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use tokio::io::AsyncWrite;

/// Data up to this size is copied behind what stands before it: cheaper than a second slice. In bytes.
const COPIED: usize = 4096;

/// What a connection that waits may keep of its room for heads, in bytes.
const MOST_KEPT: usize = 1024;

/// How a body is written (RFC 9112 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is; the head says how long it is, or its end is the connection's.
    Plain,
    /// In chunks.
    Chunked,
}

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub struct Output {
    before: BytesMut,
    data: Bytes,
    after: &'static [u8],
}

impl Output {
    /// Where a head is written to.
    pub const fn head(&mut self) -> &mut BytesMut {
        &mut self.before
    }

    /// Gives back what a large answer took.
    pub fn rest(&mut self) {
        if self.before.is_empty() && self.before.capacity() > MOST_KEPT {
            self.before = BytesMut::new();
        }
    }

    /// Whether all has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.after.is_empty()
    }

    /// Whether more data is taken before what is here has been written: while it is less than `most` bytes, all of
    /// them copied.
    #[must_use]
    pub fn takes_data(&self, most: usize) -> bool {
        self.is_copied() && self.before.len() < most
    }

    fn is_copied(&self) -> bool {
        self.data.is_empty() && self.after.is_empty()
    }

    /// Adds a piece of a body. Call it only when [`Self::takes_data`].
    pub fn data(&mut self, data: Bytes, encoding: Encoding) {
        if data.is_empty() {
            return;
        }
        let chunked = encoding == Encoding::Chunked;
        if chunked {
            let size = crate::model::hex::digits::<16>(data.len() as u128);
            let zeros = size.iter().take_while(|digit| **digit == b'0').count();
            self.before.extend_from_slice(size.get(zeros..).unwrap_or_default());
            self.before.extend_from_slice(b"\r\n");
        }
        if data.len() <= COPIED {
            self.before.extend_from_slice(&data);
            if chunked {
                self.before.extend_from_slice(b"\r\n");
            }
        } else {
            self.data = data;
            self.after = if chunked { b"\r\n" } else { b"" };
        }
    }

    /// Adds the end of a body, and its trailers where it is chunked.
    pub fn end(&mut self, trailers: Option<&HeaderMap>, encoding: Encoding) {
        if encoding == Encoding::Plain {
            return;
        }
        let mut last = BytesMut::from(&b"0\r\n"[..]);
        for (name, value) in trailers.into_iter().flatten() {
            line(&mut last, name.as_str(), value.as_bytes());
        }
        last.extend_from_slice(b"\r\n");
        if self.is_copied() {
            self.before.extend_from_slice(&last);
        } else {
            let mut all = BytesMut::with_capacity(self.data.len() + self.after.len() + last.len());
            all.extend_from_slice(&self.data);
            all.extend_from_slice(self.after);
            all.extend_from_slice(&last);
            (self.data, self.after) = (all.freeze(), b"");
        }
    }

    /// Writes until nothing is left. What was taken over is not written twice when it is called again.
    ///
    /// # Errors
    /// As writing does.
    pub fn poll_write<T: AsyncWrite + Unpin>(&mut self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let written = if self.is_copied() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.before))?
            } else {
                let slices = [IoSlice::new(&self.before), IoSlice::new(&self.data), IoSlice::new(self.after)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Pin::new(io).poll_flush(cx)
    }

    fn advance(&mut self, written: usize) {
        let mut left = written;
        let before = left.min(self.before.len());
        if before == self.before.len() {
            self.before.clear();
        } else {
            self.before.advance(before);
        }
        left -= before;
        let data = left.min(self.data.len());
        self.data.advance(data);
        left -= data;
        self.after.advance(left.min(self.after.len()));
    }
}

/// Writes a field's line.
pub fn line(to: &mut BytesMut, name: &str, value: &[u8]) {
    to.reserve(name.len() + value.len() + 4);
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http::HeaderValue;
    use tokio::io::AsyncReadExt as _;

    use super::COPIED;
    use super::Encoding;
    use super::Output;

    /// What arrives at the other end of a pipe that takes `step` bytes at a time.
    async fn written(mut output: Output, step: usize) -> Vec<u8> {
        let (mut io, mut far) = tokio::io::duplex(step);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        std::future::poll_fn(|cx| output.poll_write(&mut io, cx)).await.unwrap();
        assert!(output.is_empty());
        drop(io);
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_given_arrives_in_order_however_little_the_socket_takes() {
        let large = "x".repeat(COPIED + 1);
        for (data, encoding, want) in [
            ("abc", Encoding::Plain, "headabc".to_owned()),
            ("abc", Encoding::Chunked, "head3\r\nabc\r\n0\r\nsum: 1\r\n\r\n".to_owned()),
            ("", Encoding::Chunked, "head0\r\nsum: 1\r\n\r\n".to_owned()),
            (&large, Encoding::Plain, format!("head{large}")),
            (&large, Encoding::Chunked, format!("head{:x}\r\n{large}\r\n0\r\nsum: 1\r\n\r\n", large.len())),
        ] {
            for step in [1, 7, 100_000] {
                let mut output = Output::default();
                output.head().extend_from_slice(b"head");
                output.data(Bytes::copy_from_slice(data.as_bytes()), encoding);
                let trailers =
                    HeaderMap::from_iter([(http::HeaderName::from_static("sum"), HeaderValue::from_static("1"))]);
                output.end(Some(&trailers), encoding);
                assert_eq!(written(output, step).await, want.as_bytes(), "{} bytes by {step}", data.len());
            }
        }
    }
}
