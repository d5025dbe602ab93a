//! A client's HTTP/1.1 connection, shared by whoever waits for its requests and answers them, and whoever wants the body
//! of the one that is answered. Neither keeps it for longer than a look: no task, no channel.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Version;
use http::header;
use http::request::Parts;
use http_body::Frame;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use super::Malformed;
use super::body::Decoder;
use super::body::Length;
use super::body::Piece;
use super::head;
use super::input::Input;
use super::output::Output;
use crate::config::Limits;

/// Bytes of chunk extensions in all of a body.
const MOST_EXTENSIONS: u16 = 16 * 1024;

/// What a trailer must not be: whoever merges trailers into headers would read another request (RFC 9110 §6.5.1).
const NO_TRAILERS: [http::HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST];

/// A connection and the request that it carries. One at a time.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    input: Input,
    output: Output,
    receiving: Decoder,
    /// Whether the client waits to be told to send its body.
    awaits_continue: bool,
    /// Who wants the connection itself, once the answer has said that the protocol is another.
    switching: Option<oneshot::Sender<Switched<T>>>,
}

/// A connection that speaks something else from here on.
#[derive(Debug)]
pub struct Switched<T> {
    /// The connection.
    pub io: T,
    /// What of it has been read.
    pub early: BytesMut,
    /// What it keeps for as long as it lasts.
    pub keeps: Box<dyn Any>,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The connection ended.
    #[error("the client closed the connection")]
    Closed,
    /// It was sent chunks that are none.
    #[error("the client's framing is broken: {0}")]
    Malformed(#[from] Malformed),
    /// The connection broke.
    #[error("the connection to the client broke")]
    Io(#[from] io::Error),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// A connection that has carried nothing yet.
    pub fn new(io: T) -> Self {
        Self {
            io,
            input: Input::default(),
            output: Output::default(),
            receiving: Decoder::DONE,
            awaits_continue: false,
            switching: None,
        }
    }

    /// What has been read and not been taken yet.
    pub fn unread(&self) -> &[u8] {
        self.input.as_slice()
    }

    /// Takes the head of a request, once all of it has been read; then its body is next.
    ///
    /// # Errors
    /// [`Malformed`]; nothing that follows can be told from anything else.
    pub fn take_head(&mut self, limits: &Limits) -> Result<Option<Parts>, Malformed> {
        let read = head::request(self.input.bytes(), limits).and_then(|head| match head {
            Some(head) => Length::said(&head.headers, head.version).map(|length| Some((head, length))),
            None => Ok(None),
        });
        let Some((head, length)) = read.inspect_err(|_malformed| self.receiving = Decoder::UNTIL_CLOSE)? else {
            return Ok(None);
        };
        self.receiving = match length {
            Length::Of(bytes) => Decoder::counted(bytes),
            Length::Chunked => Decoder::chunked(MOST_EXTENSIONS),
            Length::Unsaid => Decoder::DONE,
        };
        self.awaits_continue =
            !self.receiving.is_done() && head.version == Version::HTTP_11 && expects_continue(&head.headers);
        Ok(Some(head))
    }

    /// Reads some of a head; 0 when the client has closed.
    ///
    /// # Errors
    /// As reading does.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_head(&mut self.io, cx)
    }

    /// Gives back the room for what has been read, where nothing is left of it.
    pub fn rest(&mut self) {
        self.input.rest();
        self.output.rest();
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// [`Unread`]; no request can follow.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unread>>> {
        if std::mem::take(&mut self.awaits_continue) {
            self.output.head().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.output.is_empty()
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        // No request lasts until its connection is closed: this one is broken.
        if self.receiving == Decoder::UNTIL_CLOSE {
            return Poll::Ready(Some(Err(Malformed::Chunk.into())));
        }
        loop {
            match self.receiving.next(self.input.bytes()) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) if NO_TRAILERS.iter().any(|name| trailers.contains_key(name)) => {
                    return Poll::Ready(Some(Err(self.break_off(Malformed::Chunk))));
                }
                Ok(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => match ready!(self.input.poll_body(&mut self.io, cx)) {
                    Ok(0) => return Poll::Ready(Some(Err(Unread::Closed))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                Err(malformed) => return Poll::Ready(Some(Err(self.break_off(malformed)))),
            }
        }
    }

    /// Lets nothing that follows be taken for anything.
    fn break_off(&mut self, malformed: Malformed) -> Unread {
        self.input.bytes().clear();
        self.receiving = Decoder::UNTIL_CLOSE;
        malformed.into()
    }

    /// Whether all of the request has been taken.
    pub const fn is_read(&self) -> bool {
        self.receiving.is_done()
    }

    /// How many bytes of the body are left, where that has been said.
    pub const fn left(&self) -> Option<u64> {
        self.receiving.left()
    }

    /// Ready once the client has left while its request is answered. What it sends meanwhile waits for its turn.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() || !self.receiving.is_done() {
            return Poll::Pending;
        }
        match ready!(self.poll_read(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    /// Where the answer is written to. A client that has it needs not be told to send its body.
    pub const fn answer(&mut self) -> &mut Output {
        self.awaits_continue = false;
        &mut self.output
    }

    /// What is being written.
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// Writes until nothing is left.
    ///
    /// # Errors
    /// As writing does.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_write(&mut self.io, cx)
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// As writing does.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and forgets; 0 when the client has closed.
    ///
    /// # Errors
    /// As reading does.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.bytes().clear();
        self.poll_read(cx)
    }

    /// Lets whoever asks have the connection once the answer is written.
    pub fn switch(&mut self) -> oneshot::Receiver<Switched<T>> {
        let (sender, receiver) = oneshot::channel();
        self.switching = Some(sender);
        receiver
    }

    /// Hands the connection over to who has asked for it.
    pub fn hand_over(self, keeps: Box<dyn Any>) {
        if let Some(switching) = self.switching {
            // Whoever has asked may be gone; so is the connection then.
            drop(switching.send(Switched { io: self.io, early: self.input.into_bytes(), keeps }));
        }
    }

    /// The connection, and what of it has been read.
    pub fn into_parts(self) -> (T, BytesMut) {
        (self.io, self.input.into_bytes())
    }

    /// The connection.
    pub const fn io(&self) -> &T {
        &self.io
    }
}

/// Whether a client waits for `100 Continue` (RFC 9110 §10.1.1).
fn expects_continue(fields: &HeaderMap) -> bool {
    fields.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
