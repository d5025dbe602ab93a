//! The same over HTTP/2, where a connection that is to end says so by GOAWAY.

use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::bearing;
use super::upstream;
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;

/// The statuses of requests with a wrong key, one after the other on one connection, which then has to end in good order.
fn statuses_until_the_end(gateway: &Gateway, path: &str, requests: usize) -> Vec<u16> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(gateway.traffic()).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let mut statuses = Vec::new();
        for _ in 0..requests {
            let request = Request::get(format!("http://a{path}")).header("authorization", "Bearer a-wrong-key");
            let request = request.body(Empty::<&[u8]>::new()).unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            statuses.push(head.status.as_u16());
            body.collect().await.unwrap();
        }
        timeout(PATIENCE, connection).await.expect("the connection ends").unwrap().expect("in good order");
        statuses
    })
}

#[test]
fn one_wrong_key_too_many_ends_the_connection() {
    let upstream = upstream();
    let gateway = bearing("limits: {failed_authentications: 2}", upstream.address(), "");
    assert_eq!(statuses_until_the_end(&gateway, "/keyed", 3), [401, 401, 429]);
}

#[test]
fn an_idle_connection_ends_and_so_does_one_that_has_lived_long_enough() {
    let upstream = upstream();
    for timeouts in ["timeouts: {idle: 1s}", "timeouts: {lifetime: 1s}"] {
        let gateway = bearing(timeouts, upstream.address(), "");
        assert_eq!(statuses_until_the_end(&gateway, "/open", 2), [200, 200], "{timeouts}");
    }
}
