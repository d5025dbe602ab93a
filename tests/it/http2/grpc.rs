//! Refusals of gRPC calls over HTTP/2: status 200, no body, and `grpc-status` in a head that ends the stream.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http::request::Builder;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use scoregate::model::refusal::Refusal;
use tokio::net::TcpStream;

use crate::protocols::wire::Script;
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;

/// A gRPC call: status, `grpc-status`, `grpc-message`, and the bytes of its body.
pub(crate) fn call(gateway: SocketAddr, request: Builder) -> (u16, Option<String>, Option<String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(Full::new(Bytes::from_static(b"\0\0\0\0\0"))).unwrap();
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        let text = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, grpc, message) = (answer.status().as_u16(), text("grpc-status"), text("grpc-message"));
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), None, "a refusal is a head only");
        connection.abort();
        (status, grpc, message, body.to_bytes().len())
    })
}

#[test]
fn a_refusal_over_http2_is_a_grpc_status_of_its_own() {
    let silent = Script::play(|mut scene| {
        scene.wire.drain();
    });
    let directory = scratch();
    std::fs::write(directory.path().join("primary"), "primary-key-of-the-test").unwrap();
    std::fs::write(directory.path().join("secondary"), "secondary-key-of-the-test").unwrap();
    let yaml = format!(
        "
upstreams:
  silent: {{endpoints: ['h2c://{}']}}
  gone: {{endpoints: ['h2c://{}']}}
services:
  silent: {{match: [{{prefix: /silent.Service}}], upstream: silent, auth: {{public: a test}}, timeouts: {{response: 300ms}}}}
  gone: {{match: [{{prefix: /gone.Service}}], upstream: gone, auth: {{public: a test}}}}
  small: {{match: [{{prefix: /small.Service}}], upstream: gone, auth: {{public: a test}}, max_body: 4B}}
  keyed:
    match: [{{prefix: /keyed.Service}}]
    upstream: gone
    auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/primary'}}, secondary: {{key: 'file:$DIR/secondary'}}}}}}}}
",
        silent.at(),
        free_address()
    );
    let gateway = Gateway::start_in(directory, &yaml);
    let to = |path: &str| Request::post(format!("http://stage{path}"));
    let many = (0..120).fold(to("/gone.Service/Call"), |request, at| request.header(format!("x-{at}"), "1"));
    for (what, request, refusal) in [
        ("a padded value", to("/gone.Service/Call").header("x", " 1"), Denied::RequestMalformed.into()),
        ("another scheme", Request::post("gopher://stage/gone.Service/Call"), Denied::RequestMalformed.into()),
        ("120 headers", many, Denied::HeadersTooLarge.into()),
        ("a path in two readings", to("/gone.Service/../Call"), Denied::PathAmbiguous.into()),
        ("another host", to("/gone.Service/Call").header("host", "other"), Denied::HostInvalid.into()),
        ("nobody's service", to("/no.Service/Call"), Denied::NoService.into()),
        ("no credential", to("/keyed.Service/Call"), Denied::CredentialMissing.into()),
        ("a wrong key", to("/keyed.Service/Call").header("authorization", "Bearer x"), Denied::KeyUnknown.into()),
        ("too large", to("/small.Service/Call"), Denied::BodyTooLarge.into()),
        ("an upstream that is gone", to("/gone.Service/Call"), Failed::UpstreamUnreachable.into()),
        ("an upstream that is silent", to("/silent.Service/Call"), Failed::UpstreamTimeout.into()),
    ] {
        let refusal: Refusal = refusal;
        let (status, grpc, message, length) = call(gateway.traffic(), request);
        assert_eq!((status, length), (200, 0), "{what}");
        assert_eq!(grpc, Some((refusal.row().grpc as u16).to_string()), "{what}");
        assert!(message.is_some_and(|message| !message.is_empty()), "{what}: a message");
    }
}
