//! A model server of every protocol: plain answers, gRPC, event streams, WebSocket. HTTP/1.1 and HTTP/2 on one port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http_body::Body;
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::Interval;
use tokio::time::interval;

/// Between two events of a stream.
const EVERY: Duration = Duration::from_millis(20);

/// A running server; it runs as long as the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model(SocketAddr);

impl Model {
    /// Starts it. What the path ends with decides: `events` goes on for ever, `grpc` answers with trailers, `slow` takes
    /// 30 ms, and an upgrade echoes whatever it is sent. All else is answered with `ok`.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket has options");
        let address = listener.local_addr().expect("a bound socket has an address");
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the socket is new");
                while let Ok((stream, _)) = listener.accept().await {
                    drop(stream.set_nodelay(true));
                    tokio::spawn(async move {
                        let server = auto::Builder::new(TokioExecutor::new());
                        // A connection that breaks is the test's to notice, at its other end.
                        drop(server.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).await);
                    });
                }
            });
        });
        Self(address)
    }

    /// What an `endpoints` entry says for HTTP/1.1.
    pub(crate) fn url(self) -> String {
        format!("http://{}", self.0)
    }

    /// What it says for HTTP/2.
    pub(crate) fn http2_url(self) -> String {
        format!("h2c://{}", self.0)
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(mut request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.headers().contains_key(header::UPGRADE) {
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = upgrading.await.map_err(io::Error::other)?;
            echo(TokioIo::new(upgraded)).await
        });
        let answer = Response::builder().status(101).header(header::CONNECTION, "upgrade");
        let answer = answer.header(header::UPGRADE, "websocket").body(Full::default().boxed());
        return Ok(answer.expect("an answer without a mistake"));
    }
    let path = request.uri().path().to_owned();
    // A body that breaks off has no answer that anybody would read.
    drop(request.into_body().collect().await);
    if path.ends_with("/slow") {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let body = if path.ends_with("/events") {
        Events(interval(EVERY)).boxed()
    } else if path.ends_with("/grpc") {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
        Full::from("\0\0\0\0\0").with_trailers(async { Some(Ok(trailers)) }).boxed()
    } else {
        Full::from("ok").boxed()
    };
    Ok(Response::new(body))
}

async fn echo(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
        stream.flush().await?;
    }
}

/// An event now and then, without an end.
#[derive(Debug)]
struct Events(Interval);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"data: event\n\n")))))
    }
}
