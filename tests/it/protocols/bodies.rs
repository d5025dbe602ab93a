//! Bodies and the lack of them: streamed both ways, held back, cut off, with what follows them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::in_front_of;
use super::wire::Script;
use super::wire::Wire;
use super::wire::answer_with_path;
use super::wire::ok;
use super::wire::request;
use crate::support::eventually;

const MIB: usize = 1024 * 1024;

/// A body that no part of the way has room for.
const LARGE: usize = 64 * MIB;

/// Waits until a count has not moved for a while: what filled the buffers on the way has filled them.
fn settled(count: &AtomicUsize) -> usize {
    let (mut last, mut since) = (count.load(Ordering::SeqCst), Instant::now());
    eventually("the sender is held back", || {
        let now = count.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (last > 0 && since.elapsed() > Duration::from_millis(500)).then_some(last)
    })
}

/// Writes `LARGE` bytes and counts them.
fn pour(wire: &mut Wire, count: &AtomicUsize) {
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..LARGE / piece.len() {
        if wire.try_send(&piece).is_err() {
            return;
        }
        count.fetch_add(piece.len(), Ordering::SeqCst);
    }
}

#[test]
fn a_large_request_body_waits_at_the_client_while_the_upstream_does_not_read() {
    let reads = Arc::new(AtomicBool::new(false));
    let may_read = Arc::clone(&reads);
    let upstream = Script::play(move |mut scene| {
        let head = scene.wire.head();
        eventually("the test says read", || may_read.load(Ordering::SeqCst).then_some(()));
        let length: usize = head.get("content-length").unwrap().parse().unwrap();
        let mut left = length;
        while left > 0 {
            left -= scene.wire.exactly(left.min(MIB)).unwrap().len();
        }
        scene.wire.send(ok(&length.to_string()));
    });
    let gateway = in_front_of(upstream.at(), "");
    let before = gateway.resident();
    let sent = Arc::new(AtomicUsize::new(0));
    let (address, count) = (gateway.traffic(), Arc::clone(&sent));
    let client = thread::spawn(move || {
        let mut wire = Wire::connect(address);
        wire.send(request("POST", "/", &format!("content-length: {LARGE}\r\n"), None));
        pour(&mut wire, &count);
        wire.answer_to("POST")
    });
    let held_at = settled(&sent);
    assert!(held_at < LARGE / 2, "{held_at} bytes were taken though nobody reads them");
    let grown = gateway.resident().saturating_sub(before);
    reads.store(true, Ordering::SeqCst);
    assert_eq!(client.join().unwrap().text(), LARGE.to_string());
    let grown = grown.max(gateway.resident().saturating_sub(before));
    assert!(grown < LARGE / 4, "the gateway holds {grown} bytes more");
}

#[test]
fn a_large_answer_waits_at_the_upstream_while_the_client_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Script::play(move |mut scene| {
        scene.request().unwrap();
        scene.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"));
        pour(&mut scene.wire, &count);
    });
    let gateway = in_front_of(upstream.at(), "");
    let before = gateway.resident();
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("GET", "/", "", None));
    assert_eq!(client.head().get("content-length"), Some(LARGE.to_string().as_str()));
    let held_at = settled(&sent);
    assert!(held_at < LARGE / 2, "{held_at} bytes were taken though nobody reads them");
    let mut left = LARGE;
    while left > 0 {
        left -= client.exactly(left.min(MIB)).unwrap().len();
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < LARGE / 4, "the gateway holds {grown} bytes more");
}

#[test]
fn trailers_pass_in_both_directions() {
    let upstream = Script::play(|mut scene| {
        let request = scene.request().unwrap();
        assert_eq!(request.trailers, [("x-sum".to_owned(), "42".to_owned())]);
        scene.wire.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-delay\r\n\r\n2\r\nok\r\n0\r\nx-delay: 7\r\n\r\n",
        );
    });
    let gateway = in_front_of(upstream.at(), "");
    let mut client = Wire::connect(gateway.traffic());
    client.send(request(
        "POST",
        "/",
        "te: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, x-scoregate-principal, x_real_ip\r\n",
        None,
    ));
    // What a header may not say to the upstream, a trailer may not either.
    client.send("5\r\nhello\r\n0\r\nx-sum: 42\r\nx-scoregate-principal: root\r\nx_real_ip: 1.1.1.1\r\n\r\n");
    let answer = client.answer_to("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.trailers, [("x-delay".to_owned(), "7".to_owned())]);
    assert_eq!(upstream.requests()[0].trailers, [("x-sum".to_owned(), "42".to_owned())]);
    assert_eq!(upstream.requests()[0].body, b"hello");
}

