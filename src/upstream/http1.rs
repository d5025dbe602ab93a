//! One HTTP/1.1 connection to an upstream, driven by the request that has it: no task of its own, no channel.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::http1::Malformed;
use crate::http1::body::Decoder;
use crate::http1::body::Length;
use crate::http1::body::Piece;
use crate::http1::head;
use crate::http1::head::AnswerHead;
use crate::http1::input::Input;
use crate::http1::output::Encoding;
use crate::http1::output::Output;
use crate::http1::output::line;
use crate::snapshot::target::Endpoint;
use crate::upstream::body::RequestBody;
use crate::upstream::exchange::Lost;
use crate::upstream::exchange::RequestHead;

/// Data that may wait for a slow upstream before the client's body is asked for more, in bytes.
const UNSENT: usize = 16 * 1024;

/// Answers of the 1xx class before the one that counts. One `100 Continue` and a few early hints are usual.
const MOST_INFORMATIONAL: u8 = 16;

/// A connection and the exchange that it carries. One at a time.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    input: Input,
    output: Output,
    sending: Option<Sending>,
    receiving: Decoder,
    to_head: bool,
    /// Answers of the 1xx class to this request.
    informational: u8,
    /// Whether another exchange may follow.
    lasts: bool,
}

#[derive(Debug)]
struct Sending {
    body: RequestBody,
    encoding: Encoding,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// A connection that has carried nothing yet.
    pub fn new(io: T) -> Self {
        Self {
            io,
            input: Input::default(),
            output: Output::default(),
            sending: None,
            receiving: Decoder::DONE,
            to_head: false,
            informational: 0,
            lasts: true,
        }
    }

