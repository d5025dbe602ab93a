//! Endpoints that speak HTTP/2, gRPC among them: how they are asked, when they are left out, what is sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use tokio::net::TcpListener;

use crate::http2::grpc::call;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Act {
    /// A body, and `grpc-status: 0`.
    Answer(&'static [u8]),
    /// `grpc-status: 14` and nothing else.
    Unavailable,
    /// `REFUSED_STREAM`.
    Refuse,
}

/// An h2c server, and the paths that it was asked for.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, act, (tell, told)) = (Arc::clone(&asked), Arc::new(act), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
                tell.send(listener.local_addr().expect("it is bound")).expect("somebody waits");
                while let Ok((stream, _)) = listener.accept().await {
                    let (log, act) = (Arc::clone(&log), Arc::clone(&act));
                    tokio::spawn(async move {
                        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            let path = request.uri().path().to_owned();
                            let act = act(&path);
                            log.lock().expect("no test panics while it holds it").push(path);
                            perform(act, respond);
                        }
                    });
                }
            });
        });
        Self { address: told.recv().expect("it starts"), asked }
    }

    fn calls(&self) -> usize {
        let asked = self.asked.lock().expect("no test panics while it holds it");
        asked.iter().filter(|path| !path.starts_with("/grpc.health")).count()
    }
}

fn perform(act: Act, mut respond: h2::server::SendResponse<Bytes>) {
    let head = |more: Option<(&'static str, &'static str)>| {
        let mut head = Response::new(());
        head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        if let Some((name, value)) = more {
            head.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        head
    };
    // The gateway may have gone.
    match act {
        Act::Answer(body) => {
            if let Ok(mut stream) = respond.send_response(head(None), false) {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                drop(stream.send_data(Bytes::from_static(body), false));
                drop(stream.send_trailers(trailers));
            }
        }
        Act::Unavailable => drop(respond.send_response(head(Some(("grpc-status", "14"))), true)),
        Act::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
    }
}

fn in_front_of(servers: &[&Server], upstream: &str) -> Gateway {
    let endpoints = servers.iter().map(|server| format!("'h2c://{}'", server.address)).collect::<Vec<_>>().join(", ");
    Gateway::start(&format!(
        "
workers: 2
upstreams: {{a: {{endpoints: [{endpoints}], {upstream}}}}}
services: {{model: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}}}}}
"
    ))
}

fn healthy(gateway: &Gateway, server: &Server) -> f64 {
    let address = server.address;
    gateway.metric(&format!("gateway_upstream_endpoint_healthy{{endpoint=\"{address}\",upstream=\"a\"}}"))
}

#[test]
fn a_grpc_server_is_asked_by_its_own_health_protocol() {
    let serves = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&serves);
    let server = Server::start(move |_| Act::Answer(if told.load(Ordering::SeqCst) { SERVING } else { NOT_SERVING }));
    let check =
        "health_check: {grpc: 'inference.GRPCInferenceService', every: 100ms, unhealthy_after: 1, healthy_after: 1}";
    let gateway = in_front_of(&[&server], check);
    let checked = || gateway.metric("gateway_upstream_health_checks_total{result=\"success\",upstream=\"a\"}");
    eventually("it is found serving", || (checked() >= 2.0).then_some(()));
    assert_eq!(healthy(&gateway, &server), 1.0);
    serves.store(false, Ordering::SeqCst);
    eventually("it is found not serving", || (healthy(&gateway, &server) == 0.0).then_some(()));
    serves.store(true, Ordering::SeqCst);
    eventually("it is found serving again", || (healthy(&gateway, &server) == 1.0).then_some(()));
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|path| path == "/grpc.health.v1.Health/Check"), "{asked:?}");
}

#[test]
fn grpcs_unavailable_is_a_failure_of_the_endpoint() {
    let (ailing, sound) = (Server::start(|_| Act::Unavailable), Server::start(|_| Act::Answer(b"\0\0\0\0\0")));
    let gateway = in_front_of(&[&ailing, &sound], "ejection: {failures: 2, for: 1h, at_most: 1h}");
    let unavailable = (0..30).filter(|_| {
        let (status, grpc, _) = score(&gateway);
        assert_eq!(status, 200);
        grpc.as_deref() == Some("14")
    });
    assert_eq!((unavailable.count(), ailing.calls()), (2, 2));
    assert_eq!(healthy(&gateway, &ailing), 0.0);
}

/// A gRPC call that may be answered with trailers.
fn score(gateway: &Gateway) -> (u16, Option<String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.traffic()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::post("http://stage/a.B/Score").header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(()).unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let answer = answer.await.unwrap();
        let status = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        let code = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(Ok(data)) = body.data().await {
            bytes += data.len();
            drop(body.flow_control().release_capacity(data.len()));
        }
        connection.abort();
        (code, status, bytes)
    })
}

#[test]
fn a_stream_that_was_refused_is_begun_again_where_nothing_of_a_body_is_lost() {
    let count = Mutex::new(0);
    let server = Server::start(move |_| {
        let mut count = count.lock().expect("no test panics while it holds it");
        *count += 1;
        if *count % 2 == 1 { Act::Refuse } else { Act::Answer(b"\0\0\0\0\0") }
    });
    let gateway = in_front_of(&[&server], "");
    for method in ["GET", "POST"] {
        let answer = client::request(gateway.traffic(), method, "/score", &[], b"");
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
    }
    assert_eq!(server.calls(), 4, "each was refused once");
    // What was sent of a body is gone.
    let (status, grpc, _, _) = call(gateway.traffic(), Request::post("http://stage/a.B/Score"));
    assert_eq!((status, grpc.as_deref(), server.calls()), (200, Some("14"), 5));
}
