//! An answer on its way to the client: its head, how its end is told, and its body as it comes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Method;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request;
use http::response::Parts;
use http_body::Body;

use crate::http1::client::Connection;
use crate::http1::head::persists;
use crate::http1::output::Encoding;
use crate::http1::output::Output;
use crate::http1::output::line;
use crate::pipeline::since_epoch;
use crate::server::conversation::Failure;
use crate::server::http1::date;
use crate::upstream::stream::Stream;

/// Data that may wait for a slow client before the answer's body is asked for more, in bytes.
const UNSENT: usize = 16 * 1024;

/// What an answer has to know of its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) version: Version,
    /// Whether the connection ends with the answer.
    pub(super) is_last: bool,
}

impl Asked {
    /// What could not be read is the last of its connection.
    pub(super) const UNREAD: Self = Self { is_head: false, version: Version::HTTP_11, is_last: true };

    pub(super) fn of(head: &request::Parts) -> Self {
        Self {
            is_head: head.method == Method::HEAD,
            version: head.version,
            is_last: !persists(&head.headers, head.version),
        }
    }
}

/// What became of an answer.
pub(super) enum Written {
    /// Another request may follow.
    Lasts,
    /// None may.
    Last,
    /// What follows is no HTTP.
    Switched,
    /// The client did not wait for it.
    Gone,
    /// It broke off.
    Broken(Failure),
}

/// How the end of an answer is told (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By its status or its request: there is no body.
    Bodiless,
    /// After so many bytes.
    Counted(u64),
    /// With a chunk of no bytes.
    Chunked,
    /// By that of the connection.
    Closing,
}

/// A body that is shorter or longer than its head says.
#[derive(Debug, thiserror::Error)]
#[error("want a body of the length that its head says")]
struct Miscounted;

/// Writes an answer to its end.
pub(super) async fn write<B>(wire: &RefCell<Connection<Stream>>, asked: Asked, answer: Response<B>) -> Written
where
    B: Body<Data = Bytes, Error: Into<Failure>> + Unpin,
{
    let (head, body) = answer.into_parts();
    let end = End::of(asked, head.status, &body);
    let is_last = {
        let mut wire = wire.borrow_mut();
        let is_last = asked.is_last || !wire.is_read() || end == End::Closing || says_close(&head.headers);
        write_head(wire.answer().head(), &head, asked, end, is_last);
        is_last
    };
    let mut writing = Writing { body: Some(body).filter(|_| end != End::Bodiless), end, broken: None };
    match poll_fn(|cx| writing.poll(wire, cx)).await {
        Written::Lasts if head.status == StatusCode::SWITCHING_PROTOCOLS => Written::Switched,
        Written::Lasts if is_last => Written::Last,
        written @ (Written::Lasts | Written::Last | Written::Switched | Written::Gone) => written,
        broken @ Written::Broken(_) => {
            // The end of the connection would be the end of the answer.
            if end == End::Closing {
                wire.borrow().io().forget();
            }
            broken
        }
    }
}

impl End {
    fn of(asked: Asked, status: StatusCode, body: &impl Body) -> Self {
        let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if asked.is_head || is_bodiless || status.is_informational() {
            return Self::Bodiless;
        }
        match body.size_hint().exact() {
            Some(bytes) => Self::Counted(bytes),
            None if asked.version == Version::HTTP_11 => Self::Chunked,
            None => Self::Closing,
        }
    }

    const fn encoding(self) -> Encoding {
        match self {
            Self::Chunked => Encoding::Chunked,
            Self::Bodiless | Self::Counted(_) | Self::Closing => Encoding::Plain,
        }
    }
}

fn says_close(fields: &HeaderMap) -> bool {
    fields.get(header::CONNECTION).is_some_and(|option| option.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Writes the head (RFC 9112 §4): always in the highest version of its major one (RFC 9110 §6.2).
fn write_head(to: &mut BytesMut, head: &Parts, asked: Asked, end: End, is_last: bool) {
    to.reserve(1024);
    if head.status == StatusCode::OK {
        to.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        let reason = head.status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", head.status.as_str(), " ", reason, "\r\n"] {
            to.extend_from_slice(part.as_bytes());
        }
    }
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let tells_length = asked.is_head || head.status == StatusCode::NOT_MODIFIED;
    let mut has_date = false;
    for (name, value) in &head.headers {
        match *name {
            header::CONNECTION if !switches => continue,
            header::CONTENT_LENGTH if !tells_length => continue,
            header::TRANSFER_ENCODING => continue,
            header::DATE => has_date = true,
            _ => {}
        }
        line(to, name.as_str(), value.as_bytes());
    }
    if !has_date {
        date::line(to, since_epoch());
    }
    match end {
        End::Counted(bytes) => line(to, "content-length", itoa::Buffer::new().format(bytes).as_bytes()),
        End::Chunked => to.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        End::Bodiless | End::Closing => {}
    }
    if is_last && !switches {
        to.extend_from_slice(b"connection: close\r\n");
    } else if asked.version == Version::HTTP_10 {
        to.extend_from_slice(b"connection: keep-alive\r\n");
    }
    to.extend_from_slice(b"\r\n");
}

/// An answer whose head is on its way.
struct Writing<B> {
    /// `None` once it has ended.
    body: Option<B>,
    end: End,
    /// How it broke, to be told when what came before that has gone out.
    broken: Option<Failure>,
}

impl<B: Body<Data = Bytes, Error: Into<Failure>> + Unpin> Writing<B> {
    fn poll(&mut self, wire: &RefCell<Connection<Stream>>, cx: &mut Context<'_>) -> Poll<Written> {
        loop {
            self.gather(wire, cx);
            let mut wire = wire.borrow_mut();
            if wire.output().is_empty() {
                if let Some(broken) = self.broken.take() {
                    return Poll::Ready(Written::Broken(broken));
                }
                if self.body.is_none() {
                    return Poll::Ready(Written::Lasts);
                }
                return wire.poll_gone(cx).map(|()| Written::Gone);
            }
            if let Err(error) = ready!(wire.poll_write(cx)) {
                return Poll::Ready(Written::Broken(error.into()));
            }
        }
    }

    /// Takes what has come of the body, so that one write takes it and what stands before it.
    fn gather(&mut self, wire: &RefCell<Connection<Stream>>, cx: &mut Context<'_>) {
        while let Some(body) = &mut self.body {
            if !wire.borrow().output().takes_data(UNSENT) {
                return;
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(frame) => frame,
            };
            let is_over = body.is_end_stream();
            let mut wire = wire.borrow_mut();
            let written = match frame {
                None => self.finish(wire.answer(), None),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data(wire.answer(), data, is_over),
                    Err(frame) => self.finish(wire.answer(), frame.into_trailers().ok().as_ref()),
                },
            };
            if let Err(error) = written {
                (self.body, self.broken) = (None, Some(error));
            }
        }
    }

    fn data(&mut self, output: &mut Output, data: Bytes, is_over: bool) -> Result<(), Failure> {
        if let End::Counted(left) = &mut self.end {
            *left = left.checked_sub(data.len() as u64).ok_or(Miscounted)?;
        }
        output.data(data, self.end.encoding());
        if is_over { self.finish(output, None) } else { Ok(()) }
    }

    fn finish(&mut self, output: &mut Output, trailers: Option<&HeaderMap>) -> Result<(), Failure> {
        self.body = None;
        if matches!(self.end, End::Counted(left) if left > 0) {
            return Err(Miscounted.into());
        }
        output.end(trailers, self.end.encoding());
        Ok(())
    }
}