    /// Whether an idle connection can carry an exchange: the upstream has neither closed it nor said anything, which
    /// would be the answer to a question that nobody asked.
    pub fn is_alive(&mut self) -> bool {
        self.input.poll_head(&mut self.io, &mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Takes up a request. Nothing is written before [`Self::poll_head`].
    pub fn begin(&mut self, request: &impl RequestHead, endpoint: &Endpoint, body: RequestBody) {
        let method = request.method();
        let head = self.output.head();
        head.reserve(1024);
        let target = request.target().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        request.fields(endpoint, &mut |name, value| line(head, name.as_str(), value));
        (self.to_head, self.informational) = (method == Method::HEAD, 0);
        let mut encoding = Encoding::Plain;
        if body.is_end_stream() {
            // RFC 9110 §8.6: a method that could have had content says that it has none.
            if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                line(head, header::CONTENT_LENGTH.as_str(), b"0");
            }
        } else {
            match body.size_hint().exact() {
                Some(length) => {
                    line(head, header::CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(length).as_bytes());
                }
                None => {
                    encoding = Encoding::Chunked;
                    line(head, header::TRANSFER_ENCODING.as_str(), b"chunked");
                }
            }
            self.sending = Some(Sending { body, encoding });
        }
        head.extend_from_slice(b"\r\n");
    }

    /// Sends what there is to send until the head of the answer has come.
    ///
    /// # Errors
    /// [`Lost`]; the connection is of no use then.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Lost>> {
        if let Poll::Ready(Err(NotSent::Body)) = self.poll_send(cx) {
            return Poll::Ready(Err(Lost::Closed));
        }
        loop {
            let head = if self.input.is_empty() { None } else { head::answer(self.input.bytes())? };
            match head {
                Some(head) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    self.informational += 1;
                    if self.informational > MOST_INFORMATIONAL {
                        return Poll::Ready(Err(Lost::Malformed(Malformed::TooLarge)));
                    }
                }
                Some(head) => return Poll::Ready(self.receive(&head).map(|()| head)),
                None => {
                    if ready!(self.input.poll_head(&mut self.io, cx))? == 0 {
                        return Poll::Ready(Err(Lost::Closed));
                    }
                }
            }
        }
    }

    /// The next piece of the answer's body; the request's goes on meanwhile.
    ///
    /// # Errors
    /// [`Lost`]; the connection is of no use then.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        // What becomes of the request now is told by `is_over`: the answer stands on its own.
        let _sent = self.poll_send(cx);
        loop {
            match self.receiving.next(self.input.bytes()) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => match ready!(self.input.poll_body(&mut self.io, cx)) {
                    Ok(0) if self.receiving == Decoder::UNTIL_CLOSE => self.receiving = Decoder::DONE,
                    Ok(0) => return Poll::Ready(Some(Err(Lost::Closed))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                Err(malformed) => return Poll::Ready(Some(Err(Lost::Malformed(malformed)))),
            }
        }
    }

    /// Whether the answer has come to its end.
    pub const fn is_end_stream(&self) -> bool {
        self.receiving.is_done()
    }

    /// What is left of the answer's body.
    pub fn size_hint(&self) -> SizeHint {
        self.receiving.left().map_or_else(SizeHint::new, SizeHint::with_exact)
    }

    /// Whether the exchange is over on both sides, and has left nothing behind: another one may follow.
    pub fn is_over(&self) -> bool {
        let sent = self.sending.is_none() && self.output.is_empty();
        self.lasts && sent && self.receiving.is_done() && self.input.is_empty()
    }

    /// The bare connection, after it has switched to another protocol, and what of that has been read.
    pub fn into_parts(self) -> (T, BytesMut) {
        (self.io, self.input.into_bytes())
    }

    fn receive(&mut self, head: &AnswerHead) -> Result<(), Lost> {
        let length = Length::said(&head.fields, head.version)?;
        let never = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
        self.receiving = match length {
            _ if never || self.to_head || head.status == StatusCode::NOT_MODIFIED => Decoder::DONE,
            Length::Of(bytes) => Decoder::counted(bytes),
            // Nobody sends extensions, and readers differ about where they end.
            Length::Chunked => Decoder::chunked(0),
            Length::Unsaid => Decoder::UNTIL_CLOSE,
        };
        let unsaid = self.receiving == Decoder::UNTIL_CLOSE;
        // A 204 with a length has a body for some readers, so nobody reads on after it.
        let doubtful = never && !matches!(length, Length::Unsaid | Length::Of(0));
        self.lasts = !unsaid && !doubtful && !head.status.is_informational() && persists(&head.fields, head.version);
        Ok(())
    }

    /// Ready once the request has been written, or cannot be.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        loop {
            self.gather(cx)?;
            if self.output.is_empty() {
                return if self.sending.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if let Err(_error) = ready!(self.output.poll_write(&mut self.io, cx)) {
                // The upstream may have answered before it stopped to read.
                self.give_up();
                return Poll::Ready(Err(NotSent::Io));
            }
        }
    }

    /// Takes what the client has sent of its body, so that one write takes it and what stands before it.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), NotSent> {
        while let Some(Sending { body, encoding }) = &mut self.sending
            && self.output.takes_data(UNSENT)
        {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    let ended = body.is_end_stream();
                    let trailers = match frame.into_data() {
                        Ok(data) => {
                            self.output.data(data, *encoding);
                            None
                        }
                        Err(frame) => frame.into_trailers().ok(),
                    };
                    // Nothing follows trailers.
                    if ended || trailers.is_some() {
                        self.output.end(trailers.as_ref(), *encoding);
                        self.sending = None;
                    }
                }
                Poll::Ready(None) => {
                    self.output.end(None, *encoding);
                    self.sending = None;
                }
                Poll::Ready(Some(Err(_stopped))) => {
                    self.give_up();
                    return Err(NotSent::Body);
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.lasts = false;
        self.sending = None;
        self.output = Output::default();
    }
}

/// Why a request was not written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotSent {
    /// The client's body broke, or a rule stopped it.
    Body,
    /// The connection takes no more.
    Io,
}

/// Whether a connection lasts beyond this answer (RFC 9112 §9.3).
fn persists(fields: &HeaderMap, version: Version) -> bool {
    let mut options = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if version == Version::HTTP_11 { options.all(|option| !option.eq_ignore_ascii_case(b"close")) } else { false }
}
