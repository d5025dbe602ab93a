//! The same upstream over HTTP/2: bytes of a case to begin with, a server that knows the protocol later.

use std::convert::Infallible;
use std::io;
use std::io::Read as _;
use std::net::TcpStream;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::runtime::Builder;

use super::case::Moment;
use super::evil::Stage;

/// Type of a frame that begins a request (RFC 9113 §6.2).
const HEADERS: u8 = 1;

pub(super) fn talk(stage: &Stage, mut stream: &TcpStream, number: usize) -> io::Result<()> {
    if stage.is_good() {
        return serve(stage, stream.try_clone()?, number);
    }
    if stage.case.at == Moment::Request {
        stream.read_exact(&mut [0; 24])?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            io::copy(&mut stream.take(length.into()), &mut io::sink())?;
            if head[3] == HEADERS {
                break;
            }
        }
    }
    stage.spoil(stream, number)
}

fn serve(stage: &Stage, stream: TcpStream, number: usize) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let answer = |request: Request<Incoming>| {
            let canary = request.headers().get("x-canary").map(|name| Bytes::copy_from_slice(name.as_bytes()));
            stage.saw_canary(number);
            async move { Ok::<_, Infallible>(Response::new(Full::new(canary.unwrap_or_default()))) }
        };
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(io, service_fn(answer)).await.map_err(io::Error::other)
    })
}
