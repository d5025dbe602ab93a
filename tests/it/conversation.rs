//! What a client of HTTP/1.1 sees of its connection: requests one after the other, the last of them, and what follows.

use std::io;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::client::head;
use crate::support::gateway::Gateway;
use crate::support::upstream::Received;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

/// A gateway in front of an upstream that answers like this. `/private` wants a key.
fn in_front_of(
    answer: impl Fn(&Received, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (Gateway, Upstream) {
    let upstream = Upstream::start(answer);
    let gateway = Gateway::start(&format!(
        "
upstreams: {{a: {{endpoints: ['{}']}}}}
services:
  open: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test}}, upgrades: websocket}}
  private: {{match: [{{prefix: /private}}], upstream: a, auth: {{key: {{}}}}}}
",
        upstream.url()
    ));
    (gateway, upstream)
}

fn echo(request: &Received, stream: &mut TcpStream) -> io::Result<()> {
    respond(stream, 200, &[], &[request.target.as_bytes(), b" ", &request.body].concat())
}

#[test]
fn requests_that_are_sent_at_once_are_answered_in_their_order() {
    let (gateway, _upstream) = in_front_of(echo);
    let mut client = Client::connect(gateway.traffic());
    let mut bytes = Vec::new();
    for number in 0..20 {
        let target = format!("/{number}");
        let body = "x".repeat(number * 100);
        match number % 4 {
            0 => bytes.extend(head("GET", &target, &[], b"").into_bytes()),
            1 | 2 => bytes.extend((head("POST", &target, &[], body.as_bytes()) + &body).into_bytes()),
            _ => {
                let chunked = head("POST", &target, &[("transfer-encoding", "chunked")], b"");
                bytes.extend(format!("{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes());
            }
        }
    }
    for piece in bytes.chunks(3_000) {
        client.send(piece);
    }
    for number in 0..20 {
        let body = if number % 4 == 0 { String::new() } else { "x".repeat(number * 100) };
        assert_eq!(client.answer().text(), format!("/{number} {body}"));
    }
}

#[test]
fn the_last_answer_of_a_connection_says_so_and_the_others_do_not() {
    let (gateway, _upstream) = in_front_of(echo);
    for (version, connection, lasts) in [
        ("1.1", "", true),
        ("1.1", "connection: keep-alive\r\n", true),
        ("1.1", "connection: Close\r\n", false),
        ("1.1", "connection: keep-alive\r\nconnection: x, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "connection: Keep-Alive\r\n", true),
    ] {
        let mut client = Client::connect(gateway.traffic());
        let request = format!("GET / HTTP/{version}\r\nhost: a.test\r\n{connection}\r\n");
        client.send(&request);
        let answer = client.answer();
        let told = if !lasts {
            Some("close")
        } else if version == "1.0" {
            Some("keep-alive")
        } else {
            None
        };
        assert_eq!(answer.header("connection"), told, "{request}");
        if lasts {
            client.send(&request);
            assert_eq!(client.answer().text(), "/ ", "{request}");
        } else {
            assert!(client.is_closed(), "{request}");
        }
    }
}

#[test]
fn who_sends_a_large_body_for_nothing_still_gets_its_answer() {
    let (gateway, upstream) = in_front_of(echo);
    for (length, expects) in
        [("content-length: 1000000", ""), ("content-length: 100000000", "expect: 100-continue\r\n")]
    {
        let mut client = Client::connect(gateway.traffic());
        client.send(format!("POST /private HTTP/1.1\r\nhost: a.test\r\n{length}\r\n{expects}\r\n"));
        for _ in 0..10 {
            client.send([b'x'; 10_000]);
            std::thread::sleep(Duration::from_millis(10));
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")), "{length}");
        assert!(client.is_closed(), "{length}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn trailers_reach_the_client_though_nobody_has_announced_them() {
    let (gateway, _upstream) = in_front_of(|_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nte: x\r\n\r\n",
        )
    });
    let mut client = Client::connect(gateway.traffic());
    for _ in 0..2 {
        let answer = client.request("GET", "/", &[], b"");
        assert_eq!((answer.text(), answer.trailers), ("ok".to_owned(), vec![("x-sum".to_owned(), "1".to_owned())]));
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_answer_to_anybody() {
    let (gateway, _upstream) = in_front_of(|request, stream| {
        let framing = if request.target == "/counted" { "content-length: 9" } else { "transfer-encoding: chunked" };
        let body = if request.target == "/counted" { "begun" } else { "5\r\nbegun\r\n" };
        write!(stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}")?;
        std::thread::sleep(Duration::from_millis(200));
        Err(ErrorKind::Other.into())
    });
    for (version, target, ends) in [
        ("1.1", "/counted", Some("\r\n\r\nbegun")),
        ("1.1", "/chunked", Some("\r\n\r\n5\r\nbegun\r\n")),
        // Without a length only the connection could tell.
        ("1.0", "/chunked", None),
    ] {
        let mut stream = TcpStream::connect(gateway.traffic()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/{version}\r\nhost: a.test\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all);
        match ends {
            Some(end) => assert!(read.is_ok() && text.ends_with(end), "{target}: {read:?} {text}"),
            None => assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "{text}"),
        }
    }
}

#[test]
fn what_a_websocket_client_says_before_it_is_answered_is_not_lost() {
    let (gateway, _upstream) = in_front_of(|_, stream| {
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst\n",
        )?;
        let mut said = [0; 12];
        stream.read_exact(&mut said)?;
        stream.write_all(&said)?;
        Err(ErrorKind::Other.into())
    });
    let mut stream = TcpStream::connect(gateway.traffic()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let handshake = head("GET", "/", &[("connection", "upgrade"), ("upgrade", "websocket")], b"");
    stream.write_all(format!("{handshake}early\n").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(b"later\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, said) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(said, "first\nearly\nlater\n");
}
