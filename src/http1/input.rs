//! What has been read of a connection and not been taken yet.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::ReadBuf;

/// Room for a head, in bytes: most fit, with a small body.
const HEAD_READ: usize = 8 * 1024;

/// Room for the first read of a body, and for one after a read that filled its room, in bytes.
const FIRST_READ: usize = 8 * 1024;
const NEXT_READ: usize = 64 * 1024;

/// Bytes on their way from a socket.
#[derive(Debug, Default)]
pub struct Input {
    bytes: BytesMut,
    /// Whether the last read filled its room.
    filled: bool,
}

impl Input {
    /// What is there, to be taken off the front.
    pub const fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// What is there.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is there, for good.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// Gives back the room for what has been taken.
    pub fn rest(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            self.bytes = BytesMut::new();
        }
    }

    /// Reads some of a head. The room is on the stack: a connection that waits has none, and what comes gets as much as it needs.
    ///
    /// # Errors
    /// As reading does.
    pub fn poll_head(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; HEAD_READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(io).poll_read(cx, &mut room))?;
        self.bytes.extend_from_slice(room.filled());
        self.filled = room.remaining() == 0;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Reads some of a body.
    ///
    /// # Errors
    /// As reading does.
    pub fn poll_body(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.reserve(if self.filled { NEXT_READ } else { FIRST_READ });
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(io.read_buf(&mut self.bytes)).poll(cx))?;
        self.filled = read == room;
        Poll::Ready(Ok(read))
    }
}