#[test]
fn an_answer_without_a_body_leaves_both_connections_in_use() {
    let upstream = Script::play(|mut scene| {
        while let Some(request) = scene.request() {
            let mut words = request.head.line.split(' ');
            let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
            scene.wire.send(match (method.as_str(), path.as_str()) {
                ("HEAD", _) => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_owned(),
                (_, "/204") => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                (_, "/304") => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".to_owned(),
                (_, "/empty") => ok(""),
                (_, path) => ok(path),
            });
        }
    });
    let gateway = in_front_of(upstream.at(), "");
    let mut client = Wire::connect(gateway.traffic());
    for (method, path, status, length) in [
        ("HEAD", "/", 200, Some("1234")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("GET", "/empty", 200, Some("0")),
        ("GET", "/full", 200, Some("5")),
    ] {
        for _ in 0..3 {
            let answer = client.call(method, path, "", None);
            let got = (answer.status(), answer.head.get("content-length"), answer.head.get("transfer-encoding"));
            assert_eq!(got, (status, length, None), "{method} {path}");
        }
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (15, 1));
}

#[test]
fn the_upstream_learns_at_once_that_the_client_has_left() {
    for answers in ["", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let (noticed, notices) = mpsc::channel();
        let upstream = Script::play(move |mut scene| {
            scene.request().unwrap();
            scene.wire.send(answers);
            noticed.send(scene.wire.ends()).unwrap();
        });
        let gateway = in_front_of(upstream.at(), "");
        let mut client = Wire::connect(gateway.traffic());
        client.send(request("POST", "/", "", Some(b"score this")));
        if answers.is_empty() {
            eventually("the request arrives", || (upstream.requests().len() == 1).then_some(()));
        } else {
            client.head();
        }
        let left = Instant::now();
        drop(client);
        assert!(notices.recv().unwrap(), "after {answers:?}");
        assert!(left.elapsed() < Duration::from_secs(2), "after {answers:?}: {:?}", left.elapsed());
    }
}

#[test]
fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    for closes in [true, false] {
        let upstream = Script::play(move |mut scene| {
            scene.wire.head();
            scene.wire.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge");
            if !closes {
                // Kept open and unread, as servers do that think about it.
                scene.wire.drain();
            }
        });
        let gateway = in_front_of(upstream.at(), "");
        for _ in 0..10 {
            let mut client = Wire::connect(gateway.traffic());
            client.send(request("POST", "/", &format!("content-length: {LARGE}\r\n"), None));
            client.send([b'x'; 1024]);
            let answer = client.answer_to("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (413, "large"), "closes: {closes}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Script::play(|mut scene| {
        while let Some(request) = scene.request() {
            let path = request.head.line.split(' ').nth(1).unwrap().to_owned();
            if path == "/slow" {
                thread::sleep(Duration::from_millis(200));
            }
            scene.wire.send(ok(&path));
        }
    });
    let gateway = in_front_of(upstream.at(), "");
    let mut client = Wire::connect(gateway.traffic());
    let paths = ["/slow", "/first", "/second", "/slow", "/last"];
    client.send(paths.map(|path| request("POST", path, "", Some(b"body"))).concat());
    for path in paths {
        assert_eq!(client.answer_to("POST").text(), path);
    }
}

#[test]
fn a_body_larger_than_the_limit_is_refused_however_it_comes() {
    let upstream = Script::play(answer_with_path);
    let gateway = in_front_of(upstream.at(), "max_body: 1KiB");
    let body = [b'x'; 1025];
    let declared = Wire::connect(gateway.traffic()).call("POST", "/", "", Some(&body));
    assert_eq!(declared.outcome(), (413, "body_too_large".to_owned()));
    let mut client = Wire::connect(gateway.traffic());
    client.send(request("POST", "/", "transfer-encoding: chunked\r\n", None));
    match client.try_send([b"401\r\n".as_slice(), &body, b"\r\n0\r\n\r\n"].concat()) {
        Ok(()) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}"),
    }
    assert_eq!(client.answer_to("POST").outcome(), (413, "body_too_large".to_owned()));
    let allowed = Wire::connect(gateway.traffic()).call("POST", "/", "", Some(&body[1..]));
    assert_eq!(allowed.status(), 200);
    // The chunked one had begun to arrive; it was not taken for a whole request.
    assert_eq!(upstream.requests().iter().filter(|request| request.body.len() != 1024).count(), 0);
}

#[test]
fn a_refused_request_leaves_its_connection_in_use_or_says_that_it_ends() {
    let upstream = Script::play(answer_with_path);
    let gateway = in_front_of(upstream.at(), "max_body: 1KiB");
    let mut client = Wire::connect(gateway.traffic());
    for _ in 0..5 {
        client.send(request("POST", "/", "content-length: 2048\r\n", None));
        // Time for the head to be judged before the body is there.
        thread::sleep(Duration::from_millis(20));
        client.send([b'x'; 2048]);
        let answer = client.answer_to("POST");
        assert_eq!(answer.status(), 413);
        if answer.head.get("connection") == Some("close") {
            client = Wire::connect(gateway.traffic());
        }
        assert_eq!(client.get("/", "").status(), 200);
    }
    for (what, headers) in [
        ("too much to read for nothing", "content-length: 1048576\r\n"),
        ("a client that waits to be told to send", "content-length: 2048\r\nexpect: 100-continue\r\n"),
        ("a body that does not come", "content-length: 2048\r\n"),
    ] {
        let mut client = Wire::connect(gateway.traffic());
        client.send(request("POST", "/", headers, None));
        let answer = client.answer_to("POST");
        assert_eq!((answer.status(), answer.head.get("connection")), (413, Some("close")), "{what}");
        assert!(client.ends(), "{what}");
    }
}

#[test]
fn a_broken_answer_is_never_passed_on_as_a_whole_one() {
    for (what, sent) in [
        ("too short", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"),
        ("no last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("no chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"),
    ] {
        let upstream = Script::play(move |mut scene| {
            scene.request().unwrap();
            scene.wire.send(sent);
        });
        let gateway = in_front_of(upstream.at(), "");
        let mut client = Wire::connect(gateway.traffic());
        client.send(request("GET", "/", "", None));
        let answer = client.try_message("GET");
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    for (what, sent) in [
        ("not HTTP", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        // The head is whole; that nothing good follows is known before it goes out.
        ("a first chunk that is none", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n"),
    ] {
        let upstream = Script::play(move |mut scene| {
            scene.request().unwrap();
            scene.wire.send(sent);
        });
        let gateway = in_front_of(upstream.at(), "");
        let answer = super::get(&gateway, "/");
        assert_eq!(answer.outcome(), (502, "upstream_protocol".to_owned()), "{what}");
    }
}
