//! HTTP/2 on both sides: what a request looks like there, streams side by side, trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::request::Parts;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::everything_to;
use super::get;
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;

/// An upstream that speaks HTTP/2 and sends back every body, followed by the trailers that came with it.
struct Echo {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Parts>>>,
}

impl Echo {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Parts>>> = Arc::default();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (log, tls) = (Arc::clone(&log), tls.clone());
                    tokio::spawn(async move {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let service = service_fn(move |request| echo(request, Arc::clone(&log)));
                        // A connection that breaks is the test's to notice, at its other end.
                        drop(match tls {
                            None => server.serve_connection(TokioIo::new(stream), service).await,
                            Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                                Err(_refused) => Ok(()),
                            },
                        });
                    });
                }
            });
        });
        Self { at, seen }
    }

    fn seen(&self) -> Vec<Parts> {
        self.seen.lock().unwrap().clone()
    }
}

async fn echo(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Parts>>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let is_slow = head.uri.path() == "/slow";
    log.lock().unwrap().push(head);
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    if is_slow {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let body = Full::new(body.to_bytes()).with_trailers(async move { trailers.map(Ok) });
    Ok(Response::new(body.boxed()))
}

/// Sends requests over one connection, all at once; the answers' texts and trailers.
fn send(to: SocketAddr, requests: Vec<(&str, &'static str, HeaderMap)>) -> Vec<(String, Option<HeaderMap>)> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(to).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut answers = Vec::new();
        for (path, body, trailers) in requests {
            let body = Full::new(Bytes::from_static(body.as_bytes()));
            let body = body.with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) }).boxed();
            let uri = format!("http://gateway.test{path}");
            let request = Request::post(uri).header("te", "trailers").body(body).unwrap();
            let mut sender = sender.clone();
            answers.push(tokio::spawn(async move {
                let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
                let trailers = body.trailers().cloned();
                (String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers)
            }));
        }
        let mut done = Vec::new();
        for answer in answers {
            done.push(tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap());
        }
        connection.abort();
        done
    })
}

fn trailer(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static(value))])
}

#[test]
fn trailers_and_bodies_pass_from_http2_to_http2() {
    let upstream = Echo::start(None);
    let gateway = Gateway::start(&everything_to(format_args!("'h2c://{}'", upstream.at), "", ""));
    let answers = send(gateway.traffic(), vec![("/a", "hello", trailer("42"))]);
    assert_eq!(answers, [("hello".to_owned(), Some(trailer("42")))]);
}

#[test]
fn a_slow_stream_does_not_hold_up_the_others() {
    let upstream = Echo::start(None);
    let gateway = Gateway::start(&everything_to(format_args!("'h2c://{}'", upstream.at), "", ""));
    let mut requests = vec![("/slow", "slow", trailer("0"))];
    requests.extend((0..150).map(|_| ("/fast", "fast", trailer("1"))));
    let answers = send(gateway.traffic(), requests);
    assert_eq!(answers.iter().filter(|(text, _)| text == "fast").count(), 150);
    assert_eq!(upstream.seen().len(), 151);
}

#[test]
fn an_upstream_over_http2_is_told_scheme_and_authority() {
    let authority = Authority::new();
    let tls = authority.certify("127.0.0.1").server(&["h2"], None);
    let (plain, secure) = (Echo::start(None), Echo::start(Some(tls)));
    for (upstream, endpoint, scheme) in
        [(&plain, format!("'h2c://{}'", plain.at), "http"), (&secure, format!("'https://{}'", secure.at), "https")]
    {
        for (host, wanted) in [
            ("client", "stage".to_owned()),
            ("endpoint", upstream.at.to_string()),
            ("model.test", "model.test".to_owned()),
        ] {
            let directory = scratch();
            std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
            let tls = if scheme == "https" { "tls: {ca: $DIR/ca.crt}" } else { "" };
            let options = format!("protocol: http2\n    host: {host}\n    {tls}");
            let gateway = Gateway::start_in(directory, &everything_to(&endpoint, &options, ""));
            assert_eq!(get(&gateway, "/path?query").status(), 200);
            let seen = upstream.seen().pop().unwrap();
            let uri = format!("{scheme}://{wanted}/path?query");
            assert_eq!(seen.uri.to_string(), uri, "{scheme}, host: {host}");
            assert_eq!(seen.headers.get("host"), None, "{scheme}, host: {host}");
        }
    }
}

#[test]
fn an_upstream_that_does_not_agree_on_http2_is_502() {
    let authority = Authority::new();
    let upstream = Echo::start(Some(authority.certify("127.0.0.1").server(&["http/1.1"], None)));
    let directory = scratch();
    std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    let options = "protocol: http2\n    tls: {ca: $DIR/ca.crt}";
    let gateway = Gateway::start_in(directory, &everything_to(format_args!("'https://{}'", upstream.at), options, ""));
    assert_eq!(get(&gateway, "/").outcome(), (502, "upstream_tls".to_owned()));
}
