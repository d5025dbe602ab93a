//! How large a request's head, over both versions of HTTP.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use scoregate::model::refusal::Denied;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::assert_refused;
use super::bearing;
use super::upstream;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::summary::Counts;

const LIMITS: &str = "limits: {max_target: 1KiB, max_header: 2KiB, max_headers: 4KiB, max_header_count: 20}";

/// A head: bytes of the target, and of each header besides `host: a`, its name among them.
type Row = (&'static str, usize, &'static [usize], Option<Denied>);

const TEN: &[usize] = &[60; 10];
const HOST: usize = "host".len() + 1;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("a usual one", 5, TEN, None),
    ("a target at the limit", 1024, &[], None),
    ("a target above it", 1025, &[], Some(Denied::TargetTooLong)),
    ("a header at the limit", 5, &[2048], None),
    ("a header above it", 5, &[2049], Some(Denied::HeadersTooLarge)),
    ("headers at the limit together", 5, &[2048, 2048 - HOST], None),
    ("headers above it together", 5, &[2048, 2049 - HOST], Some(Denied::HeadersTooLarge)),
    ("a header of 6 KiB", 5, &[6 << 10], Some(Denied::HeadersTooLarge)),
    ("as many headers as may be", 5, &[20; 19], None),
    ("one more", 5, &[20; 20], Some(Denied::HeadersTooLarge)),
];

fn target(bytes: usize) -> String {
    format!("/open{}", "a".repeat(bytes - 5).replacen('a', "?", 1))
}

fn headers(sizes: &[usize]) -> Vec<(String, String)> {
    let header = |(number, bytes): (usize, &usize)| {
        let name = format!("x-{number:02}");
        let value = "v".repeat(bytes - name.len());
        (name, value)
    };
    sizes.iter().enumerate().map(header).collect()
}

fn over_http1(gateway: &Gateway, target: &str, headers: &[(String, String)]) -> Answer {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client::raw(gateway.traffic(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{lines}\r\n"))
}

fn over_http2(gateway: &Gateway, target: &str, headers: &[(String, String)]) -> Answer {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(gateway.traffic()).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::get(format!("http://a{target}")).body(Empty::<&[u8]>::new()).unwrap();
        request.headers_mut().insert("host", HeaderValue::from_static("a"));
        request.headers_mut().extend(headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        }));
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        connection.abort();
        Answer { status: head.status.as_u16(), headers: listed(&head.headers), body, trailers: Vec::new() }
    })
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[test]
fn a_head_within_its_limits_passes_and_one_above_any_of_them_is_refused_by_name() {
    let upstream = upstream();
    let gateway = bearing(LIMITS, upstream.address(), "");
    let mut counts = Counts::default();
    // Far above, HTTP/2's library ends the connection by itself.
    let far_above = over_http1(&gateway, &target(50_000), &[]);
    assert_refused(&gateway, "a target far above", &far_above, Denied::TargetTooLong);
    for (version, send) in [("HTTP/1.1", over_http1 as fn(&_, &_, &_) -> Answer), ("HTTP/2", over_http2)] {
        for (what, target_bytes, sizes, refused) in ROWS {
            let what = format!("{what}, {version}");
            let answer = send(&gateway, &target(*target_bytes), &headers(sizes));
            match refused {
                None => assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{what}"),
                Some(why) => {
                    assert_refused(&gateway, &what, &answer, *why);
                    counts.refused += 1;
                }
            }
            counts.cases += 1;
            counts.passed += 1;
        }
    }
    summary::report("limits/sizes", counts);
}

#[test]
fn the_other_planes_say_why_as_well() {
    let upstream = upstream();
    let gateway = bearing("", upstream.address(), "");
    let many: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    for (bytes, status) in [(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431), ("HELO\r\n\r\n".to_owned(), 400)]
    {
        let answer = client::raw(gateway.management(), &bytes);
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (status, Some(u64::from(status))));
        assert!(answer.header("x-scoregate-decision-id").is_some());
        let answer = client::raw(gateway.health(), &bytes);
        assert_eq!(answer.status, status);
        assert!(!answer.text().is_empty());
    }
}
